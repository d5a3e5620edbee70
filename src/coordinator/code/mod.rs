//! The code that a command spec runs: taken as it is when the spec is submitted, so that who edits a script changes no trial
//! that is queued.
//!
//! [`Code::of`] looks at the files that the commands name ([`named`]) or at the folder that `code` names ([`folder`]), and makes
//! an archive of them ([`archive`]) whose name is its hash. [`keep`] puts it among the artifacts; agents unpack it for each
//! trial. [`git`] tells which files are tracked, and where in its history the folder was. Whoever submits to a coordinator on another host
//! takes the code there and sends it: the files are the user's, wherever the table is.

mod archive;
mod compare;
mod folder;
mod git;
mod keep;
mod named;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) use compare::changes;
pub use keep::lend_code;
pub(super) use keep::{Condition, condition};

use super::prepare::PrepareError;
use crate::plan::{self, PlanError};
use crate::protocol::http::{self, SubmitRequest};
use crate::spec::{self, CommandTemplate, Spec, Trainer};
use crate::vocabulary::{CheckpointHash, CodeScope, KeptCode, TrialNumber};

/// The most things that commands can name of which it is asked whether they are files: what a sweep has more of are values.
const MOST_NAMES: usize = 10_000;

/// What the trials of a command spec are run from.
#[derive(Debug, Clone, Default)]
pub struct Code {
    /// As it is told and stored.
    told: http::Code,
    /// The archive; none where nothing is kept, or where it was sent before.
    archive: Option<Vec<u8>>,
}

/// What is wrong with the code that a spec runs.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    #[error("can't read `{}`, which belongs to the code that is kept", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("git has not said in time which files of `{}` it tracks; try again, or write `code: live`", folder.display())]
    SilentGit { folder: PathBuf },
    #[error("`code` names `{written}`, and there is no such folder ({})", path.display())]
    NoFolder { written: String, path: PathBuf },
    #[error(
        "`code` names `{}`, which lies neither in `{working_directory}`, where this is submitted, nor above it; submit from a \
         folder that has both in it",
        folder.display()
    )]
    Apart { folder: PathBuf, working_directory: String },
    #[error(
        "`code` names `{written}`, in which there is nothing to keep: it is empty, or git ignores all of it"
    )]
    Nothing { written: String },
    #[error(
        "`code` names `{written}` with {found}, and {limit} can be kept; {largest}. Name a smaller folder, let git ignore what \
         isn't code (.gitignore), or write `code: live`"
    )]
    TooMuch { written: String, found: String, limit: String, largest: String },
    #[error(
        "`{}` is a link to `{}`, which leads out of the folder that `code` names; make it a relative link within the folder, or \
         let git ignore it (.gitignore): then trials find it where it is",
        path.display(),
        target.display()
    )]
    Leaves { path: PathBuf, target: PathBuf },
    #[error(
        "the files that the command names have {bytes} bytes together, and {limit} can be kept; write `code: live`"
    )]
    LargeFiles { bytes: u64, limit: String },
    #[error(
        "the code `{hash}`, which the sweep is to run, is not among the artifacts; send it before (`PUT /v1/artifacts/{hash}`)"
    )]
    NotSent { hash: CheckpointHash },
    #[error("`{0}` is not the hash of an archive of code")]
    NoHash(String),
    #[error("can't keep the code as `{}`", path.display())]
    Keep { path: PathBuf, source: std::io::Error },
}

impl Code {
    /// The code that a spec's trials are to run: what the request says that they ran, or else what is there now. Nothing for the
    /// built-in trainer.
    ///
    /// # Errors
    /// When a command can't be started, or the code can't be kept.
    pub(super) fn of(spec: &Spec, request: &SubmitRequest) -> Result<Code, PrepareError> {
        let Trainer::Command(command) = &spec.trainer else { return Ok(Code::default()) };
        let template = CommandTemplate::parse(command)
            .map_err(|source| PlanError::Command { trial: TrialNumber(1), source })?;
        let names = names_in(spec, &template)?;
        if let Some(told) = &request.code {
            return Ok(Code { told: told.clone(), archive: None });
        }
        Ok(take(spec, &template, &names, Path::new(&request.working_directory))?)
    }

