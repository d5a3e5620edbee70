//! The agent's own folder for files of attempts that run: reports that grow, and states that programs have begun to write.
//!
//! It is the agent's alone: a file that another one left could be read as an attempt's report. It goes with the agent; that
//! of one that was killed stays, and whichever agent starts next in the same state folder removes it. So the folder also says to
//! all nodes that the agent is there, and that its copies of code (`code`) are in use.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::identity::Process;

const PREFIX: &str = "agent-";

/// A folder whose agent runs where we can't see it, on another host or before a restart of this one, and that nobody
/// touched for so long, has no agent any more.
const FORGOTTEN: Duration = Duration::from_secs(2 * 24 * 3600);

/// How often an agent touches its own.
const TOUCH_PERIOD: Duration = Duration::from_secs(3600);

/// Makes a folder for this agent among `spools`, and removes those of agents that are gone.
///
/// # Errors
/// When it can't be made; one that can't be removed is left to the next agent.
pub(crate) fn open(spools: &Path) -> io::Result<TempDir> {
    fs::create_dir_all(spools)?;
    let own = Process::this();
    #[expect(clippy::disallowed_methods, reason = "compared with the times of files, which are the system's")]
    let now = SystemTime::now();
    for entry in fs::read_dir(spools)?.flatten() {
        if is_left_over(&entry.path(), &own, now)
            && let Err(error) = fs::remove_dir_all(entry.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "can't remove `{}`, which an agent left behind", entry.path().display());
        }
    }
    let Process { boot, pid, started_ticks } = own;
    tempfile::Builder::new().prefix(&format!("{PREFIX}{boot}-{pid}-{started_ticks}-")).tempdir_in(spools)
}

/// Shows by its time that the folder has an agent, for as long as that runs.
pub(crate) async fn keep_fresh(spool: PathBuf) {
    let mut tick = tokio::time::interval(TOUCH_PERIOD);
    loop {
        tick.tick().await;
        let spool = spool.clone();
        // Where it fails often the folder is in danger, and trials that can't write there say so themselves.
        let _ = tokio::task::spawn_blocking(move || touch(&spool)).await;
    }
}

fn touch(spool: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the times of files are the system's")]
    File::open(spool)?.set_modified(SystemTime::now())
}

fn is_left_over(folder: &Path, own: &Process, now: SystemTime) -> bool {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(name) = name.strip_prefix(PREFIX) else { return false };
    match parse(name) {
        Some(owner) if owner.boot == own.boot => !owner.is_there(),
        Some(_) | None => {
            let touched = folder.symlink_metadata().and_then(|metadata| metadata.modified());
            touched.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > FORGOTTEN))
        }
    }
}

/// Whose folder it is. `None` where the name doesn't say.
fn parse(name: &str) -> Option<Process> {
    let mut parts = name.split('-');
    let boot = parts.next()?.to_owned();
    let (pid, started_ticks) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Process { boot, pid, started_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders by these names, with a file in each, that were touched a week ago.
    fn old_folders(spools: &Path, names: &[&str]) {
        #[expect(clippy::disallowed_methods, reason = "the times of files are the system's")]
        let week_ago = SystemTime::now() - Duration::from_secs(7 * 24 * 3600);
        for name in names {
            let folder = spools.join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("job-1-attempt-1.checkpoint"), "state").unwrap();
            File::open(folder).unwrap().set_modified(week_ago).unwrap();
        }
    }

    fn names(spools: &Path) -> Vec<String> {
        let entries = fs::read_dir(spools).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_agents_left_that_are_gone_is_removed_and_what_others_have_stays() {
        let folder = tempfile::tempdir().unwrap();
        let spools = folder.path();
        let Process { boot, pid, started_ticks } = Process::this();
        let gone = format!("agent-{boot}-{pid}-{}-x", started_ticks + 1);
        let alive = format!("agent-{boot}-{pid}-{started_ticks}-x");
        old_folders(spools, &[&gone, &alive, "agent-elsewhere-1-1-x", "agent-x", "of somebody else"]);
        fs::create_dir(spools.join("agent-elsewhere-2-2-x")).unwrap();
        let own = open(spools).unwrap();
        let own = own.path().file_name().unwrap().to_string_lossy().into_owned();
        let mut expected =
            vec![alive, "agent-elsewhere-2-2-x".to_owned(), own, "of somebody else".to_owned()];
        expected.sort();
        assert_eq!(names(spools), expected);
    }

    #[test]
    fn a_folder_that_is_touched_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        old_folders(folder.path(), &["agent-elsewhere-1-1-x"]);
        touch(&folder.path().join("agent-elsewhere-1-1-x")).unwrap();
        open(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["agent-elsewhere-1-1-x"]);
    }
}
