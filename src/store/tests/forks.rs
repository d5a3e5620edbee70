//! Sweeps that fork off within jobs of other sweeps.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::planned::{state, students};
use super::sharing::hash_of;
use super::*;
use crate::store::{Beat, Chosen, Keep, list_artifact_hashes};

/// The current jobs: first and last epoch, and state.
async fn stretches(fixture: &Fixture) -> Vec<(i64, i64, String)> {
    sqlx::query_as(
        "SELECT first_epoch, last_epoch, state FROM jobs WHERE is_current = 1 ORDER BY first_epoch, id",
    )
    .fetch_all(&fixture.store.readers)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_job_that_nobody_has_begun_is_split_where_another_sweep_forks_off() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aaab"]).await.sweep;
    let two = fixture.submit_tree("two", &["aaac"]).await;
    assert_eq!((two.jobs_new, two.epochs_to_run, two.epochs_run_again), (1, 4, 0));
    let queued = |first, last| (first, last, "queued".to_owned());
    let blocked = |first, last| (first, last, "blocked".to_owned());
    assert_eq!(stretches(&fixture).await, [queued(1, 3), blocked(4, 4), blocked(4, 4)]);
    // Once more, before the first fork.
    let three = fixture.submit_tree("three", &["ab"]).await;
    assert_eq!((three.jobs_new, three.epochs_to_run), (1, 2));
    assert_eq!(stretches(&fixture).await[..2], [queued(1, 1), blocked(2, 3)]);
    // And at a fork that is there.
    assert_eq!(fixture.submit_tree("four", &["aaad"]).await.jobs_new, 1);

    let leased = fixture.lease_for(fixture.anne, Some(two.sweep), 9, 0).await;
    assert_eq!(names(&leased), ["aaab"], "what it shares is run with the parameters of the first");
    fixture.complete(&leased[0]).await;
    let mut rest = fixture.run_all().await;
    rest.sort();
    assert_eq!(rest, ["aaa", "aaab", "aaac", "aaad", "ab"]);
    assert_eq!(fixture.states(one).await, ["succeeded"]);
    assert_eq!(fixture.trials(two.sweep).await[0].metrics["top1"], 4.0);
}

#[tokio::test]
async fn a_trial_may_end_within_a_job_that_nobody_has_begun() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aaab"]).await.sweep;
    let two = fixture.submit_tree("two", &["aa"]).await;
    assert_eq!((two.jobs_new, two.epochs_to_run, two.trials_reused), (0, 2, 0));
    fixture.run_one().await;
    assert_eq!(fixture.states(two.sweep).await, ["succeeded"]);
    assert_eq!(fixture.states(one).await, ["queued"]);
}

#[tokio::test]
async fn the_last_checkpoint_of_a_trial_that_ends_within_a_split_job_stays() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("one", &["aaab"]).await;
    fixture.submit_tree("two", &["aa"]).await;
    assert_eq!(fixture.run_all().await, ["aa", "aaab"]);
    assert_eq!(fixture.unneeded(), [], "both trials keep their last one");
}

#[tokio::test]
async fn the_last_checkpoint_of_a_trial_whose_end_is_made_again_for_another_stays() {
    let fixture = Fixture::new().await;
    let let_go = NewSweep { keep: Keep::None, ..tree("one", &["aa"]) };
    fixture.store.submit(let_go, Timestamp(0)).await.unwrap();
    fixture.run_all().await;
    assert_eq!(fixture.unneeded(), [hash_of("aa")]);
    // Its second trial goes on from where the first one ends.
    fixture.submit_tree("two", &["aa", "aab"]).await;
    assert_eq!(fixture.run_all().await, ["aa", "aab"]);
    assert_eq!(fixture.unneeded(), []);
}

#[tokio::test]
async fn a_job_that_runs_is_not_split() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("one", &["aaab"]).await;
    let running = fixture.lease(1, 0).await.remove(0);
    let two = fixture.submit_tree("two", &["aaac"]).await;
    assert_eq!((two.jobs_new, two.epochs_to_run, two.epochs_run_again), (1, 4, 3));
    assert_eq!(running.last_epoch, 4);
    fixture.complete(&running).await;
    assert_eq!(fixture.run_all().await, ["aaac"]);
}

