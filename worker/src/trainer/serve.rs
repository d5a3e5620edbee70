//! The trial process: requests come in as JSON lines, events go out, and what is slow to load stays (libtorch, the
//! dataset on its device). Nothing else of a job outlives it but its checkpoints.

use std::any::Any;
use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::Instant;

use sweep::protocol::trial::{Checkpoint, TrainRequest, TrialEvent, TrialRecord, TrialRequest};
use sweep::recipe::{Recipe, Teacher, TeacherWeights};
use sweep::vocabulary::{CheckpointHash, Metrics, Parameters};
use tch::Device;

use super::checkpoint::{self, Origin};
use super::data::{Data, Wanted};
use super::device;
use super::error::TrainError;
use super::examine::examine;
use super::model::ResNet;
use super::native;
use super::record::record;
use super::reference::Reference;
use super::state::State;
use super::stop::Stop;
use super::train::{Ended, Job, KIND, Observer, train};

/// What a trainer is told once.
#[derive(Debug)]
pub struct Setup {
    /// Holds the imported datasets, a folder each.
    pub datasets: PathBuf,
    /// Where checkpoints are written and read; without it none are.
    pub checkpoints: Option<PathBuf>,
    /// As [`super::record::cpu_capability`] names it.
    pub cpu_capability: String,
    /// The GPUs that this process was given, as the value of `CUDA_VISIBLE_DEVICES`; empty where it was given none.
    pub promised_gpus: String,
    pub stop: Stop,
}

/// A warm trainer.
#[derive(Debug)]
pub struct Trainer {
    setup: Setup,
    loaded: Option<Loaded>,
}

/// The dataset of the last job.
#[derive(Debug)]
struct Loaded {
    wanted: Wanted,
    device: Device,
    data: Data,
}

/// How a job ended that did not fail.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    Done(TrialRecord),
    /// It was asked to stop; the checkpoint is there if it could be written.
    Stopped(Option<Checkpoint>),
}

/// What takes each epoch's metrics and the checkpoint after it.
pub type Report<'a> = dyn FnMut(u32, Metrics, Option<Checkpoint>) -> Result<(), TrainError> + 'a;

/// Works on requests from `input` until it ends.
///
/// # Errors
/// Where `input` can't be read or `output` can't be written: whoever asked is gone.
///
/// # Panics
/// With libtorch's message, when it fails otherwise than for lack of memory: after that nothing about the device is
/// certain, and a fresh process is the cure.
pub fn serve(trainer: &mut Trainer, input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    write_event(&mut output, &TrialEvent::Ready)?;
    for line in input.lines() {
        let line = line?;
        let stop = trainer.setup.stop.clone();
        // A signal ends the process only when the answer is written.
        stop.during(|| {
            let event = match answer(trainer, &line, &mut output) {
                Ok(event) => event,
                Err(TrainError::Report(error)) => return Err(error),
                Err(error) => TrialEvent::Failed { reason: error.reason(), message: error.to_string() },
            };
            write_event(&mut output, &event)
        })?;
    }
    Ok(())
}

fn answer(trainer: &mut Trainer, line: &str, output: &mut impl Write) -> Result<TrialEvent, TrainError> {
    let request = serde_json::from_str(line)
        .map_err(|error| TrainError::BadConfig(format!("this is no request of `sweep`: {error}")))?;
    match request {
        TrialRequest::Train(request) => work_on(trainer, &request, output).map(|end| match end {
            JobEnd::Done(record) => TrialEvent::Done { record },
            JobEnd::Stopped(checkpoint) => TrialEvent::Stopped { checkpoint },
        }),
        TrialRequest::Examine { processor } => Ok(TrialEvent::Examined { verdict: examine(processor) }),
    }
}

