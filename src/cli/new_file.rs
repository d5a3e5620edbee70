//! Files that commands write for the user: written beside, and renamed when they are whole.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::CliError;
use crate::coordinator::partial_in;

/// A file that takes its name, and the place of one that has it, when it is whole; dropped before, it leaves nothing.
pub(super) struct NewFile {
    partial: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl NewFile {
    pub(super) fn begin(path: &Path) -> Result<NewFile, CliError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let partial = partial_in(folder).map_err(|error| failed(path, error))?;
        Ok(NewFile { partial: BufWriter::new(partial), path: path.to_owned() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.partial.write_all(bytes).map_err(|error| failed(&self.path, error))
    }

    pub(super) fn finish(self) -> Result<(), CliError> {
        let partial = self.partial.into_inner().map_err(|error| failed(&self.path, error.into_error()))?;
        partial.as_file().sync_all().map_err(|error| failed(&self.path, error))?;
        partial.persist(&self.path).map_err(|error| failed(&self.path, error.error))?;
        Ok(())
    }
}

/// One that is there at once.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut file = NewFile::begin(path)?;
    file.write(bytes)?;
    file.finish()
}

fn failed(path: &Path, error: std::io::Error) -> CliError {
    CliError::failed(anyhow::Error::new(error).context(format!("`{}` can't be written", path.display())))
}
