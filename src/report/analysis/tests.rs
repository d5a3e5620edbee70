//! Against numbers that scipy and statsmodels have computed: `fixtures/make.py`.

use serde_json::Value;

use super::*;
use crate::protocol::http::{ResultsResponse, TrialResult};
use crate::report::fixtures::{results, trial};

const EXPECTED: &str = include_str!("fixtures/expected.json");
const TRIALS: &str = include_str!("fixtures/trials.csv");

/// The trials of the fixture that are kept.
fn fixture(keep: impl Fn(&TrialResult) -> bool) -> ResultsResponse {
    let mut reader = csv::Reader::from_reader(TRIALS.as_bytes());
    let mut trials = Vec::new();
    for record in reader.records() {
        let record = record.unwrap();
        let number = |at: usize| record[at].parse::<f64>().unwrap();
        let mut parameters = vec![("a", number(0)), ("b", number(1))];
        if !record[2].is_empty() {
            parameters.push(("c", number(2)));
        }
        let metrics = [("y", number(4)), ("x", number(5))];
        trials.push(trial(record[6].parse().unwrap(), record[3].parse().unwrap(), &parameters, &metrics));
    }
    trials.retain(keep);
    let metric =
        Some(crate::vocabulary::Metric { name: "y".to_owned(), goal: crate::vocabulary::Goal::Maximize });
    ResultsResponse { swept: ["a", "b", "c"].map(str::to_owned).to_vec(), metric, ..results(trials) }
}

fn number(trial: &TrialResult, name: &str) -> Option<f64> {
    trial.parameters.get(name).and_then(Value::as_f64)
}

fn is_balanced(trial: &TrialResult) -> bool {
    number(trial, "c").is_none_or(|c| c == 10.0)
}

fn expected(what: &str) -> Value {
    serde_json::from_str::<Value>(EXPECTED).unwrap()[what].clone()
}

fn analyze(results: &ResultsResponse) -> Analysis {
    Analysis::of(&View::usual(results), &Pairs::default())
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap_or_else(|| panic!("{what} is not expected"));
    let off = (found - expected).abs();
    assert!(off <= 1e-9 * expected.abs().max(1.0), "{what}: {found} instead of {expected}");
}

#[track_caller]
fn assert_effects(analysis: &Analysis, what: &str) {
    let expected = expected(what);
    let (variance, degrees) = match analysis.noise {
        Noise::Seeds { variance, degrees } | Noise::Residual { variance, degrees } => (variance, degrees),
        Noise::Unknown => panic!("there is noise"),
    };
    assert_close("variance", variance, &expected["variance"]);
    assert_close("degrees", degrees, &expected["degrees"]);
    let mut compared = 0;
    for ParameterEffects { parameter, effects } in &analysis.effects {
        for effect in effects {
            let name = format!("{parameter}={}", effect.level.parse::<f64>().unwrap());
            let interval = effect.interval.unwrap();
            assert_close(&name, effect.effect, &expected[&name][0]);
            assert_close(&name, interval.low, &expected[&name][1]);
            assert_close(&name, interval.high, &expected[&name][2]);
            compared += 1;
        }
    }
    assert_eq!(compared + 2, expected.as_object().unwrap().len(), "every effect is compared");
}

#[test]
fn t_is_students() {
    for (degrees, t) in expected("student_t").as_object().unwrap() {
        assert_close(degrees, student_t(0.95, degrees.parse().unwrap()), t);
    }
}

#[test]
fn shares_are_those_of_an_analysis_of_variance() {
    let analysis = analyze(&fixture(is_balanced));
    let (importance, expected) = (analysis.importance.unwrap(), expected("importance_balanced"));
    for (parameter, share) in &importance.parameters {
        assert_close(parameter, *share, &expected[parameter]);
    }
    let [(one, other, share)] = &importance.pairs[..] else { panic!("one pair") };
    assert_close("pair", *share, &expected[format!("{one}×{other}")]);
    assert_close("seeds", importance.seeds.unwrap(), &expected["seeds"]);
}

