//! Properties of parsing and expansion that hold for every spec.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Axis, Spec, Trainer, Trial, parse};
use crate::vocabulary::{Parameters, TrialNumber};

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| (number + 0.0).into()),
        any::<bool>().prop_map(Value::from),
        "[ -~äλ]{0,12}".prop_map(Value::from),
    ]
}

fn axis() -> impl Strategy<Value = Axis> {
    let values = prop::collection::vec(scalar(), 1..5).prop_map(|mut values| {
        values.sort_by_key(Value::to_string);
        values.dedup();
        values
    });
    ("[a-z][a-z0-9_.-]{0,8}", values).prop_map(|(name, values)| Axis { name: format!("p.{name}"), values })
}

/// A command spec with distinct names.
fn spec() -> impl Strategy<Value = Spec> {
    let seeds = prop::collection::btree_set(any::<u64>(), 1..4).prop_map(|seeds| seeds.into_iter().collect());
    (prop::collection::vec(axis(), 0..5), seeds).prop_map(|(mut axes, seeds): (Vec<Axis>, Vec<u64>)| {
        axes.sort_by(|a, b| a.name.cmp(&b.name));
        axes.dedup_by(|a, b| a.name == b.name);
        axes.reverse();
        let trainer = Trainer::Command(vec!["run".to_owned()]);
        let name = "sweep".to_owned();
        Spec { name, description: None, trainer, metric: None, seeds, axes, retries: 1, cpus: 1 }
    })
}

/// The trials as loops within loops would give them.
fn nested_loops(axes: &[Axis], seeds: &[u64], chosen: &Parameters, trials: &mut Vec<(Parameters, u64)>) {
    let Some((axis, inner)) = axes.split_first() else {
        trials.extend(seeds.iter().map(|seed| (chosen.clone(), *seed)));
        return;
    };
    for value in &axis.values {
        let mut chosen = chosen.clone();
        chosen.insert(axis.name.clone(), value.clone());
        nested_loops(inner, seeds, &chosen, trials);
    }
}

/// JSON is YAML, and so is a spec written in it.
fn as_yaml(spec: &Spec) -> String {
    let axes: Vec<_> =
        spec.axes.iter().map(|axis| format!("  {:?}: {}", axis.name, json!(axis.values))).collect();
    let parameters = if axes.is_empty() { "{}".to_owned() } else { format!("\n{}", axes.join("\n")) };
    format!("command: [run]\nseeds: {}\nparameters: {parameters}\n", json!(spec.seeds))
}

proptest! {
    #[test]
    fn trials_are_those_of_nested_loops(spec in spec()) {
        let mut expected = Vec::new();
        nested_loops(&spec.axes, &spec.seeds, &Parameters::new(), &mut expected);
        let trials: Vec<_> = spec.trials().collect();
        prop_assert_eq!(spec.trial_count(), expected.len() as u64);
        for (index, trial) in trials.iter().enumerate() {
            prop_assert_eq!(trial.number, TrialNumber(index as i64 + 1));
        }
        let trials: Vec<_> = trials.into_iter().map(|trial| (trial.parameters, trial.seed)).collect();
        prop_assert_eq!(trials, expected);
    }

    #[test]
    fn a_number_and_its_trial_give_each_other(spec in spec()) {
        for trial in spec.trials() {
            prop_assert_eq!(spec.trial(trial.number), Some(trial.clone()));
            let anonymous = Trial { number: TrialNumber(0), ..trial.clone() };
            prop_assert_eq!(spec.number_of(&anonymous), Some(trial.number));
        }
    }

    #[test]
    fn a_spec_reads_back_from_its_text(spec in spec()) {
        let read = parse("sweep.yaml", &as_yaml(&spec), &[]);
        prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(spec));
    }

    #[test]
    fn overrides_say_the_same_as_the_text(spec in spec()) {
        let mut overrides: Vec<_> = spec.axes.iter().map(|axis| format!("{}={}", axis.name, json!(axis.values))).collect();
        overrides.push(format!("seeds={}", json!(spec.seeds)));
        let read = parse("sweep.yaml", "command: [run]", &overrides);
        prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(spec));
    }

    #[test]
    fn text_that_means_nothing_is_refused_and_never_a_panic(text in "(?s).{0,200}", given in "(?s).{0,40}") {
        let outcome = parse("sweep.yaml", &text, &[given]);
        prop_assert!(outcome.is_err());
        prop_assert!(!outcome.unwrap_err().to_string().is_empty());
    }

    #[test]
    fn text_made_of_yaml_marks_never_panics(
        text in "([-:,\\[\\]{}#&*!|>'\"%@` \t\n\r?~.a0λ]|parameters|lr|: |\n  ){0,60}",
        value in "[-:,\\[\\]{}#&*!|>'\" a0.~\n]{0,20}",
    ) {
        if let Err(error) = parse("sweep.yaml", &text, &[format!("lr={value}")]) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn arguments_of_any_kind_are_rendered_or_refused(argument in "([{}#/!&~^> a.\\\\-]|if|else|lr|\\{\\{|\\}\\}){0,16}") {
        let command = vec![argument];
        let parameters = Parameters::from([("lr".to_owned(), json!(0.1))]);
        let outcome = super::render_command(&command, &parameters, 0, TrialNumber(1));
        if let Ok(rendered) = outcome {
            prop_assert_eq!(rendered.len(), 1);
        }
    }
}
