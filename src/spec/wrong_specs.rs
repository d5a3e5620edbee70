//! What a user reads about a wrong spec, in `snapshots/`, one file for each kind of mistake.

use insta::assert_snapshot;
use miette::{Diagnostic, LabeledSpan};

use super::{Colour, parse};

pub(super) fn refusal(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
    match parse("sweeps/kd.yaml", text, &overrides) {
        Ok(spec) => panic!("accepted: {spec:?}"),
        Err(error) => error.render(Colour::None),
    }
}

const MASK: &str = "\
parameters:
  method: mask
  method_start: 1
  method_every: 1
  loss_weight: 1
  mask_ratio: [0.5, 0.9]
  mask_mode: s
  inv_mode: none
";

#[test]
fn unknown_parameter() {
    assert_snapshot!(refusal("parameters:\n  epochs: 10\n  momentun: 0.9\n  dropout: 0.5\n", &[]));
}

#[test]
fn unknown_key() {
    assert_snapshot!(refusal("nam: x\nlr: 0.1\nfoo: 1\nmetric: {nme: x}\nparameters: {lr: 0.1}\n", &[]));
}

#[test]
fn wrong_type() {
    assert_snapshot!(refusal(
        "parameters:\n  epochs: fifty\n  lr: [0.1, yes]\n  cls_only: 1\n  lr_steps: 25\n  width: {value: [1]}\n",
        &[]
    ));
}

#[test]
fn out_of_range() {
    assert_snapshot!(refusal(
        "parameters:\n  lr: 0\n  momentum: [0.9, 1]\n  depth: 50\n  aux_loss: kl\n",
        &[]
    ));
}

#[test]
fn empty_list() {
    assert_snapshot!(refusal("seeds: []\nparameters:\n  lr: []\n  momentum: {values: []}\n  epochs:\n", &[]));
}

#[test]
fn duplicate_key() {
    assert_snapshot!(refusal("parameters:\n  lr: 0.1\n  epochs: 10\n  lr: 0.2\n", &[]));
}

#[test]
fn duplicate_value() {
    assert_snapshot!(refusal("seeds: [0, 1, 0]\nparameters:\n  lr: [1, 0.1, 1.0]\n", &[]));
}

#[test]
fn not_yaml() {
    assert_snapshot!(refusal("parameters:\n  lr: [0.1, 0.2\n  epochs: 10\n", &[]));
}

#[test]
fn tab_indentation() {
    assert_snapshot!(refusal("parameters:\n  epochs: 10\n\tlr: 0.1\n", &[]));
}

#[test]
fn unquoted_template() {
    assert_snapshot!(refusal("command: [python, --lr={{lr}}]\nparameters: {lr: 0.1}\n", &[]));
}

#[test]
fn not_a_map() {
    assert_snapshot!(refusal("- lr\n- 0.1\n", &[]));
}

#[test]
fn empty() {
    assert_snapshot!(refusal("# nothing yet\n", &[]));
}

#[test]
fn nothing_to_run() {
    assert_snapshot!(refusal("name: idle\n", &[]));
}

#[test]
fn two_documents() {
    assert_snapshot!(refusal("parameters: {lr: 0.1}\n---\nparameters: {lr: 0.2}\n", &[]));
}

#[test]
fn number_that_nothing_holds() {
    assert_snapshot!(refusal("parameters: {lr: .inf}\n", &[]));
}

#[test]
fn alias_in_itself() {
    assert_snapshot!(refusal("parameters: {lr: &a [*a]}\n", &[]));
}

#[test]
fn aliases_that_multiply() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{below}]\n");
    }
    assert_snapshot!(refusal(&text, &[]));
}

#[test]
fn nesting_without_end() {
    assert_snapshot!(refusal(&format!("parameters: {}", "[".repeat(30)), &[]));
}

#[test]
fn seed_in_parameters() {
    assert_snapshot!(refusal("parameters:\n  seed: [0, 1, 2]\n", &[]));
}

