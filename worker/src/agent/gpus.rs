//! Which GPUs this agent may use. NVIDIA's library is loaded at run time, so that a node without it works too.
//!
//! A GPU goes by its unique name from here on: numbers mean one thing to the driver and another to CUDA, and shift when a GPU
//! is lost. Whoever names GPUs shall get exactly those or an error, never a CPU in their place. Without NVIDIA's driver there may
//! be GPUs of another make, which programs can use: then the names are taken by their word, and the trainer, which can't, says so
//! where a job of its own comes to such a GPU.

use std::collections::BTreeSet;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::options::GpuChoice;

/// More GPUs than a node has.
const MOST_GPUS: usize = 1024;

/// Why it can't be said which GPUs to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// The driver is there, and nothing can be learnt from it.
    #[error("NVIDIA's driver does not answer ({why}): mend it, or work on the CPU with `--gpus none`")]
    Silent { why: String },
    /// A choice that the node can't fulfil.
    #[error("there is no GPU `{name}`: this agent sees {visible}")]
    NoSuchGpu { name: String, visible: usize },
    /// One that is there and can't be used.
    #[error("GPU {number} does not answer ({why}); leave it out, or reset it")]
    Lost { number: usize, why: String },
    /// To take all would be to take other people's.
    #[error("can't tell which GPUs the scheduler means by `{given}`; say which in `CUDA_VISIBLE_DEVICES`")]
    UnclearGrant { given: String },
}

/// What the environment says about GPUs, as its variables' values.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Surroundings<'a> {
    /// `CUDA_VISIBLE_DEVICES`, which has the last word.
    pub(crate) cuda: Option<&'a str>,
    /// `CUDA_DEVICE_ORDER`.
    pub(crate) cuda_order: Option<&'a str>,
    /// `SLURM_STEP_GPUS`, or else `SLURM_JOB_GPUS`.
    pub(crate) slurm: Option<&'a str>,
    /// `ROCR_VISIBLE_DEVICES`: AMD's GPUs that programs see at all, and then number from 0.
    pub(crate) rocr: Option<&'a str>,
}

/// The GPUs to use, each as a value of `CUDA_VISIBLE_DEVICES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// As NVIDIA's driver shows them.
    Seen(Vec<String>),
    /// As somebody names them; there is no driver that could be asked.
    ByWord(Vec<String>),
}

/// What is asked of NVIDIA's driver; GPUs by their place on the PCI bus, as `nvidia-smi` counts them.
pub(crate) trait Driver {
    fn count(&self) -> Result<u32, NvmlError>;
    fn uuid(&self, number: u32) -> Result<String, NvmlError>;
    fn model(&self, number: u32) -> Result<String, NvmlError>;
}

impl Driver for Nvml {
    fn count(&self) -> Result<u32, NvmlError> {
        self.device_count()
    }

    fn uuid(&self, number: u32) -> Result<String, NvmlError> {
        self.device_by_index(number)?.uuid()
    }

    fn model(&self, number: u32) -> Result<String, NvmlError> {
        self.device_by_index(number)?.name()
    }
}

/// A GPU's unique name, or why it can't be used.
type Gpu = Result<String, GpuError>;

/// The GPUs that may be meant, in the order in which their numbers count.
struct Visible {
    gpus: Vec<Gpu>,
    /// Somebody wants exactly these.
    are_named: bool,
}

/// The chosen GPUs. None where there is no driver and nobody names GPUs.
pub(crate) fn choose<D: Driver>(
    choice: &GpuChoice,
    around: Surroundings<'_>,
    open: impl FnOnce() -> Result<D, NvmlError>,
) -> Result<Chosen, GpuError> {
    if *choice == GpuChoice::None {
        return Ok(Chosen::Seen(Vec::new()));
    }
    let driver = match open() {
        Ok(driver) => driver,
        Err(error) if is_absent(&error) => return without_driver(choice, around).map(Chosen::ByWord),
        Err(error) => return Err(GpuError::Silent { why: error.to_string() }),
    };
    let node = list(&driver)?;
    warn_of_order(around, &driver, node.len());
    let visible = visible(around, node)?;
    let gpus = match choice {
        GpuChoice::These(numbers) => numbers.iter().map(|&number| pick(number, &visible.gpus)).collect(),
        GpuChoice::All | GpuChoice::None => all_of(visible),
    };
    gpus.map(Chosen::Seen)
}

