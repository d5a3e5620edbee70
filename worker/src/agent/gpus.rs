//! Which GPUs this agent may use. NVIDIA's library is loaded at run time, so that a node without it works too.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::options::GpuChoice;

/// More GPUs than a node has.
const MOST_GPUS: usize = 1024;

/// Why it can't be said which GPUs to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// A choice that the node can't fulfil.
    #[error("there is no GPU `{number}`: this agent sees {visible}")]
    NoSuchGpu { number: usize, visible: usize },
    /// To take all would be to take other people's.
    #[error("can't tell which GPUs the scheduler means by `{given}`; say which in `CUDA_VISIBLE_DEVICES`")]
    UnclearGrant { given: String },
}

/// What the environment says about GPUs, as its variables' values.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Surroundings<'a> {
    /// `CUDA_VISIBLE_DEVICES`, which has the last word.
    pub(crate) cuda: Option<&'a str>,
    /// `SLURM_STEP_GPUS`, or else `SLURM_JOB_GPUS`.
    pub(crate) slurm: Option<&'a str>,
}

/// The chosen GPUs, each as a value of `CUDA_VISIBLE_DEVICES`.
pub(crate) fn choose(choice: &GpuChoice, around: Surroundings<'_>) -> Result<Vec<String>, GpuError> {
    match choice {
        GpuChoice::None => Ok(Vec::new()),
        GpuChoice::All | GpuChoice::These(_) => choose_among(choice, &usable(around, present())?),
    }
}

fn choose_among(choice: &GpuChoice, candidates: &[String]) -> Result<Vec<String>, GpuError> {
    match choice {
        GpuChoice::All => Ok(candidates.to_vec()),
        GpuChoice::None => Ok(Vec::new()),
        GpuChoice::These(numbers) => {
            let find = |&number: &usize| {
                let missing = GpuError::NoSuchGpu { number, visible: candidates.len() };
                candidates.get(number).cloned().ok_or(missing)
            };
            numbers.iter().map(find).collect()
        }
    }
}

fn usable(around: Surroundings<'_>, present: Vec<String>) -> Result<Vec<String>, GpuError> {
    match (around.cuda, around.slurm.filter(|given| !given.trim().is_empty())) {
        (Some(visible), _) => Ok(among_visible(visible, present)),
        (None, Some(given)) => among_granted(given, present),
        (None, None) => Ok(present),
    }
}

/// What CUDA would see: the variable's entries up to the first that names no GPU.
fn among_visible(visible: &str, present: Vec<String>) -> Vec<String> {
    if present.is_empty() {
        return present;
    }
    let entries = visible.split(',').map(str::trim);
    let is_gpu = |entry: &&str| {
        let is_number = entry.parse::<usize>().is_ok_and(|number| number < present.len());
        is_number || is_unique_name(entry)
    };
    entries.take_while(is_gpu).map(str::to_owned).collect()
}

/// What a scheduler has granted. It counts GPUs as the driver does, over the whole node; where the node shows no more
/// than were granted, the others are hidden already, and the numbers mean nothing here.
fn among_granted(given: &str, present: Vec<String>) -> Result<Vec<String>, GpuError> {
    let entries: Vec<&str> = given.split(',').map(str::trim).collect();
    let unclear = || GpuError::UnclearGrant { given: given.to_owned() };
    let mut granted = Vec::new();
    for entry in entries {
        if is_unique_name(entry) {
            granted.push(Ok(entry));
            continue;
        }
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let (first, last) = (first.parse::<usize>().ok(), last.parse::<usize>().ok());
        let (first, last) = first.zip(last).filter(|(first, last)| first <= last).ok_or_else(unclear)?;
        // No node has more.
        granted.extend((first..=last).take(MOST_GPUS).map(Err));
    }
    if granted.len() >= present.len() {
        return Ok(present);
    }
    let find = |gpu| match gpu {
        Ok(name) => Ok(str::to_owned(name)),
        Err(number) => present.get::<usize>(number).cloned().ok_or_else(unclear),
    };
    granted.into_iter().map(find).collect()
}

