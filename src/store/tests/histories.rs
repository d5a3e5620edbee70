//! The histories of `lease::histories` sent through SQLite: after each act the table says what `lease::step` says.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::planned::state;
use super::*;
use crate::lease::histories::{Act, Answer, LASTS, RETRIES, START, Token, World, any_act, any_forest};
use crate::lease::{Job, JobState, READY};
use crate::store::{Chosen, Keep, NewJob, NewTrial, TrialSource};
use crate::vocabulary::{Attempt, JobId, Nonce};

/// Each takes about twenty transactions.
const HISTORIES: u32 = 1_000;
/// As many as the state machine's own test has.
const MANY_HISTORIES: u32 = 10_000;

#[derive(Debug)]
struct Numbered;

impl TrialSource for Numbered {
    fn number(&self, index: usize) -> TrialNumber {
        TrialNumber(i64::try_from(index).unwrap() + 1)
    }

    fn trial(&self, index: usize) -> NewTrial {
        NewTrial { number: self.number(index), parameters: "{}".to_owned(), seed: 0 }
    }
}

/// A sweep of these jobs, an epoch each, with a trial that ends in every one.
fn forest(name: &str, parents: &[Option<usize>]) -> NewSweep {
    let mut depths: Vec<u32> = Vec::new();
    for parent in parents {
        depths.push(parent.map_or(1, |parent| depths[parent] + 1));
    }
    let narrow = |place: usize| u32::try_from(place).unwrap();
    let job = |(place, parent): (usize, &Option<usize>)| NewJob {
        state: state(&format!("{name} {place}")),
        parent: parent.map(narrow),
        trial: narrow(place),
        context: 0,
        cpus: 1,
        first_epoch: depths[place],
        last_epoch: depths[place],
        inner_from: 0,
    };
    NewSweep {
        retries: RETRIES,
        keep: Keep::Last,
        jobs: parents.iter().enumerate().map(job).collect(),
        inner_states: vec![],
        trial_ends: (0..narrow(parents.len())).collect(),
        trials: std::sync::Arc::new(Numbered),
        ..sweep(name, &[])
    }
}

/// The table's side of a history.
struct Table {
    store: Store,
    sweep: SweepId,
    /// Id of the first job.
    first: i64,
    /// What the history, which knows nothing of tables, has not of its tokens.
    nonces: RefCell<BTreeMap<(JobId, Attempt), Nonce>>,
}

impl Table {
    async fn apply(&self, world: &World, token: Option<Token>, act: &Act) -> Option<Vec<Token>> {
        let now = world.now;
        let lease_for = |token: Token| {
            let (job, attempt) = (self.id(token.job), token.attempt);
            LeaseFor { job, attempt, nonce: self.nonces.borrow()[&(job, attempt)] }
        };
        let end = async |ended| {
            if let Some(token) = token {
                let outcome = NewOutcome { lease: lease_for(token), reports: vec![], ended };
                self.store.finish(vec![outcome], now).await.unwrap();
            }
        };
        match act {
            Act::Lease { worker, most } => {
                let most = u32::try_from(*most).unwrap();
                let grant = Grant { worker: *worker, sweep: Some(self.sweep), most, lasts: LASTS };
                let leased = jobs(self.store.lease(grant, now).await.unwrap());
                let leases = leased.iter().map(|leased| leased.lease);
                let nonces = leases.map(|lease| ((lease.job, lease.attempt), lease.nonce));
                self.nonces.borrow_mut().extend(nonces);
                let token = |leased: LeasedJob| Token {
                    job: usize::try_from(leased.lease.job.0 - self.first).unwrap(),
                    attempt: leased.lease.attempt,
                    worker: *worker,
                };
                return Some(leased.into_iter().map(token).collect());
            }
            Act::Heartbeat { .. } => {
                if let Some(token) = token {
                    let beat = super::super::Beat {
                        worker: token.worker,
                        leases: vec![lease_for(token)],
                        lasts: LASTS,
                    };
                    self.store.heartbeat(beat, now).await.unwrap();
                }
            }
            Act::Complete { .. } => {
                if let Some(token) = token {
                    // Without it, what comes after the job could not go on, and the job would be made again.
                    let hash = blake3::hash(&self.id(token.job).0.to_le_bytes()).to_hex().parse().unwrap();
                    let checkpoint = Checkpoint { hash, epoch: 1, step: 0, size_bytes: 1 };
                    let last = NewReport { checkpoint: Some(checkpoint), ..report(1, 0.5) };
                    let outcome =
                        NewOutcome { lease: lease_for(token), reports: vec![last], ended: complete() };
                    self.store.finish(vec![outcome], now).await.unwrap();
                }
            }
            Act::Fail { reason, .. } => end(fail(&reason.to_string())).await,
            Act::Release { .. } => end(Ended::Release).await,
            Act::Expire => drop(self.store.expire(now, Timestamp(i64::MIN)).await.unwrap()),
            Act::WorkerLost { worker } => drop(self.store.bury(*worker, now).await.unwrap()),
            Act::Cancel => drop(self.store.cancel(self.sweep, Chosen::All, now).await.unwrap()),
            Act::Retry => drop(self.store.retry(self.sweep, Chosen::All, now).await.unwrap()),
            Act::Pause => self.store.pause(self.sweep).await.unwrap(),
            Act::Resume => self.store.resume(self.sweep).await.unwrap(),
            Act::Clock { .. } => {}
        }
        None
    }

