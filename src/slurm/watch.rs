//! Asks Slurm after workers that have fallen silent, so that nobody has to wait for the end of a lease that is known to be lost.
//!
//! Where all is well Slurm is not asked at all, and where it doesn't answer everything goes on as without it.

use std::time::Duration;

use super::command::SlurmError;
use super::queue::{find_cluster, list_queue};
use super::view::is_gone;
use crate::coordinator::{Coordinator, SilentWorker};

/// How often to look for silent workers, which costs a read of a small table.
const PERIOD: Duration = Duration::from_secs(2);
/// How often Slurm is asked at most. Many users asking often is what makes a Slurm slow.
const PAUSE: Duration = Duration::from_secs(10);

/// What was learnt of Slurm so far.
#[derive(Default)]
struct Watch {
    /// The cluster whose queue is to be read here, once it is known.
    cluster: Option<Option<String>>,
}

/// Looks as long as the coordinator runs; it is for whoever runs the coordinator to end this.
pub async fn watch_workers(coordinator: Coordinator) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(PERIOD).await;
        let silent = match coordinator.silent_slurm_workers().await {
            Ok(silent) if silent.is_empty() => continue,
            Ok(silent) => silent,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "silent workers could not be listed"
                );
                continue;
            }
        };
        match watch.find_gone(silent).await {
            Ok(gone) => {
                for worker in gone {
                    bury(&coordinator, worker).await;
                }
            }
            Err(error) => tracing::info!("Slurm says nothing of silent workers: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Watch {
    /// Those of whose jobs no process can be there any more.
    async fn find_gone(&mut self, silent: Vec<SilentWorker>) -> Result<Vec<SilentWorker>, SlurmError> {
        let queue = list_queue().await?;
        let own = match &self.cluster {
            Some(own) => own,
            None => self.cluster.insert(find_cluster().await?),
        };
        // Of jobs of another cluster this queue knows nothing.
        let is_here = |worker: &SilentWorker| worker.slurm.cluster.is_none() || worker.slurm.cluster == *own;
        Ok(silent.into_iter().filter(|worker| is_here(worker) && is_gone(worker.slurm.job, &queue)).collect())
    }
}

async fn bury(coordinator: &Coordinator, SilentWorker { worker, slurm }: SilentWorker) {
    match coordinator.bury(worker).await {
        Ok(leases) => {
            tracing::warn!(
                worker = worker.0,
                leases,
                "Slurm's job {slurm} is gone, and worker {worker} with it"
            );
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the leases of worker {worker} could not be ended"
            );
        }
    }
}
