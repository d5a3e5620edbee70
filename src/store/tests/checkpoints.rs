use super::*;
use crate::store::{is_artifact_named, list_artifact_hashes, list_running};
use crate::vocabulary::Attempt;

async fn is_named(store: &Store, digit: char) -> bool {
    is_artifact_named(&mut store.reader().await.unwrap(), &hash(digit)).await.unwrap()
}

#[tokio::test]
async fn the_next_attempt_gets_the_newest_checkpoint() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a"]).await;
    let first = fixture.lease(1, 0).await;
    assert_eq!(first[0].checkpoint, None);
    let lease = first[0].lease;
    assert_eq!(fixture.report_checkpoint(lease, 1.0, checkpoint('1', 1, 0)).await, []);
    assert_eq!(fixture.report_checkpoint(lease, 2.0, checkpoint('2', 2, 0)).await, [hash('1')]);
    assert_eq!(fixture.report_checkpoint(lease, 2.0, checkpoint('3', 2, 7)).await, [hash('2')]);
    fixture.finish(lease, Ended::Release, 1).await;
    let second = fixture.lease(1, 1).await;
    assert_eq!(second[0].checkpoint, Some(checkpoint('3', 2, 7)));
    let running = list_running(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    assert_eq!((running[0].reported_epoch, running[0].metric), (2, Some(2.0)));
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_checkpoint_within_the_first_epoch_needs_no_metrics() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    let stopped = NewReport { epoch: 0, metrics: Metrics::new(), checkpoint: Some(checkpoint('1', 0, 3)) };
    let outcome = NewOutcome { lease, reports: vec![stopped], ended: Ended::Release };
    assert_eq!(fixture.store.finish(vec![outcome.clone()], Timestamp(1)).await.unwrap(), []);
    assert_eq!(fixture.store.take_unneeded(), []);
    // The same again is accepted and changes nothing.
    assert_eq!(fixture.store.finish(vec![outcome], Timestamp(1)).await.unwrap(), []);
    assert!(is_named(&fixture.store, '1').await);
    assert_eq!(fixture.trials(sweep).await[0].metrics, Metrics::new());
    assert_eq!(fixture.lease(1, 1).await[0].checkpoint, Some(checkpoint('1', 0, 3)));
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn an_attempt_keeps_the_reports_up_to_its_checkpoint_and_replaces_later_ones() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let first = fixture.lease_one(0).await;
    fixture.report(first, 1, 1.0).await;
    fixture.report_checkpoint(first, 2.0, checkpoint('1', 2, 0)).await;
    let extra = Metrics::from([("rankme".to_owned(), 99.0), ("top1".to_owned(), 99.0)]);
    let beyond = NewReport { epoch: 3, metrics: extra, checkpoint: None };
    fixture.store.report(vec![(first, beyond)], Timestamp(0)).await.unwrap();
    fixture.report(first, 4, 99.0).await;
    fixture.finish(first, fail("exit:1"), 1).await;
    assert_eq!(fixture.store.retry(sweep, Chosen::All, Timestamp(1)).await.unwrap(), 1);
    let second = fixture.lease(1, 1).await;
    assert_eq!(second[0].checkpoint, Some(checkpoint('1', 2, 0)), "a retry goes on too");
    fixture.report(second[0].lease, 3, 3.0).await;
    fixture.finish(second[0].lease, complete(), 2).await;
    assert_eq!(reports(&fixture.store).await, [(1, 1, 1.0), (2, 1, 2.0), (3, 2, 3.0)]);
    assert_eq!(fixture.trials(sweep).await[0].metrics, report(3, 3.0).metrics);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn an_attempt_that_began_anew_since_the_file_was_lost_counts_alone() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a"]).await;
    let first = fixture.lease_one(0).await;
    fixture.report_checkpoint(first, 9.0, checkpoint('9', 9, 0)).await;
    fixture.finish(first, Ended::Release, 1).await;
    let second = fixture.lease_one(1).await;
    // Its own, though the one before was further ahead.
    assert_eq!(fixture.report_checkpoint(second, 1.0, checkpoint('1', 1, 0)).await, [hash('9')]);
    fixture.finish(second, Ended::Release, 2).await;
    let third = fixture.lease(1, 2).await;
    assert_eq!(third[0].checkpoint, Some(checkpoint('1', 1, 0)));
    fixture.report(third[0].lease, 2, 2.0).await;
    fixture.finish(third[0].lease, complete(), 3).await;
    assert_eq!(reports(&fixture.store).await, [(1, 2, 1.0), (2, 3, 2.0)]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_late_repetition_does_not_bring_an_older_checkpoint_back() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.report_checkpoint(lease, 1.0, checkpoint('1', 1, 0)).await;
    fixture.report_checkpoint(lease, 2.0, checkpoint('2', 2, 0)).await;
    assert_eq!(fixture.report_checkpoint(lease, 2.0, checkpoint('2', 2, 0)).await, [], "a repetition");
    assert_eq!(fixture.report_checkpoint(lease, 1.0, checkpoint('1', 1, 0)).await, []);
    assert!(is_named(&fixture.store, '2').await && !is_named(&fixture.store, '1').await);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_checkpoint_under_a_stale_lease_is_refused_and_its_file_is_not_needed() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a"]).await;
    let late = fixture.lease_one(0).await;
    fixture.report_checkpoint(late, 1.0, checkpoint('1', 1, 0)).await;
    fixture.store.expire(Timestamp(60_000), Timestamp(-1)).await.unwrap();
    let current = fixture.lease(1, 60_000).await;
    assert_eq!(current[0].lease.attempt, Attempt(2));
    let report = NewReport { checkpoint: Some(checkpoint('2', 2, 0)), ..report(2, 2.0) };
    let refused = fixture.store.report(vec![(late, report)], Timestamp(60_001)).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(fixture.store.take_unneeded(), [hash('2')]);
    assert!(is_named(&fixture.store, '1').await && !is_named(&fixture.store, '2').await);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_file_that_two_jobs_share_stays_named_until_both_let_go() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a", "b"]).await;
    let leased = fixture.lease(2, 0).await;
    for job in &leased {
        fixture.report_checkpoint(job.lease, 1.0, checkpoint('1', 1, 0)).await;
    }
    fixture.report_checkpoint(leased[0].lease, 2.0, checkpoint('2', 2, 0)).await;
    assert!(is_named(&fixture.store, '1').await);
    fixture.report_checkpoint(leased[1].lease, 2.0, checkpoint('2', 2, 0)).await;
    assert!(!is_named(&fixture.store, '1').await);
    let named = list_artifact_hashes(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [hash('2').to_string()]);
    check_invariants(&fixture.store).await;
}

/// All reports of `top1`: epoch, attempt, value. There is no other metric.
async fn reports(store: &Store) -> Vec<(i64, i64, f64)> {
    let query = "SELECT epoch, attempt, value FROM reports ORDER BY epoch";
    let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM reports WHERE metric <> 'top1'")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    assert_eq!(others, 0);
    sqlx::query_as(query).fetch_all(&store.readers).await.unwrap()
}
