use serde_json::json;

use super::*;
use crate::vocabulary::{Goal, TrialNumber};

fn spec(text: &str) -> Spec {
    parse("sweeps/mskall.yaml", text, &[]).unwrap()
}

#[test]
fn what_is_left_out_has_a_default() {
    let spec = spec("parameters:\n");
    assert_eq!((spec.name.as_str(), spec.description), ("mskall", None));
    assert_eq!(
        (spec.trainer, spec.seeds, spec.retries, spec.resources.cpus),
        (Trainer::Resnet, vec![0], 1, 1)
    );
    assert_eq!(spec.metric, Some(Metric { name: "top1".to_owned(), goal: Goal::Maximize }));
    assert_eq!(parse("a.yaml", "command: [run]", &[]).unwrap().metric, None);
}

#[test]
fn a_name_that_is_the_files_is_one_that_a_spec_could_have() {
    let name = |file: &str| parse(file, "parameters:", &[]).unwrap().name;
    assert_eq!(name("a\nb \u{1b}[31mé.yaml"), "ab [31mé");
    assert_eq!(name(&format!("{}.yaml", "é".repeat(200))), "é".repeat(100));
    assert_eq!((name("\n.yaml"), name("..")), ("sweep".to_owned(), "sweep".to_owned()));
}

#[test]
fn every_key_is_read() {
    let spec = spec(
        "name: 20.24\ndescription: one\ncommand: [sleep, 1, \"{{x}}\"]\nsearch: grid\nmethod: grid\n\
         metric: {goal: minimize, name: loss}\nseeds: [7, 3]\nretries: 0\nresources: {cpus: 4}\n\
         parameters: {x: 1}\n",
    );
    assert_eq!((spec.name.as_str(), spec.description.as_deref()), ("20.24", Some("one")));
    assert_eq!(spec.trainer, Trainer::Command(["sleep", "1", "{{x}}"].map(str::to_owned).to_vec()));
    assert_eq!(spec.metric, Some(Metric { name: "loss".to_owned(), goal: Goal::Minimize }));
    assert_eq!((spec.seeds, spec.retries, spec.resources.cpus), (vec![7, 3], 0, 4));
}

#[test]
fn a_metric_of_the_built_in_trainer_knows_which_way_is_better() {
    let metric = |name: &str| spec(&format!("metric: {{name: {name}}}\nparameters: {{}}")).metric.unwrap();
    assert_eq!(metric("shifted_gap").goal, Goal::Minimize);
    assert_eq!(metric("rankme").goal, Goal::Maximize);
    let probed = spec("metric: {name: lp_top1}\nparameters: {lp: [false, true]}");
    assert_eq!(probed.metric.unwrap().name, "lp_top1");
}

#[test]
fn a_number_of_seeds_counts_from_zero() {
    assert_eq!(spec("seeds: 3\nparameters: {lr: 0.1}").seeds, [0, 1, 2]);
}

#[test]
fn an_anchor_stands_for_its_value() {
    let spec = spec("command: [run]\nparameters: {a: &values [1, 2], b: *values}");
    assert_eq!(spec.space.axes[1].rows(), [[json!(1)], [json!(2)]]);
}

#[test]
fn a_fixed_parameter_needs_an_effect_in_one_combination_only() {
    let spec = spec(
        "parameters: {method: [ce, kd], method_start: 1, method_every: 1, loss_weight: 1, temperature: 3}",
    );
    let temperatures: Vec<_> = spec.trials().map(|t| t.parameters.get("temperature").cloned()).collect();
    assert_eq!(temperatures, [None, Some(json!(3.0))]);
}

#[test]
fn what_holds_anyway_may_be_written() {
    let on_cpu = spec("parameters: {device: cpu, deterministic: true}");
    assert_eq!(on_cpu.trial(TrialNumber(1)), spec("parameters: {device: cpu}").trial(TrialNumber(1)));
    let mask = "method: mask, method_start: 1, method_every: 1, loss_weight: 1, mask_ratio: 0.5";
    let modes = spec(&format!("parameters: {{{mask}, mask_mode: [s, d], inv_mode: none}}"));
    let inverses: Vec<_> = modes.trials().map(|t| t.parameters.get("inv_mode").cloned()).collect();
    assert_eq!(inverses, [Some(json!("none")), None]);
}

