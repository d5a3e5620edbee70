//! Properties of parsing and expansion that hold for every spec.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::{
    Axis, Choices, Condition, Keep, Order, Resources, Search, SeedOrder, Space, Spec, Trainer, Trial, parse,
};
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

fn values() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(scalar(), 1..5).prop_map(|mut values| {
        values.sort_by_key(Value::to_string);
        values.dedup_by(|a, b| super::space::is_same(a, b));
        values
    })
}

/// Parameters with distinct names, each an axis.
fn plain_axes() -> impl Strategy<Value = Vec<Axis>> {
    prop::collection::btree_map("[a-z][a-z0-9_.-]{0,8}", values(), 0..5).prop_map(|axes| {
        let axes = axes.into_iter().rev().map(|(name, values)| {
            let rows = values.into_iter().map(|value| vec![value]).collect();
            Axis { names: vec![format!("p.{name}")], when: vec![], choices: Choices::Listed(rows) }
        });
        axes.collect()
    })
}

fn seeds() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(any::<u64>(), 1..4).prop_map(|seeds| seeds.into_iter().collect())
}

fn spec_of(space: Space, seeds: Vec<u64>) -> Spec {
    Spec {
        code: super::Code::Named,
        name: "sweep".to_owned(),
        description: None,
        trainer: Trainer::Command(vec!["run".to_owned()]),
        metric: None,
        seeds,
        space,
        retries: 1,
        priority: 0,
        resources: Resources::default(),
        order: Order::Listed,
        seed_order: SeedOrder::Interleaved,
        keep: Keep::Last,
        stages: vec![],
    }
}

/// A command spec of parameters alone.
fn plain_spec() -> impl Strategy<Value = Spec> {
    (plain_axes(), seeds())
        .prop_map(|(axes, seeds)| spec_of(Space { axes, exclude: vec![], search: Search::Grid }, seeds))
}

/// A condition on one of these axes, which holds for some of its values.
fn condition(axes: &[Axis], axis: Index, row: Index) -> Option<Condition> {
    let axis = axes.get(axis.index(axes.len().max(1)))?;
    let rows = axis.rows();
    let any_of = vec![rows[row.index(rows.len())][0].clone()];
    Some(Condition { parameter: axis.names[0].clone(), any_of })
}

/// A command spec with a group that moves together, axes under conditions on what comes before them, and exclusions.
fn spec() -> impl Strategy<Value = Spec> {
    let group = prop::collection::vec((0..9_i64, 0..9_i64), 0..4);
    let conditional =
        prop::collection::vec((values(), prop::collection::vec(any::<(Index, Index)>(), 1..3)), 0..4);
    let exclude = prop::collection::vec(prop::collection::vec(any::<(Index, Index)>(), 1..3), 0..3);
    (plain_axes(), group, conditional, exclude, seeds()).prop_map(
        |(mut axes, mut group, conditional, exclude, seeds)| {
            group.sort_unstable();
            group.dedup();
            if !group.is_empty() {
                let rows = group.into_iter().map(|(a, b)| vec![json!(a), json!(b)]).collect();
                axes.push(Axis {
                    names: vec!["z.a".into(), "z.b".into()],
                    when: vec![],
                    choices: Choices::Listed(rows),
                });
            }
            for (number, (values, conditions)) in conditional.into_iter().enumerate() {
                let when: Vec<_> =
                    conditions.into_iter().filter_map(|(axis, row)| condition(&axes, axis, row)).collect();
                if !when.is_empty() {
                    let choices = Choices::Listed(values.into_iter().map(|value| vec![value]).collect());
                    axes.push(Axis { names: vec![format!("w.{number}")], when, choices });
                }
            }
            let read = |conditions: Vec<(Index, Index)>| {
                conditions
                    .into_iter()
                    .filter_map(|(axis, row)| condition(&axes, axis, row))
                    .collect::<Vec<_>>()
            };
            let exclude = exclude.into_iter().map(read).filter(|conditions| !conditions.is_empty()).collect();
            spec_of(Space { axes, exclude, search: Search::Grid }, seeds)
        },
    )
}

