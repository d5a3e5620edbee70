//! Interrupted training that goes on: the bits of an uninterrupted one, whatever it is interrupted in.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use sweep::protocol::trial::Checkpoint;
use sweep::recipe::{NUMERICS_VERSION, Recipe};
use sweep_worker::trainer::checkpoint::{self, CheckpointError, Origin};
use sweep_worker::trainer::record::weights_hash;
use sweep_worker::trainer::{Ended, Job, State, TrainError, train};
use tch::Device;

use crate::dataset::CLASSES;
use crate::training::{Follower, Reports, comparable, data, fresh, go_on, recipes, run};

fn origin() -> Origin {
    Origin {
        parameters: serde_json::from_value(serde_json::json!({"lr": 0.05})).unwrap(),
        seed: 3,
        dataset_checksum: "00".to_owned(),
    }
}

/// Trains from the first epoch, stops at the `questions`-th time that the loop asks, and leaves a checkpoint.
fn interrupted(recipe: &Recipe, folder: &Path, questions: u32) -> Option<(Checkpoint, Reports)> {
    tch::set_num_threads(1);
    let (data, mut follower) = (data(), Follower::stopping_after(questions));
    let job = Job { recipe, seed: 3, last_epoch: recipe.epochs, data: &data };
    match train(&job, fresh(recipe), &mut follower).unwrap() {
        Ended::Done(_) => None,
        Ended::Stopped(state) => {
            Some((checkpoint::save(folder, &state, &origin()).unwrap(), follower.reports))
        }
    }
}

fn load(recipe: &Recipe, folder: &Path, hash: &str) -> Result<State, TrainError> {
    checkpoint::load(folder, hash, &origin(), recipe, CLASSES as i64, Device::Cpu)
}

/// One interruption of each recipe at the place that `questions` names; true where there was one.
fn goes_on_with_the_same_bits(what: &str, recipe: &Recipe, questions: u32) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let Some((checkpoint, mut reports)) = interrupted(recipe, folder.path(), questions) else { return false };
    let state = load(recipe, folder.path(), &checkpoint.hash).unwrap();
    let (state, later) = go_on(recipe, &data(), state, recipe.epochs).unwrap();
    let (whole, expected) = run(recipe).unwrap();
    let at = format!("{what}, interrupted in epoch {} after {} steps", checkpoint.epoch + 1, checkpoint.step);
    assert_eq!(weights_hash(&state), weights_hash(&whole), "{at}");
    reports.extend(later);
    assert_eq!(comparable(&reports), comparable(&expected), "{at}");
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn training_interrupted_anywhere_gives_the_bits_of_an_uninterrupted_one(
        which in 0..recipes().len(), questions in 1_u32..26,
    ) {
        let (what, recipe) = &recipes()[which];
        goes_on_with_the_same_bits(what, recipe, questions);
    }
}

#[test]
fn every_method_goes_on_within_an_epoch_and_within_an_evaluation() {
    for (what, recipe) in recipes() {
        // Four steps an epoch, and two questions in each evaluation of test set and extra set: the 16th is asked in epoch 4.
        assert!(goes_on_with_the_same_bits(what, &recipe, 16), "{what}");
        // The last is asked in the evaluation after the last step.
        let last = (1..40).take_while(|&questions| {
            let folder = tempfile::tempdir().unwrap();
            interrupted(&recipe, folder.path(), questions).is_some()
        });
        if what == "as run, with probes" {
            let last = last.last().unwrap();
            assert!(goes_on_with_the_same_bits(what, &recipe, last), "{what}");
        }
    }
}

#[test]
fn equal_states_have_one_file_and_its_name_is_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let (_, recipe) = &recipes()[0];
    let first = checkpoint::save(folder.path(), &fresh(recipe), &origin()).unwrap();
    assert_eq!(checkpoint::save(folder.path(), &fresh(recipe), &origin()).unwrap(), first);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, [checkpoint::path_of(folder.path(), &first.hash)]);
    let contents = fs::read(&files[0]).unwrap();
    assert_eq!(blake3::hash(&contents).to_hex().as_str(), first.hash);
    assert_eq!(contents.len() as u64, first.size_bytes);
}

fn refusal(result: Result<State, TrainError>) -> CheckpointError {
    match result {
        Err(TrainError::Checkpoint(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, recipe) = &recipes()[0];
    let saved = checkpoint::save(folder.path(), &fresh(recipe), &origin()).unwrap();
    let path = checkpoint::path_of(folder.path(), &saved.hash);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1], &[]] {
        fs::write(&path, damaged).unwrap();
        assert!(matches!(refusal(load(recipe, folder.path(), &saved.hash)), CheckpointError::Damaged { .. }));
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(refusal(load(recipe, folder.path(), &saved.hash)), CheckpointError::Read { .. }));
}