#[test]
fn a_sweep_file_of_wandb_loads() {
    let spec = spec(
        "program: train.py\nmethod: grid\nproject: p\nentity: e\nmetric: {name: val_loss}\nparameters:\n  lr: {values: [0.1, \
         0.2]}\n  epochs: {value: 5}\n  opt: {parameters: {m: {min: 1, max: 3}}}\n",
    );
    let command = ["/usr/bin/env", "python", "train.py", "${args}"].map(str::to_owned).to_vec();
    assert_eq!(spec.trainer, Trainer::Command(command));
    assert_eq!(spec.metric, Some(Metric { name: "val_loss".to_owned(), goal: Goal::Minimize }));
    assert_eq!(spec.count_trials(), 6);
    let written = "program: a.py\nmethod: random\nrun_cap: 5\ncommand: [\"${env}\", python3, \"${program}\", -b, \
                   \"${args_no_hyphens}\"]\nparameters: {lr: {distribution: normal}}";
    let random = parse("s.yaml", written, &[]).unwrap();
    let command = ["/usr/bin/env", "python3", "a.py", "-b", "${args_no_hyphens}"].map(str::to_owned).to_vec();
    assert_eq!((random.trainer.clone(), random.count_trials()), (Trainer::Command(command), 5));
}

#[test]
fn what_says_how_trials_run_is_read() {
    let spec = spec(
        "command: [run]\npriority: -7\norder: shuffled\nseed_order: last\nkeep: none\nresources: {gpus: 2, memory: 8G, time: \
         3h30m, stall_timeout: 10m}\nparameters: {lr: [1, 2], epochs: [5, 6]}\nstages: [{until: 2, parameters: [lr]}, {until: epochs}]\n",
    );
    assert_eq!((spec.priority, spec.order, spec.seed_order), (-7, Order::Shuffled, SeedOrder::Last));
    let [time, stall_timeout] = [12_600, 600].map(|seconds| Some(std::time::Duration::from_secs(seconds)));
    let memory_bytes = Some(8 << 30);
    assert_eq!(spec.resources, Resources { gpus: Some(2), cpus: 1, memory_bytes, time, stall_timeout });
    assert_eq!(spec.keep, Keep::None);
    let until = |stage: &Stage| stage.until.epoch(&spec.trial(TrialNumber(2)).unwrap().parameters);
    assert_eq!(spec.stages.iter().map(until).collect::<Vec<_>>(), [Some(2), Some(6)]);
    assert_eq!(spec.stages[0].parameters, Some(vec!["lr".to_owned()]));
}

#[test]
fn the_best_checkpoint_needs_a_metric_and_the_built_in_trainer_has_one() {
    let error =
        parse("a.yaml", "command: [run]\nkeep: best\nparameters: {x: 1}", &[]).unwrap_err().to_string();
    assert!(error.contains("`keep: best` needs a metric") && error.contains("a.yaml:2:7"), "{error}");
    let keep = |text: &str| parse("a.yaml", text, &[]).unwrap().keep;
    assert_eq!(
        keep("command: [run]\nkeep: best\nmetric: {name: loss, goal: minimize}\nparameters: {x: 1}"),
        Keep::Best
    );
    assert_eq!(keep("keep: best\nparameters: {lr: 0.1}"), Keep::Best);
    assert_eq!(keep("command: [run]\nkeep: all\nparameters: {x: 1}"), Keep::All);
}

#[test]
fn a_name_that_means_other_sweeps_is_refused_wherever_it_comes_from() {
    for name in ["last", "all", "'12'", "3-5", "' last '"] {
        let text = format!("name: {name}\ncommand: [run]\n");
        let error = parse("s.yaml", &text, &[]).unwrap_err().to_string();
        assert!(error.contains("can't be a sweep's name"), "{name}: {error}");
    }
    assert!(parse("12.yaml", "command: [run]\n", &[]).unwrap_err().to_string().contains("`12` can't be"));
    for name in ["last-one", "all2", "kd-12", "3x3", "1.5"] {
        let text = format!("name: '{name}'\ncommand: [run]\n");
        assert_eq!(parse("s.yaml", &text, &[]).unwrap().name, name);
    }
}
