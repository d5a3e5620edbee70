//! Tables, analysis and checks with the real programs, on the local table and through a coordinator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use harness::{Project, serve, wait_until};
use serde_json::{Value, json};

/// Twelve configurations, two seeds each; `b` does nothing to the loss, and the last one of all fails for seed 1.
const GRID: &str = r#"
name: grid
command: [python3, grid.py]
metric: {name: top1, goal: maximize}
retries: 0
seeds: 2
parameters:
  a: [1, 2, 3]
  b: [x, y]
  c: [0.5, 0.25]
"#;

const PROGRAM: &str = r#"
import json, os, sys
p, seed = json.loads(os.environ["SWEEP_PARAMS"]), int(os.environ["SWEEP_SEED"])
if p == {"a": 3, "b": "y", "c": 0.25} and seed == 1 and not os.path.exists("mended"):
    sys.exit(3)
with open(os.environ["SWEEP_REPORT"], "a") as report:
    for epoch in range(1, 5):
        top1 = 80 + 3 * p["a"] + (p["b"] == "y") + 4 * p["c"] - (epoch - 3) ** 2 + seed / 4
        values = {"epoch": epoch, "top1": top1, "rankme": 40 - p["a"] * epoch, "train_loss": 1 / (p["a"] + p["c"] + epoch + seed)}
        print(json.dumps(values), file=report)
"#;

const PUBLISHED: &str = "a,c,metric,value,source,variant\n1,0.5,top1,84.2,table 1,\n3,0.5,top1,60,table 1,their own\n9,0.5,top1,60,t,\n";

/// A project in which the grid has been run.
fn project() -> Project {
    let project = Project::new();
    project.write("grid.yaml", GRID);
    project.write("grid.py", PROGRAM);
    project.write("their.csv", PUBLISHED);
    let run = project.sweep(&["run", "grid.yaml"]).exits_with(1);
    assert!(run.stderr().contains("warning: `b` changes nothing in training"), "{}", run.stderr());
    project
}

/// What a command says on both channels.
fn said(project: &Project, arguments: &str, code: i32) -> String {
    let finished = project.sweep(&arguments.split(' ').collect::<Vec<_>>()).exits_with(code);
    format!("$ sweep {arguments}\n{}{}\n", finished.stdout(), finished.stderr())
}

const COMMANDS: [(&str, i32); 17] = [
    ("results grid", 0),
    ("results 1 --metric rankme --top 2 --where b=x", 0),
    ("results last --columns c,a,n,trials,train_loss --sort a:desc --where seed=0,c=0.5", 0),
    ("results grid --metric top1 --epoch best --top 1", 0),
    ("results grid --metric top1 --epoch 1 --top 1", 0),
    ("results grid --pivot a,b+c --metric top1", 0),
    ("results grid --pivot a,b --metric rankme --where c=0.5 --format markdown", 0),
    ("results grid --pivot a,c --metric top1 --where b=x --reference their.csv", 0),
    ("results grid --metric top1 --where b=x,a=1,3 --reference their.csv --format latex", 0),
    ("results grid --metric top1 --where a=1,b=x --format csv", 0),
    ("analyze grid --metric top1 --correlate rankme,top1 --given a", 0),
    ("results grid --metric top_1", 2),
    ("results grid --columns aa", 2),
    ("results grid --epoch 9", 2),
    ("results grid --epoch first", 2),
    ("results grid --pivot a", 2),
    ("analyze grid --given d", 2),
];

#[test]
fn results_are_shown_alike_on_the_local_table_and_through_a_coordinator() {
    let project = project();
    let all = |project: &Project| -> String {
        COMMANDS.iter().map(|(arguments, code)| said(project, arguments, *code)).collect()
    };
    let locally = all(&project);
    insta::assert_snapshot!("results_commands", locally);
    let service = project.start(&["serve"]);
    wait_until("the service's address", || service.log().contains("coordinating"));
    assert_eq!(all(&project), locally);
}

