//! The state folder `.sweep/` of a project: where it is, and what lies where in it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::protocol::announcement::Announcement;

pub(super) const STATE_FOLDER: &str = ".sweep";

/// A project's state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder {
    path: PathBuf,
}

/// This host, as the system calls it.
#[must_use]
pub fn own_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What is wrong with the folder or a file in it.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("can't {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{}` can be written by somebody else, whose commands would run as yours", path.display())]
    Foreign { path: PathBuf },
}

impl StateFolder {
    /// The nearest state folder from `directory` upward, like `.git`. One that somebody else can write to is passed over:
    /// below /tmp or /scratch it may be anybody's, and working on it means running its commands.
    #[must_use]
    pub fn find(directory: &Path) -> Option<StateFolder> {
        directory
            .ancestors()
            .map(|ancestor| ancestor.join(STATE_FOLDER))
            .find(|candidate| is_ours_alone(candidate))
            .map(|path| StateFolder { path })
    }

    /// The nearest state folder, or a new one in `directory`.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn ensure(directory: &Path) -> Result<StateFolder, FolderError> {
        if let Some(found) = StateFolder::find(directory) {
            return Ok(found);
        }
        StateFolder::create(directory)
    }

    /// A state folder in `directory` itself, whatever lies above it.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(directory: &Path) -> Result<StateFolder, FolderError> {
        let path = directory.join(STATE_FOLDER);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // Made by another first command a moment ago, or by somebody else.
                return if is_ours_alone(&path) {
                    Ok(StateFolder { path })
                } else {
                    Err(FolderError::Foreign { path })
                };
            }
            made => made.map_err(|source| io("make", &path, source))?,
        }
        // Results and tokens are not for version control.
        let ignore = path.join(".gitignore");
        fs::write(&ignore, "*\n").map_err(|source| io("write", &ignore, source))?;
        Ok(StateFolder { path })
    }

    /// What is locked while the table is open that a state folder in `directory` has by itself.
    #[must_use]
    pub fn lock_in(directory: &Path) -> PathBuf {
        directory.join(STATE_FOLDER).join("lock")
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where checkpoints and other weights lie, each under the hash of its contents.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// Where the logs of attempts lie that ran in this folder.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.path.join("token")
    }

    fn port_file(&self) -> PathBuf {
        self.path.join("port")
    }

    /// The file in which a coordinator says where it is.
    #[must_use]
    pub fn announcement_file(&self) -> PathBuf {
        self.path.join("coordinator.json")
    }

    /// The bearer token; made at the first call, readable by its owner only.
    ///
    /// # Errors
    /// When it can't be read or made.
    pub fn ensure_token(&self) -> Result<String, FolderError> {
        let path = self.token_file();
        match fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
            Ok(_) => fs::remove_file(&path).map_err(|source| io("replace", &path, source))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(io("read", &path, source)),
        }
        let mut bytes = [0u8; 32];
        let urandom = Path::new("/dev/urandom");
        fs::File::open(urandom)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|source| io("read", urandom, source))?;
        let token = blake3::hash(&bytes).to_hex().to_string();
        let beside = path.with_extension(format!("{}.first", std::process::id()));
        write_private(&beside, token.as_bytes())?;
        // Of two first commands at once only one puts its token in place; both then read that one.
        let linked = fs::hard_link(&beside, &path);
        let _is_linked_now = fs::remove_file(&beside);
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(io("write", &path, error)),
            _ => Ok(fs::read_to_string(&path).map_err(|source| io("read", &path, source))?.trim().to_owned()),
        }
    }

    /// The coordinator that says it is running, if any; it may have died since.
    #[must_use]
    pub fn announced(&self) -> Option<Announcement> {
        let text = fs::read_to_string(self.announcement_file()).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Says where the coordinator is.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn announce(&self, announcement: &Announcement) -> Result<(), FolderError> {
        let text = serde_json::to_string_pretty(announcement).expect("an announcement is text and numbers");
        write_private(&self.announcement_file(), text.as_bytes())
    }

    /// The port on which a service listened last, so that workers find it again after a restart.
    #[must_use]
    pub fn last_port(&self) -> Option<u16> {
        fs::read_to_string(self.port_file()).ok()?.trim().parse().ok()
    }

    /// Notes the port on which a service listens.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn note_port(&self, port: u16) -> Result<(), FolderError> {
        write_private(&self.port_file(), format!("{port}\n").as_bytes())
    }

    /// Takes the announcement back. Only the holder of the database lock may.
    pub fn withdraw(&self) {
        let _already_gone = fs::remove_file(self.announcement_file());
    }
}

/// A folder that this user owns and not everybody may write to.
fn is_ours_alone(path: &Path) -> bool {
    const WRITABLE_BY_ALL: u32 = 0o002;
    path.metadata().is_ok_and(|metadata| {
        metadata.is_dir()
            && metadata.uid() == rustix::process::geteuid().as_raw()
            && metadata.mode() & WRITABLE_BY_ALL == 0
    })
}

/// Writes beside and renames, so that a reader sees all of it or nothing; mode 0600.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), FolderError> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| io("write", path, source))
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> FolderError {
    FolderError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_found_from_below_and_made_only_once() {
        let project = tempfile::tempdir().unwrap();
        assert_eq!(StateFolder::find(project.path()), None);
        let made = StateFolder::ensure(project.path()).unwrap();
        let below = project.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(StateFolder::ensure(&below).unwrap(), made);
    }

    #[test]
    fn a_folder_that_everybody_may_write_to_is_not_taken() {
        let project = tempfile::tempdir().unwrap();
        let planted = project.path().join(STATE_FOLDER);
        fs::create_dir(&planted).unwrap();
        fs::set_permissions(&planted, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(StateFolder::find(project.path()), None);
        assert!(matches!(StateFolder::ensure(project.path()), Err(FolderError::Foreign { .. })));
        assert!(StateFolder::ensure(&project.path().join("data")).is_err(), "there is no such folder");
    }

    #[test]
    fn the_token_stays_and_is_private() {
        let project = tempfile::tempdir().unwrap();
        let folder = StateFolder::ensure(project.path()).unwrap();
        let token = folder.ensure_token().unwrap();
        assert_eq!(folder.ensure_token().unwrap(), token);
        let mode = fs::metadata(folder.token_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
