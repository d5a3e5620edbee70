//! The code that a program runs: for each attempt a copy of its own, unpacked from the archive that was made when the sweep
//! was submitted. So nobody changes what is queued by editing a file, and no trial changes what others run.
//!
//! The copy stands for the folder of the submission: what the archive has is there as it was, all else leads to that folder,
//! if this host has it. The archive is hashed each time; one that is damaged is never run. When the attempt ends, what
//! was put into the copy goes, and what the program wrote there stays.
//!
//! Beside each copy a note says whose it is, from before it is made until it is cleared. Whether that agent is gone is decided in
//! one place, by `spool`, on all nodes that share the state folder: a copy has been left behind as soon as the folder of
//! its agent is there no more, and the next agent clears it. No lock says so, since locks need not reach other nodes.

mod archive;
mod copy;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sweep::protocol::http::CommandWork;
use sweep::vocabulary::{CheckpointHash, CodeScope, FailureReason, KEPT_CODE, KeptCode, code_file_name};
use tokio::task::spawn_blocking;

use super::event::TrialEnd;
use super::slot::{Place, Trial};
use archive::{Archive, Outline};
pub(crate) use copy::Problem;

/// Ends the name of a note; before it stands a dot and the name of its copy.
const NOTE: &str = ".copy";

/// Whose a copy is.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The name of its agent's folder among the spools.
    agent: String,
    code: KeptCode,
}

/// One attempt's copy of the code.
#[derive(Debug)]
pub(crate) struct Copy {
    folder: PathBuf,
    kept: KeptCode,
    outline: Outline,
    note: PathBuf,
}

impl Copy {
    /// Unpacks the code of a trial.
    ///
    /// # Errors
    /// The end of the trial, where that can't be done.
    pub(crate) async fn make(kept: &KeptCode, trial: &Trial) -> Result<Copy, TrialEnd> {
        let (place, kept) = (trial.place.clone(), kept.clone());
        let name = format!("job-{}-attempt-{}-", trial.token.job, trial.token.attempt);
        let made = spawn_blocking(move || unpack(kept, &place, &name)).await;
        made.unwrap_or_else(|error| Err(Problem::Node(error.to_string()))).map_err(|problem| {
            let (reason, message) = match problem {
                Problem::Node(message) => (FailureReason::NodeFault, message),
                Problem::Submission(message) => (FailureReason::BadConfig, message),
            };
            TrialEnd::Failed { reason, message, log_tail: String::new() }
        })
    }

    /// Where the program runs.
    pub(crate) fn working_directory(&self, work: &CommandWork) -> PathBuf {
        let submitted = Path::new(&work.working_directory);
        match self.kept.scope {
            CodeScope::Named if submitted.is_dir() => submitted.to_owned(),
            CodeScope::Named | CodeScope::Folder => self.folder.join(&self.kept.directory),
        }
    }

    /// The command with the copy's files in the place of those that it names.
    pub(crate) fn command(&self, command: &[String]) -> Vec<String> {
        let argument = |(at, argument): (usize, &String)| {
            // Without a slash the program is looked for on PATH.
            if at == 0 && !argument.contains('/') {
                return argument.clone();
            }
            if let Some(path) = self.path_of(argument) {
                return path;
            }
            let named = argument.split_once('=');
            let named = named.and_then(|(name, value)| Some(format!("{name}={}", self.path_of(value)?)));
            named.unwrap_or_else(|| argument.clone())
        };
        command.iter().enumerate().map(argument).collect()
    }

