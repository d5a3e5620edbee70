use super::*;
use crate::store::{Beat, Cancelled, find_missing_trial, find_sweep};

fn these(trials: &[i64]) -> Chosen {
    Chosen::These(trials.iter().map(|trial| TrialNumber(*trial)).collect())
}

#[tokio::test]
async fn cancelling_a_trial_cancels_only_what_no_other_needs() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aab", "aac", "d"]).await.sweep;
    assert_eq!(fixture.store.cancel(sweep, these(&[1, 3]), Timestamp(1)).await.unwrap().jobs, 2);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["cancelled", "blocked", "cancelled"]);
    assert_eq!(fixture.store.cancel(sweep, these(&[2]), Timestamp(1)).await.unwrap().jobs, 2);
    check_invariants(&fixture.store).await;
    assert!(fixture.lease(9, 1).await.is_empty());
    assert_eq!(fixture.store.retry(sweep, Chosen::All, Timestamp(2)).await.unwrap(), 4);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.run_all().await, ["aa", "aab", "aac", "d"]);
}

#[tokio::test]
async fn a_running_job_is_taken_away_and_its_worker_hears_of_it() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let lease = fixture.lease_one(0).await;
    let cancelled = fixture.store.cancel(sweep, Chosen::All, Timestamp(1)).await.unwrap();
    assert_eq!(cancelled, Cancelled { trials: 2, running: 1, jobs: 2, ..Cancelled::default() });
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["cancelled", "cancelled"]);
    let beat = Beat { worker: fixture.anne, leases: vec![lease], lasts: LASTS };
    let stop = fixture.store.heartbeat(beat, Timestamp(2)).await.unwrap();
    assert_eq!(stop.iter().map(|refused| refused.lease).collect::<Vec<_>>(), [lease]);
    assert!(!fixture.finish(lease, complete(), 2).await);
    let row = find_sweep(&mut fixture.store.reader().await.unwrap(), sweep).await.unwrap().unwrap();
    assert_eq!((row.counts.cancelled, row.counts.running), (2, 0));
}

#[tokio::test]
async fn what_another_sweep_shares_goes_on() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aab", "aac"]).await.sweep;
    let two = fixture.submit_tree("two", &["aab", "aad"]).await.sweep;
    let cancelled = fixture.store.cancel(one, Chosen::All, Timestamp(1)).await.unwrap();
    let expected = Cancelled { trials: 1, jobs: 1, kept: 1, needed_by: [two].into(), ..Cancelled::default() };
    assert_eq!(cancelled, expected);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(one).await, ["blocked", "cancelled"]);
    assert_eq!(fixture.run_all().await, ["aa", "aab", "aad"]);
    assert_eq!(fixture.states(two).await, ["succeeded", "succeeded"]);
}

#[tokio::test]
async fn sweeps_that_need_the_same_jobs_can_all_be_cancelled() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aab", "aac"]).await.sweep;
    let two = fixture.submit_tree("two", &["aab", "aac"]).await.sweep;
    let three = fixture.submit_tree("three", &["aab"]).await.sweep;
    let kept = Cancelled { kept: 2, needed_by: [two, three].into(), ..Cancelled::default() };
    assert_eq!(fixture.store.cancel(one, Chosen::All, Timestamp(1)).await.unwrap(), kept);
    // One that was given up is no reason to go on.
    let cancelled = fixture.store.cancel(two, Chosen::All, Timestamp(1)).await.unwrap();
    let expected =
        Cancelled { trials: 2, jobs: 1, kept: 1, needed_by: [three].into(), ..Cancelled::default() };
    assert_eq!(cancelled, expected);
    assert_eq!(fixture.store.cancel(three, Chosen::All, Timestamp(1)).await.unwrap().jobs, 2);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(one).await, ["cancelled", "cancelled"]);
    assert_eq!(fixture.lease(9, 1).await, []);
}