#[tokio::test]
async fn a_beginning_from_which_nothing_goes_on_in_the_end_is_not_run() {
    let fixture = Fixture::new().await;
    // Two jobs that run have the first epoch in common, each for itself.
    fixture.submit_tree("one", &["ba"]).await;
    let one = fixture.lease(1, 0).await.remove(0);
    fixture.submit_tree("two", &["bb"]).await;
    let two = fixture.lease(1, 0).await.remove(0);
    let three = fixture.submit_tree("three", &["baa", "bba"]).await;
    assert_eq!((three.jobs_new, three.epochs_to_run, three.epochs_run_again), (2, 2 + 4, 0));
    fixture.complete(&one).await;
    fixture.complete(&two).await;
    assert_eq!(fixture.run_all().await, ["bba", "baa"]);
}

/// What may happen between two submissions.
#[derive(Debug, Clone)]
enum Step {
    Submit {
        trials: Vec<String>,
        keep: Keep,
        /// They read the weights of a trial of an earlier sweep.
        teacher: Option<usize>,
    },
    Lease {
        most: u32,
        of: Option<usize>,
    },
    /// One of the leased jobs ends.
    Complete(usize),
    Fail {
        which: usize,
        is_final: bool,
        epochs: usize,
    },
    Expire,
    Retry(usize),
    Cancel {
        sweep: usize,
        trial: Option<i64>,
    },
    Pause(usize),
    Resume(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let trials = prop::collection::btree_set("[ab]{1,5}", 1..6);
    let keep = prop::sample::select(vec![Keep::Last, Keep::None, Keep::Best, Keep::All]);
    prop_oneof![
        4 => (trials, keep, prop::option::weighted(0.3, any::<usize>()))
            .prop_map(|(trials, keep, teacher)| Step::Submit { trials: trials.into_iter().collect(), keep, teacher }),
        6 => (1..4_u32, prop::option::weighted(0.5, any::<usize>())).prop_map(|(most, of)| Step::Lease { most, of }),
        8 => any::<usize>().prop_map(Step::Complete),
        2 => (any::<usize>(), any::<bool>(), 0..4_usize)
            .prop_map(|(which, is_final, epochs)| Step::Fail { which, is_final, epochs }),
        1 => Just(Step::Expire),
        1 => any::<usize>().prop_map(Step::Retry),
        1 => (any::<usize>(), prop::option::of(1..5_i64))
            .prop_map(|(sweep, trial)| Step::Cancel { sweep, trial }),
        1 => any::<usize>().prop_map(Step::Pause),
        1 => any::<usize>().prop_map(Step::Resume),
    ]
}

struct World {
    fixture: Fixture,
    sweeps: Vec<(SweepId, Vec<String>)>,
    /// Trials of which more than the last checkpoint is kept.
    kept_more: BTreeSet<String>,
    /// Trials that had not succeeded yet when a sweep wanted their last checkpoint kept.
    kept_last: BTreeSet<String>,
    leased: Vec<LeasedJob>,
    now: i64,
}

impl World {
    async fn after(story: Vec<Step>) -> World {
        let mut world = World {
            fixture: Fixture::new().await,
            sweeps: vec![],
            kept_more: BTreeSet::new(),
            kept_last: BTreeSet::new(),
            leased: vec![],
            now: 0,
        };
        for step in story {
            world.take(step).await;
        }
        world
    }

