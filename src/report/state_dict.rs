//! A checkpoint as PyTorch wants it: one network's `state_dict` and nothing else, with what is needed to build that network.
//!
//! A checkpoint of the trainer has the student under PyTorch's names already; all else that training needs to go on has a `/` in its
//! name. docs/PYTORCH.md describes the file that comes out, and has a program that reads it.

use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::Serialize;

use crate::recipe::{PIXEL_MEAN, PIXEL_STANDARD_DEVIATION};
use crate::vocabulary::{Parameters, SweepId, TrialNumber};

/// The trainer's own entry in a checkpoint's header.
const CHECKPOINT: &str = "sweep";
/// Ours. It is the only one: the order of several would change from process to process.
const EXPORT: &str = "sweep_export";
const SCHEMA_VERSION: u32 = 1;

/// Which of the networks in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportedNetwork {
    /// The one whose `top1` is reported: with `eval_weights: average` the shadow average, otherwise the student.
    Evaluated,
    /// The one that is trained, and that teaches in other trials.
    Student,
    /// The one that teaches in this trial, whose `ema_top1` is reported where it is an average. Of a reference that is only a head, that
    /// head on the student's backbone.
    Reference,
}

/// Where weights come from.
#[derive(Debug, Serialize)]
pub struct WeightsOrigin<'a> {
    pub sweep: SweepId,
    pub trial: TrialNumber,
    pub seed: u64,
    /// Epochs completed.
    pub epoch: u32,
    /// BLAKE3 of the checkpoint.
    pub checkpoint: &'a str,
    /// The trial's, defaults filled in; among them the network's shape.
    pub parameters: &'a Parameters,
}

/// What the header says.
#[derive(Serialize)]
struct About<'a> {
    schema_version: u32,
    #[serde(flatten)]
    origin: &'a WeightsOrigin<'a>,
    network: &'static str,
    classes: usize,
    input: Input,
}

/// `(pixel − mean) / std`, by channel, of pixels from 0 to 255.
#[derive(Serialize)]
struct Input {
    mean: [f64; 3],
    std: [f64; 3],
}

/// Why a file can't be made of a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum StateDictError {
    #[error("it is no safetensors file")]
    Unreadable(#[source] SafeTensorError),
    #[error("it is no checkpoint of the built-in trainer")]
    Foreign,
    #[error("there is no reference in it: the trial has none, or its teachers are other trials' weights")]
    NoReference,
}

/// One network of a checkpoint, as a safetensors file. Equal checkpoints give equal bytes.
///
/// # Errors
/// See [`StateDictError`].
pub fn state_dict(
    checkpoint: &[u8],
    network: ExportedNetwork,
    origin: &WeightsOrigin<'_>,
) -> Result<Vec<u8>, StateDictError> {
    let (_, head) = SafeTensors::read_metadata(checkpoint).map_err(StateDictError::Unreadable)?;
    if head.metadata().as_ref().is_none_or(|entries| !entries.contains_key(CHECKPOINT)) {
        return Err(StateDictError::Foreign);
    }
    let file = SafeTensors::deserialize(checkpoint).map_err(StateDictError::Unreadable)?;
    let all: BTreeMap<&str, TensorView<'_>> = file.iter().collect();
    let mut layers: BTreeMap<String, TensorView<'_>> = all
        .iter()
        .filter(|(name, _)| !name.contains('/'))
        .map(|(name, view)| ((*name).to_owned(), view.clone()))
        .collect();
    let has = |prefix: &str| all.keys().any(|name| name.starts_with(prefix));
    let (name, prefix) = match network {
        ExportedNetwork::Evaluated if has("shadow/") => ("average", Some("shadow/")),
        ExportedNetwork::Evaluated | ExportedNetwork::Student => ("student", None),
        ExportedNetwork::Reference if has("reference/") => ("reference", Some("reference/")),
        ExportedNetwork::Reference => return Err(StateDictError::NoReference),
    };
    // What the other network has of its own takes the student's place: all of it, or its head.
    for (own, view) in prefix.into_iter().flat_map(|prefix| below(&all, prefix)) {
        layers.insert(own.to_owned(), view.clone());
    }
    let classes = classes_of(&layers).ok_or(StateDictError::Foreign)?;
    count_batches(&mut layers);
    let input = Input { mean: PIXEL_MEAN, std: PIXEL_STANDARD_DEVIATION };
    let about = About { schema_version: SCHEMA_VERSION, origin, network: name, classes, input };
    let about = serde_json::to_string(&about).expect("text and numbers are JSON");
    serialize(layers, Some(HashMap::from([(EXPORT.to_owned(), about)]))).map_err(StateDictError::Unreadable)
}