/// Names of GPUs and of shares of one (MIG), which CUDA takes as they are.
fn is_unique_name(entry: &str) -> bool {
    entry.starts_with("GPU-") || entry.starts_with("MIG-")
}

/// The unique names of the node's GPUs. Numbers would be wrong: CUDA and the driver don't count in the same order.
fn present() -> Vec<String> {
    match list_uuids() {
        Ok(uuids) => uuids,
        Err(error) => {
            tracing::debug!(%error, "no GPU is used: NVIDIA's management library says nothing");
            Vec::new()
        }
    }
}

fn list_uuids() -> Result<Vec<String>, NvmlError> {
    let nvml = Nvml::init()?;
    (0..nvml.device_count()?).map(|number| nvml.device_by_index(number)?.uuid()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn seen(cuda: Option<&str>, slurm: Option<&str>, present: &[&str]) -> Result<Vec<String>, GpuError> {
        usable(Surroundings { cuda, slurm }, gpus(present))
    }

    #[test]
    fn without_a_variable_all_gpus_are_seen() {
        assert_eq!(seen(None, None, &["GPU-a", "GPU-b"]), Ok(gpus(&["GPU-a", "GPU-b"])));
        assert_eq!(seen(None, Some(""), &["GPU-a", "GPU-b"]), Ok(gpus(&["GPU-a", "GPU-b"])));
    }

    #[test]
    fn the_variable_limits_what_is_seen_up_to_its_first_invalid_entry() {
        let seen = |visible| seen(Some(visible), Some("0,1,2"), &["GPU-a", "GPU-b", "GPU-c"]).unwrap();
        assert_eq!(seen("2,0"), gpus(&["2", "0"]));
        assert_eq!(seen("GPU-b"), gpus(&["GPU-b"]));
        assert_eq!(seen("MIG-3c5,GPU-b"), gpus(&["MIG-3c5", "GPU-b"]));
        for (visible, expected) in
            [("1,-1,2", vec!["1"]), ("7", vec![]), ("", vec![]), ("NoDevFiles", vec![])]
        {
            assert_eq!(seen(visible), gpus(&expected), "{visible}");
        }
    }

    #[test]
    fn where_the_driver_says_nothing_no_variable_makes_gpus() {
        assert_eq!(seen(Some("0"), None, &[]), Ok(gpus(&[])));
        assert_eq!(seen(None, Some("0,1"), &[]), Ok(gpus(&[])));
    }

    #[test]
    fn a_scheduler_grants_by_the_drivers_numbers_where_more_gpus_are_to_be_seen() {
        let all = ["GPU-a", "GPU-b", "GPU-c", "GPU-d"];
        assert_eq!(seen(None, Some("3,1"), &all), Ok(gpus(&["GPU-d", "GPU-b"])));
        assert_eq!(seen(None, Some("1-2"), &all), Ok(gpus(&["GPU-b", "GPU-c"])));
        assert_eq!(seen(None, Some("MIG-7,0"), &all), Ok(gpus(&["MIG-7", "GPU-a"])));
        // Hidden from each other by the system: the job's two are all that there are, whatever their numbers.
        assert_eq!(seen(None, Some("6,7"), &["GPU-g", "GPU-h"]), Ok(gpus(&["GPU-g", "GPU-h"])));
    }

    #[test]
    fn a_grant_that_cant_be_read_is_an_error_and_not_all_gpus() {
        for given in ["gpu:a100:2", "9", "2-1", "0,"] {
            let error = seen(None, Some(given), &["GPU-a", "GPU-b", "GPU-c"]).unwrap_err();
            assert!(error.to_string().contains(given), "{error}");
        }
    }

    #[test]
    fn gpus_are_chosen_by_their_place_among_the_visible() {
        let visible = gpus(&["2", "3"]);
        assert_eq!(choose_among(&GpuChoice::These(vec![1]), &visible), Ok(gpus(&["3"])));
        let error = choose_among(&GpuChoice::These(vec![2]), &visible).unwrap_err();
        assert_eq!(error.to_string(), "there is no GPU `2`: this agent sees 2");
        assert_eq!(choose_among(&GpuChoice::All, &visible), Ok(visible.clone()));
    }
}
