//! Copies of the coordinator's files on this node: those that were used last stay, as far as there is room.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sweep::vocabulary::{CheckpointHash, KEPT_CODE, NAMED_WEIGHTS, weights_file_name};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// No more is kept; a few hundred checkpoints of the largest network.
const MOST_BYTES: u64 = 32 << 30;
/// How often the copies are looked at.
const PERIOD: Duration = Duration::from_secs(20);
/// A file that was used later may be in use: being sent, or about to be read by a trainer that starts.
const SETTLED: Duration = Duration::from_secs(60);
/// A file that was begun and not touched for so long was left by a crash.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// The copies, and those of them that nobody needs any more.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    superseded: Mutex<BTreeSet<CheckpointHash>>,
}

/// A file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copy {
    path: PathBuf,
    bytes: u64,
    /// Time since it was used.
    idle: Duration,
    is_needed: bool,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Cache {
        Cache { folder, superseded: Mutex::default() }
    }

    /// Notes a file that goes as soon as it is certain that it is not in use.
    pub(crate) fn supersede(&self, hash: CheckpointHash) {
        self.superseded().insert(hash);
    }

    pub(crate) async fn keep_tidy(&self) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let superseded = self.superseded().clone();
            let folder = self.folder.clone();
            let gone = spawn_blocking(move || tidy(&folder, &superseded)).await.unwrap_or_default();
            self.superseded().retain(|hash| !gone.contains(hash));
        }
    }

    fn superseded(&self) -> std::sync::MutexGuard<'_, BTreeSet<CheckpointHash>> {
        // A set is whole after every step, so one that a panic left behind can be used.
        self.superseded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes that a file is used. Where it can't be noted it may go sooner, and is fetched again.
pub(crate) fn touch(path: &Path) {
    let touched = std::fs::File::open(path).and_then(|file| file.set_modified(now()));
    if let Err(error) = touched {
        tracing::debug!(%error, "can't note that `{}` is used", path.display());
    }
}

/// Deletes what has to go; says which of the superseded ones are there no more.
fn tidy(folder: &Path, superseded: &BTreeSet<CheckpointHash>) -> BTreeSet<CheckpointHash> {
    let names: BTreeSet<String> =
        superseded.iter().map(|hash| weights_file_name(&hash.to_string())).collect();
    let mut copies = list(folder, &names);
    copies.extend(list(&folder.join(NAMED_WEIGHTS), &names));
    copies.extend(list(&folder.join(KEPT_CODE), &names));
    for path in choose(copies, most_bytes(folder)) {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, "can't delete `{}`, which is not needed any more", path.display());
        }
    }
    let is_gone = |hash: &CheckpointHash| !folder.join(weights_file_name(&hash.to_string())).exists();
    superseded.iter().filter(|hash| is_gone(hash)).cloned().collect()
}

/// What of the copies has to go so that the rest takes no more than `most_bytes`: what nobody needs, then what was not used for
/// the longest time; never what may be in use.
fn choose(mut copies: Vec<Copy>, most_bytes: u64) -> Vec<PathBuf> {
    copies.sort_by_key(|copy| (copy.is_needed, std::cmp::Reverse(copy.idle)));
    let mut bytes: u64 = copies.iter().map(|copy| copy.bytes).sum();
    let mut chosen = Vec::new();
    for copy in copies {
        let has_to_go = !copy.is_needed || bytes > most_bytes;
        if has_to_go && copy.idle >= SETTLED {
            bytes -= copy.bytes;
            chosen.push(copy.path);
        }
    }
    chosen
}

/// At most half of what the disk has for all: others want to write there, too.
fn most_bytes(folder: &Path) -> u64 {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return MOST_BYTES };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let used: u64 = list(folder, &BTreeSet::new()).iter().map(|copy| copy.bytes).sum();
    (free.saturating_add(used) / 2).min(MOST_BYTES)
}

/// The files of a folder that are ours: named by a hash, or begun and never finished.
fn list(folder: &Path, superseded: &BTreeSet<String>) -> Vec<Copy> {
    let now = now();
    let copy = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let name = entry.file_name().into_string().ok()?;
        let idle = now.duration_since(metadata.modified().ok()?).unwrap_or_default();
        let is_begun = name.starts_with('.');
        let is_copy = name.split('.').next().is_some_and(|stem| stem.parse::<CheckpointHash>().is_ok());
        let is_needed = if is_begun { idle < FORGOTTEN } else { !superseded.contains(&name) };
        (is_begun || is_copy).then(|| Copy { path: entry.path(), bytes: metadata.len(), idle, is_needed })
    };
    std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(copy).collect()
}

#[expect(clippy::disallowed_methods, reason = "the clock by which files on this node are dated")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(name: &str, bytes: u64, idle_seconds: u64) -> Copy {
        Copy { path: name.into(), bytes, idle: Duration::from_secs(idle_seconds), is_needed: true }
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first_and_no_more_than_has_to() {
        let copies = || vec![copy("b", 10, 200), copy("a", 10, 300), copy("c", 10, 100)];
        assert_eq!(choose(copies(), 30), Vec::<PathBuf>::new());
        assert_eq!(choose(copies(), 25), [PathBuf::from("a")]);
        assert_eq!(choose(copies(), 10), [PathBuf::from("a"), PathBuf::from("b")]);
    }

    #[test]
    fn what_may_be_in_use_stays_whatever_room_there_is() {
        assert_eq!(choose(vec![copy("old", 10, 61), copy("young", 10, 59)], 0), [PathBuf::from("old")]);
    }

    #[test]
    fn what_was_superseded_goes_though_there_is_room() {
        let superseded = |idle| Copy { is_needed: false, ..copy("s", 10, idle) };
        assert_eq!(choose(vec![copy("a", 10, 900), superseded(61)], 100), [PathBuf::from("s")]);
        assert_eq!(choose(vec![superseded(59)], 100), Vec::<PathBuf>::new());
    }

    #[test]
    fn only_files_of_ours_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let hash = |digit: &str| digit.repeat(64).parse::<CheckpointHash>().unwrap();
        let write = |name: &str, age: u64| {
            let path = folder.path().join(name);
            std::fs::write(&path, "x").unwrap();
            let moment = now() - Duration::from_secs(age);
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(moment).unwrap();
        };
        for digit in ["a", "b", "c"] {
            write(&weights_file_name(&digit.repeat(64)), 600);
        }
        touch(&folder.path().join(weights_file_name(&"b".repeat(64))));
        write("notes.txt", 9999);
        write(".begun", 600);
        write(".forgotten", 3601);
        let gone = tidy(folder.path(), &[hash("a"), hash("b"), hash("d")].into());
        assert_eq!(gone, [hash("a"), hash("d")].into(), "b is superseded and in use");
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let kept = ["b", "c"].map(|digit| weights_file_name(&digit.repeat(64)));
        assert_eq!(left, [".begun", &kept[0], &kept[1], "notes.txt"]);
    }
}
