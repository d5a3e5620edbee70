//! Whether the node can keep what jobs leave: examined before the first job, after one that failed, and after a pause.
//!
//! Datasets are not looked at here: the trainer checks the checksums of the one that it needs whenever it loads it. GPUs are
//! examined apart (`gpu_test`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Room for a checkpoint and some logs.
const LEAST_FREE_BYTES: u64 = 64 << 20;
/// A file server that takes longer would hold up every checkpoint.
const LONGEST: Duration = Duration::from_secs(20);

/// What is wrong with the node, and what to do about it.
pub(crate) async fn examine(folders: Vec<PathBuf>) -> Result<(), String> {
    let first = folders.first().map(|folder| folder.display().to_string()).unwrap_or_default();
    match timeout(LONGEST, spawn_blocking(move || folders.iter().try_for_each(|folder| look(folder)))).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err("the node's self-test ended in the middle".to_owned()),
        Err(_) => Err(format!("writing beside `{first}` takes longer than {} s", LONGEST.as_secs())),
    }
}

fn look(folder: &Path) -> Result<(), String> {
    write_and_remove(folder).map_err(|error| format!("can't write into `{}`: {error}", folder.display()))?;
    check_room(folder)
}

fn write_and_remove(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder)?.write_all(&[0; 4096])
}

/// Where the system doesn't say how much there is, writing has shown that there is some.
fn check_room(folder: &Path) -> Result<(), String> {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < LEAST_FREE_BYTES {
        let folder = folder.display();
        return Err(format!("the disk of `{folder}` is full ({} MiB are free); make room", free >> 20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_be_written_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        write_and_remove(folder.path()).unwrap();
        check_room(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_folder_or_has_no_room_is_found() {
        assert!(write_and_remove(Path::new("/nonexistent")).is_err());
        // A file system without any room, on every Linux.
        let error = check_room(Path::new("/proc")).unwrap_err();
        assert_eq!(error, "the disk of `/proc` is full (0 MiB are free); make room");
    }
}
