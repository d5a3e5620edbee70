//! Arguments that name a spec, and the request that they amount to.

use std::path::PathBuf;

use super::{CliError, Context};
use crate::coordinator::{Around, Prepared, StateFolder, prepare};
use crate::protocol::http::{Sharing, SubmitRequest};

/// A spec and what is changed in it.
#[derive(Debug, clap::Args)]
pub(super) struct SpecArgs {
    /// The spec, a YAML file.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Changes to it: `name=value`, or `name=value,value` to sweep.
    #[arg(value_name = "NAME=VALUE")]
    overrides: Vec<String>,

    /// Train every trial by itself, whatever it has in common with others or was trained before.
    #[arg(long)]
    no_share: bool,
}

/// A spec to submit, in which everything was found to be right that can be known here.
pub(super) struct CheckedSpec {
    pub(super) request: SubmitRequest,
    /// What checking it came to. Taken by the first submission to a coordinator of this process; there is none for one
    /// that the user named.
    pub(super) prepared: Option<Prepared>,
}

impl SpecArgs {
    /// Reads the spec and finds all that is wrong with it, before a state folder is made. A coordinator that the user
    /// names has datasets of its own and checks by itself.
    pub(super) fn into_checked(self, context: &Context) -> Result<CheckedSpec, CliError> {
        let request = self.into_request(context)?;
        if context.coordinator.is_some() {
            return Ok(CheckedSpec { request, prepared: None });
        }
        let folder = StateFolder::find(&context.environment.working_directory);
        let artifacts = folder.map(|folder| folder.artifacts());
        let around = Around { datasets: &context.datasets()?, artifacts: artifacts.as_deref() };
        let prepared = prepare(&request, around)?;
        Ok(CheckedSpec { request, prepared: Some(prepared) })
    }

    pub(super) fn into_request(self, context: &Context) -> Result<SubmitRequest, CliError> {
        let path = context.environment.working_directory.join(&self.spec);
        let spec = std::fs::read_to_string(&path).map_err(|error| {
            let source_name = self.spec.display();
            CliError::usage(match error.kind() {
                std::io::ErrorKind::NotFound => format!("there is no spec `{source_name}`"),
                std::io::ErrorKind::InvalidData => {
                    format!("`{source_name}` is no text (UTF-8), so it is no spec")
                }
                _ => format!("can't read the spec `{source_name}`: {error}"),
            })
        })?;
        Ok(SubmitRequest {
            spec,
            source_name: self.spec.display().to_string(),
            overrides: self.overrides,
            working_directory: context.environment.working_directory.display().to_string(),
            sharing: if self.no_share { Sharing::Nothing } else { Sharing::Prefixes },
            only: None,
        })
    }
}
