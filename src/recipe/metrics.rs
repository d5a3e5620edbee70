//! What the built-in trainer reports (METHOD.md §6), as data: [`METRICS`] is the one list that `sweep metrics`, checks of
//! a spec's `metric` and the trainer's names are made from.

use std::fmt;

use serde_json::Value;

use super::schema::{Condition, Is, find, nearest};
use crate::vocabulary::{Goal, Parameters};

/// What is known about one metric, or about all whose names have one form.
#[derive(Debug)]
pub struct MetricDoc {
    /// Its name. `<set>` stands for the name of an extra evaluation set, `<mult>` for a probe's factor.
    pub name: &'static str,
    pub unit: Unit,
    /// The least value it can have, if there is one.
    pub least: Option<f64>,
    /// The greatest value it can have, if there is one.
    pub most: Option<f64>,
    /// Which direction is better; `None` where neither is.
    pub better: Option<Goal>,
    pub reported: Reported,
    /// Under which parameters it is reported: where all conditions of at least one of these groups hold.
    pub applies: &'static [&'static [Condition]],
    /// Whether it measures the machine and not the result: left out of every comparison of bits.
    pub is_volatile: bool,
    /// What it says, in a sentence or two.
    pub doc: &'static str,
    /// Where its formula is written.
    pub source: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Percent,
    /// Differences of percentages.
    Points,
    None,
    ImagesPerSecond,
    Seconds,
}

/// After which epochs a metric is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    EveryEpoch,
    /// After every `eval_every` epochs, and after the last.
    Evaluations,
}

/// Every metric of the built-in trainer.
pub static METRICS: &[MetricDoc] = &[
    percent(
        "top1",
        "Share of the test images whose likeliest class is the right one. Of the weights that \
        `eval_weights` names.",
    ),
    percent(
        "top5",
        "Share of the test images whose right class is among the five likeliest. Only for datasets with more \
        than five classes.",
    ),
    percent("<set>_top1", "top1 on an extra evaluation set, for instance `cifar10.1_top1`."),
    MetricDoc {
        unit: Unit::Points,
        least: Some(-100.0),
        better: Some(Goal::Minimize),
        ..percent("<set>_gap", "What is lost on an extra evaluation set: top1 − <set>_top1.")
    },
    MetricDoc {
        applies: AVERAGED,
        ..percent(
            "ema_top1",
            "top1 of the averaged reference itself; with `cls_only` of the averaged head on the student's \
            features. From the method's start on.",
        )
    },
    MetricDoc {
        applies: AVERAGED,
        ..percent("ema_<set>_top1", "ema_top1 on an extra evaluation set, for instance `ema_cifar10.1_top1`.")
    },
    MetricDoc {
        source: "Garrido et al. 2023, arXiv 2210.02885, equation 1",
        ..rank(
            "rankme",
            "Effective rank of the features of the test images, in evaluation mode, rows as they are: \
            exp of the entropy of the singular values.",
        )
    },
    MetricDoc {
        source: "the same, of unit rows as the study logs it (METHOD.md §6)",
        reported: Reported::Evaluations,
        ..rank(
            "rankme_batch",
            "Effective rank of the features of the epoch's last full training batch, each row scaled to \
            unit length: at most the number of images in it.",
        )
    },
    MetricDoc {
        applies: PROBED,
        source: "METHOD.md §6, linear probe",
        ..percent(
            "lp_top1",
            "top1 of a fresh linear head that is trained on the frozen features during the epoch before an \
            evaluation. The student is not touched.",
        )
    },
    MetricDoc {
        applies: PROBED,
        source: "METHOD.md §6, linear probe",
        ..percent("lp_<set>_top1", "lp_top1 on an extra evaluation set, for instance `lp_cifar10.1_top1`.")
    },
    MetricDoc {
        applies: PROBED,
        source: "METHOD.md §6, linear probe",
        ..percent(
            "lp_x<mult>_top1",
            "lp_top1 of the probe with this factor, where `lp_lr_mult` lists several: \
            `lp_x0.1_top1`.",
        )
    },
    MetricDoc {
        applies: PROBED,
        source: "METHOD.md §6, linear probe",
        ..percent("lp_x<mult>_<set>_top1", "The same on an extra evaluation set: `lp_x0.1_cifar10.1_top1`.")
    },
    training(
        "train_loss",
        "What is minimised, as the mean over the epoch's images: ce_weight · ce_loss + loss_weight · \
        aux_loss from the method's start on, before it ce_loss.",
    ),
    MetricDoc {
        least: Some(0.0),
        ..training("ce_loss", "Cross entropy on the training images, mean over the epoch.")
    },
    MetricDoc {
        applies: DISTILLED,
        source: "METHOD.md §4",
        ..training(
            "aux_loss",
            "The auxiliary loss without its weight, mean over the epoch. From the method's start on.",
        )
    },
    MetricDoc {
        better: None,
        least: Some(0.0),
        source: "METHOD.md §2",
        ..training("lr", "Learning rate during the epoch, before the factors of head and backbone.")
    },
    MetricDoc {
        unit: Unit::ImagesPerSecond,
        least: Some(0.0),
        better: Some(Goal::Maximize),
        is_volatile: true,
        source: "a monotonic clock",
        ..training("images_per_second", "Training images per second of the epoch's training.")
    },
    MetricDoc {
        unit: Unit::Seconds,
        least: Some(0.0),
        is_volatile: true,
        source: "a monotonic clock",
        ..training("seconds", "What the epoch took, evaluation included.")
    },
];

