//! How the coordinator is doing, at a glance: what monitoring asks, every few seconds.

use super::{Coordinator, CoordinatorError, Counts};
use crate::protocol::http::{Health, SweepStatus, WorkerStatus};
use crate::store::{self, StoreSize};

/// Sweeps, agents, sizes and counts at one moment.
#[derive(Debug, Clone)]
pub struct Vitals {
    pub sweeps: Vec<SweepStatus>,
    /// Agents that have not said goodbye.
    pub workers: Vec<WorkerStatus>,
    pub size: StoreSize,
    pub counts: Counts,
}

impl Vitals {
    /// How many jobs are leased.
    #[must_use]
    pub fn leases(&self) -> u64 {
        self.workers.iter().map(|worker| u64::from(worker.running)).sum()
    }

    /// How many jobs the agents run at a time.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.workers.iter().map(|worker| u64::from(worker.slots)).sum()
    }
}

impl Coordinator {
    /// Looks at what is small: the sweeps' own rows and the agents.
    ///
    /// # Errors
    /// When the table can't be read.
    pub async fn vitals(&self) -> Result<Vitals, CoordinatorError> {
        let now = self.clock.now();
        let mut reader = self.store.reader().await?;
        let sweeps = store::list_sweeps(&mut reader).await?;
        let workers = store::list_workers(&mut reader).await?;
        Ok(Vitals {
            sweeps: sweeps.into_iter().map(Into::into).collect(),
            workers: self.describe(workers, now),
            size: self.store.size(),
            counts: self.activity.counts(),
        })
    }

    /// Whether requests can be answered: the table can be read.
    ///
    /// # Errors
    /// When it can't.
    pub async fn health(&self) -> Result<Health, CoordinatorError> {
        store::list_workers(&mut self.store.reader().await?).await?;
        Ok(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
    }
}
