//! A trial that is a program: started, watched, its output logged and its reports read, to its end.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use sweep::protocol::http::{CommandWork, EpochMetrics};
use sweep::vocabulary::{FailureReason, Metrics};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::code::Copy;
use super::event::{Stop, TrialEnd};
use super::output::Output;
use super::process::{TrialProcess, cant_start, failure};
use super::report_file::ReportFile;
use super::slot::Trial;
use super::spawn::{Inheritance, Streams};
use super::stage::Stage;

/// How often the report file is looked at: progress looks live, and a look costs next to nothing.
const REPORT_PERIOD: Duration = Duration::from_millis(300);

/// Runs the program to its end, whoever brings that about.
pub(crate) async fn run(work: &CommandWork, trial: &mut Trial) -> TrialEnd {
    let Some(kept) = &work.code else {
        return run_in(Path::new(&work.working_directory), &work.command, None, work, trial).await;
    };
    match Copy::make(kept, trial).await {
        Ok(copy) => {
            let (directory, command) = (copy.working_directory(work), copy.command(&work.command));
            run_in(&directory, &command, Some(copy), work, trial).await
        }
        Err(end) => end,
    }
}

async fn run_in(
    directory: &Path,
    command: &[String],
    copy: Option<Copy>,
    work: &CommandWork,
    trial: &mut Trial,
) -> TrialEnd {
    let Some((program, arguments)) = command.split_first() else {
        return bad_config("the command is empty".to_owned());
    };
    let report_name = format!("{}.jsonl", trial.token.file_stem());
    let stage = match &work.stage {
        Some(stage) => Some(Stage::new(stage, trial).await),
        None => None,
    };
    let epochs_before = stage.as_ref().map_or(0, Stage::epochs_before);
    let reports = ReportFile::new(trial.place.spool.join(report_name), epochs_before);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    set_environment(&mut command, work, trial, reports.path());
    if let Some(stage) = &stage {
        stage.set_environment(&mut command);
    }
    let (process, output) = match start(&command, &trial.place.inheritance) {
        Ok(started) => started,
        Err(error) => {
            clear(copy).await;
            return cant_start(program, &error, missing_folder(directory));
        }
    };
    let reports_from = stage.as_ref().map_or(1, Stage::reports_from);
    let reports = Reports { file: reports, from: reports_from };
    let end = watch(process, output, reports, program, copy, trial).await;
    let was_asked = end == TrialEnd::ExitedCleanly && trial.was_asked_to_stop().await;
    match (end, &stage) {
        // One that was asked to end says nothing by exit code 0, and what it saved is the state after some epoch or other.
        (TrialEnd::ExitedCleanly, Some(_)) if was_asked => TrialEnd::Stopped(None),
        (TrialEnd::ExitedCleanly, Some(stage)) => keep(program, stage, trial).await,
        (end, _) => end,
    }
}

/// The end of a stage that went well, once what it leaves is kept.
async fn keep(program: &str, stage: &Stage, trial: &Trial) -> TrialEnd {
    match stage.keep().await {
        Ok(Some(checkpoint)) => {
            let (epoch, metrics) = (checkpoint.epoch, Metrics::new());
            trial.report(EpochMetrics { epoch, metrics, checkpoint: Some(checkpoint) }).await;
            TrialEnd::ExitedCleanly
        }
        Ok(None) => TrialEnd::ExitedCleanly,
        Err(what) => bad_config(format!("`{program}`: {what}")),
    }
}

fn set_environment(command: &mut Command, work: &CommandWork, trial: &Trial, report: &Path) {
    let parameters =
        serde_json::to_string(&work.parameters).expect("a map from text to JSON values is always JSON");
    command
        .env("SWEEP_PARAMS", parameters)
        .env("SWEEP_TRIAL", work.trial.to_string())
        .env("SWEEP_SEED", work.seed.to_string())
        .env("SWEEP_REPORT", report)
        .env("SWEEP_PROJECT", &work.working_directory)
        .env("CUDA_VISIBLE_DEVICES", &trial.visible_gpus);
}

