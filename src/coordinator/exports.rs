//! Exports: a sweep's jobs for a place from which no coordinator can be reached.

use super::{Coordinator, CoordinatorError, wire};
use crate::protocol::export::{ExportResponse, ExportStatus, ExportedJob, ExportsResponse};
use crate::store::{self, StoreError};
use crate::vocabulary::SweepId;

impl Coordinator {
    /// Leases all that can be had of a sweep's jobs to a new export, without a deadline. What it doesn't bring back it gives back when
    /// it leaves, as workers do.
    ///
    /// # Errors
    /// When there is no such sweep, or the disk refuses.
    pub async fn export(&self, sweep: SweepId) -> Result<ExportResponse, CoordinatorError> {
        self.find(sweep).await?;
        let now = self.clock.now();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let exported = self.store.export(sweep, version, now).await?;
        self.note_change();
        let jobs = exported.jobs.into_iter().map(describe).collect::<Result<_, StoreError>>()?;
        let store::Export { worker: export, left_out, others, .. } = exported;
        Ok(ExportResponse { export, created_at_millis: now.0, jobs, left_out, others })
    }

    /// Exports that were made, and what they have not brought back.
    ///
    /// # Errors
    /// When the table can't be read.
    pub async fn exports(&self) -> Result<ExportsResponse, CoordinatorError> {
        let now = self.clock.now();
        let made = store::list_exports(&mut self.store.reader().await?).await?;
        let exports = made.into_iter().map(|row| ExportStatus {
            export: row.worker,
            created_at_millis: row.created_at.0,
            sweep: row.sweep,
            age_seconds: now.since(row.created_at).as_secs_f64(),
            jobs: row.jobs,
        });
        Ok(ExportsResponse { exports: exports.collect() })
    }
}

fn describe(job: store::ExportedJob) -> Result<ExportedJob, StoreError> {
    let store::ExportedJob { job, depth, parent, required } = job;
    let teachers = required.into_iter().map(|(state, job)| (state.to_string(), job)).collect();
    Ok(ExportedJob { lease: wire::lease(job)?, depth, parent, teachers })
}
