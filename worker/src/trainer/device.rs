//! Where a trial computes, and how numbers get there.

use sweep::recipe::{self, Precision, Recipe};
use tch::{Cuda, Device, Kind, Tensor};

use super::error::TrainError;
use super::native::{self, Numerics, set_numerics};

/// The device that `recipe` asks for, with its precision and determinism set for the whole process.
///
/// # Errors
/// [`TrainError::BadConfig`] for a GPU that this process doesn't see.
pub fn choose(recipe: &Recipe) -> Result<Device, TrainError> {
    let device = match recipe.device {
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