    async fn take(&mut self, step: Step) {
        let store = &self.fixture.store;
        let sweep = |which: usize| self.sweeps.get(which % self.sweeps.len().max(1)).map(|sweep| sweep.0);
        match step {
            Step::Submit { trials, keep, teacher } => self.submit(trials, keep, teacher).await,
            Step::Lease { most, of } => {
                let of = of.and_then(sweep);
                let leased = self.fixture.lease_for(self.fixture.anne, of, most, self.now).await;
                self.leased.extend(leased);
            }
            Step::Complete(which) => {
                if let Some(job) = self.pick(which) {
                    self.fixture.complete(&job).await;
                }
            }
            Step::Fail { which, is_final, epochs } => {
                if let Some(job) = self.pick(which) {
                    self.fail(&job, is_final, epochs).await;
                }
            }
            Step::Expire => {
                self.now += 60_000;
                store.expire(Timestamp(self.now), Timestamp(i64::MIN)).await.unwrap();
                self.leased.clear();
            }
            Step::Retry(which) => {
                if let Some(sweep) = sweep(which) {
                    store.retry(sweep, Chosen::All, Timestamp(self.now)).await.unwrap();
                }
            }
            Step::Cancel { sweep: which, trial } => {
                if let Some(sweep) = sweep(which) {
                    let chosen =
                        trial.map_or(Chosen::All, |trial| Chosen::These([TrialNumber(trial)].into()));
                    store.cancel(sweep, chosen, Timestamp(self.now)).await.unwrap();
                    self.drop_lost().await;
                }
            }
            Step::Pause(which) => {
                if let Some(sweep) = sweep(which) {
                    store.pause(sweep).await.unwrap();
                }
            }
            Step::Resume(which) => {
                if let Some(sweep) = sweep(which) {
                    store.resume(sweep).await.unwrap();
                }
            }
        }
        check_invariants(&self.fixture.store).await;
    }

    async fn submit(&mut self, mut trials: Vec<String>, keep: Keep, teacher: Option<usize>) {
        let taught = |name: &String| name.starts_with('x');
        let teachers: Vec<String> =
            self.sweeps.iter().flat_map(|(_, trials)| trials).filter(|name| !taught(name)).cloned().collect();
        let teacher =
            teacher.filter(|_| !teachers.is_empty()).map(|which| &*teachers[which % teachers.len()]);
        if teacher.is_some() {
            // Another state than without a teacher. Nobody reads their weights, so that nobody waits in a circle.
            trials.iter_mut().for_each(|name| name.insert(0, 'x'));
        }
        let names: Vec<&str> = trials.iter().map(String::as_str).collect();
        let name = format!("{} {trials:?}", self.sweeps.len());
        let sweep = NewSweep { keep, ..students(&name, &names, teacher.as_slice()) };
        if keep != Keep::None {
            for trial in &trials {
                if !self.has_succeeded(trial).await {
                    self.kept_last.insert(trial.clone());
                }
            }
        }
        let before: i64 = self.unfinished_epochs().await;
        let submitted = self.fixture.store.submit(sweep, Timestamp(self.now)).await.unwrap();
        let added = u64::try_from(self.unfinished_epochs().await - before).unwrap();
        assert!(added <= submitted.epochs_to_run, "{added} more than the {submitted:?}");
        assert!(submitted.epochs_run_again <= submitted.epochs_to_run);
        if matches!(keep, Keep::Best | Keep::All) {
            self.kept_more.extend(trials.iter().cloned());
        }
        self.sweeps.push((submitted.sweep, trials));
    }

