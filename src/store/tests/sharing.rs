//! Trials that share what they have in common: within a sweep, and with what other sweeps have run before.

use super::*;
use crate::store::{Keep, Submitted};

impl Fixture {
    pub(super) async fn submit_tree(&self, name: &str, trials: &[&str]) -> Submitted {
        let submitted = self.store.submit(tree(name, trials), Timestamp(0)).await.unwrap();
        check_invariants(&self.store).await;
        submitted
    }

    /// Leases a job and runs it to its end; gives the trial's name up to there.
    pub(super) async fn run_one(&self) -> Option<String> {
        let leased = self.lease(1, 0).await;
        let job = leased.first()?;
        let done = self.complete(job).await;
        Some(done)
    }

    /// Runs a leased job as a worker would: from the state that it was given, with a checkpoint at the end and `top1` as
    /// the epoch.
    pub(super) async fn complete(&self, job: &LeasedJob) -> String {
        let name = names(std::slice::from_ref(job))[0].to_owned();
        let (first, last) = (job.first_epoch as usize, job.last_epoch as usize);
        if first > 1 {
            let from = job.checkpoint.as_ref().or(job.start.as_ref()).expect("nothing to go on from");
            assert_eq!(from.hash, hash_of(&name[..from.epoch as usize]), "another's state");
        }
        assert!(job.required.iter().all(|weights| weights.checkpoint.is_some()), "weights are missing");
        let mut reports: Vec<NewReport> =
            (first..=last).map(|epoch| report(u32::try_from(epoch).unwrap(), epoch as f64)).collect();
        let checkpoint =
            Checkpoint { hash: hash_of(&name[..last]), epoch: job.last_epoch, step: 0, size_bytes: 1 };
        reports.last_mut().unwrap().checkpoint = Some(checkpoint);
        let outcome = NewOutcome { lease: job.lease, reports, ended: complete() };
        assert_eq!(self.store.finish(vec![outcome], Timestamp(0)).await.unwrap(), []);
        check_invariants(&self.store).await;
        name[..last].to_owned()
    }

    /// Runs all that is left; gives the trials' names up to the end of each job.
    pub(super) async fn run_all(&self) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(name) = self.run_one().await {
            done.push(name);
        }
        done
    }

    pub(super) fn unneeded(&self) -> Vec<CheckpointHash> {
        self.store.take_unneeded()
    }
}

/// What the state after these epochs looks like in a file.
pub(super) fn hash_of(prefix: &str) -> CheckpointHash {
    blake3::hash(prefix.as_bytes()).to_hex().parse().unwrap()
}

#[tokio::test]
async fn what_trials_have_in_common_is_run_once_and_depth_first() {
    let fixture = Fixture::new().await;
    let submitted = fixture.submit_tree("s", &["aabb", "aabc", "aad"]).await;
    assert_eq!((submitted.trials, submitted.jobs_new), (3, 5));
    assert_eq!((submitted.epochs_to_run, submitted.epochs_unshared), (6, 11));
    assert_eq!(fixture.states(submitted.sweep).await, ["blocked"; 3]);
    assert_eq!(fixture.run_all().await, ["aa", "aab", "aabb", "aabc", "aad"]);
    assert_eq!(fixture.states(submitted.sweep).await, ["succeeded"; 3]);
    let top1: Vec<f64> =
        fixture.trials(submitted.sweep).await.iter().map(|trial| trial.metrics["top1"]).collect();
    assert_eq!(top1, [4.0, 4.0, 3.0]);
}

#[tokio::test]
async fn a_checkpoint_is_let_go_when_the_last_job_that_needs_it_is_done() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("s", &["aab", "aac"]).await;
    for (done, unneeded) in [("aa", vec![]), ("aab", vec![]), ("aac", vec![hash_of("aa")])] {
        assert_eq!(fixture.run_one().await.unwrap(), done);
        assert_eq!(fixture.unneeded(), unneeded, "after {done}");
    }
}

#[tokio::test]
async fn a_sweep_that_keeps_nothing_lets_go_of_its_last_checkpoints_too() {
    let fixture = Fixture::new().await;
    let sweep = NewSweep { keep: Keep::None, ..tree("s", &["ab", "ac"]) };
    fixture.store.submit(sweep, Timestamp(0)).await.unwrap();
    fixture.run_all().await;
    assert_eq!(fixture.unneeded().len(), 3);
    // Whoever wants them kept does not get them back, but the results.
    let two = fixture.submit_tree("two", &["ab"]).await;
    assert_eq!((two.trials_reused, two.jobs_new), (1, 0));
}

