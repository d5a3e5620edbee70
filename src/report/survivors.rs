//! Configurations of which a selection keeps some seeds and drops others for what these reported. A mean over those that are left is
//! not the configuration's.

use std::collections::BTreeMap;

use super::configurations::Configuration;
use super::value::settings;
use super::{count, counted};
use crate::protocol::http::TrialResult;
use crate::vocabulary::Parameters;

/// More configurations are counted only.
const MOST_NAMED: usize = 5;

/// A configuration, and what it lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its hash.
    pub configuration: String,
    /// `lr=0.1 width=8`
    pub settings: String,
    pub dropped_seeds: Vec<u64>,
}

/// `dropped`: trials that have a result and are left out for it.
pub(super) fn survivors(
    dropped: &[TrialResult],
    configurations: &[Configuration<'_>],
    swept: &[String],
) -> Vec<Survivor> {
    let key = |parameters: &Parameters| serde_json::to_string(parameters).unwrap_or_default();
    let mut seeds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for trial in dropped {
        seeds.entry(key(&trial.parameters)).or_default().push(trial.seed);
    }
    if seeds.is_empty() {
        return Vec::new();
    }
    let survivor = |configuration: &Configuration<'_>| {
        Some(Survivor {
            dropped_seeds: seeds.get(&key(configuration.parameters)).cloned()?,
            configuration: configuration.hash.clone(),
            settings: settings(configuration.parameters, swept.iter().map(String::as_str)),
        })
    };
    configurations.iter().filter(|configuration| configuration.n() > 0).filter_map(survivor).collect()
}

/// A line for each of the first, and one that says why it matters.
pub(super) fn warnings(survivors: &[Survivor]) -> Vec<String> {
    let line = |Survivor { settings, dropped_seeds, .. }: &Survivor| {
        let word = if dropped_seeds.len() == 1 { "seed" } else { "seeds" };
        let seeds: Vec<String> = dropped_seeds.iter().map(ToString::to_string).collect();
        format!("{settings} is without {word} {}", seeds.join(", "))
    };
    let mut named: Vec<String> = survivors.iter().take(MOST_NAMED).map(line).collect();
    let more = survivors.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        let other = counted(count(more), "other configuration is", "other configurations are");
        named.push(format!("{other} without seeds"));
    }
    if named.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "`--where` leaves out seeds for what they reported, and means over the others are biased: {}",
        named.join("; ")
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::grid;
    use crate::report::view::{View, ViewOptions};

    #[test]
    fn what_is_left_of_a_configuration_says_what_it_lost() {
        let all = grid(&[1.0, 2.0, 3.0], &[1.0], 3, &[("top1", &|a, _, seed| 10.0 * a + seed)]);
        let mut kept = all.clone();
        // All of a=1 is left out, which nobody takes for a mean; of a=2 one seed is.
        kept.trials.retain(|trial| trial.metrics["top1"] > 20.5);
        let dropped = all.trials.iter().filter(|trial| trial.metrics["top1"] <= 20.5).cloned().collect();
        let view = View::new(&kept, &ViewOptions { dropped, ..ViewOptions::default() }).unwrap();
        assert_eq!(view.survivors.len(), 1);
        assert_eq!(
            view.warnings(),
            [
                "`--where` leaves out seeds for what they reported, and means over the others are biased: a=2.0 b=1.0 is without seed 0"
            ]
        );
        assert_eq!(View::usual(&kept).warnings(), [""; 0]);
    }

    #[test]
    fn of_many_the_first_are_named() {
        let survivor = |at: u64| Survivor {
            configuration: String::new(),
            settings: format!("a={at}"),
            dropped_seeds: vec![0, 1],
        };
        let survivors: Vec<Survivor> = (0..7).map(survivor).collect();
        let said = warnings(&survivors);
        assert!(
            said[0].ends_with("a=4 is without seeds 0, 1; 2 other configurations are without seeds"),
            "{said:?}"
        );
    }
}
