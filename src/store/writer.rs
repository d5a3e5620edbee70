//! The one writer: a task that owns the only connection that writes.
//!
//! Requests that wait are applied in one transaction and acknowledged after its commit, so that many callers share the
//! statements and one sync of the disk (group commit), and no two writers ever meet.

use std::future::Future;
use std::pin::Pin;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::finished::Finished;
use super::unit::Unit;
use super::unneeded::Unneeded;
use crate::vocabulary::{JobId, SweepId, Timestamp, WorkerId};

/// More than this and the first caller of a group waits noticeably for the last.
const LARGEST_GROUP: usize = 64;

/// A group that wants more jobs than this is large enough: what one transaction works on is kept in memory.
const MOST_JOBS: usize = 4096;

/// Callers beyond this wait before they are queued; each has at most one request under way.
const QUEUE: usize = 256;

/// A write: what it changes, and what it answers.
pub(super) trait Request: Send + Sync + 'static {
    type Answer: Send + 'static;

    /// What it works on.
    fn wants(&self) -> Wants;

    /// Applies the request within the transaction that is open. May be called again after a rollback.
    fn apply(&self, unit: &mut Unit) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send;
}

/// What a request works on.
pub(super) enum Wants {
    /// The whole table: it has a transaction of its own.
    Everything,
    /// These jobs, which are in memory when it is applied.
    Jobs(Vec<JobId>),
    /// Jobs that may be leased at `now`.
    Ready { worker: WorkerId, sweep: Option<SweepId>, most: u32, now: Timestamp },
}

/// The wishes of a group.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) jobs: Vec<JobId>,
    pub(super) ready: Vec<WantedReady>,
}

/// Jobs that a worker could be given.
pub(super) struct WantedReady {
    pub(super) worker: WorkerId,
    pub(super) sweep: Option<SweepId>,
    pub(super) most: u32,
    pub(super) now: Timestamp,
}

#[derive(Clone)]
pub(super) struct Writer {
    inbox: mpsc::Sender<Message>,
}

enum Message {
    Write(Box<dyn Waiting>),
    Stop(oneshot::Sender<()>),
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection, unneeded: Unneeded, finished: Finished) -> Writer {
        let (inbox, messages) = mpsc::channel(QUEUE);
        tokio::spawn(run(Unit::new(connection, finished), unneeded, messages));
        Writer { inbox }
    }

    /// Applies `request` and returns when it has reached the disk.
    pub(super) async fn write<R: Request>(&self, request: R) -> Result<R::Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let waiting = Box::new(Pending { request, answer: None, reply });
        self.inbox.send(Message::Write(waiting)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.inbox.send(Message::Stop(reply)).await.is_ok() {
            let _already_stopped = stopped.await;
        }
    }
}

async fn run(mut unit: Unit, unneeded: Unneeded, mut messages: mpsc::Receiver<Message>) {
    let mut is_disk_full = false;
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(message) => message,
            None => match messages.recv().await {
                Some(message) => message,
                None => return,
            },
        };
        let first = match first {
            Message::Write(waiting) => waiting,
            Message::Stop(stopped) => {
                if let Err(error) = unit.into_connection().close().await {
                    tracing::warn!(%error, "the job table could not be closed cleanly");
                }
                let _nobody_waits = stopped.send(());
                return;
            }
        };
        let (group, rest) = gather(first, &mut messages);
        next = rest;
        let outcome = commit(&mut unit, group, &unneeded).await;
        is_disk_full = note_disk(is_disk_full, &outcome);
    }
}

