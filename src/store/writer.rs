//! The one writer: a task that owns the only connection that writes.
//!
//! Requests that wait are applied in one transaction and acknowledged after its commit, so that many callers share one
//! sync of the disk (group commit) and no two writers ever meet.

use std::future::Future;
use std::pin::Pin;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// More than this and the first caller of a group waits noticeably for the last.
const LARGEST_GROUP: usize = 128;

/// Callers beyond this wait before they are queued; each has at most one request under way.
const QUEUE: usize = 256;

/// A write: what it changes, and what it answers.
pub(super) trait Request: Send + Sync + 'static {
    type Answer: Send + 'static;

    /// Applies the request within the transaction that is open on `connection`. May be called again after a rollback.
    fn apply(
        &self,
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send;
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
    pub(super) fn start(connection: SqliteConnection) -> Writer {
        let (inbox, messages) = mpsc::channel(QUEUE);
        tokio::spawn(run(connection, messages));
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

async fn run(mut connection: SqliteConnection, mut messages: mpsc::Receiver<Message>) {
    let mut is_disk_full = false;
    while let Some(message) = messages.recv().await {
        let (group, stop) = gather(message, &mut messages);
        if !group.is_empty() {
            let outcome = commit(&mut connection, group).await;
            is_disk_full = note_disk(is_disk_full, &outcome);
        }
        if let Some(stopped) = stop {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "the job table could not be closed cleanly");
            }
            let _nobody_waits = stopped.send(());
            return;
        }
    }
}

/// The first message and whatever else waits already, up to a stop.
fn gather(
    first: Message,
    messages: &mut mpsc::Receiver<Message>,
) -> (Vec<Box<dyn Waiting>>, Option<oneshot::Sender<()>>) {
    let mut group = Vec::new();
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Stop(reply) => return (group, Some(reply)),
            Message::Write(waiting) => group.push(waiting),
        }
        next = if group.len() < LARGEST_GROUP { messages.try_recv().ok() } else { None };
    }
    (group, None)
}

/// Commits the group together. When that fails each request is tried alone, so that it fails for its own reason only.
/// What came of the last of them is answered.
async fn commit(
    connection: &mut SqliteConnection,
    mut group: Vec<Box<dyn Waiting>>,
) -> Result<(), StoreError> {
    let together = transaction(connection, &mut group).await;
    if together.is_ok() || group.len() == 1 {
        for waiting in group {
            waiting.acknowledge(together.clone());
        }
        return together;
    }
    let mut last = together;
    for waiting in group {
        let mut alone = [waiting];
        last = transaction(connection, &mut alone).await;
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
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Waiting>],
) -> Result<(), StoreError> {
    // IMMEDIATE: a deferred transaction that reads first can fail as "database is locked" when it comes to write.
    execute(connection, "BEGIN IMMEDIATE").await?;
    let mut outcome = apply_all(connection, group).await;
    if outcome.is_ok() {
        outcome = execute(connection, "COMMIT").await;
    }
    if outcome.is_err() {
        // On a full disk or a failing one SQLite has rolled back already, and says so by refusing. sqlx's own transactions
        // would count on a rollback that succeeds, and never begin another.
        if let Err(error) = execute(connection, "ROLLBACK").await {
            tracing::debug!(%error, "the transaction was rolled back already");
        }
    }
    outcome
}

async fn apply_all(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Waiting>],
) -> Result<(), StoreError> {
    for waiting in group {
        waiting.apply(connection).await?;
    }
    Ok(())
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), StoreError> {
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}

/// A request that waits for its commit, whatever its answer's type.
trait Waiting: Send {
    fn apply<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

    fn acknowledge(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<R: Request> {
    request: R,
    answer: Option<R::Answer>,
    reply: oneshot::Sender<Result<R::Answer, StoreError>>,
}

impl<R: Request> Waiting for Pending<R> {
    fn apply<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>> {
        Box::pin(async move {
            self.answer = Some(self.request.apply(connection).await?);
            Ok(())
        })
    }

    fn acknowledge(self: Box<Self>, committed: Result<(), StoreError>) {
        let Pending { answer, reply, .. } = *self;
        let _caller_gave_up = reply.send(committed.and_then(|()| answer.ok_or(StoreError::Closed)));
    }
}
