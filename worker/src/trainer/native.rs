//! What libtorch can do and tch has no call for (`native/libtorch.cpp`). The only unsafe code of the trainer.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

/// An `at::Tensor` as C++ sees it.
type Raw = *const c_void;

#[expect(unsafe_code, reason = "the interface to native/libtorch.cpp")]
unsafe extern "C" {
    fn sweep_free(message: *mut c_char);
    fn sweep_fused_sgd(
        parameters: *const Raw,
        gradients: *const Raw,
        velocities: *const Raw,
        count: usize,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
    ) -> *mut c_char;
    fn sweep_set_numerics(allow_tf32: bool, deterministic: bool) -> *mut c_char;
    fn sweep_upload(tensor: Raw, gpu: c_int, uploaded: *mut *mut C_tensor) -> *mut c_char;
    fn sweep_keep_memory() -> *mut c_char;
    fn sweep_begin_job() -> *mut c_char;
}

/// The constants of a step of SGD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sgd {
    pub(super) lr: f64,
    pub(super) momentum: f64,
    pub(super) weight_decay: f64,
}

/// v ← μ v + (∇L + δ w), w ← w − η v for each parameter, in place, in one pass over memory; without momentum there are no
/// velocities.
///
/// # Panics
/// With libtorch's message, and where the lists have different lengths.
pub(super) fn fused_sgd(parameters: &[&Tensor], gradients: &[Tensor], velocities: &[Tensor], sgd: Sgd) {
    let count = parameters.len();
    assert_eq!(gradients.len(), count, "each parameter has a gradient");
    assert!(velocities.len() == count || sgd.momentum == 0.0, "each parameter has a velocity");
    let parameters: Vec<Raw> = parameters.iter().map(|tensor| raw(tensor)).collect();
    let [gradients, velocities]: [Vec<Raw>; 2] =
        [gradients, velocities].map(|tensors| tensors.iter().map(raw).collect());
    // SAFETY: each list holds `count` pointers to tensors that are borrowed until after the call (C++ doesn't look at that of the
    // velocities without momentum); it copies the handles, and writes only into the tensors' memory, as tch's own in-place
    // operations do through a shared reference.
    #[expect(unsafe_code, reason = "see the safety comment")]
    let message = unsafe {
        sweep_fused_sgd(
            parameters.as_ptr(),
            gradients.as_ptr(),
            velocities.as_ptr(),
            count,
            sgd.lr,
            sgd.momentum,
            sgd.weight_decay,
        )
    };
    expect_success(message);
}

/// How a GPU treats float32 products and the order of sums; for the whole process, until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numerics {
    pub(super) allows_tf32: bool,
    pub(super) is_deterministic: bool,
}

/// # Panics
/// With libtorch's message.
pub(super) fn set_numerics(numerics: Numerics) {
    // SAFETY: the function takes plain values and sets plain flags.
    #[expect(unsafe_code, reason = "see the safety comment")]
    let message = unsafe { sweep_set_numerics(numerics.allows_tf32, numerics.is_deterministic) };
    expect_success(message);
}

/// Lets tensors on the CPU use the memory of those before them, which saves up to a third of the time of a small network.
/// To be called before the first tensor is made.
pub fn keep_memory() {
    // SAFETY: the function hands libtorch an allocator that is never destroyed; blocks of the one before are freed by it.
    #[expect(unsafe_code, reason = "see the safety comment")]
    let message = unsafe { sweep_keep_memory() };
    expect_success(message);
}

/// Lets the memory that a larger job before has used go, as soon as this one needs other pieces.
pub(super) fn begin_job() {
    // SAFETY: the function sets a number behind a lock.
    #[expect(unsafe_code, reason = "see the safety comment")]
    let message = unsafe { sweep_begin_job() };
    expect_success(message);
}

/// `tensor`, which lies in the host's memory, on a GPU, without waiting for what the GPU does.
///
/// # Panics
/// With libtorch's message.
pub(super) fn upload(tensor: &Tensor, gpu: usize) -> Tensor {
    let gpu = c_int::try_from(gpu).expect("a node has few GPUs");
    let mut uploaded = null_mut();
    // SAFETY: C++ borrows the tensor for the call. Where it gives no message it has set `uploaded` to a new tensor, which is
    // ours.
    #[expect(unsafe_code, reason = "see the safety comment")]
    unsafe {
        expect_success(sweep_upload(raw(tensor), gpu, &raw mut uploaded));
        Tensor::from_ptr(uploaded)
    }
}

fn raw(tensor: &Tensor) -> Raw {
    tensor.as_ptr().cast()
}

fn expect_success(message: *mut c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: a message that is there is a string of the C library's, ended by a zero; it is ours and freed here once.
    #[expect(unsafe_code, reason = "see the safety comment")]
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        sweep_free(message);
        text
    };
    panic!("libtorch: {text}");
}