    /// The copy's file for a name in a command. A relative one is right as it is where the program runs in the copy.
    fn path_of(&self, name: &str) -> Option<String> {
        let (name, root) = (Path::new(name), Path::new(&self.kept.root));
        let inner = match self.kept.scope {
            _ if name.is_absolute() => name.strip_prefix(root).ok()?.to_owned(),
            CodeScope::Named => Path::new(&self.kept.directory).join(name),
            CodeScope::Folder => return None,
        };
        let mut path = PathBuf::new();
        for component in inner.components() {
            match component {
                Component::Normal(part) => path.push(part),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        if !self.outline.has(&path) {
            return None;
        }
        self.folder.join(path).to_str().map(str::to_owned)
    }

    /// Takes away what was put there. Gives the folder where something is left in it, which the program wrote.
    pub(crate) async fn clear(self) -> Option<PathBuf> {
        let folder = self.folder.clone();
        match spawn_blocking(move || self.take_away())
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
        {
            Ok(true) => None,
            Ok(false) => Some(folder),
            Err(error) => {
                tracing::warn!(%error, "can't clear `{}`", folder.display());
                None
            }
        }
    }
}

impl Copy {
    fn take_away(&self) -> io::Result<bool> {
        let is_empty = copy::clear(&self.folder, &self.outline, Path::new(&self.kept.root))?;
        remove(&self.note)?;
        Ok(is_empty)
    }
}

fn unpack(kept: KeptCode, place: &Place, name: &str) -> Result<Copy, Problem> {
    let archive = read(&kept, &place.artifacts)?;
    let unwritable = |error: io::Error| {
        Problem::Node(format!("can't make a copy of the code in `{}`: {error}", place.attempts.display()))
    };
    fs::create_dir_all(&place.attempts).map_err(unwritable)?;
    let (folder, note) = announce(&kept, place, name).map_err(unwritable)?;
    let copy = Copy { folder, kept, outline: archive.outline(), note };
    fs::create_dir(&copy.folder).map_err(unwritable)?;
    copy::fill(&copy.folder, &archive, &copy.kept).inspect_err(|_| {
        // What can't be taken away now is found by the next agent.
        let _ = copy.take_away();
    })?;
    Ok(copy)
}

/// The archive, which is what its name says.
fn read(kept: &KeptCode, artifacts: &Path) -> Result<Archive, Problem> {
    let hash: CheckpointHash = kept.hash.parse().map_err(|error| Problem::Submission(format!("{error}")))?;
    let path = artifacts.join(KEPT_CODE).join(code_file_name(&hash.to_string()));
    let bytes = fs::read(&path).map_err(|error| {
        Problem::Node(format!("can't read the code that this trial runs, `{}`: {error}", path.display()))
    })?;
    if blake3::hash(&bytes).to_hex().as_str() != hash.to_string() {
        return Err(Problem::Node(format!(
            "the code that this trial runs is damaged, `{}`; submit the sweep again from the same code, which writes it anew",
            path.display()
        )));
    }
    Archive::of(bytes).map_err(|what| {
        Problem::Submission(format!("the code `{}` can't be unpacked: {what}", path.display()))
    })
}

/// Notes whose copy there will be, and how it and its note are called: so nothing that a crash leaves is without a note. The note
/// is written in the agent's own folder, and whole when it comes here.
fn announce(kept: &KeptCode, place: &Place, name: &str) -> io::Result<(PathBuf, PathBuf)> {
    let file_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut note = tempfile::Builder::new().prefix(name).tempfile_in(&place.spool)?;
    serde_json::to_writer(&mut note, &Note { agent: file_name(&place.spool), code: kept.clone() })?;
    let name = file_name(note.path());
    let path = place.attempts.join(format!(".{name}{NOTE}"));
    note.persist_noclobber(&path).map_err(|error| error.error)?;
    Ok((place.attempts.join(name), path))
}

/// Clears the copies of agents that were killed.
pub(crate) async fn clear_abandoned(place: Arc<Place>) {
    let cleared = spawn_blocking(move || {
        let Ok(entries) = fs::read_dir(&place.attempts) else { return };
        for note in entries.flatten().map(|entry| entry.path()) {
            if let Some(folder) = copy_of(&note)
                && let Err(error) = clear_where_abandoned(&note, &folder, &place)
            {
                tracing::debug!(%error, "can't clear `{}`, which an agent left behind", folder.display());
            }
        }
    });
    // It fails only when the agent is about to end.
    let _ = cleared.await;
}

/// The copy to which a note belongs.
fn copy_of(note: &Path) -> Option<PathBuf> {
    let name = note.file_name()?.to_str()?;
    let copy = name.strip_prefix('.')?.strip_suffix(NOTE)?;
    Some(note.with_file_name(copy))
}

fn clear_where_abandoned(note: &Path, folder: &Path, place: &Place) -> io::Result<()> {
    let Note { agent, code } = serde_json::from_slice(&fs::read(note)?)?;
    let is_gone =
        |path: PathBuf| matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound);
    if !is_gone(place.spool.with_file_name(agent)) {
        return Ok(());
    }
    let archive = read(&code, &place.artifacts).map_err(|problem| io::Error::other(problem.into_words()))?;
    copy::clear(folder, &archive.outline(), Path::new(&code.root))?;
    remove(note)
}

/// Another agent may have been quicker.
fn remove(note: &Path) -> io::Result<()> {
    match fs::remove_file(note) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A folder and all that lead to it, from the copy's own on.
fn ways_to(folder: &Path) -> BTreeSet<PathBuf> {
    folder.ancestors().map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests;