#[tokio::test]
async fn a_metric_of_an_earlier_job_is_a_trials_own_unless_a_later_one_reports_it() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["ab", "ac"]).await.sweep;
    let first = fixture.lease(1, 0).await.remove(0);
    let extra = Metrics::from([("probe".to_owned(), 7.0), ("top1".to_owned(), 1.0)]);
    let report = NewReport { epoch: 1, metrics: extra.clone(), checkpoint: None };
    fixture.store.report(vec![(first.lease, report)], Timestamp(0)).await.unwrap();
    assert!(fixture.trials(sweep).await.iter().all(|trial| trial.metrics == extra));
    fixture.complete(&first).await;
    fixture.run_one().await;
    let metrics: Vec<Metrics> = fixture.trials(sweep).await.into_iter().map(|trial| trial.metrics).collect();
    assert_eq!((metrics[0]["probe"], metrics[0]["top1"]), (7.0, 2.0));
    assert_eq!((metrics[1]["probe"], metrics[1]["top1"]), (7.0, 1.0));
}

#[tokio::test]
async fn a_later_sweep_goes_on_from_what_is_there() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("one", &["aab", "aac"]).await;
    fixture.run_one().await;
    fixture.run_one().await;
    let two = fixture.submit_tree("two", &["aab", "aad"]).await;
    assert_eq!((two.trials, two.trials_reused, two.jobs_new), (2, 1, 1));
    assert_eq!((two.epochs_to_run, two.epochs_unshared, two.epochs_run_again), (1, 6, 0));
    assert_eq!(fixture.run_all().await, ["aac", "aad"]);
    assert_eq!(fixture.unneeded(), [hash_of("aa")]);
}

#[tokio::test]
async fn a_later_sweep_waits_for_what_is_under_way() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aab", "aac"]).await.sweep;
    let running = fixture.lease(1, 0).await.remove(0);
    let two = fixture.submit_tree("two", &["aab", "aad"]).await;
    assert_eq!((two.jobs_new, two.epochs_to_run, two.epochs_run_again), (1, 4, 0));
    let mine = |most| fixture.lease_for(fixture.anne, Some(two.sweep), most, 0);
    assert!(mine(9).await.is_empty());
    fixture.complete(&running).await;
    let leased = mine(9).await;
    assert_eq!(names(&leased), ["aab", "aad"]);
    for job in &leased {
        fixture.complete(job).await;
    }
    assert_eq!(fixture.states(two.sweep).await, ["succeeded"; 2]);
    assert_eq!(fixture.states(one).await, ["succeeded", "queued"]);
}

#[tokio::test]
async fn a_state_that_was_let_go_is_made_again_only_for_whoever_goes_on_from_it() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aab", "aac"]).await.sweep;
    fixture.run_all().await;
    let same = fixture.submit_tree("same", &["aac", "aab"]).await;
    assert_eq!((same.trials_reused, same.jobs_new, same.epochs_to_run), (2, 0, 0));
    let two = fixture.submit_tree("two", &["aab", "aad", "aae"]).await;
    assert_eq!((two.trials_reused, two.jobs_new), (1, 3));
    assert_eq!((two.epochs_to_run, two.epochs_run_again), (4, 2));
    // It is there for the next one too.
    let three = fixture.submit_tree("three", &["aaf"]).await;
    assert_eq!((three.jobs_new, three.epochs_to_run, three.epochs_run_again), (1, 3, 0));
    assert_eq!(fixture.run_all().await, ["aa", "aad", "aae", "aaf"]);
    assert_eq!(fixture.states(one).await, ["succeeded"; 2]);
    assert_eq!(fixture.trials(one).await[0].metrics["top1"], 3.0);
}

#[tokio::test]
async fn a_state_within_a_finished_job_is_made_again() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("one", &["aab"]).await;
    fixture.run_all().await;
    let two = fixture.submit_tree("two", &["aab", "aac"]).await;
    assert_eq!((two.trials_reused, two.jobs_new, two.epochs_to_run, two.epochs_run_again), (1, 2, 3, 2));
    assert_eq!(fixture.run_all().await, ["aa", "aac"]);
}

