//! What a sweep will cost, and what it can show.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::value::decimals_of;
use super::{counted, grouped};
use crate::protocol::http::SubmitResponse;
use crate::protocol::insight::{Forecast, SpreadOfSeeds};

/// A difference is told apart at this level, two-sided, and found so often where it is there.
const CONFIDENCE: f64 = 0.95;
const POWER: f64 = 0.8;

/// What `sweep submit --plan` prints.
#[must_use]
pub fn forecast(planned: &SubmitResponse) -> String {
    let mut lines = Vec::new();
    let mut trials = grouped(planned.trials);
    if planned.trials_reused > 0 {
        trials += &format!(", {} of which have their result already", grouped(planned.trials_reused));
    }
    lines.push(("trials", trials));
    let new = match planned.jobs_new {
        new if new == planned.jobs => String::new(),
        new => format!(", {} of them new", grouped(new)),
    };
    lines.push(("stages", format!("{}{new}", grouped(planned.jobs))));
    let has_epochs = planned.epochs_unshared > planned.trials;
    let mut epochs = format!(
        "{} to run, of {} were each trial trained alone",
        grouped(planned.epochs_to_run),
        grouped(planned.epochs_unshared)
    );
    if planned.epochs_run_again > 0 {
        epochs += &format!(
            " ({} of them again, since nothing is left to go on from)",
            grouped(planned.epochs_run_again)
        );
    }
    // A program's trial is one epoch, of which nothing is to be said.
    if has_epochs {
        lines.push(("epochs", epochs));
    }
    if let Some(forecast) = &planned.forecast {
        lines.push((if forecast.on_gpus { "GPU-hours" } else { "slot-hours" }, time(planned, forecast)));
        lines.push(("disk", disk(forecast)));
        if let Some(metric) = &forecast.metric {
            lines.push((metric, difference(forecast, metric)));
        }
    }
    let width = lines.iter().map(|(head, _)| head.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(head, rest)| format!("{head:width$}  {rest}\n")).collect()
}

fn time(planned: &SubmitResponse, forecast: &Forecast) -> String {
    if planned.epochs_to_run == 0 {
        return "none: all is there".to_owned();
    }
    let Some(cost) = forecast.cost else {
        return "unknown yet: no job of this kind has finished".to_owned();
    };
    let epochs = as_float(planned.epochs_to_run);
    let of = |seconds: f64| hours(seconds * epochs);
    format!(
        "about {} ({} to {} at the speeds of nine in ten of {} of this kind)",
        of(cost.seconds),
        of(cost.low),
        of(cost.high),
        counted(cost.jobs, "finished job", "finished jobs")
    )
}

fn disk(forecast: &Forecast) -> String {
    if forecast.checkpoints_kept == 0 {
        return "no checkpoint stays".to_owned();
    }
    let kept = counted(forecast.checkpoints_kept, "checkpoint stays", "checkpoints stay");
    match forecast.checkpoint_bytes {
        Some(bytes) => format!(
            "{kept}, {} each: {}",
            size(as_float(bytes)),
            size(as_float(bytes) * as_float(forecast.checkpoints_kept))
        ),
        None => format!("{kept}; how large they are is unknown yet"),
    }
}

fn difference(forecast: &Forecast, metric: &str) -> String {
    let seeds = counted(forecast.seeds, "seed", "seeds");
    match forecast.spread {
        None => {
            "what can be told apart is unknown yet: no configuration of this kind has two results".to_owned()
        }
        Some(spread) => {
            let smallest = smallest_difference(spread, forecast.seeds);
            // Two digits of the smaller one.
            let decimals = decimals_of(smallest.min(spread.std) * 10.0);
            format!(
                "with {seeds} two configurations can be told apart whose {metric} differ by {smallest:.decimals$} or more (s = {:.decimals$})",
                spread.std
            )
        }
    }
}

/// The smallest difference of two means over `seeds` results each that a t test at 5 % finds four times in five, where s is known
/// with so many degrees of freedom: (t₀.₉₇₅ + t₀.₈) · s · √(2/n).
#[must_use]
pub fn smallest_difference(spread: SpreadOfSeeds, seeds: u64) -> f64 {
    let degrees = as_float(spread.degrees_of_freedom.max(1));
    // It exists for every positive number of degrees of freedom.
    let Ok(t) = StudentsT::new(0.0, 1.0, degrees) else { return f64::NAN };
    let quantiles = t.inverse_cdf(1.0 - (1.0 - CONFIDENCE) / 2.0) + t.inverse_cdf(POWER);
    quantiles * spread.std * (2.0 / as_float(seeds.max(1))).sqrt()
}

/// `46.7`: three digits.
fn hours(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    match hours {
        0.0..0.01 => format!("{hours:.4}"),
        0.01..1.0 => format!("{hours:.3}"),
        1.0..100.0 => format!("{hours:.1}"),
        _ => format!("{hours:.0}"),
    }
}

/// `44.7 MB`
fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{value:.0} B"),
        unit => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 of them")]
fn as_float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::insight::CostOfEpoch;
    use crate::vocabulary::SweepId;

    fn planned(forecast: Forecast) -> SubmitResponse {
        SubmitResponse {
            sweep: SweepId(2),
            name: "kd".to_owned(),
            trials: 396,
            trials_reused: 12,
            jobs: 399,
            jobs_new: 387,
            epochs_to_run: 8010,
            epochs_unshared: 19_800,
            epochs_run_again: 0,
            is_existing: false,
            selected: vec![],
            earlier: None,
            forecast: Some(forecast),
        }
    }

    fn known() -> Forecast {
        Forecast {
            metric: Some("top1".to_owned()),
            seeds: 3,
            cost: Some(CostOfEpoch { seconds: 21.0, low: 18.0, high: 25.5, jobs: 14 }),
            on_gpus: true,
            checkpoints_kept: 396,
            checkpoint_bytes: Some(44_700_000),
            spread: Some(SpreadOfSeeds { std: 0.21, degrees_of_freedom: 28 }),
        }
    }

    #[test]
    fn a_plan_says_what_it_costs_and_what_it_can_show() {
        let unknown =
            Forecast { cost: None, checkpoint_bytes: None, spread: None, on_gpus: false, ..known() };
        let text = [known(), unknown].map(|forecast| super::forecast(&planned(forecast))).join("\n");
        insta::assert_snapshot!(text);
    }

    /// By scipy: (t.ppf(0.975, 28) + t.ppf(0.8, 28)) * 0.21 * sqrt(2 / 3)
    #[test]
    fn the_smallest_difference_is_that_of_a_t_test() {
        let difference = smallest_difference(SpreadOfSeeds { std: 0.21, degrees_of_freedom: 28 }, 3);
        assert!((difference - 0.497_822).abs() < 1e-3, "{difference}");
    }
}
