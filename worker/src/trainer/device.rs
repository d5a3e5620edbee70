//! Where a trial computes, and how numbers get there.

use sweep::recipe::{self, Precision, Recipe};
use tch::{Cuda, Device, Kind, Tensor};

use super::error::TrainError;
use super::native::{self, Numerics, set_numerics};

/// The device that `recipe` asks for, with its precision and determinism set for the whole process. `promised`: the GPUs that
/// this process was given, as the value of `CUDA_VISIBLE_DEVICES`; empty where it was given none.
///
/// # Errors
/// [`TrainError::BadConfig`] for a GPU that this process doesn't see, [`TrainError::NoUseOfGpu`] where it was given one that libtorch
/// can't use: hours on a CPU are no answer to that.
pub fn choose(recipe: &Recipe, promised: &str) -> Result<Device, TrainError> {
    let device = match recipe.device {
        recipe::Device::Auto if !promised.is_empty() && Cuda::device_count() == 0 => {
            return Err(TrainError::NoUseOfGpu { promised: promised.to_owned() });
        }
        recipe::Device::Auto => Device::cuda_if_available(),
        recipe::Device::Cpu => Device::Cpu,
        recipe::Device::Cuda(number) => gpu(number)?,
    };
    // Also on a CPU: what ran in this process before may have set something else.
    let allows_tf32 = recipe.precision == Precision::Tf32;
    set_numerics(Numerics { allows_tf32, is_deterministic: recipe.deterministic && device.is_cuda() });
    Ok(device)
}

fn gpu(number: u32) -> Result<Device, TrainError> {
    let visible = Cuda::device_count();
    if i64::from(number) < visible {
        return Ok(Device::Cuda(number as usize));
    }
    Err(TrainError::BadConfig(if visible == 0 {
        "`device` is `cuda`, but this process sees no GPU that libtorch can use; take `auto` or `cpu`, or a \
         node with a GPU (`nvidia-smi` lists them)"
            .to_owned()
    } else {
        format!(
            "`device` is `cuda:{number}`, but this process sees {visible} GPU(s), numbered from 0; a worker shows each \
             job the GPU of its slot only, so `device: cuda` is what a sweep wants"
        )
    }))
}

/// The number format of images and of what the convolutions make of them.
#[must_use]
pub fn compute_kind(precision: Precision) -> Kind {
    match precision {
        Precision::Fp32 | Precision::Tf32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
    }
}

/// `tensor`, which lies in the host's memory, on `device`. A GPU is not waited for: the copy joins its queue.
pub(super) fn upload(tensor: &Tensor, device: Device) -> Tensor {
    match device {
        Device::Cuda(gpu) => native::upload(tensor, gpu),
        Device::Cpu | Device::Mps | Device::Vulkan => tensor.shallow_clone(),
    }
}

#[cfg(test)]
mod tests {
    use sweep::vocabulary::FailureReason;

    use super::*;

    #[test]
    fn a_gpu_that_was_promised_and_cant_be_used_is_an_error_of_the_node_and_never_a_cpu() {
        if Cuda::device_count() > 0 {
            return;
        }
        let recipe = Recipe::try_from(&Default::default()).unwrap();
        assert_eq!(recipe.device, recipe::Device::Auto);
        assert_eq!(choose(&recipe, "").unwrap(), Device::Cpu);
        let error = choose(&recipe, "0").unwrap_err();
        assert_eq!(error.reason(), FailureReason::NodeFault);
        assert!(error.to_string().contains("`--gpus none`"), "{error}");
        let on_cpu = Recipe { device: recipe::Device::Cpu, ..recipe };
        assert_eq!(choose(&on_cpu, "0").unwrap(), Device::Cpu, "the spec says so");
    }
}