    fn id(&self, place: usize) -> JobId {
        JobId(self.first + i64::try_from(place).unwrap())
    }

    /// Every job in the words of the table.
    async fn jobs(&self) -> Vec<Words> {
        sqlx::query_as(
            "SELECT state, attempt, last_outcome, worker_id, lease_deadline, waits_until, failure_reason, failures
             FROM jobs WHERE id >= ? ORDER BY id",
        )
        .bind(self.first)
        .fetch_all(&self.store.readers)
        .await
        .unwrap()
    }
}

type Words = (String, i64, Option<String>, Option<i64>, Option<i64>, Option<i64>, Option<String>, String);

fn words(job: &Job, now: Timestamp) -> Words {
    let ended = job.last_ended.map_or(0, |ended| ended.attempt.0);
    let mut words: Words = (
        job.state.name().to_owned(),
        ended,
        job.last_ended.map(|ended| ended.outcome.to_string()),
        None,
        None,
        None,
        None,
        serde_json::to_string(&job.failures).unwrap(),
    );
    match job.state {
        JobState::Leased { attempt, worker, deadline } => {
            (words.1, words.3, words.4) = (attempt.0, Some(worker.0), Some(deadline.0));
        }
        // The table forgets that a job has waited once it has been looked at after that.
        JobState::Queued { not_before } if not_before != READY && not_before > now => {
            words.5 = Some(not_before.0);
        }
        JobState::Failed { reason } => words.6 = Some(reason.to_string()),
        _ => {}
    }
    words
}

#[test]
fn the_table_says_what_the_state_machine_says_after_every_act() {
    compare_histories(HISTORIES);
}

#[test]
#[ignore = "takes minutes; `make test-long` runs it"]
fn ten_thousand_histories_say_the_same() {
    compare_histories(MANY_HISTORIES);
}

fn compare_histories(cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(memory()).unwrap();
    let store = runtime.block_on(async {
        let store = Store::open(&folder.path().join("sweep.db")).await.unwrap();
        for host in ["anne", "bob", "carl"] {
            store.register(worker(host), Timestamp(0)).await.unwrap();
        }
        store
    });
    let number = std::cell::Cell::new(0);
    let histories = (any_forest(), prop::collection::vec(any_act(), 1..40));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&histories, |(parents, history)| {
        number.set(number.get() + 1);
        let name = format!("history {}", number.get());
        runtime.block_on(compare(&store, &name, &parents, &history));
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(check_invariants(&store));
}

/// Where files are not written to a disk, if there is such a place: what is acknowledged is tested elsewhere.
fn memory() -> std::path::PathBuf {
    let shared = std::path::PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

async fn compare(store: &Store, name: &str, parents: &[Option<usize>], history: &[Act]) {
    let sweep = store.submit(forest(name, parents), START).await.unwrap().sweep;
    let first: i64 = sqlx::query_scalar("SELECT MIN(id) FROM jobs WHERE sweep_id = ?")
        .bind(sweep.0)
        .fetch_one(&store.readers)
        .await
        .unwrap();
    let table = Table { store: store.clone(), sweep, first, nonces: RefCell::default() };
    let mut world = World::new(parents);
    for act in history {
        let token = match act {
            Act::Heartbeat { token }
            | Act::Complete { token }
            | Act::Fail { token, .. }
            | Act::Release { token } => world.token(*token),
            _ => None,
        };
        let granted = table.apply(&world, token, act).await;
        // Which of the ready jobs a worker gets is the queue's business; whether it may, the state machine's.
        match granted {
            Some(granted) => {
                let count = granted.len();
                assert_eq!(world.apply_grants(&granted), Answer::Granted(granted), "{name}: {act:?}");
                if let Act::Lease { most, .. } = act {
                    assert!(
                        count == *most || world.leasable() == 0,
                        "{name}: not all that is ready was offered"
                    );
                }
            }
            None => drop(world.apply(act)),
        }
        let expected: Vec<_> = world.jobs.iter().map(|job| words(job, world.now)).collect();
        let mut found = table.jobs().await;
        for words in &mut found {
            words.5 = words.5.filter(|due| *due > world.now.0);
        }
        assert_eq!(found, expected, "{name}, {parents:?}: {act:?}");
    }
    store.resume(sweep).await.unwrap();
    store.cancel(sweep, Chosen::All, world.now).await.unwrap();
}