#[test]
fn documents_of_results_and_analysis_keep_their_form() {
    let project = project();
    let mut document = project
        .sweep(&["results", "grid", "--json", "--where", "a=3,b=y", "--metric", "top1", "--pivot", "a,c"])
        .json();
    // Paths of this host stand in the log.
    document["results"].as_array_mut().unwrap().retain(|result| result["state"] == "succeeded");
    let code = document["code"].as_object_mut().unwrap().remove("hash").unwrap();
    assert_eq!(code.as_str().unwrap().len(), 64);
    insta::assert_json_snapshot!("results_document", document);
    let analysis = ["analyze", "grid", "--metric", "top1", "--json", "--where", "b=x"];
    insta::assert_json_snapshot!("analysis_document", project.sweep(&analysis).json());
}

#[test]
fn a_sweep_is_written_as_lines_of_json_locally_and_through_a_coordinator() {
    let project = project();
    let said = project.sweep(&["export", "grid", "--to", "jsonl", "-o", "all.jsonl"]).exits_with(0);
    // Four epochs of each of the 23 trials that reported something.
    assert_eq!(said.stdout(), "92 lines in all.jsonl\n");
    let text = project.read("all.jsonl");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 92);
    let second = json!({
        "sweep": 1, "trial": 1, "seed": 0, "configuration": lines[1]["configuration"], "state": "succeeded", "epoch": 2,
        "parameters": {"a": 1, "b": "x", "c": 0.5},
        "metrics": {"top1": 84.0, "rankme": 38.0, "train_loss": 1.0 / 3.5},
    });
    assert_eq!(lines[1], second);
    assert_eq!(lines[1]["configuration"].as_str().map(str::len), Some(16));
    let best = project.sweep(&["results", "grid", "--json", "--epoch", "3"]).json();
    for trial in best["results"].as_array().unwrap().iter().filter(|trial| trial["state"] == "succeeded") {
        let line = lines.iter().find(|line| line["trial"] == trial["trial"] && line["epoch"] == 3).unwrap();
        assert_eq!((&line["metrics"], &line["seed"]), (&trial["metrics"], &trial["seed"]));
    }

    let (_service, _) = serve(&project, &[]);
    let some = ["export", "grid", "--to", "jsonl", "-o", "-", "--where", "a=3,seed=1"];
    let printed = project.sweep(&some).exits_with(0).stdout();
    assert_eq!(printed.lines().count(), 4 * 3, "the fourth of these trials failed");
    assert!(printed.lines().all(|line| text.contains(line)), "{printed}");
    project.sweep(&["export", "grid", "--to", "jsonl", "-o", "missing/x"]).exits_with(1);
}

/// An MLflow server that takes everything and keeps the bodies of `runs/log-batch`; its address.
fn mlflow() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let batches = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&batches);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                let line = line.to_ascii_lowercase();
                length =
                    line.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if first.contains("runs/log-batch") {
                kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            }
            let answer = r#"{"experiment_id": "1", "run": {"info": {"run_id": "r"}}}"#;
            let length = answer.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{answer}"
            )
            .unwrap();
        }
    });
    (address, batches)
}

#[test]
fn names_that_are_one_in_mlflow_are_told_apart_there_and_the_same_in_every_run() {
    let project = Project::new();
    project.write(
        "named.yaml",
        "command: [python3, named.py]\nmetric: {name: acc_1, goal: maximize}\nparameters: {seed: [7, 8], x: 1}\n",
    );
    project.write(
        "named.py",
        r#"
import json, os
p = json.loads(os.environ["SWEEP_PARAMS"])
values = {"epoch": 1, "acc?1": 1, "acc_1": 2, "a/../b": 4}
if p["seed"] == 8:
    values["acc@1"] = 3
with open(os.environ["SWEEP_REPORT"], "a") as report:
    print(json.dumps(values), file=report)
"#,
    );
    project.sweep(&["run", "named.yaml", "--quiet"]).exits_with(0);
    let (address, batches) = mlflow();
    let said = project.sweep(&["export", "last", "--to", "mlflow", "-o", &address]).exits_with(0).stdout();
    for renamed in [
        "parameter `seed` is called `seed-2` there",
        "metric `acc?1` is called `acc_1-2` there",
        "metric `acc@1` is called `acc_1-3` there",
        "metric `a/../b` is called `a____b` there",
    ] {
        assert!(said.contains(renamed), "{renamed}: {said}");
    }
    assert_eq!(said.lines().count(), 5, "{said}");
    let sent = |batch: &Value, kind: &str| {
        let all = batch[kind].as_array().unwrap().iter();
        all.map(|one| (one["key"].as_str().unwrap().to_owned(), one["value"].clone())).collect::<Value>()
    };
    let batches = batches.lock().unwrap();
    assert_eq!(sent(&batches[0], "params"), json!({"seed": "0", "seed-2": "7", "x": "1"}));
    assert_eq!(sent(&batches[0], "metrics"), json!({"acc_1": 2.0, "acc_1-2": 1.0, "a____b": 4.0}));
    assert_eq!(
        sent(&batches[1], "metrics"),
        json!({"acc_1": 2.0, "acc_1-2": 1.0, "acc_1-3": 3.0, "a____b": 4.0})
    );
}

