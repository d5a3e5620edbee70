//! Clients that lease jobs and complete them, in the process of the store.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sweep::store::{Ended, Grant, LeaseFor, Leased, NewOutcome, NewReport, NewWorker, Store};
use sweep::vocabulary::{Metrics, Timestamp, WorkerId};

use crate::grid::draw;

/// While clients complete in random order, this many jobs are leased.
const POOL: usize = 4096;

static NOW: AtomicI64 = AtomicI64::new(1);

/// A moment later than all before.
pub(crate) fn now() -> Timestamp {
    Timestamp(NOW.fetch_add(1, Ordering::Relaxed))
}

pub(crate) struct Clients {
    workers: Vec<WorkerId>,
}

/// What each client does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    batch: u32,
    is_shuffled: bool,
    has_reports: bool,
}

impl Load {
    pub(crate) fn single() -> Load {
        Load { batch: 1, is_shuffled: false, has_reports: false }
    }

    pub(crate) fn batches() -> Load {
        Load { batch: 64, ..Load::single() }
    }

    /// Jobs are completed in random order.
    pub(crate) fn shuffled(self) -> Load {
        Load { is_shuffled: true, ..self }
    }

    /// Each end brings a report of one metric.
    pub(crate) fn with_reports(self) -> Load {
        Load { has_reports: true, ..self }
    }
}

impl Clients {
    pub(crate) async fn register(store: &Store, count: usize) -> Clients {
        let mut workers = Vec::new();
        for _ in 0..count {
            let worker = NewWorker {
                host: "here".to_owned(),
                boot_id: "boot".to_owned(),
                pid: 1,
                started_ticks: 1,
                slots: 64,
                version: "0".to_owned(),
                slurm: None,
            };
            workers.push(store.register(worker, now()).await.unwrap());
        }
        Clients { workers }
    }

    /// Leases jobs and completes as many, all clients at once; says how many.
    pub(crate) async fn work(&self, store: &Store, jobs: u32, load: Load) -> u32 {
        let pool = Arc::new(Mutex::new((Vec::new(), 88_172_645_463_325_252_u64)));
        if load.is_shuffled {
            while pool.lock().unwrap().0.len() < POOL {
                let leased = lease(store, self.workers[0], 256).await;
                pool.lock().unwrap().0.extend(leased);
            }
        }
        let each = jobs / u32::try_from(self.workers.len()).unwrap() / load.batch;
        let clients = self.workers.iter().map(|&worker| {
            let (store, pool) = (store.clone(), pool.clone());
            tokio::spawn(async move {
                for _ in 0..each {
                    let mut leased = lease(&store, worker, load.batch).await;
                    assert_eq!(leased.len(), load.batch as usize, "nothing is left");
                    if load.is_shuffled {
                        let (pool, state) = &mut *pool.lock().unwrap();
                        for lease in &mut leased {
                            let at = usize::try_from(draw(state)).unwrap() % pool.len();
                            std::mem::swap(lease, &mut pool[at]);
                        }
                    }
                    complete(&store, leased, load.has_reports).await;
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        let rest = std::mem::take(&mut pool.lock().unwrap().0);
        complete(store, rest, false).await;
        each * load.batch * u32::try_from(self.workers.len()).unwrap()
    }

    /// Lease calls that arrive at a rate, whatever becomes of those before; each job is completed when it was leased. How
    /// long each call took.
    pub(crate) async fn arrive(&self, store: &Store, rate: f64, lasts: Duration) -> Vec<Duration> {
        let begun = Instant::now();
        let count = (rate * lasts.as_secs_f64()) as usize;
        let mut calls = Vec::with_capacity(count);
        for at in 0..count {
            let due = begun + Duration::from_secs_f64(at as f64 / rate);
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let (store, worker) = (store.clone(), self.workers[at % self.workers.len()]);
            calls.push(tokio::spawn(async move {
                let leased = lease(&store, worker, 1).await;
                // From when it was due: who generates the load may be late too, and then calls come in bursts.
                let took = due.elapsed();
                complete(&store, leased, false).await;
                took
            }));
        }
        let mut waits = Vec::with_capacity(count);
        for call in calls {
            waits.push(call.await.unwrap());
        }
        waits
    }

    /// How long it takes to lease so many jobs one by one; they are completed afterwards.
    pub(crate) async fn time_leases(&self, store: &Store, jobs: usize) -> Duration {
        let begun = Instant::now();
        let each = jobs / self.workers.len();
        let clients = self.workers.iter().map(|&worker| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut leased = Vec::new();
                for _ in 0..each {
                    leased.extend(lease(&store, worker, 1).await);
                }
                leased
            })
        });
        let mut leased = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            leased.extend(client.await.unwrap());
        }
        let took = begun.elapsed();
        assert_eq!(leased.len(), each * self.workers.len());
        complete(store, leased, false).await;
        took
    }
}

async fn lease(store: &Store, worker: WorkerId, most: u32) -> Vec<LeaseFor> {
    let grant = Grant { worker, sweep: None, most, lasts: Duration::from_secs(3600) };
    match store.lease(grant, now()).await.unwrap() {
        Leased::Jobs(jobs) => jobs.into_iter().map(|job| job.lease).collect(),
        Leased::NoSuchWorker => panic!("the worker is registered"),
    }
}

async fn complete(store: &Store, leased: Vec<LeaseFor>, has_reports: bool) {
    if leased.is_empty() {
        return;
    }
    let outcomes = leased.into_iter().map(|lease| NewOutcome {
        lease,
        reports: match has_reports {
            true => vec![NewReport {
                epoch: 1,
                metrics: Metrics::from([("top1".to_owned(), 91.5)]),
                checkpoint: None,
            }],
            false => vec![],
        },
        ended: Ended::Complete { record: "{\"wall_seconds\":0.1}".to_owned() },
    });
    let refused = store.finish(outcomes.collect(), now()).await.unwrap();
    assert_eq!(refused, []);
}
