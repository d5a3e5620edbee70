//! Storing a sweep: its trials, and the jobs that they need, some of which may be there already.
//!
//! Jobs come in the order in which they are to run, parents first, and go into the table in chunks, with a few statements
//! each. A job whose state is in the table is joined; one whose state lies within a job that nobody has begun splits that
//! one; any other is stored, from the furthest state on that can be had. [`places`] finds, [`resolve`] decides,
//! [`rows`] writes, [`split`] splits, and [`trials`] concludes.

mod places;
mod resolve;
mod rows;
mod split;
mod trials;

use std::fmt;
use std::sync::Arc;

use super::cancel::want_what_goes_on;
use super::unit::Unit;
use super::writer::{Request, Wants};
use super::{Store, StoreError};
use crate::vocabulary::{Metric, StateHash, SweepId, Timestamp, TrialNumber};
use resolve::Submission;

/// A sweep to store.
#[derive(Debug, Clone)]
pub struct NewSweep {
    pub name: String,
    pub spec: String,
    /// As typed, a JSON array.
    pub overrides: String,
    pub working_directory: String,
    pub expansion_hash: String,
    pub metric: Option<Metric>,
    /// Names of the swept parameters, a JSON array.
    pub swept: String,
    pub priority: i64,
    /// How often each job is tried again.
    pub retries: u32,
    pub keep: Keep,
    /// What one attempt may use, as JSON that the store hands out as it is.
    pub resources: String,
    /// What programs are run from, as JSON; nothing for the built-in trainer.
    pub code: Option<String>,
    /// What trials of a kind have in common, as JSON that the store hands out as it is.
    pub contexts: Vec<String>,
    /// In the order in which they are to run; parents come before the jobs that need them.
    pub jobs: Vec<NewJob>,
    /// For each job the states after its epochs before the last one, job after job; or none at all, where they are not
    /// known.
    pub inner_states: Vec<StateHash>,
    /// Jobs, as indices in the order of `jobs`, and the states whose weights they read: each that of a job in the table.
    pub requirements: Vec<(u32, StateHash)>,
    /// For each trial the index of the job in which it ends.
    pub trial_ends: Vec<u32>,
    /// The trials, which need not be in memory.
    pub trials: Arc<dyn TrialSource>,
}

/// Which checkpoints stay when nobody goes on from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Those of the jobs in which trials end.
    Last,
    /// Beside the last ones, of each job the one after the epoch with the best value of the sweep's metric.
    Best,
    /// All that are reported.
    All,
    None,
}

impl Keep {
    /// What is kept beside the last ones, as the table says it.
    fn more(self) -> Option<&'static str> {
        match self {
            Keep::Last | Keep::None => None,
            Keep::Best => Some("best"),
            Keep::All => Some("all"),
        }
    }
}

/// A job to store, unless its state is there. A million of them are in memory at once: no text, no lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// The state after its last epoch.
    pub state: StateHash,
    /// Index of the job that it continues in [`NewSweep::jobs`].
    pub parent: Option<u32>,
    /// Index of the trial with whose parameters and seed it is run.
    pub trial: u32,
    /// Index into [`NewSweep::contexts`].
    pub context: u16,
    pub cpus: u16,
    pub first_epoch: u32,
    pub last_epoch: u32,
    /// Where its states begin in [`NewSweep::inner_states`].
    pub inner_from: u32,
}

/// A trial to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTrial {
    pub number: TrialNumber,
    /// Canonical JSON.
    pub parameters: String,
    pub seed: u64,
}