#[test]
fn a_programs_trial_has_no_network_to_export() {
    let project = project();
    let refusal = |trial: &str| {
        let arguments = format!("export checkpoint grid {trial} -o x");
        project.sweep(&arguments.split(' ').collect::<Vec<_>>()).exits_with(2).stderr()
    };
    assert!(refusal("1").contains("trial 1 of sweep 1 is a program's"), "{}", refusal("1"));
    assert!(
        refusal("state=failed").contains("has no last state: it is failed"),
        "{}",
        refusal("state=failed")
    );
    assert!(refusal("a=1").contains("a checkpoint is one trial's"), "{}", refusal("a=1"));
    assert!(!project.path("x").exists());
    // The two ways to export are told apart, and each says what it needs.
    project.sweep(&["export"]).exits_with(2);
    project.sweep(&["export", "grid"]).exits_with(2);
    project.sweep(&["export", "checkpoint", "grid", "1"]).exits_with(2);
}

/// `top1>88` keeps one seed of some configurations and drops the other.
#[test]
fn means_over_seeds_that_were_chosen_by_their_results_are_said_to_be_biased() {
    let project = project();
    let said = "`--where` leaves out seeds for what they reported, and means over the others are biased: a=2 b=y c=0.5 is without seed 0";
    for format in ["table", "markdown", "latex", "csv", "parquet", "json"] {
        let shown =
            project.sweep(&["results", "grid", "--where", "top1>88.1", "--format", format]).exits_with(0);
        assert!(shown.stderr().contains(&format!("warning: {said}\n")), "{format}: {}", shown.stderr());
        let is_in_file =
            String::from_utf8_lossy(&shown.output.stdout).contains("means over the others are biased");
        assert_eq!(is_in_file, ["markdown", "latex"].contains(&format), "{format}");
    }
    let document = project.sweep(&["results", "grid", "--where", "top1>88.1", "--json"]).json();
    let dropped =
        document["configurations"].as_array().unwrap().iter().filter_map(|one| one.get("dropped_seeds"));
    assert_eq!(dropped.collect::<Vec<_>>(), [&serde_json::json!([0])]);
    project.sweep(&["report", "grid", "--where", "top1>88.1", "-o", "report.html"]).exits_with(0);
    assert!(project.read("report.html").contains("means over the others are biased"));
    // Seeds and parameters are chosen before anybody sees a result.
    for condition in ["seed=0", "a=2", "trial<20"] {
        let shown = project.sweep(&["results", "grid", "--where", condition]).exits_with(0);
        assert!(!shown.stderr().contains("biased"), "{condition}: {}", shown.stderr());
    }
}

/// What commands say of what they wrote, where it is programs that read it.
#[test]
fn whatever_is_written_is_told_as_a_document_too() {
    let project = project();
    let mut documents = serde_json::Map::new();
    for command in [
        "report grid -o report.html",
        "export grid --to jsonl -o lines.jsonl --where a=1",
        "backup copy.db",
        "logs grid 1",
        "worker release nowhere",
    ] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--json"]).collect();
        let mut document = project.sweep(&arguments).json();
        if document.get("size_bytes").is_some() {
            assert!(document["size_bytes"].as_u64() > Some(1000), "{document}");
            document["size_bytes"] = "…".into();
        }
        if document.get("attempt").is_some() {
            document["attempt"]["host"] = "…".into();
        }
        documents.insert(command.to_owned(), document);
    }
    insta::assert_json_snapshot!(documents);
    let size = std::fs::metadata(project.path("copy.db")).unwrap().len();
    assert_eq!(project.sweep(&["backup", "copy.db", "--force", "--json"]).json()["size_bytes"], size);
    // What is printed anyway has no place for a document beside it.
    project.sweep(&["export", "grid", "--to", "jsonl", "-o", "-", "--json"]).exits_with(2);
    project.sweep(&["report", "grid", "--json"]).exits_with(2);
    project.sweep(&["logs", "grid", "1", "-f", "--json"]).exits_with(2);
    let schema = project.sweep(&["schema"]).exits_with(0).stdout();
    assert_eq!(project.sweep(&["schema", "--json"]).exits_with(0).stdout(), schema);
}

