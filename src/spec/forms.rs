//! Parameters that are maps: W&B's `value`, `values`, `min` and `max`, `distribution` and what belongs to each, and
//! `range`, which W&B doesn't have.

use super::axes::{Reader, Values, Written, read_values};
use super::decimal::{Decimal, NoRange, Stop, range};
use super::distribution::{Distribution, Shape};
use super::error::SpecProblem;
use super::expansion::MOST_TRIALS;
use super::space::Search;
use super::tree::{Entry, Node};
use crate::recipe::schema::nearest;

/// Keys of such a map, nested `parameters` aside.
pub(super) const FORM_KEYS: &[&str] =
    &["value", "values", "probabilities", "distribution", "min", "max", "mu", "sigma", "q", "range"];

/// What W&B calls a distribution, and the keys that it reads.
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) required: &'static [&'static str],
    pub(super) optional: &'static [&'static str],
}

const fn form(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Form {
    Form { name, required, optional }
}

/// W&B's distributions, but for `beta`, of which its documentation says nothing.
pub(super) const FORMS: &[Form] = &[
    form("constant", &["value"], &[]),
    form("categorical", &["values"], &["probabilities"]),
    form("int_uniform", ENDS, &[]),
    form("uniform", ENDS, &[]),
    form("q_uniform", ENDS, &["q"]),
    form("log_uniform", ENDS, &[]),
    form("q_log_uniform", ENDS, &["q"]),
    form("log_uniform_values", ENDS, &[]),
    form("q_log_uniform_values", ENDS, &["q"]),
    form("inv_log_uniform", ENDS, &[]),
    form("inv_log_uniform_values", ENDS, &[]),
    form("normal", &[], &["mu", "sigma"]),
    form("q_normal", &[], &["mu", "sigma", "q"]),
    form("log_normal", &[], &["mu", "sigma"]),
    form("q_log_normal", &[], &["mu", "sigma", "q"]),
];
const ENDS: &[&str] = &["min", "max"];

type Read = (Values, Option<Vec<f64>>);

pub(super) fn read_form(
    parameter: &Written<'_>,
    map: &[Entry],
    reader: Reader<'_>,
) -> Result<Read, SpecProblem> {
    let map = Map { parameter, entries: map };
    map.check_keys()?;
    if let Some(node) = map.find("range") {
        map.only("range", &["range"])?;
        return Ok((map.range(node)?, None));
    }
    let form = map.form()?;
    map.only(
        &format!("distribution: {}", form.name),
        &[form.required, form.optional, &["distribution"]].concat(),
    )?;
    for key in form.required {
        map.required(key, form)?;
    }
    if form.name == "constant" {
        return Ok((read_values(parameter, std::slice::from_ref(map.required("value", form)?))?, None));
    }
    if form.name == "categorical" {
        return map.categorical(form, reader.search);
    }
    let distribution = map.distribution(form)?;
    match (reader.search, distribution.shape) {
        (Some(Search::Grid), Shape::Integers { least, most }) => Ok((map.integers(least, most)?, None)),
        (Some(Search::Grid), _) => Err(map.needs_random("is drawn by chance")),
        _ => Ok((Values::Drawn(distribution, parameter.node.span.clone()), None)),
    }
}

/// A parameter's map.
struct Map<'p> {
    parameter: &'p Written<'p>,
    entries: &'p [Entry],
}

