use super::{CliError, Context};
use crate::spec::json_schema;

/// Print a JSON Schema of specs, with which editors complete and check them.
///
/// A spec names it in its first line: `# yaml-language-server: $schema=spec.schema.json`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<(), CliError> {
    context.output.json(&json_schema())
}
