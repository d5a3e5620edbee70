//! What a worker is asked to do, from what the table holds apart: what trials of a kind have in common, and the trial.

use serde::{Deserialize, Serialize};

use crate::plan;
use crate::protocol::http::{CommandStage, CommandWork, Work};
use crate::protocol::trial::TrainRequest;
use crate::spec::render_command;
use crate::store::{LeasedJob, RequiredWeights, StoreError};
use crate::vocabulary::KeptCode;

/// What all trials of a kind have in common. The table holds it once, as JSON: fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trainer", rename_all = "snake_case")]
pub(super) enum Context {
    Resnet {
        dataset_checksum: String,
    },
    Command {
        command: Vec<String>,
        working_directory: String,
        form: Form,
        /// What of its code was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<KeptCode>,
        /// Whether the program runs in stages.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_staged: bool,
    },
}

impl From<&plan::Context> for Context {
    fn from(context: &plan::Context) -> Context {
        match context {
            plan::Context::Resnet { dataset_checksum } => {
                Context::Resnet { dataset_checksum: dataset_checksum.clone() }
            }
            plan::Context::Command { command, working_directory, code, is_staged } => Context::Command {
                command: command.clone(),
                working_directory: working_directory.clone(),
                form: Form::Template,
                code: code.clone(),
                is_staged: *is_staged,
            },
        }
    }
}

/// What stands in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// Templates, to be filled in with a trial's parameters.
    Template,
    /// The arguments themselves: how jobs were stored before there were contexts.
    Rendered,
}

/// A state whose weights are read, and the file that has them.
fn file_of(weights: RequiredWeights) -> Option<(String, String)> {
    Some((weights.state.to_string(), weights.checkpoint?.hash.to_string()))
}

/// Puts together what a leased job asks of its worker.
pub(super) fn work(job: LeasedJob) -> Result<Work, StoreError> {
    let damaged = |what: &str| StoreError::Damaged(format!("job {} has {what}", job.lease.job));
    let context = serde_json::from_str(&job.context).map_err(|_| damaged("an unreadable context"))?;
    let parameters = serde_json::from_str(&job.parameters).map_err(|_| damaged("unreadable parameters"))?;
    Ok(match context {
        Context::Resnet { dataset_checksum } => Work::Resnet(TrainRequest {
            parameters,
            seed: job.seed,
            dataset_checksum,
            first_epoch: job.first_epoch,
            last_epoch: job.last_epoch,
            teachers: job.required.into_iter().filter_map(file_of).collect(),
            resume: job.checkpoint.or(job.start).map(Into::into),
        }),
        Context::Command { command, working_directory, form, code, is_staged } => {
            Work::Command(CommandWork {
                command: match form {
                    Form::Template => render_command(&command, &parameters, job.seed, job.trial)
                        .map_err(|_| damaged("a command that its trial does not fit"))?,
                    Form::Rendered => command,
                },
                working_directory,
                code,
                parameters,
                seed: job.seed,
                trial: job.trial,
                stage: is_staged.then(|| CommandStage {
                    first_epoch: job.first_epoch,
                    last_epoch: job.last_epoch,
                    // A program that was interrupted has left nothing of its own.
                    load: job.start.map(Into::into),
                    must_save: job.has_dependents,
                }),
            })
        }
    })
}