#[tokio::test]
async fn a_sweep_that_is_submitted_again_wants_what_goes_on_for_others() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["ab", "c"]).await.sweep;
    let two = fixture.submit_tree("two", &["ab"]).await.sweep;
    fixture.store.cancel(one, Chosen::All, Timestamp(1)).await.unwrap();
    assert!(fixture.submit_tree("one", &["ab", "c"]).await.is_existing);
    let kept = Cancelled { kept: 1, needed_by: [one].into(), ..Cancelled::default() };
    assert_eq!(fixture.store.cancel(two, Chosen::All, Timestamp(2)).await.unwrap(), kept);
    assert_eq!(fixture.states(one).await, ["queued", "cancelled"]);
}

#[tokio::test]
async fn what_was_cancelled_and_is_run_again_for_another_sweep_ends_with_that_one() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["ab"]).await.sweep;
    fixture.store.cancel(one, Chosen::All, Timestamp(1)).await.unwrap();
    let two = fixture.submit_tree("two", &["ab"]).await.sweep;
    assert_eq!(fixture.states(one).await, ["queued"]);
    assert_eq!(fixture.store.cancel(two, Chosen::All, Timestamp(2)).await.unwrap().jobs, 1);
    // Whoever retries a trial wants it again.
    fixture.store.retry(two, Chosen::All, Timestamp(3)).await.unwrap();
    fixture.store.retry(one, Chosen::All, Timestamp(3)).await.unwrap();
    let kept = Cancelled { kept: 1, needed_by: [one].into(), ..Cancelled::default() };
    assert_eq!(fixture.store.cancel(two, Chosen::All, Timestamp(4)).await.unwrap(), kept);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn the_last_one_to_be_cancelled_lets_go_of_what_it_would_have_gone_on_from() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aab", "aac"]).await.sweep;
    fixture.run_one().await;
    assert_eq!(fixture.store.cancel(sweep, these(&[1]), Timestamp(1)).await.unwrap().jobs, 1);
    assert_eq!(fixture.unneeded(), []);
    assert_eq!(fixture.store.cancel(sweep, Chosen::All, Timestamp(1)).await.unwrap().jobs, 1);
    assert_eq!(fixture.unneeded(), [super::sharing::hash_of("aa")]);
    check_invariants(&fixture.store).await;
    // What was done before it was cancelled is no reason to keep what would have come of it.
    assert_eq!(fixture.store.cancel(sweep, Chosen::All, Timestamp(1)).await.unwrap().jobs, 0);
}

#[tokio::test]
async fn a_trial_that_another_goes_on_from_stays() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aa", "aab"]).await.sweep;
    let cancelled = fixture.store.cancel(one, these(&[1]), Timestamp(1)).await.unwrap();
    assert_eq!(cancelled, Cancelled { kept: 1, ..Cancelled::default() }, "its own sweep needs it");
    let two = fixture.submit_tree("two", &["aac"]).await.sweep;
    let cancelled = fixture.store.cancel(one, Chosen::All, Timestamp(1)).await.unwrap();
    let expected = Cancelled { trials: 1, jobs: 1, kept: 1, needed_by: [two].into(), ..Cancelled::default() };
    assert_eq!(cancelled, expected, "what goes on from it is another sweep's");
    assert_eq!(fixture.states(one).await, ["queued", "cancelled"]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_number_that_no_trial_has_is_found() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let mut reader = fixture.store.reader().await.unwrap();
    assert_eq!(find_missing_trial(&mut reader, sweep, &Chosen::All).await.unwrap(), None);
    assert_eq!(find_missing_trial(&mut reader, sweep, &these(&[1, 2])).await.unwrap(), None);
    let missing = find_missing_trial(&mut reader, sweep, &these(&[9, 2, 3])).await.unwrap();
    assert_eq!(missing, Some(TrialNumber(3)));
}

#[tokio::test]
async fn only_the_chosen_trials_are_tried_again() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b", "c"]).await;
    fixture.store.cancel(sweep, Chosen::All, Timestamp(1)).await.unwrap();
    assert_eq!(fixture.store.retry(sweep, these(&[2]), Timestamp(2)).await.unwrap(), 1);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["cancelled", "queued", "cancelled"]);
}
