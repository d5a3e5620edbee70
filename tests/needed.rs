//! A sweep that learns from the trials of another one, submitted with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use harness::{Project, serve};

/// Networks of three seeds, and a student of two of them.
const TEACHERS: &str =
    "name: teachers\nseeds: 3\nparameters: {dataset: cifar10-sample, width: 2, epochs: 1, lr_steps: []}\n";
const STUDENTS: &str = "\
name: students
parameters: {dataset: cifar10-sample, width: 1, epochs: 2, lr_steps: [], method: kd, teacher: checkpoint, loss_weight: 0.9, ce_weight: 0.1,
  teachers: [{sweep: teachers, seeds: [0, 2]}]}
";

#[test]
fn a_sweep_whose_trials_teach_is_submitted_with_the_one_that_learns() {
    let project = Project::new();
    project.write("teachers.yaml", TEACHERS);
    project.write("students.yaml", STUDENTS);
    let unknown = project.sweep(&["expand", "students.yaml"]).exits_with(0).stderr();
    assert!(unknown.contains("was not looked up: no dataset `cifar10-sample`"), "{unknown}");
    project.sweep(&["submit", "students.yaml"]).exits_with(2);
    project.import_sample();

    // Whatever is wrong is found before anything is stored.
    let in_place_of = |from: &str, to: &str| {
        project.write("wrong.yaml", &STUDENTS.replace(from, to));
        project.sweep(&["submit", "wrong.yaml"]).exits_with(2).stderr()
    };
    let none = in_place_of("[0, 2]", "[7]");
    assert!(none.contains("selects no trial of `teachers.yaml`"), "{none}");
    let best = in_place_of("seeds: [0, 2]", "best: 2");
    assert!(best.contains("`best` asks for its results: `sweep run teachers.yaml` first"), "{best}");
    project.write("misnamed.yaml", TEACHERS);
    let misnamed = in_place_of("sweep: teachers", "sweep: misnamed");
    assert!(misnamed.contains("`misnamed.yaml` is one of another name: `teachers`"), "{misnamed}");
    let circle =
        STUDENTS.replace("name: students", "name: circle").replace("sweep: teachers", "sweep: wrong");
    project.write("circle.yaml", &circle.replace(", seeds: [0, 2]", ""));
    project.write(
        "wrong.yaml",
        &STUDENTS.replace("name: students", "name: wrong").replace("sweep: teachers", "sweep: circle"),
    );
    let circle = project.sweep(&["submit", "wrong.yaml"]).exits_with(2).stderr();
    assert!(circle.contains("would have to teach itself"), "{circle}");
    project.sweep(&["submit", "students.yaml", "--plan"]).exits_with(0);
    assert!(!project.has_state());

    let first = project.sweep(&["submit", "students.yaml"]).exits_with(0);
    assert_eq!(first.stdout(), "2\n");
    assert!(
        first.stderr().contains("`teachers.yaml` is submitted first: sweep 1 `teachers`: 3 trials"),
        "{}",
        first.stderr()
    );
    let again = project.sweep(&["submit", "students.yaml"]).exits_with(0);
    assert!(
        again.stderr().contains("was there already") && !again.stderr().contains("first"),
        "{}",
        again.stderr()
    );

    // A coordinator elsewhere sees no files of this host.
    let service = Project::new();
    service.import_sample();
    let (_running, url) = serve(&service, &[]);
    let away = service.elsewhere(&url);
    away.write("teachers.yaml", TEACHERS);
    away.write("students.yaml", STUDENTS);
    assert_eq!(away.sweep(&["submit", "students.yaml"]).exits_with(0).stdout(), "2\n");
    let names: Vec<_> =
        away.status()["sweeps"].as_array().unwrap().iter().map(|sweep| sweep["name"].clone()).collect();
    assert_eq!(names, ["teachers", "students"]);
}
