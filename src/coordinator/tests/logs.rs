//! Logs that workers send, and how they are read.

use super::*;
use crate::protocol::logs::{LogExtent, LogPart, LogQuery, LogsRequest};
use crate::vocabulary::{Attempt, FailureReason, JobId};

fn part(token: LeaseToken, offset: u64, text: &str) -> LogPart {
    LogPart { token, offset, text: text.to_owned() }
}

impl Fixture {
    async fn send(&self, parts: Vec<LogPart>) {
        self.coordinator.take_logs(LogsRequest { parts }).await.unwrap();
    }

    /// What there is of the first trial's log, and how much that is.
    async fn read(&self, sweep: SweepId) -> (String, LogExtent) {
        let log = self.coordinator.log(sweep, TrialNumber(1), &LogQuery::default()).await.unwrap();
        (log.text, log.attempt.unwrap().extent)
    }
}

#[tokio::test]
async fn a_log_that_is_sent_while_the_attempt_runs_is_read_at_once_and_stays() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("command: [/bin/true]\nparameters: {}\n").await;
    let token = fixture.lease().await[0].token;
    assert_eq!(fixture.read(sweep).await, (String::new(), LogExtent::Nothing));
    fixture.send(vec![part(token, 0, "one\n"), part(token, 4, "two\n")]).await;
    fixture.send(vec![part(token, 4, "two\n")]).await;
    assert_eq!(fixture.read(sweep).await, ("one\ntwo\n".to_owned(), LogExtent::Whole));
    let (message, log_tail) = ("broken".to_owned(), "two\n".to_owned());
    fixture.finish(token, AttemptEnd::Fail { reason: FailureReason::BadConfig, message, log_tail }).await;
    // What was under way at the end is welcome too.
    fixture.send(vec![part(token, 8, "three\n")]).await;
    assert_eq!(fixture.read(sweep).await, ("one\ntwo\nthree\n".to_owned(), LogExtent::Whole));
}

#[tokio::test]
async fn a_log_of_an_attempt_that_there_is_not_makes_no_file() {
    let fixture = Fixture::new().await;
    fixture.submit("command: [/bin/true]\nparameters: {}\n").await;
    let token = fixture.lease().await[0].token;
    let next = LeaseToken { attempt: Attempt(token.attempt.0 + 1), ..token };
    let other = LeaseToken { job: JobId(-1), ..token };
    fixture.send(vec![part(next, 0, "x"), part(other, 0, "x")]).await;
    assert!(!fixture.folder.path().join("logs").exists());
}
