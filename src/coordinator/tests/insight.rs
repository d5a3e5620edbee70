//! Why trials wait, how far sweeps are, and what pictures are made of.

use super::*;
use crate::protocol::http::{EpochMetrics, Report};
use crate::protocol::insight::{CauseCode, Explanation};
use crate::protocol::steering::BumpRequest;
use crate::vocabulary::{FailureReason, Metrics, TrialNumber};

/// Trials that share three of five epochs.
const STAGED: &str = "\
command: [/bin/true]
metric: {name: top1, goal: maximize}
parameters: {x: [1, 2]}
stages:
  - {until: 3, parameters: []}
  - {until: 5}
";

async fn explain(fixture: &Fixture, sweep: SweepId, trial: i64) -> Explanation {
    fixture.coordinator.explain(sweep, TrialNumber(trial)).await.unwrap()
}

async fn codes(fixture: &Fixture, sweep: SweepId, trial: i64) -> Vec<CauseCode> {
    explain(fixture, sweep, trial).await.causes.iter().map(|cause| cause.code).collect()
}

fn fail(reason: FailureReason) -> AttemptEnd {
    AttemptEnd::Fail { reason, message: "it broke".to_owned(), log_tail: String::new() }
}

fn metrics(top1: f64) -> Metrics {
    Metrics::from([("top1".to_owned(), top1)])
}

#[tokio::test]
async fn a_trial_in_the_queue_says_what_is_before_it() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("command: [/bin/true]\nparameters: {x: [1, 2, 3, 4]}\n").await;
    assert_eq!(codes(&fixture, sweep, 1).await, [CauseCode::Ready]);
    assert_eq!(codes(&fixture, sweep, 3).await, [CauseCode::BehindOthers]);
    let ask = LeaseRequest { most: 2, ..fixture.ask(0) };
    let leases = fixture.coordinator.lease(&ask).await.unwrap().leases;
    assert_eq!(codes(&fixture, sweep, 1).await, [CauseCode::Running]);
    let busy = explain(&fixture, sweep, 4).await.causes;
    assert_eq!(busy[0].what, "all 2 slots are busy, and 1 job is before it");
    fixture.finish(leases[0].token, complete()).await;
    assert_eq!(codes(&fixture, sweep, 1).await, [CauseCode::Succeeded]);
    fixture.coordinator.pause(sweep).await.unwrap();
    let paused = explain(&fixture, sweep, 4).await.causes;
    assert_eq!(paused[0].help.as_deref(), Some("`sweep resume 1` goes on with it"));
    fixture.coordinator.cancel(sweep, Default::default()).await.unwrap();
    assert_eq!(codes(&fixture, sweep, 4).await, [CauseCode::Cancelled]);
    let unknown = fixture.coordinator.explain(sweep, TrialNumber(9)).await;
    assert!(matches!(unknown, Err(CoordinatorError::UnknownTrial { .. })));
}

#[tokio::test]
async fn what_is_before_a_trial_are_jobs_that_may_be_leased() {
    let fixture = Fixture::new().await;
    // Eight trials of one sweep, and the first of them alone in the other one: a job that both wait for.
    let eight = STAGED.replace("[1, 2]", "[1, 2, 3, 4, 5, 6, 7, 8]");
    let first = fixture.submit(&eight).await;
    let other = fixture.submit("name: other\ncommand: [/bin/false]\nparameters: {}\n").await;
    let before = explain(&fixture, other, 1).await.causes;
    assert_eq!(before[0].what, "1 job is before it", "eight trials wait for the one job that is ready");
    let joined = fixture.submit(&STAGED.replace("{x: [1, 2]}", "{x: 9}")).await;
    assert_eq!(codes(&fixture, joined, 1).await, [CauseCode::ParentUnfinished, CauseCode::Ready]);
    fixture.coordinator.pause(first).await.unwrap();
    let before = explain(&fixture, joined, 1).await.causes;
    assert_eq!(
        before[1].what, "1 job is before it",
        "what its sweep keeps is leased for the one that joined it"
    );
    let priority = BumpRequest::Set { priority: 1 };
    fixture.coordinator.bump(joined, priority).await.unwrap();
    assert_eq!(codes(&fixture, joined, 1).await, [CauseCode::ParentUnfinished, CauseCode::Ready]);
    let before = explain(&fixture, other, 1).await.causes;
    assert_eq!(before[0].what, "1 job is before it", "it is in the queue of a sweep that is not paused");
}

