//! Which GPUs this agent may use. NVIDIA's library is loaded at run time, so that a node without it works too.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::options::GpuChoice;

/// A choice that the node can't fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no GPU `{number}`: this agent sees {visible}")]
pub struct NoSuchGpu {
    number: usize,
    visible: usize,
}

/// The chosen GPUs, each as a value of `CUDA_VISIBLE_DEVICES`. `visible` is that variable's value for this agent.
pub(crate) fn choose(choice: &GpuChoice, visible: Option<&str>) -> Result<Vec<String>, NoSuchGpu> {
    match choice {
        GpuChoice::None => Ok(Vec::new()),
        GpuChoice::All | GpuChoice::These(_) => choose_among(choice, &among_visible(visible, present())),
    }
}

fn choose_among(choice: &GpuChoice, candidates: &[String]) -> Result<Vec<String>, NoSuchGpu> {
    match choice {
        GpuChoice::All => Ok(candidates.to_vec()),
        GpuChoice::None => Ok(Vec::new()),
        GpuChoice::These(numbers) => {
            let find = |&number: &usize| {
                let missing = NoSuchGpu { number, visible: candidates.len() };
                candidates.get(number).cloned().ok_or(missing)
            };
            numbers.iter().map(find).collect()
        }
    }
}

/// What CUDA would see: the variable's entries up to the first that names no GPU, or without it all GPUs.
fn among_visible(visible: Option<&str>, present: Vec<String>) -> Vec<String> {
    let Some(visible) = visible.filter(|_| !present.is_empty()) else {
        return present;
    };
    let entries = visible.split(',').map(str::trim);
    let is_gpu = |entry: &&str| {
        let is_number = entry.parse::<usize>().is_ok_and(|number| number < present.len());
        is_number || entry.starts_with("GPU-") || entry.starts_with("MIG-")
    };
    entries.take_while(is_gpu).map(str::to_owned).collect()
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

    #[test]
    fn without_the_variable_all_gpus_are_seen() {
        assert_eq!(among_visible(None, gpus(&["GPU-a", "GPU-b"])), gpus(&["GPU-a", "GPU-b"]));
    }

    #[test]
    fn the_variable_limits_what_is_seen_up_to_its_first_invalid_entry() {
        let present = || gpus(&["GPU-a", "GPU-b", "GPU-c"]);
        assert_eq!(among_visible(Some("2,0"), present()), gpus(&["2", "0"]));
        assert_eq!(among_visible(Some("GPU-b"), present()), gpus(&["GPU-b"]));
        assert_eq!(among_visible(Some("1,-1,2"), present()), gpus(&["1"]));
        assert_eq!(among_visible(Some("7"), present()), gpus(&[]));
        assert_eq!(among_visible(Some(""), present()), gpus(&[]));
        assert_eq!(among_visible(Some("NoDevFiles"), present()), gpus(&[]));
        assert_eq!(among_visible(Some("0"), gpus(&[])), gpus(&[]));
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
