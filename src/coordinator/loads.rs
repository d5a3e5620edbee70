//! What the workers say of their nodes: what these are doing, and whether they are well. Nobody decides by it, so it is in
//! memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::protocol::http::NodeLoad;
use crate::vocabulary::WorkerId;

/// No table has so many workers at a time; whoever heartbeats under made-up names fills no memory.
const MOST_WORKERS: usize = 4096;
/// No node has more GPUs, and no GPU a longer name.
const MOST_GPUS: usize = 64;
const LONGEST_NAME: usize = 80;
const LONGEST_PROBLEM: usize = 500;

/// The last word of each worker.
#[derive(Debug, Default)]
pub(super) struct Loads(Mutex<BTreeMap<WorkerId, Word>>);

/// What a worker said last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Word {
    pub(super) node: Option<NodeLoad>,
    /// Why it takes no jobs.
    pub(super) problem: Option<String>,
}

impl Loads {
    /// Takes down what a heartbeat says; a load that it doesn't name is the one before.
    pub(super) fn note(&self, worker: WorkerId, node: Option<&NodeLoad>, problem: Option<&str>) {
        let mut loads = self.lock();
        if !loads.contains_key(&worker) && loads.len() >= MOST_WORKERS {
            return;
        }
        let word = loads.entry(worker).or_default();
        word.problem = problem.map(|problem| problem.chars().take(LONGEST_PROBLEM).collect());
        if let Some(node) = node {
            word.node = Some(bounded(node));
        }
    }

    pub(super) fn of(&self, worker: WorkerId) -> Word {
        self.lock().get(&worker).cloned().unwrap_or_default()
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, workers: &BTreeSet<WorkerId>) {
        self.lock().retain(|worker, _| workers.contains(worker));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkerId, Word>> {
        // Each change is one call: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(node: &NodeLoad) -> NodeLoad {
    let mut node = node.clone();
    node.gpus.truncate(MOST_GPUS);
    for gpu in &mut node.gpus {
        gpu.name = gpu.name.chars().take(LONGEST_NAME).collect();
    }
    node
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
        let load = NodeLoad { gpus: vec![gpu.clone(); 999], ..NodeLoad::default() };
        for worker in 0..=MOST_WORKERS {
            let worker = WorkerId(i64::try_from(worker).unwrap());
            loads.note(worker, Some(&load), Some(&"é".repeat(999)));
        }
        let kept = loads.of(WorkerId(0));
        let node = kept.node.unwrap();
        assert_eq!((node.gpus.len(), node.gpus[0].name.len()), (MOST_GPUS, LONGEST_NAME));
        assert_eq!(kept.problem, Some("é".repeat(LONGEST_PROBLEM)));
        assert_eq!(loads.lock().len(), MOST_WORKERS);
        loads.note(WorkerId(0), None, None);
        let word = loads.of(WorkerId(0));
        assert_eq!((word.node, word.problem), (Some(node), None), "whoever is known is heard");
        loads.keep(&[WorkerId(0)].into());
        assert_eq!(loads.lock().len(), 1);
        assert_eq!(loads.of(WorkerId(1)), Word::default());
    }
}