#[test]
fn not_available() {
    assert_snapshot!(refusal(
        "method: bayes\nproject: p\nentity: e\nearly_terminate: {type: hyperband}\nprogram: train.py\n\
         metric: {name: loss, target: 0.1}\ncommand: [\"${env}\", \"${args_json_file}\", \"${envvar:HOME}\", \"${arg}\"]\n\
         parameters:\n  lr: {min: 0, max: 1}\n",
        &[]
    ));
}

#[test]
fn wrong_settings() {
    assert_snapshot!(refusal(
        "command: [run]\npriority: 2000\norder: balenced\nseed_order: first\nkeep: some\nresources: {gpus: -1, memory: 8, time: 3, disk: 5}\n",
        &["resources.cpus=0"]
    ));
}

#[test]
fn overrides_of_what_is_not_there() {
    assert_snapshot!(refusal(
        MASK,
        &["~lr", "+mask_mode=a", "~", "~momentum=1", "+", "~seeds", "+lr=0.1", "lr=0.2"]
    ));
}

#[test]
fn values_that_make_the_same_trial() {
    assert_snapshot!(refusal(
        "parameters:\n  epochs: 30\n  lr_steps: [[10], [10, 30], [20, 40]]\n  device: cpu\n  \
         precision: [fp32, tf32]\n  checkpoint_every: [1, 5]\n",
        &[]
    ));
}

#[test]
fn contradictions() {
    assert_snapshot!(refusal(
        &MASK.replace("mask_mode: s", "mask_mode: [s, d]"),
        &["inv_mode=v1", "warmup_epochs=0,50", "lr_schedule=cosine"]
    ));
}

#[test]
fn lists_of_weights_and_factors() {
    assert_snapshot!(refusal(
        "parameters:\n  method: kd\n  teacher: checkpoint\n  teachers: []\n  loss_weight: 1\n  lp: true\n  \
         lp_lr_mult: [1, 3, 1.0]\n  device: tpu\n  deterministic: [true, false]\n",
        &["teachers=[model.pt]"]
    ));
}

#[test]
fn selectors_of_trials_that_teach() {
    let teachers = |teachers: &str| {
        format!(
            "parameters:\n  method: kd\n  teacher: checkpoint\n  loss_weight: 1\n  teachers: {teachers}\n"
        )
    };
    assert_snapshot!(
        [
            refusal(&teachers("{sweep: seeds, seeds: [1, 3]}"), &[]),
            refusal(&teachers("[{sweep: seeds, seed: 1}]"), &[]),
            refusal(
                &teachers("[[{seeds: [1, 3]}], [a.safetensors, {sweep: seeds, where: {ema: 0.1}}]]"),
                &[]
            ),
            refusal("parameters:\n  lr_steps: [{sweep: seeds}]\n", &[]),
        ]
        .join("\n")
    );
}

#[test]
fn metrics_that_are_never_reported() {
    let metric = |metric: &str| format!("metric: {metric}\nparameters: {{method: ce, epochs: [10, 20]}}\n");
    assert_snapshot!(
        [
            refusal(&metric("{name: top_1, goal: maximize}"), &[]),
            refusal(&metric("{name: accuracy}"), &[]),
            refusal(&metric("{name: lr}"), &[]),
            refusal(&metric("{name: aux_loss, goal: minimize}"), &[]),
            refusal(&metric("{name: lp_shifted_top1}"), &[]),
            refusal(
                &metric("{name: ema_top1}"),
                &["method=kd", "method_start=1", "method_every=1", "loss_weight=1"]
            ),
        ]
        .join("\n")
    );
}

