//! Where a state folder's job table lies, when it is not in the folder.
//!
//! The choice is written down once, so that no later command without it makes a second table, which would take the
//! first one's checkpoints for nobody's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{FolderError, StateFolder, own_host, write_private};

/// What `database.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Placement {
    path: PathBuf,
    /// Whose disk it is, where the disk is one host's.
    host: String,
}

/// Why the job table can't be where it was asked for, or found where it was put.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    #[error(
        "the job table of this project is `{}`; to move it, stop everything, move it to `{}`, and delete `{}` if there \
         is one", is.display(), wanted.display(), note.display()
    )]
    Elsewhere { is: PathBuf, wanted: PathBuf, note: PathBuf },
    #[error(
        "the job table of this project is `{}` on host `{host}` and not to be seen from here; work there, or name its \
         coordinator with `--coordinator`", path.display()
    )]
    OtherHost { path: PathBuf, host: String },
    #[error("there is no folder for the job table `{}`", path.display())]
    NoFolder { path: PathBuf },
    #[error("`{}` can't be understood", path.display())]
    Unreadable { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl StateFolder {
    /// The job table's file, and the file that is locked while it is open. `wanted` is where the user wants it.
    ///
    /// # Errors
    /// When it lies elsewhere already, on another host, or in no folder.
    pub fn place_database(&self, wanted: Option<&Path>) -> Result<DatabaseFiles, PlacementError> {
        let inside = self.path().join("sweep.db");
        let is = self.placed()?;
        match (is, wanted) {
            (None, None) => Ok(DatabaseFiles { database: inside, lock: self.path().join("lock") }),
            (Some(placement), None) => placement.files(),
            (is, Some(wanted)) => {
                let wanted = absolute(wanted)?;
                let is = is.map(|placement| placement.path).or_else(|| inside.exists().then_some(inside));
                match is {
                    Some(is) if is != wanted => {
                        Err(PlacementError::Elsewhere { is, wanted, note: self.placement_file() })
                    }
                    _ => self.place(wanted)?.files(),
                }
            }
        }
    }

    fn placed(&self) -> Result<Option<Placement>, PlacementError> {
        let path = self.placement_file();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| PlacementError::Unreadable { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError::Io { what: "read", path, source }.into()),
        }
    }

    fn place(&self, path: PathBuf) -> Result<Placement, PlacementError> {
        let placement = Placement { path, host: own_host() };
        let text = serde_json::to_vec_pretty(&placement).expect("paths that came as text and a name");
        write_private(&self.placement_file(), &text)?;
        Ok(placement)
    }

    fn placement_file(&self) -> PathBuf {
        self.path().join("database.json")
    }
}

/// The job table and its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFiles {
    pub database: PathBuf,
    pub lock: PathBuf,
}

impl DatabaseFiles {
    /// Where the job table lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.database.parent().unwrap_or(&self.database)
    }
}

impl Placement {
    fn files(self) -> Result<DatabaseFiles, PlacementError> {
        let Placement { path, host } = self;
        if host != own_host() && !path.exists() {
            return Err(PlacementError::OtherHost { path, host });
        }
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        Ok(DatabaseFiles { database: path, lock: lock.into() })
    }
}

/// The whole path, by which it is found from any folder.
fn absolute(path: &Path) -> Result<PathBuf, PlacementError> {
    let missing = || PlacementError::NoFolder { path: path.to_owned() };
    let name = path.file_name().ok_or_else(missing)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().map_err(|_| missing())?;
    let path = folder.join(name);
    if !folder.is_dir() || path.is_dir() || path.to_str().is_none() { Err(missing()) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, StateFolder) {
        let project = tempfile::tempdir().unwrap();
        let folder = StateFolder::create(project.path()).unwrap();
        (project, folder)
    }

    #[test]
    fn a_choice_is_made_once_and_found_afterwards() {
        let (project, folder) = folder();
        let wanted = project.path().join("jobs.db");
        let files = folder.place_database(Some(&wanted)).unwrap();
        assert_eq!(files.database, wanted.canonicalize().unwrap_or(wanted));
        assert_eq!(files.lock, files.database.with_extension("db.lock"));
        assert_eq!(folder.place_database(None).unwrap(), files);
        assert_eq!(folder.place_database(Some(&files.database)).unwrap(), files);
        let other = project.path().join("other.db");
        let error = folder.place_database(Some(&other)).unwrap_err().to_string();
        assert!(error.contains("jobs.db`; to move it") && error.contains("database.json"), "{error}");
    }

    #[test]
    fn a_table_that_is_there_is_not_left_behind() {
        let (project, folder) = folder();
        let inside = folder.place_database(None).unwrap().database;
        fs::write(&inside, "").unwrap();
        let wanted = project.path().join("jobs.db");
        assert!(matches!(folder.place_database(Some(&wanted)), Err(PlacementError::Elsewhere { .. })));
        fs::rename(&inside, &wanted).unwrap();
        folder.place_database(Some(&wanted)).unwrap();
    }

    #[test]
    fn a_table_on_another_host_is_not_made_anew_here() {
        let (_project, folder) = folder();
        let placement = Placement { path: "/no/such/disk/jobs.db".into(), host: "elsewhere".to_owned() };
        fs::write(folder.placement_file(), serde_json::to_string(&placement).unwrap()).unwrap();
        let error = folder.place_database(None).unwrap_err().to_string();
        assert!(error.contains("`/no/such/disk/jobs.db` on host `elsewhere`"), "{error}");
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        let (project, folder) = folder();
        for wrong in [project.path().join("missing/jobs.db"), project.path().to_owned(), "/".into()] {
            let refused = folder.place_database(Some(&wrong));
            assert!(matches!(refused, Err(PlacementError::NoFolder { .. })), "{wrong:?}");
        }
        fs::write(folder.placement_file(), "{").unwrap();
        assert!(matches!(folder.place_database(None), Err(PlacementError::Unreadable { .. })));
    }
}
