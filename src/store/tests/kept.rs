//! Checkpoints that sweeps keep beside the last ones.

use super::*;
use crate::store::{Keep, is_artifact_named};
use crate::vocabulary::{Goal, Metric};

impl Fixture {
    async fn submit_keeping(&self, keep: Keep, name: &str, trials: &[&str]) -> SweepId {
        self.store.submit(NewSweep { keep, ..tree(name, trials) }, Timestamp(0)).await.unwrap().sweep
    }

    /// Reports an epoch with a checkpoint of this digit; gives the digits of the files that are not named any more.
    async fn epoch(&self, lease: LeaseFor, epoch: u32, top1: f64) -> Vec<char> {
        let digit = char::from_digit(epoch, 16).unwrap();
        let mut gone = Vec::new();
        for hash in self.report_checkpoint(lease, top1, checkpoint(digit, epoch, 0)).await {
            let mut reader = self.store.reader().await.unwrap();
            if !is_artifact_named(&mut reader, &hash).await.unwrap() {
                gone.extend(hash.to_string().chars().next());
            }
        }
        check_invariants(&self.store).await;
        gone
    }

    /// Epochs and values of what stays of a sweep's first trial.
    async fn kept(&self, sweep: SweepId) -> Vec<(u32, Option<f64>)> {
        let rows = self.trials(sweep).await.remove(0).checkpoints;
        rows.into_iter().map(|row| (row.epoch, row.value)).collect()
    }
}

#[tokio::test]
async fn the_best_state_stays_beside_the_last() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_keeping(Keep::Best, "s", &["abcde"]).await;
    let lease = fixture.lease_one(0).await;
    let mut gone = Vec::new();
    for (epoch, top1) in [(1, 10.0), (2, 30.0), (3, 20.0), (4, 30.0), (5, 25.0)] {
        gone.push(fixture.epoch(lease, epoch, top1).await);
    }
    // The newest is there to go on from; of equally good ones the first stays.
    assert_eq!(gone, [vec![], vec!['1'], vec![], vec!['3'], vec!['4']]);
    assert_eq!(
        fixture.kept(sweep).await,
        [(2, Some(30.0))],
        "the last one is that of a trial that succeeded"
    );
    fixture.finish(lease, complete(), 1).await;
    assert_eq!(fixture.kept(sweep).await, [(2, Some(30.0)), (5, Some(25.0))]);
    assert_eq!(fixture.store.take_unneeded(), []);
}

#[tokio::test]
async fn the_lowest_is_the_best_of_what_is_minimised_and_what_was_not_measured_is_none() {
    let fixture = Fixture::new().await;
    let metric = Some(Metric { name: "top1".to_owned(), goal: Goal::Minimize });
    let new = NewSweep { keep: Keep::Best, metric, ..tree("s", &["abcd"]) };
    let sweep = fixture.store.submit(new, Timestamp(0)).await.unwrap().sweep;
    let lease = fixture.lease_one(0).await;
    fixture.epoch(lease, 1, -1.0).await;
    let unmeasured = NewReport { epoch: 2, metrics: Metrics::new(), checkpoint: Some(checkpoint('2', 2, 0)) };
    fixture.store.report(vec![(lease, unmeasured)], Timestamp(0)).await.unwrap();
    fixture.epoch(lease, 3, -2.0).await;
    // Without a file it can't be kept, however good it was.
    fixture.report(lease, 4, -9.0).await;
    assert_eq!(fixture.kept(sweep).await, [(3, Some(-2.0))]);
}

#[tokio::test]
async fn all_states_of_completed_epochs_stay_where_all_are_kept() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_keeping(Keep::All, "s", &["abc"]).await;
    let lease = fixture.lease_one(0).await;
    assert_eq!(fixture.epoch(lease, 1, 1.0).await, [] as [char; 0]);
    fixture.report_checkpoint(lease, 1.0, checkpoint('e', 1, 7)).await;
    assert_eq!(fixture.epoch(lease, 2, 0.0).await, ['e'], "one within an epoch is there to go on from only");
    fixture.epoch(lease, 3, 0.0).await;
    fixture.finish(lease, complete(), 1).await;
    assert_eq!(fixture.kept(sweep).await, [(1, Some(1.0)), (2, Some(0.0)), (3, Some(0.0))]);
}

#[tokio::test]
async fn the_strongest_wish_of_the_sweeps_that_share_a_job_holds() {
    let fixture = Fixture::new().await;
    let unkept = fixture.submit_keeping(Keep::None, "none", &["abcde"]).await;
    let lease = fixture.lease_one(0).await;
    assert_eq!(fixture.epoch(lease, 1, 9.0).await, [] as [char; 0]);
    assert_eq!(fixture.epoch(lease, 2, 9.0).await, ['1']);
    // From now on; what is gone is gone.
    fixture.submit_keeping(Keep::Best, "best", &["abcde"]).await;
    fixture.epoch(lease, 3, 5.0).await;
    assert_eq!(fixture.epoch(lease, 4, 4.0).await, [] as [char; 0]);
    fixture.submit_keeping(Keep::All, "all", &["abcde"]).await;
    fixture.epoch(lease, 5, 3.0).await;
    fixture.finish(lease, complete(), 1).await;
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.kept(unkept).await, [(3, Some(5.0)), (5, Some(3.0))]);
}

#[tokio::test]
async fn what_another_attempt_trains_anew_is_kept_of_that_one() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_keeping(Keep::Best, "s", &["abcd"]).await;
    let first = fixture.lease_one(0).await;
    fixture.epoch(first, 1, 50.0).await;
    fixture.epoch(first, 2, 99.0).await;
    fixture.finish(first, Ended::Release, 1).await;
    // The file was lost, and the attempt that began anew was interrupted in its turn.
    let second = fixture.lease_one(1).await;
    fixture.report_checkpoint(second, 40.0, checkpoint('a', 1, 0)).await;
    fixture.finish(second, Ended::Release, 2).await;
    assert_eq!(fixture.kept(sweep).await, [(2, Some(99.0))]);
    let third = fixture.lease_one(2).await;
    assert_eq!(
        fixture.kept(sweep).await,
        [],
        "the second epoch is done anew, and its state is no result yet"
    );
    check_invariants(&fixture.store).await;
    fixture.epoch(third, 2, 30.0).await;
    fixture.epoch(third, 3, 20.0).await;
    assert_eq!(fixture.kept(sweep).await, [(2, Some(30.0))]);
}

#[tokio::test]
async fn a_shared_beginning_keeps_for_all_trials_below_it() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_keeping(Keep::All, "one", &["abc"]).await;
    // Nobody has begun it, so it is split.
    let other = fixture.submit_keeping(Keep::None, "two", &["abd"]).await;
    fixture.run_all().await;
    check_invariants(&fixture.store).await;
    let epochs = |kept: Vec<(u32, Option<f64>)>| kept.into_iter().map(|(epoch, _)| epoch).collect::<Vec<_>>();
    // A worker of these tests leaves a checkpoint at the end of a job.
    assert_eq!(epochs(fixture.kept(sweep).await), [2, 3]);
    assert_eq!(epochs(fixture.kept(other).await), [2]);
}