/// The first request and whatever else waits already that can share its transaction, and the message that can't.
fn gather(
    first: Box<dyn Waiting>,
    messages: &mut mpsc::Receiver<Message>,
) -> (Vec<Box<dyn Waiting>>, Option<Message>) {
    let mut wanted = match first.size() {
        Some(size) => size,
        None => return (vec![first], None),
    };
    let mut group = vec![first];
    while group.len() < LARGEST_GROUP && wanted < MOST_JOBS {
        match messages.try_recv() {
            Ok(Message::Write(waiting)) => match waiting.size() {
                Some(size) => {
                    wanted += size;
                    group.push(waiting);
                }
                None => return (group, Some(Message::Write(waiting))),
            },
            Ok(stop @ Message::Stop(_)) => return (group, Some(stop)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// Commits the group together. When that fails each request is tried alone, so that it fails for its own reason only.
/// What came of the last of them is answered.
async fn commit(
    unit: &mut Unit,
    mut group: Vec<Box<dyn Waiting>>,
    unneeded: &Unneeded,
) -> Result<(), StoreError> {
    let together = transaction(unit, &mut group, unneeded).await;
    if together.is_ok() || group.len() == 1 {
        for waiting in group {
            waiting.acknowledge(together.clone());
        }
        return together;
    }
    let mut last = together;
    for waiting in group {
        let mut alone = [waiting];
        last = transaction(unit, &mut alone, unneeded).await;
        let [waiting] = alone;
        waiting.acknowledge(last.clone());
    }
    last
}

/// Says once that the disk is full, however many callers try meanwhile, and once that it is not any more.
fn note_disk(was_full: bool, outcome: &Result<(), StoreError>) -> bool {
    let is_full = matches!(outcome, Err(StoreError::DiskFull));
    match (was_full, is_full) {
        (false, true) => tracing::error!("{}", StoreError::DiskFull),
        (true, false) => tracing::error!("the disk has room again"),
        (true, true) | (false, false) => {}
    }
    is_full
}

async fn transaction(
    unit: &mut Unit,
    group: &mut [Box<dyn Waiting>],
    unneeded: &Unneeded,
) -> Result<(), StoreError> {
    // IMMEDIATE: a deferred transaction that reads first can fail as "database is locked" when it comes to write.
    execute(unit.connection(), "BEGIN IMMEDIATE").await?;
    let mut outcome = apply_all(unit, group).await;
    if outcome.is_ok() {
        outcome = execute(unit.connection(), "COMMIT").await;
    }
    match outcome {
        Ok(()) => unneeded.add(unit.end()),
        Err(_) => {
            unit.abandon();
            // On a full disk or a failing one SQLite has rolled back already, and says so by refusing. sqlx's own
            // transactions would count on a rollback that succeeds, and never begin another.
            if let Err(error) = execute(unit.connection(), "ROLLBACK").await {
                tracing::debug!(%error, "the transaction was rolled back already");
            }
        }
    }
    outcome
}

async fn apply_all(unit: &mut Unit, group: &mut [Box<dyn Waiting>]) -> Result<(), StoreError> {
    let mut wanted = Wanted::default();
    for waiting in group.iter() {
        waiting.collect(&mut wanted);
    }
    unit.begin(&wanted).await?;
    for waiting in group {
        waiting.apply(unit).await?;
    }
    unit.flush().await
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), StoreError> {
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}

/// A request that waits for its commit, whatever its answer's type.
trait Waiting: Send {
    /// How many jobs it wants; nothing where it wants a transaction of its own.
    fn size(&self) -> Option<usize>;

    fn collect(&self, wanted: &mut Wanted);

    fn apply<'a>(
        &'a mut self,
        unit: &'a mut Unit,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

    fn acknowledge(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<R: Request> {
    request: R,
    answer: Option<R::Answer>,
    reply: oneshot::Sender<Result<R::Answer, StoreError>>,
}

impl<R: Request> Waiting for Pending<R> {
    fn size(&self) -> Option<usize> {
        match self.request.wants() {
            Wants::Everything => None,
            Wants::Jobs(jobs) => Some(jobs.len()),
            Wants::Ready { most, .. } => Some(usize::try_from(most).unwrap_or(usize::MAX)),
        }
    }

    fn collect(&self, wanted: &mut Wanted) {
        match self.request.wants() {
            Wants::Everything => {}
            Wants::Jobs(jobs) => wanted.jobs.extend(jobs),
            Wants::Ready { worker, sweep, most, now } => {
                wanted.ready.push(WantedReady { worker, sweep, most, now });
            }
        }
    }

    fn apply<'a>(
        &'a mut self,
        unit: &'a mut Unit,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>> {
        Box::pin(async move {
            self.answer = Some(self.request.apply(unit).await?);
            Ok(())
        })
    }

    fn acknowledge(self: Box<Self>, committed: Result<(), StoreError>) {
        let Pending { answer, reply, .. } = *self;
        let _caller_gave_up = reply.send(committed.and_then(|()| answer.ok_or(StoreError::Closed)));
    }
}
