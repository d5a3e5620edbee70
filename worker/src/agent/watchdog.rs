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
    measuring: Measuring,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Watching,
    Asked { excess: Excess, at: Instant },
    Killed { excess: Excess },
}

/// How far it is with the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measuring {
    Due { at: Instant },
    UnderWay,
}

/// What an attempt has used too much of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Excess {
    Time { limit: Duration },
    Silence { limit: Duration },
    Memory { limit_bytes: u64, bytes: u64 },
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// End the trial.
    Stop(Stop),
    /// Find out how much memory it uses; exactly only beyond this many bytes.
    Memory { limit_bytes: u64 },
}

impl Watchdog {
    /// `grace`: how long a trial has between being asked and being killed.
    pub(crate) fn new(limits: Limits, grace: Duration, now: Instant) -> Watchdog {
        let measuring = Measuring::Due { at: now + MEMORY_PERIOD };
        Watchdog { limits, grace, started: now, progressed: now, measuring, state: State::Watching }
    }

    /// The trial has reported or printed something.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.progressed = now;
    }

    /// When to look next; `None` where there is nothing to look for.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let memory = self.memory_due().map(|(at, _)| at);
        match &self.state {
            State::Watching => {
                let time = millis(self.limits.time_millis).and_then(|limit| self.started.checked_add(limit));
                let silence =
                    millis(self.limits.stall_millis).and_then(|limit| self.progressed.checked_add(limit));
                [time, silence, memory].into_iter().flatten().min()
            }
            State::Asked { at, .. } => [Some(*at + self.grace), memory].into_iter().flatten().min(),
            State::Killed { .. } => None,
        }
    }

    /// Looks at the trial; says what is due.
    pub(crate) fn look(&mut self, now: Instant) -> Option<Due> {
        match self.state {
            State::Watching => {
                if let Some(excess) = self.find_excess(now) {
                    self.state = State::Asked { excess, at: now };
                    return Some(Due::Stop(Stop::Terminate));
                }
            }
            State::Asked { excess, at } if now >= at + self.grace => {
                self.state = State::Killed { excess };
                return Some(Due::Stop(Stop::Kill));
            }
            State::Asked { .. } => {}
            State::Killed { .. } => return None,
        }
        let (_, limit_bytes) = self.memory_due().filter(|(at, _)| now >= *at)?;
        self.measuring = Measuring::UnderWay;
        Some(Due::Memory { limit_bytes })
    }

    /// Takes in how much memory the trial uses; says how to end it, where that is too much.
    pub(crate) fn measured(&mut self, now: Instant, bytes: u64) -> Option<Stop> {
        // Counted from the end, so that a slow look leaves time for other things.
        self.measuring = Measuring::Due { at: now + MEMORY_PERIOD };
        let limit_bytes = self.limits.memory_bytes.filter(|&limit| bytes > limit)?;
        let excess = match self.state {
            State::Watching => Excess::Memory { limit_bytes, bytes },
            // What it was asked for stays the reason, but the machine can't wait for the grace's end.
            State::Asked { excess, .. } => excess,
            State::Killed { .. } => return None,
        };
        self.state = State::Killed { excess };
        Some(Stop::Kill)
    }

    fn memory_due(&self) -> Option<(Instant, u64)> {
        match self.measuring {
            Measuring::Due { at } => self.limits.memory_bytes.map(|limit| (at, limit)),
            Measuring::UnderWay => None,
        }
    }

    fn find_excess(&self, now: Instant) -> Option<Excess> {
        let is_over = |since: Instant, limit: &Duration| now.duration_since(since) >= *limit;
        let time = millis(self.limits.time_millis).filter(|limit| is_over(self.started, limit));
        let silence = millis(self.limits.stall_millis).filter(|limit| is_over(self.progressed, limit));
        time.map(|limit| Excess::Time { limit }).or(silence.map(|limit| Excess::Silence { limit }))
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

    const ASK: Option<Due> = Some(Due::Stop(Stop::Terminate));
    const KILL: Option<Due> = Some(Due::Stop(Stop::Kill));

    #[test]
    fn without_limits_there_is_nothing_to_look_for() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(NO_LIMITS, GRACE, now);
        assert_eq!(watchdog.next_look(), None);
        assert_eq!(watchdog.look(now + Duration::from_secs(1 << 20)), None);
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
        assert_eq!(watchdog.look(after(59)), None);
        assert_eq!(watchdog.look(after(60)), ASK);
        assert_eq!(watchdog.next_look(), Some(after(70)));
        assert_eq!(watchdog.look(after(69)), None);
        assert_eq!(watchdog.look(after(70)), KILL);
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
            assert_eq!(watchdog.look(after(seconds)), None);
            watchdog.progressed(after(seconds));
        }
        assert_eq!(watchdog.next_look(), Some(after(17)));
        assert_eq!(watchdog.look(after(17)), ASK);
        assert_eq!(watchdog.verdict().unwrap().0, FailureReason::Stalled);
    }

    #[test]
    fn who_uses_too_much_memory_is_killed_at_once() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let limit_bytes = 1 << 30;
        let mut watchdog = Watchdog::new(Limits { memory_bytes: Some(limit_bytes), ..NO_LIMITS }, GRACE, now);
        assert_eq!(watchdog.next_look(), Some(after(1000)));
        assert_eq!(watchdog.look(after(999)), None);
        assert_eq!(watchdog.look(after(1000)), Some(Due::Memory { limit_bytes }));
        assert_eq!((watchdog.next_look(), watchdog.look(after(1500))), (None, None), "one look at a time");
        assert_eq!(watchdog.measured(after(3000), limit_bytes), None);
        assert_eq!(watchdog.next_look(), Some(after(4000)));
        assert_eq!(watchdog.look(after(4000)), Some(Due::Memory { limit_bytes }));
        assert_eq!(watchdog.measured(after(4000), 3 << 30), Some(Stop::Kill));
        assert_eq!(watchdog.next_look(), None);
        let (reason, message) = watchdog.verdict().unwrap();
        assert_eq!(reason, FailureReason::HostOom);
        let expected = "used 3072 MiB, more than its `memory` of 1024 MiB; raise it under `resources`";
        assert_eq!(message, expected);
    }

    #[test]
    fn who_was_asked_to_end_and_uses_too_much_memory_gets_no_grace() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let limits = Limits { time_millis: Some(500), memory_bytes: Some(1 << 30), ..NO_LIMITS };
        let mut watchdog = Watchdog::new(limits, GRACE, now);
        assert_eq!(watchdog.look(after(500)), ASK);
        assert_eq!(watchdog.next_look(), Some(after(1000)), "the grace ends at 10500");
        assert_eq!(watchdog.look(after(1000)), Some(Due::Memory { limit_bytes: 1 << 30 }));
        assert_eq!(watchdog.next_look(), Some(after(10_500)));
        assert_eq!(watchdog.measured(after(1100), 2 << 30), Some(Stop::Kill));
        assert_eq!(watchdog.verdict().unwrap().0, FailureReason::Timeout, "that is why it was asked");
    }

    #[test]
    fn the_grace_ends_although_a_look_at_the_memory_takes_long() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let limits = Limits { time_millis: Some(1000), memory_bytes: Some(1 << 30), ..NO_LIMITS };
        let mut watchdog = Watchdog::new(limits, GRACE, now);
        assert_eq!(watchdog.look(after(1000)), ASK);
        assert_eq!(watchdog.look(after(1000)), Some(Due::Memory { limit_bytes: 1 << 30 }));
        assert_eq!(watchdog.look(after(11_000)), KILL);
        assert_eq!(watchdog.measured(after(12_000), 2 << 30), None, "it is over already");
    }

    #[test]
    fn a_limit_beyond_all_time_never_comes() {
        let limits = Limits { time_millis: Some(u64::MAX), stall_millis: Some(u64::MAX), ..NO_LIMITS };
        let now = Instant::now();
        let mut watchdog = Watchdog::new(limits, GRACE, now);
        assert_eq!(watchdog.look(now + GRACE), None);
        assert_eq!(watchdog.verdict(), None);
    }
}
