use std::fs::{self, File};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::*;
use crate::coordinator::artifacts::Recent;
use crate::protocol::http::{EpochMetrics, Report, Work};
use crate::protocol::trial::{Checkpoint, TrainRequest};
use crate::store::{LeaseFor, LeasedJob, RequiredWeights};
use crate::vocabulary::{Attempt, JobId, Metrics, Nonce, Parameters, StateHash, TrialNumber};

fn checkpoint(digit: char, epoch: u32) -> Checkpoint {
    Checkpoint { hash: digit.to_string().repeat(64), epoch, step: 0, size_bytes: 1 }
}

impl Fixture {
    /// A file in the folder of checkpoints, written so long ago.
    fn write(&self, name: &str, age: Duration) -> PathBuf {
        let folder = self.folder.path().join("artifacts");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        let written_at = Duration::from_millis(self.clock.now().0.cast_unsigned()) - age;
        File::create(&path).unwrap().set_modified(UNIX_EPOCH + written_at).unwrap();
        path
    }

    fn write_checkpoint(&self, digit: char, age: Duration) -> PathBuf {
        self.write(&format!("{}.safetensors", digit.to_string().repeat(64)), age)
    }

    async fn report(&self, token: LeaseToken, checkpoint: Checkpoint) {
        let report =
            Report { token, epoch: checkpoint.epoch, metrics: Metrics::new(), checkpoint: Some(checkpoint) };
        let answer = self.coordinator.report(ReportsRequest { reports: vec![report] }).await.unwrap();
        assert_eq!(answer.refused, []);
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_checkpoint_that_gave_way_is_deleted_once_nobody_names_it() {
    let fixture = Fixture::new().await;
    fixture.submit(COMMAND).await;
    let leases = fixture.lease().await;
    let [one, two, three] = ['1', '2', '3'].map(|digit| fixture.write_checkpoint(digit, MINUTE));
    fixture.report(leases[0].token, checkpoint('1', 1)).await;
    fixture.report(leases[1].token, checkpoint('1', 1)).await;
    fixture.report(leases[0].token, checkpoint('2', 2)).await;
    fixture.coordinator.delete_unneeded(Recent::Spared).await;
    assert!(one.exists(), "another job is in the same state");
    fixture.report(leases[1].token, checkpoint('3', 2)).await;
    fixture.coordinator.delete_unneeded(Recent::Spared).await;
    assert!(!one.exists() && two.exists() && three.exists());
}

#[tokio::test]
async fn a_file_written_a_moment_ago_waits_since_another_job_may_be_about_to_report_it() {
    let fixture = Fixture::new().await;
    fixture.submit(COMMAND).await;
    let leases = fixture.lease().await;
    let one = fixture.write_checkpoint('1', Duration::ZERO);
    fixture.report(leases[0].token, checkpoint('1', 1)).await;
    fixture.report(leases[0].token, checkpoint('2', 2)).await;
    fixture.coordinator.delete_unneeded(Recent::Spared).await;
    assert!(one.exists());
    fixture.clock.advance(MINUTE);
    fixture.coordinator.delete_unneeded(Recent::Spared).await;
    assert!(!one.exists());
}

#[tokio::test]
async fn at_the_end_nothing_waits_unless_an_agent_is_still_there() {
    let fixture = Fixture::new().await;
    fixture.submit(COMMAND).await;
    let leases = fixture.lease().await;
    let [one, two] = ['1', '2'].map(|digit| fixture.write_checkpoint(digit, Duration::ZERO));
    fixture.report(leases[0].token, checkpoint('1', 1)).await;
    fixture.report(leases[0].token, checkpoint('2', 2)).await;
    fixture.coordinator.tidy_artifacts_at_the_end().await;
    assert!(one.exists());
    fixture.coordinator.leave(fixture.worker).await.unwrap();
    fixture.coordinator.tidy_artifacts_at_the_end().await;
    assert!(!one.exists() && two.exists());
}

#[tokio::test]
async fn a_file_that_cant_be_deleted_fails_nothing() {
    let fixture = Fixture::new().await;
    fixture.submit(COMMAND).await;
    let leases = fixture.lease().await;
    // A folder of that name, and then no file at all.
    let folder = fixture.folder.path().join("artifacts").join(format!("{}.safetensors", "1".repeat(64)));
    fs::create_dir_all(&folder).unwrap();
    for (digit, epoch) in [('1', 1), ('2', 2), ('3', 3)] {
        fixture.report(leases[0].token, checkpoint(digit, epoch)).await;
    }
    fixture.coordinator.delete_unneeded(Recent::Deleted).await;
    assert!(folder.exists());
    check_invariants(&fixture.coordinator.store).await;
}

#[tokio::test]
async fn what_a_crash_left_is_deleted_at_the_start_and_what_is_young_or_needed_or_foreign_is_not() {
    let fixture = Fixture::new().await;
    fixture.submit(COMMAND).await;
    let leases = fixture.lease().await;
    fixture.report(leases[0].token, checkpoint('1', 1)).await;
    fixture.clock.advance(200 * MINUTE);
    let hours = 2 * 60 * MINUTE;
    let (needed, orphan) = (fixture.write_checkpoint('1', hours), fixture.write_checkpoint('2', hours));
    let young = fixture.write_checkpoint('3', 59 * MINUTE);
    let (half, foreign) = (fixture.write(".tmpXYZ", hours), fixture.write("mine.safetensors", hours));
    fixture.coordinator.delete_forgotten().await;
    assert!(needed.exists() && young.exists() && foreign.exists());
    assert!(!orphan.exists() && !half.exists());
}

#[tokio::test]
async fn what_a_crash_left_is_deleted_while_the_coordinator_runs_too() {
    let fixture = Fixture::new().await;
    fixture.clock.advance(200 * MINUTE);
    let millisecond = Duration::from_millis(1);
    let tidying = tokio::spawn(fixture.coordinator.clone().tidy_artifacts_every(millisecond, millisecond));
    for digit in ['1', '2'] {
        let orphan = fixture.write_checkpoint(digit, 120 * MINUTE);
        let deleted = async {
            while orphan.exists() {
                tokio::time::sleep(millisecond).await;
            }
        };
        tokio::time::timeout(MINUTE, deleted).await.expect("the file is deleted");
    }
    tidying.abort();
}

#[tokio::test]
async fn reports_that_cant_be_meant_are_refused_whole() {
    let fixture = Fixture::new().await;
    fixture.submit(COMMAND).await;
    let token = fixture.lease().await[0].token;
    let metrics = Metrics::from([("top1".to_owned(), 1.0)]);
    let bad_hash = Checkpoint { hash: "../../evil".to_owned(), ..checkpoint('1', 1) };
    for (epoch, metrics, checkpoint) in [(1, Metrics::new(), Some(bad_hash)), (0, metrics, None)] {
        let end = EpochMetrics { epoch, metrics: metrics.clone(), checkpoint: checkpoint.clone() };
        let outcome = Outcome { token, reports: vec![end], end: complete() };
        let finished = fixture.coordinator.finish(OutcomesRequest { outcomes: vec![outcome] }).await;
        assert!(matches!(finished, Err(CoordinatorError::Report(_))), "{finished:?}");
        let report = Report { token, epoch, metrics, checkpoint };
        let reported = fixture.coordinator.report(ReportsRequest { reports: vec![report] }).await;
        assert!(matches!(reported, Err(CoordinatorError::Report(_))), "{reported:?}");
    }
    assert_eq!(fixture.coordinator.status().await.unwrap().running.len(), 2, "nothing ended");
}

#[test]
fn a_lease_says_where_an_earlier_attempt_or_the_job_before_had_come_to_and_who_teaches() {
    let state = StateHash::of(b"teacher");
    let request = TrainRequest {
        parameters: Parameters::from([("lr".to_owned(), 0.1.into())]),
        seed: 7,
        dataset_checksum: "sum".to_owned(),
        first_epoch: 4,
        last_epoch: 9,
        teachers: [(state.to_string(), "3".repeat(64))].into(),
        resume: None,
    };
    let job = LeasedJob {
        lease: LeaseFor { job: JobId(1), attempt: Attempt(2), nonce: Nonce::default() },
        context: r#"{"trainer":"resnet","dataset_checksum":"sum"}"#.into(),
        trial: TrialNumber(1),
        parameters: r#"{"lr":0.1}"#.to_owned(),
        seed: 7,
        first_epoch: 4,
        last_epoch: 9,
        cpus: 1,
        resources: "{}".to_owned(),
        checkpoint: Some(checkpoint('1', 5).try_into().unwrap()),
        start: Some(checkpoint('2', 3).try_into().unwrap()),
        required: vec![
            RequiredWeights { state, checkpoint: Some(checkpoint('3', 6).try_into().unwrap()) },
            RequiredWeights { state: StateHash::of(b"lost"), checkpoint: None },
        ],
        has_dependents: false,
        keeps_more: false,
    };
    let first = LeasedJob { checkpoint: None, ..job.clone() };
    for (job, resume) in [(job, checkpoint('1', 5)), (first, checkpoint('2', 3))] {
        let lease = wire::lease(job).unwrap();
        assert_eq!(lease.work, Work::Resnet(TrainRequest { resume: Some(resume), ..request.clone() }));
    }
}

#[tokio::test]
async fn a_command_is_filled_in_when_its_job_is_leased() {
    let fixture = Fixture::new().await;
    fixture.submit("command: [echo, '--x={{x}}', '{{trial}}']\nparameters: {x: [1, 2]}\n").await;
    let leases = fixture.lease().await;
    let commands: Vec<_> = leases
        .iter()
        .map(|lease| match &lease.work {
            Work::Command(work) => work.command.join(" "),
            Work::Resnet(_) => panic!("not a command"),
        })
        .collect();
    assert_eq!(commands, ["echo --x=1 1", "echo --x=2 2"]);
}
