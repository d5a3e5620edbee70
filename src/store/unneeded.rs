//! Files of which the table has let go.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::vocabulary::CheckpointHash;

/// No more hashes are remembered; the files of others are found at the coordinator's next start.
const MOST: usize = 4096;

/// Checkpoints that gave way to newer ones, were refused, or were let go since nobody goes on from them any more: filled
/// after each commit. The table may still name such a file for another job.
#[derive(Clone, Default)]
pub(super) struct Unneeded(Arc<Mutex<BTreeSet<CheckpointHash>>>);

impl Unneeded {
    pub(super) fn add(&self, hashes: Vec<CheckpointHash>) {
        if hashes.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        let room = MOST.saturating_sub(waiting.len());
        waiting.extend(hashes.into_iter().take(room));
    }

    pub(super) fn take(&self) -> Vec<CheckpointHash> {
        std::mem::take(&mut *self.waiting()).into_iter().collect()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<CheckpointHash>> {
        // A set is whole after every step, so one that a panic left behind can be used.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
