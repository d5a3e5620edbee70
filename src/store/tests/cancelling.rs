use super::*;
use crate::store::{Chosen, find_sweep};

fn these(trials: &[i64]) -> Chosen {
    Chosen::These(trials.iter().map(|trial| TrialNumber(*trial)).collect())
}

#[tokio::test]
async fn cancelling_a_trial_cancels_only_what_no_other_needs() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aab", "aac", "d"]).await.sweep;
    assert_eq!(fixture.store.cancel(sweep, these(&[1, 3]), Timestamp(1)).await.unwrap(), 2);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["cancelled", "blocked", "cancelled"]);
    assert_eq!(fixture.store.cancel(sweep, these(&[2]), Timestamp(1)).await.unwrap(), 2);
    check_invariants(&fixture.store).await;
    assert!(fixture.lease(9, 1).await.is_empty());
    assert_eq!(fixture.store.retry(sweep, Timestamp(2)).await.unwrap(), 4);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.run_all().await, ["aa", "aab", "aac", "d"]);
}

#[tokio::test]
async fn a_running_job_is_taken_away_and_its_worker_hears_of_it() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let lease = fixture.lease_one(0).await;
    assert_eq!(fixture.store.cancel(sweep, Chosen::All, Timestamp(1)).await.unwrap(), 2);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["cancelled", "cancelled"]);
    assert!(!fixture.finish(lease, complete(), 2).await);
    let row = find_sweep(&mut fixture.store.reader().await.unwrap(), sweep).await.unwrap().unwrap();
    assert_eq!((row.counts.cancelled, row.counts.running), (2, 0));
}

#[tokio::test]
async fn what_another_sweep_shares_goes_on() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aab", "aac"]).await.sweep;
    let two = fixture.submit_tree("two", &["aab", "aad"]).await.sweep;
    assert_eq!(fixture.store.cancel(one, Chosen::All, Timestamp(1)).await.unwrap(), 1);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(one).await, ["blocked", "cancelled"]);
    assert_eq!(fixture.run_all().await, ["aa", "aab", "aad"]);
    assert_eq!(fixture.states(two).await, ["succeeded", "succeeded"]);
}

#[tokio::test]
async fn the_last_one_to_be_cancelled_lets_go_of_what_it_would_have_gone_on_from() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aab", "aac"]).await.sweep;
    fixture.run_one().await;
    assert_eq!(fixture.store.cancel(sweep, these(&[1]), Timestamp(1)).await.unwrap(), 1);
    assert_eq!(fixture.unneeded(), []);
    assert_eq!(fixture.store.cancel(sweep, Chosen::All, Timestamp(1)).await.unwrap(), 1);
    assert_eq!(fixture.unneeded(), [super::sharing::hash_of("aa")]);
    check_invariants(&fixture.store).await;
    // What was done before it was cancelled is no reason to keep what would have come of it.
    assert_eq!(fixture.store.cancel(sweep, Chosen::All, Timestamp(1)).await.unwrap(), 0);
}
