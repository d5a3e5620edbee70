use super::*;
use crate::store::unit::Unit;
use crate::store::writer::{Request, Wants};
use crate::store::{StoreError, find_next_due, find_sweep, list_finished_trials, list_sweeps};
use crate::vocabulary::Goal;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.report(lease, 3, 42.0).await;
    fixture.finish(lease, complete(), 1).await;
    let path = fixture.folder.path().join("sweep.db");
    fixture.store.clone().close().await;

    let store = Store::open(&path).await.unwrap();
    let mut reader = store.reader().await.unwrap();
    let row = find_sweep(&mut reader, sweep).await.unwrap().unwrap();
    assert_eq!((row.counts.succeeded, row.counts.queued), (1, 1));
    assert_eq!((row.swept, row.metric.unwrap().goal), (vec!["job".to_owned()], Goal::Maximize));
    let trials = list_trials(&mut reader, sweep).await.unwrap();
    assert_eq!(trials[0].metrics, report(3, 42.0).metrics);
    assert_eq!(trials[0].seed, u64::MAX);
    check_invariants(&store).await;
}

#[tokio::test]
async fn a_write_after_closing_is_an_error_and_not_a_hang() {
    let fixture = Fixture::new().await;
    fixture.store.clone().close().await;
    let refused = fixture.store.register(worker("late"), Timestamp(0)).await;
    assert!(matches!(refused, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.db");
    std::fs::write(&path, "results of my thesis, copied by hand\n".repeat(99)).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(Store::open(&path).await.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn the_same_expansion_is_the_same_sweep() {
    let fixture = Fixture::new().await;
    let sweep_id = fixture.submit("s", &["a"]).await;
    let again = fixture.store.submit(sweep("s", &["a"]), Timestamp(9)).await.unwrap();
    assert_eq!((again.sweep, again.is_existing, again.trials), (sweep_id, true, 1));
    assert_eq!(list_sweeps(&mut fixture.store.reader().await.unwrap()).await.unwrap().len(), 1);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_second_sweep_joins_jobs_that_are_there() {
    let fixture = Fixture::new().await;
    let one = fixture.submit("one", &["a", "b"]).await;
    let done = fixture.lease_one(0).await;
    fixture.report(done, 1, 7.0).await;
    fixture.finish(done, complete(), 1).await;
    let two = fixture.store.submit(sweep("two", &["a", "b", "c"]), Timestamp(2)).await.unwrap();
    assert_eq!((two.trials_reused, two.is_existing, two.trials, two.jobs_new), (1, false, 3, 1));
    assert_eq!((two.epochs_to_run, two.epochs_unshared, two.epochs_run_again), (20, 30, 0));
    assert_eq!(fixture.states(two.sweep).await, ["succeeded", "queued", "queued"]);
    assert_eq!(fixture.trials(two.sweep).await[0].metrics, report(1, 7.0).metrics);

    let shared = fixture.lease_one(3).await;
    fixture.finish(shared, complete(), 4).await;
    assert_eq!(fixture.states(one).await, ["succeeded", "succeeded"]);
    assert_eq!(fixture.states(two.sweep).await, ["succeeded", "succeeded", "queued"]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_failed_trial_says_why_and_a_retry_reopens_it() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    assert!(fixture.finish(lease, fail("exit:3"), 1).await);
    let failure = fixture.trials(sweep).await.remove(0).failure.unwrap();
    assert_eq!((failure.reason.to_string().as_str(), failure.message.as_str()), ("exit:3", "it broke"));
    assert_eq!(failure.log_tail, "last words");
    assert_eq!(fixture.store.retry(sweep, Chosen::All, Timestamp(2)).await.unwrap(), 1);
    assert_eq!(fixture.states(sweep).await, ["queued"]);
    assert_eq!(fixture.trials(sweep).await[0].failure, None);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_new_sweep_reopens_the_failed_jobs_that_it_shares() {
    let fixture = Fixture::new().await;
    let one = fixture.submit("one", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.finish(lease, fail("nan"), 1).await;
    fixture.submit("two", &["a"]).await;
    assert_eq!(fixture.states(one).await, ["queued"]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_job_that_failed_once_waits_before_its_next_try() {
    let fixture = Fixture::new().await;
    let sweep_id = fixture.store.submit(NewSweep { retries: 1, ..sweep("s", &["a"]) }, Timestamp(0)).await;
    let lease = fixture.lease_one(0).await;
    fixture.finish(lease, fail("exit:1"), 10).await;
    assert_eq!(fixture.lease(1, 1_009).await, []);
    let mut reader = fixture.store.reader().await.unwrap();
    let due = find_next_due(&mut reader, None).await.unwrap().unwrap();
    assert!((1_010..1_510).contains(&due.0), "a second, and up to half as long again: {due:?}");
    assert_eq!(find_next_due(&mut reader, Some(sweep_id.unwrap().sweep)).await.unwrap(), Some(due));
    assert_eq!(fixture.lease(1, due.0 - 1).await, []);
    assert_eq!(fixture.lease(1, due.0).await.len(), 1);
}

#[tokio::test]
async fn a_request_that_fails_alone_does_not_take_its_group_with_it() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let leased = fixture.lease(2, 0).await;
    // The table refuses metrics of an epoch 0, and with them the transaction that both of these share.
    let end = |at: usize, epoch| {
        let reports = vec![report(epoch, 1.0)];
        let outcome = NewOutcome { lease: leased[at].lease, reports, ended: complete() };
        fixture.store.finish(vec![outcome], Timestamp(1))
    };
    let (wrong, right) = tokio::join!(end(0, 0), end(1, 1));
    assert!(wrong.is_err());
    assert_eq!(right.unwrap(), []);
    assert_eq!(fixture.states(sweep).await, ["leased", "succeeded"]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_worker_that_never_registered_gets_no_job() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let stranger = Grant { worker: WorkerId(999), sweep: None, most: 1, lasts: LASTS };
    assert_eq!(fixture.store.lease(stranger, Timestamp(0)).await.unwrap(), Leased::NoSuchWorker);
    assert_eq!(fixture.states(sweep).await, ["queued"]);
}

/// Makes SQLite see a full disk beyond so many pages.
struct LimitPages(&'static str);

impl Request for LimitPages {
    type Answer = ();

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<(), StoreError> {
        sqlx::query(self.0).execute(unit.connection()).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing_and_work_goes_on_when_there_is_room() {
    let fixture = Fixture::new().await;
    let sweep_id = fixture.submit("small", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.store.writer.write(LimitPages("PRAGMA max_page_count = 1")).await.unwrap();
    let names: Vec<String> = (0..2000).map(|n| format!("job{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let large = || sweep("large", &names);
    for _ in 0..3 {
        let refused = fixture.store.submit(large(), Timestamp(1)).await;
        assert!(matches!(refused, Err(StoreError::DiskFull)), "{refused:?}");
    }
    assert_eq!(list_sweeps(&mut fixture.store.reader().await.unwrap()).await.unwrap().len(), 1);
    fixture.store.writer.write(LimitPages("PRAGMA max_page_count = 1000000")).await.unwrap();
    assert!(fixture.finish(lease, complete(), 2).await);
    assert_eq!(fixture.states(sweep_id).await, ["succeeded"]);
    fixture.store.submit(large(), Timestamp(3)).await.unwrap();
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_program_may_report_more_epochs_than_its_job_has() {
    let fixture = Fixture::new().await;
    let sweep_id = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    for epoch in [1, 10, 11, 500] {
        assert!(fixture.report(lease, epoch, f64::from(epoch)).await);
    }
    fixture.finish(lease, complete(), 1).await;
    assert_eq!(fixture.trials(sweep_id).await[0].metrics["top1"], 500.0);
    let mut reader = fixture.store.reader().await.unwrap();
    let history = crate::store::find_history(&mut reader, sweep_id, TrialNumber(1)).await.unwrap().unwrap();
    assert_eq!(history.reports.keys().copied().collect::<Vec<_>>(), [1, 10, 11, 500]);
}

#[tokio::test]
async fn a_bump_says_what_the_priority_was_and_is() {
    let fixture = Fixture::new().await;
    let [one, two, three] = [
        fixture.submit("one", &["a"]).await,
        fixture.submit("two", &["b"]).await,
        fixture.submit("three", &["c"]).await,
    ];
    let bump = async |sweep, to| fixture.store.bump(sweep, to).await.unwrap();
    assert_eq!(bump(one, NewPriority::Exactly(5)).await, Some(Bumped { before: 0, after: 5 }));
    assert_eq!(bump(two, NewPriority::By(-2)).await, Some(Bumped { before: 0, after: -2 }));
    assert_eq!(bump(three, NewPriority::First).await, Some(Bumped { before: 0, after: 6 }));
    assert_eq!(bump(three, NewPriority::First).await, Some(Bumped { before: 6, after: 6 }), "it is first");
    assert_eq!(bump(one, NewPriority::By(i64::MAX)).await, Some(Bumped { before: 5, after: 1000 }));
    assert_eq!(bump(SweepId(9), NewPriority::First).await, None);
}

#[tokio::test]
async fn to_be_first_is_to_be_before_those_that_have_something_to_do() {
    let fixture = Fixture::new().await;
    let done = fixture.submit("done", &["a"]).await;
    let waiting = fixture.submit("waiting", &["b"]).await;
    fixture.store.bump(done, NewPriority::Exactly(500)).await.unwrap();
    fixture.store.cancel(done, Chosen::All, Timestamp(1)).await.unwrap();
    let bumped = fixture.store.bump(waiting, NewPriority::First).await.unwrap();
    assert_eq!(bumped, Some(Bumped { before: 0, after: 0 }));
}

#[tokio::test]
async fn whoever_follows_hears_of_every_trial_that_ended_however_it_did() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b", "c"]).await;
    let (done, failed) = (fixture.lease_one(0).await, fixture.lease_one(0).await);
    fixture.finish(done, complete(), 1).await;
    fixture.finish(failed, fail("nan"), 1).await;
    let reader = || async { fixture.store.reader().await.unwrap() };
    let finished = fixture.store.take_finished();
    assert_eq!((finished.jobs.len(), finished.has_more), (2, false));
    let heard = |trials: Vec<crate::store::FinishedTrialRow>| -> Vec<(SweepId, i64, String)> {
        trials.into_iter().map(|trial| (trial.sweep, trial.number.0, trial.job_state)).collect()
    };
    let trials = list_finished_trials(&mut reader().await, &finished.jobs, 10).await.unwrap();
    assert_eq!(heard(trials), [(sweep, 1, "succeeded".to_owned()), (sweep, 2, "failed".to_owned())]);
    fixture.store.cancel(sweep, crate::store::Chosen::All, Timestamp(2)).await.unwrap();
    let finished = fixture.store.take_finished();
    let trials = list_finished_trials(&mut reader().await, &finished.jobs, 10).await.unwrap();
    assert_eq!(heard(trials), [(sweep, 3, "cancelled".to_owned())]);
    // What was opened again has not ended, and what was told is not told again.
    fixture.store.retry(sweep, crate::store::Chosen::All, Timestamp(3)).await.unwrap();
    let trials = list_finished_trials(&mut reader().await, &finished.jobs, 10).await.unwrap();
    assert_eq!(heard(trials), []);
    assert_eq!(fixture.store.take_finished(), Default::default());
}
