//! A trial of the built-in trainer: a `sweep-trainer` process that stays warm between jobs, spoken to in the JSON
//! lines of [`sweep::protocol::trial`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use sweep::protocol::http::EpochMetrics;
use sweep::protocol::trial::{Checkpoint, Processor, TrainRequest, TrialEvent, TrialRequest, Verdict};
use sweep::vocabulary::{CheckpointHash, FailureReason, Metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::timeout;

use super::event::{Stop, TrialEnd};
use super::lines::Lines;
use super::output::{AttemptLog, Output};
use super::process::{TrialProcess, cant_start, failure};
use super::slot::{Place, Trial};
use super::spawn::Streams;

/// An event is not longer: a report of a few dozen metrics takes a few KiB.
const MAX_EVENT_BYTES: usize = 1 << 20;
const CHUNK_BYTES: usize = 16 << 10;
/// A process that closed its standard output is about to end; one that isn't is ended.
const LAST_MOMENTS: Duration = Duration::from_secs(5);
/// A trainer that has to load its libraries over a slow network and to wake its GPU takes less.
const LONGEST_EXAMINATION: Duration = Duration::from_secs(180);
/// How much of a line that is no event is quoted.
const QUOTED_CHARS: usize = 200;
const HOW_TO_BUILD: &str = " (build it with `cargo build --release -p sweep-worker --bin sweep-trainer`, or say \
                            where it is with `--trainer PATH`)";

/// A running trainer. Between two jobs it waits for a request.
#[derive(Debug)]
pub(crate) struct TrainerProcess {
    /// What it was started with; it never sees others.
    visible_gpus: String,
    process: TrialProcess,
    requests: Sender,
    events: EventLines,
    output: Output,
}

/// How a conversation about one job ended.
enum Talk {
    /// The process said how the job ended, and waits for the next one.
    Finished(TrialEnd),
    /// It speaks no more.
    Silent,
    /// It said something that it can't mean.
    Nonsense(String),
}

/// Trains one job in the trainer that is there, or else in a new one, which is there afterwards if it still lives.
pub(crate) async fn run(
    trainer: &mut Option<TrainerProcess>,
    request: TrainRequest,
    trial: &mut Trial,
) -> TrialEnd {
    let warm = match trainer.take().and_then(TrainerProcess::if_alive) {
        Some(other) if other.visible_gpus != trial.visible_gpus => {
            other.end().await;
            None
        }
        warm => warm,
    };
    let mut current = match warm.map_or_else(|| start(&trial.place, &trial.visible_gpus), Ok) {
        Ok(current) => current,
        Err(error) => {
            return of_this_node(cant_start(&trial.place.trainer.to_string_lossy(), &error, HOW_TO_BUILD));
        }
    };
    let mut log = trial.log();
    let talk = current.talk(request, trial, &mut log).await;
    match talk {
        Talk::Finished(end) => {
            current.output.drain(&mut log).await;
            *trainer = Some(current);
            let end = with_tail(end, &log);
            trial.judge(end, &mut log).await
        }
        Talk::Silent => {
            let end = of_this_node(current.bury(&mut log).await);
            trial.judge(end, &mut log).await
        }
        Talk::Nonsense(line) => {
            current.process.stop(Stop::Kill);
            current.output.drain(&mut log).await;
            current.end().await;
            let message =
                format!("`sweep-trainer` said what is no event (is it of another version?): `{line}`");
            TrialEnd::Failed { reason: FailureReason::BadConfig, message, log_tail: log.tail() }
        }
    }
}

/// The trainer is no part of a spec: where it is missing, or can't be loaded (the loader ends with 127), another node may have it,
/// and nobody's sweep is to blame.
fn of_this_node(end: TrialEnd) -> TrialEnd {
    match end {
        TrialEnd::Failed {
            reason: FailureReason::BadConfig | FailureReason::Exit(126 | 127),
            message,
            log_tail,
        } => TrialEnd::Failed { reason: FailureReason::NodeFault, message, log_tail },
        other => other,
    }
}

/// Lets a trainer of its own find out whether a GPU computes right.
pub(crate) async fn examine(place: &Place, gpu: &str) -> Verdict {
    let mut trainer = match start(place, gpu) {
        Ok(trainer) => trainer,
        Err(error) => return Verdict::Untested { message: format!("can't start `sweep-trainer`: {error}") },
    };
    let mut log = AttemptLog::new(place.logs.join(format!("self-test-{}.log", gpu.replace('/', "-"))));
    match timeout(LONGEST_EXAMINATION, trainer.hear_verdict(&mut log)).await {
        Ok(Some(verdict)) => {
            trainer.end().await;
            verdict
        }
        Ok(None) => match trainer.bury(&mut log).await {
            TrialEnd::Failed { message, log_tail, .. } => {
                Verdict::Unsound { message: format!("{message}: {}", log_tail.trim_end()) }
            }
            TrialEnd::Trained(_) | TrialEnd::Stopped(_) | TrialEnd::ExitedCleanly => {
                Verdict::Unsound { message: "`sweep-trainer` fell silent".to_owned() }
            }
        },
        Err(_) => {
            trainer.end().await;
            let seconds = LONGEST_EXAMINATION.as_secs();
            Verdict::Unsound { message: format!("it came to no result within {seconds} s") }
        }
    }
}

fn start(place: &Place, visible_gpus: &str) -> io::Result<TrainerProcess> {
    let (output, error) = Output::pipe()?;
    let (input, requests) = io::pipe()?;
    let (events, said) = io::pipe()?;
    let requests = Sender::from_owned_fd(OwnedFd::from(requests))?;
    let events = EventLines::new(Receiver::from_owned_fd(OwnedFd::from(events))?);
    let mut command = Command::new(&place.trainer);
    command
        .arg("--datasets")
        .arg(&place.datasets)
        .arg("--checkpoints")
        .arg(&place.artifacts)
        .env("CUDA_VISIBLE_DEVICES", visible_gpus)
        // Threads that wait for each other sleep: by default they spin, which on a busy machine takes ten times as long.
        .env("OMP_WAIT_POLICY", "passive")
        // What cuBLAS asks for where a trial wants the same bits twice; it is read once per process.
        .env("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
    let streams = Streams { input: input.as_fd(), output: said.as_fd(), error: error.as_fd() };
    let process = TrialProcess::start(&command, &place.inheritance, streams)?;
    Ok(TrainerProcess { visible_gpus: visible_gpus.to_owned(), process, requests, events, output })
}

impl TrainerProcess {
    /// Itself, unless it ended while it had nothing to do.
    fn if_alive(mut self) -> Option<TrainerProcess> {
        matches!(self.process.look(), Ok(None)).then_some(self)
    }

    /// Ends it, and comes back when it is gone.
    pub(crate) async fn end(mut self) {
        self.process.stop(Stop::Kill);
        // Nothing to do where it can't be waited for: then it is nobody's child any more.
        let _ = self.process.wait().await;
    }

    /// What it says of its GPU; `None` where it ends without a word. A trainer that doesn't know the question is of another version.
    async fn hear_verdict(&mut self, log: &mut AttemptLog) -> Option<Verdict> {
        let mut line = serde_json::to_vec(&TrialRequest::Examine { processor: Processor::Gpu })
            .expect("a request of a word is JSON");
        line.push(b'\n');
        // Where it can't be asked it falls silent, which tells more.
        let _ = self.requests.write_all(&line).await;
        loop {
            let said = tokio::select! {
                chunk = self.output.next() => {
                    log.append(chunk).await;
                    continue;
                }
                said = self.events.next() => said?,
            };
            match serde_json::from_slice(&said) {
                Ok(TrialEvent::Ready) => {}
                Ok(TrialEvent::Examined { verdict }) => return Some(verdict),
                Ok(TrialEvent::Failed { message, .. }) => return Some(Verdict::Untested { message }),
                Ok(TrialEvent::Report { .. } | TrialEvent::Stopped { .. } | TrialEvent::Done { .. })
                | Err(_) => return Some(Verdict::Untested { message: quote(&said) }),
            }
        }
    }

    async fn talk(&mut self, request: TrainRequest, trial: &mut Trial, log: &mut AttemptLog) -> Talk {
        let mut line =
            serde_json::to_vec(&TrialRequest::Train(request)).expect("a request of text and numbers is JSON");
        line.push(b'\n');
        // Beside everything else: a process that doesn't read must not keep the agent from ending it.
        let mut handed_over = pin!(self.requests.write_all(&line));
        let mut is_handed_over = false;
        let group = self.process.group();
        loop {
            let said = tokio::select! {
                // A process that can't be written to will also fall silent, which tells more.
                _ = &mut handed_over, if !is_handed_over => {
                    is_handed_over = true;
                    continue;
                }
                chunk = self.output.next() => {
                    trial.has_progressed();
                    log.append(chunk).await;
                    continue;
                }
                how = trial.asked_to_stop(group) => {
                    self.process.stop(how);
                    continue;
                }
                said = self.events.next() => said,
            };
            let Some(said) = said else { return Talk::Silent };
            trial.has_progressed();
            match serde_json::from_slice(&said) {
                Ok(TrialEvent::Ready) => {}
                Ok(TrialEvent::Report { epoch, metrics, checkpoint })
                    if is_meant(epoch, &metrics, &checkpoint) =>
                {
                    trial.report(EpochMetrics { epoch, metrics, checkpoint }).await;
                }
                Ok(TrialEvent::Stopped { checkpoint }) if is_named(&checkpoint) => {
                    return Talk::Finished(TrialEnd::Stopped(checkpoint));
                }
                Ok(TrialEvent::Done { record }) => return Talk::Finished(TrialEnd::Trained(record)),
                Ok(TrialEvent::Failed { reason, message }) => {
                    return Talk::Finished(TrialEnd::Failed { reason, message, log_tail: String::new() });
                }
                Ok(TrialEvent::Report { .. } | TrialEvent::Stopped { .. } | TrialEvent::Examined { .. })
                | Err(_) => {
                    return Talk::Nonsense(quote(&said));
                }
            }
        }
    }

    /// Finds out what it died of.
    async fn bury(mut self, log: &mut AttemptLog) -> TrialEnd {
        let status = match timeout(LAST_MOMENTS, self.process.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.process.stop(Stop::Kill);
                self.process.wait().await
            }
        };
        self.output.drain(log).await;
        let (reason, words) = match status {
            Ok(status) => failure(status),
            Err(error) => (FailureReason::Exit(-1), format!("was lost: {error}")),
        };
        let message = format!("`sweep-trainer` {words} before the job was done");
        TrialEnd::Failed { reason, message, log_tail: log.tail() }
    }
}

fn with_tail(end: TrialEnd, log: &AttemptLog) -> TrialEnd {
    match end {
        TrialEnd::Failed { reason, message, .. } => {
            TrialEnd::Failed { reason, message, log_tail: log.tail() }
        }
        other => other,
    }
}

/// The coordinator refuses anything else, and the whole request with it.
fn is_meant(epoch: u32, metrics: &Metrics, checkpoint: &Option<Checkpoint>) -> bool {
    is_named(checkpoint) && (epoch >= 1 || metrics.is_empty())
}

fn is_named(checkpoint: &Option<Checkpoint>) -> bool {
    checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.hash.parse::<CheckpointHash>().is_ok())
}

fn quote(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(QUOTED_CHARS).collect()
}

/// The lines of a process's standard output.
#[derive(Debug)]
struct EventLines {
    pipe: Receiver,
    lines: Lines,
    complete: VecDeque<Vec<u8>>,
    chunk: Box<[u8]>,
}

impl EventLines {
    fn new(pipe: Receiver) -> EventLines {
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        EventLines { pipe, lines: Lines::new(MAX_EVENT_BYTES), complete: VecDeque::new(), chunk }
    }

    /// The next line; `None` where none will come. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(line) = self.complete.pop_front() {
                return Some(line);
            }
            let length = self.pipe.read(&mut self.chunk).await.unwrap_or(0);
            if length == 0 {
                return None;
            }
            self.complete.extend(self.lines.push(&self.chunk[..length]));
            if self.lines.is_overlong() {
                self.complete.push_back(format!("a line of more than {MAX_EVENT_BYTES} bytes").into_bytes());
            }
        }
    }
}