const fn percent(name: &'static str, doc: &'static str) -> MetricDoc {
    MetricDoc {
        name,
        unit: Unit::Percent,
        least: Some(0.0),
        most: Some(100.0),
        better: Some(Goal::Maximize),
        reported: Reported::Evaluations,
        applies: ALWAYS,
        is_volatile: false,
        doc,
        source: "METHOD.md §6",
    }
}

const fn rank(name: &'static str, doc: &'static str) -> MetricDoc {
    MetricDoc { unit: Unit::None, least: Some(1.0), most: None, ..percent(name, doc) }
}

const fn training(name: &'static str, doc: &'static str) -> MetricDoc {
    MetricDoc {
        unit: Unit::None,
        least: None,
        most: None,
        better: Some(Goal::Minimize),
        reported: Reported::EveryEpoch,
        source: "METHOD.md §5",
        ..percent(name, doc)
    }
}

/// The parameter that lists the probes of a trial by their factors.
pub const PROBES: &str = "lp_lr_mult";

const ALWAYS: &[&[Condition]] = &[&[]];
const DISTILLED: &[&[Condition]] = &[&[one_of("method", &["kd", "mask"])]];
const AVERAGED: &[&[Condition]] = &[&[one_of("teacher", &["ema", "anne", "sto"])]];
const PROBED: &[&[Condition]] = &[&[Condition { parameter: "lp", is: Is::Flag(true) }]];

const fn one_of(parameter: &'static str, words: &'static [&'static str]) -> Condition {
    Condition { parameter, is: Is::OneOf(words) }
}

/// The metric of this name; where several forms fit, the one that leaves least open.
#[must_use]
pub fn find_metric(name: &str) -> Option<&'static MetricDoc> {
    METRICS
        .iter()
        .filter_map(|metric| Some((fitted(metric.name, name)?.literal, metric)))
        .max_by_key(|(literal, _)| *literal)
        .map(|(_, metric)| metric)
}

/// The extra evaluation set that a metric is of.
#[must_use]
pub fn set_of_metric(name: &str) -> Option<&str> {
    fitted(find_metric(name)?.name, name)?.set
}

/// The name that an unknown one was probably meant to be.
#[must_use]
pub fn nearest_metric(name: &str) -> Option<&'static str> {
    let names = METRICS.iter().map(|metric| metric.name).filter(|name| !name.contains('<'));
    let found = nearest(name, names.clone())?;
    names.into_iter().find(|name| *name == found)
}

/// Name of the accuracy of the probe with the factor `mult`, one of several or the only one, on the test set or an extra
/// evaluation set.
#[must_use]
pub fn probe_metric(mult: f64, several: bool, set: Option<&str>) -> String {
    let probe = if several { format!("lp_x{mult}") } else { "lp".to_owned() };
    format!("{probe}_{}", on_set("top1", set))
}

/// What the probes of a trial with these parameters report on the set that `name` is of, where `name` has the form of a
/// probe's metric. `None` where it hasn't, or the parameters list no factors.
#[must_use]
pub fn probe_metrics(name: &str, parameters: &Parameters) -> Option<Vec<String>> {
    if !find_metric(name)?.name.starts_with("lp_") {
        return None;
    }
    let factors = find(PROBES)?.value_in(parameters)?;
    let factors: Vec<f64> = factors.as_array()?.iter().filter_map(Value::as_f64).collect();
    let set = set_of_metric(name);
    Some(factors.iter().map(|factor| probe_metric(*factor, factors.len() > 1, set)).collect())
}

/// Name of a metric of the test set or of an extra evaluation set.
#[must_use]
pub fn on_set(metric: &str, set: Option<&str>) -> String {
    set.map_or_else(|| metric.to_owned(), |set| format!("{set}_{metric}"))
}

/// A name that has a metric's form.
struct Fitted<'n> {
    /// How many of its bytes the form prescribes.
    literal: usize,
    set: Option<&'n str>,
}

fn fitted<'n>(form: &str, name: &'n str) -> Option<Fitted<'n>> {
    let Some((before, rest)) = form.split_once('<') else {
        return (form == name).then_some(Fitted { literal: form.len(), set: None });
    };
    let (place, after) = rest.split_once('>')?;
    let open = name.strip_prefix(before)?;
    open.char_indices().skip(1).map(|(end, _)| open.split_at(end)).find_map(|(value, rest)| {
        let rest = fitted(after, rest)?;
        let set = match place {
            "set" => is_set_name(value).then_some(Some(value)),
            _ => is_factor(value).then_some(None),
        }?;
        Some(Fitted { literal: before.len() + rest.literal, set: set.or(rest.set) })
    })
}