fn work_on(
    trainer: &mut Trainer,
    request: &TrainRequest,
    output: &mut impl Write,
) -> Result<JobEnd, TrainError> {
    let mut report = |epoch, metrics, checkpoint| {
        write_event(output, &TrialEvent::Report { epoch, metrics, checkpoint }).map_err(TrainError::Report)
    };
    // tch's short forms panic where libtorch throws. Here, and only here, such a panic becomes an error again.
    match catch_unwind(AssertUnwindSafe(|| trainer.train(request, &mut report))) {
        Ok(result) => result,
        Err(panic) => match TrainError::out_of_memory(message_of(panic.as_ref())) {
            Some(error) => Err(error),
            None => resume_unwind(panic),
        },
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

fn write_event(output: &mut impl Write, event: &TrialEvent) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

impl Trainer {
    /// A trainer that has loaded nothing yet.
    #[must_use]
    pub fn new(setup: Setup) -> Trainer {
        Trainer { setup, loaded: None }
    }

    /// Trains one job from its first epoch, or from where an earlier attempt had come to, to its last.
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn train(&mut self, request: &TrainRequest, report: &mut Report<'_>) -> Result<JobEnd, TrainError> {
        let started = Instant::now();
        let recipe = recipe_of(&request.parameters)?;
        // For every job: the number of threads decides the order of sums, whatever ran here before.
        tch::set_num_threads(i32::try_from(recipe.threads).unwrap_or(i32::MAX));
        let device = device::choose(&recipe, &self.setup.promised_gpus)?;
        native::begin_job();
        let wanted = Wanted {
            name: recipe.dataset.clone(),
            eval_sets: recipe.eval_sets.clone(),
            checksum: request.dataset_checksum.clone(),
        };
        let cpu_capability = self.setup.cpu_capability.clone();
        let (checkpoints, stop) = (self.setup.checkpoints.clone(), self.setup.stop.clone());
        let data = self.data(wanted, device)?;
        let mut following = Following {
            recipe: &recipe,
            origin: Origin {
                parameters: request.parameters.clone(),
                seed: request.seed,
                dataset_checksum: request.dataset_checksum.clone(),
            },
            first_epoch: request.first_epoch,
            last_epoch: request.last_epoch,
            checkpoints,
            stop,
            report,
        };
        let mut state = following.first_state(request, data.classes, device)?;
        let teachers = following.teachers(request)?;
        if !teachers.is_empty() {
            let networks = following.ensemble(&teachers, data.classes, device)?;
            state.reference = Some(Reference::Ensemble(networks));
        }
        let job = Job { recipe: &recipe, seed: request.seed, last_epoch: request.last_epoch, data };
        match train(&job, state, &mut following)? {
            Ended::Stopped(state) => Ok(JobEnd::Stopped(following.save(&state))),
            Ended::Done(state) => {
                let wall_seconds = started.elapsed().as_secs_f64();
                let record = record(&state, &recipe, device, &cpu_capability);
                let teachers = teachers.into_iter().map(|teacher| teacher.hash).collect();
                Ok(JobEnd::Done(TrialRecord { wall_seconds, teachers, ..record }))
            }
        }
    }

    /// The wanted dataset on `device`, from the last job where that had the same.
    fn data(&mut self, wanted: Wanted, device: Device) -> Result<&Data, TrainError> {
        if !self.loaded.as_ref().is_some_and(|loaded| loaded.wanted == wanted && loaded.device == device) {
            self.loaded = None; // Two datasets at once may be more than the device holds.
            let data = Data::open(&self.setup.datasets, &wanted, device)?;
            self.loaded = Some(Loaded { wanted, device, data });
        }
        Ok(&self.loaded.as_ref().expect("it was loaded above").data)
    }
}

/// The typed form of a request's parameters.
fn recipe_of(parameters: &Parameters) -> Result<Recipe, TrainError> {
    Recipe::try_from(parameters).map_err(|error| TrainError::BadConfig(error.to_string()))
}

/// A file with the weights of a network that teaches.
struct TeacherFile {
    path: PathBuf,
    hash: String,
}

/// Follows one job: hands on what it reports, writes its checkpoints, and looks out for the wish to stop.
struct Following<'a> {
    recipe: &'a Recipe,
    origin: Origin,
    first_epoch: u32,
    last_epoch: u32,
    checkpoints: Option<PathBuf>,
    stop: Stop,
    report: &'a mut Report<'a>,
}

impl Following<'_> {
    /// The state that the job goes on from. A checkpoint that can't be used costs time, not the job: the numbers are the
    /// same from the first epoch on.
    fn first_state(&self, request: &TrainRequest, classes: i64, device: Device) -> Result<State, TrainError> {
        if let (Some(folder), Some(checkpoint)) = (&self.checkpoints, &request.resume) {
            match checkpoint::load(folder, &checkpoint.hash, &self.origin, self.recipe, classes, device) {
                Ok(state) => {
                    tracing::info!(
                        epoch = checkpoint.epoch,
                        step = checkpoint.step,
                        "goes on from a checkpoint"
                    );
                    return Ok(state);
                }
                Err(TrainError::Checkpoint(error)) if error.is_final() => {
                    tracing::warn!("starts again from the first epoch: {error}");
                }
                // It may be read the next time, and what lies in it is worth more than an attempt.
                Err(error) => return Err(error),
            }
        }
        State::fresh(self.recipe, request.seed, classes, KIND, device)
    }

    /// The files of `teachers`, where the method has them.
    fn teachers(&self, request: &TrainRequest) -> Result<Vec<TeacherFile>, TrainError> {
        let Some(Teacher::Checkpoints(teachers)) = self.recipe.teacher() else { return Ok(Vec::new()) };
        let Some(folder) = &self.checkpoints else {
            return Err(TrainError::BadConfig(
                "`teachers` lie among the checkpoints, but this trainer was started without `--checkpoints`"
                    .to_owned(),
            ));
        };
        let find = |weights: &TeacherWeights| match weights {
            TeacherWeights::File(hash) => {
                let hash = hash.to_string();
                Ok(TeacherFile { path: checkpoint::path_of_teacher(folder, &hash), hash })
            }
            TeacherWeights::Trial(state) => {
                let hash = request.teachers.get(&state.to_string()).ok_or_else(|| {
                    TrainError::BadConfig(format!(
                        "a trial that teaches has left no weights (state {state}); `sweep retry` trains it again"
                    ))
                })?;
                // It came over the network, and becomes a path.
                let hash: CheckpointHash = hash
                    .parse()
                    .map_err(|error| TrainError::BadConfig(format!("a teacher's file: {error}")))?;
                let hash = hash.to_string();
                Ok(TeacherFile { path: checkpoint::path_of(folder, &hash), hash })
            }
        };
        teachers.iter().map(find).collect()
    }

    fn ensemble(
        &self,
        teachers: &[TeacherFile],
        classes: i64,
        device: Device,
    ) -> Result<Vec<ResNet>, TrainError> {
        let load = |file: &TeacherFile| {
            checkpoint::load_network(&file.path, Some(&file.hash), &self.recipe.network, classes, device)
        };
        teachers.iter().map(load).collect()
    }

    /// Writes a checkpoint. One that can't be written is missed only if this attempt ends early, so it is no failure.
    fn save(&self, state: &State) -> Option<Checkpoint> {
        let folder = self.checkpoints.as_ref()?;
        match checkpoint::save(folder, state, &self.origin) {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                tracing::warn!("goes on without a checkpoint: {error}");
                None
            }
        }
    }
}

impl Observer for Following<'_> {
    fn stops(&self) -> bool {
        self.stop.is_wanted()
    }

    fn report(&mut self, state: &State, metrics: Metrics) -> Result<(), TrainError> {
        let is_due = self.recipe.writes_checkpoint_after(state.epoch) || state.epoch == self.last_epoch;
        let checkpoint = if is_due { self.save(state) } else { None };
        // Epochs of the jobs before this one are trained again where their last checkpoint is lost; they have been reported.
        let metrics = if state.epoch < self.first_epoch { Metrics::new() } else { metrics };
        if metrics.is_empty() && checkpoint.is_none() {
            return Ok(());
        }
        (self.report)(state.epoch, metrics, checkpoint)
    }
}
