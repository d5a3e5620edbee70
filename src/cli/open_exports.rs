//! Exports of which the job table still expects something, and what lies in their folders.

use std::path::{Path, PathBuf};

use super::access::Access;
use super::{CliError, Context};
use crate::protocol::export::{ExportStatus, Manifest, marker_of};
use crate::report::{ExportFolderView, ExportView};
use crate::slurm::{QueuedTask, list_queue};
use crate::spool::{ExportFolder, SpoolError};
use crate::vocabulary::{SweepId, WorkerId};

/// The folder in a state folder with a folder for each export.
pub(super) const EXPORTS: &str = "exports";
/// The file in an export's folder with the ids of its jobs in Slurm.
pub(super) const SLURM_JOBS: &str = "slurm-jobs";

/// What the table knows of them, and where to look.
pub(super) struct OpenExports {
    open: Vec<ExportStatus>,
    /// Nothing where the coordinator's files may be anywhere.
    folder: Option<PathBuf>,
    table: String,
}

impl OpenExports {
    pub(super) async fn ask(access: &Access) -> Result<OpenExports, CliError> {
        let made = access.exports().await?.exports;
        Ok(OpenExports {
            open: made.into_iter().filter(|export| !export.jobs.is_empty()).collect(),
            folder: access.folder().map(|state| state.path().join(EXPORTS)),
            table: access.table()?,
        })
    }

    /// Leaves out those of other sweeps.
    pub(super) fn retain(&mut self, sweep: SweepId) {
        self.open.retain(|export| export.sweep == sweep);
    }

    /// Looks into their folders, which may take a while: the table needs not be open meanwhile.
    pub(super) async fn look(self, context: &Context) -> Vec<ExportView> {
        let mut views = Vec::with_capacity(self.open.len());
        // Asked once, and only where that says something.
        let mut queue: Option<Option<Vec<QueuedTask>>> = None;
        for export in &self.open {
            let mut folder = self.look_into(export, context);
            if let ExportFolderView::Here { has_tasks, to_ingest: 0, .. } = &mut folder {
                let jobs = self.path_of(export.export).map(|path| slurm_jobs_of(&path)).unwrap_or_default();
                if queue.is_none() {
                    queue = Some(list_queue().await.ok());
                }
                let marker = marker_of(export.export, &self.table, export.created_at_millis);
                let queue = queue.as_ref().and_then(Option::as_ref);
                let has_some = queue.map(|queue| queue.iter().any(|task| task.is_of(&jobs, &marker)));
                // One of which nothing was submitted yet is not done for.
                *has_tasks = has_some.filter(|has_some| *has_some || !jobs.is_empty());
            }
            views.push(ExportView {
                export: export.export,
                sweep: export.sweep,
                age_seconds: export.age_seconds,
                open_jobs: export.jobs.len() as u64,
                folder,
            });
        }
        views
    }

    fn path_of(&self, export: WorkerId) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(export.to_string()))
    }

    fn look_into(&self, export: &ExportStatus, context: &Context) -> ExportFolderView {
        let Some(path) = self.path_of(export.export) else {
            let why = "its folder is in the project of its coordinator; `sweep status` there looks into it";
            return ExportFolderView::Unreadable { why: why.to_owned() };
        };
        let named = path.strip_prefix(&context.environment.working_directory).unwrap_or(&path);
        let named = named.display().to_string();
        let ended = ExportFolder::open(&path).and_then(|folder| {
            let is_ours = is_of(folder.manifest(), &self.table, export);
            Ok(if is_ours { Some(folder.list_ended()?) } else { None })
        });
        match ended {
            Ok(Some(ended)) => {
                let to_ingest = export.jobs.iter().filter(|job| ended.contains(job)).count() as u64;
                ExportFolderView::Here { path: named, to_ingest, has_tasks: None }
            }
            Ok(None) => ExportFolderView::Unreadable {
                why: format!(
                    "`{named}` is another export: of another project's job table, or of this one before it was put back to an \
                     earlier state"
                ),
            },
            Err(SpoolError::NoExport { .. }) => ExportFolderView::Gone { path: named },
            Err(error) => ExportFolderView::Unreadable { why: format!("{:#}", anyhow::Error::from(error)) },
        }
    }
}

/// Whether a folder is that of an export that the job table of this name knows. By its number alone it could be one of the same
/// table in a state that is no more, whose jobs were others.
fn is_of(manifest: &Manifest, table: &str, export: &ExportStatus) -> bool {
    manifest.table == table
        && manifest.export == export.export
        // Manifests of before have no time.
        && (manifest.created_at_millis == export.created_at_millis || manifest.created_at_millis == 0)
}

/// The export whose folder this is, of those that the job table of this name knows.
pub(super) fn known<'e>(
    manifest: &Manifest,
    table: &str,
    made: &'e [ExportStatus],
) -> Option<&'e ExportStatus> {
    made.iter().find(|export| is_of(manifest, table, export))
}

/// What an export's arrays are called in Slurm, where they were submitted.
pub(super) fn slurm_jobs_of(export: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(export.join(SLURM_JOBS)).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
