//! A state folder for the time of one command, in which it works on trials that are nobody else's business.

use std::path::Path;

use tempfile::TempDir;

use super::{CliError, Context, state_folder};
use crate::coordinator::{DatabaseLock, StateFolder};

/// A state folder beside the project's jobs and artifacts, which goes when it is dropped.
pub(super) struct Apart {
    place: TempDir,
    folder: StateFolder,
    beside: Option<StateFolder>,
    context: Context,
}

impl Apart {
    /// Makes one whose name begins with `prefix`, in the project's state folder where there is one.
    pub(super) async fn begin(prefix: &str, context: &Context) -> Result<Apart, CliError> {
        let beside = state_folder::find(context);
        if let Some(folder) = &beside {
            delete_left_over(prefix, folder.path()).await;
        }
        let place = match &beside {
            Some(folder) => tempfile::Builder::new().prefix(prefix).tempdir_in(folder.path()),
            None => tempfile::Builder::new().prefix(&format!("sweep-{prefix}")).tempdir(),
        };
        let place = place.map_err(CliError::failed)?;
        let folder = StateFolder::create(place.path()).map_err(CliError::failed)?;
        let mut alone = context.clone();
        // Neither the coordinator nor the table of the project.
        (alone.coordinator, alone.database) = (None, None);
        alone.environment.working_directory = place.path().to_owned();
        Ok(Apart { place, folder, beside, context: alone })
    }

    /// The same with datasets of its own, which lie in its folder.
    pub(super) fn with_own_datasets(mut self) -> Apart {
        self.context.environment.xdg_data_home = Some(self.place.path().join("data"));
        self
    }

    /// That of a command that is run in it.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn folder(&self) -> &StateFolder {
        &self.folder
    }

    /// The folder itself, in which files go with it.
    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// The project's state folder.
    pub(super) fn beside(&self) -> Option<&StateFolder> {
        self.beside.as_ref()
    }
}

/// Deletes the folders of commands that were killed: nobody holds the lock of a table there any more.
async fn delete_left_over(prefix: &str, folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
        let lock = StateFolder::lock_in(&entry.path());
        if lock.is_file() && DatabaseLock::acquire(&lock).await.is_ok() {
            let _found_again_by_the_next = std::fs::remove_dir_all(entry.path());
        }
    }
}