#[test]
fn metrics_of_probes_that_there_are_not() {
    let lp = |metric: &str, factors: &str| {
        let parameters = format!("{{method: ce, lp: true{factors}}}");
        format!("metric: {{name: {metric}}}\nparameters: {parameters}\n")
    };
    assert_snapshot!(
        [
            refusal(&lp("lp_x5_top1", ", lp_lr_mult: [[1, 3]]"), &[]),
            refusal(&lp("lp_top1", ", lp_lr_mult: [[1, 3]]"), &[]),
            refusal(&lp("lp_x1_top1", ""), &[]),
            refusal(&lp("lp_x3_shifted_top1", ", lp_lr_mult: [[0.1], [1, 10]]"), &[]),
        ]
        .join("\n")
    );
    for (metric, factors) in [
        ("lp_top1", ""),
        ("lp_shifted_top1", ", lp_lr_mult: [[3]]"),
        ("lp_x0.1_top1", ", lp_lr_mult: [[1, 0.1]]"),
        ("lp_x3_shifted_top1", ", lp_lr_mult: [[1], [1, 3]]"),
        ("lp_top1", ", lp_lr_mult: [[1, 3], [1]]"),
    ] {
        let read = parse("sweeps/kd.yaml", &lp(metric, factors), &[]);
        assert!(read.is_ok(), "{metric}{factors}: {read:?}");
    }
}

#[test]
fn no_effect() {
    assert_snapshot!(refusal(
        "parameters:\n  method: ce\n  mask_ratio: 0.5\n  lr_steps: []\n  lr_gamma: 0.2\n",
        &[]
    ));
}

#[test]
fn swept_without_effect_anywhere() {
    assert_snapshot!(refusal("parameters:\n  epochs: 10\n  mask_ratio: [0.5, 0.9]\n", &[]));
}

#[test]
fn swept_without_effect_in_some_combination() {
    assert_snapshot!(refusal(&MASK.replace("method: mask", "method: [ce, mask]"), &[]));
}

#[test]
fn missing_parameters() {
    assert_snapshot!(refusal("parameters:\n  lr: 0.1\n  method: [ce, kd, mask]\n  loss_weight: 1\n", &[]));
}

#[test]
fn missing_parameter_that_was_misspelt_is_reported_once() {
    assert_snapshot!(refusal(&MASK.replace("inv_mode", "inv_mod"), &[]));
}

#[test]
fn method_that_never_starts() {
    assert_snapshot!(refusal(MASK, &["epochs=1,2,50", "method_start=1"]));
}

#[test]
fn steps_that_go_back() {
    assert_snapshot!(refusal("parameters:\n  lr_steps: [[25, 35], [35, 25]]\n", &[]));
}

#[test]
fn wrong_overrides() {
    assert_snapshot!(refusal(
        MASK,
        &["mask_ration=0.9,0.5", "lr=[0.1", "seeds", "lr=", "momentum=0.1", "momentum=0.2", "retries=-1"]
    ));
}

#[test]
fn overrides_that_miss_a_key_do_not_become_parameters() {
    let text = "command: [run]\nparameters: {x: 1, resources.disk: 1}\n";
    let missed = ["resources.tme=5", "metric.nme=loss", "+resources.disc=1", "~resources.gpu", "metric=loss"];
    let others = ["zip.a=1", "seeds.first=1", "command=[x]", "parameters=1"];
    assert_snapshot!(refusal(text, &[&missed[..], &others[..]].concat()));
    let parameters = ["resources.disk=2", "parameters.metric.tau=1", "parameters.zip=2", "method.x=1"];
    let parameters: Vec<_> = parameters.iter().map(|text| (*text).to_owned()).collect();
    let spec = parse("s.yaml", text, &parameters).unwrap();
    let names: Vec<_> = spec.space.axes.iter().flat_map(|axis| axis.names.clone()).collect();
    assert_eq!(names, ["x", "resources.disk", "metric.tau", "zip", "method.x"]);
}

#[test]
fn overrides_that_say_more_or_less_than_they_mean() {
    assert_snapshot!(refusal(
        MASK,
        &[
            "lr=2",
            "parameters.lr=3",
            "momentum=5] #junk",
            "weight_decay=5] x",
            "dataset=issue #5",
            "stem=#5",
            "seeds=5,",
            "epochs=10,,20",
            "width=,8",
            "depth= ",
            "arch={a: 1, a: '2 #3'}",
        ]
    ));
}

