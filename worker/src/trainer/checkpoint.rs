//! Checkpoints: all that a job needs to go on exactly, as a safetensors file whose name is its hash.
//!
//! The student's tensors have the names that PyTorch's `state_dict` gives them, so that any program can read them; what
//! else there is has a `/` in its name. The header's metadata has one entry, `sweep`, a JSON object with [`VERSION`]. Files are
//! written beside, synced and renamed, and their contents are compared with their name before anything is read from them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use sweep::protocol::trial::Checkpoint;
use sweep::recipe::schema::Problems;
use sweep::recipe::{
    Method, NUMERICS_VERSION, Network, Recipe, Stretch, TeacherScope, first_difference, stretches,
};
use sweep::vocabulary::{NAMED_WEIGHTS, Parameters, weights_file_name};
use tch::{Device, Kind, Tensor};
use tempfile::NamedTempFile;

use super::error::TrainError;
use super::head::Head;
use super::layers::channels_last;
use super::mask::Token;
use super::model::{Architecture, Named, ResNet, Role, Slot};
use super::optimizer::Momentum;
use super::probe::Probe;
use super::record::bytes;
use super::reference::Reference;
use super::shadow::Shadow;
use super::state::{State, Within};

/// Raised whenever a file of the version before could not be read rightly any more.
pub const VERSION: u32 = 1;
const METADATA_KEY: &str = "sweep";

/// Why a file of weights can't be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("can't write a checkpoint into `{folder}`: {source}")]
    Write { folder: PathBuf, source: io::Error },
    #[error("can't read the weights in `{path}`: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "`{path}` is damaged: its contents have the BLAKE3 hash `{found}`; remove it, or restore it from a copy"
    )]
    Damaged { path: PathBuf, found: String },
    #[error("`{path}` holds no weights that can be used: {what}")]
    Unusable { path: PathBuf, what: String },
    #[error(
        "`{path}` is a checkpoint of version {found}; this trainer reads version {VERSION} only: take the `sweep-trainer` that \
         wrote it"
    )]
    OtherVersion { path: PathBuf, found: u64 },
    #[error("`{path}` belongs to another trial: {what}")]
    Foreign { path: PathBuf, what: String },
}

impl CheckpointError {
    /// Whether another look at the file would find the same.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            CheckpointError::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
            CheckpointError::Write { .. } => false,
            CheckpointError::Damaged { .. }
            | CheckpointError::Unusable { .. }
            | CheckpointError::OtherVersion { .. }
            | CheckpointError::Foreign { .. } => true,
        }
    }
}

/// The trial that a state belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Canonical.
    pub parameters: Parameters,
    pub seed: u64,
    pub dataset_checksum: String,
}

/// What the header says.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    numerics_version: u32,
    origin: Origin,
    epoch: u32,
    step: u32,
    reference_updates: u32,
    shadow_updates: u32,
}

/// The file of this hash in `folder`.
#[must_use]
pub fn path_of(folder: &Path, hash: &str) -> PathBuf {
    folder.join(weights_file_name(hash))
}

/// The weights of this hash that a spec names as a teacher; the coordinator copies them there.
#[must_use]
pub fn path_of_teacher(folder: &Path, hash: &str) -> PathBuf {
    path_of(&folder.join(NAMED_WEIGHTS), hash)
}

/// Writes `state` into `folder`.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn save(folder: &Path, state: &State, origin: &Origin) -> Result<Checkpoint, CheckpointError> {
    let header = Header {
        version: VERSION,
        numerics_version: NUMERICS_VERSION,
        origin: origin.clone(),
        epoch: state.epoch,
        step: state.within.as_ref().map_or(0, |within| within.step),
        reference_updates: state.reference_updates,
        shadow_updates: state.shadow.as_ref().map_or(0, |shadow| shadow.updates),
    };
    let contents = contents_of(&header, &tensors_of(state));
    let hash = blake3::hash(&contents).to_hex().to_string();
    let path = path_of(folder, &hash);
    write(folder, &path, &contents)
        .map_err(|source| CheckpointError::Write { folder: folder.to_owned(), source })?;
    let (epoch, step) = (header.epoch, header.step);
    Ok(Checkpoint { hash, epoch, step, size_bytes: contents.len() as u64 })
}

