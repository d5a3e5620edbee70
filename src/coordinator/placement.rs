//! Where a state folder's job table lies, when it is not in the folder.
//!
//! The choice is written down once, so that no later command without it makes a second table, which would take the
//! first one's checkpoints for nobody's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{FolderError, STATE_FOLDER, StateFolder, own_host, write_private};
use super::lock::{LockError, lock};

/// Name of the job table in a state folder.
const TABLE: &str = "sweep.db";

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
    #[error(
        "`{}` is the job table of another project, whose checkpoints lie beside it; work in that project's folder, or name \
         another file", path.display()
    )]
    Foreign { path: PathBuf },
    #[error("`{}` can't be understood", path.display())]
    Unreadable { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl StateFolder {
    /// The job table's file, and the file that is locked while it is open. `wanted` is where the user wants it.
    ///
    /// # Errors
    /// When it lies elsewhere already, on another host, in no folder, or is another project's.
    pub fn place_database(&self, wanted: Option<&Path>) -> Result<DatabaseFiles, PlacementError> {
        let is = self.placed()?;
        let Some(wanted) = wanted else {
            return is.map_or_else(|| Ok(DatabaseFiles::of(self.inside())), Placement::files);
        };
        let wanted = absolute(wanted)?;
        match is {
            Some(placement) if placement.is_at(&wanted) => placement.files(),
            Some(Placement { path, .. }) => Err(self.elsewhere(path, wanted)),
            None if absolute(&self.inside())? == wanted => Ok(DatabaseFiles::of(self.inside())),
            None => self.place(wanted)?.files(),
        }
    }

    /// Where the job table lies unless somebody wants it elsewhere.
    fn inside(&self) -> PathBuf {
        self.path().join(TABLE)
    }

    fn elsewhere(&self, is: PathBuf, wanted: PathBuf) -> PlacementError {
        PlacementError::Elsewhere { is, wanted, note: self.placement_file() }
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
        if is_of_a_state_folder(&path) {
            return Err(PlacementError::Foreign { path });
        }
        let inside = self.inside();
        if inside.exists() {
            return Err(self.elsewhere(inside, path));
        }
        // Another first command may be about to make the table inside, or to place it.
        let _lock = lock(&DatabaseFiles::of(inside.clone()).lock)?;
        match self.placed()? {
            _ if inside.exists() => return Err(self.elsewhere(inside, path)),
            Some(placement) if placement.is_at(&path) => return Ok(placement),
            Some(placement) => return Err(self.elsewhere(placement.path, path)),
            None => {}
        }
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
    /// One table has one lock, however it is named.
    fn of(database: PathBuf) -> DatabaseFiles {
        let lock = match database.parent() {
            Some(folder) if is_of_a_state_folder(&database) => folder.join("lock"),
            _ => {
                let mut lock = database.clone().into_os_string();
                lock.push(".lock");
                lock.into()
            }
        };
        DatabaseFiles { database, lock }
    }

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
        Ok(DatabaseFiles::of(path))
    }

    /// A link and what it leads to are the same place.
    fn is_at(&self, wanted: &Path) -> bool {
        self.path == wanted || self.path.canonicalize().is_ok_and(|path| path == wanted)
    }
}

/// Whether it is the table that a state folder has by itself, this one or another.
fn is_of_a_state_folder(database: &Path) -> bool {
    database.ends_with(Path::new(STATE_FOLDER).join(TABLE))
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
    let path = path.canonicalize().unwrap_or(path);
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
    fn one_table_has_one_lock_however_it_is_named() {
        let (project, folder) = folder();
        let files = folder.place_database(None).unwrap();
        fs::write(&files.database, "").unwrap();
        assert_eq!(folder.place_database(Some(&files.database)).unwrap().lock, files.lock);
        std::os::unix::fs::symlink(&files.database, project.path().join("link.db")).unwrap();
        assert_eq!(folder.place_database(Some(&project.path().join("link.db"))).unwrap().lock, files.lock);
        assert!(!folder.placement_file().exists(), "nothing has to be noted");
        // Another project's checkpoints are not here.
        let (_other_project, other) = self::folder();
        let refused = other.place_database(Some(&files.database));
        assert!(matches!(refused, Err(PlacementError::Foreign { .. })), "{refused:?}");
    }

    #[test]
    fn a_table_that_is_being_made_is_not_left_behind() {
        let (project, folder) = folder();
        let making = lock(&folder.place_database(None).unwrap().lock).unwrap();
        let refused = folder.place_database(Some(&project.path().join("jobs.db")));
        assert!(matches!(refused, Err(PlacementError::Lock(LockError::Held { .. }))), "{refused:?}");
        assert!(!folder.placement_file().exists());
        drop(making);
        folder.place_database(Some(&project.path().join("jobs.db"))).unwrap();
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
