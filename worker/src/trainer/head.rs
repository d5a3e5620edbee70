//! The head: what makes logits of features. Hidden layers (linear, batch norm, ReLU, dropout), then a linear one
//! (METHOD.md §1).

use sweep::recipe;
use tch::{Device, Kind, Tensor};

use super::device::upload;
use super::layers::{BatchNorm, Builder, Drawn, First, Mode, Named, Slot, copies, first_tensors};
use super::random::{Purpose, Step};

/// W x + b.
#[derive(Debug)]
struct Linear {
    /// `[to, from]`.
    weight: Tensor,
    /// `[to]`.
    bias: Tensor,
}

/// Any number of hidden layers and a linear one.
#[derive(Debug)]
pub struct Head {
    shape: recipe::Head,
    widths: Widths,
    hidden: Vec<Hidden>,
    output: Linear,
    /// Every tensor of the layers above (aliases), in PyTorch's order.
    tensors: Vec<Named>,
}

#[derive(Debug)]
struct Hidden {
    linear: Linear,
    bn: Option<BatchNorm>,
}

/// How a head is run. A linear head gives the same in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadMode {
    /// Its own statistics, and nothing is dropped.
    Evaluate,
    /// The batch's statistics, towards which its own move, and dropout.
    Train(Dropping),
    /// The same while its own statistics stay: for features that are made from the student's, such as masked ones.
    TrainAside(Dropping),
}

/// Names what is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropping {
    pub at: Step,
    /// Which of the step's passes through a head this is; each drops other places.
    pub pass: Pass,
}

/// The passes through heads within one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Pass {
    Features = 0,
    Masked = 1,
    Inverse = 2,
    Target = 3,
}

/// How many of them there are.
const PASSES: usize = 4;

/// What a head leads from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// D.
    pub features: i64,
    /// C.
    pub classes: i64,
}

impl Linear {
    fn new(builder: &mut Builder<'_>, name: &str, from: i64, to: i64) -> Linear {
        let first = First::Normal { standard_deviation: 0.01 };
        Linear {
            weight: builder.parameter(format!("{name}.weight"), &[to, from], first),
            bias: builder.parameter(format!("{name}.bias"), &[to], First::Constant(0.0)),
        }
    }

    /// `[N, from]` → `[N, to]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

impl Head {
    /// A linear head of these tensors: `weight` `[C, D]`, `bias` `[C]`.
    #[must_use]
    pub fn linear(weight: Tensor, bias: Tensor) -> Head {
        let mut given = [weight, bias].into_iter();
        let shape = given.as_slice()[0].size2().expect("the weight of a linear head has two dimensions");
        let (classes, features) = shape;
        Head::build(&recipe::Head::default(), Widths { features, classes }, &mut |_| {
            given.next().expect("a linear head has two tensors")
        })
    }

    /// A linear head with first weights drawn for a probe that is trained during `epoch`.
    #[must_use]
    pub fn draw_probe(widths: Widths, seed: u64, epoch: u32, kind: Kind, device: Device) -> Head {
        let drawn = Drawn { seed, purpose: Purpose::Probe, epoch, kind, device };
        Head::of_probe(widths, &mut first_tensors(drawn))
    }

    /// A linear head whose tensors come from `source`.
    pub(super) fn of_probe(widths: Widths, source: &mut dyn FnMut(&Slot) -> Tensor) -> Head {
        Head::build(&recipe::Head::default(), widths, source)
    }

    /// A head whose tensors come from `source`.
    pub(super) fn build(
        shape: &recipe::Head,
        widths: Widths,
        source: &mut dyn FnMut(&Slot) -> Tensor,
    ) -> Head {
        let mut builder = Builder::new(source);
        let (mut hidden, mut from) = (Vec::new(), widths.features);
        // Names count the modules of PyTorch's `Sequential`: linear, batch norm where there is one, ReLU, dropout.
        let modules = if shape.batch_norm { 4 } else { 3 };
        for (layer, &width) in shape.hidden.iter().enumerate() {
            let (first, to) = (layer * modules, i64::from(width));
            hidden.push(Hidden {
                linear: Linear::new(&mut builder, &format!("fc.{first}"), from, to),
                bn: shape
                    .batch_norm
                    .then(|| BatchNorm::new(&mut builder, &format!("fc.{}", first + 1), to, 1.0)),
            });
            from = to;
        }
        let name = if hidden.is_empty() { "fc".to_owned() } else { format!("fc.{}", hidden.len() * modules) };
        let output = Linear::new(&mut builder, &name, from, widths.classes);
        Head { shape: shape.clone(), widths, hidden, output, tensors: builder.tensors }
    }

    /// A copy that shares no memory with this head and is not trained.
    #[must_use]
    pub fn frozen_copy(&self) -> Head {
        Head::build(&self.shape, self.widths, &mut copies(&self.tensors))
    }

    /// Features `[N, D]` → logits `[N, C]`.
    pub fn forward(&self, features: &Tensor, mode: HeadMode) -> Tensor {
        let (statistics, dropping) = match mode {
            HeadMode::Evaluate => (Mode::Evaluate, None),
            HeadMode::Train(dropping) => (Mode::Train, Some(dropping)),
            HeadMode::TrainAside(dropping) => (Mode::TrainAside, Some(dropping)),
        };
        let mut x = features.shallow_clone();
        for (layer, hidden) in self.hidden.iter().enumerate() {
            x = hidden.linear.forward(&x); // [N, width]
            if let Some(bn) = &hidden.bn {
                x = bn.forward(&x, statistics);
            }
            x = x.relu();
            if let Some(dropping) = dropping.filter(|_| self.shape.dropout > 0.0) {
                x = drop_out(&x, self.shape.dropout, dropping, layer);
            }
        }
        self.output.forward(&x) // [N, C]
    }

    /// Every tensor by PyTorch's name, in PyTorch's order.
    #[must_use]
    pub fn tensors(&self) -> &[Named] {
        &self.tensors
    }
}

/// Each entry of `x` `[N, width]` is dropped with probability `ratio`, and survivors are scaled by 1/(1 − ratio)
/// (Srivastava et al. 2014).
fn drop_out(x: &Tensor, ratio: f64, Dropping { at, pass }: Dropping, layer: usize) -> Tensor {
    let section = u32::try_from(layer * PASSES).expect("a head has few layers") + pass as u32;
    let dropped = at.draw(Purpose::Dropout).section(section).events(ratio, x.numel());
    let dropped = upload(&Tensor::from_slice(&dropped).view(x.size().as_slice()), x.device());
    (x / (1.0 - ratio)).masked_fill(&dropped, 0.0)
}
