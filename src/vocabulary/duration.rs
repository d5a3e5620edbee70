use std::time::Duration;

/// A year: what takes longer was meant to be something else.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// A time as people write it: `1d12h`, `3h30m`, `90s`; or `H:MM:SS` and `D-H:MM:SS`, as Slurm writes it. Longer than nothing
/// and no longer than a year.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let seconds = if text.contains(':') { parse_clock(text)? } else { parse_units(text)? };
    let time = Duration::from_secs(seconds);
    (!time.is_zero() && time <= LONGEST).then_some(time)
}

/// A time as Slurm reads and writes it: minutes, `M:SS`, `H:MM:SS`, `D-H`, `D-H:MM` or `D-H:MM:SS`. Longer than nothing and no longer
/// than a year; no limit (`UNLIMITED`) is no time.
#[must_use]
pub fn parse_slurm_time(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(whole(days)?), clock),
        None => (None, text),
    };
    let parts = clock.split(':').map(whole).collect::<Option<Vec<u64>>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (None, &[minutes]) => (0, minutes, 0),
        (None, &[minutes, seconds]) => (0, minutes, seconds),
        (Some(_), &[hours]) => (hours, 0, 0),
        (Some(_), &[hours, minutes]) => (hours, minutes, 0),
        (_, &[hours, minutes, seconds]) => (hours, minutes, seconds),
        _ => return None,
    };
    let hours = days.unwrap_or(0).checked_mul(24)?.checked_add(hours)?;
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    let time = Duration::from_secs(minutes.checked_mul(60)?.checked_add(seconds)?);
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
    fn time_is_read_in_units_and_as_a_clock_shows_it() {
        let seconds = |text| parse_duration(text).map(|time| time.as_secs());
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

    #[test]
    fn slurm_reads_one_number_as_minutes_and_two_as_minutes_and_seconds() {
        let seconds = |text| parse_slurm_time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90"), Some(5400));
        assert_eq!(seconds("3:30"), Some(210));
        assert_eq!(seconds("3:30:00"), Some(12_600));
        assert_eq!(seconds("1-12"), Some(129_600));
        assert_eq!(seconds("1-12:30"), Some(131_400));
        assert_eq!(seconds("1-12:00:01"), Some(129_601));
        for wrong in ["", "0", "UNLIMITED", "INVALID", "3h", "1:2:3:4", "1-", "-1", "1-2-3", "400-0", "::"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
