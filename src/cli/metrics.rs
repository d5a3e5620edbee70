use comfy_table::Cell;
use serde::Serialize;

use super::{CliError, Context};
use crate::recipe::metrics::{METRICS, MetricDoc, find_metric, nearest_metric};
use crate::recipe::schema::conditions;
use crate::report::{lines_of, new_table};
use crate::vocabulary::Goal;

/// Version of the document that `--json` prints.
const JSON_SCHEMA_VERSION: u32 = 1;

/// Show what the built-in trainer reports.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A metric, for all that is known about it; all if none is named.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let metrics = match &args.name {
        None => METRICS.iter().collect(),
        Some(name) => vec![find_metric(name).ok_or_else(|| unknown(name))?],
    };
    match &metrics[..] {
        _ if args.json => context.output.json(&Document::from(&metrics[..])),
        [metric] if args.name.is_some() => context.output.data(&description(metric)),
        _ => context.output.data(&table(&metrics)),
    }
}

fn unknown(name: &str) -> CliError {
    let nearest = nearest_metric(name).map(|nearest| format!("; did you mean `{nearest}`?"));
    CliError::usage(format!(
        "the built-in trainer reports no metric `{name}`{}",
        nearest.unwrap_or_else(|| "; `sweep metrics` lists those that it reports".to_owned())
    ))
}

fn table(metrics: &[&MetricDoc]) -> String {
    let mut table = new_table();
    table.set_header(["metric", "unit", "better", "reported", "where"].map(Cell::new));
    for metric in metrics {
        table.add_row([
            metric.name,
            &metric.unit.to_string(),
            better(metric).unwrap_or("–"),
            &metric.reported.to_string(),
            &conditions(metric.applies).unwrap_or_default(),
        ]);
    }
    lines_of(&table)
}

fn description(metric: &MetricDoc) -> String {
    let ends = [
        metric.least.map(|least| format!("at least {least}")),
        metric.most.map(|most| format!("at most {most}")),
    ];
    let ends: Vec<String> = ends.into_iter().flatten().collect();
    let mut values = vec![metric.unit.to_string(), ends.join(", ")];
    values.retain(|part| !part.is_empty());
    let rows = [
        ("values", Some(values.join("; ")).filter(|text| !text.is_empty())),
        ("better", better(metric).map(str::to_owned)),
        ("reported", Some(metric.reported.to_string())),
        ("where", conditions(metric.applies)),
        (
            "volatile",
            metric.is_volatile.then(|| "yes: it measures the machine and not the result".to_owned()),
        ),
        ("source", Some(metric.source.to_owned())),
    ];
    let rows = rows.into_iter().filter_map(|(label, text)| Some(format!("  {label:<10}{}\n", text?)));
    format!("{}\n{}\n\n{}", metric.name, metric.doc, rows.collect::<String>())
}

fn better(metric: &MetricDoc) -> Option<&'static str> {
    metric.better.map(|goal| match goal {
        Goal::Maximize => "higher",
        Goal::Minimize => "lower",
    })
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    metrics: Vec<MetricJson>,
}

#[derive(Serialize)]
struct MetricJson {
    name: &'static str,
    unit: String,
    least: Option<f64>,
    most: Option<f64>,
    /// As a spec writes it.
    goal: Option<Goal>,
    reported: String,
    applies_where: Option<String>,
    volatile: bool,
    description: &'static str,
    source: &'static str,
}

impl From<&[&MetricDoc]> for Document {
    fn from(metrics: &[&MetricDoc]) -> Document {
        let metrics = metrics.iter().map(|metric| MetricJson {
            name: metric.name,
            unit: metric.unit.to_string(),
            least: metric.least,
            most: metric.most,
            goal: metric.better,
            reported: metric.reported.to_string(),
            applies_where: conditions(metric.applies),
            volatile: metric.is_volatile,
            description: metric.doc,
            source: metric.source,
        });
        Document { schema_version: JSON_SCHEMA_VERSION, metrics: metrics.collect() }
    }
}

#[cfg(test)]
mod tests {
    use insta::{assert_json_snapshot, assert_snapshot};

    use super::*;

    #[test]
    fn all_metrics_are_a_table() {
        assert_snapshot!(table(&METRICS.iter().collect::<Vec<_>>()));
    }

    #[test]
    fn one_metric_is_described() {
        let describe = |name: &str| description(find_metric(name).unwrap());
        assert_snapshot!([describe("rankme"), describe("ema_shifted_top1"), describe("seconds")].join("\n"));
    }

    #[test]
    fn the_document_has_all_that_is_known() {
        let metrics = ["cifar10.1_gap", "aux_loss"].map(|name| find_metric(name).unwrap());
        assert_json_snapshot!(Document::from(&metrics[..]));
    }

    #[test]
    fn an_unknown_metric_is_told_the_nearest() {
        let message = |name: &str| match unknown(name) {
            CliError::Usage(error) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            message("rank_me"),
            "the built-in trainer reports no metric `rank_me`; did you mean `rankme`?"
        );
        assert!(message("f1").contains("`sweep metrics` lists"));
    }
}
