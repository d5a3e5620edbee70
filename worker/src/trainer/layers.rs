//! The pieces of the network, and how each gets its tensors.
//!
//! A piece asks a [`Builder`] for its tensors by name; the builder keeps them in order, so that whoever needs all of
//! a network's tensors (optimizer, copies, hashes, checkpoints) walks one list and not the pieces.

use tch::{Kind, Tensor};

/// Whether batch norm uses the batch's statistics (and moves its own towards them) or its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Train,
    Evaluate,
}

/// A tensor that a network is made of, before it exists.
#[derive(Debug)]
pub struct Slot {
    /// As PyTorch's `state_dict` names it.
    pub name: String,
    pub shape: Vec<i64>,
    pub role: Role,
    pub first: First,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Changed by the optimizer.
    Parameter,
    /// Changed by the forward pass.
    Buffer,
}

/// What a tensor holds before the first step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum First {
    Constant(f64),
    Normal { standard_deviation: f64 },
}

impl Slot {
    /// How many numbers it holds.
    #[must_use]
    pub fn numel(&self) -> usize {
        usize::try_from(self.shape.iter().product::<i64>()).expect("no side is negative")
    }
}

/// A tensor of a network with its name.
#[derive(Debug)]
pub struct Named {
    pub name: String,
    pub role: Role,
    pub tensor: Tensor,
}

/// Hands out tensors from a source and remembers them.
pub(super) struct Builder<'a> {
    source: &'a mut dyn FnMut(&Slot) -> Tensor,
    pub(super) tensors: Vec<Named>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(source: &'a mut dyn FnMut(&Slot) -> Tensor) -> Builder<'a> {
        Builder { source, tensors: Vec::new() }
    }

    fn tensor(&mut self, name: String, shape: &[i64], role: Role, first: First) -> Tensor {
        let tensor = (self.source)(&Slot { name: name.clone(), shape: shape.to_vec(), role, first });
        assert_eq!(tensor.size(), shape, "`{name}` has another shape");
        let alias = tensor.shallow_clone();
        self.tensors.push(Named { name, role, tensor });
        alias
    }

    fn parameter(&mut self, name: String, shape: &[i64], first: First) -> Tensor {
        self.tensor(name, shape, Role::Parameter, first)
    }
}

/// A convolution without bias. Kaiming-normal by fan-out for ReLU (He et al. 2015).
#[derive(Debug)]
pub(super) struct Convolution {
    weight: Tensor,
    stride: i64,
}

/// From `from` to `to` channels with a square kernel.
pub(super) struct Kernel {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) size: i64,
    pub(super) stride: i64,
}

impl Convolution {
    pub(super) fn new(builder: &mut Builder<'_>, name: &str, kernel: &Kernel) -> Convolution {
        let fan_out = kernel.to * kernel.size * kernel.size;
        #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
        let first = First::Normal { standard_deviation: (2.0 / fan_out as f64).sqrt() };
        let shape = [kernel.to, kernel.from, kernel.size, kernel.size];
        let weight = builder.parameter(format!("{name}.weight"), &shape, first);
        Convolution { weight, stride: kernel.stride }
    }

    /// `[B, from, H, W]` → `[B, to, ⌈H / stride⌉, ⌈W / stride⌉]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let padding = self.weight.size()[2] / 2;
        x.conv2d::<Tensor>(&self.weight, None, [self.stride; 2], [padding; 2], [1, 1], 1)
    }
}

/// Batch normalisation (Ioffe and Szegedy 2015); the running variance is the unbiased one.
#[derive(Debug)]
pub(super) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
}

impl BatchNorm {
    const EPSILON: f64 = 1e-5;
    /// Weight of the new value in the running statistics.
    const MOMENTUM: f64 = 0.1;

    pub(super) fn new(builder: &mut Builder<'_>, name: &str, channels: i64, first_weight: f64) -> BatchNorm {
        let mut tensor = |suffix: &str, role, first| {
            builder.tensor(format!("{name}.{suffix}"), &[channels], role, First::Constant(first))
        };
        BatchNorm {
            weight: tensor("weight", Role::Parameter, first_weight),
            bias: tensor("bias", Role::Parameter, 0.0),
            running_mean: tensor("running_mean", Role::Buffer, 0.0),
            running_variance: tensor("running_var", Role::Buffer, 1.0),
        }
    }

    /// `[B, channels, H, W]`, shape kept. In [`Mode::Train`] the running statistics move.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_variance),
            mode == Mode::Train,
            Self::MOMENTUM,
            Self::EPSILON,
            true,
        )
    }
}

/// The head: W x + b.
#[derive(Debug)]
pub struct Linear {
    /// `[C, D]`.
    pub weight: Tensor,
    /// `[C]`.
    pub bias: Tensor,
}

impl Linear {
    pub(super) fn new(builder: &mut Builder<'_>, name: &str, features: i64, classes: i64) -> Linear {
        let first = First::Normal { standard_deviation: 0.01 };
        Linear {
            weight: builder.parameter(format!("{name}.weight"), &[classes, features], first),
            bias: builder.parameter(format!("{name}.bias"), &[classes], First::Constant(0.0)),
        }
    }

    /// Features `[N, D]` → logits `[N, C]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

/// `tensor` with its values in channels-last order in memory where it has four dimensions.
pub(super) fn channels_last(tensor: &Tensor) -> Tensor {
    match tensor.dim() {
        4 => tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
        _ => tensor.contiguous(),
    }
}

/// Numbers of a slot in row-major order, rounded to `kind`.
pub(super) fn tensor_of(slot: &Slot, numbers: &[f64], kind: Kind) -> Tensor {
    channels_last(&Tensor::from_slice(numbers).to_kind(kind).view(slot.shape.as_slice()))
}
