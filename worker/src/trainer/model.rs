//! The network `resnet-cifar` (He et al. 2016, arXiv 1512.03385, with the changes of METHOD.md §1).

use sweep::recipe::{self, Pool, Stem};
use tch::{Device, Kind, Tensor};

use super::error::TrainError;
use super::head::{Head, Widths};
use super::layers::{BatchNorm, Builder, Convolution, Drawn, Kernel, copies, first_tensors};
pub use super::layers::{Mode, Named, Role, Slot};
use super::random::Purpose;

/// Channels of the stem, whatever the base width.
const STEM_CHANNELS: i64 = 64;
/// Each has a part of its own in the stream of a step's dropout.
const MOST_HIDDEN_LAYERS: usize = 32;
/// Below it, powers of activations and their gradients lose all meaning.
const SMALLEST_ACTIVATION: f64 = 1e-6;

/// What decides the shapes of a network's tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    network: recipe::Network,
    classes: i64,
}

impl Architecture {
    /// # Errors
    /// [`TrainError::BadConfig`] for a depth other than 18 and 34, a width of 0, or more hidden layers than chance can tell
    /// apart.
    pub fn new(network: recipe::Network, classes: i64) -> Result<Architecture, TrainError> {
        let (depth, width) = (network.depth, network.width);
        if ![18, 34].contains(&depth) {
            return Err(TrainError::BadConfig(format!("`depth` is `{depth}`; there are 18 and 34")));
        }
        if width == 0 {
            return Err(TrainError::BadConfig("`width` is `0`; it is at least 1".to_owned()));
        }
        let layers = network.head.hidden.len();
        if layers > MOST_HIDDEN_LAYERS {
            return Err(TrainError::BadConfig(format!(
                "`head_hidden` has {layers} layers; there are at most {MOST_HIDDEN_LAYERS}"
            )));
        }
        Ok(Architecture { network, classes })
    }

    /// Blocks of each of the four stages.
    fn blocks(&self) -> [usize; 4] {
        if self.network.depth == 34 { [3, 4, 6, 3] } else { [2, 2, 2, 2] }
    }

    /// D, the width of the features, and C.
    #[must_use]
    pub fn widths(&self) -> Widths {
        let places = if self.network.pool == Pool::Quarters { 4 } else { 1 };
        Widths { features: 8 * i64::from(self.network.width) * places, classes: self.classes }
    }

    /// The head of such a network, of tensors that come from `source`.
    pub(super) fn head(&self, source: &mut dyn FnMut(&Slot) -> Tensor) -> Head {
        Head::build(&self.network.head, self.widths(), source)
    }

    /// Sides of the maps that the last stage makes of images of `sides`.
    #[must_use]
    pub fn last_sides(&self, (height, width): (i64, i64)) -> (i64, i64) {
        (halve(height, self.strides()), halve(width, self.strides()))
    }

    /// Sides of the maps that the last stage takes.
    #[must_use]
    pub fn sides_before_last(&self, (height, width): (i64, i64)) -> (i64, i64) {
        (halve(height, self.strides() - 1), halve(width, self.strides() - 1))
    }

    /// How often sides are halved.
    fn strides(&self) -> u32 {
        if self.network.stem == Stem::SevenBySeven { 5 } else { 3 }
    }
}

/// `side` after so many strides of 2, each of which rounds up.
fn halve(side: i64, strides: u32) -> i64 {
    (0..strides).fold(side, |side, _| side / 2 + side % 2)
}

/// Stem, four stages of basic blocks, pooling and a head.
#[derive(Debug)]
pub struct ResNet {
    architecture: Architecture,
    conv1: Convolution,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    pub head: Head,
    /// Every tensor of the pieces above (aliases), in PyTorch's order.
    tensors: Vec<Named>,
}

impl ResNet {
    /// A network with first weights drawn from `seed`. Each parameter has a stream of its own.
    #[must_use]
    pub fn draw(architecture: Architecture, seed: u64, kind: Kind, device: Device) -> ResNet {
        let drawn = Drawn { seed, purpose: Purpose::Initialisation, epoch: 0, kind, device };
        ResNet::build(architecture, &mut first_tensors(drawn))
    }

    /// A copy that shares no memory with this network and is not trained.
    #[must_use]
    pub fn frozen_copy(&self) -> ResNet {
        ResNet::build(self.architecture.clone(), &mut copies(&self.tensors))
    }

