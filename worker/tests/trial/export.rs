//! Networks that were exported, loaded in PyTorch by the program in docs/PYTORCH.md: the trainer's logits.

use std::fs;
use std::process::Command;

use serde_json::json;
use sweep::recipe::{Network, Pool, Recipe, Stem};
use sweep::report::{ExportedNetwork, WeightsOrigin, state_dict};
use sweep::vocabulary::{Parameters, SweepId, TrialNumber};
use sweep_worker::trainer::checkpoint::{self, Origin};
use sweep_worker::trainer::head::HeadMode;
use sweep_worker::trainer::model::{Mode, ResNet};
use sweep_worker::trainer::reference::Reference;
use sweep_worker::trainer::train::KIND;
use sweep_worker::trainer::{Ended, Job, State, train};
use tch::{Kind, Tensor};

use crate::dataset;
use crate::training::{Follower, data, fresh, recipes};

/// Prints the logits of each network for the images of a split.
const LOGITS: &str = r"
import json, sys
import torch
from resnet import load, read

images = read(sys.argv[1])[0]['images']
for file in sys.argv[2:]:
    network, prepare = load(file)
    with torch.no_grad():
        print(json.dumps(network(prepare(images)).flatten().tolist()))
";

/// The network's shape as parameters say it.
fn parameters(network: &Network) -> Parameters {
    let stem = match network.stem {
        Stem::ThreeByThree => "3x3",
        Stem::FiveByFive => "5x5",
        Stem::SevenBySeven => "7x7",
    };
    let (pool, exponent) = match network.pool {
        Pool::Average => ("avg", None),
        Pool::Quarters => ("avg2x2", None),
        Pool::GeneralisedMean { exponent } => ("gem", Some(exponent)),
    };
    let head = &network.head;
    let all = json!({"depth": network.depth, "width": network.width, "stem": stem, "pool": pool, "gem_p": exponent,
                     "head_hidden": head.hidden, "head_bn": head.batch_norm, "head_dropout": head.dropout});
    serde_json::from_value(all).unwrap()
}

/// A state somewhere within the method, with a reference and, where the recipe has one, an average.
fn state(recipe: &Recipe) -> State {
    tch::set_num_threads(1);
    let job = Job { recipe, seed: 3, last_epoch: recipe.epochs, data: &data() };
    match train(&job, fresh(recipe), &mut Follower::stopping_after(u32::MAX)).unwrap() {
        Ended::Done(state) => state,
        Ended::Stopped(_) => panic!("nobody asked to stop"),
    }
}

/// Logits of the test images, one after the other.
fn logits(backbone: &ResNet, head: &sweep_worker::trainer::head::Head) -> Vec<f64> {
    let _guard = tch::no_grad_guard();
    let test = data().test;
    let images = test.plain_batch(0..test.count, KIND).images;
    let logits = head.forward(&backbone.features(&images, Mode::Evaluate), HeadMode::Evaluate);
    Vec::try_from(logits.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

/// The logits of one of a state's networks, as the trainer computes them.
fn logits_of(state: &State, network: ExportedNetwork) -> Option<Vec<f64>> {
    let student = &state.student;
    match (network, &state.shadow, &state.reference) {
        (ExportedNetwork::Evaluated, Some(shadow), _) => Some(logits(&shadow.network, &shadow.network.head)),
        (ExportedNetwork::Evaluated | ExportedNetwork::Student, ..) => Some(logits(student, &student.head)),
        (ExportedNetwork::Reference, _, Some(Reference::Network { network, .. })) => {
            Some(logits(network, &network.head))
        }
        (ExportedNetwork::Reference, _, Some(Reference::Head { head, .. })) => Some(logits(student, head)),
        (ExportedNetwork::Reference, ..) => None,
    }
}

#[test]
fn pytorch_gets_the_trainers_logits_from_every_network_that_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, mut expected) = (Vec::new(), Vec::new());
    let network = recipes()[0].1.network.clone();
    let deep = Network { depth: 34, stem: Stem::SevenBySeven, ..network };
    let deep = Recipe { network: deep, epochs: 1, ..recipes()[0].1.clone() };
    let wanted =
        ["ce", "ema", "averaged head", "as run", "masked, averaged, hidden head", "other network, bf16"];
    let chosen = recipes().into_iter().filter(|(what, _)| wanted.contains(what)).chain([("deep", deep)]);
    for (number, (what, recipe)) in chosen.enumerate() {
        let (state, parameters) = (state(&recipe), parameters(&recipe.network));
        let origin = Origin { parameters: parameters.clone(), seed: 3, dataset_checksum: String::new() };
        let saved = checkpoint::save(folder.path(), &state, &origin).unwrap();
        let contents = fs::read(checkpoint::path_of(folder.path(), &saved.hash)).unwrap();
        for network in [ExportedNetwork::Evaluated, ExportedNetwork::Student, ExportedNetwork::Reference] {
            let about = WeightsOrigin {
                sweep: SweepId(1),
                trial: TrialNumber(1),
                seed: 3,
                epoch: saved.epoch,
                checkpoint: &saved.hash,
                parameters: &parameters,
            };
            let exported = state_dict(&contents, network, &about);
            let logits = logits_of(&state, network);
            assert_eq!(exported.is_ok(), logits.is_some(), "{what} {network:?}");
            let (Ok(exported), Some(logits)) = (exported, logits) else { continue };
            let file = folder.path().join(format!("{number}-{network:?}.safetensors"));
            fs::write(&file, exported).unwrap();
            files.push(file);
            expected.push((format!("{what} {network:?}"), logits));
        }
    }
    let printed = run_program(folder.path(), &files);
    assert_eq!(printed.len(), expected.len());
    for (found, (what, expected)) in printed.iter().zip(&expected) {
        let [found, expected] = [found, expected].map(|numbers| Tensor::from_slice(numbers));
        let scale = expected.abs().max().double_value(&[]);
        let error = (&found - &expected).abs().max().double_value(&[]);
        assert!(
            found.size() == expected.size() && error < 1e-5 * scale.max(1.0),
            "{what}: {error} of {scale}"
        );
    }
    let distinct = |one: &str, other: &str| {
        let of = |what: &str| &expected.iter().find(|(name, _)| name == what).unwrap().1;
        assert_ne!(of(one), of(other), "{one}, {other}");
    };
    distinct("as run Evaluated", "as run Student");
    distinct("averaged head Reference", "averaged head Student");
}

/// The logits that the document's program prints for the test images.
fn run_program(folder: &std::path::Path, files: &[std::path::PathBuf]) -> Vec<Vec<f64>> {
    let document = include_str!("../../../docs/PYTORCH.md");
    let program = document.split("```python\n# resnet.py\n").nth(1).unwrap().split("```").next().unwrap();
    fs::write(folder.join("resnet.py"), program).unwrap();
    fs::write(folder.join("logits.py"), LOGITS).unwrap();
    dataset::write(folder, "tiny");
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python");
    let output = Command::new(python)
        .arg("logits.py")
        .arg("tiny/test.safetensors")
        .args(files)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
