use std::path::{Path, PathBuf};

use super::*;
use crate::spec::error::Findings;
use crate::spec::source::Source;
use crate::spec::tree::{Node, Shape};
use crate::spec::{Weights, parse, parse_finding, yaml};

/// The file that editors read, which the specs in `sweeps/` name.
const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/spec.schema.json");

fn as_json(node: &Node) -> Value {
    match &node.shape {
        Shape::Scalar(scalar) => scalar.value.clone(),
        Shape::List(items) => items.iter().map(as_json).collect(),
        Shape::Map(entries) => map(entries.iter().map(|entry| (entry.key.clone(), as_json(&entry.node)))),
    }
}

fn fits(text: &str) -> bool {
    let validator = jsonschema::draft202012::new(&json_schema()).unwrap();
    let node = yaml::read(&Source::file(0, "s.yaml", text), text, &mut Findings::default()).unwrap();
    validator.is_valid(&as_json(&node))
}

#[test]
fn the_committed_copy_is_this_schema() {
    let text = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    let copy = std::fs::read_to_string(COPY).unwrap_or_default();
    assert!(copy == text, "run: cargo run -p sweep -- schema > docs/spec.schema.json");
    jsonschema::draft202012::meta::validate(&json_schema()).unwrap();
}

#[test]
fn every_key_says_what_it_is_for() {
    for key in all_keys() {
        assert!(!doc_of(key).is_empty(), "{key}");
        let is_refused = schema_of(key, Any) == json!(false);
        assert_eq!(is_refused, key == "early_terminate", "{key}");
    }
}

/// Specs in a folder of `sweeps/`.
fn specs_in(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let specs: Vec<_> = files.filter(|path| path.extension().is_some_and(|found| found == "yaml")).collect();
    assert!(!specs.is_empty());
    specs
}

#[test]
fn specs_that_come_with_the_program_fit_and_name_the_schema() {
    for (folder, up) in [("", "../"), ("as-run", "../../"), ("base", "../../"), ("beyond", "../../")] {
        for path in specs_in(folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(fits(&text), "{}", path.display());
            let first = text.lines().next().unwrap();
            let named = format!("# yaml-language-server: $schema={up}docs/spec.schema.json");
            assert_eq!(first, named, "{}", path.display());
        }
    }
}