/// The trials as loops within loops would give them, with a number for each round of the innermost.
fn nested_loops(spec: &Spec) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut number = 0;
    loop_over(spec, 0, &Parameters::new(), false, &mut number, &mut trials);
    trials
}

fn loop_over(
    spec: &Spec,
    depth: usize,
    chosen: &Parameters,
    is_gap: bool,
    number: &mut i64,
    trials: &mut Vec<Trial>,
) {
    let holds = |conditions: &[Condition]| conditions.iter().all(|condition| condition.holds(chosen));
    let Some(axis) = spec.space.axes.get(depth) else {
        for seed in &spec.seeds {
            *number += 1;
            if !is_gap && !spec.space.exclude.iter().any(|conditions| holds(conditions)) {
                let trial = Trial { number: TrialNumber(*number), parameters: chosen.clone(), seed: *seed };
                trials.push(trial);
            }
        }
        return;
    };
    for (place, row) in axis.rows().iter().enumerate() {
        let mut inner = chosen.clone();
        let exists = holds(&axis.when);
        if exists {
            inner.extend(axis.names.iter().cloned().zip(row.iter().cloned()));
        }
        loop_over(spec, depth + 1, &inner, is_gap || !exists && place > 0, number, trials);
    }
}

/// JSON is YAML, and so is a spec written in it.
fn as_yaml(spec: &Spec) -> String {
    let column =
        |axis: &Axis, at: usize| json!(axis.rows().iter().map(|row| row[at].clone()).collect::<Vec<_>>());
    let map = |axis: &Axis| {
        let entries = axis.names.iter().enumerate().map(|(at, name)| (name.clone(), column(axis, at)));
        Value::from_iter(entries.collect::<serde_json::Map<_, _>>())
    };
    let conditions = |conditions: &[Condition]| {
        let entries = conditions.iter().map(|one| (one.parameter.clone(), json!(one.any_of)));
        Value::from_iter(entries.collect::<serde_json::Map<_, _>>())
    };
    let mut text = format!("command: [run]\nseeds: {}\nparameters:\n", json!(spec.seeds));
    let (plain, when): (Vec<_>, Vec<_>) = spec.space.axes.iter().partition(|axis| axis.when.is_empty());
    for axis in plain.iter().filter(|axis| axis.names.len() == 1) {
        text += &format!("  {:?}: {}\n", axis.names[0], column(axis, 0));
    }
    for axis in plain.iter().filter(|axis| axis.names.len() > 1) {
        text += &format!("zip:\n- {}\n", map(axis));
    }
    if !when.is_empty() {
        text += "when:\n";
        for axis in when {
            text += &format!("- {{if: {}, parameters: {}}}\n", conditions(&axis.when), map(axis));
        }
    }
    if !spec.space.exclude.is_empty() {
        let exclude: Vec<_> = spec.space.exclude.iter().map(|combination| conditions(combination)).collect();
        text += &format!("exclude: {}\n", json!(exclude));
    }
    text
}

/// Whether each name has one condition per combination, as a map can say it.
fn can_be_written(spec: &Spec) -> bool {
    let all = spec.space.axes.iter().map(|axis| &axis.when).chain(&spec.space.exclude);
    all.into_iter().all(|conditions| {
        let mut names: Vec<_> = conditions.iter().map(|condition| condition.parameter.clone()).collect();
        names.sort();
        names.windows(2).all(|pair| pair[0] != pair[1])
    })
}

/// The same with the conditions of each combination in the order of their names, as a map has them.
fn sorted(mut spec: Spec) -> Spec {
    let Space { axes, exclude, .. } = &mut spec.space;
    for conditions in axes.iter_mut().map(|axis| &mut axis.when).chain(exclude) {
        conditions.sort_by(|a, b| a.parameter.cmp(&b.parameter));
    }
    spec
}