/// What has this prefix, without it.
fn below<'a>(
    all: &'a BTreeMap<&str, TensorView<'a>>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, &'a TensorView<'a>)> {
    all.iter().filter_map(move |(name, view)| Some((name.strip_prefix(prefix)?, view)))
}

/// As many as the last bias of the head has entries: `fc`, or the last module of the sequence `fc`.
fn classes_of(layers: &BTreeMap<String, TensorView<'_>>) -> Option<usize> {
    let place = |name: &str| match name.strip_prefix("fc.")?.strip_suffix("bias")? {
        "" => Some(0),
        module => module.strip_suffix('.')?.parse::<u32>().ok(),
    };
    let biases = layers.iter().filter_map(|(name, view)| Some((place(name)?, view)));
    biases.max_by_key(|(place, _)| *place)?.1.shape().first().copied()
}

/// PyTorch's batch norm also counts its batches, and asks for that number when it loads. It reads it only without a momentum, which
/// this network has, so that 0 stands for "not counted".
fn count_batches(layers: &mut BTreeMap<String, TensorView<'_>>) {
    let norms: Vec<String> =
        layers.keys().filter_map(|name| name.strip_suffix(".running_mean")).map(str::to_owned).collect();
    for norm in norms {
        let none = TensorView::new(Dtype::I64, Vec::new(), &[0; 8]).expect("one number has eight bytes");
        layers.insert(format!("{norm}.num_batches_tracked"), none);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint with one number in each tensor.
    fn checkpoint(tensors: &[(&str, f32)], key: &str) -> Vec<u8> {
        let raw: Vec<_> = tensors.iter().map(|(name, value)| (*name, value.to_le_bytes())).collect();
        let views =
            raw.iter().map(|(name, bytes)| (*name, TensorView::new(Dtype::F32, vec![1], bytes).unwrap()));
        serialize(views, Some(HashMap::from([(key.to_owned(), "{}".to_owned())]))).unwrap()
    }

    const TENSORS: [(&str, f32); 8] = [
        ("conv1.weight", 1.0),
        ("bn1.running_mean", 2.0),
        ("fc.weight", 3.0),
        ("fc.bias", 4.0),
        ("momentum/fc.bias", 5.0),
        ("reference/fc.weight", 6.0),
        ("reference/fc.bias", 7.0),
        ("epoch/losses", 8.0),
    ];

    fn exported(checkpoint: &[u8], network: ExportedNetwork) -> Result<Vec<u8>, StateDictError> {
        let parameters = Parameters::from([("width".to_owned(), 8.into())]);
        let origin = WeightsOrigin {
            sweep: SweepId(1),
            trial: TrialNumber(2),
            seed: 3,
            epoch: 4,
            checkpoint: "5",
            parameters: &parameters,
        };
        state_dict(checkpoint, network, &origin)
    }

    /// Names and first numbers.
    fn content(file: &[u8]) -> Vec<(String, f32)> {
        let file = SafeTensors::deserialize(file).unwrap();
        let number = |view: &TensorView<'_>| f32::from_le_bytes(view.data()[..4].try_into().unwrap());
        let mut content: Vec<_> = file.iter().map(|(name, view)| (name.to_owned(), number(&view))).collect();
        content.sort_by(|a, b| a.0.cmp(&b.0));
        content
    }

    fn named(expected: &[(&str, f32)]) -> Vec<(String, f32)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_file_has_one_network_and_the_counters_for_which_pytorch_asks() {
        let file = exported(&checkpoint(&TENSORS, "sweep"), ExportedNetwork::Evaluated).unwrap();
        let expected = [
            ("bn1.num_batches_tracked", 0.0),
            ("bn1.running_mean", 2.0),
            ("conv1.weight", 1.0),
            ("fc.bias", 4.0),
            ("fc.weight", 3.0),
        ];
        assert_eq!(content(&file), named(&expected));
        let (_, head) = SafeTensors::read_metadata(&file).unwrap();
        let about: serde_json::Value =
            serde_json::from_str(&head.metadata().as_ref().unwrap()["sweep_export"]).unwrap();
        assert_eq!(
            (&about["network"], &about["classes"], &about["trial"]),
            (&"student".into(), &1.into(), &2.into())
        );
        assert_eq!((&about["parameters"]["width"], &about["input"]["std"][1]), (&8.into(), &50.847.into()));
    }

    #[test]
    fn another_network_takes_the_students_place_and_a_head_its_heads() {
        let reference = exported(&checkpoint(&TENSORS, "sweep"), ExportedNetwork::Reference).unwrap();
        let of = |file: &[u8]| {
            content(file).into_iter().filter(|(name, _)| name.ends_with("weight")).collect::<Vec<_>>()
        };
        assert_eq!(of(&reference), named(&[("conv1.weight", 1.0), ("fc.weight", 6.0)]));
        let averaged = [&TENSORS[..], &[("shadow/conv1.weight", 9.0), ("shadow/fc.weight", 10.0)]].concat();
        let averaged = checkpoint(&averaged, "sweep");
        let evaluated = exported(&averaged, ExportedNetwork::Evaluated).unwrap();
        assert_eq!(of(&evaluated), named(&[("conv1.weight", 9.0), ("fc.weight", 10.0)]));
        let student = exported(&averaged, ExportedNetwork::Student).unwrap();
        assert_eq!(of(&student), named(&[("conv1.weight", 1.0), ("fc.weight", 3.0)]));
    }

    #[test]
    fn equal_checkpoints_give_equal_bytes() {
        let checkpoint = checkpoint(&TENSORS, "sweep");
        let file = || exported(&checkpoint, ExportedNetwork::Evaluated).unwrap();
        assert_eq!(file(), file());
    }

    #[test]
    fn what_is_no_checkpoint_or_has_no_reference_is_refused() {
        let refused = |file: &[u8], network| exported(file, network).unwrap_err().to_string();
        assert_eq!(refused(b"text", ExportedNetwork::Student), "it is no safetensors file");
        let foreign = checkpoint(&TENSORS, "other");
        assert_eq!(
            refused(&foreign, ExportedNetwork::Student),
            "it is no checkpoint of the built-in trainer"
        );
        let alone = checkpoint(&TENSORS[..4], "sweep");
        assert!(refused(&alone, ExportedNetwork::Reference).starts_with("there is no reference in it"));
    }

    #[test]
    fn the_head_says_how_many_classes_there_are() {
        let hidden = [("fc.0.bias", 1.0), ("fc.1.bias", 1.0), ("fc.8.bias", 1.0), ("fc.10.bias", 1.0)];
        let bytes: Vec<[u8; 8]> = vec![[0; 8]; 4];
        let layers = hidden.iter().zip(&bytes).enumerate().map(|(place, ((name, _), bytes))| {
            let sides = if place == 3 { 2 } else { 1 };
            ((*name).to_owned(), TensorView::new(Dtype::F32, vec![sides], &bytes[..4 * sides]).unwrap())
        });
        assert_eq!(classes_of(&layers.collect()), Some(2));
    }
}