/// A file that is there already is written again: the coordinator spares young files of which it knows nothing yet.
fn write(folder: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder)?.sync_all()
}

fn contents_of(header: &Header, tensors: &[(String, Tensor)]) -> Vec<u8> {
    // One entry only: the order of several would change from process to process, and with it the hash.
    let json = serde_json::to_string(header).expect("a header of text and numbers is JSON");
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), json)]);
    let raw: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| {
            let shape =
                tensor.size().into_iter().map(|side| usize::try_from(side).expect("a side is a count"));
            (name, dtype_of(tensor.kind()), shape.collect::<Vec<_>>(), bytes(tensor))
        })
        .collect();
    let views = raw.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (name.as_str(), view.expect("a tensor's bytes are as many as its kind and shape say"))
    });
    serialize(views, Some(metadata)).expect("distinct names and whole tensors make a file")
}

/// Every tensor of a state with its name in the file.
fn tensors_of(state: &State) -> Vec<(String, Tensor)> {
    let mut tensors: Vec<_> = named("", state.student.tensors()).collect();
    tensors.extend(velocities("momentum/", &trained_names(state), &state.momentum));
    tensors.extend(named("reference/", state.reference.as_ref().map_or(&[], Reference::tensors)));
    let shadow = state.shadow.as_ref();
    tensors.extend(named("shadow/", shadow.map_or(&[], |shadow| shadow.network.tensors())));
    let token = state.token.iter().flat_map(Token::tensors);
    tensors.extend(token.map(|(name, tensor)| (format!("token/{name}"), tensor.shallow_clone())));
    if let Some(within) = &state.within {
        tensors.push(("epoch/losses".to_owned(), Tensor::stack(&within.losses, 0)));
        let features = within.last_full_batch.as_ref();
        tensors.extend(features.map(|features| ("epoch/features".to_owned(), features.shallow_clone())));
        for (number, probe) in within.probes.iter().enumerate() {
            tensors.extend(named(&format!("probe/{number}/"), probe.head.tensors()));
            let prefix = format!("probe/{number}/momentum/");
            tensors.extend(velocities(&prefix, &names_of(probe.head.tensors()), &probe.momentum));
        }
    }
    tensors
}

fn named(prefix: &str, tensors: &[Named]) -> impl Iterator<Item = (String, Tensor)> {
    tensors.iter().map(move |named| (format!("{prefix}{}", named.name), named.tensor.shallow_clone()))
}

fn velocities(prefix: &str, names: &[&str], momentum: &Momentum) -> Vec<(String, Tensor)> {
    let pairs = names.iter().zip(&momentum.velocities);
    pairs.map(|(name, velocity)| (format!("{prefix}{name}"), velocity.shallow_clone())).collect()
}

fn names_of(tensors: &[Named]) -> Vec<&str> {
    tensors.iter().map(|named| named.name.as_str()).collect()
}

/// Names of what the optimizer changes, in its order.
fn trained_names(state: &State) -> Vec<&str> {
    let parameters = state.student.parameters().map(|named| named.name.as_str());
    let token = state.token.as_ref().and_then(Token::trained).map(|_| "token");
    parameters.chain(token).collect()
}