/// Writes `contents` under their hash and loads them.
fn load_contents(recipe: &Recipe, contents: &[u8]) -> CheckpointError {
    let folder = tempfile::tempdir().unwrap();
    let hash = blake3::hash(contents).to_hex().to_string();
    fs::write(checkpoint::path_of(folder.path(), &hash), contents).unwrap();
    refusal(load(recipe, folder.path(), &hash))
}

#[test]
fn a_file_that_is_no_checkpoint_or_of_another_version_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (_, recipe) = &recipes()[0];
    let saved = checkpoint::save(folder.path(), &fresh(recipe), &origin()).unwrap();
    let contents = fs::read(checkpoint::path_of(folder.path(), &saved.hash)).unwrap();

    assert!(load_contents(recipe, b"weights").to_string().contains("holds no weights"));
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len(), "the header's length stands before it");
        let place = contents.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut changed = contents.clone();
        changed[place..place + to.len()].copy_from_slice(to.as_bytes());
        load_contents(recipe, &changed).to_string()
    };
    let older = replaced(r#"\"version\":1"#, r#"\"version\":0"#);
    assert!(
        older.contains("is a checkpoint of version 0; this trainer reads version 1 only: take"),
        "{older}"
    );
    let no_checkpoint = replaced(r#""sweep""#, r#""swoop""#);
    assert!(no_checkpoint.ends_with("it is no checkpoint of `sweep`"), "{no_checkpoint}");
    let numerics = format!(r#"numerics_version\":{NUMERICS_VERSION}"#);
    let other = replaced(&numerics, r#"numerics_version\":9"#);
    assert!(other.contains("it was written with numerics version 9"), "{other}");
    let renamed = replaced(r#""bn1.bias""#, r#""bn1.bees""#);
    assert!(renamed.ends_with("it has no tensor `bn1.bias`"), "{renamed}");
}

#[test]
fn a_checkpoint_of_another_trial_is_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let (_, recipe) = &recipes()[0];
    let trained = run(recipe).unwrap().0;
    let refused_as = |change: &dyn Fn(&mut Origin)| {
        let mut other = origin();
        change(&mut other);
        let saved = checkpoint::save(folder.path(), &trained, &other).unwrap();
        refusal(load(recipe, folder.path(), &saved.hash)).to_string()
    };
    assert!(
        refused_as(&|origin| origin.seed = 4).ends_with("belongs to another trial: its seed is 4, not 3")
    );
    let dataset = refused_as(&|origin| origin.dataset_checksum = "ff".to_owned());
    assert!(dataset.ends_with("its dataset has the checksum `ff`"), "{dataset}");
    let lr = refused_as(&|origin| drop(origin.parameters.insert("lr".to_owned(), 0.1.into())));
    assert!(lr.ends_with("it has another `lr` in epoch 1"), "{lr}");
    let steps = refused_as(&|origin| drop(origin.parameters.insert("lr_steps".to_owned(), vec![2].into())));
    assert!(steps.ends_with("it has another `lr` in epoch 3"), "{steps}");
    let wider =
        Recipe { network: sweep::recipe::Network { width: 3, ..recipe.network.clone() }, ..recipe.clone() };
    let saved = checkpoint::save(folder.path(), &fresh(&wider), &origin()).unwrap();
    let shape = refusal(load(recipe, folder.path(), &saved.hash)).to_string();
    assert!(shape.contains("has the shape"), "{shape}");
}

#[test]
fn a_checkpoint_serves_every_trial_that_comes_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_, recipe) = &recipes()[0];
    let trained = run(recipe).unwrap().0;
    let mut other = origin();
    other.parameters.insert("lr_steps".to_owned(), vec![4].into());
    let saved = checkpoint::save(folder.path(), &trained, &other).unwrap();
    assert_eq!(load(recipe, folder.path(), &saved.hash).unwrap().epoch, 4);
}

#[test]
fn weights_that_pytorch_saved_are_a_teacher() {
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let (_, recipe) = &recipes()[0];
    let student = fresh(recipe).student;
    let raw: Vec<_> = student
        .tensors()
        .iter()
        .map(|named| {
            let shape: Vec<usize> = named.tensor.size().iter().map(|&side| side as usize).collect();
            let numbers = Vec::<f32>::try_from(named.tensor.contiguous().flatten(0, -1)).unwrap();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            (named.name.clone(), shape, bytes)
        })
        .collect();
    let counter = 7_i64.to_le_bytes();
    let views = raw.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let counted =
        [("bn1.num_batches_tracked".to_owned(), TensorView::new(Dtype::I64, vec![], &counter).unwrap())];
    let contents = serialize(views.chain(counted), None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("teacher.safetensors");
    fs::write(&path, contents).unwrap();
    let network =
        checkpoint::load_network(&path, None, &recipe.network, CLASSES as i64, Device::Cpu).unwrap();
    for (loaded, named) in network.tensors().iter().zip(student.tensors()) {
        assert_eq!(loaded.tensor, named.tensor.detach(), "{}", named.name);
        assert!(!loaded.tensor.requires_grad());
    }
}