    async fn has_succeeded(&self, trial: &str) -> bool {
        let hash = state(trial);
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE hash = ? AND is_current = 1 AND state = 'succeeded')",
        )
        .bind(hash.as_bytes())
        .fetch_one(&self.fixture.store.readers)
        .await
        .unwrap()
    }

    async fn unfinished_epochs(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT COALESCE(SUM(last_epoch - first_epoch + 1), 0) FROM jobs
             WHERE state IN ('blocked', 'queued', 'leased')",
        )
        .fetch_one(&self.fixture.store.readers)
        .await
        .unwrap()
    }

    fn pick(&mut self, which: usize) -> Option<LeasedJob> {
        let count = self.leased.len();
        (count > 0).then(|| self.leased.remove(which % count))
    }

    /// Some epochs with a checkpoint, then a failure.
    async fn fail(&self, job: &LeasedJob, is_final: bool, epochs: usize) {
        let name = names(std::slice::from_ref(job))[0];
        let reached = (job.first_epoch as usize - 1 + epochs).min(job.last_epoch as usize);
        if epochs > 0 {
            let epoch = u32::try_from(reached).unwrap();
            let checkpoint = Checkpoint { hash: hash_of(&name[..reached]), epoch, step: 0, size_bytes: 1 };
            let report = NewReport { checkpoint: Some(checkpoint), ..report(epoch, reached as f64) };
            let reported = self.fixture.store.report(vec![(job.lease, report)], Timestamp(self.now)).await;
            assert_eq!(reported.unwrap(), []);
        }
        let ended = if is_final { fail("nan") } else { Ended::Release };
        assert!(self.fixture.finish(job.lease, ended, self.now).await);
    }

    /// Forgets leases that were taken away.
    async fn drop_lost(&mut self) {
        let leases = self.leased.iter().map(|job| job.lease).collect();
        let beat = Beat { worker: self.fixture.anne, leases, lasts: LASTS };
        let lost = self.fixture.store.heartbeat(beat, Timestamp(self.now)).await.unwrap();
        self.leased.retain(|job| lost.iter().all(|lost| lost.lease != job.lease));
    }

    /// Lets everything run that is left, also what failed or was cancelled.
    async fn finish(&mut self) {
        for (sweep, _) in &self.sweeps {
            self.fixture.store.resume(*sweep).await.unwrap();
            self.fixture.store.retry(*sweep, Chosen::All, Timestamp(self.now)).await.unwrap();
            check_invariants(&self.fixture.store).await;
        }
        while let Some(job) = self.pick(0) {
            self.fixture.complete(&job).await;
        }
        loop {
            let leased = self.fixture.lease(1, self.now).await;
            let Some(job) = leased.first() else { break };
            self.fixture.complete(job).await;
        }
        for (sweep, trials) in &self.sweeps {
            for (row, name) in self.fixture.trials(*sweep).await.iter().zip(trials) {
                assert_eq!(row.job_state, "succeeded", "{name}");
                assert_eq!(row.metrics["top1"], name.len() as f64, "{name}");
            }
        }
        self.check_files().await;
    }

    /// At the end all checkpoints are left that a sweep keeps, and only those.
    async fn check_files(&self) {
        let mut reader = self.fixture.store.reader().await.unwrap();
        let named = list_artifact_hashes(&mut reader).await.unwrap();
        let trials = self.sweeps.iter().flat_map(|(_, trials)| trials);
        let mut wanted: BTreeSet<String> = trials.map(|name| hash_of(name).to_string()).collect();
        for kept in &self.kept_more {
            wanted.extend((1..=kept.len()).map(|epochs| hash_of(&kept[..epochs]).to_string()));
        }
        assert!(named.is_subset(&wanted), "{named:?} are named");
        for kept in &self.kept_last {
            assert!(named.contains(&hash_of(kept).to_string()), "the last checkpoint of {kept} is gone");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_forks_where_and_whatever_fails_every_trial_gets_its_own_epochs(
        story in prop::collection::vec(step(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { World::after(story).await.finish().await });
    }

    #[test]
    fn whatever_forks_where_nothing_is_left_to_run_when_every_sweep_is_cancelled(
        story in prop::collection::vec(step(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::after(story).await;
            for (sweep, _) in &world.sweeps {
                world.fixture.store.cancel(*sweep, Chosen::All, Timestamp(world.now)).await.unwrap();
                check_invariants(&world.fixture.store).await;
            }
            assert_eq!(world.unfinished_epochs().await, 0);
        });
    }

    #[test]
    fn trials_that_are_submitted_before_anything_runs_never_run_an_epoch_twice(
        sweeps in prop::collection::vec(prop::collection::btree_set("[ab]{1,6}", 1..8), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            let mut states = BTreeSet::new();
            for (index, trials) in sweeps.iter().enumerate() {
                let names: Vec<&str> = trials.iter().map(String::as_str).collect();
                let submitted = fixture.submit_tree(&format!("{index}"), &names).await;
                assert_eq!(submitted.epochs_run_again, 0);
                let mut own = BTreeSet::new();
                for name in &names {
                    own.extend((1..=name.len()).map(|epoch| name[..epoch].to_owned()));
                }
                assert_eq!(submitted.epochs_to_run, own.len() as u64, "each of its states once");
                states.extend(own);
            }
            let mut epochs = 0;
            while let Some(job) = fixture.lease(1, 0).await.first() {
                fixture.complete(job).await;
                epochs += (job.last_epoch - job.first_epoch + 1) as usize;
            }
            assert_eq!(epochs, states.len());
        });
    }
}
