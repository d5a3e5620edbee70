//! Static mode: where nodes reach no coordinator.

use std::fs;

use serde_json::Value;

use crate::cluster::{Cluster, line_of, logs, results_alone, serve};
use crate::harness::{Project, signal, stable, wait_until};
use crate::work::with_sample;

/// A hundred and thirty trials that note when they have been run to their end, and wait for a gate. None may be tried again.
const GRID: &str = r#"
name: "grid 'of' $(touch pwned)"
retries: 0
command: [sh, -c, 'while ! test -e gate-{{g}}; do sleep 0.1; done; echo {{g}}-{{x}} >> ends-{{g}}; echo "{\"loss\": {{g}}.{{x}}5}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {g: [1, 2], x: {min: 1, max: 65, distribution: int_uniform, step: 1}}
"#;

/// The same with a list, for grids take no ranges.
fn grid() -> String {
    let all: Vec<String> = (1..=65).map(|x| x.to_string()).collect();
    let (head, _) = GRID.split_once("x: {min").unwrap();
    format!("{head}x: [{}]}}\n", all.join(", "))
}

fn ingest(project: &Project, export: &str) -> Value {
    project.sweep(&["ingest", &format!(".sweep/exports/{export}"), "--json"]).json()
}

fn jobs_of(printed: &str) -> Vec<String> {
    printed.lines().map(str::to_owned).collect()
}

fn ends(project: &Project) -> Vec<String> {
    let text = project.read("ends-1") + &project.read("ends-2");
    let mut ends: Vec<String> = text.lines().map(str::to_owned).collect();
    ends.sort();
    ends
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn more_trials_than_an_array_holds_interrupted_ingested_and_what_is_missing_run_again() {
    let cluster = Cluster::up("static", &[("MAX_ARRAY", "20")]);
    let project = cluster.project();
    project.write("grid.yaml", &grid());
    let asked = ["--cpus-per-task", "2", "--mem", "200M", "--time", "30", "--set", "no-requeue"];
    let made =
        project.sweep(&[&["slurm", "grid.yaml", "--static", "--submit"], &asked[..]].concat()).exits_with(0);
    let jobs = jobs_of(&made.stdout());
    assert_eq!(jobs.len(), 7, "six arrays of twenty and one of ten: {}", made.stderr());
    let export = fs::read_dir(project.path(".sweep/exports")).unwrap().next().unwrap().unwrap().file_name();
    let export = export.to_str().unwrap();

    // While jobs run, those that are done are brought in, again and again, and the rest is said to be missing.
    project.write("gate-1", "");
    wait_until("the first half", || project.read("ends-1").lines().count() == 65);
    wait_until("the first half in the table", || ingest(&project, export)["done"] == 65);
    let (first, second) = (ingest(&project, export), ingest(&project, export));
    assert_eq!((&first["done"], &first["jobs"], &first["failed"]), (&65.into(), &130.into(), &0.into()));
    assert_eq!(first["done"], second["done"]);
    project.sweep(&["doctor"]).exits_with(0);
    let status = project.status();
    assert_eq!(status["sweeps"][0]["trials"]["succeeded"], 65, "{status}");
    let refused = project.sweep(&["slurm", "1", "--static", "--missing"]).exits_with(2);
    assert!(
        refused.stderr().contains("not ended") && refused.stderr().contains("scancel"),
        "{}",
        refused.stderr()
    );
    let held = project.sweep(&["slurm", "1", "--static"]).exits_with(2);
    assert!(held.stderr().contains(&format!("held by export {export}")), "{}", held.stderr());

    // All of it is interrupted, some of it in the middle of a record.
    let arguments: Vec<&str> = ["scancel"].into_iter().chain(jobs.iter().map(String::as_str)).collect();
    cluster.ask(&arguments);
    jobs.iter().for_each(|job| cluster.wait_for_end(job));
    let torn = project.path(&format!(".sweep/exports/{export}/spool/0-0-1.frames"));
    let whole = fs::read(&torn).unwrap();
    fs::write(&torn, [&whole[..], b"\x10\0\0\0half a rec"].concat()).unwrap();
    let ended = ingest(&project, export);
    assert_eq!(ended["done"], 65, "{ended}");
    assert_eq!(ended["unread"][0]["is_torn"], true, "{ended}");
    let left = ended["missing"].as_u64().unwrap() + ended["begun"].as_u64().unwrap();
    assert_eq!(left, 65, "{ended}");

    // What is missing, and nothing else, goes into arrays of its own.
    project.write("gate-2", "");
    let again = project
        .sweep(&[&["slurm", "1", "--static", "--missing", "--submit"], &asked[..]].concat())
        .exits_with(0);
    let jobs = jobs_of(&again.stdout());
    assert_eq!(jobs.len(), 4, "three arrays of twenty and one of five: {}", again.stderr());
    jobs.iter().for_each(|job| cluster.wait_for_end(job));
    let next = fs::read_dir(project.path(".sweep/exports")).unwrap();
    let next =
        next.map(|entry| entry.unwrap().file_name().into_string().unwrap()).find(|name| name != export);
    let done = ingest(&project, &next.unwrap());
    assert_eq!((&done["done"], &done["jobs"]), (&65.into(), &65.into()), "{done}\n{}", logs(&project));
    let late = project.sweep(&["ingest", &format!(".sweep/exports/{export}")]).exits_with(0);
    assert!(late.stderr().contains("given up"), "{}", late.stderr());

    let ends = ends(&project);
    let mut once = ends.clone();
    once.dedup();
    assert_eq!((ends.len(), once.len()), (130, 130), "each was run to its end once");
    let alone = project.beside();
    alone.write("gate-1", "");
    alone.write("gate-2", "");
    assert_eq!(stable(&project.results("1")), results_of_run(&alone, &grid()));
    project.sweep(&["doctor"]).exits_with(0);
    assert!(!project.path("pwned").exists());
}

fn results_of_run(project: &Project, spec: &str) -> Vec<Value> {
    project.write("grid.yaml", spec);
    project.sweep(&["run", "grid.yaml", "--quiet"]).exits_with(0);
    stable(&project.results("1"))
}

/// Programs in three stages: each adds a line to what the one before has saved, and reports how many there are. It notes each of its
/// runs, so that it is seen that equal beginnings are run once.
const STAGED: &str = r#"
name: staged
retries: 0
stages:
  - {until: 2, parameters: [a]}
  - {until: 4, parameters: [a, b]}
  - {until: 6}
command: [sh, -c, 'set -e; if test -n "$SWEEP_LOAD"; then cat "$SWEEP_LOAD" > "$SWEEP_SAVE"; fi;
  echo "$SWEEP_FIRST_EPOCH {{a}}{{b}}{{c}}" >> runs; echo "{{a}}{{b}}{{c}}" >> "$SWEEP_SAVE";
  echo "{\"epoch\": $SWEEP_LAST_EPOCH, \"loss\": $(cat "$SWEEP_SAVE" | wc -l)}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters: {a: [1], b: [1, 2], c: [1, 2, 3]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_stage_tree_is_an_array_for_each_depth_and_gives_the_numbers_of_a_run() {
    let cluster = Cluster::up("static-tree", &[]);
    let project = cluster.project();
    project.write("staged.yaml", STAGED);
    let asked = ["--cpu-slots", "1", "--mem", "200M", "--time", "30", "--jobs-per-task", "2"];
    // By hand: what is printed submits all of them.
    let made =
        project.sweep(&[&["slurm", "staged.yaml", "--static", "-o", "submit.sh"], &asked[..]].concat());
    let made = made.exits_with(0);
    assert!(made.stderr().contains("9 jobs in 5 tasks and 3 arrays"), "{}", made.stderr());
    let jobs = jobs_of(&cluster.ask(&["bash", project.path("submit.sh").to_str().unwrap()]));
    assert_eq!(jobs.len(), 3);
    jobs.iter().for_each(|job| cluster.wait_for_end(job));
    let export = fs::read_dir(project.path(".sweep/exports")).unwrap().next().unwrap().unwrap().file_name();
    let done = ingest(&project, export.to_str().unwrap());
    assert_eq!((&done["done"], &done["jobs"]), (&9.into(), &9.into()), "{done}\n{}", logs(&project));
    assert_eq!(project.read("runs").lines().count(), 9, "equal beginnings are run once");
    assert_eq!(stable(&project.results("1")), results_alone(&project, "staged.yaml", STAGED));
    project.sweep(&["doctor"]).exits_with(0);
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn slurm_and_shellcheck_take_the_scripts_and_nothing_is_half_submitted() {
    let cluster = Cluster::up("static-scripts", &[("MAX_ARRAY", "20")]);
    let project = cluster.project();
    project.write("grid.yaml", &grid());
    let made = project
        .sweep(&["slurm", "grid.yaml", "--static", "--time", "3:30:00", "--max-running", "4"])
        .exits_with(0);
    let export = fs::read_dir(project.path(".sweep/exports")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(made.stdout(), fs::read_to_string(export.join("submit.sh")).unwrap());
    for name in ["submit.sh", "array-0-0.sh", "array-0-120.sh"] {
        let path = export.join(name);
        for check in [&["bash", "-n"][..], &["shellcheck"], &["sbatch", "--test-only"]] {
            if name.starts_with("array") || check[0] != "sbatch" {
                cluster.ask(&[check, &[path.to_str().unwrap()]].concat());
            }
        }
    }
    for (option, words) in [
        ("--workers=3", "a task for every job"),
        ("--coordinator=job", "no coordinator can be reached"),
        ("--coordinator-profile=cpu", "no coordinator is started"),
    ] {
        let refused = project.sweep(&["slurm", "1", "--static", option]).exits_with(2);
        assert!(refused.stderr().contains(words), "{}", refused.stderr());
    }
    // The first array is refused: Slurm then has none of them, and the jobs are everybody's again.
    let refused = project.sweep(&[
        "slurm",
        "1",
        "--static",
        "--missing",
        "--submit",
        "--partition",
        "nope",
        "--time",
        "10",
    ]);
    let refused = refused.exits_with(1);
    assert!(refused.stderr().contains("invalid partition specified: nope"), "{}", refused.stderr());
    assert_eq!(cluster.ask(&["squeue", "--noheader"]), "");
    let status = project.status();
    assert_eq!(status["sweeps"][0]["trials"]["queued"], 130, "{status}");
    assert!(!project.path("pwned").exists());
}

/// Trials that note their beginnings and ends, and wait for a gate each.
const GATED: &str = r#"
name: gated
retries: 0
command: [sh, -c, 'echo {{x}} >> begun; while ! test -e gate-{{x}}; do sleep 0.05; done; echo {{x}} >> ends']
parameters: {x: [1, 2, 3]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_task_that_slurm_starts_again_does_what_is_left_and_one_whose_time_is_over_ends_in_order() {
    let cluster = Cluster::up("static-again", &[("NODES", "1")]);
    let project = cluster.project();
    project.write("gated.yaml", GATED);
    project.write("gate-1", "");
    let asked = ["--cpu-slots", "1", "--mem", "200M", "--time", "30", "--jobs-per-task", "3"];
    let made =
        project.sweep(&[&["slurm", "gated.yaml", "--static", "--submit"], &asked[..]].concat()).exits_with(0);
    let job = made.stdout().trim().to_owned();
    wait_until("the second trial", || project.read("begun") == "1\n2\n");
    cluster.ask(&["scontrol", "requeue", &format!("{job}_0")]);
    wait_until("the second trial, again", || project.read("begun") == "1\n2\n2\n");
    // The warning before the time limit goes to the script alone.
    cluster.ask(&["scancel", "--batch", "--signal=USR1", &job]);
    cluster.wait_for_end(&job);
    let [ended] = &cluster.tasks(&job)[..] else { panic!("{}", logs(&project)) };
    assert_eq!((ended.state.as_str(), ended.exit_code.as_str()), ("COMPLETED", "0:0"), "{}", logs(&project));
    let export = fs::read_dir(project.path(".sweep/exports")).unwrap().next().unwrap().unwrap().file_name();
    let left = ingest(&project, export.to_str().unwrap());
    assert_eq!(
        (&left["done"], &left["begun"], &left["missing"]),
        (&1.into(), &0.into(), &2.into()),
        "{left}"
    );

    project.write("gate-2", "");
    project.write("gate-3", "");
    let again = project
        .sweep(&[&["slurm", "1", "--static", "--missing", "--submit"], &asked[..]].concat())
        .exits_with(0);
    cluster.wait_for_end(again.stdout().trim());
    let nothing = project.sweep(&["slurm", "1", "--static", "--missing"]).exits_with(0);
    assert!(
        nothing.stderr().contains("2 jobs, 2 done, 0 failed, 0 begun, 0 missing"),
        "{}",
        nothing.stderr()
    );
    assert!(nothing.stderr().contains("nothing is missing"), "{}", nothing.stderr());
    assert_eq!(project.read("ends"), "1\n2\n3\n");
    project.sweep(&["doctor"]).exits_with(0);
}

/// A network that another sweep's students learn from: their trunk, and the two that go on from it.
const TEACHER: &str = "\
name: teacher
parameters: {dataset: cifar10-sample, width: 1, epochs: 1, lr_steps: [], batch_size: 500}
";
const STUDENTS: &str = "\
name: students
parameters: {dataset: cifar10-sample, width: 1, epochs: 2, eval_every: 2, lr_steps: [[], [1]], batch_size: 500, method: kd,
  teacher: checkpoint, loss_weight: 0.9, ce_weight: 0.1, teachers: [{sweep: teacher}]}
";

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn networks_that_others_teach_and_go_on_from_have_the_bits_of_a_run() {
    let cluster = Cluster::up("static-trained", &[]);
    let project = cluster.adopt(with_sample());
    let alone = project.beside();
    for project in [&project, &alone] {
        project.write("teacher.yaml", TEACHER);
        project.write("students.yaml", STUDENTS);
        project.sweep(&["submit", "teacher.yaml"]).exits_with(0);
    }
    // What they need of the other sweep is exported with them.
    let asked = ["--cpu-slots", "1", "--mem", "1G", "--time", "30", "--jobs-per-task", "2"];
    let made = project
        .sweep(&[&["slurm", "students.yaml", "--static", "--submit"], &asked[..]].concat())
        .exits_with(0);
    assert!(made.stderr().contains("4 jobs in 3 tasks and 3 arrays"), "{}", made.stderr());
    alone.sweep(&["run", "students.yaml", "--quiet", "--cpu-slots", "1"]).exits_with(0);
    jobs_of(&made.stdout()).iter().for_each(|job| cluster.wait_for_end(job));
    let done = ingest(&project, &only_export(&project));
    assert_eq!((&done["done"], &done["jobs"]), (&4.into(), &4.into()), "{done}\n{}", logs(&project));
    for sweep in ["1", "2"] {
        let results = stable(&project.results(sweep));
        assert_eq!(results, stable(&alone.results(sweep)));
        assert!(results.iter().all(|trial| trial["metrics"]["top1"].is_f64()), "{results:?}");
    }
    project.sweep(&["doctor"]).exits_with(0);
    // Files are named by what they contain. (What nobody needs any more goes with the next coordinator.)
    let (here, there) = (weights(&project), weights(&alone));
    let kept = there.iter().filter(|name| here.contains(name)).count();
    assert!(kept >= 3, "of the teacher and its students: {here:?} {there:?}");
}

fn weights(project: &Project) -> Vec<String> {
    let entries = fs::read_dir(project.path(".sweep/artifacts")).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The only one there is.
fn only_export(project: &Project) -> String {
    let mut entries = fs::read_dir(project.path(".sweep/exports")).unwrap();
    let export = entries.next().unwrap().unwrap().file_name().into_string().unwrap();
    assert!(entries.next().is_none());
    export
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn an_export_is_made_brought_in_and_outlived_by_a_coordinator_that_does_other_work_meanwhile() {
    let cluster = Cluster::up("static-served", &[]);
    let project = cluster.project();
    project.write("staged.yaml", STAGED);
    let first = serve(&project, "2");
    let asked = ["--cpu-slots", "1", "--mem", "200M", "--time", "30", "--jobs-per-task", "9"];
    let made = project
        .sweep(&[&["slurm", "staged.yaml", "--static", "--submit"], &asked[..]].concat())
        .exits_with(0);
    let jobs = jobs_of(&made.stdout());
    let export = only_export(&project);
    // Its leases outlive whoever made them, and a worker of the next coordinator gets none of its jobs.
    signal("KILL", first.pid());
    drop(first);
    fs::remove_file(project.path(".sweep/coordinator.json")).unwrap();
    let _second = serve(&project, "2");
    project.write(
        "other.yaml",
        "name: other\ncommand: [sh, -c, 'echo {{x}} >> others']\nparameters: {x: [1, 2, 3]}\n",
    );
    project.sweep(&["submit", "other.yaml"]).exits_with(0);
    project.sweep(&["worker", "--cpu-slots", "1", "--idle-timeout", "1s"]).exits_with(0);
    assert_eq!(project.read("others").lines().count(), 3);
    jobs.iter().for_each(|job| cluster.wait_for_end(job));
    assert_eq!(project.status()["sweeps"][0]["trials"]["succeeded"], 0);
    let done = ingest(&project, &export);
    assert_eq!((&done["done"], &done["jobs"]), (&9.into(), &9.into()), "{done}\n{}", logs(&project));
    assert_eq!(ingest(&project, &export), done, "again the same");
    let nothing = project.sweep(&["slurm", "1", "--static", "--missing"]).exits_with(0);
    assert!(nothing.stderr().contains("nothing is missing"), "{}", nothing.stderr());
    assert_eq!(project.read("runs").lines().count(), 9, "nothing was done twice");
    assert_eq!(stable(&project.results("1")), results_alone(&project, "staged.yaml", STAGED));
    project.sweep(&["doctor"]).exits_with(0);
}

/// Trials that note their beginnings and ends and wait for a gate each, and have a result.
const PAIRS: &str = r#"
name: pairs
retries: 0
command: [sh, -c, 'echo {{x}} >> begun; while ! test -e gate-{{x}}; do sleep 0.05; done; echo "{\"loss\": {{x}}.5}" >> "$SWEEP_REPORT"; echo {{x}} >> ends']
metric: {name: loss, goal: minimize}
parameters: {x: [1, 2, 3, 4, 5, 6]}
"#;

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_task_killed_without_a_word_and_a_node_lost_cost_what_was_under_way_and_no_more() {
    let cluster = Cluster::up("static-lost", &[]);
    let project = cluster.project();
    project.write("pairs.yaml", PAIRS);
    (1..=6).step_by(2).for_each(|x| project.write(&format!("gate-{x}"), ""));
    let asked = ["--cpu-slots", "1", "--mem", "200M", "--time", "30", "--jobs-per-task", "2"];
    let made =
        project.sweep(&[&["slurm", "pairs.yaml", "--static", "--submit"], &asked[..]].concat()).exits_with(0);
    let job = made.stdout().trim().to_owned();
    let export = only_export(&project);
    // Each task has done its first trial and waits in its second.
    wait_until("three trials under way", || project.read("begun").lines().count() == 6);

    // The agent, its trial and Slurm's own process for the task, all at once.
    let [agent] = project
        .processes("sweep-worker")
        .into_iter()
        .filter(|pid| line_of(*pid).contains("--task 0-0 "))
        .collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    let trials = project.processes("sh").into_iter().filter(|pid| line_of(*pid).contains("echo 2 >> begun"));
    let running = cluster.running(&job);
    let step = cluster.stepd(running.iter().find(|task| task.name.ends_with("_0")).unwrap());
    trials.chain([agent, step]).for_each(|pid| signal("KILL", pid));

    // Slurm begins what ran on the node anew, elsewhere.
    let on_node = cluster.running(&job).into_iter().find(|task| task.name.ends_with("_1")).unwrap();
    let node = format!("nodename={}", on_node.node);
    for state in ["state=drain", "state=down"] {
        cluster.ask(&["scontrol", "update", &node, state, "reason=test"]);
    }
    wait_until("the fourth trial again", || count(&project.read("begun"), "4") == 2);
    let first = ingest(&project, &export);
    assert_eq!((&first["done"], &first["failed"]), (&3.into(), &0.into()), "{first}");
    project.write("gate-4", "");
    project.write("gate-6", "");
    wait_until("two more ends", || ingest(&project, &export)["done"] == 5);
    // What Slurm has lost itself runs for ever by its account.
    cluster.ask(&["scancel", &job]);
    cluster.wait_for_end(&job);

    project.write("gate-2", "");
    let again = project
        .sweep(&[&["slurm", "1", "--static", "--missing", "--submit"], &asked[..]].concat())
        .exits_with(0);
    assert!(again.stderr().contains("6 jobs, 5 done, 0 failed"), "{}", again.stderr());
    assert!(again.stderr().contains("1 job in 1 task"), "{}", again.stderr());
    cluster.wait_for_end(again.stdout().trim());
    let last = fs::read_dir(project.path(".sweep/exports")).unwrap();
    let mut last = last.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let last = last.find(|name| *name != export).unwrap();
    assert_eq!(ingest(&project, &last)["done"], 1, "{}", logs(&project));
    let (begun, ends) = (project.read("begun"), project.read("ends"));
    for x in 1..=6 {
        let x = x.to_string();
        assert_eq!(count(&ends, &x), 1, "{x}: {ends}");
        assert!(
            x.parse::<u32>().unwrap() % 2 == 0 || count(&begun, &x) == 1,
            "what was done is not done again: {begun}"
        );
    }
    assert_eq!(stable(&project.results("1")), {
        let alone = project.beside();
        (1..=6).for_each(|x| alone.write(&format!("gate-{x}"), ""));
        alone.write("pairs.yaml", PAIRS);
        alone.sweep(&["run", "pairs.yaml", "--quiet"]).exits_with(0);
        stable(&alone.results("1"))
    });
    project.sweep(&["doctor"]).exits_with(0);
}

fn count(lines: &str, wanted: &str) -> usize {
    lines.lines().filter(|line| *line == wanted).count()
}