/// Computes trials by their index, so that a million of them need not be in memory.
pub trait TrialSource: fmt::Debug + Send + Sync {
    fn number(&self, index: usize) -> TrialNumber;
    fn trial(&self, index: usize) -> NewTrial;
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    pub sweep: SweepId,
    /// A sweep with this expansion was there already; nothing was stored, and of the numbers only the trials' is given.
    pub is_existing: bool,
    pub trials: u64,
    /// Trials whose last job had succeeded before.
    pub trials_reused: u64,
    /// Jobs that were not in the table.
    pub jobs_new: u64,
    /// Epochs of new jobs and of unfinished ones that are joined, each once.
    pub epochs_to_run: u64,
    /// Epochs of all trials, were each run alone.
    pub epochs_unshared: u64,
    /// Epochs that are run although they have been, or are being, since nothing is left to go on from.
    pub epochs_run_again: u64,
    /// The newest sweep of the same spec with other code that has not ended.
    pub earlier: Option<Earlier>,
}

/// A sweep of the same spec with other code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    pub sweep: SweepId,
    /// Trials that have not ended.
    pub unfinished: u64,
}

impl NewSweep {
    /// The states after a job's epochs before its last one, as far as they are known.
    fn inner_states_of(&self, job: &NewJob) -> &[StateHash] {
        if self.inner_states.is_empty() {
            return &[];
        }
        let from = job.inner_from as usize;
        &self.inner_states[from..from + (job.last_epoch - job.first_epoch) as usize]
    }

    /// The states whose weights this job reads.
    fn requirements_of(&self, job: usize) -> impl Iterator<Item = StateHash> + use<'_> {
        let from = self.requirements.partition_point(|(needs, _)| (*needs as usize) < job);
        let own = self.requirements[from..].iter().take_while(move |(needs, _)| *needs as usize == job);
        own.map(|(_, state)| *state)
    }
}

impl Store {
    /// Stores a sweep, or finds the one with the same expansion.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it is stored.
    pub async fn submit(&self, sweep: NewSweep, now: Timestamp) -> Result<Submitted, StoreError> {
        self.writer.write(Submit { sweep, now }).await
    }
}

impl Store {
    /// What would become of a submission; nothing is stored. Of a sweep that is there already, what is left of it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn rehearse(&self, sweep: NewSweep, now: Timestamp) -> Result<Submitted, StoreError> {
        // Under another name, so that it does not meet itself.
        let expansion_hash = format!("rehearsal of {}", sweep.expansion_hash);
        self.writer.write(Rehearsal(Submit { sweep: NewSweep { expansion_hash, ..sweep }, now })).await
    }
}

struct Rehearsal(Submit);

impl Request for Rehearsal {
    type Answer = Submitted;

    fn wants(&self) -> Wants {
        self.0.wants()
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Submitted, StoreError> {
        sqlx::query("SAVEPOINT rehearsal").execute(unit.connection()).await?;
        let submitted = self.0.apply(unit).await?;
        sqlx::query("ROLLBACK TO rehearsal").execute(unit.connection()).await?;
        unit.abandon();
        Ok(submitted)
    }
}

struct Submit {
    sweep: NewSweep,
    now: Timestamp,
}

impl Request for Submit {
    type Answer = Submitted;

    fn wants(&self) -> Wants {
        Wants::Everything
    }

    async fn apply(&self, unit: &mut Unit) -> Result<Submitted, StoreError> {
        if let Some(existing) = rows::find_expansion(unit.connection(), &self.sweep.expansion_hash).await? {
            // Whoever raises a limit that trials ran into submits the same sweep again.
            rows::set_resources(unit.connection(), existing.sweep, &self.sweep.resources).await?;
            want_what_goes_on(unit.connection(), existing.sweep).await?;
            return Ok(existing);
        }
        let sweep = rows::insert_sweep(unit.connection(), &self.sweep, self.now).await?;
        let contexts = rows::ensure_contexts(unit.connection(), &self.sweep.contexts).await?;
        let mut submission = Submission::new(&self.sweep, sweep, contexts, self.now);
        submission.find_ends(unit).await?;
        submission.store_jobs(unit).await?;
        let submitted = submission.store_trials(unit).await?;
        let earlier = rows::find_earlier(unit.connection(), sweep, &self.sweep).await?;
        Ok(Submitted { earlier, ..submitted })
    }
}
