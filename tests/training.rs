//! Real images, real training, real signals: the demo's sweep in small, undisturbed and disturbed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use harness::{Project, serve, signal, stable, wait_until};
use serde_json::{Value, json};

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

const RESUMED: &str = "\
name: resumed
parameters: {dataset: cifar10-sample, width: 2, epochs: 4, eval_every: 2, lr_steps: [3], method: kd, teacher: ema,
  ema_ratio: 0.3, method_start: 0, method_every: 1, loss_weight: 1, lp: true}
";

#[test]
fn a_trial_goes_on_from_its_checkpoint_after_an_interruption_and_after_a_crash() {
    let alone = project_with_sample();
    let run = ["run", "resumed.yaml", "--cpu-slots", "1"];
    alone.write("resumed.yaml", RESUMED);
    alone.sweep(&run).exits_with(0);
    let expected = stable(&alone.results("1"));
    assert!(expected[0]["metrics"]["lp_top1"].is_f64() && expected[0]["metrics"]["ema_top1"].is_f64());

    for name in ["INT", "KILL"] {
        let disturbed = alone.beside();
        disturbed.write("resumed.yaml", RESUMED);
        let mut first = disturbed.start(&run);
        // An epoch's report and the checkpoint after it are stored together.
        disturbed.wait_for_status("a trial", |status| status["sweeps"][0]["trials"]["running"] == 1);
        wait_until("the first report", || {
            disturbed.results("1")["results"][0]["metrics"].get("train_loss").is_some()
        });
        if name == "KILL" {
            let victims =
                [disturbed.processes("sweep-worker"), disturbed.processes("sweep-trainer")].concat();
            signal(name, first.pid());
            victims.iter().for_each(|victim| signal(name, *victim));
        } else {
            signal(name, first.pid());
        }
        assert_ne!(first.exit_code(), Some(0));
        disturbed.sweep(&run).exits_with(0);
        assert_eq!(stable(&disturbed.results("1")), expected, "{name}");
        let log = disturbed.read(".sweep/logs/job-1-attempt-2.log");
        assert!(log.contains("goes on from a checkpoint"), "{name}: {log}");
        // A crash may leave the one before; it is deleted at a later start.
        assert!(checkpoints(&disturbed) == 1 || name == "KILL", "only the last one stays");
        assert_nothing_runs(&disturbed);
    }
}

/// Milestones, then the method, then the method's parameters: a trunk of one epoch, two branches, and four ends on each.
const TREE: &str = "\
name: tree
parameters: {dataset: cifar10-sample, width: 1, epochs: 4, eval_every: 2, lr_steps: [[1], [2]], method: kd, method_start: 1,
  method_every: 2, loss_weight: [1, 0.5], teacher: [frozen, ema]}
when: [{if: {teacher: ema}, parameters: {ema_ratio: [0.3]}}]
";

#[test]
fn every_trial_of_a_tree_has_the_bits_of_one_that_was_trained_alone() {
    let shared = project_with_sample();
    shared.write("tree.yaml", TREE);
    let plan = shared.sweep(&["expand", "tree.yaml", "--json"]).json();
    assert_eq!((&plan["trials"], &plan["jobs"]), (&8.into(), &(1 + 2 + 8).into()));
    assert_eq!((&plan["epochs_unshared"], &plan["epochs_shared"]), (&32.into(), &(1 + 2 + 16).into()));
    shared.sweep(&["run", "tree.yaml", "--cpu-slots", "2"]).exits_with(0);
    // Only the trials' last checkpoints stay: what a job left for others went with the last of them.
    assert_eq!(checkpoints(&shared), 8);

    // All of them again without sharing: every report and the final weights, bit for bit.
    let audit = shared.sweep(&["audit", "1", "--trials", "8", "--json"]).json();
    assert_eq!(audit["same"], true, "{audit}");
    assert!(
        audit["trials"].as_array().unwrap().iter().all(|trial| trial["inherited_epochs"] == 2),
        "{audit}"
    );
}

