//! How a job's numbers came about: what its record says besides the numbers.

use std::collections::BTreeMap;

use sweep::protocol::trial::TrialRecord;
use sweep::recipe::{NUMERICS_VERSION, Recipe};
use tch::{Device, Tensor};

use super::mask::Token;
use super::state::State;

/// BLAKE3 over names, shapes and bytes (row-major) of the student's parameters and buffers in order, then of the
/// token where it is trained.
#[must_use]
pub fn weights_hash(state: &State) -> String {
    let mut hasher = blake3::Hasher::new();
    let tensors = state.student.tensors().iter().map(|named| (named.name.as_str(), &named.tensor));
    let token = state.token.as_ref().and_then(Token::trained).map(|token| ("token", token));
    for (name, tensor) in tensors.chain(token) {
        // Lengths first, so that no two lists of tensors give the same bytes.
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(tensor.dim() as u64).to_le_bytes());
        for side in tensor.size() {
            hasher.update(&side.to_le_bytes());
        }
        hasher.update(&bytes(tensor));
    }
    hasher.finalize().to_hex().to_string()
}

/// The values of `tensor` in row-major order, whatever its order in memory.
pub(super) fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// `cpu` or `cuda:N`.
#[must_use]
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        Device::Cpu | Device::Mps | Device::Vulkan => "cpu".to_owned(),
    }
}

/// Versions of the libraries that compute on `device`.
#[must_use]
pub fn libraries(device: Device) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::from([("libtorch".to_owned(), env!("SWEEP_LIBTORCH_VERSION").to_owned())]);
    if device.is_cuda() {
        versions.insert("cudart".to_owned(), tch::utils::version_cudart().to_string());
        versions.insert("cudnn".to_owned(), tch::utils::version_cudnn().to_string());
    }
    versions
}

/// The instruction set that libtorch's CPU kernels use, by libtorch's rules and in its words: it gives the name to
/// Python but not to C. `forced` is the value of `ATEN_CPU_CAPABILITY`, which libtorch obeys.
#[must_use]
pub fn cpu_capability(forced: Option<&str>) -> String {
    match forced {
        Some("avx512") => "AVX512".to_owned(),
        Some("avx2") => "AVX2".to_owned(),
        Some("default") => "DEFAULT".to_owned(),
        _ => detected_capability().to_owned(),
    }
}

#[cfg(target_arch = "x86_64")]
fn detected_capability() -> &'static str {
    let has_fma = is_x86_feature_detected!("fma");
    let has_avx512 = is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    match (has_fma, has_avx512, is_x86_feature_detected!("avx2")) {
        (true, true, _) => "AVX512",
        (true, false, true) => "AVX2",
        _ => "DEFAULT",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected_capability() -> &'static str {
    "DEFAULT"
}

/// The record of a finished job; its teachers and the wall time are the caller's.
#[must_use]
pub fn record(state: &State, recipe: &Recipe, device: Device, cpu_capability: &str) -> TrialRecord {
    TrialRecord {
        is_deterministic: !device.is_cuda() || recipe.deterministic,
        weights_hash: weights_hash(state),
        device: device_name(device),
        cpu_capability: cpu_capability.to_owned(),
        numerics_version: NUMERICS_VERSION,
        libraries: libraries(device),
        teachers: Vec::new(),
        wall_seconds: 0.0,
    }
}
