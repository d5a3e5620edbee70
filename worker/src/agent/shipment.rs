//! A trial's checkpoints on their way to a coordinator that doesn't share this node's files. Each is reported only when it has
//! arrived: what the table names is there. The trial and its slot never wait for it.

use std::sync::Arc;

use sweep::protocol::http::{LeaseToken, Report};
use sweep::protocol::trial::Checkpoint;
use sweep::vocabulary::{CheckpointHash, FailureReason, Metrics};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Inbox;
use super::event::{Event, TrialEnd};
use super::remote::Remote;

/// Which of a trial's checkpoints are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those to which a newer one comes before they are on their way are passed over.
    Newest,
    /// All of them: a sweep may keep any.
    Every,
}

/// What has become of a trial's checkpoints, and its last of them; given up where it is dropped.
#[derive(Debug)]
pub(crate) struct Shipment {
    /// A job has as many checkpoints as epochs, so this needs no other bound.
    checkpoints: mpsc::UnboundedSender<Checkpoint>,
    sending: JoinHandle<Result<(), String>>,
}

impl Drop for Shipment {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Shipment {
    /// Sends whatever is added from now on.
    pub(crate) fn begin(remote: Arc<Remote>, which: Which, token: LeaseToken, inbox: Inbox) -> Shipment {
        let (checkpoints, added) = mpsc::unbounded_channel();
        Shipment { checkpoints, sending: tokio::spawn(send(remote, which, token, inbox, added)) }
    }

    pub(crate) fn add(&self, checkpoint: Checkpoint) {
        // It fails only where sending has panicked, which its end tells.
        let _ = self.checkpoints.send(checkpoint);
    }

    /// The trial's end once everything has arrived. A job whose last state can't be had by others is not done.
    pub(crate) async fn conclude(mut self, end: TrialEnd) -> TrialEnd {
        let end = match end {
            TrialEnd::Stopped(Some(checkpoint)) => {
                self.add(checkpoint);
                TrialEnd::Stopped(None)
            }
            end => end,
        };
        // Nothing comes after this.
        let (closed, _) = mpsc::unbounded_channel();
        self.checkpoints = closed;
        let sent = (&mut self.sending).await;
        match (sent.unwrap_or_else(|error| Err(error.to_string())), end) {
            (Err(message), TrialEnd::Trained(_) | TrialEnd::ExitedCleanly) => {
                TrialEnd::Failed { reason: FailureReason::NodeFault, message, log_tail: String::new() }
            }
            (Err(problem), end) => {
                tracing::warn!("the last state of a trial is lost: {problem}");
                end
            }
            (Ok(()), end) => end,
        }
    }
}

/// Gives what became of the last one; one before it may have been lost.
async fn send(
    remote: Arc<Remote>,
    which: Which,
    token: LeaseToken,
    inbox: Inbox,
    mut added: mpsc::UnboundedReceiver<Checkpoint>,
) -> Result<(), String> {
    let mut last = Ok(());
    let mut before: Option<CheckpointHash> = None;
    while let Some(next) = added.recv().await {
        let next = match which {
            Which::Newest => pass_over(&remote, &mut added, next),
            Which::Every => next,
        };
        let hash: CheckpointHash = next.hash.parse().map_err(|error| format!("{error}"))?;
        last = remote.send(&hash).await;
        if let Err(problem) = &last {
            tracing::warn!(job = token.job.0, "a checkpoint is not sent: {problem}");
            continue;
        }
        let (epoch, metrics) = (next.epoch, Metrics::new());
        let report = Report { token, epoch, metrics, checkpoint: Some(next) };
        // It fails only when the agent is on its way out and nobody listens.
        let _ = inbox.send(Ok(Event::Reported(report))).await;
        if let Some(before) = before.replace(hash.clone()).filter(|before| *before != hash) {
            remote.supersede(before);
        }
    }
    last
}

/// The newest of those that wait.
fn pass_over(
    remote: &Remote,
    added: &mut mpsc::UnboundedReceiver<Checkpoint>,
    mut next: Checkpoint,
) -> Checkpoint {
    while let Ok(newer) = added.try_recv() {
        let passed = std::mem::replace(&mut next, newer);
        if let Ok(hash) = passed.hash.parse()
            && passed.hash != next.hash
        {
            remote.supersede(hash);
        }
    }
    next
}
