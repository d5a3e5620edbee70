//! The network: shapes, forward pass, gradients and running statistics.

use sweep_worker::trainer::data::Normaliser;
use sweep_worker::trainer::head::HeadMode;
use sweep_worker::trainer::loss;
use sweep_worker::trainer::model::{Architecture, Mode, Named, ResNet, Role};
use sweep_worker::trainer::rankme::rankme_of_unit_rows;
use tch::{Device, Kind, Tensor};

use crate::fixtures::{assert_close, assert_digest, integers, kinds, lcg, load};
use crate::recipe::network as shape;

/// The network of base width 8 with the fixtures' weights.
pub(crate) fn filled(seed: u64, kind: Kind) -> ResNet {
    let network = ResNet::draw(Architecture::new(shape(8), 10).unwrap(), 0, kind, Device::Cpu);
    let sizes: Vec<usize> = network.parameters().map(|named| named.tensor.numel()).collect();
    let stream: Vec<f64> = lcg(seed, sizes.iter().sum()).iter().map(|u| 2.0 * u - 1.0).collect();
    let mut rest = stream.as_slice();
    let _guard = tch::no_grad_guard();
    for named in network.parameters() {
        let (numbers, after) = rest.split_at(named.tensor.numel());
        rest = after;
        let shape = named.tensor.size();
        let v = Tensor::from_slice(numbers).view(shape.as_slice());
        let v = match shape.as_slice() {
            &[out, _, height, width] => v * (6.0 / (out * height * width) as f64).sqrt(),
            _ if named.name == "fc.weight" => v * 0.3,
            _ if named.name.ends_with("bias") => v * 0.1,
            _ => v * 0.2 + 1.0,
        };
        named.tensor.shallow_clone().copy_(&v);
    }
    network
}

/// In which order numbers lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As the trainer has it.
    ChannelsLast,
    /// As the program that made the fixtures has it.
    RowMajor,
}

impl Layout {
    /// Brings weights into this order; the trainer makes and copies them channels-last.
    pub(crate) fn lay_out(self, tensors: &[Named]) {
        if self == Layout::RowMajor {
            for named in tensors {
                named.tensor.shallow_clone().set_data(&named.tensor.detach().contiguous());
            }
        }
    }

    pub(crate) fn of_images(self, images: Tensor) -> Tensor {
        if self == Layout::RowMajor { images.contiguous() } else { images }
    }
}

/// Four images of the fixtures, normalised, in the trainer's layout.
pub(crate) fn images(seed: u64, kind: Kind) -> Tensor {
    let bytes: Vec<u8> = lcg(seed, 4 * 3072).iter().map(|u| (256.0 * u).floor() as u8).collect();
    let bytes = Tensor::from_slice(&bytes).view([4, 3, 32, 32]).permute([0, 2, 3, 1]).contiguous();
    // Rounded once, as in the program that made the fixtures.
    Normaliser::new(Kind::Double, Device::Cpu).apply(&bytes.permute([0, 3, 1, 2])).to_kind(kind)
}

#[test]
fn parameters_have_the_names_and_shapes_of_pytorch() {
    let network = filled(1, Kind::Float);
    let expected = load("resnet_c8_forward");
    let expected = expected["parameters"].as_array().unwrap();
    assert_eq!(network.parameters().count(), expected.len());
    for (named, expected) in network.parameters().zip(expected) {
        assert_eq!(named.name, expected["name"].as_str().unwrap());
        assert_close(&named.name, &Tensor::from_slice(&named.tensor.size()), &expected["shape"], 0.0);
    }
}

#[test]
fn every_width_has_the_number_of_parameters_of_the_study() {
    for (base, expected) in load("resnet_c8_forward")["parameter_counts"].as_object().unwrap() {
        let width = base.strip_prefix("base").unwrap().parse().unwrap();
        if width > 40 {
            continue; // Eleven million weights take too long to draw without optimisation.
        }
        let network = ResNet::draw(Architecture::new(shape(width), 10).unwrap(), 0, Kind::Float, Device::Cpu);
        let count: usize = network.parameters().map(|named| named.tensor.numel()).sum();
        assert_eq!(count as u64, expected.as_u64().unwrap(), "width {width}");
    }
}

#[test]
fn evaluation_with_first_statistics_agrees() {
    let expected = load("resnet_c8_forward");
    for (kind, tolerance) in kinds(1e-9, 1e-5) {
        let network = filled(1, kind);
        let features = network.features(&images(500, kind), Mode::Evaluate);
        assert_close("features", &features, &expected["eval_features"], tolerance);
        assert_close(
            "logits",
            &network.head.forward(&features, HeadMode::Evaluate),
            &expected["eval_logits"],
            tolerance,
        );
    }
}

#[test]
fn a_training_pass_its_gradients_and_statistics_agree() {
    let expected = load("resnet_c8_forward");
    for (kind, tolerance) in kinds(1e-9, 1e-5) {
        let network = filled(1, kind);
        let images = images(500, kind);
        assert_digest("images", &images, &expected["image_digest"], 1e-5, Some(1e-6));
        let features = network.features(&images, Mode::Train);
        let logits = network.head.forward(&features, HeadMode::Evaluate);
        let loss = loss::ce(&logits, &integers(&expected["labels"]));
        assert_close("features", &features, &expected["train_features"], tolerance);
        assert_close("logits", &logits, &expected["train_logits"], tolerance);
        assert_close("loss", &loss, &expected["loss"], tolerance);
        let rank_tolerance = if kind == Kind::Double { 1e-8 } else { 1e-3 };
        let rank = Tensor::from(rankme_of_unit_rows(&features).unwrap());
        assert_close("rankme", &rank, &expected["rankme"], rank_tolerance);

        let relative = (kind == Kind::Float).then_some(1e-4);
        let parameters: Vec<_> = network.parameters().collect();
        let of: Vec<&Tensor> = parameters.iter().map(|named| &named.tensor).collect();
        for (named, gradient) in parameters.iter().zip(Tensor::run_backward(&[&loss], &of, false, false)) {
            assert_digest(&named.name, &gradient, &expected["grads"][&named.name], tolerance, relative);
        }
        for named in network.tensors().iter().filter(|named| named.role == Role::Buffer) {
            let digest = &expected["running_stats_after"][&named.name];
            assert_digest(&named.name, &named.tensor, digest, tolerance, relative);
        }
    }
}