/// Lines of which documents can be put together, rightly or wrongly.
const PIECES: &[&str] = &[
    "command: [run, \"--r={{r}}\", \"${args}\"]",
    "program: a.py",
    "search: random",
    "count: 7",
    "seeds: 2",
    "parameters: {a: [1, 2], r: {range: [0.1, 0.3, 0.1]}, opt: {parameters: {lr: {min: 0.5, max: 1}}}}",
    "parameters: {method: [ce, kd, mask], lr: {distribution: normal}, epochs: {min: 1, max: 3}, lr_steps: [[1], [1, 2]]}",
    "parameters: {method: kd, method_start: 1, method_every: 1, loss_weight: [1, 2], teacher: [frozen, ema]}",
    "zip: [{a: [1, 2], b: [3, 4]}]",
    "zip: [{loss_weight: [0, 1], temperature: [1, 1]}, {x: 1}]",
    "when: [{if: {a: 1}, parameters: {r: [1, 2]}, when: [{if: {r: 2}, parameters: {s: 1}}]}]",
    "when: [{if: {teacher: ema}, parameters: {ema_ratio: [0.1, 0.2]}}, {if: {method: ce}, parameters: {width: 8}}]",
    "exclude: [{a: 2}, {teacher: [ema, frozen], loss_weight: 1}]",
    "exclude: [{opt.lr: 0.5}, {}]",
    "stages: [{until: 1, parameters: [a]}, {until: epochs}]",
    "stages: [{until: a}, {until: 3, parameters: []}]",
    "resources: {gpus: 1, cpus: 2, memory: 8G, time: 3h}",
    "base: other.yaml",
    "metric: {name: ema_top1}",
    "order: balanced",
];
const OVERRIDES: &[&str] = &[
    "a=5",
    "~a",
    "+b=1,2",
    "r=range(0,3)",
    "teacher=ema",
    "search=grid",
    "seeds=0",
    "method=choice(ce,kd)",
    "~zip",
    "a.b=1",
];

