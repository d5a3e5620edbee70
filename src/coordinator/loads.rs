//! What the workers' nodes are doing, as they said last. Nobody decides by it, so it is in memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::protocol::http::NodeLoad;
use crate::vocabulary::WorkerId;

/// No table has so many workers at a time; whoever heartbeats under made-up names fills no memory.
const MOST_WORKERS: usize = 4096;
/// No node has more GPUs, and no GPU a longer name.
const MOST_GPUS: usize = 64;
const LONGEST_NAME: usize = 80;

/// The last word of each worker.
#[derive(Debug, Default)]
pub(super) struct Loads(Mutex<BTreeMap<WorkerId, NodeLoad>>);

impl Loads {
    pub(super) fn note(&self, worker: WorkerId, mut load: NodeLoad) {
        load.gpus.truncate(MOST_GPUS);
        for gpu in &mut load.gpus {
            gpu.name = gpu.name.chars().take(LONGEST_NAME).collect();
        }
        let mut loads = self.lock();
        if loads.contains_key(&worker) || loads.len() < MOST_WORKERS {
            loads.insert(worker, load);
        }
    }

    pub(super) fn of(&self, worker: WorkerId) -> Option<NodeLoad> {
        self.lock().get(&worker).cloned()
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, workers: &BTreeSet<WorkerId>) {
        self.lock().retain(|worker, _| workers.contains(worker));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkerId, NodeLoad>> {
        // Each change is one call: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::GpuLoad;

    #[test]
    fn what_is_kept_of_a_heartbeat_is_bounded() {
        let gpu = GpuLoad {
            name: "x".repeat(999),
            utilisation_percent: None,
            memory_used_bytes: 1,
            memory_total_bytes: 2,
        };
        let loads = Loads::default();
        for worker in 0..=MOST_WORKERS {
            let worker = WorkerId(i64::try_from(worker).unwrap());
            loads.note(worker, NodeLoad { gpus: vec![gpu.clone(); 999], ..NodeLoad::default() });
        }
        let kept = loads.of(WorkerId(0)).unwrap();
        assert_eq!((kept.gpus.len(), kept.gpus[0].name.len()), (MOST_GPUS, LONGEST_NAME));
        assert_eq!(loads.lock().len(), MOST_WORKERS);
        loads.note(WorkerId(0), NodeLoad::default());
        assert_eq!(loads.of(WorkerId(0)), Some(NodeLoad::default()), "whoever is known is heard");
        loads.keep(&[WorkerId(0)].into());
        assert_eq!(loads.lock().len(), 1);
        assert_eq!(loads.of(WorkerId(1)), None);
    }
}