/// Whether there is no driver, and so no GPU; anything else is a GPU that doesn't work.
fn is_absent(error: &NvmlError) -> bool {
    matches!(error, NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded)
}

/// What is named, as it is named.
fn without_driver(choice: &GpuChoice, around: Surroundings<'_>) -> Result<Vec<String>, GpuError> {
    let named: Option<Vec<String>> = match (around.cuda, granted(around), around.rocr) {
        (Some(cuda), _, _) => Some(entries_of(cuda).map(str::to_owned).collect()),
        (None, _, Some(rocr)) => {
            let count = rocr.split(',').filter(|entry| !entry.trim().is_empty()).count();
            Some((0..count.min(MOST_GPUS)).map(|number| number.to_string()).collect())
        }
        (None, Some(given), None) => {
            Some(entries_granted(given)?.into_iter().map(Granted::into_name).collect())
        }
        (None, None, None) => None,
    };
    match (choice, named) {
        (GpuChoice::These(numbers), Some(named)) => {
            let named: Vec<Gpu> = named.into_iter().map(Ok).collect();
            numbers.iter().map(|&number| pick(number, &named)).collect()
        }
        (GpuChoice::These(numbers), None) => Ok(numbers.iter().map(usize::to_string).collect()),
        (GpuChoice::All | GpuChoice::None, named) => Ok(named.unwrap_or_default()),
    }
}

fn granted(around: Surroundings<'_>) -> Option<&str> {
    around.slurm.filter(|given| !given.trim().is_empty())
}

/// The node's GPUs; one that has fallen off the bus keeps its number.
fn list(driver: &impl Driver) -> Result<Vec<Gpu>, GpuError> {
    let count = driver.count().map_err(|error| GpuError::Silent { why: error.to_string() })?;
    let gpu = |number: u32| {
        let lost = |error: NvmlError| GpuError::Lost { number: number as usize, why: error.to_string() };
        driver.uuid(number).map_err(lost)
    };
    Ok((0..count).map(gpu).collect())
}

fn visible(around: Surroundings<'_>, node: Vec<Gpu>) -> Result<Visible, GpuError> {
    match (around.cuda, granted(around)) {
        (Some(cuda), _) => Ok(Visible { gpus: among_visible(cuda, &node), are_named: true }),
        (None, Some(given)) => Ok(Visible { gpus: among_granted(given, node)?, are_named: true }),
        (None, None) => Ok(Visible { gpus: node, are_named: false }),
    }
}

fn pick(number: usize, gpus: &[Gpu]) -> Gpu {
    let missing = || GpuError::NoSuchGpu { name: number.to_string(), visible: gpus.len() };
    gpus.get(number).cloned().ok_or_else(missing)?
}

/// All of them; where nobody has named them, one that is lost is no reason not to use the others.
fn all_of(Visible { gpus, are_named }: Visible) -> Result<Vec<String>, GpuError> {
    if are_named || gpus.iter().all(Result::is_err) {
        return gpus.into_iter().collect();
    }
    let usable = |gpu: Gpu| gpu.inspect_err(|error| tracing::warn!("works without a GPU: {error}")).ok();
    Ok(gpus.into_iter().filter_map(usable).collect())
}

/// The variable's entries up to the first that names no GPU, as CUDA reads it, each once.
fn entries_of(cuda: &str) -> impl Iterator<Item = &str> {
    let mut seen = BTreeSet::new();
    let is_gpu = |entry: &&str| entry.parse::<usize>().is_ok() || is_unique_name(entry);
    cuda.split(',').map(str::trim).take_while(is_gpu).filter(move |entry| seen.insert(*entry))
}

/// Numbers are taken as the driver's.
fn among_visible(cuda: &str, node: &[Gpu]) -> Vec<Gpu> {
    let find = |entry: &str| match entry.parse::<usize>() {
        Ok(number) => pick(number, node),
        Err(_) => by_name(entry, node),
    };
    entries_of(cuda).map(find).collect()
}

/// A name may be cut where it is unique all the same. Shares of a GPU (MIG) are taken by their word.
fn by_name(entry: &str, node: &[Gpu]) -> Gpu {
    if entry.starts_with("MIG-") {
        return Ok(entry.to_owned());
    }
    let mut found = node.iter().flatten().filter(|uuid| uuid.starts_with(entry));
    match (found.next(), found.next()) {
        (Some(uuid), None) => Ok(uuid.clone()),
        _ => Err(GpuError::NoSuchGpu { name: entry.to_owned(), visible: node.len() }),
    }
}