#[tokio::test]
async fn a_trial_that_failed_says_how_and_when_it_is_tried_again() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("command: [/bin/true]\nretries: 1\nparameters: {}\n").await;
    let lease = fixture.lease().await.remove(0);
    fixture.finish(lease.token, fail(FailureReason::GpuOom)).await;
    let waiting = explain(&fixture, sweep, 1).await.causes;
    assert_eq!(waiting[0].code, CauseCode::BackingOff);
    assert!(waiting[0].what.ends_with("since attempt 1 failed: it broke"), "{}", waiting[0].what);
    let progress = fixture.coordinator.progress(sweep).await.unwrap();
    assert!(!progress.recent_failures[0].is_final && progress.failed.is_empty());
    fixture.clock.advance(Duration::from_secs(60));
    let lease = fixture.lease().await.remove(0);
    fixture.finish(lease.token, fail(FailureReason::GpuOom)).await;
    let failed = explain(&fixture, sweep, 1).await.causes;
    assert_eq!(
        (failed[0].code, failed[0].what.as_str()),
        (CauseCode::Failed, "it failed (gpu_oom): it broke")
    );
    assert!(failed[0].help.as_ref().is_some_and(|help| help.contains("sweep retry 1 1")));
    let progress = fixture.coordinator.progress(sweep).await.unwrap();
    assert_eq!((progress.failed[0].trials, progress.failed[0].reason), (1, FailureReason::GpuOom));
    assert!(progress.recent_failures[0].is_final);
}

#[tokio::test]
async fn a_trial_that_was_exported_says_where_it_is_since_when_and_what_brings_it_in() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit(STAGED).await;
    let export = fixture.coordinator.export(sweep).await.unwrap().export.unwrap();
    fixture.clock.advance(Duration::from_secs(3 * 3600));
    // What waits for a stage of the same export was promised to it.
    for trial in [1, 2] {
        let [cause] = &explain(&fixture, sweep, trial).await.causes[..] else { panic!("one") };
        let where_it_is = format!(
            "it was given to export {export} 3 h ago; how far it is lies in `.sweep/exports/{export}`"
        );
        assert_eq!((cause.code, cause.what.as_str()), (CauseCode::Exported, where_it_is.as_str()));
        assert!(
            cause
                .help
                .as_ref()
                .is_some_and(|help| help.contains(&format!("`sweep ingest .sweep/exports/{export}`")))
        );
    }
    // Another sweep's trial that shares the first stage is nobody's, and waits for the export's.
    let other = fixture.submit(&STAGED.replace("[1, 2]", "[3]")).await;
    let waiting = explain(&fixture, other, 1).await.causes;
    assert_eq!(waiting[0].code, CauseCode::ParentUnfinished);
    assert!(
        waiting[0].what.contains(&format!("were given to export {export} 3 h ago")),
        "{}",
        waiting[0].what
    );
}

#[tokio::test]
async fn workers_that_are_not_there_or_take_nothing_are_said() {
    let fixture = Fixture::new().await;
    let first = fixture.submit("command: [/bin/true]\nparameters: {x: [1, 2]}\n").await;
    let other = fixture.submit("name: other\ncommand: [/bin/false]\nparameters: {}\n").await;
    let only = LeaseRequest { sweep: Some(first), most: 1, ..fixture.ask(0) };
    fixture.coordinator.lease(&only).await.unwrap();
    assert_eq!(codes(&fixture, other, 1).await, [CauseCode::WorkersElsewhere]);
    let beat = HeartbeatRequest {
        worker: fixture.worker,
        leases: vec![],
        node: None,
        problem: Some("the disk is full".to_owned()),
    };
    fixture.coordinator.heartbeat(&beat).await.unwrap();
    let ill = explain(&fixture, first, 2).await.causes;
    assert_eq!((ill[0].code, ill[0].what.contains("here: the disk is full")), (CauseCode::NodesIll, true));
    fixture.clock.advance(LEASE / 2 + Duration::from_secs(1));
    assert_eq!(codes(&fixture, first, 1).await, [CauseCode::WorkerSilent]);
    fixture.clock.advance(LEASE);
    assert_eq!(codes(&fixture, other, 1).await, [CauseCode::NoWorker]);
}