#[test]
fn specs_that_come_with_the_program_are_right() {
    let unfound = |named: Weights<'_>| Ok(vec![named.unfound()]);
    let find_base = |name: &str| std::fs::read_to_string(name).ok();
    for path in ["", "as-run", "beyond"].into_iter().flat_map(specs_in) {
        let (name, text) = (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
        let spec = parse_finding(&name, &text, &[], &unfound, &find_base);
        let trials = spec.unwrap_or_else(|error| panic!("{name}: {error:?}")).trials().count();
        // What its head says of it.
        let size = text.lines().find_map(|line| line.strip_prefix("# Size: "));
        let said = size.map(|size| size.split(' ').next().unwrap().replace(',', ""));
        assert_eq!(said.unwrap_or_else(|| trials.to_string()), trials.to_string(), "{name}");
    }
}

/// Right specs of every kind.
const RIGHT: &[&str] = &[
    "parameters:\n",
    "trainer: resnet\nparameters: {lr: [0.1, 0.2], lr_steps: [[10], [20, 30]], device: 'cuda:1', teachers: [a.safetensors], \
     teacher: checkpoint, method: kd, loss_weight: {values: [1, 2]}, width: {range: [8, 16, 4]}}",
    "parameters: {method: kd, loss_weight: 1, teacher: checkpoint, teachers: [[a.safetensors, {sweep: s, seeds: [1, 3]}], \
     [{sweep: 3, trials: 1, where: {lr: [0.1, 1], lr_steps: [[5], [6]]}, best: 2}]]}",
    "search: random\ncount: 5\nsearch_seed: 7\nseeds: [3, 4]\nparameters: {lr: {distribution: log_uniform_values, min: 0.1, max: 1}, \
     width: {min: 8, max: 16}, method: {values: [ce], probabilities: [1.0]}}",
    "parameters: {method: kd, loss_weight: 1, teacher: [frozen, ema]}\nzip: [{method_start: [1, 25], method_every: [1, 5]}]\n\
     when: [{if: {teacher: [ema]}, parameters: {ema_ratio: [0.1, 0.2]}}]\nexclude: [{teacher: ema, ema_ratio: [0.1]}]",
    "name: 5.5\ndescription: x\ncommand: [run, 1, \"{{x}}\"]\nmetric: {name: loss, goal: minimize}\nretries: 0\npriority: -5\norder: \
     balanced\nseed_order: last\nkeep: none\nresources: {gpus: 1, cpus: 2, memory: 8G, time: 3:30:00}\nparameters: {x: 1, epochs: 9, \
     o: {parameters: {lr: {value: 1}}}}\nstages: [{until: 3, parameters: [x]}, {until: epochs}]",
    "program: train.py\nmethod: random\nrun_cap: 9\nproject: p\nentity: e\nmetric: {name: loss}\nparameters: {lr: {distribution: \
     q_normal, mu: 1, sigma: 2, q: 0.1}}",
];

/// Wrong ones, each by a single value or key.
const WRONG: &[&str] = &[
    "parametres: {lr: 0.1}",
    "parameters: {lrr: 0.1}",
    "parameters: {lr: 0}",
    "parameters: {lr: fast}",
    "parameters: {epochs: 1.5}",
    "parameters: {method: [ce, kdd]}",
    "parameters: {lr: []}",
    "parameters: {lr: {distribution: unifrom, min: 0.1, max: 1}}",
    "parameters: {lr: {range: [1]}}",
    "parameters: {depth: {min: 18, max: 34}}",
    "parameters: {lr: null}",
    "parameters: {method: kd, loss_weight: 1, teacher: checkpoint, teachers: [{seeds: [1]}]}",
    "parameters: {method: kd, loss_weight: 1, teacher: checkpoint, teachers: [{sweep: s, seed: 1}]}",
    "parameters: {method: kd, loss_weight: 1, teacher: checkpoint, teachers: [{sweep: s, where: {lrr: 1}}]}",
    "parameters: {method: kd, loss_weight: 1, teacher: checkpoint, teachers: [{sweep: s, best: 0}]}",
    "seeds: 0\nparameters: {lr: 0.1}",
    "seeds: []\nparameters: {lr: 0.1}",
    "search: bayes\nparameters: {lr: 0.1}",
    "count: 0\nsearch: random\nparameters: {lr: 0.1}",
    "trainer: bert\nparameters: {lr: 0.1}",
    "metric: top1\nparameters: {lr: 0.1}",
    "resources: {cpus: 4}\nparameters: {lr: 0.1}",
    "resources: {time: 3}\nparameters: {lr: 0.1}",
    "order: random\nparameters: {lr: 0.1}",
    "retries: -1\nparameters: {lr: 0.1}",
    "zip: {lr: [1, 2]}\nparameters: {width: 8}",
    "parameters: {method: ce}\nwhen: [{parameters: {lr: 0.1}}]",
    "parameters: {lr: 0.1}\nexclude: [{}]",
    "command: run\n",
    "command: []\n",
    "command: [run]\nparameters: {x: [[1, 2]]}",
    "command: [run]\nstages: [{parameters: [x]}]\nparameters: {x: 1}",
    "stages: [{until: 5}]\nparameters: {lr: 0.1}",
    "early_terminate: {type: hyperband}\ncommand: [run]",
];

#[test]
fn right_specs_fit_and_wrong_ones_do_not() {
    for text in RIGHT {
        parse("s.yaml", text, &[]).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert!(fits(text), "{text}");
    }
    for text in WRONG {
        assert!(parse("s.yaml", text, &[]).is_err(), "{text}");
        assert!(!fits(text), "{text}");
    }
}

#[test]
fn a_spec_with_a_base_may_say_little_and_take_keys_away() {
    assert!(fits("base: other.yaml\nseeds: 5\nparameters: {anything: 1, gone: null}\nretries: null"));
    assert!(!fits("base: other.yaml\nretries: many"));
    // Whose parameters they are, the base says; a value that is a list can only be the built-in trainer's.
    for parameters in [
        "{lr_steps: [[25, 35], [10]], head_hidden: []}",
        "{lr_steps: [25, 35]}",
        "{lr_steps: null}",
        "{lp_lr_mult: {value: [1, 3]}}",
        "{teachers: [[{sweep: s, seeds: [1]}, a.safetensors]]}",
        "{lr_steps: many}",
    ] {
        assert!(fits(&format!("base: other.yaml\nparameters: {parameters}")), "{parameters}");
    }
    assert!(fits("base: o.yaml\nzip: [{lr_steps: [[1], [2, 3]], a: [1, 2]}]\nexclude: [{lr_steps: [[1]]}]"));
    assert!(fits(
        "base: o.yaml\nwhen: [{if: {head_hidden: [[4], [32]]}, parameters: {lr_steps: [[1], []]}}]"
    ));
    for parameters in
        ["{x: [[1, 2]]}", "{lr_steps: [[a]]}", "{head_hidden: [[-1]]}", "{teachers: [{seeds: [1]}]}"]
    {
        assert!(!fits(&format!("base: other.yaml\nparameters: {parameters}")), "{parameters}");
    }
}