    /// The code of a spec that is to be sent to a coordinator elsewhere, which has neither these files nor this folder.
    ///
    /// # Errors
    /// When the spec is wrong, or as for every submission.
    pub fn to_send(request: &SubmitRequest) -> Result<Option<Code>, PrepareError> {
        let find_base = |name: &str| request.base(name);
        let spec = spec::parse_finding(
            &request.source_name,
            &request.spec,
            &request.overrides,
            &|named| Ok(vec![named.unfound()]),
            &find_base,
        );
        let spec = spec.map_err(Box::new)?;
        match spec.trainer {
            Trainer::Command(_) => Code::of(&spec, request).map(Some),
            Trainer::Resnet => Ok(None),
        }
    }

    /// As a request tells it.
    #[must_use]
    pub fn told(&self) -> &http::Code {
        &self.told
    }

    /// The archive and its hash, where one was made.
    #[must_use]
    pub fn archive(&self) -> Option<(CheckpointHash, &[u8])> {
        let hash = self.told.kept.as_ref()?.hash.parse().ok()?;
        Some((hash, self.archive.as_deref()?))
    }
}

/// Checks that every command can be started, and gives all that it names.
fn names_in(spec: &Spec, template: &CommandTemplate) -> Result<BTreeSet<String>, PrepareError> {
    let mut names = BTreeSet::new();
    for trial in spec.trials() {
        let rendered = template
            .render(&trial.parameters, trial.seed, trial.number)
            .map_err(|source| PlanError::Command { trial: trial.number, source })?;
        if let Some(argument) = rendered.iter().find(|argument| argument.contains('\0')) {
            return Err(PrepareError::NulCharacter { trial: trial.number, argument: argument.clone() });
        }
        for name in plan::files_named(&rendered) {
            if names.len() < MOST_NAMES && !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
    }
    Ok(names)
}

fn take(
    spec: &Spec,
    template: &CommandTemplate,
    names: &BTreeSet<String>,
    directory: &Path,
) -> Result<Code, CodeError> {
    let counts = |name: &&String| match &spec.code {
        // What lies in the folder counts by the folder.
        spec::Code::Folder(folder) => !is_within(&directory.join(name), &directory.join(folder)),
        spec::Code::Named | spec::Code::Live => true,
    };
    let mut told = http::Code::default();
    for name in names.iter().filter(counts) {
        let checksum = named::checksum_of(&directory.join(name))?;
        told.files.extend(checksum.map(|checksum| (name.clone(), checksum)));
    }
    let (archive, place, folder) = match &spec.code {
        spec::Code::Live => {
            told.commit = git::commit_of(directory);
            return Ok(Code { told, archive: None });
        }
        spec::Code::Named => (named::take(template, directory)?, Place::of(directory), None),
        spec::Code::Folder(written) => {
            let (archive, place, folder) = folder::take(written, directory)?;
            (archive, place, Some(folder))
        }
    };
    told.commit = git::commit_of(&place.root);
    if archive.is_empty() {
        return Ok(Code { told, archive: None });
    }
    let bytes = archive.into_bytes();
    told.kept = Some(KeptCode {
        hash: blake3::hash(&bytes).to_hex().to_string(),
        root: place.root.display().to_string(),
        directory: place.directory.display().to_string(),
        scope: if folder.is_some() { CodeScope::Folder } else { CodeScope::Named },
        folder,
    });
    Ok(Code { told, archive: Some(bytes) })
}

/// The folder for which a copy of the code stands, and where in it trials run.
struct Place {
    root: PathBuf,
    directory: PathBuf,
}

impl Place {
    fn of(directory: &Path) -> Place {
        Place { root: directory.to_owned(), directory: PathBuf::new() }
    }
}

/// Whether a file that may be there lies in a folder.
fn is_within(path: &Path, folder: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolved(path).starts_with(resolved(folder))
}

#[cfg(test)]
use archive::Archive;
#[cfg(test)]
mod tests;
