//! Copies of the job table for people to keep.

use std::path::Path;

use tempfile::NamedTempFile;

use super::{Coordinator, CoordinatorError};

/// How a copy that is not complete yet is called; one that is found at a start was left by a crash.
const PREFIX: &str = "backup-";
const SUFFIX: &str = ".partial";

impl Coordinator {
    /// A copy of the job table as it is now, in a file of `folder` that goes when it is dropped. It has reached the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn back_up(&self, folder: &Path) -> Result<NamedTempFile, CoordinatorError> {
        let copy = partial_in(folder).map_err(unwritable)?;
        self.store.back_up(copy.path()).await?;
        let file = copy.reopen().map_err(unwritable)?;
        let synced = tokio::task::spawn_blocking(move || file.sync_all()).await;
        synced.map_err(std::io::Error::other).flatten().map_err(unwritable)?;
        Ok(copy)
    }

    /// The same within the state folder, for somebody to whom it is sent: only the open file is left of it, and its size.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn back_up_to_send(&self) -> Result<(std::fs::File, u64), CoordinatorError> {
        let file = self.back_up(&self.settings.state).await?.into_file();
        let size_bytes = file.metadata().map_err(unwritable)?.len();
        Ok((file, size_bytes))
    }

    /// Deletes unfinished copies that a crash left in the state folder. For the start: then nobody makes one.
    pub fn delete_partial_backups(&self) {
        let entries = std::fs::read_dir(&self.settings.state).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                let _found_again_at_the_next_start = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn unwritable(source: std::io::Error) -> CoordinatorError {
    CoordinatorError::File { what: "the copy can't be written".to_owned(), source }
}

/// An empty file for a copy, readable by its owner only, as the table is.
///
/// # Errors
/// When it can't be made.
pub fn partial_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::coordinator::{Clock, Settings};
    use crate::store::Store;

    #[tokio::test]
    async fn what_a_crash_left_of_copies_goes_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let store = Store::open(&at("sweep.db")).await.unwrap();
        let settings = Settings {
            lease: Duration::from_secs(60),
            datasets: at("datasets"),
            artifacts: at("artifacts"),
            state: folder.path().to_owned(),
            logs: at("logs"),
        };
        let coordinator = Coordinator::new(store, Clock::system(), settings);
        for name in ["backup-a1b2c3.partial", "backup-mine.db", "notes.partial"] {
            std::fs::write(at(name), "").unwrap();
        }
        coordinator.delete_partial_backups();
        assert!(!at("backup-a1b2c3.partial").exists());
        assert!(at("backup-mine.db").exists() && at("notes.partial").exists() && at("sweep.db").exists());
    }
}
