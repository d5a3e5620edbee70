//! The trial process: requests come in as JSON lines, events go out, and what is slow to load stays (libtorch, the
//! dataset on its device). Nothing else of a job outlives it.

use std::any::Any;
use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::Instant;

use sweep::protocol::trial::{TrainRequest, TrialEvent, TrialRecord, TrialRequest};
use sweep::recipe::{self, Recipe};
use sweep::vocabulary::Parameters;
use tch::{Cuda, Device};

use super::data::{Data, Wanted};
use super::error::TrainError;
use super::record::record;
use super::state::State;
use super::train::{Job, KIND, Report, train};

/// A warm trainer.
#[derive(Debug)]
pub struct Trainer {
    datasets: PathBuf,
    cpu_capability: String,
    loaded: Option<Loaded>,
}

/// The dataset of the last job.
#[derive(Debug)]
struct Loaded {
    wanted: Wanted,
    device: Device,
    data: Data,
}

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
        let event = match answer(trainer, &line?, &mut output) {
            Ok(record) => TrialEvent::Done { record },
            Err(TrainError::Report(error)) => return Err(error),
            Err(error) => TrialEvent::Failed { reason: error.reason(), message: error.to_string() },
        };
        write_event(&mut output, &event)?;
    }
    Ok(())
}

fn answer(trainer: &mut Trainer, line: &str, output: &mut impl Write) -> Result<TrialRecord, TrainError> {
    let TrialRequest::Train(request) = serde_json::from_str(line)
        .map_err(|error| TrainError::BadConfig(format!("this is no request of `sweep`: {error}")))?;
    let mut report = |epoch, metrics| {
        write_event(output, &TrialEvent::Report { epoch, metrics }).map_err(TrainError::Report)
    };
    // tch's short forms panic where libtorch throws. Here, and only here, such a panic becomes an error again.
    match catch_unwind(AssertUnwindSafe(|| trainer.train(&request, &mut report))) {
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
    /// A trainer that finds datasets in the folder `datasets`.
    #[must_use]
    pub fn new(datasets: PathBuf, cpu_capability: String) -> Trainer {
        Trainer { datasets, cpu_capability, loaded: None }
    }

    /// Trains one job from its first epoch to its last.
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn train(
        &mut self,
        request: &TrainRequest,
        report: &mut Report<'_>,
    ) -> Result<TrialRecord, TrainError> {
        let started = Instant::now();
        let recipe = recipe_of(&request.parameters)?;
        // For every job: the number of threads decides the order of sums, whatever ran here before.
        tch::set_num_threads(i32::try_from(recipe.threads).unwrap_or(i32::MAX));
        let device = device_of(&recipe)?;
        let wanted = Wanted {
            name: recipe.dataset.clone(),
            eval_sets: recipe.eval_sets.clone(),
            checksum: request.dataset_checksum.clone(),
        };
        let cpu_capability = self.cpu_capability.clone();
        let data = self.data(wanted, device)?;
        let state = State::fresh(&recipe, request.seed, data.classes, KIND, device)?;
        let epochs = request.first_epoch..=request.last_epoch;
        let job = Job { recipe: &recipe, seed: request.seed, epochs, data };
        let state = train(&job, state, report)?;
        let wall_seconds = started.elapsed().as_secs_f64();
        Ok(TrialRecord { wall_seconds, ..record(&state, device, &cpu_capability) })
    }

    /// The wanted dataset on `device`, from the last job where that had the same.
    fn data(&mut self, wanted: Wanted, device: Device) -> Result<&Data, TrainError> {
        if !self.loaded.as_ref().is_some_and(|loaded| loaded.wanted == wanted && loaded.device == device) {
            self.loaded = None; // Two datasets at once may be more than the device holds.
            let data = Data::open(&self.datasets, &wanted, device)?;
            self.loaded = Some(Loaded { wanted, device, data });
        }
        Ok(&self.loaded.as_ref().expect("it was loaded above").data)
    }
}

/// The typed form of a request's parameters.
fn recipe_of(parameters: &Parameters) -> Result<Recipe, TrainError> {
    Recipe::try_from(parameters).map_err(|error| TrainError::BadConfig(error.to_string()))
}

fn device_of(recipe: &Recipe) -> Result<Device, TrainError> {
    let device = match recipe.device {
        recipe::Device::Auto => Device::cuda_if_available(),
        recipe::Device::Cpu => Device::Cpu,
        recipe::Device::Cuda if Cuda::is_available() => Device::Cuda(0),
        recipe::Device::Cuda => {
            return Err(TrainError::BadConfig(
                "`device` is `cuda`, but this process sees no GPU that libtorch can use; take `auto` or `cpu`, or a \
                 node with a GPU (`nvidia-smi` lists them)"
                    .to_owned(),
            ));
        }
    };
    if device.is_cuda() {
        // Lets cuDNN time its kernels once per shape; shapes repeat for the whole job.
        Cuda::cudnn_set_benchmark(true);
    }
    Ok(device)
}
