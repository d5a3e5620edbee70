//! What git says of a folder: where in its history it was, for the record, and which files it tracks. `git` need not be there.

use std::ffi::OsStr;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::protocol::http::Commit;

/// A repository that takes longer to say what has changed goes without.
const LONGEST: Duration = Duration::from_secs(5);

/// What git would take for the place of the repository, as its hooks set it.
const VARIABLES: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"];

/// The commit of a folder in a repository, and whether files that git knows have changed since.
pub(super) fn commit_of(folder: &Path) -> Option<Commit> {
    let (status, head) = git(folder, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
    if !status.success() {
        return None;
    }
    let (status, _) = git(folder, &["diff", "--quiet", "--no-ext-diff", "HEAD", "--", "."])?;
    // Anything but 0 and 1 means that it could not tell.
    let is_modified = match status.into_raw() >> 8 {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(Commit { hash: String::from_utf8(head).ok()?.trim().to_owned(), is_modified })
}

/// Files of a folder that git tracks, as paths from the folder; some may not be there. Without git or a repository there are
/// none; `None` where git did not answer in time.
pub(super) fn list_tracked(folder: &Path) -> Option<Vec<PathBuf>> {
    let Some((status, names)) = git(folder, &["ls-files", "-z", "--cached"]) else { return Some(Vec::new()) };
    match status.code() {
        Some(0) => {
            let paths = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            Some(paths.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
        }
        Some(_) => Some(Vec::new()),
        None => None,
    }
}

/// How git ended, and what it said.
fn git(folder: &Path, arguments: &[&str]) -> Option<(ExitStatus, Vec<u8>)> {
    // In a file, since it waits for nobody who reads along.
    let mut said = tempfile::tempfile().ok()?;
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments).env("GIT_OPTIONAL_LOCKS", "0");
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(said.try_clone().ok()?).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    let has_ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|process| {
        let mut ends = [PollFd::new(&process, PollFlags::IN)];
        let limit = LONGEST.try_into().map_err(|_| rustix::io::Errno::INVAL)?;
        poll(&mut ends, Some(&limit))
    });
    if !matches!(has_ended, Ok(1..)) {
        let _already_ended = child.kill();
    }
    let status = child.wait().ok()?;
    let mut text = Vec::new();
    said.rewind().and_then(|()| said.read_to_end(&mut text)).ok()?;
    Some((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, arguments: &[&str]) {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"];
        let (status, _) = git(folder, &[&identity[..], arguments].concat()).expect("git is here");
        assert!(status.success(), "git {arguments:?}");
    }

    #[test]
    fn a_folder_in_a_repository_has_a_commit_that_may_have_been_modified() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(commit_of(folder.path()), None);
        run(folder.path(), &["init", "-q"]);
        assert_eq!(commit_of(folder.path()), None, "there is no commit yet");
        std::fs::write(folder.path().join("a.py"), "1").unwrap();
        run(folder.path(), &["add", "."]);
        run(folder.path(), &["commit", "-q", "-m", "first"]);
        let clean = commit_of(folder.path()).unwrap();
        assert!(clean.hash.len() == 40 && !clean.is_modified, "{clean:?}");
        std::fs::write(folder.path().join("a.py"), "2").unwrap();
        assert_eq!(commit_of(folder.path()), Some(Commit { is_modified: true, ..clean }));
    }
}
