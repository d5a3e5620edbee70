//! How much room the table takes on its disk.

use std::path::Path;

use super::Store;

/// Sizes of the table's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreSize {
    pub database_bytes: u64,
    /// What is written and not yet moved into the database; 0 where there is no such file.
    pub log_bytes: u64,
}

impl Store {
    /// Asks the file system; a file that it does not show has size 0.
    #[must_use]
    pub fn size(&self) -> StoreSize {
        let options = self.readers.connect_options();
        let database = options.get_filename();
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        StoreSize { database_bytes: bytes(database), log_bytes: bytes(Path::new(&log)) }
    }
}

fn bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}