    /// A network whose tensors come from `source`, in PyTorch's order.
    pub(super) fn build(architecture: Architecture, source: &mut dyn FnMut(&Slot) -> Tensor) -> ResNet {
        let mut builder = Builder::new(source);
        let size = match architecture.network.stem {
            Stem::ThreeByThree => 3,
            Stem::FiveByFive => 5,
            Stem::SevenBySeven => 7,
        };
        let stride = if size == 7 { 2 } else { 1 };
        let conv1 =
            Convolution::new(&mut builder, "conv1", &Kernel { from: 3, to: STEM_CHANNELS, size, stride });
        let bn1 = BatchNorm::new(&mut builder, "bn1", STEM_CHANNELS, 1.0);
        let (mut blocks, mut from) = (Vec::new(), STEM_CHANNELS);
        let mut to = i64::from(architecture.network.width);
        for (stage, count) in architecture.blocks().into_iter().enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(Block::new(&mut builder, &name, &Kernel { from, to, size: 3, stride }));
                from = to;
            }
            to *= 2;
        }
        let mut tensors = builder.tensors;
        let head = architecture.head(source);
        tensors.extend(head.tensors().iter().map(Named::alias));
        ResNet { architecture, conv1, bn1, blocks, head, tensors }
    }

    /// Images `[N, 3, H, W]` → features `[N, D]` in the weights' kind, whatever the images' kind.
    pub fn features(&self, images: &Tensor, mode: Mode) -> Tensor {
        // ReLU and the sums work in place: what they overwrite is not needed for the gradient, and to write less memory is
        // what makes these layers fast.
        let mut x = self.bn1.forward(&self.conv1.forward(images), mode).relu_(); // [N, 64, H, W]
        if self.architecture.network.stem == Stem::SevenBySeven {
            x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false); // [N, 64, ⌈H / 2⌉, ⌈W / 2⌉]
        }
        for block in &self.blocks {
            x = block.forward(&x, mode); // halves H and W, doubles the channels at each stage but the first
        }
        self.pool(&x) // [N, D]
    }

    /// `[N, 8·width, h, w]` → `[N, D]`.
    fn pool(&self, x: &Tensor) -> Tensor {
        let kind = self.conv1.kind();
        let average = |x: &Tensor| x.mean_dim([2_i64, 3].as_slice(), false, kind); // [N, 8·width]
        match self.architecture.network.pool {
            Pool::Average => average(x),
            // Row-major, as PyTorch flattens it: all quarters of the first channel first.
            Pool::Quarters => quarters(&x.to_kind(kind)).contiguous().flatten(1, -1),
            // (mean xᵖ)^(1/p) (Radenović et al. 2018, arXiv 1711.02512, equation 3).
            Pool::GeneralisedMean { exponent } => {
                let powers = x.to_kind(kind).clamp_min(SMALLEST_ACTIVATION).pow_tensor_scalar(exponent);
                average(&powers).pow_tensor_scalar(1.0 / exponent)
            }
        }
    }

    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Every tensor by PyTorch's name, in PyTorch's order.
    #[must_use]
    pub fn tensors(&self) -> &[Named] {
        &self.tensors
    }

    /// What the optimizer changes in the backbone and in the head, each in PyTorch's order.
    #[must_use]
    pub fn trained(&self) -> (Vec<&Tensor>, Vec<&Tensor>) {
        let of_backbone = self.tensors.len() - self.head.tensors().len();
        let (backbone, head) = self.tensors.split_at(of_backbone);
        (parameters(backbone), parameters(head))
    }

    /// What the optimizer changes, in PyTorch's order: first the backbone's, then the head's.
    pub fn parameters(&self) -> impl Iterator<Item = &Named> {
        self.tensors.iter().filter(|named| named.role == Role::Parameter)
    }
}

/// Averages of the four quarters of maps `[N, C, h, w]`: `[N, C, 2, 2]`. Quarters of odd sides overlap.
fn quarters(x: &Tensor) -> Tensor {
    match x.size4().expect("maps have four dimensions") {
        // On a GPU the general form has no gradient that is the same twice.
        (_, _, height, width) if height % 2 == 0 && width % 2 == 0 => {
            let half = [height / 2, width / 2];
            x.avg_pool2d(half, half, [0, 0], false, true, None)
        }
        _ => x.adaptive_avg_pool2d([2, 2]),
    }
}

