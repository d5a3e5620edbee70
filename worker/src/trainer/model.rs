//! The network `resnet-cifar` (He et al. 2016, arXiv 1512.03385, with the changes of METHOD.md §1).

use tch::{Device, Kind, Tensor};

use super::error::TrainError;
use super::layers::{BatchNorm, Builder, Convolution, First, Kernel, channels_last, tensor_of};
pub use super::layers::{Linear, Mode, Named, Role, Slot};
use super::random::{Purpose, draw};

/// Channels of the stem, whatever the base width.
const STEM_CHANNELS: i64 = 64;

/// What decides the shapes of a network's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Blocks of each of the four stages.
    blocks: [usize; 4],
    /// Channels of the first stage; each later one has twice as many.
    width: i64,
    classes: i64,
}

impl Architecture {
    /// # Errors
    /// [`TrainError::BadConfig`] for a depth other than 18 and 34, or a width of 0.
    pub fn new(depth: u32, width: u32, classes: i64) -> Result<Architecture, TrainError> {
        let blocks = match depth {
            18 => [2, 2, 2, 2],
            34 => [3, 4, 6, 3],
            other => return Err(TrainError::BadConfig(format!("`depth` is `{other}`; there are 18 and 34"))),
        };
        if width == 0 {
            return Err(TrainError::BadConfig("`width` is `0`; it is at least 1".to_owned()));
        }
        Ok(Architecture { blocks, width: i64::from(width), classes })
    }

    /// D, the width of the features.
    #[must_use]
    pub fn features(&self) -> i64 {
        8 * self.width
    }
}

/// Stem, four stages of basic blocks, global average pooling and a linear head.
#[derive(Debug)]
pub struct ResNet {
    architecture: Architecture,
    conv1: Convolution,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    pub head: Linear,
    /// Every tensor of the pieces above (aliases), in PyTorch's order.
    tensors: Vec<Named>,
}

impl ResNet {
    /// A network with first weights drawn from `seed`. Each parameter has a stream of its own.
    #[must_use]
    pub fn draw(architecture: Architecture, seed: u64, kind: Kind, device: Device) -> ResNet {
        let mut place = 0;
        ResNet::build(architecture, &mut |slot: &Slot| {
            let numbers = match slot.first {
                First::Constant(value) => vec![value; slot.numel()],
                First::Normal { standard_deviation } => {
                    let mut stream = draw(seed, Purpose::Initialisation, 0, place);
                    stream.normals(slot.numel()).iter().map(|z| z * standard_deviation).collect()
                }
            };
            place += 1;
            tensor_of(slot, &numbers, kind).to_device(device).set_requires_grad(slot.role == Role::Parameter)
        })
    }

    /// A copy that shares no memory with this network and is not trained.
    #[must_use]
    pub fn frozen_copy(&self) -> ResNet {
        let mut tensors = self.tensors.iter();
        ResNet::build(self.architecture, &mut |slot: &Slot| {
            let named = tensors.next().expect("one architecture has one list of tensors");
            assert_eq!(named.name, slot.name, "one architecture has one list of tensors");
            channels_last(&named.tensor.detach().copy())
        })
    }

    fn build(architecture: Architecture, source: &mut dyn FnMut(&Slot) -> Tensor) -> ResNet {
        let mut builder = Builder::new(source);
        let stem = Kernel { from: 3, to: STEM_CHANNELS, size: 3, stride: 1 };
        let conv1 = Convolution::new(&mut builder, "conv1", &stem);
        let bn1 = BatchNorm::new(&mut builder, "bn1", STEM_CHANNELS, 1.0);
        let (mut blocks, mut from, mut to) = (Vec::new(), STEM_CHANNELS, architecture.width);
        for (stage, count) in architecture.blocks.into_iter().enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(Block::new(&mut builder, &name, &Kernel { from, to, size: 3, stride }));
                from = to;
            }
            to *= 2;
        }
        let head = Linear::new(&mut builder, "fc", architecture.features(), architecture.classes);
        let tensors = builder.tensors;
        ResNet { architecture, conv1, bn1, blocks, head, tensors }
    }

    /// Images `[N, 3, H, W]` → features `[N, D]`, the average over all places.
    pub fn features(&self, images: &Tensor, mode: Mode) -> Tensor {
        let mut x = self.bn1.forward(&self.conv1.forward(images), mode).relu(); // [N, 64, H, W]
        for block in &self.blocks {
            x = block.forward(&x, mode); // halves H and W, doubles the channels at each stage but the first
        }
        x.mean_dim([2_i64, 3].as_slice(), false, x.kind()) // [N, D]
    }

    /// D, the width of the features.
    #[must_use]
    pub fn feature_width(&self) -> i64 {
        self.architecture.features()
    }

    /// Every tensor by PyTorch's name, in PyTorch's order.
    #[must_use]
    pub fn tensors(&self) -> &[Named] {
        &self.tensors
    }

    /// What the optimizer changes, in PyTorch's order.
    pub fn parameters(&self) -> impl Iterator<Item = &Named> {
        self.tensors.iter().filter(|named| named.role == Role::Parameter)
    }
}