fn is_set_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
}

fn is_factor(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok_and(|mult| mult > 0.0)
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Percent => "%",
            Unit::Points => "points",
            Unit::None => "",
            Unit::ImagesPerSecond => "images/s",
            Unit::Seconds => "s",
        })
    }
}

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reported::EveryEpoch => "every epoch",
            Reported::Evaluations => "evaluations",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{VOLATILE_METRICS, is_volatile};

    fn form_of(name: &str) -> Option<&'static str> {
        find_metric(name).map(|metric| metric.name)
    }

    #[test]
    fn each_name_has_its_form() {
        for (name, form) in [
            ("top1", "top1"),
            ("cifar10.1_top1", "<set>_top1"),
            ("cifar10.1_gap", "<set>_gap"),
            ("ema_top1", "ema_top1"),
            ("ema_cifar10.1_top1", "ema_<set>_top1"),
            ("rankme_batch", "rankme_batch"),
            ("lp_top1", "lp_top1"),
            ("lp_shifted_top1", "lp_<set>_top1"),
            ("lp_x0.1_top1", "lp_x<mult>_top1"),
            ("lp_x10_my_set_top1", "lp_x<mult>_<set>_top1"),
            ("seconds", "seconds"),
        ] {
            assert_eq!(form_of(name), Some(form), "{name}");
        }
        for stranger in ["", "top", "_top1", "<set>_top1", "Top1", "top1 ", "lp_x_gap_", "accuracy", "λ_top1"]
        {
            assert_eq!(form_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn the_set_of_a_metric_is_read_from_its_name() {
        assert_eq!(set_of_metric("cifar10.1_top1"), Some("cifar10.1"));
        assert_eq!(set_of_metric("lp_x0.1_a_b_top1"), Some("a_b"));
        assert_eq!(
            (set_of_metric("top1"), set_of_metric("lp_x3_top1"), set_of_metric("?")),
            (None, None, None)
        );
    }

    #[test]
    fn the_names_of_probes_are_known() {
        for mult in [0.1, 1.0, 3.0, 1e-7, 1e9] {
            for several in [false, true] {
                for set in [None, Some("cifar10.1")] {
                    let name = probe_metric(mult, several, set);
                    let expected = match (several, set) {
                        (false, None) => "lp_top1",
                        (false, Some(_)) => "lp_<set>_top1",
                        (true, None) => "lp_x<mult>_top1",
                        (true, Some(_)) => "lp_x<mult>_<set>_top1",
                    };
                    assert_eq!(form_of(&name), Some(expected), "{name}");
                }
            }
        }
        assert_eq!(probe_metric(0.1, true, Some("cifar10.1")), "lp_x0.1_cifar10.1_top1");
        assert_eq!(probe_metric(3.0, true, None), "lp_x3_top1");
    }

    #[test]
    fn what_probes_report_follows_from_their_factors() {
        let reported = |name: &str, parameters: serde_json::Value| {
            probe_metrics(name, &serde_json::from_value(parameters).unwrap())
        };
        let several = serde_json::json!({"lp_lr_mult": [0.1, 3.0]});
        let names = |names: [&str; 2]| Some(names.map(str::to_owned).to_vec());
        assert_eq!(reported("lp_x5_top1", several.clone()), names(["lp_x0.1_top1", "lp_x3_top1"]));
        assert_eq!(reported("lp_a_b_top1", several.clone()), names(["lp_x0.1_a_b_top1", "lp_x3_a_b_top1"]));
        assert_eq!(reported("lp_x1_top1", serde_json::json!({})), Some(vec!["lp_top1".to_owned()]));
        assert_eq!((reported("top1", several.clone()), reported("ema_top1", several)), (None, None));
    }

    #[test]
    fn what_is_volatile_is_so_everywhere() {
        let volatile: Vec<_> = METRICS.iter().filter(|metric| metric.is_volatile).map(|m| m.name).collect();
        assert_eq!(volatile, VOLATILE_METRICS);
        assert!(METRICS.iter().all(|metric| metric.is_volatile == is_volatile(metric.name)));
    }

    #[test]
    fn every_entry_is_whole_and_its_conditions_name_parameters() {
        for metric in METRICS {
            let twins = METRICS.iter().filter(|other| other.name == metric.name).count();
            assert_eq!(twins, 1, "{}", metric.name);
            assert!(metric.doc.ends_with('.') && !metric.source.is_empty(), "{}", metric.name);
            for condition in metric.applies.iter().copied().flatten() {
                assert!(find(condition.parameter).is_some(), "{}", metric.name);
            }
        }
    }

    #[test]
    fn a_slip_is_recognised() {
        assert_eq!(nearest_metric("top_1"), Some("top1"));
        assert_eq!(nearest_metric("rank_me"), Some("rankme"));
        assert_eq!(nearest_metric("precision"), None);
    }
}