/// What a scheduler has granted. It counts GPUs as the driver does, over the whole node; where the node shows no more
/// than were granted, the others are hidden already, and the numbers mean nothing here.
fn among_granted(given: &str, node: Vec<Gpu>) -> Result<Vec<Gpu>, GpuError> {
    if node.is_empty() {
        return Err(GpuError::NoSuchGpu { name: given.to_owned(), visible: 0 });
    }
    let granted = entries_granted(given)?;
    if granted.len() >= node.len() {
        return Ok(node);
    }
    let find = |gpu| match gpu {
        Granted::Name(name) => Ok(by_name(name, &node)),
        Granted::Number(number) => node.get::<usize>(number).cloned().ok_or_else(|| unclear(given)),
    };
    granted.into_iter().map(find).collect()
}

/// A GPU as a scheduler grants it.
enum Granted<'a> {
    Name(&'a str),
    Number(usize),
}

impl Granted<'_> {
    fn into_name(self) -> String {
        match self {
            Granted::Name(name) => name.to_owned(),
            Granted::Number(number) => number.to_string(),
        }
    }
}

/// Numbers, ranges of numbers and unique names.
fn entries_granted(given: &str) -> Result<Vec<Granted<'_>>, GpuError> {
    let mut granted = Vec::new();
    for entry in given.split(',').map(str::trim) {
        if is_unique_name(entry) {
            granted.push(Granted::Name(entry));
            continue;
        }
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let (first, last) = (first.parse::<usize>().ok(), last.parse::<usize>().ok());
        let range = first.zip(last).filter(|(first, last)| first <= last);
        let (first, last) = range.ok_or_else(|| unclear(given))?;
        granted.extend((first..=last).take(MOST_GPUS).map(Granted::Number));
    }
    Ok(granted)
}

fn unclear(given: &str) -> GpuError {
    GpuError::UnclearGrant { given: given.to_owned() }
}

/// Names of GPUs and of shares of one (MIG), which CUDA takes as they are.
fn is_unique_name(entry: &str) -> bool {
    entry.starts_with("GPU-") || entry.starts_with("MIG-")
}