#[test]
fn effects_and_their_intervals_are_those_of_least_squares() {
    assert_effects(&analyze(&fixture(is_balanced)), "effects_balanced");
    let is_kept = |trial: &TrialResult| {
        let is_gap = number(trial, "a") == Some(1.0) && number(trial, "b") == Some(3.0);
        is_balanced(trial) && !is_gap && ![2, 3, 17].contains(&trial.trial.0)
    };
    assert_effects(&analyze(&fixture(is_kept)), "effects_unbalanced");
    // c exists where a is 2 only.
    assert_effects(&analyze(&fixture(|_| true)), "effects_conditional");
    assert_effects(&analyze(&fixture(|trial| trial.seed == 0)), "effects_one_seed");
}

#[test]
fn correlations_and_their_intervals_are_scipys() {
    let results = fixture(|_| true);
    for (what, given) in [("correlation", vec![]), ("correlation_within_a", vec!["a".to_owned()])] {
        let expected = expected(what);
        let metrics = vec![["x".to_owned(), "y".to_owned()]];
        let analysis = Analysis::of(&View::usual(&results), &Pairs { metrics, given });
        let [correlation] = &analysis.correlations[..] else { panic!("one pair") };
        assert_eq!(correlation.n, 16);
        for (name, coefficient) in [("pearson", correlation.pearson), ("spearman", correlation.spearman)] {
            let Coefficient { value, interval: Some(interval) } = coefficient.unwrap() else {
                panic!("{name}")
            };
            assert_close(name, value, &expected[name]);
            assert_close(name, interval.low, &expected[format!("{name}_interval")][0]);
            assert_close(name, interval.high, &expected[format!("{name}_interval")][1]);
        }
    }
}

#[test]
fn what_can_not_be_told_apart_is_said_so() {
    // b is a in other words, but not in the same order of levels at each configuration.
    let rows = [
        [1.0, 5.0, 1.0],
        [1.0, 5.0, 2.0],
        [2.0, 6.0, 1.0],
        [2.0, 6.0, 2.0],
        [3.0, 6.0, 1.0],
        [3.0, 6.0, 2.0],
    ];
    let trials = rows.iter().zip(1..).map(|([a, b, c], number)| {
        trial(number, 0, &[("a", *a), ("b", *b), ("c", *c)], &[("top1", a * 3.0 + c)])
    });
    let swept = ["a", "b", "c"].map(str::to_owned).to_vec();
    let results = ResultsResponse { swept, ..results(trials.collect()) };
    let analysis = analyze(&results);
    let told: Vec<(&str, usize)> =
        analysis.effects.iter().map(|one| (one.parameter.as_str(), one.effects.len())).collect();
    assert_eq!(told, [("a", 3), ("b", 0), ("c", 2)]);
    assert!(analysis_text(&analysis).contains("can't be told apart from those above"));
}

#[test]
fn where_there_is_nothing_to_say_nothing_is_said() {
    let nothing = analyze(&results(vec![trial(1, 0, &[("lr", 0.1)], &[])]));
    assert_eq!((nothing.configurations, nothing.importance, nothing.effects), (0, None, vec![]));
    let one = analyze(&results(vec![trial(1, 0, &[("lr", 0.1)], &[("top1", 1.0)])]));
    assert_eq!((one.configurations, one.noise), (1, Noise::Unknown));
    // Nothing varies.
    let same = [0.1, 0.2].iter().zip(1..).map(|(lr, n)| trial(n, 0, &[("lr", *lr)], &[("top1", 0.1)]));
    assert_eq!(analyze(&results(same.collect())).importance, None);
}

#[test]
fn the_analysis_reads_well() {
    insta::assert_snapshot!(analysis_text(&analyze(&fixture(|_| true))));
}
