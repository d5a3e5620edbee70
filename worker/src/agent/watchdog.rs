//! Whether an attempt uses more than it may, and what is done about it. Pure: it is told the time and the memory.
//!
//! Who takes too long or makes no progress is asked to end, so that it can keep its state, and killed after the grace. Who
//! uses too much memory is killed at once: the machine has other trials on it.

use std::time::Duration;

use sweep::protocol::http::Limits;
use sweep::vocabulary::FailureReason;
use tokio::time::Instant;

use super::event::Stop;

/// How often the memory of a trial that has a limit is looked at: often enough that a leak is noticed early, and so rare
/// that looking costs a thousandth of a core.
const MEMORY_PERIOD: Duration = Duration::from_secs(1);

/// Watches one attempt.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limits: Limits,
    grace: Duration,
    started: Instant,
    progressed: Instant,
    measured: Instant,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Watching,
    Asked { excess: Excess, at: Instant },
    Killed { excess: Excess },
}

/// What an attempt has used too much of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Excess {
    Time { limit: Duration },
    Silence { limit: Duration },
    Memory { limit_bytes: u64, bytes: u64 },
}

impl Watchdog {
    /// `grace`: how long a trial has between being asked and being killed.
    pub(crate) fn new(limits: Limits, grace: Duration, now: Instant) -> Watchdog {
        Watchdog { limits, grace, started: now, progressed: now, measured: now, state: State::Watching }
    }

    /// The trial has reported or printed something.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.progressed = now;
    }

    /// When to look next; `None` where there is nothing to look for.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        match &self.state {
            State::Watching => {
                let time = millis(self.limits.time_millis).and_then(|limit| self.started.checked_add(limit));
                let silence =
                    millis(self.limits.stall_millis).and_then(|limit| self.progressed.checked_add(limit));
                let memory = self.limits.memory_bytes.map(|_| self.measured + MEMORY_PERIOD);
                [time, silence, memory].into_iter().flatten().min()
            }
            State::Asked { at, .. } => Some(*at + self.grace),
            State::Killed { .. } => None,
        }
    }

    /// Looks at the trial; says how to end it, where that is due. `memory` is asked only where it is time to.
    pub(crate) fn look(&mut self, now: Instant, memory: impl FnOnce() -> u64) -> Option<Stop> {
        match self.state {
            State::Watching => {
                let excess = self.find_excess(now, memory)?;
                let (state, stop) = match excess {
                    Excess::Memory { .. } => (State::Killed { excess }, Stop::Kill),
                    Excess::Time { .. } | Excess::Silence { .. } => {
                        (State::Asked { excess, at: now }, Stop::Terminate)
                    }
                };
                self.state = state;
                Some(stop)
            }
            State::Asked { excess, at } if now >= at + self.grace => {
                self.state = State::Killed { excess };
                Some(Stop::Kill)
            }
            State::Asked { .. } | State::Killed { .. } => None,
        }
    }

    fn find_excess(&mut self, now: Instant, memory: impl FnOnce() -> u64) -> Option<Excess> {
        if let Some(limit) = millis(self.limits.time_millis)
            && now.duration_since(self.started) >= limit
        {
            return Some(Excess::Time { limit });
        }
        if let Some(limit) = millis(self.limits.stall_millis)
            && now.duration_since(self.progressed) >= limit
        {
            return Some(Excess::Silence { limit });
        }
        let limit_bytes = self.limits.memory_bytes?;
        if now < self.measured + MEMORY_PERIOD {
            return None;
        }
        self.measured = now;
        let bytes = memory();
        (bytes > limit_bytes).then_some(Excess::Memory { limit_bytes, bytes })
    }

    /// Why the trial was ended, if the watchdog did it.
    pub(crate) fn verdict(&self) -> Option<(FailureReason, String)> {
        match self.state {
            State::Watching => None,
            State::Asked { excess, .. } | State::Killed { excess } => Some(excess.words()),
        }
    }
}

