//! What a spec says about where, when and how often its trials run. None of it changes a number or a trial's identity.

use std::time::Duration;

use super::error::{Findings, SpecProblem};
use super::keys::{read_integer, read_map};
use super::tree::Entry;
use crate::vocabulary::parse_duration;

/// What one trial needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// GPUs; `None` leaves it to the parameter `device`, and to the worker for a command.
    pub gpus: Option<u32>,
    /// CPUs of a command trial; the built-in trainer has its parameter `threads`.
    pub cpus: u32,
    /// The most memory that the processes of one attempt may use together.
    pub memory_bytes: Option<u64>,
    /// The longest that one attempt may take.
    pub time: Option<Duration>,
    /// The longest that one attempt may go without a report or a line of output.
    pub stall_timeout: Option<Duration>,
}

/// In which order trials are started, as far as what they share allows. Numbers never depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By number.
    Listed,
    /// In a random order that is always the same.
    Shuffled,
    /// So that every value of every axis is seen early.
    Balanced,
}

/// When the seeds of one configuration are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedOrder {
    /// One after the other.
    Interleaved,
    /// All configurations with the first seed, then all with the second.
    Last,
}

/// Which checkpoints of a trial stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last one, when it has succeeded.
    Last,
    /// That one, and those with the best values of the metric.
    Best,
    /// All that are written.
    All,
    None,
}

/// The words of the keys, in the order of the variants.
pub(super) const ORDERS: &[&str] = &["listed", "shuffled", "balanced"];
pub(super) const SEED_ORDERS: &[&str] = &["interleaved", "last"];
pub(super) const KEEPS: &[&str] = &["last", "best", "all", "none"];
pub(super) const RESOURCES: &[&str] = &["gpus", "cpus", "memory", "time", "stall_timeout"];

const DURATIONS: &str = "such as `3h30m`, `45m` or `3:30:00`";

impl Default for Resources {
    fn default() -> Resources {
        Resources { gpus: None, cpus: 1, memory_bytes: None, time: None, stall_timeout: None }
    }
}

/// `is_built_in`: whether the built-in trainer runs the trials.
pub(super) fn read_resources(entry: &Entry, is_built_in: bool, findings: &mut Findings) -> Resources {
    let mut resources = Resources::default();
    for part in read_map(entry, RESOURCES, findings).unwrap_or_default() {
        match part.key.as_str() {
            "cpus" if is_built_in => findings.push(
                SpecProblem::new(&part.key_span, "`cpus` has no effect on the built-in trainer")
                    .help("write the parameter `threads`"),
            ),
            "cpus" => resources.cpus = read_count(part, 1..=1024, findings).unwrap_or(1),
            "gpus" => resources.gpus = read_count(part, 0..=64, findings),
            "memory" => {
                resources.memory_bytes = read_unit(part, parse_bytes, "such as `8G` or `512M`", findings);
            }
            "time" => resources.time = read_unit(part, parse_duration, DURATIONS, findings),
            _ => resources.stall_timeout = read_unit(part, parse_duration, DURATIONS, findings),
        }
    }
    resources
}

fn read_count(part: &Entry, range: std::ops::RangeInclusive<i64>, findings: &mut Findings) -> Option<u32> {
    read_integer(part, range, findings).and_then(|number| u32::try_from(number).ok())
}

fn read_unit<T>(
    part: &Entry,
    parse: fn(&str) -> Option<T>,
    examples: &str,
    findings: &mut Findings,
) -> Option<T> {
    let text = part.node.scalar().map(|scalar| scalar.text.as_str());
    let parsed = text.and_then(parse);
    if parsed.is_none() {
        let message = format!("`{}` must be a number with a unit, {examples}", part.key);
        findings.push(SpecProblem::new(&part.node.span, message));
    }
    parsed
}

/// `512M`, `8G`, `1.5T`: powers of 1024, as Slurm has it; `B` or `iB` may follow.
fn parse_bytes(text: &str) -> Option<u64> {
    let bare = text.strip_suffix("iB").or_else(|| text.strip_suffix('B')).unwrap_or(text);
    let unit = bare.chars().next_back()?.to_ascii_uppercase();
    let power = "KMGT".find(unit)? + 1;
    let number: f64 = bare[..bare.len() - 1].trim_end().parse().ok()?;
    let bytes = number * 1024_f64.powi(i32::try_from(power).ok()?);
    let is_possible = (1.0..9.0e15).contains(&bytes);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and below 2⁵³")]
    is_possible.then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_powers_of_1024() {
        assert_eq!(parse_bytes("8G"), Some(8 << 30));
        assert_eq!(parse_bytes("512 MiB"), Some(512 << 20));
        assert_eq!(parse_bytes("1.5t"), Some(3 << 39));
        for wrong in ["8", "G", "-1G", "8X", "0G", "", "8GG", "1e300G", "nanG"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }
}
