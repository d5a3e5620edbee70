//! The pieces of the network, and how each gets its tensors.
//!
//! A piece asks a [`Builder`] for its tensors by name; the builder keeps them in order, so that whoever needs all of
//! a network's tensors (optimizer, copies, hashes, checkpoints) walks one list and not the pieces.

use tch::{Device, Kind, Tensor};

use super::random::{Purpose, Stream, draw};

/// Which statistics batch norm uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The batch's; its own move towards them.
    Train,
    /// The batch's; its own stay as they are.
    TrainAside,
    /// Its own.
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

impl First {
    /// Its first numbers, where chance has a part in them drawn from `stream`.
    fn numbers(self, count: usize, mut stream: Stream) -> Vec<f64> {
        match self {
            First::Constant(value) => vec![value; count],
            First::Normal { standard_deviation } => {
                stream.normals(count).iter().map(|z| z * standard_deviation).collect()
            }
        }
    }
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

impl Named {
    /// Another handle of the same memory.
    pub(super) fn alias(&self) -> Named {
        Named { name: self.name.clone(), role: self.role, tensor: self.tensor.shallow_clone() }
    }
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

    pub(super) fn tensor(&mut self, name: String, shape: &[i64], role: Role, first: First) -> Tensor {
        let tensor = (self.source)(&Slot { name: name.clone(), shape: shape.to_vec(), role, first });
        assert_eq!(tensor.size(), shape, "`{name}` has another shape");
        let alias = tensor.shallow_clone();
        self.tensors.push(Named { name, role, tensor });
        alias
    }

    pub(super) fn parameter(&mut self, name: String, shape: &[i64], first: First) -> Tensor {
        self.tensor(name, shape, Role::Parameter, first)
    }
}

/// The largest number of channels that oneDNN takes at a time. Where a convolution of single pixels with a stride has fewer
/// input channels and these lie last in memory, oneDNN's gradient of the weights is wrong, or destroys memory
/// (uxlfoundation/oneDNN#6035, found in libtorch 2.11 on a CPU with AVX2).
const ONEDNN_BLOCK: i64 = 16;

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

    pub(super) fn kind(&self) -> Kind {
        self.weight.kind()
    }

    /// `[B, from, H, W]` → `[B, to, ⌈H / stride⌉, ⌈W / stride⌉]`, in the kind of `x`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let (_, from, size, _) = self.weight.size4().expect("a kernel has four dimensions");
        let spoils_memory = size == 1 && self.stride > 1 && from < ONEDNN_BLOCK && x.device() == Device::Cpu;
        // A kernel of one pixel looks at every so many pixels only.
        let thinned =
            spoils_memory.then(|| x.slice(2, None, None, self.stride).slice(3, None, None, self.stride));
        let (x, stride) = thinned.as_ref().map_or((x, self.stride), |thinned| (thinned, 1));
        let convolve =
            |weight: &Tensor| x.conv2d::<Tensor>(weight, None, [stride; 2], [size / 2; 2], [1, 1], 1);
        // In bf16 the weights stay float32 and are rounded for each pass; their gradients are float32 again.
        if x.kind() == self.weight.kind() {
            convolve(&self.weight)
        } else {
            convolve(&self.weight.to_kind(x.kind()))
        }
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

    /// `[B, channels, …]`, shape and kind kept. Parameters and statistics are float32 where `x` is bf16.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        let statistics = (mode != Mode::TrainAside).then_some((&self.running_mean, &self.running_variance));
        let (mean, variance) = statistics.unzip();
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            mean,
            variance,
            mode != Mode::Evaluate,
            Self::MOMENTUM,
            Self::EPSILON,
            true,
        )
    }
}

/// Where first numbers come from, and what becomes of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn {
    pub(super) seed: u64,
    pub(super) purpose: Purpose,
    pub(super) epoch: u32,
    pub(super) kind: Kind,
    pub(super) device: Device,
}

/// A source of first tensors, each with a stream of its own; parameters have a gradient.
pub(super) fn first_tensors(drawn: Drawn) -> impl FnMut(&Slot) -> Tensor {
    let mut place = 0;
    move |slot| {
        let stream = draw(drawn.seed, drawn.purpose, drawn.epoch, place);
        place += 1;
        let numbers = Tensor::from_slice(&slot.first.numbers(slot.numel(), stream)).to_kind(drawn.kind);
        channels_last(&numbers.view(slot.shape.as_slice()))
            .to_device(drawn.device)
            .set_requires_grad(slot.role == Role::Parameter)
    }
}

/// A source of copies of `tensors`, in their order: without gradient and with memory of their own.
pub(super) fn copies(tensors: &[Named]) -> impl FnMut(&Slot) -> Tensor {
    let mut tensors = tensors.iter();
    move |slot| {
        let named = tensors.next().expect("one architecture has one list of tensors");
        assert_eq!(named.name, slot.name, "one architecture has one list of tensors");
        channels_last(&named.tensor.detach().copy())
    }
}

/// `tensor` with its values in channels-last order in memory where it has four dimensions.
pub(super) fn channels_last(tensor: &Tensor) -> Tensor {
    match tensor.dim() {
        4 => tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
        _ => tensor.contiguous(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strided_convolution_of_single_pixels_has_the_right_gradients_however_few_its_channels() {
        for from in [1, 3, 5, 8, 17] {
            let place = (Kind::Double, Device::Cpu);
            let numbers = |shape: [i64; 4]| {
                let count: i64 = shape.iter().product();
                (Tensor::arange(count, place) * 0.7).sin().view(shape)
            };
            let (x, weight) = (numbers([32, from, 32, 32]), numbers([2 * from, from, 1, 1]));
            let gradient = |kind: Kind| {
                let weight = weight.to_kind(kind).copy().set_requires_grad(true);
                let x = channels_last(&x.to_kind(kind));
                let y = Convolution { weight: weight.shallow_clone(), stride: 2 }.forward(&x);
                assert_eq!(y.size(), [32, 2 * from, 16, 16]);
                y.square().sum(kind).backward();
                weight.grad().to_kind(Kind::Double)
            };
            let (exact, got) = (gradient(Kind::Double), gradient(Kind::Float));
            let error = f64::try_from((&got - &exact).abs().max() / exact.abs().max()).unwrap();
            assert!(error < 1e-5, "{from} channels: {error}");
        }
    }
}