#[tokio::test]
async fn what_shares_an_unfinished_stage_waits_for_it_and_its_epochs_count_once() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit(STAGED).await;
    let lease = fixture.lease().await.remove(0);
    let reported =
        |epoch, top1| Report { token: lease.token, epoch, metrics: metrics(top1), checkpoint: None };
    let reports = ReportsRequest { reports: vec![reported(1, 10.0), reported(2, 20.0)] };
    fixture.coordinator.report(reports).await.unwrap();
    let waiting = explain(&fixture, sweep, 2).await;
    assert_eq!(
        waiting.causes[0].what,
        "its epochs 1–3, which it shares with trial 1, run now on here (worker 1), epoch 2 of 3 is done"
    );
    assert_eq!(waiting.stages.iter().map(|stage| stage.last_epoch).collect::<Vec<_>>(), [3, 5]);
    let progress = fixture.coordinator.progress(sweep).await.unwrap();
    assert_eq!(
        (progress.epochs, progress.epochs_done, progress.epochs_shared, progress.epochs_unshared),
        (7, 2, 7, 10)
    );
    assert_eq!((progress.seconds_left, progress.best), (None, None));

    let record = TrialRecord { wall_seconds: 6.0, ..TrialRecord::default() };
    fixture.finish(lease.token, AttemptEnd::Complete { record }).await;
    let lease = fixture.lease().await.remove(0);
    let end = Outcome {
        token: lease.token,
        reports: vec![EpochMetrics { epoch: 5, metrics: metrics(50.0), checkpoint: None }],
        end: complete(),
    };
    fixture.coordinator.finish(OutcomesRequest { outcomes: vec![end] }).await.unwrap();
    let progress = fixture.coordinator.progress(sweep).await.unwrap();
    assert_eq!((progress.epochs_done, progress.jobs_left), (5, 1));
    assert_eq!(progress.seconds_left, Some(4.0), "two epochs at two seconds each");
    let best = progress.best.unwrap();
    assert_eq!(best.value, 50.0);

    let curves = fixture.coordinator.curves(sweep, &[best.trial].into(), None).await.unwrap();
    let curve = &curves.trials[0].metrics["top1"];
    assert_eq!((&curve.epochs[..], &curve.values[..]), (&[1, 2, 5][..], &[10.0, 20.0, 50.0][..]));
    let tree = fixture.coordinator.stages(sweep).await.unwrap().stages;
    let ends: Vec<_> = tree.iter().map(|stage| (stage.parent.is_some(), stage.ends)).collect();
    assert_eq!(ends, [(false, 0), (true, 1), (true, 1)]);
}

#[tokio::test]
async fn a_program_without_stages_has_trained_its_epoch_when_it_has_ended() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("command: [/bin/true]\nparameters: {x: 1}\n").await;
    let lease = fixture.lease().await.remove(0);
    let reported = |epoch| Report { token: lease.token, epoch, metrics: metrics(10.0), checkpoint: None };
    fixture.coordinator.report(ReportsRequest { reports: vec![reported(1), reported(2)] }).await.unwrap();
    let progress = fixture.coordinator.progress(sweep).await.unwrap();
    assert_eq!((progress.epochs_done, progress.epochs), (0, 1));
    fixture.finish(lease.token, complete()).await;
    assert_eq!(fixture.coordinator.progress(sweep).await.unwrap().epochs_done, 1);
}

#[tokio::test]
async fn a_plan_knows_what_finished_jobs_of_its_kind_have_cost() {
    let fixture = Fixture::new().await;
    let spec =
        "command: [/bin/true]\nmetric: {name: top1, goal: maximize}\nseeds: 2\nparameters: {x: [1, 2]}\n";
    let rehearse = |text: &str| SubmitRequest { is_rehearsal: true, ..fixture.spec(text) };
    let before = fixture.coordinator.submit(&rehearse(spec)).await.unwrap().forecast.unwrap();
    assert_eq!((before.seeds, before.cost, before.spread), (2, None, None));
    assert_eq!(before.checkpoints_kept, 0, "this program leaves none");
    fixture.submit(spec).await;
    for (lease, value) in fixture.lease().await.into_iter().zip([1.0, 3.0, 5.0, 7.0]) {
        let record = TrialRecord { wall_seconds: value, ..TrialRecord::default() };
        let report = EpochMetrics { epoch: 1, metrics: metrics(value), checkpoint: None };
        let end = AttemptEnd::Complete { record };
        let outcome = Outcome { token: lease.token, reports: vec![report], end };
        fixture.coordinator.finish(OutcomesRequest { outcomes: vec![outcome] }).await.unwrap();
    }
    let more = spec.replace("[1, 2]", "[1, 2, 3]");
    let planned = fixture.coordinator.submit(&rehearse(&more)).await.unwrap();
    let known = planned.forecast.unwrap();
    assert_eq!((planned.trials_reused, planned.epochs_to_run), (4, 2));
    assert_eq!(
        known.cost.map(|cost| (cost.seconds, cost.low, cost.high, cost.jobs)),
        Some((4.0, 1.0, 7.0, 4))
    );
    // Seeds vary fastest: 1 and 3, 5 and 7.
    let spread = known.spread.unwrap();
    assert_eq!((spread.degrees_of_freedom, spread.std), (2, 2.0_f64.sqrt()));
    assert_eq!(fixture.coordinator.status().await.unwrap().sweeps.len(), 1, "nothing was stored");
}
