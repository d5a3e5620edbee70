//! Looks for what has changed and tells the feed: at most some times a second, however much happens.
//!
//! Requests only say that there is something to see. So the writer and whoever waits for it have nothing to do with those
//! who follow, and a sweep of which a thousand trials end in a second makes some events and not thousands.

use std::collections::BTreeMap;
use std::time::Duration;

use super::feed::{EventId, Follower};
use super::{Coordinator, CoordinatorError, Vitals, wire};
use crate::protocol::http::{EndedTrial, LiveEvent, SweepStatus, WorkerStatus};
use crate::store::{self, FinishedTrialRow, RecentlyFinished, StoreError};
use crate::vocabulary::{SweepId, WorkerId};

/// Between two looks: people see no difference, and the table is not asked more often.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks where nobody said that anything changed: what agents do by being silent.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);

/// More trials than this in one look, and whoever follows loads everything anew.
const MOST_TRIALS: u32 = 4096;

/// What was told last.
#[derive(Debug, Default)]
struct Told {
    sweeps: BTreeMap<SweepId, SweepStatus>,
    workers: BTreeMap<WorkerId, WorkerStatus>,
    expired_leases: u64,
    /// Jobs that ended and whose trials were not told of yet.
    owed: RecentlyFinished,
}

impl Coordinator {
    /// Somebody who follows what happens, from behind the event `after` on where that is still known; nothing where too
    /// many follow already.
    #[must_use]
    pub fn follow(&self, after: Option<EventId>, sweep: Option<SweepId>) -> Option<Follower> {
        Follower::new(self.feed.clone(), after, sweep)
    }

    /// Tells the feed what changes, for as long as the coordinator runs. Stops when the table is closed.
    pub async fn publish_changes(self) {
        let mut told = Told::default();
        loop {
            match self.look(&mut told).await {
                Ok(()) => {}
                Err(CoordinatorError::Store(StoreError::Closed)) => return,
                Err(error) => tracing::debug!(%error, "can't look for changes"),
            }
            tokio::time::sleep(PAUSE).await;
            // Either way it is time for a look.
            let _touched = tokio::time::timeout(LOOK_ANYWAY, self.feed.touched()).await;
        }
    }

    async fn look(&self, told: &mut Told) -> Result<(), CoordinatorError> {
        // Before the counts: a trial that ends in between is told of in the next look, never left out.
        told.owed.append(self.store.take_finished());
        let mut ended = Vec::new();
        if !told.owed.jobs.is_empty() {
            let mut reader = self.store.reader().await?;
            ended = store::list_finished_trials(&mut reader, &told.owed.jobs, MOST_TRIALS).await?;
        }
        // Until here nothing was told: where the table can't be read the next look does it.
        let now = Told::from(self.vitals().await?);
        if told.owed.has_more || ended.len() > MOST_TRIALS as usize {
            ended.clear();
            self.feed.publish(LiveEvent::Reset);
        }
        differences(told, &now, ended).into_iter().for_each(|event| self.feed.publish(event));
        *told = now;
        Ok(())
    }
}

impl From<Vitals> for Told {
    fn from(vitals: Vitals) -> Told {
        Told {
            sweeps: vitals.sweeps.into_iter().map(|sweep| (sweep.id, sweep)).collect(),
            workers: vitals.workers.into_iter().map(|worker| (worker.id, worker)).collect(),
            expired_leases: vitals.counts.expired_leases,
            owed: RecentlyFinished::default(),
        }
    }
}

