//! Times as people read them.

/// `43 s`, `12 min`, `3 h 20 min`, `2 d 4 h`: to about a tenth.
#[must_use]
pub fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
    let seconds = seconds.clamp(0.0, 1e12).round() as u64;
    let (minutes, hours, days) = (seconds.div_ceil(60), seconds / 3600, seconds / 86_400);
    match seconds {
        0..100 => format!("{seconds} s"),
        100..5400 => format!("{minutes} min"),
        5400..172_800 => with_rest(hours, "h", seconds % 3600 / 60, "min"),
        _ => with_rest(days, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn with_rest(whole: u64, unit: &str, rest: u64, smaller: &str) -> String {
    match rest {
        0 => format!("{whole} {unit}"),
        rest => format!("{whole} {unit} {rest} {smaller}"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times_have_two_units_at_most() {
        let texts = [0.4, 43.0, 99.6, 700.0, 5400.0, 7200.0, 100_000.0, 190_000.0].map(duration);
        assert_eq!(texts, ["0 s", "43 s", "2 min", "12 min", "1 h 30 min", "2 h", "27 h 46 min", "2 d 4 h"]);
    }
}