#[test]
fn an_exported_table_is_checked_against_the_table_of_jobs() {
    let project = project();
    std::fs::create_dir(project.path("tables")).unwrap();
    for (file, more) in [
        ("tables/all.tex", ""),
        ("tables/pivot.tex", "--pivot a,b+c"),
        ("all.md", "--where seed=0"),
        ("pivot.md", "--pivot a,b --reference their.csv --epoch best"),
        ("all.csv", ""),
        ("pivot.csv", "--pivot a,c"),
        ("all.parquet", "--epoch 2"),
        ("all.json", ""),
    ] {
        let arguments = format!("results grid -o {file} {more}");
        project.sweep(&arguments.split_whitespace().collect::<Vec<_>>()).exits_with(0);
        let checked = project.sweep(&["check", file]).exits_with(0);
        assert!(checked.stderr().ends_with("labels and marks: all agree\n"), "{file}: {}", checked.stderr());
    }
    project.write(
        "paper.tex",
        "\\input{tables/all} % \\input{gone}\n\\include{tables/pivot.tex}\n\\input{elsewhere}\n",
    );
    let document = project.sweep(&["check", "paper.tex", "--json"]).json();
    assert_eq!((&document["agree"], &document["numbers"]), (&document["numbers"], &72.into()));

    // Somebody mistypes a number.
    let table = project.read("tables/all.tex");
    let best = table.lines().find(|line| line.contains("% sweep:row")).unwrap().to_owned();
    project.write("tables/all.tex", &table.replacen("90.", "95.", 1));
    let checked = project.sweep(&["check", "paper.tex"]).exits_with(1);
    assert!(checked.stdout().contains("tables/all.tex:"), "{}\n{best}", checked.stdout());
    assert!(checked.stdout().contains("stands there; it is 90."), "{}", checked.stdout());
    assert!(checked.stderr().contains("\n1 of 72 numbers and 0 of "), "{}", checked.stderr());
    let left_out = "note: `elsewhere`, which `paper.tex` includes, is not there";
    assert!(checked.stderr().contains(left_out), "{}", checked.stderr());

    // Somebody sorts the labels of a pivot and not its rows.
    let pivot = project.read("tables/pivot.tex");
    let sorted = pivot.replace("\n1 &", "\nX &").replace("\n3 &", "\n1 &").replace("\nX &", "\n3 &");
    assert_ne!(sorted, pivot);
    project.write("sorted.tex", &sorted);
    let checked = project.sweep(&["check", "sorted.tex"]).exits_with(1);
    assert!(
        checked.stdout().contains("a of sweep 1, trials 17-18: `1` stands there; it is 3"),
        "{}",
        checked.stdout()
    );
    assert!(checked.stderr().contains("0 of 36 numbers and 6 of "), "{}", checked.stderr());

    // The trial that failed is run again and succeeds: what was exported is of fewer seeds.
    project.write("mended", "");
    project.sweep(&["retry", "grid", "--failed"]).exits_with(0);
    project.sweep(&["worker", "--until-drained"]).exits_with(0);
    let checked = project.sweep(&["check", "all.csv"]).exits_with(1);
    assert!(
        checked.stdout().contains("it is of trials 23, and now trials 23-24 have a result"),
        "{}",
        checked.stdout()
    );
    assert!(
        checked.stdout().contains("n of sweep 1, trials 23: `1` stands there; it is 2"),
        "{}",
        checked.stdout()
    );

    project.write("no.tex", "no table\n");
    let none = project.sweep(&["check", "no.tex"]).exits_with(2);
    assert!(none.stderr().contains("`no.tex` has no table that `sweep results` wrote"), "{}", none.stderr());
    project.sweep(&["check", "gone.csv"]).exits_with(2);
    let unclear = project.sweep(&["results", "grid", "-o", "table.xyz"]).exits_with(2);
    assert!(unclear.stderr().contains("says no format"), "{}", unclear.stderr());
}