/// What to tell: who came, what ended, how the sweeps stand now, who went.
fn differences(before: &Told, now: &Told, ended: Vec<FinishedTrialRow>) -> Vec<LiveEvent> {
    let mut events = Vec::new();
    let came = now.workers.values().filter(|worker| !before.workers.contains_key(&worker.id));
    events.extend(came.map(|worker| LiveEvent::WorkerJoined {
        worker: worker.id,
        host: worker.host.clone(),
        slots: worker.slots,
    }));
    let mut trials = BTreeMap::<SweepId, Vec<EndedTrial>>::new();
    for trial in ended {
        let Some(state) = wire::ended(&trial.job_state) else { continue };
        trials.entry(trial.sweep).or_default().push(EndedTrial { trial: trial.number, state });
    }
    events.extend(trials.into_iter().map(|(sweep, trials)| LiveEvent::TrialsEnded { sweep, trials }));
    let changed = now.sweeps.values().filter(|sweep| before.sweeps.get(&sweep.id) != Some(sweep));
    events.extend(changed.cloned().map(LiveEvent::SweepChanged));
    let leases = now.expired_leases.saturating_sub(before.expired_leases);
    if leases > 0 {
        events.push(LiveEvent::LeasesExpired { leases });
    }
    let went = before.workers.keys().filter(|worker| !now.workers.contains_key(worker));
    events.extend(went.map(|&worker| LiveEvent::WorkerLeft { worker }));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::{Fixture, complete};
    use crate::protocol::http::{SweepState, TrialCounts, TrialState};
    use crate::store::tests::rename_table;
    use crate::vocabulary::TrialNumber;

    fn sweep(id: i64, queued: u64) -> (SweepId, SweepStatus) {
        let trials = TrialCounts { total: 2, queued, ..TrialCounts::default() };
        let status = SweepStatus {
            id: SweepId(id),
            name: "s".to_owned(),
            state: SweepState::Queued,
            trials,
            priority: 0,
        };
        (SweepId(id), status)
    }

    fn worker(id: i64, last_seen_seconds: f64) -> (WorkerId, WorkerStatus) {
        let status = WorkerStatus {
            id: WorkerId(id),
            host: "h".to_owned(),
            pid: 1,
            slots: 2,
            running: 0,
            last_seen_seconds,
            node: None,
            problem: None,
            slurm: None,
        };
        (WorkerId(id), status)
    }

    #[tokio::test]
    async fn what_ended_is_told_although_the_table_could_not_be_read_at_first() {
        for unreadable in ["trials", "workers"] {
            let fixture = Fixture::new().await;
            let sweep = fixture.submit("command: [/bin/true]\nparameters: {x: [1, 2]}\n").await;
            let mut told = Told::default();
            fixture.coordinator.look(&mut told).await.unwrap();
            let mut follower = fixture.coordinator.follow(None, None).unwrap();
            assert_eq!(follower.next().await.1, LiveEvent::Reset);
            let leases = fixture.lease().await;
            for lease in leases {
                fixture.finish(lease.token, complete()).await;
                rename_table(&fixture.database(), unreadable, "hidden").await;
                assert!(fixture.coordinator.look(&mut told).await.is_err());
                rename_table(&fixture.database(), "hidden", unreadable).await;
            }
            fixture.coordinator.look(&mut told).await.unwrap();
            let ended = [1, 2].map(|n| EndedTrial { trial: TrialNumber(n), state: TrialState::Succeeded });
            let expected = LiveEvent::TrialsEnded { sweep, trials: ended.to_vec() };
            assert_eq!(follower.next().await.1, expected, "{unreadable}");
            assert_eq!(told.owed, RecentlyFinished::default());
        }
    }

    #[test]
    fn only_what_changed_is_told() {
        let before = Told {
            sweeps: [sweep(1, 2), sweep(2, 2)].into(),
            workers: [worker(1, 0.0), worker(2, 0.0)].into(),
            expired_leases: 1,
            ..Told::default()
        };
        let now = Told {
            sweeps: [sweep(1, 1), sweep(2, 2), sweep(3, 2)].into(),
            workers: [worker(2, 5.0), worker(3, 0.0)].into(),
            expired_leases: 3,
            ..Told::default()
        };
        let row = |sweep, number, state: &str| FinishedTrialRow {
            sweep: SweepId(sweep),
            number: TrialNumber(number),
            job_state: state.to_owned(),
        };
        let ended = vec![row(1, 1, "succeeded"), row(1, 2, "queued")];
        assert_eq!(
            differences(&before, &now, ended),
            [
                LiveEvent::WorkerJoined { worker: WorkerId(3), host: "h".to_owned(), slots: 2 },
                LiveEvent::TrialsEnded {
                    sweep: SweepId(1),
                    trials: vec![EndedTrial { trial: TrialNumber(1), state: TrialState::Succeeded }],
                },
                LiveEvent::SweepChanged(sweep(1, 1).1),
                LiveEvent::SweepChanged(sweep(3, 2).1),
                LiveEvent::LeasesExpired { leases: 2 },
                LiveEvent::WorkerLeft { worker: WorkerId(1) },
            ]
        );
        assert_eq!(differences(&now, &now, vec![]), []);
    }
}