impl<'p> Map<'p> {
    fn find(&self, key: &str) -> Option<&'p Node> {
        self.entries.iter().find(|part| part.key == key).map(|part| &part.node)
    }

    fn check_keys(&self) -> Result<(), SpecProblem> {
        let Some(stranger) = self.entries.iter().find(|part| !FORM_KEYS.contains(&part.key.as_str())) else {
            return Ok(());
        };
        let key = &stranger.key;
        let near = nearest(key, FORM_KEYS.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let message = format!("unknown key `{key}` in parameter `{}`", self.parameter.name);
        if key == "sweep" {
            let help =
                format!("what selects trials stands in a list: `{}: [{{sweep: ..}}]`", self.parameter.name);
            return Err(SpecProblem::new(&stranger.key_span, message).help(help));
        }
        Err(SpecProblem::new(&stranger.key_span, message)
            .help("write one value, a list of values, `{values: [..]}`, `{min: .., max: ..}` or `{range: [start, stop, step]}`")
            .help_if(near))
    }

    /// Refuses keys that have no effect beside what was found.
    fn only(&self, found: &str, keys: &[&str]) -> Result<(), SpecProblem> {
        match self.entries.iter().find(|part| !keys.contains(&part.key.as_str())) {
            Some(idle) => {
                let message = format!("`{}` has no effect beside `{found}`", idle.key);
                Err(SpecProblem::new(&idle.key_span, message).help("remove one of them"))
            }
            None => Ok(()),
        }
    }

    fn required(&self, key: &str, form: &Form) -> Result<&'p Node, SpecProblem> {
        self.find(key).ok_or_else(|| {
            let message =
                format!("`{}` needs `{key}` under `distribution: {}`", self.parameter.name, form.name);
            SpecProblem::new(self.parameter.name_span, message)
        })
    }

    /// The distribution that is named, or that W&B takes the other keys for.
    fn form(&self) -> Result<&'static Form, SpecProblem> {
        let named = |name: &str| FORMS.iter().find(|form| form.name == name);
        let known = || FORMS.iter().map(|form| form.name);
        let implied = match self.find("distribution") {
            Some(node) => {
                return node.text().and_then(named).ok_or_else(|| {
                    let near = nearest(node.text().unwrap_or_default(), known().collect::<Vec<_>>());
                    let names: Vec<_> = known().map(|name| format!("`{name}`")).collect();
                    SpecProblem::new(&node.span, "unknown distribution")
                        .help(format!("there are {}", names.join(", ")))
                        .help_if(near.map(|near| format!("did you mean `{near}`?")))
                });
            }
            None if self.find("value").is_some() => "constant",
            None if self.find("values").is_some() => "categorical",
            None if self.find("min").is_some() || self.find("max").is_some() => {
                let is_whole = |key| self.find(key).and_then(Node::value).is_none_or(|value| value.is_i64());
                if ENDS.iter().copied().all(is_whole) { "int_uniform" } else { "uniform" }
            }
            None => "",
        };
        named(implied).ok_or_else(|| {
            let message = format!("`{}` needs a value", self.parameter.name);
            SpecProblem::new(self.parameter.name_span, message)
                .help("write `value`, `values`, `min` and `max`, or `range`")
        })
    }

    fn categorical(&self, form: &Form, search: Option<Search>) -> Result<Read, SpecProblem> {
        let values = self.required("values", form)?;
        let Some(nodes) = values.list() else {
            let message = format!("`values` of `{}` must be a list", self.parameter.name);
            return Err(SpecProblem::new(&values.span, message));
        };
        let read = read_values(self.parameter, nodes)?;
        let Some(weights) = self.find("probabilities") else { return Ok((read, None)) };
        if search == Some(Search::Grid) {
            return Err(self.needs_random("has probabilities"));
        }
        let numbers: Option<Vec<f64>> =
            weights.list().and_then(|items| items.iter().map(|item| item.value()?.as_f64()).collect());
        let numbers = numbers.filter(|numbers| numbers.iter().all(|number| (0.0..=1.0).contains(number)));
        match numbers {
            Some(numbers) if numbers.len() != nodes.len() => {
                let message =
                    format!("there are {} `values` and {} `probabilities`", nodes.len(), numbers.len());
                Err(SpecProblem::new(&weights.span, message).and_at(&values.span, "the values"))
            }
            Some(numbers) if (numbers.iter().sum::<f64>() - 1.0).abs() < 1e-6 => Ok((read, Some(numbers))),
            _ => Err(SpecProblem::new(
                &weights.span,
                "`probabilities` must be numbers from 0 to 1 whose sum is 1",
            )),
        }
    }

    fn distribution(&self, form: &Form) -> Result<Distribution, SpecProblem> {
        let shape = match form.name {
            "int_uniform" => return self.int_uniform(form).map(Distribution::of),
            "uniform" | "q_uniform" => {
                let (from, to) = self.ends(form)?;
                Shape::Uniform { from, to }
            }
            "log_uniform" | "q_log_uniform" => {
                let (low, high) = self.ends(form)?;
                self.log_uniform(libm::exp(low), libm::exp(high))?
            }
            "inv_log_uniform" => {
                let (low, high) = self.ends(form)?;
                self.log_uniform(libm::exp(-high), libm::exp(-low))?
            }
            "log_uniform_values" | "q_log_uniform_values" | "inv_log_uniform_values" => {
                let (from, to) = self.ends(form)?;
                self.log_uniform(from, to)?
            }
            name => {
                let mean = self.number("mu")?.map_or(0.0, Decimal::as_f64);
                let deviation = self.number("sigma")?.map_or(1.0, Decimal::as_f64);
                if deviation <= 0.0 {
                    let message = format!("`sigma` of `{}` must be above 0", self.parameter.name);
                    return Err(SpecProblem::new(&self.parameter.node.span, message));
                }
                if name.contains("log") {
                    Shape::LogNormal { mean, deviation }
                } else {
                    Shape::Normal { mean, deviation }
                }
            }
        };
        let step = match (form.optional.contains(&"q"), self.number("q")?) {
            (true, None) => Decimal::parse("1"),
            (_, step) => step,
        };
        if step.is_some_and(|step| !step.is_positive()) {
            return Err(SpecProblem::new(
                &self.parameter.node.span,
                format!("`q` of `{}` must be above 0", self.parameter.name),
            ));
        }
        let distribution = Distribution { shape, step };
        let is_endless = matches!(shape, Shape::Normal { .. } | Shape::LogNormal { .. });
        if !is_endless && distribution.ends().is_none() {
            let message = format!("the values of `{}` have too many digits", self.parameter.name);
            return Err(SpecProblem::new(&self.parameter.node.span, message)
                .help("raise `q`, or write smaller numbers"));
        }
        Ok(distribution)
    }

    fn log_uniform(&self, from: f64, to: f64) -> Result<Shape, SpecProblem> {
        if from > 0.0 && to.is_finite() {
            return Ok(Shape::LogUniform { from, to });
        }
        let message = format!(
            "the values of `{}` must lie above 0 and be finite to have logarithms",
            self.parameter.name
        );
        Err(SpecProblem::new(&self.parameter.node.span, message)
            .help("`log_uniform` takes the logarithms of its ends, `log_uniform_values` the ends themselves"))
    }

    fn int_uniform(&self, form: &Form) -> Result<Shape, SpecProblem> {
        self.ends(form)?;
        let whole = |key: &str| {
            let node = self.required(key, form)?;
            let number = node.value().and_then(|value| value.as_i64());
            number.ok_or_else(|| {
                let message = format!("`{key}` of `{}` must be a whole number", self.parameter.name);
                SpecProblem::new(&node.span, message).help("for fractions write `distribution: uniform`")
            })
        };
        Ok(Shape::Integers { least: whole("min")?, most: whole("max")? })
    }

    fn ends(&self, form: &Form) -> Result<(f64, f64), SpecProblem> {
        for key in ENDS {
            self.required(key, form)?;
        }
        let number = |key| self.number(key).map(|number| number.map_or(0.0, Decimal::as_f64));
        let (from, to) = (number("min")?, number("max")?);
        if from < to {
            return Ok((from, to));
        }
        let message = format!("`min` of `{}` must be below `max`", self.parameter.name);
        Err(SpecProblem::new(&self.required("min", form)?.span, message))
    }

    fn number(&self, key: &str) -> Result<Option<Decimal>, SpecProblem> {
        let Some(node) = self.find(key) else { return Ok(None) };
        decimal(node).map(Some).ok_or_else(|| {
            let message = format!("`{key}` of `{}` must be a number", self.parameter.name);
            SpecProblem::new(&node.span, message).help_if(too_many_digits(node))
        })
    }

    fn integers(&self, least: i64, most: i64) -> Result<Values, SpecProblem> {
        if most.abs_diff(least) >= MOST_TRIALS {
            return Err(self.too_long());
        }
        let span = &self.parameter.node.span;
        Ok(Values::Listed((least..=most).map(|number| (number.into(), span.clone())).collect()))
    }

    fn range(&self, node: &Node) -> Result<Values, SpecProblem> {
        let wrong = || {
            SpecProblem::new(&node.span, "`range` must be a list of start, stop and step, all numbers")
                .help("write `{range: [0.1, 0.9, 0.1]}`; left out, the step is 1")
        };
        let items = node.list().ok_or_else(wrong)?;
        let numbers: Option<Vec<_>> = items.iter().map(decimal).collect();
        let one = Decimal::parse("1");
        let (start, stop, step) = match (numbers.as_deref(), one) {
            (Some(&[start, stop, step]), _) => (start, stop, step),
            (Some(&[start, stop]), Some(one)) => (start, stop, one),
            _ => return Err(wrong()),
        };
        let values =
            range(start, stop, step, Stop::Included, MOST_TRIALS).map_err(|reason| match reason {
                NoRange::TooLong => self.too_long(),
                reason => SpecProblem::new(&node.span, no_range(reason)),
            })?;
        Ok(Values::Listed(values.into_iter().map(|value| (value, node.span.clone())).collect()))
    }

    fn too_long(&self) -> SpecProblem {
        let message = format!("`{}` has more than {MOST_TRIALS} values", self.parameter.name);
        SpecProblem::new(&self.parameter.node.span, message)
    }

    fn needs_random(&self, what: &str) -> SpecProblem {
        let message = format!("`{}` {what}, but the search is a grid", self.parameter.name);
        SpecProblem::new(self.parameter.name_span, message).help(
            "write `search: random` and `count: 100` beside `parameters`, or a list of values, or `{range: [start, stop, step]}`",
        )
    }
}

/// What is wrong with a range, as a clause.
pub(super) fn no_range(reason: NoRange) -> &'static str {
    match reason {
        NoRange::StepIsZero => "the step of a range can't be 0",
        NoRange::Empty => "the range is empty: its step leads away from its end",
        NoRange::TooLong => "the range has too many values",
    }
}

fn decimal(node: &Node) -> Option<Decimal> {
    let scalar = node.scalar().filter(|scalar| scalar.value.is_number())?;
    Decimal::parse(&scalar.text)
}

fn too_many_digits(node: &Node) -> Option<String> {
    let is_number = node.value().is_some_and(|value| value.is_number());
    is_number.then(|| "it has too many digits: thirty are the most".to_owned())
}
