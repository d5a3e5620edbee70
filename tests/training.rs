//! Real images, real training, real signals: the demo's sweep in small, undisturbed and disturbed.

mod harness;

use harness::{Project, signal, stable};
use serde_json::Value;

/// The method starts after the first of two epochs.
const SMALL: &[&str] =
    &["epochs=2", "method_start=0", "lr_steps=[1]", "eval_every=1", "batch_size=128", "seeds=1"];

#[test]
fn the_demo_ends_with_the_same_numbers_undisturbed_interrupted_and_killed() {
    let alone = project_with_sample();
    alone.sweep(&run_demo()).exits_with(0);
    let expected = stable(&alone.results("1"));
    assert_methods_differ(&expected);

    let interrupted = alone.beside();
    copy_demo(&interrupted);
    let mut run = interrupted.start(&run_demo());
    wait_for_the_first_result(&interrupted);
    signal("INT", run.pid());
    assert_eq!(run.exit_code(), Some(1));
    assert_nothing_runs(&interrupted);
    interrupted.sweep(&run_demo()).exits_with(0);
    assert_eq!(stable(&interrupted.results("1")), expected);

    let killed = alone.beside();
    copy_demo(&killed);
    let mut run = killed.start(&run_demo());
    wait_for_the_first_result(&killed);
    let victims = [killed.processes("sweep-worker"), killed.processes("sweep-trainer")].concat();
    signal("KILL", run.pid());
    victims.iter().for_each(|victim| signal("KILL", *victim));
    assert_eq!(run.exit_code(), None);
    killed.sweep(&run_demo()).exits_with(0);
    assert_eq!(stable(&killed.results("1")), expected);
    assert_nothing_runs(&killed);
}

#[test]
fn a_trial_that_diverges_fails_as_nan_and_says_so() {
    let project = project_with_sample();
    let overrides = ["method=ce", "lr=1000000", "epochs=1", "lr_steps=[]", "retries=3", "seeds=1"];
    let spec = "parameters: {dataset: cifar10-sample, width: 1}\n";
    project.write("diverges.yaml", spec);
    let failed = project.sweep(&[&["run", "diverges.yaml"], &overrides[..]].concat()).exits_with(1);
    assert!(failed.stdout().contains("1 failed (nan)"), "{}", failed.stdout());
}

fn run_demo() -> Vec<&'static str> {
    [&["run", "demo.yaml", "--cpu-slots", "2"], SMALL].concat()
}

fn project_with_sample() -> Project {
    let project = Project::new();
    let asset =
        |name: &str| format!("{}/worker/assets/cifar10-sample-{name}.tar.xz", env!("CARGO_MANIFEST_DIR"));
    let (train, test, shifted) = (asset("train"), asset("test"), format!("shifted={}", asset("shifted")));
    let import = ["data", "import", "cifar10-sample", "--train", &train, "--test", &test, "--eval", &shifted];
    project.sweep(&import).exits_with(0);
    copy_demo(&project);
    project
}

fn copy_demo(project: &Project) {
    project.write("demo.yaml", include_str!("../sweeps/demo.yaml"));
}

fn wait_for_the_first_result(project: &Project) {
    project.wait_for_status("the first result", |status| {
        let trials = &status["sweeps"][0]["trials"];
        trials["succeeded"].as_u64() >= Some(1)
    });
}

fn assert_nothing_runs(project: &Project) {
    for program in ["sweep-worker", "sweep-trainer"] {
        assert_eq!(project.processes(program), Vec::<i32>::new(), "{program} is left over");
    }
}

/// Every method reports every metric, and each came out differently.
fn assert_methods_differ(results: &[Value]) {
    assert_eq!(results.len(), 3);
    let rank = |result: &Value| result["metrics"]["rankme"].as_f64().map(f64::to_bits);
    for (at, result) in results.iter().enumerate() {
        for metric in
            ["train_loss", "ce_loss", "lr", "top1", "top5", "shifted_top1", "rankme", "rankme_batch"]
        {
            assert!(result["metrics"][metric].is_f64(), "{metric} is missing: {result}");
        }
        let has_aux = result["metrics"].get("aux_loss").is_some();
        assert_eq!(has_aux, result["parameters"]["method"] != "ce", "{result}");
        assert!(
            results[..at].iter().all(|other| rank(other) != rank(result)),
            "two methods gave the same features"
        );
    }
}
