//! What a user reads about wrong parameters beyond scalars and lists: distributions, ranges, `zip`, `when`, `exclude`, `stages`.

use insta::assert_snapshot;

use super::wrong_specs::refusal;

#[test]
fn chance_in_a_grid() {
    assert_snapshot!(refusal(
        "count: 3\nsearch_seed: 1\nparameters:\n  lr: {min: 0.1, max: 1}\n  momentum: {values: [0.1, 0.9], probabilities: \
         [0.5, 0.5]}\n  weight_decay: {distribution: normal}\n",
        &[]
    ));
}

#[test]
fn wrong_searches() {
    assert_snapshot!(
        [
            refusal("search: random\nparameters: {lr: 0.1}\n", &[]),
            refusal("search: random\ncount: 0\nparameters: {lr: 0.1}\n", &[]),
            refusal(
                "search: random\nmethod: grid\ncount: 5\nrun_cap: 6\nparameters: {lr: 0.1}\n",
                &["search_seed=-1"]
            ),
            refusal("program: ''\ncommand: [\"${args}\", \"${program}\"]\n", &[]),
        ]
        .join("\n")
    );
}

#[test]
fn wrong_distributions() {
    assert_snapshot!(refusal(
        "search: random\ncount: 50\nparameters:\n  lr: {min: 1, max: 0.5}\n  momentum: {distribution: unifrom}\n  \
         weight_decay: {min: 0}\n  head_dropout: {min: 0, max: 0.5, q: 0.1}\n  batch_size: {min: 8.0, max: 64}\n  \
         width: {distribution: q_uniform, min: 8, max: 2048, q: 8}\n  depth: {min: 18, max: 34}\n  \
         lr_gamma: {distribution: normal}\n  head_lr_mult: {distribution: log_uniform_values, min: 0, max: 1}\n  \
         backbone_lr_mult: {distribution: log_uniform, min: 1, max: 1000}\n  threads: {distribution: int_uniform, min: 1.5, max: 3}\n  \
         epochs: {values: [10, 20], probabilities: [0.5, 0.6]}\n  eval_every: {values: [1, 2], probabilities: [1]}\n  \
         warmup_epochs: {q: 1}\n  gem_p: {distribution: normal, sigma: 0}\n",
        &[]
    ));
}

#[test]
fn wrong_ranges() {
    assert_snapshot!(refusal(
        "parameters:\n  lr: {range: [0.1, 0.9, 0]}\n  momentum: {range: [0.9, 0.1, 0.1]}\n  weight_decay: {range: [0, 1, 1e-9]}\n  \
         epochs: {range: 5}\n  width: {range: [a, b]}\n  gem_p: {range: [1, 2], value: 3}\n",
        &["batch_size=range(5,0)", "threads=range(a)", "lr_steps=range()"]
    ));
}

#[test]
fn wrong_groups() {
    assert_snapshot!(refusal(
        "parameters:\n  method: kd\n  loss_weight: 1\n  lr: 0.1\nzip:\n- {method_start: [1, 25], method_every: [1, 5, 7]}\n- lr\n- {lr: \
         [1, 2], momentum: [0.1, 0.9]}\n- {weight_decay: [0, 0], ce_weight: [1, 1]}\n- {}\n",
        &[]
    ));
}

#[test]
fn wrong_conditions() {
    assert_snapshot!(refusal(
        "parameters:\n  method: [ce, kd]\n  lr: [0.1, 0.2]\nwhen:\n- {if: {metod: kd}, parameters: {loss_weight: 1}}\n\
         - {if: {method: mask}, parameters: {mask_ratio: 0.5}}\n- {if: {ema_ratio: 0.5}, parameters: {momentum: 0.5}}\n\
         - {if: {method: kd}, parameters: {teacher: [frozen, ema], lr: 0.5}, when: [{if: {teacher: [ema, sgd]}, parameters: \
         {ema_ratio: 0.5}}]}\n- {parameters: {width: 8}}\n- {if: {method: kd}}\n- {if: {lr: 0.3}, parameters: {epochs: 7}, els: 1}\n- 5\n",
        &[]
    ));
}

