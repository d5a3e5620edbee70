//! Files that a command writes for the user: whole or not at all, readable as the user's other files are, and never in the place
//! of a job table.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{CliError, Context, state_folder};

/// Begins the name of a file that is being written.
const PREFIX: &str = ".sweep-";

/// A file that takes its name, and the place of one that has it, when it is whole; dropped before, it leaves nothing. What is no
/// file (`/dev/stdout`, a pipe) is written into.
#[derive(Debug)]
pub(super) struct NewFile {
    to: To,
    /// As the user names it.
    name: PathBuf,
}

#[derive(Debug)]
enum To {
    Beside { partial: BufWriter<NamedTempFile>, target: PathBuf },
    Device(BufWriter<File>),
}

impl NewFile {
    /// # Errors
    /// When it can't be written, or is a job table.
    pub(super) fn begin(file: &Path, context: &Context) -> Result<NewFile, CliError> {
        let target = context.environment.working_directory.join(file);
        if is_a_tables_place(&target, context) {
            return Err(CliError::usage(format!(
                "`{}` is the place of a job table; name another file",
                file.display()
            )));
        }
        let to = To::open(&target).map_err(|error| failed(file, error))?;
        Ok(NewFile { to, name: file.to_owned() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.to.write(bytes).map_err(|error| failed(&self.name, error))
    }

    pub(super) fn finish(self) -> Result<(), CliError> {
        self.to.finish().map_err(|error| failed(&self.name, error))
    }
}

/// One that is there at once.
///
/// # Errors
/// As for [`NewFile::begin`].
pub(super) fn write_file(file: &Path, bytes: &[u8], context: &Context) -> Result<(), CliError> {
    let mut new = NewFile::begin(file, context)?;
    new.write(bytes)?;
    new.finish()
}

fn failed(file: &Path, error: io::Error) -> CliError {
    CliError::failed(anyhow::Error::new(error).context(format!("`{}` can't be written", file.display())))
}

/// Whether it is this project's job table or one of the files beside it, or such a file of another project.
pub(super) fn is_a_tables_place(target: &Path, context: &Context) -> bool {
    let folder = target.parent().and_then(|folder| folder.canonicalize().ok());
    let Some(target) = folder.zip(target.file_name()).map(|(folder, name)| folder.join(name)) else {
        return false;
    };
    let mut tables = vec![PathBuf::from(".sweep/sweep.db")];
    let folder = state_folder::find(context);
    tables.extend(folder.and_then(|folder| folder.place_database(None).ok()).map(|files| files.database));
    let beside = |table: PathBuf| {
        ["", "-wal", "-shm", ".lock"].map(|end| {
            let mut name = table.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        })
    };
    tables.into_iter().flat_map(beside).any(|table| target.ends_with(table))
}

impl To {
    fn open(target: &Path) -> io::Result<To> {
        // What a link leads to is replaced, not the link.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        let there = fs::metadata(&target).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            return Ok(To::Device(BufWriter::new(OpenOptions::new().write(true).open(&target)?)));
        }
        // Less what the user's umask takes away.
        let permissions = Permissions::from_mode(0o666);
        let partial = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(permissions)
            .tempfile_in(folder_of(&target))?;
        if let Some(there) = there {
            partial.as_file().set_permissions(there.permissions())?;
        }
        Ok(To::Beside { partial: BufWriter::new(partial), target })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            To::Beside { partial, .. } => partial.write_all(bytes),
            To::Device(device) => device.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            To::Beside { partial, target } => {
                let partial = partial.into_inner().map_err(io::IntoInnerError::into_error)?;
                partial.as_file().sync_all()?;
                partial.persist(&target).map_err(|error| error.error)?;
                // A name is lost with the power as long as its folder isn't written.
                File::open(folder_of(&target))?.sync_all()
            }
            To::Device(mut device) => device.flush(),
        }
    }
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(target: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut to = To::open(target)?;
        to.write(bytes)?;
        to.finish()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_as_readable_as_any_other_and_an_old_one_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let [new, other, old] = ["new", "other", "old"].map(|name| folder.path().join(name));
        put(&new, b"1").unwrap();
        fs::write(&other, "").unwrap();
        assert_eq!(mode(&new), mode(&other));
        fs::write(&old, "before").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o640)).unwrap();
        put(&old, b"after").unwrap();
        assert_eq!((fs::read_to_string(&old).unwrap().as_str(), mode(&old)), ("after", 0o640));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside them");
    }

    #[test]
    fn a_link_stays_one_and_a_device_stays_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, null] = ["file", "link", "null"].map(|name| folder.path().join(name));
        fs::write(&file, "before").unwrap();
        symlink("file", &link).unwrap();
        put(&link, b"after").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        symlink("/dev/null", &null).unwrap();
        put(&null, b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(put(folder.path(), b"").is_err(), "a folder can't be written");
    }
}