#[test]
fn numbers_that_are_none() {
    let of = |text: &str| refusal(&format!("parameters:\n  epochs: 5\n  lr: [0.1, {text}]\n"), &[]);
    assert_snapshot!([of(".nan"), of("-.Inf"), of("1e999"), refusal(MASK, &["lr=0.1,.nan"])].join("\n"));
}

#[test]
fn wrong_document() {
    assert_snapshot!(refusal(
        "name: ''\ntrainer: bert\nmethod: kd\nmetric: top1\nseeds: -1\nretries: 101\nresources: 4\nparameters: [lr]\n",
        &[]
    ));
}

#[test]
fn trainer_and_command() {
    assert_snapshot!(refusal("trainer: resnet\ncommand: [run]\nparameters: {lr: 0.1}\n", &[]));
}

#[test]
fn wrong_command() {
    assert_snapshot!(refusal(
        "command: [python, \"--lr={{lrr}}\", \"{{#each x}}{{/each}}\", {a: b}, \"{{seed}}\"]\nparameters:\n  lr: [0.1, 0.2]\n  1st: 1\n  \
         list: [[1, 2]]\n  none: null\n",
        &[]
    ));
}

#[test]
fn command_that_is_one_text() {
    assert_snapshot!(refusal("command: python train.py\n", &[]));
}

#[test]
fn too_many_trials() {
    let axis = |name: &str| format!("  {name}: {:?}\n", (0..1000).collect::<Vec<_>>());
    let text = format!("command: [run]\nparameters:\n{}{}{}", axis("a"), axis("b"), axis("c"));
    assert_snapshot!(refusal(&text, &[]));
}

#[test]
fn long_lines_show_the_place_that_is_meant() {
    let values: Vec<_> = (1..60).map(|n| format!("0.{n:02}")).collect();
    assert_snapshot!(refusal(
        &format!("parameters: {{momentum: [{}, 1.5, 0.999]}}\n", values.join(", ")),
        &[]
    ));
}

#[test]
fn characters_of_several_bytes_do_not_shift_the_mark() {
    assert_snapshot!(refusal("# λ über α\nparameters: {dataset: \"żółć\", lrr: 1}\n", &[]));
}

#[test]
fn windows_line_ends_do_not_shift_the_mark() {
    assert_snapshot!(refusal("\u{feff}parameters:\r\n  epochs: 10\r\n  lrr: 1\r\n", &[]));
}

#[test]
fn every_problem_is_a_diagnostic_with_labels_in_its_own_source() {
    let error = parse("a.yaml", "parameters: {lrr: 1, lrr: 2}", &["momentun=1".to_owned()]).unwrap_err();
    let labels: Vec<Vec<String>> = error.related().unwrap().map(labelled_texts).collect();
    assert_eq!(labels, [vec!["lrr"], vec!["lrr", "lrr"], vec!["momentun"]]);
}

fn labelled_texts(problem: &dyn Diagnostic) -> Vec<String> {
    let source = problem.source_code().unwrap();
    let text = |label: LabeledSpan| {
        let contents = source.read_span(label.inner(), 0, 0).unwrap();
        String::from_utf8(contents.data()[..label.len()].to_vec()).unwrap()
    };
    problem.labels().unwrap().map(text).collect()
}

#[test]
fn colours_are_added_only_where_asked() {
    let error = parse("a.yaml", "parameters: {lrr: 1}", &[]).unwrap_err();
    assert!(!error.render(Colour::None).contains('\u{1b}'));
    assert!(error.render(Colour::Ansi).contains("\u{1b}[1;31merror:\u{1b}[0m unknown parameter `lrr`"));
}

#[test]
fn overrides_that_no_trial_has() {
    let text = "parameters: {epochs: 5, head_hidden: [[], [256]]}\nwhen:\n  - if: {head_hidden: [[256]]}\n    parameters: {head_dropout: 0.3}\n";
    assert_snapshot!(refusal(text, &["head_hidden=[]", "head_dropout=0.5"]));
}