#[test]
fn workers_on_hosts_that_share_nothing_train_a_tree_with_the_bits_of_one() {
    let tree = format!("keep: all\n{}", TREE.replace("[1, 0.5]", "1"));
    let alone = project_with_sample();
    alone.write("tree.yaml", &tree);
    alone.sweep(&["run", "tree.yaml", "--cpu-slots", "2"]).exits_with(0);
    let expected = stable(&alone.results("1"));

    let served = alone.beside();
    served.write("tree.yaml", &tree);
    served.sweep(&["submit", "tree.yaml"]).exits_with(0);
    let (_service, url) = serve(&served, &["--lease", "5"]);
    let [one, other] = [served.node(&url), served.node(&url)];
    // The trunk on one; its branches on the other, which dies in the middle of them; the rest on the first one again.
    one.sweep(&["worker", "--max-jobs", "1", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(files(&served).len(), 1, "the trunk's state is where everybody finds it");
    let mut dying = other.start(&["worker", "--cpu-slots", "2"]);
    served.wait_for_status("a trial's end", |status| {
        status["sweeps"][0]["trials"]["succeeded"].as_u64() >= Some(1)
    });
    let victims = [other.processes("sweep-worker"), other.processes("sweep-trainer")].concat();
    signal("KILL", dying.pid());
    victims.iter().for_each(|victim| signal("KILL", *victim));
    assert_eq!(dying.exit_code(), None);
    one.sweep(&["worker", "--until-drained", "--cpu-slots", "2"]).exits_with(0);

    assert_eq!(stable(&served.results("1")), expected);
    // Every state of every trial is there, byte for byte: files are named by what they contain.
    wait_until("the files that are kept", || files(&served) == files(&alone));
    served.sweep(&["doctor"]).exits_with(0);
    let log = served.sweep(&["logs", "1", "1"]).exits_with(0);
    assert!(log.stdout().contains("goes on from a checkpoint"), "{}", log.stdout());
    for node in [&one, &other] {
        assert_eq!(files(node), Vec::<String>::new(), "copies lie in a folder of their own");
        assert!(std::fs::read_dir(node.path(".sweep/cache")).unwrap().count() > 1);
    }
}

/// Names of the checkpoints that are there and complete.
fn files(project: &Project) -> Vec<String> {
    let files = std::fs::read_dir(project.path(".sweep/artifacts")).into_iter().flatten().flatten();
    let mut names: Vec<_> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.len() > 64);
    names.sort();
    names
}

#[test]
fn a_later_sweep_joins_what_was_trained_before() {
    let project = project_with_sample();
    let spec = "parameters: {dataset: cifar10-sample, width: 1, epochs: 3, eval_every: 3, lr_steps: []}\n";
    project.write("first.yaml", spec);
    project.sweep(&["run", "first.yaml"]).exits_with(0);
    project.write("more.yaml", spec);
    // One epoch more, after a last epoch that is evaluated in both; and the same trial once more.
    let overrides = ["epochs=3,4"];
    let submitted = project.sweep(&[&["submit", "more.yaml", "--json"], &overrides[..]].concat()).json();
    assert_eq!(submitted["trials_reused"], 1, "{submitted}");
    assert_eq!(submitted["epochs_to_run"], 1, "{submitted}");
    project.sweep(&["worker", "--until-drained"]).exits_with(0);
    let audit = project.sweep(&["audit", "2", "--json"]).json();
    assert_eq!(audit["same"], true, "{audit}");
}

/// Networks of three seeds, and students of two of them.
const TEACHERS: &str = "\
name: seed-ensemble
seeds: 3
keep: none
parameters: {dataset: cifar10-sample, width: 2, epochs: 1, lr_steps: []}
";
const STUDENTS: &str = "\
name: ensemble-distill
parameters: {dataset: cifar10-sample, width: 1, epochs: 2, eval_every: 2, lr_steps: [[], [1]], method: kd, teacher: checkpoint,
  loss_weight: 0.9, ce_weight: 0.1, teachers: [{sweep: seed-ensemble, seeds: [0, 2]}]}
";

#[test]
fn students_wait_for_the_trials_that_teach_them_and_are_audited_with_them() {
    let project = project_with_sample();
    project.write("teachers.yaml", TEACHERS);
    project.write("students.yaml", STUDENTS);
    let refused = project.sweep(&["submit", "students.yaml"]).exits_with(2);
    assert!(refused.stderr().contains("there is no sweep `seed-ensemble`"), "{}", refused.stderr());
    assert!(!project.has_state());
    // Under its name it is found beside.
    project.write("seed-ensemble.yaml", TEACHERS);
    let plan = project.sweep(&["expand", "students.yaml", "--json"]).json();
    let selected = &plan["selected"][0];
    assert_eq!((&selected["trials"], &selected["unfinished"]), (&json!([1, 3]), &2.into()), "{plan}");
    assert_eq!(plan["expansion"][0]["parameters"]["teachers"], selected["weights"]);
    assert_eq!(plan["epochs_to_run"], 1 + 2 + 2, "{plan}");
    assert!(!project.has_state());

    let run = project.sweep(&["run", "students.yaml", "--cpu-slots", "2"]).exits_with(0);
    let told = "{sweep: \"seed-ensemble\", seeds: [0, 2]}: trials 1, 3 of sweep 1, of which 2 have yet to be trained";
    assert!(run.stderr().contains(told), "{}", run.stderr());
    let of_teachers = stable(&project.results("1"));
    let left = of_teachers.iter().filter(|trial| trial["state"] == "queued").map(|trial| &trial["trial"]);
    assert_eq!(left.collect::<Vec<_>>(), [&json!(2)], "only what teaches was trained");
    assert!(stable(&project.results("2")).iter().all(|trial| trial["metrics"]["aux_loss"].is_f64()));
    // The students' last ones: those of their teachers went with the last reader.
    assert_eq!(checkpoints(&project), 2);

    // The teachers are gone, so that nobody can be trained again as the students were.
    let gone = project.sweep(&["audit", "2"]).exits_with(1);
    assert!(gone.stderr().contains("which taught, are gone"), "{}", gone.stderr());
    // Whoever reads them has them trained again, and a sweep that keeps them keeps them then.
    project.write(
        "kept.yaml",
        &TEACHERS.replace("keep: none", "name: kept").replace("name: seed-ensemble\n", ""),
    );
    project.sweep(&["run", "kept.yaml", "--cpu-slots", "2"]).exits_with(0);
    let best = STUDENTS
        .replace("{sweep: seed-ensemble, seeds: [0, 2]}", "{sweep: kept, where: {width: 2}, best: 3}");
    project.write("best.yaml", &best);
    project.sweep(&["run", "best.yaml", "--cpu-slots", "2"]).exits_with(0);
    let audit = project.sweep(&["audit", "4", "--trials", "2", "--json"]).json();
    assert_eq!(audit["same"], true, "{audit}");
}

#[test]
fn the_best_state_of_a_trial_is_a_file_that_can_teach() {
    let project = project_with_sample();
    let spec = "parameters: {dataset: cifar10-sample, width: 1, epochs: 3, eval_every: 1, lr_steps: []}\n";
    project.write("every.yaml", &format!("keep: all\n{spec}"));
    project.sweep(&["run", "every.yaml"]).exits_with(0);
    let kept_of =
        |sweep: &str| project.results(sweep)["results"][0]["checkpoints"].as_array().unwrap().clone();
    let kept = kept_of("1");
    let epochs: Vec<_> = kept.iter().map(|kept| kept["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [1, 2, 3]);
    let file = |kept: &Value| {
        project.path(&format!(".sweep/artifacts/{}.safetensors", kept["hash"].as_str().unwrap()))
    };
    assert!(kept.iter().all(|kept| file(kept).is_file()), "{kept:?}");

    project.sweep(&["run", "every.yaml", "keep=best", "lr=0.05"]).exits_with(0);
    let kept = kept_of("2");
    let best = kept
        .iter()
        .max_by(|a, b| a["value"].as_f64().unwrap().total_cmp(&b["value"].as_f64().unwrap()))
        .unwrap();
    assert_eq!(kept.last().unwrap()["epoch"], 3, "{kept:?}");
    assert!(kept.len() <= 2 && kept.iter().all(|kept| file(kept).is_file()), "{kept:?}");
    assert_eq!(checkpoints(&project), 3 + kept.len());

    let teacher = format!("teachers=[{}]", best["hash"].as_str().unwrap());
    let taught = ["method=kd", "teacher=checkpoint", "loss_weight=1", "epochs=1", "keep=none", &teacher];
    project.sweep(&[&["run", "every.yaml"], &taught[..]].concat()).exits_with(0);
    project.sweep(&["doctor"]).exits_with(0);
    std::fs::remove_file(file(&kept_of("1")[0])).unwrap();
    let doctor = project.sweep(&["doctor"]).exits_with(1);
    assert!(doctor.stdout().contains(kept_of("1")[0]["hash"].as_str().unwrap()), "{}", doctor.stdout());
}

/// How many of them there are.
fn checkpoints(project: &Project) -> usize {
    files(project).len()
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

const EXPORTED: &str = "\
name: exported
keep: all
parameters: {dataset: cifar10-sample, width: 2, epochs: 2, eval_every: 1, lr_steps: [1], method: kd, teacher: ema, ema_ratio: 0.3,
  method_start: 0, method_every: 1, loss_weight: 1, eval_weights: average}
";

/// Prints the accuracy of each network on a split.
const ACCURACY: &str = r"
import sys
import torch
from resnet import load, read

split, _ = read(sys.argv[1])
images, labels = split['images'], split['labels']
for file in sys.argv[2:]:
    network, prepare = load(file)
    with torch.no_grad():
        found = torch.cat([network(prepare(images[at:at + 256])).argmax(1) for at in range(0, len(labels), 256)])
    print(100 * (found == labels).sum().item() / len(labels))
";

#[test]
fn pytorch_loads_an_exported_network_and_measures_what_the_table_has() {
    let project = project_with_sample();
    project.write("exported.yaml", EXPORTED);
    project.sweep(&["run", "exported.yaml", "--cpu-slots", "1"]).exits_with(0);
    let export = |file: &str, more: &str| {
        let arguments = format!("export checkpoint last 1 -o {file} {more}");
        project.sweep(&arguments.split_whitespace().collect::<Vec<_>>())
    };
    export("last.safetensors", "").exits_with(0);
    export("reference.safetensors", "--network reference").exits_with(0);
    let said = export("first.safetensors", "--epoch 1").exits_with(0).stderr();
    assert_eq!(said, "`first.safetensors`: trial 1 of sweep 1 after epoch 1\n");

    let document = include_str!("../docs/PYTORCH.md");
    for name in ["resnet.py", "logits.py"] {
        let program = document.split(&format!("```python\n# {name}\n")).nth(1).unwrap();
        project.write(name, program.split("```").next().unwrap());
    }
    project.write("accuracy.py", ACCURACY);
    let split = project.path("data/sweep/datasets/cifar10-sample/test.safetensors");
    let files = ["last.safetensors", "reference.safetensors", "first.safetensors"];
    let printed = python(&project, &[&["accuracy.py", split.to_str().unwrap()], &files[..]].concat());
    let measured: Vec<f64> = printed.lines().map(|line| line.parse().unwrap()).collect();
    let metrics = |epoch: &str| {
        let found = project.sweep(&["results", "last", "--json", "--epoch", epoch]).json();
        found["results"][0]["metrics"].clone()
    };
    let (last, first) = (metrics("2"), metrics("1"));
    for (measured, reported) in measured.iter().zip([&last["top1"], &last["ema_top1"], &first["top1"]]) {
        // Sums in another order may turn an image over whose two best classes are equally good.
        let images = (measured - reported.as_f64().unwrap()).abs() * 10.0;
        assert!(images < 1.5, "{measured} {reported}");
    }
    std::fs::rename(project.path("last.safetensors"), project.path("trial.safetensors")).unwrap();
    assert_eq!(python(&project, &["logits.py"]), "torch.Size([2, 10])\n");

    // Through a coordinator the file comes over HTTP, and has the same bytes. It takes the place of one that is there.
    let (_service, url) = serve(&project, &[]);
    let elsewhere = project.elsewhere(&url);
    elsewhere.write("far.safetensors", "something else");
    elsewhere.sweep(&["export", "checkpoint", "exported", "last", "-o", "far.safetensors"]).exits_with(0);
    let bytes = |project: &Project, name: &str| std::fs::read(project.path(name)).unwrap();
    assert!(bytes(&elsewhere, "far.safetensors") == bytes(&project, "trial.safetensors"));

    for (arguments, code, why) in [
        ("exported 2 -o x", 2, "sweep 1 has no trial 2"),
        ("exported 1 -o x --epoch 3", 2, "there are those after epochs 1, 2"),
        ("unknown 1 -o x", 2, "there is no sweep `unknown`"),
        ("exported 1 -o missing/x", 1, "`"),
    ] {
        let arguments: Vec<&str> = ["export", "checkpoint"].into_iter().chain(arguments.split(' ')).collect();
        let refused = project.sweep(&arguments).exits_with(code);
        assert!(refused.stderr().contains(why), "{}", refused.stderr());
        assert!(!project.path("x").exists());
    }
}

/// What a program says that is run with the PyTorch whose libtorch the trainer has.
fn python(project: &Project, arguments: &[&str]) -> String {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");
    let mut command = std::process::Command::new(python);
    let output = command.args(arguments).current_dir(project.folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn project_with_sample() -> Project {
    let project = Project::new();
    project.import_sample();
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
