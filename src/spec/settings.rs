//! What a spec says about where, when and how often its trials run. None of it changes a number or a trial's identity.

use std::time::Duration;

use super::error::{Findings, SpecProblem};
use super::keys::{read_integer, read_map};
use super::tree::Entry;

/// What one trial needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// GPUs; `None` leaves it to the parameter `device`, and to the worker for a command.
    pub gpus: Option<u32>,
    /// CPUs of a command trial; the built-in trainer has its parameter `threads`.
    pub cpus: u32,
    pub memory_bytes: Option<u64>,
    /// The longest that one attempt may take.
    pub time: Option<Duration>,
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
pub(super) const RESOURCES: &[&str] = &["gpus", "cpus", "memory", "time"];

/// A year: what takes longer was meant to be something else.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Default for Resources {
    fn default() -> Resources {
        Resources { gpus: None, cpus: 1, memory_bytes: None, time: None }
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
            _ => {
                resources.time = read_unit(part, parse_time, "such as `3h30m`, `45m` or `3:30:00`", findings);
            }
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

/// `1d12h`, `3h30m`, `90s`; or `H:MM:SS` and `D-H:MM:SS`, as Slurm writes it.
fn parse_time(text: &str) -> Option<Duration> {
    let seconds = if text.contains(':') { parse_clock(text)? } else { parse_units(text)? };
    let time = Duration::from_secs(seconds);
    (!time.is_zero() && time <= LONGEST).then_some(time)
}

fn parse_units(text: &str) -> Option<u64> {
    let mut seconds = 0_u64;
    let mut rest = text;
    // From the largest unit to the smallest, each at most once.
    for (unit, length) in [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)] {
        let Some((number, behind)) = rest.split_once(unit) else { continue };
        seconds = seconds.checked_add(whole(number.trim())?.checked_mul(length)?)?;
        rest = behind.trim_start();
    }
    (rest.is_empty() && !text.is_empty()).then_some(seconds)
}

fn parse_clock(text: &str) -> Option<u64> {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let mut parts = clock.split(':');
    let (hours, minutes, seconds) = (whole(parts.next()?)?, whole(parts.next()?)?, whole(parts.next()?)?);
    let is_clock = parts.next().is_none() && minutes < 60 && seconds < 60;
    let hours = whole(days)?.checked_mul(24)?.checked_add(hours)?;
    is_clock.then_some(())?;
    hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)
}

fn whole(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
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

    #[test]
    fn time_is_read_in_units_and_as_a_clock_shows_it() {
        let seconds = |text| parse_time(text).map(|time| time.as_secs());
        assert_eq!(seconds("3h30m"), Some(12_600));
        assert_eq!(seconds("3:30:00"), Some(12_600));
        assert_eq!(seconds("1-12:00:00"), Some(129_600));
        assert_eq!(seconds("1d 12h"), Some(129_600));
        assert_eq!(seconds("90s"), Some(90));
        for wrong in
            ["3", "30m3h", "3:30", "0s", "", "h", "1:60:00", "-3h", "400d", "3h30", "99999999999999999999d"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