#[test]
fn exclusions_that_leave_out_nothing_or_everything() {
    let of = |exclude: &str| {
        refusal(
            &format!(
                "command: [run]\nparameters: {{a: [1, 2], b: [x, y]}}\nwhen: [{{if: {{a: 1}}, parameters: {{c: [1, 2]}}}}]\nexclude: {exclude}\n"
            ),
            &[],
        )
    };
    assert_snapshot!(
        [
            of("[{a: 2, c: 1}, {a: [1, 2], b: [x, y]}]"),
            of("[{d: 1}, {b: z}, {}, {a: []}]"),
            of("{a: 1}"),
            of("[{a: 1}, {a: 2}]")
        ]
        .join("\n")
    );
}

#[test]
fn conditions_that_never_hold_together() {
    assert_snapshot!(refusal(
        "command: [run]\nparameters: {a: [1, 2]}\nwhen:\n- if: {a: 1}\n  parameters: {b: [1, 2]}\n- if: {a: 2, b: 1}\n  parameters: {c: 3, d: 4}\n",
        &[]
    ));
}

#[test]
fn conditional_parameters_are_checked_where_they_exist() {
    let kd = "parameters:\n  method: [ce, kd]\n  teacher: frozen\n  epochs: 20\nwhen:\n- if: {method: kd}\n  parameters:\n    method_start: [5, 25]\n    \
              method_every: 1\n";
    assert_snapshot!(
        [
            refusal(kd, &[]),
            refusal(&format!("{kd}    loss_weight: [1, 1.0]\n"), &["method_start=5"]),
            refusal(&format!("{kd}    loss_weight: 1\n    ema_ratio: [0.1, 0.2]\n"), &["method_start=5"]),
            refusal(
                &format!(
                    "{kd}    loss_weight: 1\n- {{if: {{method: ce}}, parameters: {{temperature: [1, 2]}}}}\n"
                ),
                &["method_start=5"]
            ),
        ]
        .join("\n")
    );
}

#[test]
fn arguments_of_parameters_that_do_not_always_exist() {
    assert_snapshot!(refusal(
        "command: [run, \"--r={{r}}\", \"{{#if r}}{{r}}{{/if}}\", \"{{#unless r}}{{r}}{{/unless}}\", \"{{s}}\"]\n\
         parameters: {t: [a, b]}\nwhen: [{if: {t: a}, parameters: {r: 1, s: 1}}, {if: {t: b}, parameters: {s: 2}}]\n",
        &[]
    ));
}

#[test]
fn zipped_rows_that_make_the_same_trial() {
    assert_snapshot!(refusal(
        "parameters: {method_start: 1, method_every: 1}\nzip:\n- method: [ce, ce, kd]\n  loss_weight: [0.5, 1, 1]\n",
        &[]
    ));
}

#[test]
fn wrong_stages() {
    let of = |stages: &str| {
        let parameters = "parameters: {lr: [1, 2], tag: [x, y], epochs: [10, 20]}\nwhen: [{if: {tag: x}, parameters: {n: 3}}]";
        refusal(&format!("command: [run]\n{parameters}\nstages: {stages}\n"), &[])
    };
    assert_snapshot!(
        [
            of("5"),
            of("[{until: 0, parameters: [lr]}, {until: tag, parameters: [lrr]}, {until: n}, {until: steps}, {util: 5}]"),
            of("[{until: 15, parameters: [lr]}, {until: epochs}]"),
            of("[{until: 5, parameters: [lr]}, {until: epochs, parameters: [lr]}]"),
            of("[{until: 5}, {until: epochs}]"),
            refusal("parameters: {lr: 0.1}\nstages: [{until: 5}]\n", &[]),
        ]
        .join("\n")
    );
}
