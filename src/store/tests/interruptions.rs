//! A job that is interrupted again and again, against a model of what its attempts did.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The job's last epoch.
const LAST: u32 = 10;

/// What may happen next to the job.
#[derive(Debug, Clone)]
enum Step {
    /// An epoch is done and reported, with or without a checkpoint.
    Epoch { is_kept: bool },
    /// A checkpoint within an epoch.
    Within { step: u32 },
    /// An earlier request of this attempt arrives once more.
    Repeat(usize),
    /// The attempt ends and the next one begins; the checkpoint's file may have been lost.
    Interrupt { is_expiry: bool, is_lost: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(|is_kept| Step::Epoch { is_kept }),
        2 => (1..20_u32).prop_map(|step| Step::Within { step }),
        2 => any::<usize>().prop_map(Step::Repeat),
        3 => (any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(is_expiry, is_lost)| Step::Interrupt { is_expiry, is_lost }),
    ]
}

struct World {
    fixture: Fixture,
    sweep: SweepId,
    now: i64,
    lease: LeaseFor,
    /// Epochs that the current attempt has behind it.
    epoch: u32,
    sent: Vec<NewReport>,
    /// By which attempt each epoch that counts was done.
    done_by: BTreeMap<u32, i64>,
    newest: Option<Checkpoint>,
    checkpoints: u32,
}

impl World {
    async fn new() -> World {
        let fixture = Fixture::new().await;
        let sweep = fixture.submit("s", &["a"]).await;
        let lease = fixture.lease_one(0).await;
        World {
            fixture,
            sweep,
            now: 0,
            lease,
            epoch: 0,
            sent: Vec::new(),
            done_by: BTreeMap::new(),
            newest: None,
            checkpoints: 0,
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Epoch { is_kept } if self.epoch < LAST => self.end_epoch(is_kept).await,
            Step::Epoch { .. } => {}
            Step::Within { step } => {
                let checkpoint = self.keep(step);
                let (epoch, metrics) = (self.epoch, Metrics::new());
                self.send(NewReport { epoch, metrics, checkpoint }).await;
            }
            Step::Repeat(which) => {
                if let Some(report) = self.sent.get(which % self.sent.len().max(1)).cloned() {
                    self.deliver(report).await;
                }
            }
            Step::Interrupt { is_expiry, is_lost } => self.interrupt(is_expiry, is_lost).await,
        }
        check_invariants(&self.fixture.store).await;
    }

    async fn end_epoch(&mut self, is_kept: bool) {
        self.epoch += 1;
        let attempt = self.lease.attempt.0;
        self.done_by.insert(self.epoch, attempt);
        let checkpoint = if is_kept { self.keep(0) } else { None };
        self.send(NewReport { checkpoint, ..report(self.epoch, attempt as f64) }).await;
    }

    /// A checkpoint further on than all before of this attempt; one that is not further on is none.
    fn keep(&mut self, step: u32) -> Option<Checkpoint> {
        let own = self.sent.iter().filter_map(|report| report.checkpoint.as_ref());
        let furthest = own.map(|checkpoint| (checkpoint.epoch, checkpoint.step)).max();
        if furthest.is_some_and(|furthest| furthest >= (self.epoch, step)) {
            return None;
        }
        self.checkpoints += 1;
        let hash = format!("{:064x}", self.checkpoints).parse().unwrap();
        self.newest = Some(Checkpoint { hash, epoch: self.epoch, step, size_bytes: 1 });
        self.newest.clone()
    }

    async fn send(&mut self, report: NewReport) {
        self.sent.push(report.clone());
        self.deliver(report).await;
    }

    async fn deliver(&self, report: NewReport) {
        let refused = self.fixture.store.report(vec![(self.lease, report)], Timestamp(self.now)).await;
        assert_eq!(refused.unwrap(), []);
    }

    async fn interrupt(&mut self, is_expiry: bool, is_lost: bool) {
        if is_expiry && self.lease.attempt.0 < 4 {
            self.now += 60_000;
            assert_eq!(self.fixture.store.expire(Timestamp(self.now), Timestamp(-1)).await.unwrap(), 1);
        } else {
            assert!(self.fixture.finish(self.lease, Ended::Release, self.now).await);
        }
        let leased = self.fixture.lease(1, self.now).await;
        assert_eq!(leased[0].checkpoint, self.newest);
        let resumed = self.newest.as_ref().map_or(0, |checkpoint| checkpoint.epoch);
        self.done_by.retain(|&epoch, _| epoch <= resumed);
        self.lease = leased[0].lease;
        self.epoch = if is_lost { 0 } else { resumed };
        self.sent.clear();
    }

    /// Lets the job run to its end.
    async fn complete(&mut self) {
        while self.epoch < LAST {
            self.end_epoch(true).await;
        }
        assert!(self.fixture.finish(self.lease, complete(), self.now).await);
        check_invariants(&self.fixture.store).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_interrupted_job_ends_with_one_report_an_epoch_each_of_the_attempt_that_did_it_last(
        story in prop::collection::vec(step(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in story {
                world.take(step).await;
            }
            world.complete().await;
            let reports: Vec<(i64, f64)> = sqlx::query_as("SELECT epoch, value FROM reports ORDER BY epoch")
                .fetch_all(&world.fixture.store.readers)
                .await
                .unwrap();
            let expected: Vec<(i64, f64)> =
                world.done_by.iter().map(|(&epoch, &attempt)| (i64::from(epoch), attempt as f64)).collect();
            assert_eq!(reports, expected);
            assert_eq!(reports.len(), LAST as usize);
            assert_eq!(world.fixture.states(world.sweep).await, ["succeeded"]);
        });
    }
}

#[tokio::test]
async fn leases_and_waits_of_a_coordinator_with_another_clock_end_by_this_ones() {
    const LATE: i64 = 1_000_000_000;
    let fixture = Fixture::new().await;
    let both = NewSweep { retries: 1, ..super::sweep("s", &["held", "waits"]) };
    let sweep = fixture.store.submit(both, Timestamp(0)).await.unwrap().sweep;
    let leases = fixture.lease(2, LATE).await;
    fixture.finish(leases[1].lease, fail("exit:1"), LATE).await;
    assert_eq!(fixture.lease(1, 1000).await.len(), 0);
    fixture.store.adopt(LASTS, Timestamp(1000)).await.unwrap();
    let deadline = Timestamp(1000).after(LASTS);
    assert_eq!(fixture.store.expire(Timestamp(deadline.0 - 1), Timestamp(0)).await.unwrap(), 0);
    assert_eq!(fixture.store.expire(deadline, Timestamp(0)).await.unwrap(), 1);
    assert_eq!(fixture.lease(2, 200_000).await.len(), 2);
    assert_eq!(fixture.states(sweep).await, ["leased", "leased"]);
    check_invariants(&fixture.store).await;
}