/// The state in the checkpoint `hash` of `folder`, which must be one that `origin`, a trial of `recipe`, comes through. An
/// ensemble of teachers is not in it.
///
/// # Errors
/// See [`CheckpointError`]; [`TrainError::BadConfig`] for a network that there isn't.
pub fn load(
    folder: &Path,
    hash: &str,
    origin: &Origin,
    recipe: &Recipe,
    classes: i64,
    device: Device,
) -> Result<State, TrainError> {
    let mut file = WeightsFile::open(&path_of(folder, hash), Some(hash), device)?;
    let header = file.header.take().ok_or_else(|| file.unusable("it is no checkpoint of `sweep`"))?;
    check_origin(&file.path, &header, origin)?;
    let architecture = Architecture::new(recipe.network.clone(), classes)?;
    let mut state = State::of(file.network("", &architecture, Trained::Yes)?);
    state.epoch = header.epoch;
    state.token = file.token(recipe, &state.student)?;
    state.momentum = file.momentum("momentum/", &trained_names(&state))?;
    state.reference = file.reference(recipe, &architecture)?;
    state.reference_updates = header.reference_updates;
    if file.has("shadow/") {
        let network = file.network("shadow/", &architecture, Trained::No)?;
        state.shadow = Some(Shadow { network, updates: header.shadow_updates });
    }
    if header.step > 0 {
        state.within = Some(file.within(header.step, recipe, &architecture)?);
    }
    file.finish()?;
    Ok(state)
}

/// A checkpoint is good for every trial that trains the epochs behind it in the same way, whatever comes after them.
fn check_origin(path: &Path, header: &Header, origin: &Origin) -> Result<(), CheckpointError> {
    let foreign = |what: String| Err(CheckpointError::Foreign { path: path.to_owned(), what });
    let found = &header.origin;
    if header.numerics_version != NUMERICS_VERSION {
        return foreign(format!(
            "it was written with numerics version {}, this is version {NUMERICS_VERSION}",
            header.numerics_version
        ));
    }
    if found.seed != origin.seed {
        return foreign(format!("its seed is {}, not {}", found.seed, origin.seed));
    }
    if found.dataset_checksum != origin.dataset_checksum {
        return foreign(format!("its dataset has the checksum `{}`", found.dataset_checksum));
    }
    let epochs = header.epoch + u32::from(header.step > 0);
    let [found, wanted] = [&found.parameters, &origin.parameters].map(stretches_of);
    let (Ok(found), Ok(wanted)) = (found, wanted) else {
        return foreign("its parameters make no recipe of this version".to_owned());
    };
    match first_difference(&found, &wanted, epochs) {
        Some((epoch, name)) => foreign(format!("it has another `{name}` in epoch {epoch}")),
        None => Ok(()),
    }
}

fn stretches_of(parameters: &Parameters) -> Result<Vec<Stretch>, Problems> {
    Recipe::try_from(parameters).map(|recipe| stretches(parameters, &recipe))
}

