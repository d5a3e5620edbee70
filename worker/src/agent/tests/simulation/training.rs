//! What trial processes compute: a state that depends on every epoch's effective configuration and on nothing else, so
//! that a result shows whether a job went on from the right state.

use std::collections::BTreeMap;

use sweep::protocol::http::{CommandWork, Work};
use sweep::protocol::trial::{Checkpoint, TrainRequest};
use sweep::recipe;
use sweep::vocabulary::Parameters;

type State = [u8; 32];

/// What lies in the artifact folder: the state behind each checkpoint's hash.
pub(super) type Files = BTreeMap<String, State>;

/// A job as its process sees it.
#[derive(Debug)]
pub(super) struct Training {
    /// Names what each epoch is computed from, from the first on.
    epochs: Vec<String>,
    first_epoch: u32,
    last_epoch: u32,
    /// After how many epochs the process is, and in which state.
    epoch: u32,
    state: State,
    /// Whether it leaves a checkpoint after every epoch, after the last one, or none.
    pub(super) keeps: Keeps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    EveryEpoch,
    LastEpoch,
    Nothing,
}

impl Training {
    /// Begins where the lease says; with the first epoch where that file is lost.
    pub(super) fn begin(work: &Work, files: &Files) -> Training {
        let (training, start) = match work {
            Work::Resnet(request) => (Training::of_trainer(request), request.resume.as_ref()),
            Work::Command(work) => {
                (Training::of_program(work), work.stage.as_ref().and_then(|stage| stage.load.as_ref()))
            }
        };
        match start.and_then(|start| Some((start.epoch, *files.get(&start.hash)?))) {
            Some((epoch, state)) => Training { epoch, state, ..training },
            None => training,
        }
    }

    fn of_trainer(request: &TrainRequest) -> Training {
        let recipe = recipe::Recipe::try_from(&request.parameters).expect("the spec was checked");
        let stretches = recipe::stretches(&request.parameters, &recipe);
        let effective = |epoch: u32| {
            let stretch = stretches.iter().find(|stretch| epoch <= stretch.last_epoch);
            stretch.map(|stretch| stretch.hash().to_string()).unwrap_or_default()
        };
        Training::new(
            (1..=request.last_epoch).map(effective).collect(),
            request.seed,
            (request.first_epoch, request.last_epoch),
            Keeps::EveryEpoch,
        )
    }

    fn of_program(work: &CommandWork) -> Training {
        let all = |parameters: &Parameters| serde_json::to_string(parameters).expect("text and numbers");
        match &work.stage {
            None => Training::new(vec![all(&work.parameters)], work.seed, (1, 1), Keeps::Nothing),
            Some(stage) => {
                // The spec's stages: only `a` matters in the first two epochs.
                let early = work.parameters.get("a").map(ToString::to_string).unwrap_or_default();
                let effective = |epoch| if epoch <= 2 { early.clone() } else { all(&work.parameters) };
                let keeps = if stage.must_save { Keeps::LastEpoch } else { Keeps::Nothing };
                let epochs = (1..=stage.last_epoch).map(effective).collect();
                Training::new(epochs, work.seed, (stage.first_epoch, stage.last_epoch), keeps)
            }
        }
    }

    fn new(epochs: Vec<String>, seed: u64, (first_epoch, last_epoch): (u32, u32), keeps: Keeps) -> Training {
        let state = blake3::hash(&seed.to_le_bytes()).into();
        Training { epochs, first_epoch, last_epoch, epoch: 0, state, keeps }
    }

    pub(super) fn is_done(&self) -> bool {
        self.epoch >= self.last_epoch
    }

    /// Trains one epoch; gives its number and its result where it is the job's.
    pub(super) fn train(&mut self) -> Option<(u32, f64)> {
        let what = &self.epochs[self.epoch as usize];
        self.epoch += 1;
        self.state = blake3::hash(&[self.state.as_slice(), what.as_bytes()].concat()).into();
        (self.epoch >= self.first_epoch).then(|| (self.epoch, self.value()))
    }

    /// A number that only this state has.
    fn value(&self) -> f64 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.state[..4]);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }

    /// Writes the state down.
    pub(super) fn save(&self, files: &mut Files) -> Checkpoint {
        let hash = blake3::hash(&[self.state.as_slice(), b"file"].concat()).to_hex().to_string();
        files.insert(hash.clone(), self.state);
        Checkpoint { hash, epoch: self.epoch, step: 0, size_bytes: 32 }
    }

    /// Whether a job of the built-in trainer may end in a checkpoint when it is asked to stop.
    pub(super) fn stops_with_state(&self) -> bool {
        self.keeps == Keeps::EveryEpoch && self.epoch > 0
    }
}