proptest! {
    #[test]
    fn documents_of_any_pieces_are_read_or_refused(
        pieces in prop::sample::subsequence(PIECES, 0..9),
        given in prop::sample::subsequence(OVERRIDES, 0..3),
        base in prop::sample::subsequence(PIECES, 0..5),
    ) {
        let overrides: Vec<_> = given.into_iter().map(str::to_owned).collect();
        let as_written = |named: super::Weights<'_>| Ok(vec![named.unfound()]);
        let find_base = |_: &str| Some(base.join("\n"));
        let read = super::parse_finding("s.yaml", &pieces.join("\n"), &overrides, &as_written, &find_base);
        if let Ok(spec) = read {
            prop_assert_eq!(spec.trials().count() as u64, spec.count_trials());
            for trial in spec.trials() {
                prop_assert_eq!(spec.trial(trial.number), Some(trial.clone()));
                let number = spec.number_of(&trial).unwrap();
                prop_assert_eq!(spec.trial(number).map(|one| one.parameters), Some(trial.parameters.clone()));
                if let Trainer::Command(command) = &spec.trainer {
                    prop_assert!(super::render_command(command, &trial.parameters, trial.seed, trial.number).is_ok());
                }
            }
        }
    }

    #[test]
    fn trials_are_those_of_nested_loops(spec in spec()) {
        let expected = nested_loops(&spec);
        prop_assert_eq!(spec.count_trials(), expected.len() as u64);
        prop_assert_eq!(spec.trials().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_number_and_its_trial_give_each_other(spec in spec()) {
        let trials = nested_loops(&spec);
        let mut by_number = trials.iter().peekable();
        for number in (1..=i64::try_from(spec.number_count()).unwrap()).take(5_000).map(TrialNumber) {
            let trial = by_number.next_if(|trial| trial.number == number);
            prop_assert_eq!(spec.trial(number), trial.cloned());
            if let Some(trial) = trial {
                let anonymous = Trial { number: TrialNumber(0), ..trial.clone() };
                prop_assert_eq!(spec.number_of(&anonymous), Some(number));
            }
        }
    }

    #[test]
    fn a_spec_reads_back_from_its_text_or_says_what_never_holds(spec in spec().prop_filter("maps", can_be_written)) {
        match parse("sweep.yaml", &as_yaml(&spec), &[]) {
            Ok(read) => prop_assert_eq!(sorted(read), sorted(spec)),
            Err(error) => {
                let text = error.to_string();
                let is_idle = ["never holds", "leaves nothing out", "leaves no trial"].iter().any(|part| text.contains(part));
                prop_assert!(is_idle, "{}\n{}", as_yaml(&spec), text);
            }
        }
    }

    #[test]
    fn overrides_say_the_same_as_the_text(spec in plain_spec()) {
        let value = |axis: &Axis| json!(axis.rows().iter().map(|row| row[0].clone()).collect::<Vec<_>>());
        let mut overrides: Vec<_> = spec.space.axes.iter().map(|axis| format!("{}={}", axis.names[0], value(axis))).collect();
        overrides.push(format!("seeds={}", json!(spec.seeds)));
        let read = parse("sweep.yaml", "command: [run]", &overrides);
        prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(spec));
    }

    #[test]
    fn draws_of_one_axis_do_not_move_with_another(
        spec in plain_spec().prop_filter("an axis", |spec| !spec.space.axes.is_empty()),
        seed in 0..9_u64,
    ) {
        let random = |axes: &[Axis]| {
            let search = Search::Random { count: 20, seed };
            let exclude = vec![];
            spec_of(Space { axes: axes.to_vec(), exclude, search }, spec.seeds.clone())
        };
        let (all, few) = (random(&spec.space.axes), random(&spec.space.axes[1..]));
        let name = &spec.space.axes[0].names[0];
        for (mut one, other) in all.trials().zip(few.trials()) {
            prop_assert_eq!(all.trial(one.number), Some(one.clone()));
            // The first draw that is the same has the number.
            let number = all.number_of(&one).unwrap();
            prop_assert_eq!(all.trial(number).unwrap().parameters, one.parameters.clone());
            prop_assert!(number <= one.number);
            one.parameters.remove(name);
            prop_assert_eq!(one, other);
        }
        prop_assert_eq!(all.count_trials(), 20 * spec.seeds.len() as u64);
    }

    #[test]
    fn a_range_has_the_numbers_that_python_would_give(start in -50..50_i64, stop in -50..50_i64, step in -9..10_i64) {
        let given = vec![format!("x=range({start},{stop},{step})")];
        let mut expected = Vec::new();
        let mut at = start;
        while step > 0 && at < stop || step < 0 && at > stop {
            expected.push(vec![json!(at)]);
            at += step;
        }
        match parse("s.yaml", "command: [run]", &given) {
            Ok(spec) => prop_assert_eq!(spec.space.axes[0].rows(), expected),
            Err(_) => prop_assert!(expected.is_empty()),
        }
    }

    #[test]
    fn text_that_means_nothing_is_refused_and_never_a_panic(text in "(?s).{0,200}", given in "(?s).{0,40}") {
        let outcome = parse("sweep.yaml", &text, &[given]);
        prop_assert!(outcome.is_err());
        prop_assert!(!outcome.unwrap_err().to_string().is_empty());
    }

    #[test]
    fn text_made_of_yaml_marks_never_panics(
        text in "([-:,\\[\\]{}#&*!|>'\"%@` \t\n\r?~.a0λ]|parameters|lr|zip|when|if|exclude|base|stages|: |\n  ){0,60}",
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
