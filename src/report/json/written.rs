//! What commands say of files that they wrote, of logs, and of nodes.

use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::protocol::logs::{LogExtent, LoggedAttempt, LoggedStage};
use crate::vocabulary::{Attempt, JobId, SweepId, TrialNumber, TrialState};

/// `sweep report SWEEP -o FILE --json`
#[derive(Debug, Serialize)]
pub struct ReportDocument {
    schema_version: u32,
    sweep: SweepId,
    /// As it was named.
    file: String,
    size_bytes: usize,
    configurations: usize,
    /// Trials whose curves are in it.
    trials_with_curves: usize,
}

/// What a report has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportExtent {
    pub size_bytes: usize,
    pub configurations: usize,
    pub trials_with_curves: usize,
}

impl ReportDocument {
    #[must_use]
    pub fn new(sweep: SweepId, file: String, extent: ReportExtent) -> ReportDocument {
        let ReportExtent { size_bytes, configurations, trials_with_curves } = extent;
        ReportDocument {
            schema_version: SCHEMA_VERSION,
            sweep,
            file,
            size_bytes,
            configurations,
            trials_with_curves,
        }
    }
}

/// `sweep export SWEEP --to TOOL --json`
#[derive(Debug, Serialize)]
pub struct ExportDocument {
    schema_version: u32,
    sweep: SweepId,
    /// How many were handed over.
    trials: usize,
    /// To which tool.
    to: String,
    /// The place as it was named: a folder, a file, a server.
    output: String,
    /// What is said of it without `--json`, which for another tool is its script's word.
    said: String,
}

/// To which tool, and where.
#[derive(Debug)]
pub struct Destination {
    pub to: String,
    pub output: String,
}

impl ExportDocument {
    #[must_use]
    pub fn new(sweep: SweepId, trials: usize, destination: Destination, said: &str) -> ExportDocument {
        let Destination { to, output } = destination;
        let said = said.trim_end().to_owned();
        ExportDocument { schema_version: SCHEMA_VERSION, sweep, trials, to, output, said }
    }
}

/// `sweep export checkpoint SWEEP TRIAL -o FILE --json`
#[derive(Debug, Serialize)]
pub struct CheckpointDocument {
    schema_version: u32,
    #[serde(flatten)]
    network: WrittenNetwork,
}

/// A trial's network, and the file that it was written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenNetwork {
    pub sweep: SweepId,
    pub trial: TrialNumber,
    /// After which the weights are what they are.
    pub epoch: u32,
    /// Names the checkpoint that they were taken from: `.sweep/artifacts/HASH.safetensors`.
    pub checkpoint: String,
    /// As it was named.
    pub file: String,
    pub size_bytes: usize,
}

impl From<WrittenNetwork> for CheckpointDocument {
    fn from(network: WrittenNetwork) -> CheckpointDocument {
        CheckpointDocument { schema_version: SCHEMA_VERSION, network }
    }
}

/// `sweep backup FILE --json`
#[derive(Debug, Serialize)]
pub struct BackupDocument {
    schema_version: u32,
    /// As it was named.
    file: String,
    size_bytes: u64,
    sweeps: u64,
    trials: u64,
    jobs: u64,
}

/// What a copy has in it.
#[derive(Debug, Clone, Copy)]
pub struct BackupExtent {
    pub size_bytes: u64,
    pub sweeps: u64,
    pub trials: u64,
    pub jobs: u64,
}

impl BackupDocument {
    #[must_use]
    pub fn new(file: String, extent: BackupExtent) -> BackupDocument {
        let BackupExtent { size_bytes, sweeps, trials, jobs } = extent;
        BackupDocument { schema_version: SCHEMA_VERSION, file, size_bytes, sweeps, trials, jobs }
    }
}