/// The network in a file of weights: one of ours, or the `state_dict` of one of `network` and `classes` that PyTorch
/// saved as safetensors. It is not trained.
///
/// # Errors
/// See [`CheckpointError`]; [`TrainError::BadConfig`] for a network that there isn't.
pub fn load_network(
    path: &Path,
    hash: Option<&str>,
    network: &Network,
    classes: i64,
    device: Device,
) -> Result<ResNet, TrainError> {
    let mut file = WeightsFile::open(path, hash, device)?;
    for tensor in file.tensors.values_mut() {
        // Other programs save other kinds of numbers; here weights are float32.
        *tensor = tensor.to_kind(Kind::Float);
    }
    // A checkpoint says itself what network it is.
    let own = file.header.take().and_then(|header| Recipe::try_from(&header.origin.parameters).ok());
    let network = own.map_or_else(|| network.clone(), |recipe| recipe.network);
    file.network("", &Architecture::new(network, classes)?, Trained::No).map_err(|error| match error {
        CheckpointError::Unusable { path, what } => {
            let what = format!(
                "{what}; weights of another program must be those of a network with this trial's `width`, `depth`, `stem`, \
                 `pool`, `head_*` and number of classes"
            );
            CheckpointError::Unusable { path, what }.into()
        }
        error => error.into(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trained {
    Yes,
    No,
}

/// A file's tensors on a device; what is taken is gone.
struct WeightsFile {
    path: PathBuf,
    /// Only files of ours have one.
    header: Option<Header>,
    tensors: BTreeMap<String, Tensor>,
}

impl WeightsFile {
    /// Reads all of `path` after a look at its hash.
    fn open(path: &Path, hash: Option<&str>, device: Device) -> Result<WeightsFile, TrainError> {
        let contents =
            fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
        let found = blake3::hash(&contents).to_hex().to_string();
        if hash.is_some_and(|hash| hash != found) {
            return Err(CheckpointError::Damaged { path: path.to_owned(), found }.into());
        }
        let unusable = |what: String| CheckpointError::Unusable { path: path.to_owned(), what };
        let (_, metadata) =
            SafeTensors::read_metadata(&contents).map_err(|error| unusable(error.to_string()))?;
        let header = match metadata.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY)) {
            Some(json) => Some(parse_header(path, json)?),
            None => None,
        };
        let file = SafeTensors::deserialize(&contents).map_err(|error| unusable(error.to_string()))?;
        let tensors = file.iter().map(|(name, view)| {
            let kind = kind_of(view.dtype())
                .ok_or_else(|| unusable(format!("`{name}` has the type {:?}", view.dtype())))?;
            let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?.f_to_device(device)?;
            Ok((name.to_owned(), tensor))
        });
        let tensors = tensors.collect::<Result<_, TrainError>>()?;
        Ok(WeightsFile { path: path.to_owned(), header, tensors })
    }

    fn unusable(&self, what: impl Into<String>) -> CheckpointError {
        CheckpointError::Unusable { path: self.path.clone(), what: what.into() }
    }

    fn has(&self, prefix: &str) -> bool {
        self.tensors.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    fn take(&mut self, name: &str) -> Result<Tensor, CheckpointError> {
        self.tensors.remove(name).ok_or_else(|| self.unusable(format!("it has no tensor `{name}`")))
    }

    /// The tensor for `slot`, of the slot's shape.
    fn fill(&mut self, prefix: &str, slot: &Slot, trained: Trained) -> Result<Tensor, CheckpointError> {
        let name = format!("{prefix}{}", slot.name);
        let tensor = self.take(&name)?;
        if tensor.size() != slot.shape {
            let (found, wanted) = (tensor.size(), &slot.shape);
            return Err(self.unusable(format!("`{name}` has the shape {found:?}, not {wanted:?}")));
        }
        let is_trained = trained == Trained::Yes && slot.role == Role::Parameter;
        Ok(channels_last(&tensor).set_requires_grad(is_trained))
    }

    /// Builds something from tensors whose names begin with `prefix`; the first that is missing is the error.
    fn build<T>(
        &mut self,
        prefix: &str,
        trained: Trained,
        build: impl FnOnce(&mut dyn FnMut(&Slot) -> Tensor) -> T,
    ) -> Result<T, CheckpointError> {
        let mut problem = None;
        let built = build(&mut |slot| {
            self.fill(prefix, slot, trained).unwrap_or_else(|error| {
                problem.get_or_insert(error);
                Tensor::zeros(slot.shape.as_slice(), (Kind::Float, Device::Cpu))
            })
        });
        problem.map_or(Ok(built), Err)
    }

    fn network(
        &mut self,
        prefix: &str,
        architecture: &Architecture,
        trained: Trained,
    ) -> Result<ResNet, CheckpointError> {
        self.build(prefix, trained, |source| ResNet::build(architecture.clone(), source))
    }

    /// Velocities of the parameters of these names; none before the first step.
    fn momentum(&mut self, prefix: &str, names: &[&str]) -> Result<Momentum, CheckpointError> {
        if !self.has(prefix) {
            return Ok(Momentum::default());
        }
        let velocities = names
            .iter()
            .map(|name| Ok(channels_last(&self.take(&format!("{prefix}{name}"))?)))
            .collect::<Result<_, CheckpointError>>()?;
        Ok(Momentum { velocities })
    }

    /// The token, which is there from the method's start on.
    fn token(&mut self, recipe: &Recipe, like: &ResNet) -> Result<Option<Token>, CheckpointError> {
        let (Method::Mask(_, masking), true) = (&recipe.method, self.has("token/")) else { return Ok(None) };
        let token = Token::zeros_for(masking, like);
        for (name, tensor) in token.tensors() {
            let name = format!("token/{name}");
            let stored = self.take(&name)?;
            if stored.size() != tensor.size() {
                return Err(self.unusable(format!("`{name}` has the shape {:?}", stored.size())));
            }
            let _guard = tch::no_grad_guard();
            tensor.shallow_clone().copy_(&stored);
        }
        Ok(Some(token))
    }

    /// The reference, which is there from the method's start on unless it has files of its own.
    fn reference(
        &mut self,
        recipe: &Recipe,
        architecture: &Architecture,
    ) -> Result<Option<Reference>, CheckpointError> {
        let (Some(teaching), true) = (recipe.self_teaching(), self.has("reference/")) else {
            return Ok(None);
        };
        Ok(Some(match teaching.scope {
            TeacherScope::Network(batch_norm) => Reference::Network {
                network: self.network("reference/", architecture, Trained::No)?,
                batch_norm,
            },
            TeacherScope::Head(gradient) => {
                let head = self.build("reference/", Trained::No, |source| architecture.head(source))?;
                Reference::Head { head, gradient }
            }
        }))
    }

    /// An epoch after `step` of its steps.
    fn within(
        &mut self,
        step: u32,
        recipe: &Recipe,
        architecture: &Architecture,
    ) -> Result<Within, CheckpointError> {
        let losses = self.take("epoch/losses")?;
        if losses.dim() != 2 || losses.size()[0] != i64::from(step) {
            return Err(self.unusable(format!("`epoch/losses` has the shape {:?}", losses.size())));
        }
        let last_full_batch = self.has("epoch/features").then(|| self.take("epoch/features")).transpose()?;
        let mut probes = Vec::new();
        if self.has("probe/") {
            for (number, &multiplier) in recipe.probes.iter().enumerate() {
                let prefix = format!("probe/{number}/");
                let build =
                    |source: &mut dyn FnMut(&Slot) -> Tensor| Head::of_probe(architecture.widths(), source);
                let head = self.build(&prefix, Trained::Yes, build)?;
                let momentum = self.momentum(&format!("{prefix}momentum/"), &names_of(head.tensors()))?;
                probes.push(Probe { head, momentum, multiplier });
            }
        }
        Ok(Within { step, losses: losses.unbind(0), last_full_batch, probes })
    }

    /// Refuses what nobody asked for: it would be lost without a word.
    fn finish(self) -> Result<(), CheckpointError> {
        match self.tensors.keys().next() {
            Some(name) => Err(self.unusable(format!("nobody knows the tensor `{name}`"))),
            None => Ok(()),
        }
    }
}

fn parse_header(path: &Path, json: &str) -> Result<Header, CheckpointError> {
    let unusable = |error: serde_json::Error| CheckpointError::Unusable {
        path: path.to_owned(),
        what: format!("its header can't be read: {error}"),
    };
    // The version first: a header of another one may have other fields.
    let value: serde_json::Value = serde_json::from_str(json).map_err(unusable)?;
    let version = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if version != u64::from(VERSION) {
        return Err(CheckpointError::OtherVersion { path: path.to_owned(), found: version });
    }
    serde_json::from_value(value).map_err(unusable)
}

fn dtype_of(kind: Kind) -> Dtype {
    match kind {
        Kind::Double => Dtype::F64,
        Kind::Float => Dtype::F32,
        other => panic!("a state has no tensor of kind {other:?}"),
    }
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F64 => Some(Kind::Double),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        // PyTorch's batch norm counts its batches; nobody here reads that.
        Dtype::I64 => Some(Kind::Int64),
        _ => None,
    }
}