impl Excess {
    /// The reason of the failure, and the same for people.
    fn words(self) -> (FailureReason, String) {
        match self {
            Excess::Time { limit } => (
                FailureReason::Timeout,
                format!("took longer than its `time` of {}; raise it under `resources`", seconds(limit)),
            ),
            Excess::Silence { limit } => (
                FailureReason::Stalled,
                format!("reported and printed nothing for its `stall_timeout` of {}", seconds(limit)),
            ),
            Excess::Memory { limit_bytes, bytes } => (
                FailureReason::HostOom,
                format!(
                    "used {} MiB, more than its `memory` of {} MiB; raise it under `resources`",
                    mebibytes(bytes),
                    mebibytes(limit_bytes)
                ),
            ),
        }
    }
}

fn millis(limit: Option<u64>) -> Option<Duration> {
    limit.map(Duration::from_millis)
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);
    const NO_LIMITS: Limits = Limits { time_millis: None, stall_millis: None, memory_bytes: None };

    fn unasked() -> u64 {
        panic!("nobody should have looked at the memory")
    }

    #[test]
    fn without_limits_there_is_nothing_to_look_for() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(NO_LIMITS, GRACE, now);
        assert_eq!(watchdog.next_look(), None);
        assert_eq!(watchdog.look(now + Duration::from_secs(1 << 20), unasked), None);
        assert_eq!(watchdog.verdict(), None);
    }

    #[test]
    fn who_takes_too_long_is_asked_and_killed_after_the_grace() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(Limits { time_millis: Some(60_000), ..NO_LIMITS }, GRACE, now);
        // Progress is no excuse.
        watchdog.progressed(after(59));
        assert_eq!(watchdog.next_look(), Some(after(60)));
        assert_eq!(watchdog.look(after(59), unasked), None);
        assert_eq!(watchdog.look(after(60), unasked), Some(Stop::Terminate));
        assert_eq!(watchdog.next_look(), Some(after(70)));
        assert_eq!(watchdog.look(after(69), unasked), None);
        assert_eq!(watchdog.look(after(70), unasked), Some(Stop::Kill));
        assert_eq!(watchdog.next_look(), None);
        let (reason, message) = watchdog.verdict().unwrap();
        assert_eq!(reason, FailureReason::Timeout);
        assert_eq!(message, "took longer than its `time` of 60 s; raise it under `resources`");
    }

    #[test]
    fn only_silence_counts_as_a_stall() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut watchdog = Watchdog::new(Limits { stall_millis: Some(5000), ..NO_LIMITS }, GRACE, now);
        for seconds in [4, 8, 12] {
            assert_eq!(watchdog.look(after(seconds), unasked), None);
            watchdog.progressed(after(seconds));
        }
        assert_eq!(watchdog.next_look(), Some(after(17)));
        assert_eq!(watchdog.look(after(17), unasked), Some(Stop::Terminate));
        assert_eq!(watchdog.verdict().unwrap().0, FailureReason::Stalled);
    }

    #[test]
    fn who_uses_too_much_memory_is_killed_at_once() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let mut watchdog = Watchdog::new(Limits { memory_bytes: Some(1 << 30), ..NO_LIMITS }, GRACE, now);
        assert_eq!(watchdog.next_look(), Some(after(1000)));
        assert_eq!(watchdog.look(after(999), unasked), None);
        assert_eq!(watchdog.look(after(1000), || 1 << 30), None);
        assert_eq!(watchdog.next_look(), Some(after(2000)));
        assert_eq!(watchdog.look(after(2000), || 3 << 30), Some(Stop::Kill));
        assert_eq!(watchdog.next_look(), None);
        let (reason, message) = watchdog.verdict().unwrap();
        assert_eq!(reason, FailureReason::HostOom);
        let expected = "used 3072 MiB, more than its `memory` of 1024 MiB; raise it under `resources`";
        assert_eq!(message, expected);
    }

    #[test]
    fn a_limit_beyond_all_time_never_comes() {
        let limits = Limits { time_millis: Some(u64::MAX), stall_millis: Some(u64::MAX), ..NO_LIMITS };
        let now = Instant::now();
        let mut watchdog = Watchdog::new(limits, GRACE, now);
        assert_eq!(watchdog.look(now + GRACE, unasked), None);
        assert_eq!(watchdog.verdict(), None);
    }
}
