use super::*;
use crate::store::{AttemptRow, LineRow, find_attempt, list_line};
use crate::vocabulary::{Attempt, JobId};

#[tokio::test]
async fn a_trials_stages_are_listed_from_its_first_job_to_its_last() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aab", "aac", "d"]).await.sweep;
    fixture.run_one().await;
    let mut reader = fixture.store.reader().await.unwrap();
    let shown = |stage: &LineRow| (stage.first_epoch, stage.last_epoch, stage.state.clone(), stage.attempt.0);
    let first = list_line(&mut reader, sweep, TrialNumber(1)).await.unwrap();
    let second = list_line(&mut reader, sweep, TrialNumber(2)).await.unwrap();
    assert_eq!(
        first.iter().map(shown).collect::<Vec<_>>(),
        [(1, 2, "succeeded".to_owned(), 1), (3, 3, "queued".to_owned(), 0)]
    );
    assert_eq!(first[0], second[0]);
    assert_ne!(first[1].job, second[1].job);
    assert_eq!(list_line(&mut reader, sweep, TrialNumber(3)).await.unwrap().len(), 1);
    assert_eq!(list_line(&mut reader, sweep, TrialNumber(9)).await.unwrap(), []);
}

#[tokio::test]
async fn an_attempt_keeps_its_host_and_the_end_of_its_log() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    let found = async |attempt| {
        find_attempt(&mut fixture.store.reader().await.unwrap(), lease.job, Attempt(attempt)).await.unwrap()
    };
    let running = AttemptRow { host: "anne".to_owned(), has_ended: false, log_tail: None };
    assert_eq!(found(1).await, Some(running.clone()));
    assert!(fixture.finish(lease, fail("exit:1"), 1).await);
    let failed = AttemptRow { has_ended: true, log_tail: Some("last words".to_owned()), ..running };
    assert_eq!(found(1).await, Some(failed));
    assert_eq!(found(2).await, None);
    let mut reader = fixture.store.reader().await.unwrap();
    assert_eq!(find_attempt(&mut reader, JobId(99), Attempt(1)).await.unwrap(), None);
}
