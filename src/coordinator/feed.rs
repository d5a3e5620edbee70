//! What happens, as a feed for live clients: the last events in a ring, each with a number that only grows.
//!
//! Whoever follows has a place in the ring and reads at its own pace. Nobody waits for a reader: one that falls behind
//! finds its place gone, is told to load everything anew, and goes on from there. So is one that comes with a number of
//! another process, since the numbers of each carry its start.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::protocol::http::LiveEvent;
use crate::vocabulary::{SweepId, Timestamp};

/// Some minutes of a busy coordinator, and a few megabytes at most.
const LONGEST: usize = 4096;

/// People with a dashboard open, in several tabs; each costs a connection.
const MOST_FOLLOWERS: usize = 128;

/// An event's place: which process told it, and as which of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// When the process started; no two coordinators of one table start in the same millisecond.
    epoch: Timestamp,
    number: u64,
}

/// Text that is no id of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of an event")]
pub struct ParseEventIdError(String);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch.0, self.number)
    }
}

impl FromStr for EventId {
    type Err = ParseEventIdError;

    fn from_str(text: &str) -> Result<EventId, ParseEventIdError> {
        let parts = text.split_once('-');
        let parsed = parts.and_then(|(epoch, number)| Some((epoch.parse().ok()?, number.parse().ok()?)));
        let (epoch, number) = parsed.ok_or_else(|| ParseEventIdError(text.to_owned()))?;
        Ok(EventId { epoch: Timestamp(epoch), number })
    }
}

/// The last events, and who follows them.
pub(super) struct Feed {
    epoch: Timestamp,
    ring: Mutex<Ring>,
    /// The newest event's number.
    newest: watch::Sender<u64>,
    places: Arc<Semaphore>,
    /// Something may have changed.
    touched: Notify,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<LiveEvent>,
    /// The number of the last event that is gone.
    gone: u64,
}

impl Feed {
    pub(super) fn new(epoch: Timestamp) -> Feed {
        Feed {
            epoch,
            ring: Mutex::default(),
            newest: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(MOST_FOLLOWERS)),
            touched: Notify::new(),
        }
    }

    /// Says that it is worth looking for changes.
    pub(super) fn touch(&self) {
        self.touched.notify_one();
    }

    pub(super) async fn touched(&self) {
        self.touched.notified().await;
    }

    pub(super) fn publish(&self, event: LiveEvent) {
        let newest = {
            let mut ring = self.ring();
            ring.events.push_back(event);
            if ring.events.len() > LONGEST {
                ring.events.pop_front();
                ring.gone += 1;
            }
            ring.newest()
        };
        self.newest.send_replace(newest);
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        // One that a panic left behind has at worst an event that nobody was told of yet.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn newest(&self) -> u64 {
        self.gone + self.events.len() as u64
    }

    /// The event after number `after`; `Err` where that is gone, or was never told by this process.
    fn after(&self, after: u64) -> Result<Option<&LiveEvent>, ()> {
        let place = after.checked_sub(self.gone).ok_or(())?;
        if after > self.newest() {
            return Err(());
        }
        Ok(usize::try_from(place).ok().and_then(|place| self.events.get(place)))
    }
}

/// Somebody who follows.
pub struct Follower {
    feed: Arc<Feed>,
    /// The last event that it has seen; none where it has to load everything.
    seen: Option<u64>,
    sweep: Option<SweepId>,
    newest: watch::Receiver<u64>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// A place in the feed behind the event `after`, where that is known; nothing where too many follow already. Only
    /// what concerns `sweep`, where one is named.
    pub(super) fn new(feed: Arc<Feed>, after: Option<EventId>, sweep: Option<SweepId>) -> Option<Follower> {
        let place = feed.places.clone().try_acquire_owned().ok()?;
        let seen = after.filter(|id| id.epoch == feed.epoch).map(|id| id.number);
        let newest = feed.newest.subscribe();
        Some(Follower { feed, seen, sweep, newest, _place: place })
    }