fn start(command: &Command, inheritance: &Inheritance) -> io::Result<(TrialProcess, Output)> {
    let (output, writer) = Output::pipe()?;
    let (input, writer) = (inheritance.no_input().as_fd(), writer.as_fd());
    let process =
        TrialProcess::start(command, inheritance, Streams { input, output: writer, error: writer })?;
    Ok((process, output))
}

/// The system says "no such file" for a missing folder as for a missing program.
fn missing_folder(folder: &Path) -> &'static str {
    if folder.is_dir() { "" } else { " (its working directory is no folder)" }
}

/// The folder in which the program left something.
async fn clear(copy: Option<Copy>) -> Option<PathBuf> {
    match copy {
        Some(copy) => copy.clear().await,
        None => None,
    }
}

/// What a program reports, of the epochs that are its job's.
struct Reports {
    file: ReportFile,
    from: u32,
}

impl Reports {
    async fn pass_on(&self, reports: Vec<EpochMetrics>, trial: &Trial) {
        for report in reports.into_iter().filter(|report| report.epoch >= self.from) {
            trial.report(report).await;
        }
    }
}

async fn watch(
    mut process: TrialProcess,
    mut output: Output,
    mut reports: Reports,
    program: &str,
    copy: Option<Copy>,
    trial: &mut Trial,
) -> TrialEnd {
    let mut log = trial.log();
    let mut look = interval_at(Instant::now() + REPORT_PERIOD, REPORT_PERIOD);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_given_up = false;
    let group = process.group();
    let status = loop {
        tokio::select! {
            status = process.wait() => break status,
            chunk = output.next() => {
                trial.has_progressed();
                log.append(chunk).await;
            }
            how = trial.asked_to_stop(group) => process.stop(how),
            _ = look.tick() => {
                let new = reports.file.read_new().await;
                if !new.is_empty() {
                    trial.has_progressed();
                }
                reports.pass_on(new, trial).await;
                // Hours of work whose results can't be read help nobody, so it ends here and says why.
                if reports.file.fault().is_some() && !is_given_up {
                    is_given_up = true;
                    process.stop(Stop::Kill);
                }
            }
        }
    };
    output.drain(&mut log).await;
    let last = reports.file.finish().await;
    reports.pass_on(last, trial).await;
    if let Some(fault) = reports.file.fault() {
        log.note(fault).await;
    }
    if let Some(left) = clear(copy).await {
        log.note(&format!("what the program wrote beside its code is in `{}`", left.display())).await;
    }
    match reports.file.fault() {
        Some(fault) if is_given_up => TrialEnd::Failed {
            reason: FailureReason::BadConfig,
            message: fault.to_owned(),
            log_tail: log.tail(),
        },
        fault => {
            let end = judge(program, status, fault, || log.tail());
            trial.judge(end, &mut log).await
        }
    }
}

/// A program that failed by itself says more about why than its reports do, so its status counts first.
fn judge(
    program: &str,
    status: io::Result<ExitStatus>,
    fault: Option<&str>,
    tail: impl FnOnce() -> String,
) -> TrialEnd {
    let (reason, message) = match (status, fault) {
        (Ok(status), None) if status.success() => return TrialEnd::ExitedCleanly,
        (Ok(status), Some(fault)) if status.success() => (FailureReason::BadConfig, fault.to_owned()),
        (Ok(status), _) => {
            let (reason, words) = failure(status);
            (reason, format!("`{program}` {words}"))
        }
        (Err(error), _) => (FailureReason::Exit(-1), format!("lost track of `{program}`: {error}")),
    };
    TrialEnd::Failed { reason, message, log_tail: tail() }
}

fn bad_config(message: String) -> TrialEnd {
    TrialEnd::Failed { reason: FailureReason::BadConfig, message, log_tail: String::new() }
}
