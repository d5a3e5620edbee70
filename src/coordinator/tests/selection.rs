//! Selectors of trials that teach.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::dataset::{Manifest, SplitFile};
use crate::protocol::http::{EpochMetrics, Selected, Work};
use crate::protocol::trial::Checkpoint;
use crate::vocabulary::{FailureReason, Metrics, weights_in_state};

const TEACHERS: &str =
    "name: seeds\nseeds: 3\nparameters: {dataset: d, epochs: 1, eval_every: 1, lr_steps: [], width: [8, 16]}";

impl Fixture {
    /// Makes a dataset with so many classes.
    fn import(&self, name: &str, classes: usize) {
        let stored = |split: &str| {
            let file = SplitFile {
                file: format!("{split}.safetensors"),
                count: 200,
                checksum: format!("{split} of {name}"),
                bytes: 1,
                source: "x".to_owned(),
            };
            (split.to_owned(), file)
        };
        let mut manifest = Manifest {
            schema_version: 1,
            name: name.to_owned(),
            classes: (0..classes).map(|class| class.to_string()).collect(),
            height: 32,
            width: 32,
            eval_sets: vec![],
            files: [stored("train"), stored("test")].into(),
            checksum: String::new(),
        };
        manifest.checksum = manifest.checksum_for(None).unwrap();
        let folder = self.folder.path().join("datasets").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    async fn select(&self, selectors: &str) -> Result<Vec<Selected>, String> {
        self.select_for("d", selectors).await
    }

    /// What the teachers of a student on this dataset are, or why there are none.
    async fn select_for(&self, dataset: &str, selectors: &str) -> Result<Vec<Selected>, String> {
        let spec = format!(
            "name: students\nparameters: {{dataset: {dataset}, epochs: 2, method: kd, teacher: checkpoint, loss_weight: 1, \
             teachers: [{selectors}]}}"
        );
        let submitted =
            self.coordinator.submit(&SubmitRequest { is_rehearsal: true, ..self.spec(&spec) }).await;
        submitted.map(|submitted| submitted.selected).map_err(|error| match error {
            CoordinatorError::Prepare(PrepareError::Spec(error)) => error.to_string(),
            other => other.to_string(),
        })
    }

    async fn numbers(&self, selectors: &str) -> Vec<i64> {
        let selected = self.select(selectors).await.unwrap();
        selected.iter().flat_map(|selected| selected.trials.iter().map(|trial| trial.0)).collect()
    }

    /// Runs all trainings that are leasable; `top1` follows from the place among them.
    async fn train(&self, top1: &[f64]) {
        let leases = self.lease().await;
        assert_eq!(leases.len(), top1.len());
        for (place, (lease, top1)) in (1_u8..).zip(leases.iter().zip(top1)) {
            let Work::Resnet(work) = &lease.work else { panic!("a program") };
            let checkpoint =
                Checkpoint { hash: format!("{place:064x}"), epoch: work.last_epoch, step: 0, size_bytes: 1 };
            let report = EpochMetrics {
                epoch: work.last_epoch,
                metrics: Metrics::from([("top1".to_owned(), *top1)]),
                checkpoint: Some(checkpoint),
            };
            let outcome = Outcome { token: lease.token, reports: vec![report], end: complete() };
            let answer = self.coordinator.finish(OutcomesRequest { outcomes: vec![outcome] }).await.unwrap();
            assert_eq!(answer.refused, []);
        }
    }
}

#[tokio::test]
async fn trials_are_selected_by_number_seed_parameters_and_rank() {
    let fixture = Fixture::new().await;
    fixture.import("d", 10);
    let sweep = fixture.submit(TEACHERS).await;
    for (selector, expected) in [
        ("{sweep: seeds}", &[1, 2, 3, 4, 5, 6][..]),
        ("{sweep: 1, trials: [6, 2]}", &[2, 6]),
        ("{sweep: seeds, seeds: [0, 2]}", &[1, 3, 4, 6]),
        ("{sweep: seeds, where: {width: 16}, seeds: 1}", &[5]),
        ("{sweep: seeds, trials: 1}, {sweep: seeds, trials: 4}", &[1, 4]),
    ] {
        assert_eq!(fixture.numbers(selector).await, expected, "{selector}");
    }
    let unfinished = fixture.select("{sweep: seeds, best: 2}").await.unwrap_err();
    assert!(
        unfinished.contains("sweep 1 is not finished") && unfinished.contains("wait for the 6 trials"),
        "{unfinished}"
    );

    fixture.train(&[50.0, 70.0, 60.0, 10.0, 70.0, 20.0]).await;
    assert_eq!(fixture.numbers("{sweep: seeds, best: 2}").await, [2, 5]);
    assert_eq!(fixture.numbers("{sweep: seeds, best: 1}").await, [2], "the first of equal ones");
    assert_eq!(fixture.numbers("{sweep: seeds, where: {width: 8}, best: 2}").await, [2, 3]);
    let best = fixture.select("{sweep: seeds, best: 2}").await.unwrap().remove(0);
    assert_eq!(
        (best.sweep, best.unfinished, best.selector.as_str()),
        (sweep, 0, r#"{sweep: "seeds", best: 2}"#)
    );
}

#[tokio::test]
async fn a_configuration_that_was_drawn_twice_is_one_network() {
    let fixture = Fixture::new().await;
    fixture.import("d", 10);
    let drawn = "name: drawn\nsearch: random\ncount: 9\nparameters: {dataset: d, epochs: 1, eval_every: 1, lr_steps: [], \
                 width: [8, 16]}";
    fixture.submit(drawn).await;
    fixture.train(&[50.0, 70.0]).await;
    let two = fixture.select("{sweep: drawn, best: 2}").await.unwrap().remove(0);
    assert_eq!((two.trials.len(), two.weights.len()), (2, 2));
    let three = fixture.select("{sweep: drawn, best: 3}").await.unwrap_err();
    assert!(three.contains("`best: 3` is more than the 2 selected trials"), "{three}");
}

#[tokio::test]
async fn a_selector_that_selects_nothing_says_what_there_is() {
    let fixture = Fixture::new().await;
    fixture.import("d", 10);
    fixture.import("e", 5);
    fixture.submit(TEACHERS).await;
    fixture.submit("name: program\ncommand: [/bin/true]\nparameters: {x: 1}").await;
    for (selectors, expected) in [
        ("{sweep: others}", "there is no sweep `others`"),
        ("{sweep: 9}", "there is no sweep 9"),
        ("{sweep: program}", "sweep 2 runs a program"),
        (
            "{sweep: seeds, seeds: [7]}",
            r#"`{sweep: "seeds", seeds: [7]}` selects no trial of sweep 1 `seeds`"#,
        ),
        ("{sweep: seeds, seeds: [7]}", "its seeds are 0, 1, 2"),
        ("{sweep: seeds, where: {width: 32}}", "`width` is 8, 16 there"),
        ("{sweep: seeds, where: {loss_weight: 1}}", "no trial there has `loss_weight`"),
        ("{sweep: seeds, trials: 1}, {sweep: 1, trials: 1}", "`teachers` has the same network twice"),
        ("{sweep: seeds, seed: 1}", "did you mean `seeds`?"),
    ] {
        let error = fixture.select(selectors).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("s.yaml:2:"), "it is shown where: {error}");
    }
    let error = fixture.select_for("e", "{sweep: seeds, trials: 2}").await.unwrap_err();
    let expected = "trial 2 of sweep 1, which is to teach, tells the 10 classes of dataset `d` apart, and dataset `e` has 5; \
                    select trials of the same dataset";
    assert_eq!(error, expected);

    fixture.submit(&TEACHERS.replace("[8, 16]", "[32]")).await;
    let error = fixture.select("{sweep: seeds}").await.unwrap_err();
    assert!(
        error.contains("several sweeps are called `seeds`: 1, 3") && error.contains("`sweep: 3`"),
        "{error}"
    );
}

#[tokio::test]
async fn more_than_have_succeeded_can_not_be_best() {
    let fixture = Fixture::new().await;
    fixture.import("d", 10);
    fixture.submit(&format!("retries: 0\n{TEACHERS}")).await;
    let failed = fixture.lease().await.remove(0);
    let end = AttemptEnd::Fail {
        reason: FailureReason::Nan,
        message: "it broke".to_owned(),
        log_tail: String::new(),
    };
    fixture.finish(failed.token, end).await;
    fixture.clock.advance(LEASE);
    fixture.coordinator.expire_overdue().await.unwrap();
    fixture.train(&[1.0; 5]).await;
    let error = fixture.select("{sweep: seeds, best: 6}").await.unwrap_err();
    assert!(error.contains("`best: 6` is more than the 5 selected trials of sweep 1"), "{error}");
    assert_eq!(fixture.numbers("{sweep: seeds, best: 5}").await.len(), 5);
    // Without `best` a trial that failed is tried again.
    assert_eq!(fixture.select("{sweep: seeds}").await.unwrap()[0].unfinished, 1);
}

#[tokio::test]
async fn a_sweep_keeps_what_its_selectors_selected() {
    let fixture = Fixture::new().await;
    fixture.import("d", 10);
    fixture.submit(TEACHERS).await;
    fixture.train(&[50.0, 70.0, 60.0, 10.0, 70.0, 20.0]).await;
    let spec = "parameters: {dataset: d, epochs: 1, lr_steps: [], method: kd, teacher: checkpoint, loss_weight: 1, teachers: \
                [[{sweep: seeds, best: 1}], [{sweep: seeds, seeds: 0}]]}";
    let submitted = fixture.coordinator.submit(&fixture.spec(spec)).await.unwrap();
    let weights: BTreeMap<String, Vec<String>> =
        submitted.selected.into_iter().map(|selected| (selected.selector, selected.weights)).collect();
    assert_eq!(weights[r#"{sweep: "seeds", best: 1}"#].len(), 1);
    let stored = fixture.coordinator.request(submitted.sweep).await.unwrap();
    assert_eq!((stored.spec.as_str(), &stored.selected), (spec, &weights));
    // Whoever submits what is stored gets it, whatever is best by then; the same trials make the same sweep.
    assert_eq!(fixture.coordinator.submit(&stored).await.unwrap().sweep, submitted.sweep);

    let leased = fixture.lease().await;
    let Work::Resnet(work) = &leased[0].work else { panic!("a program") };
    let name = weights[r#"{sweep: "seeds", best: 1}"#][0].clone();
    assert_eq!(work.parameters["teachers"], json!([name]));
    let (state, file) = work.teachers.first_key_value().unwrap();
    assert_eq!(
        (weights_in_state(state.parse().unwrap()), file.as_str()),
        (name, format!("{:064x}", 2).as_str())
    );
}