    /// The next event, once there is one. May be dropped and called again.
    pub async fn next(&mut self) -> (EventId, LiveEvent) {
        loop {
            self.newest.mark_unchanged();
            if let Some(next) = self.find_next() {
                return next;
            }
            // It ends only with the feed, which this keeps.
            if self.newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn find_next(&mut self) -> Option<(EventId, LiveEvent)> {
        let feed = self.feed.clone();
        let ring = feed.ring();
        let id = |number| EventId { epoch: feed.epoch, number };
        loop {
            let found = self.seen.ok_or(()).and_then(|seen| Ok((seen, ring.after(seen)?)));
            let Ok((seen, found)) = found else {
                self.seen = Some(ring.newest());
                return Some((id(ring.newest()), LiveEvent::Reset));
            };
            let event = found?;
            self.seen = Some(seen + 1);
            if self.sweep.is_none() || event.sweep().is_none() || event.sweep() == self.sweep {
                return Some((id(seen + 1), event.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::WorkerId;

    const EPOCH: Timestamp = Timestamp(7);

    fn feed(events: u64) -> Arc<Feed> {
        let feed = Arc::new(Feed::new(EPOCH));
        (0..events).for_each(|n| feed.publish(left(n)));
        feed
    }

    fn left(n: u64) -> LiveEvent {
        LiveEvent::WorkerLeft { worker: WorkerId(i64::try_from(n).unwrap() + 1) }
    }

    fn at(number: u64) -> Option<EventId> {
        Some(EventId { epoch: EPOCH, number })
    }

    #[tokio::test]
    async fn who_comes_back_hears_what_was_missed() {
        let feed = feed(3);
        let mut follower = Follower::new(feed.clone(), at(1), None).unwrap();
        assert_eq!(follower.next().await, (at(2).unwrap(), left(1)));
        assert_eq!(follower.next().await, (at(3).unwrap(), left(2)));
        assert_eq!(follower.find_next(), None);
        feed.publish(left(3));
        assert_eq!(follower.next().await, (at(4).unwrap(), left(3)));
    }

    #[tokio::test]
    async fn who_is_new_or_comes_from_elsewhere_loads_everything_and_goes_on_from_there() {
        let feed = feed(3);
        let other = EventId { epoch: Timestamp(6), number: 2 };
        for after in [None, Some(other), at(4)] {
            let mut follower = Follower::new(feed.clone(), after, None).unwrap();
            assert_eq!(follower.next().await, (at(3).unwrap(), LiveEvent::Reset), "{after:?}");
            assert_eq!(follower.find_next(), None);
        }
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_so_and_the_feed_stays_bounded() {
        let feed = feed(1);
        let mut slow = Follower::new(feed.clone(), at(0), None).unwrap();
        let last = LONGEST as u64 + 2;
        (1..last).for_each(|n| feed.publish(left(n)));
        assert_eq!(feed.ring().events.len(), LONGEST);
        assert_eq!(slow.next().await, (at(last).unwrap(), LiveEvent::Reset));
        let mut quick = Follower::new(feed.clone(), at(2), None).unwrap();
        assert_eq!(quick.next().await, (at(3).unwrap(), left(2)));
    }

    #[tokio::test]
    async fn who_follows_one_sweep_hears_nothing_of_others() {
        let feed = feed(0);
        let ended = |sweep| LiveEvent::TrialsEnded { sweep: SweepId(sweep), trials: vec![] };
        for event in [ended(1), ended(2), left(0)] {
            feed.publish(event);
        }
        let mut follower = Follower::new(feed.clone(), at(0), Some(SweepId(2))).unwrap();
        assert_eq!(follower.next().await, (at(2).unwrap(), ended(2)));
        assert_eq!(follower.next().await, (at(3).unwrap(), left(0)));
    }

    #[test]
    fn places_are_bounded_and_come_free() {
        let feed = feed(0);
        let all: Vec<_> = (0..MOST_FOLLOWERS).map(|_| Follower::new(feed.clone(), None, None)).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(Follower::new(feed.clone(), None, None).is_none());
        drop(all);
        assert!(Follower::new(feed, None, None).is_some());
    }

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = EventId { epoch: Timestamp(1_700_000_000_000), number: 12 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "12", "a-1", "1-", "1-x"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