/// Where models differ CUDA's numbers are others than the driver's unless it is told otherwise.
fn warn_of_order(around: Surroundings<'_>, driver: &impl Driver, count: usize) {
    let has_numbers =
        around.cuda.is_some_and(|cuda| entries_of(cuda).any(|entry| entry.parse::<usize>().is_ok()));
    if !has_numbers || around.cuda_order == Some("PCI_BUS_ID") {
        return;
    }
    let numbers = 0..u32::try_from(count).unwrap_or(u32::MAX);
    let models: BTreeSet<String> = numbers.filter_map(|number| driver.model(number).ok()).collect();
    if models.len() > 1 {
        tracing::warn!(
            "GPUs of several models: the numbers in `CUDA_VISIBLE_DEVICES` are taken as `nvidia-smi` counts; \
             `CUDA_DEVICE_ORDER=PCI_BUS_ID` says the same to other programs"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node as its driver shows it.
    struct Fake(Vec<Result<&'static str, NvmlError>>);

    impl Driver for Fake {
        fn count(&self) -> Result<u32, NvmlError> {
            Ok(u32::try_from(self.0.len()).unwrap())
        }

        fn uuid(&self, number: u32) -> Result<String, NvmlError> {
            match &self.0[number as usize] {
                Ok(uuid) => Ok((*uuid).to_owned()),
                Err(_) => Err(NvmlError::GpuLost),
            }
        }

        fn model(&self, _: u32) -> Result<String, NvmlError> {
            Ok("H100".to_owned())
        }
    }

    /// A driver that is there and can't count.
    struct Broken;

    impl Driver for Broken {
        fn count(&self) -> Result<u32, NvmlError> {
            Err(NvmlError::Unknown)
        }

        fn uuid(&self, _: u32) -> Result<String, NvmlError> {
            Err(NvmlError::Unknown)
        }

        fn model(&self, _: u32) -> Result<String, NvmlError> {
            Err(NvmlError::Unknown)
        }
    }

    const ALL: GpuChoice = GpuChoice::All;
    const NOTHING: Surroundings<'_> = Surroundings { cuda: None, cuda_order: None, slurm: None, rocr: None };

    fn cuda(visible: &str) -> Surroundings<'_> {
        Surroundings { cuda: Some(visible), ..NOTHING }
    }

    fn slurm(given: &str) -> Surroundings<'_> {
        Surroundings { slurm: Some(given), ..NOTHING }
    }

    fn these(numbers: &[usize]) -> GpuChoice {
        GpuChoice::These(numbers.to_vec())
    }

    /// What is chosen on a node with these GPUs; `lost` stands for one that doesn't answer.
    fn on(
        node: &[&'static str],
        choice: &GpuChoice,
        around: Surroundings<'_>,
    ) -> Result<Vec<String>, GpuError> {
        let gpu = |&name: &&'static str| if name == "lost" { Err(NvmlError::GpuLost) } else { Ok(name) };
        match choose(choice, around, || Ok(Fake(node.iter().map(gpu).collect())))? {
            Chosen::Seen(gpus) => Ok(gpus),
            Chosen::ByWord(gpus) => panic!("the driver was not asked: {gpus:?}"),
        }
    }

    fn gpus(names: &[&str]) -> Result<Vec<String>, GpuError> {
        Ok(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn without_a_variable_all_gpus_are_used_and_none_where_there_are_none() {
        assert_eq!(on(&["GPU-a", "GPU-b"], &ALL, NOTHING), gpus(&["GPU-a", "GPU-b"]));
        assert_eq!(on(&["GPU-a", "GPU-b"], &ALL, slurm("")), gpus(&["GPU-a", "GPU-b"]));
        assert_eq!(on(&[], &ALL, NOTHING), gpus(&[]));
        assert_eq!(on(&["GPU-a"], &GpuChoice::None, cuda("0")), gpus(&[]));
    }

    #[test]
    fn the_variable_limits_what_is_seen_up_to_its_first_entry_that_names_no_gpu() {
        let node = ["GPU-a1", "GPU-a2", "GPU-b1"];
        let around = |visible| Surroundings { slurm: Some("0,1,2"), ..cuda(visible) };
        for (visible, expected) in [
            ("2,0", &["GPU-b1", "GPU-a1"][..]),
            ("GPU-b", &["GPU-b1"]),
            ("MIG-3c5,GPU-a2", &["MIG-3c5", "GPU-a2"]),
            ("1,-1,2", &["GPU-a2"]),
            ("1,1", &["GPU-a2"]),
            ("", &[]),
            ("NoDevFiles", &[]),
        ] {
            assert_eq!(on(&node, &ALL, around(visible)), gpus(expected), "{visible}");
        }
    }

    #[test]
    fn a_gpu_that_is_named_and_not_there_is_an_error() {
        let node = ["GPU-a1", "GPU-a2"];
        for (choice, around) in [
            (ALL, cuda("0,7")),
            (ALL, cuda("GPU-c")),
            (ALL, cuda("GPU-a")),
            (these(&[2]), NOTHING),
            (these(&[1]), cuda("0")),
        ] {
            let error = on(&node, &choice, around).unwrap_err();
            assert!(matches!(error, GpuError::NoSuchGpu { .. }), "{choice:?} {around:?}: {error}");
        }
        let error = on(&node, &these(&[2]), NOTHING).unwrap_err();
        assert_eq!(error.to_string(), "there is no GPU `2`: this agent sees 2");
        for around in [cuda("0"), slurm("0,1")] {
            assert!(
                matches!(on(&[], &ALL, around), Err(GpuError::NoSuchGpu { visible: 0, .. })),
                "{around:?}"
            );
        }
    }

    #[test]
    fn gpus_are_chosen_by_their_place_among_the_visible() {
        assert_eq!(on(&["GPU-a", "GPU-b", "GPU-c"], &these(&[1]), cuda("2,0")), gpus(&["GPU-a"]));
    }

    fn without_driver(choice: &GpuChoice, around: Surroundings<'_>) -> Result<Vec<String>, GpuError> {
        match choose::<Fake>(choice, around, || Err(NvmlError::DriverNotLoaded))? {
            Chosen::ByWord(gpus) => Ok(gpus),
            Chosen::Seen(gpus) => panic!("nobody saw {gpus:?}"),
        }
    }

    #[test]
    fn without_a_driver_there_are_the_gpus_that_somebody_names() {
        for around in [NOTHING, cuda(""), cuda("NoDevFiles"), slurm(" ")] {
            assert_eq!(without_driver(&ALL, around), gpus(&[]), "{around:?}");
        }
        for (choice, around, named) in [
            (these(&[0, 3]), NOTHING, &["0", "3"][..]),
            (ALL, cuda("1,0"), &["1", "0"]),
            (ALL, slurm("2-3"), &["2", "3"]),
            (these(&[1]), slurm("2,5"), &["5"]),
            // What the variable leaves is numbered anew, and Slurm's numbers are the node's.
            (ALL, Surroundings { rocr: Some("2,3"), ..slurm("2,3") }, &["0", "1"]),
        ] {
            assert_eq!(without_driver(&choice, around), gpus(named), "{choice:?} {around:?}");
        }
        assert!(matches!(
            without_driver(&these(&[1]), cuda("0")),
            Err(GpuError::NoSuchGpu { visible: 1, .. })
        ));
        assert!(matches!(without_driver(&ALL, slurm("gpu:2")), Err(GpuError::UnclearGrant { .. })));
        let none = choose::<Fake>(&GpuChoice::None, cuda("0"), || Err(NvmlError::DriverNotLoaded));
        assert_eq!(none, Ok(Chosen::Seen(Vec::new())));
    }

    #[test]
    fn a_driver_that_is_there_and_does_not_work_is_an_error_and_not_a_node_of_cpus() {
        let opened = choose::<Fake>(&ALL, NOTHING, || Err(NvmlError::LibRmVersionMismatch));
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("version mismatch") && error.contains("`--gpus none`"), "{error}");
        assert!(matches!(choose(&ALL, NOTHING, || Ok(Broken)), Err(GpuError::Silent { .. })));
        assert_eq!(choose(&GpuChoice::None, NOTHING, || Ok(Broken)), Ok(Chosen::Seen(Vec::new())));
    }

    #[test]
    fn a_lost_gpu_is_left_out_unless_somebody_names_it_and_the_others_keep_their_numbers() {
        let node = ["GPU-a", "lost", "GPU-c"];
        assert_eq!(on(&node, &ALL, NOTHING), gpus(&["GPU-a", "GPU-c"]));
        assert_eq!(on(&node, &these(&[2]), NOTHING), gpus(&["GPU-c"]));
        assert_eq!(on(&node, &ALL, cuda("0,2")), gpus(&["GPU-a", "GPU-c"]));
        assert_eq!(on(&node, &ALL, slurm("0,2")), gpus(&["GPU-a", "GPU-c"]));
        for (choice, around) in
            [(these(&[1]), NOTHING), (ALL, cuda("0,1")), (ALL, slurm("1-2")), (ALL, slurm("0-2"))]
        {
            let error = on(&node, &choice, around).unwrap_err();
            assert!(matches!(error, GpuError::Lost { number: 1, .. }), "{choice:?} {around:?}: {error}");
        }
        assert!(
            matches!(on(&["lost"], &ALL, NOTHING), Err(GpuError::Lost { number: 0, .. })),
            "none is left"
        );
    }

    #[test]
    fn a_scheduler_grants_by_the_drivers_numbers_where_more_gpus_are_to_be_seen() {
        let node = ["GPU-a", "GPU-b", "GPU-c", "GPU-d"];
        assert_eq!(on(&node, &ALL, slurm("3,1")), gpus(&["GPU-d", "GPU-b"]));
        assert_eq!(on(&node, &ALL, slurm("1-2")), gpus(&["GPU-b", "GPU-c"]));
        assert_eq!(on(&node, &ALL, slurm("MIG-7,0")), gpus(&["MIG-7", "GPU-a"]));
        // Hidden from each other by the system: the job's two are all that there are, whatever their numbers.
        assert_eq!(on(&["GPU-g", "GPU-h"], &ALL, slurm("6,7")), gpus(&["GPU-g", "GPU-h"]));
    }

    #[test]
    fn a_grant_that_cant_be_read_is_an_error_and_not_all_gpus() {
        for given in ["gpu:a100:2", "9", "2-1", "0,"] {
            let error = on(&["GPU-a", "GPU-b", "GPU-c"], &ALL, slurm(given)).unwrap_err();
            assert!(error.to_string().contains(given), "{error}");
        }
    }
}