/// relu(bn2(conv2(relu(bn1(conv1 x)))) + shortcut x).
#[derive(Debug)]
struct Block {
    conv1: Convolution,
    bn1: BatchNorm,
    conv2: Convolution,
    bn2: BatchNorm,
    /// 1×1 convolution and batch norm where the shape changes; otherwise x itself.
    downsample: Option<(Convolution, BatchNorm)>,
}

impl Block {
    fn new(builder: &mut Builder<'_>, name: &str, first: &Kernel) -> Block {
        let &Kernel { from, to, stride, .. } = first;
        let second = Kernel { from: to, to, size: 3, stride: 1 };
        Block {
            conv1: Convolution::new(builder, &format!("{name}.conv1"), first),
            bn1: BatchNorm::new(builder, &format!("{name}.bn1"), to, 1.0),
            conv2: Convolution::new(builder, &format!("{name}.conv2"), &second),
            // Zero, so that every block begins as its shortcut (Goyal et al. 2017, arXiv 1706.02677, §5.1).
            bn2: BatchNorm::new(builder, &format!("{name}.bn2"), to, 0.0),
            downsample: (stride != 1 || from != to).then(|| {
                let shortcut = Kernel { from, to, size: 1, stride };
                (
                    Convolution::new(builder, &format!("{name}.downsample.0"), &shortcut),
                    BatchNorm::new(builder, &format!("{name}.downsample.1"), to, 1.0),
                )
            }),
        }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        let y = self.bn1.forward(&self.conv1.forward(x), mode).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y), mode);
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.forward(&conv.forward(x), mode),
            None => x.shallow_clone(),
        };
        (y + shortcut).relu()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(depth: u32, width: u32) -> ResNet {
        ResNet::draw(Architecture::new(depth, width, 10).unwrap(), 1, Kind::Float, Device::Cpu)
    }

    #[test]
    fn each_block_begins_as_its_shortcut() {
        let network = network(18, 8);
        for named in network.tensors() {
            let is_second = named.name.ends_with("bn2.weight");
            assert!(!is_second || named.tensor.abs().max().double_value(&[]) == 0.0, "{}", named.name);
        }
    }

    #[test]
    fn depth_34_has_the_blocks_of_the_paper() {
        let blocks = network(34, 4).parameters().filter(|named| named.name.ends_with("conv2.weight")).count();
        assert_eq!(blocks, 16);
    }

    #[test]
    fn a_frozen_copy_shares_no_memory_and_is_not_trained() {
        let student = network(18, 4);
        let copy = student.frozen_copy();
        {
            let _guard = tch::no_grad_guard();
            for named in student.tensors() {
                let _ = named.tensor.shallow_clone().fill_(7.0);
            }
        }
        for named in copy.tensors() {
            assert!(!named.tensor.requires_grad());
            assert_ne!(named.tensor.flatten(0, -1).double_value(&[0]), 7.0, "{}", named.name);
        }
    }

    #[test]
    fn another_depth_is_refused_with_those_there_are() {
        let error = Architecture::new(50, 8, 10).unwrap_err();
        assert_eq!(error.to_string(), "`depth` is `50`; there are 18 and 34");
    }
}