#[tokio::test]
async fn what_goes_on_from_a_kept_checkpoint_needs_nothing_again() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("one", &["aab"]).await;
    fixture.run_all().await;
    let longer = fixture.submit_tree("longer", &["aabcc"]).await;
    assert_eq!((longer.jobs_new, longer.epochs_to_run, longer.epochs_unshared), (1, 2, 5));
    assert_eq!(longer.epochs_run_again, 0);
    let leased = fixture.lease(1, 0).await.remove(0);
    assert_eq!((leased.first_epoch, leased.last_epoch), (4, 5));
    fixture.complete(&leased).await;
    assert_eq!(fixture.unneeded(), [], "the first sweep keeps it");
}

#[tokio::test]
async fn a_failure_fails_the_trials_below_and_names_its_cause() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aabb", "aabc", "c"]).await.sweep;
    let first = fixture.lease(1, 0).await.remove(0);
    fixture.finish(first.lease, fail("nan"), 1).await;
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["failed", "failed", "queued"]);
    for trial in &fixture.trials(sweep).await[..2] {
        let failure = trial.failure.clone().unwrap();
        let cause = failure.cause.unwrap();
        assert_eq!(
            (failure.reason.to_string(), cause.reason.to_string()),
            ("upstream".to_owned(), "nan".to_owned())
        );
        assert_eq!((cause.sweep, cause.trial), (sweep, TrialNumber(1)));
        assert_eq!((failure.message.as_str(), failure.log_tail.as_str()), ("it broke", "last words"));
    }
    assert_eq!(fixture.store.retry(sweep, Chosen::All, Timestamp(2)).await.unwrap(), 3);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["blocked", "blocked", "queued"]);
    assert_eq!(fixture.run_all().await, ["aab", "aabb", "aabc", "c"]);
}

#[tokio::test]
async fn a_retry_makes_the_state_again_from_which_the_failed_job_went_on() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["aab", "aac"]).await.sweep;
    fixture.run_one().await;
    fixture.run_one().await;
    let last = fixture.lease(1, 0).await.remove(0);
    fixture.finish(last.lease, fail("nan"), 1).await;
    assert_eq!(fixture.unneeded(), [hash_of("aa")], "nobody was left who needed it");
    assert_eq!(fixture.store.retry(sweep, Chosen::All, Timestamp(2)).await.unwrap(), 1);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(sweep).await, ["succeeded", "blocked"]);
    assert_eq!(fixture.run_all().await, ["aa", "aac"]);
    assert_eq!(fixture.trials(sweep).await[1].metrics["top1"], 3.0);
}

#[tokio::test]
async fn a_retry_that_goes_on_from_the_jobs_own_checkpoint_needs_nothing_again() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit_tree("s", &["abbb"]).await.sweep;
    fixture.submit_tree("t", &["a"]).await;
    fixture.run_one().await;
    let last = fixture.lease(1, 0).await.remove(0);
    let own = Checkpoint { hash: hash_of("abb"), epoch: 3, step: 0, size_bytes: 1 };
    fixture.report_checkpoint(last.lease, 3.0, own.clone()).await;
    fixture.finish(last.lease, fail("nan"), 1).await;
    assert_eq!(fixture.store.retry(sweep, Chosen::All, Timestamp(2)).await.unwrap(), 1);
    let again = fixture.lease(1, 2).await.remove(0);
    assert_eq!((again.lease.job, again.checkpoint.clone()), (last.lease.job, Some(own)));
    fixture.complete(&again).await;
}

#[tokio::test]
async fn a_sweep_reopens_the_failed_jobs_that_it_shares_with_what_comes_before_them() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aab", "aac"]).await.sweep;
    let first = fixture.lease(1, 0).await.remove(0);
    fixture.finish(first.lease, fail("nan"), 1).await;
    let two = fixture.submit_tree("two", &["aab"]).await;
    assert_eq!((two.jobs_new, two.epochs_to_run), (0, 3));
    assert_eq!(fixture.states(one).await, ["blocked", "failed"]);
    let leased = fixture.lease_for(fixture.anne, Some(two.sweep), 9, 0).await;
    assert_eq!(names(&leased), ["aab"]);
}
