//! A trainer that stays up between requests.

use std::path::Path;

use serde_json::json;
use sweep::protocol::trial::{TrainRequest, TrialRecord};
use sweep::vocabulary::FailureReason;
use sweep_worker::trainer::{JobEnd, Setup, Stop, TrainError, Trainer};

use crate::dataset;

pub(crate) fn request(dataset: &str, checksum: &str, changes: serde_json::Value) -> TrainRequest {
    let mut parameters = json!({
        "dataset": dataset, "width": 2, "epochs": 2, "batch_size": 16, "lr_steps": [1], "eval_every": 1,
        "device": "cpu", "threads": 1, "method": "mask", "method_start": 0, "method_every": 1, "loss_weight": 0.5,
        "mask_ratio": 0.5, "mask_mode": "s", "inv_mode": "v2",
    });
    parameters.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    TrainRequest {
        parameters: serde_json::from_value(parameters).unwrap(),
        seed: 1,
        dataset_checksum: checksum.to_owned(),
        first_epoch: 1,
        last_epoch: 2,
        teachers: Default::default(),
        resume: None,
    }
}

fn trainer(root: &Path) -> Trainer {
    Trainer::new(Setup {
        datasets: root.to_owned(),
        checkpoints: None,
        cpu_capability: "TEST".to_owned(),
        promised_gpus: String::new(),
        stop: Stop::default(),
    })
}

fn run(trainer: &mut Trainer, request: &TrainRequest) -> Result<TrialRecord, TrainError> {
    match trainer.train(request, &mut |_, _, _| Ok(()))? {
        JobEnd::Done(record) => Ok(record),
        JobEnd::Stopped(_) => panic!("nobody asked to stop"),
    }
}

#[test]
fn a_request_gives_the_same_weights_whatever_ran_before_it() {
    let root = tempfile::tempdir().unwrap();
    let checksum = dataset::write(root.path(), "tiny");
    let of_interest = request("tiny", &checksum, json!({}));
    let mut warm = trainer(root.path());

    let first = run(&mut warm, &of_interest).unwrap();
    let other =
        request("tiny", &checksum, json!({"width": 3, "threads": 2, "mask_mode": "sgf", "eval_sets": []}));
    // Refused: with other evaluation sets the dataset counts as another one.
    assert_eq!(run(&mut warm, &other).unwrap_err().reason(), FailureReason::BadConfig);
    let other = request("tiny", &checksum, json!({"width": 3, "threads": 2, "mask_mode": "sgf"}));
    let other = run(&mut warm, &other).unwrap();
    let again = run(&mut warm, &of_interest).unwrap();
    let cold = run(&mut trainer(root.path()), &of_interest).unwrap();

    assert_eq!(first.weights_hash.len(), 64);
    assert_eq!(first.weights_hash, again.weights_hash);
    assert_eq!(first.weights_hash, cold.weights_hash);
    assert_ne!(first.weights_hash, other.weights_hash);
    let next_seed = TrainRequest { seed: 2, ..of_interest };
    assert_ne!(first.weights_hash, run(&mut warm, &next_seed).unwrap().weights_hash);
}

#[test]
fn a_record_says_where_and_with_what_the_job_ran() {
    let root = tempfile::tempdir().unwrap();
    let checksum = dataset::write(root.path(), "tiny");
    let record = run(&mut trainer(root.path()), &request("tiny", &checksum, json!({}))).unwrap();
    assert_eq!((record.device.as_str(), record.cpu_capability.as_str()), ("cpu", "TEST"));
    assert_eq!(record.numerics_version, sweep::recipe::NUMERICS_VERSION);
    assert!(record.libraries["libtorch"].starts_with("2."), "{:?}", record.libraries);
    assert!(record.wall_seconds > 0.0);
}

#[test]
fn a_dataset_that_is_missing_or_another_one_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let checksum = dataset::write(root.path(), "tiny");
    let mut warm = trainer(root.path());
    // Also where a dataset is loaded already.
    run(&mut warm, &request("tiny", &checksum, json!({}))).unwrap();

    let missing = run(&mut warm, &request("tinny", &checksum, json!({}))).unwrap_err();
    assert_eq!(missing.reason(), FailureReason::NodeFault);
    assert!(missing.to_string().contains("sweep data import"), "{missing}");
    let other = run(&mut warm, &request("tiny", "00", json!({}))).unwrap_err();
    assert_eq!(other.reason(), FailureReason::BadConfig);
    assert!(other.to_string().contains(&format!("has the checksum `{checksum}`")), "{other}");
}

#[test]
fn parameters_that_make_no_recipe_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let checksum = dataset::write(root.path(), "tiny");
    let error =
        run(&mut trainer(root.path()), &request("tiny", &checksum, json!({"width": -1}))).unwrap_err();
    assert_eq!(error.reason(), FailureReason::BadConfig);
    assert!(error.to_string().contains("width"), "{error}");
}
