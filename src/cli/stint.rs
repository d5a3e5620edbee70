//! How long a command works on this machine: what it was asked for, less what workers of it have used up that did not last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::vocabulary::parse_duration;

/// When the work ends, beside when it is asked to.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct EndArgs {
    /// Exit after so many jobs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_jobs: Option<u64>,
    /// Exit when there was nothing to do for so long, such as `30m`.
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    idle_timeout: Option<Duration>,
    /// Exit after so long, such as `3h30m`; before that trials keep their state and are given back.
    #[arg(long, value_name = "TIME", value_parser = read_duration)]
    time_limit: Option<Duration>,
}

/// The time for which a command works, whatever becomes of its workers.
#[derive(Debug)]
pub(super) struct Stint {
    ends: EndArgs,
    began: Instant,
    /// Jobs that its workers have started.
    jobs: Arc<AtomicU64>,
}

/// What is left of a stint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    jobs: Option<u64>,
    idle: Option<Duration>,
    time: Option<Duration>,
}

impl Stint {
    /// Begins now.
    pub(super) fn begin(ends: EndArgs) -> Stint {
        Stint { ends, began: Instant::now(), jobs: Arc::default() }
    }

    /// Until there is nothing to do any more.
    pub(super) fn endless() -> Stint {
        Stint::begin(EndArgs::default())
    }

    /// How long to wait for something to do before there is any; as long as it takes where nothing is said.
    pub(super) fn patience(&self) -> Option<Duration> {
        let EndArgs { idle_timeout, time_limit, .. } = self.ends;
        [idle_timeout, time_limit].into_iter().flatten().min()
    }

    /// Where jobs are counted, as they are started; nothing where their number does not matter.
    pub(super) fn tally(&self) -> Option<Arc<AtomicU64>> {
        self.ends.max_jobs.map(|_| self.jobs.clone())
    }

    /// What is left for a worker that is started now and needs `grace` to end; nothing where it would have to end at once.
    pub(super) fn left(&self, grace: Duration) -> Option<Left> {
        self.left_after(self.began.elapsed(), grace)
    }

    fn left_after(&self, elapsed: Duration, grace: Duration) -> Option<Left> {
        let EndArgs { max_jobs, idle_timeout: idle, time_limit } = self.ends;
        let jobs = max_jobs.map(|jobs| jobs.saturating_sub(self.jobs.load(Ordering::SeqCst)));
        let time = time_limit.map(|limit| limit.saturating_sub(elapsed));
        // A limit that never left any time to work is for the worker to refuse.
        let is_over = time_limit.is_some_and(|limit| limit > grace) && time.is_some_and(|time| time <= grace);
        (jobs != Some(0) && !is_over).then_some(Left { jobs, idle, time })
    }
}

impl Left {
    pub(super) fn add_to(&self, command: &mut Command, grace: Duration) {
        if let Some(jobs) = self.jobs {
            command.args(["--max-jobs", &jobs.to_string(), "--tally"]);
        }
        // The worker takes whole seconds, and more of them than its grace has.
        let time = self.time.map(|time| match time > grace {
            true => time.as_secs().max(grace.as_secs() + 1),
            false => time.as_secs(),
        });
        let idle = self.idle.map(|idle| idle.as_secs());
        for (name, seconds) in [("--idle-timeout", idle), ("--time-limit", time)] {
            if let Some(seconds) = seconds {
                command.args([name, &format!("{seconds}s")]);
            }
        }
    }
}

fn read_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok_or_else(|| "expected a time with units, such as `3h30m`, `45m` or `3:30:00`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn stint(max_jobs: Option<u64>, idle: Option<u64>, time: Option<u64>) -> Stint {
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        Stint::begin(EndArgs { max_jobs, idle_timeout: seconds(idle), time_limit: seconds(time) })
    }

    /// The arguments for a worker that is started after so many seconds.
    fn arguments(stint: &Stint, seconds: f64) -> Option<String> {
        let left = stint.left_after(Duration::from_secs_f64(seconds), GRACE)?;
        let mut command = Command::new("worker");
        left.add_to(&mut command, GRACE);
        let arguments: Vec<_> =
            command.as_std().get_args().map(|argument| argument.to_string_lossy()).collect();
        Some(arguments.join(" "))
    }

    #[test]
    fn a_worker_gets_what_is_left_of_the_time() {
        let stint = stint(None, Some(90), Some(3600));
        assert_eq!(arguments(&stint, 0.0).unwrap(), "--idle-timeout 90s --time-limit 3600s");
        assert_eq!(arguments(&stint, 600.5).unwrap(), "--idle-timeout 90s --time-limit 2999s");
        assert_eq!(arguments(&stint, 3589.9).unwrap(), "--idle-timeout 90s --time-limit 11s");
        assert_eq!(arguments(&stint, 3590.0), None, "the rest is grace");
    }

    #[test]
    fn a_limit_without_time_to_work_is_handed_on_to_be_refused() {
        assert_eq!(arguments(&stint(None, None, Some(10)), 0.5).unwrap(), "--time-limit 9s");
    }

    #[test]
    fn a_worker_gets_what_is_left_of_the_jobs() {
        let stint = stint(Some(3), None, None);
        assert_eq!(arguments(&stint, 0.0).unwrap(), "--max-jobs 3 --tally");
        stint.tally().unwrap().fetch_add(2, Ordering::SeqCst);
        assert_eq!(arguments(&stint, 1.0).unwrap(), "--max-jobs 1 --tally");
        stint.tally().unwrap().fetch_add(1, Ordering::SeqCst);
        assert_eq!(arguments(&stint, 2.0), None);
        assert_eq!(arguments(&Stint::endless(), 1e6).unwrap(), "");
    }

    #[test]
    fn the_first_end_bounds_the_wait_for_something_to_do() {
        let patience = |idle, time| stint(None, idle, time).patience().map(|patience| patience.as_secs());
        assert_eq!(patience(Some(60), Some(30)), Some(30));
        assert_eq!(patience(Some(60), None), Some(60));
        assert_eq!(patience(None, None), None);
    }
}