fn parameters(tensors: &[Named]) -> Vec<&Tensor> {
    tensors.iter().filter(|named| named.role == Role::Parameter).map(|named| &named.tensor).collect()
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
        let y = self.bn1.forward(&self.conv1.forward(x), mode).relu_();
        let mut y = self.bn2.forward(&self.conv2.forward(&y), mode);
        let _ = match &self.downsample {
            Some((conv, bn)) => y.g_add_(&bn.forward(&conv.forward(x), mode)),
            None => y.g_add_(x),
        };
        y.relu_()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(depth: u32, width: u32) -> recipe::Network {
        recipe::Network {
            depth,
            width,
            stem: Stem::ThreeByThree,
            pool: Pool::Average,
            head: recipe::Head::default(),
        }
    }

    fn network(shape: recipe::Network) -> ResNet {
        ResNet::draw(Architecture::new(shape, 10).unwrap(), 1, Kind::Float, Device::Cpu)
    }

    #[test]
    fn each_block_begins_as_its_shortcut() {
        let network = network(shape(18, 8));
        for named in network.tensors() {
            let is_second = named.name.ends_with("bn2.weight");
            assert!(!is_second || named.tensor.abs().max().double_value(&[]) == 0.0, "{}", named.name);
        }
    }

    #[test]
    fn depth_34_has_the_blocks_of_the_paper() {
        let network = network(shape(34, 4));
        let blocks = network.parameters().filter(|named| named.name.ends_with("conv2.weight")).count();
        assert_eq!(blocks, 16);
    }

    #[test]
    fn a_frozen_copy_shares_no_memory_and_is_not_trained() {
        let student = network(shape(18, 4));
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
        let error = Architecture::new(shape(50, 8), 10).unwrap_err();
        assert_eq!(error.to_string(), "`depth` is `50`; there are 18 and 34");
    }

    #[test]
    fn stems_and_pools_have_the_shapes_they_say() {
        let images = Tensor::ones([2, 3, 30, 32], (Kind::Float, Device::Cpu));
        for stem in [Stem::ThreeByThree, Stem::FiveByFive, Stem::SevenBySeven] {
            for (pool, features) in
                [(Pool::Average, 16), (Pool::Quarters, 64), (Pool::GeneralisedMean { exponent: 3.0 }, 16)]
            {
                let network = network(recipe::Network { stem, pool, ..shape(18, 2) });
                assert_eq!(
                    network.features(&images, Mode::Evaluate).size(),
                    [2, features],
                    "{stem:?} {pool:?}"
                );
            }
        }
        let large =
            Architecture::new(recipe::Network { stem: Stem::SevenBySeven, ..shape(18, 2) }, 10).unwrap();
        assert_eq!(large.last_sides((32, 33)), (1, 2));
    }

    #[test]
    fn quarters_are_averaged_alike_for_even_and_odd_sides() {
        let x = Tensor::arange(2 * 3 * 36, (Kind::Float, Device::Cpu)).view([2, 3, 6, 6]);
        assert!(quarters(&x).allclose(&x.adaptive_avg_pool2d([2, 2]), 1e-6, 1e-6, false));
        let odd = quarters(&x.narrow(2, 0, 3).narrow(3, 0, 3));
        // The middle row and column belong to both of their neighbours: (0 + 1 + 6 + 7) / 4.
        assert_eq!(odd.double_value(&[0, 0, 0, 0]), 3.5);
    }

    #[test]
    fn a_generalised_mean_lies_between_mean_and_maximum() {
        let network =
            network(recipe::Network { pool: Pool::GeneralisedMean { exponent: 3.0 }, ..shape(18, 2) });
        let map = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0]).view([1, 1, 2, 2]);
        // ((1 + 8 + 27 + 64) / 4)^(1/3).
        assert!((network.pool(&map).double_value(&[0, 0]) - 25.0_f64.cbrt()).abs() < 1e-5);
    }

    #[test]
    fn a_hidden_head_is_named_as_pytorch_names_a_sequence() {
        let head = recipe::Head { hidden: vec![5, 4], batch_norm: true, dropout: 0.5 };
        let network = network(recipe::Network { head, ..shape(18, 2) });
        let names: Vec<_> = network.head.tensors().iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names.iter().filter(|name| name.ends_with(".weight")).count(), 5);
        assert_eq!(
            (names[0], names[2], names[names.len() - 2]),
            ("fc.0.weight", "fc.1.weight", "fc.8.weight")
        );
        let last = network.tensors().last().unwrap();
        assert_eq!((last.name.as_str(), last.tensor.size()), ("fc.8.bias", vec![10]));
    }

    #[test]
    fn a_network_in_bf16_gives_about_the_features_of_float32() {
        let network = network(shape(18, 8));
        let images = Tensor::arange(2 * 3 * 256, (Kind::Float, Device::Cpu)).view([2, 3, 16, 16]) / 1000.0;
        let exact = network.features(&images, Mode::Train);
        let rounded = network.features(&images.to_kind(Kind::BFloat16), Mode::Train);
        assert_eq!(rounded.kind(), Kind::Float);
        let error = (rounded - &exact).norm().double_value(&[]) / exact.norm().double_value(&[]);
        assert!(error < 0.05, "{error}");
    }
}
