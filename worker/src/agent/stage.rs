//! A part of a trial that is a program: where the program takes up its work, and where it leaves it.
//!
//! Files of checkpoints are named by their content, as those of the built-in trainer are. One that is lost or damaged costs
//! time and not the job: the program then begins with epoch 1.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sweep::protocol::http::CommandStage;
use sweep::protocol::trial::Checkpoint;
use sweep::vocabulary::weights_file_name;

use super::slot::Trial;

/// One run of a program from one checkpoint to another.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Epochs that the program runs.
    first_epoch: u32,
    last_epoch: u32,
    /// Epochs from here on are this job's to report.
    reports_from: u32,
    load: Option<PathBuf>,
    save: PathBuf,
    must_save: bool,
    artifacts: PathBuf,
}

impl Stage {
    pub(crate) async fn new(stage: &CommandStage, trial: &Trial) -> Stage {
        let artifacts = trial.place.artifacts.clone();
        let load = match &stage.load {
            Some(checkpoint) => find(&artifacts, checkpoint).await,
            None => None,
        };
        let name = format!("{}.checkpoint", trial.token.file_stem());
        Stage {
            first_epoch: if load.is_some() { stage.first_epoch } else { 1 },
            last_epoch: stage.last_epoch,
            reports_from: stage.first_epoch,
            load,
            save: trial.place.spool.join(name),
            must_save: stage.must_save,
            artifacts,
        }
    }

    pub(crate) fn set_environment(&self, command: &mut Command) {
        command
            .env("SWEEP_FIRST_EPOCH", self.first_epoch.to_string())
            .env("SWEEP_LAST_EPOCH", self.last_epoch.to_string())
            .env("SWEEP_LOAD", self.load.as_deref().unwrap_or(Path::new("")))
            .env("SWEEP_SAVE", &self.save);
    }

    /// Epochs that were behind the program when it started.
    pub(crate) fn epochs_before(&self) -> u32 {
        self.first_epoch - 1
    }

    pub(crate) fn reports_from(&self) -> u32 {
        self.reports_from
    }

    /// Takes what the program saved to the other checkpoints, under the name of its content.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub(crate) async fn keep(&self) -> Result<Option<Checkpoint>, String> {
        if !self.save.is_file() {
            return match self.must_save {
                true => Err(format!(
                    "it ended well but wrote no file to `SWEEP_SAVE`, from which epoch {} could go on",
                    self.last_epoch + 1
                )),
                false => Ok(None),
            };
        }
        let (save, artifacts) = (self.save.clone(), self.artifacts.clone());
        let kept = tokio::task::spawn_blocking(move || keep(&save, &artifacts)).await;
        let (hash, size_bytes) = kept
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| format!("its file `SWEEP_SAVE` can't be kept: {error}"))?;
        Ok(Some(Checkpoint { hash, epoch: self.last_epoch, step: 0, size_bytes }))
    }
}

async fn find(artifacts: &Path, checkpoint: &Checkpoint) -> Option<PathBuf> {
    let path = artifacts.join(weights_file_name(&checkpoint.hash));
    let (read, expected) = (path.clone(), checkpoint.hash.clone());
    let found = tokio::task::spawn_blocking(move || hash_of(&read)).await;
    match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok((hash, _)) if hash == expected => return Some(path),
        Ok(_) => tracing::warn!("`{}` is damaged; starts again from the first epoch", path.display()),
        Err(error) => {
            tracing::warn!("starts again from the first epoch: can't read `{}`: {error}", path.display());
        }
    }
    None
}

/// Hash and size of a file.
fn hash_of(path: &Path) -> io::Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok((hasher.finalize().to_hex().to_string(), size))
}

fn keep(save: &Path, artifacts: &Path) -> io::Result<(String, u64)> {
    let (hash, size) = hash_of(save)?;
    // Both folders lie in the state folder, so that this is one step of one file system.
    std::fs::File::open(save)?.sync_all()?;
    std::fs::rename(save, artifacts.join(weights_file_name(&hash)))?;
    std::fs::File::open(artifacts)?.sync_all()?;
    Ok((hash, size))
}