/// `sweep worker release NODE --json`
#[derive(Debug, Serialize)]
pub struct ReleaseDocument {
    schema_version: u32,
    node: String,
    outcome: ReleaseOutcome,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseOutcome {
    /// It gets jobs again.
    Released,
    /// It had been getting jobs all along.
    NotInQuarantine,
    /// Nobody works there.
    NoWorkers,
}

impl ReleaseDocument {
    #[must_use]
    pub fn new(node: &str, outcome: ReleaseOutcome) -> ReleaseDocument {
        ReleaseDocument { schema_version: SCHEMA_VERSION, node: node.to_owned(), outcome }
    }
}

/// `sweep logs SWEEP TRIAL --json`
#[derive(Debug, Serialize)]
pub struct LogDocument {
    schema_version: u32,
    sweep: SweepId,
    trial: TrialNumber,
    state: TrialState,
    /// The attempt whose log it is; null where nothing of the trial was begun.
    attempt: Option<LoggedEntry>,
    /// The jobs of the trial, first epochs first, with the newest attempt of each that was begun.
    stages: Vec<StageEntry>,
    text: String,
}

#[derive(Debug, Serialize)]
struct LoggedEntry {
    job: JobId,
    attempt: Attempt,
    host: String,
    /// In `logs/` of the state folder there.
    file_name: String,
    has_ended: bool,
    /// How much of it is here: `whole`, `tail`, or `nothing`.
    extent: LogExtent,
}

#[derive(Debug, Serialize)]
struct StageEntry {
    job: JobId,
    attempt: Attempt,
    first_epoch: u32,
    last_epoch: u32,
}

/// All that is known of a trial's log.
#[derive(Debug)]
pub struct WholeLog {
    pub state: TrialState,
    pub attempt: Option<LoggedAttempt>,
    pub stages: Vec<LoggedStage>,
    pub text: String,
}

impl LogDocument {
    #[must_use]
    pub fn new(sweep: SweepId, trial: TrialNumber, log: WholeLog) -> LogDocument {
        let WholeLog { state, attempt, stages, text } = log;
        let attempt = attempt.map(|logged| LoggedEntry {
            job: logged.name.job,
            attempt: logged.name.attempt,
            host: logged.host,
            file_name: logged.file_name,
            has_ended: logged.has_ended,
            extent: logged.extent,
        });
        let stage = |stage: LoggedStage| StageEntry {
            job: stage.newest.job,
            attempt: stage.newest.attempt,
            first_epoch: stage.first_epoch,
            last_epoch: stage.last_epoch,
        };
        LogDocument {
            schema_version: SCHEMA_VERSION,
            sweep,
            trial,
            state,
            attempt,
            stages: stages.into_iter().map(stage).collect(),
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::logs::AttemptName;

    #[test]
    fn a_log_says_whose_it_is_and_one_that_is_not_there_is_null() {
        let name = AttemptName { job: JobId(7), attempt: Attempt(2) };
        let log = WholeLog {
            state: TrialState::Running,
            attempt: Some(LoggedAttempt {
                name,
                host: "node1".to_owned(),
                file_name: "7-2.log".to_owned(),
                has_ended: false,
                extent: LogExtent::Tail,
            }),
            stages: vec![LoggedStage { newest: name, first_epoch: 1, last_epoch: 30 }],
            text: "epoch 1\n".to_owned(),
        };
        insta::assert_json_snapshot!(LogDocument::new(SweepId(1), TrialNumber(3), log));
        let none = WholeLog { state: TrialState::Queued, attempt: None, stages: vec![], text: String::new() };
        let none = serde_json::to_value(LogDocument::new(SweepId(1), TrialNumber(3), none)).unwrap();
        assert!(none["attempt"].is_null());
    }

    #[test]
    fn what_was_written_is_told_with_its_place_and_size() {
        let extent = ReportExtent { size_bytes: 1_900_000, configurations: 12, trials_with_curves: 24 };
        let destination = Destination { to: "jsonl".to_owned(), output: "lines.jsonl".to_owned() };
        let checkpoint = CheckpointDocument::from(WrittenNetwork {
            sweep: SweepId(1),
            trial: TrialNumber(3),
            epoch: 50,
            checkpoint: "ab12".to_owned(),
            file: "net.safetensors".to_owned(),
            size_bytes: 4096,
        });
        insta::assert_json_snapshot!((
            ReportDocument::new(SweepId(1), "report.html".to_owned(), extent),
            ExportDocument::new(SweepId(1), 24, destination, "48 lines in lines.jsonl\n"),
            checkpoint,
            BackupDocument::new(
                "copy.db".to_owned(),
                BackupExtent { size_bytes: 8192, sweeps: 1, trials: 24, jobs: 30 }
            ),
            ReleaseDocument::new("node1", ReleaseOutcome::NotInQuarantine),
        ));
    }
}
