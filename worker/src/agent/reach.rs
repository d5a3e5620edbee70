//! Whether a job that begins now can still come to anything before the agent's time is over. Pure: the time is counted in looks.
//!
//! The built-in trainer writes a checkpoint at any step, so it only has to get going. A program has to get through: whatever it
//! has not finished when it is asked to end is lost.

use std::collections::VecDeque;
use std::time::Duration;

use sweep::protocol::http::Work;

/// How long a trainer takes until its first step, at the worst of times: libtorch and a dataset from a busy file system.
const START: Duration = Duration::from_secs(30);
/// Of a short time no larger part is left unused.
const SMALLEST_SHARE: u32 = 10;
/// How often the agent looks how much of its time is left.
const LOOKS: u32 = 200;
/// How many programs are remembered.
const REMEMBERED: usize = 16;

/// The time that is left, and what jobs take of it.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Until trials are asked to end; `None` where there is no limit.
    left: Option<Duration>,
    period: Duration,
    start: Duration,
    /// What the job leased last is.
    kind: Option<Kind>,
    /// How long programs took that ended well, newest last.
    programs: VecDeque<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Trainer,
    Program,
}

impl Reach {
    /// `time`: how long the agent works before it asks its trials to end.
    pub(crate) fn new(time: Option<Duration>) -> Reach {
        let time_or_none = time.unwrap_or_default();
        Reach {
            left: time,
            period: time_or_none / LOOKS,
            start: START.min(time_or_none / SMALLEST_SHARE),
            kind: None,
            programs: VecDeque::new(),
        }
    }

    /// When to look next.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        self.left.filter(|left| !left.is_zero()).map(|_| self.period)
    }

    /// So much time has passed.
    pub(crate) fn looked(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(self.period));
    }

    pub(crate) fn leased(&mut self, work: &Work) {
        self.kind = Some(match work {
            Work::Resnet(_) => Kind::Trainer,
            Work::Command(_) => Kind::Program,
        });
    }

    /// A program ended well after so long.
    pub(crate) fn program_ended(&mut self, wall: Duration) {
        if self.programs.len() == REMEMBERED {
            self.programs.pop_front();
        }
        self.programs.push_back(wall);
    }

    /// Whether a job like the last ones would come to nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.left.is_some_and(|left| left.is_zero() || left < self.needed())
    }

    fn needed(&self) -> Duration {
        match self.kind {
            Some(Kind::Trainer) => self.start,
            Some(Kind::Program) => {
                let programs = u32::try_from(self.programs.len()).unwrap_or(u32::MAX).max(1);
                self.programs.iter().sum::<Duration>() / programs
            }
            // Who has seen none can't tell.
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sweep::protocol::http::CommandWork;
    use sweep::protocol::trial::TrainRequest;
    use sweep::vocabulary::TrialNumber;

    const HOUR: Duration = Duration::from_secs(3600);

    fn program() -> Work {
        Work::Command(CommandWork {
            command: vec![],
            working_directory: String::new(),
            code: None,
            parameters: Default::default(),
            seed: 0,
            trial: TrialNumber(1),
            stage: None,
        })
    }

    fn trainer() -> Work {
        Work::Resnet(TrainRequest {
            parameters: Default::default(),
            seed: 0,
            dataset_checksum: String::new(),
            first_epoch: 1,
            last_epoch: 1,
            resume: None,
            teachers: Default::default(),
        })
    }

    /// How many looks until it is over.
    fn looks_until_over(reach: &mut Reach) -> u32 {
        let mut looks = 0;
        while !reach.is_over() {
            reach.looked();
            looks += 1;
        }
        looks
    }

    #[test]
    fn without_a_limit_it_is_never_over_and_nobody_looks() {
        let mut reach = Reach::new(None);
        reach.leased(&program());
        reach.program_ended(HOUR);
        assert_eq!((reach.next_look(), reach.is_over()), (None, false));
    }

    #[test]
    fn a_trainer_needs_the_time_to_get_going() {
        let mut reach = Reach::new(Some(HOUR));
        reach.leased(&trainer());
        assert_eq!(reach.next_look(), Some(HOUR / LOOKS));
        // Half a minute before the end, to the nearest look.
        assert_eq!(looks_until_over(&mut reach), LOOKS - 1);
        let mut short = Reach::new(Some(Duration::from_secs(2)));
        short.leased(&trainer());
        assert!(!short.is_over(), "of two seconds not all are needed");
    }

    #[test]
    fn a_program_needs_as_long_as_programs_took_on_average() {
        let mut reach = Reach::new(Some(HOUR));
        reach.leased(&program());
        for minutes in [10, 20] {
            reach.program_ended(Duration::from_secs(minutes * 60));
        }
        let looks = looks_until_over(&mut reach);
        assert_eq!(looks, LOOKS * 3 / 4 + 1, "a quarter of an hour is no longer left");
    }

    #[test]
    fn where_nothing_is_known_of_the_jobs_the_limit_alone_counts() {
        let mut reach = Reach::new(Some(HOUR));
        assert_eq!(looks_until_over(&mut reach), LOOKS);
        assert_eq!(reach.next_look(), None);
    }
}
