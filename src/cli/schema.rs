use super::{CliError, Context};
use crate::spec::json_schema;

/// Print a JSON Schema of specs, with which editors complete and check them.
///
/// A spec names it in its first line: `# yaml-language-server: $schema=spec.schema.json`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// It is JSON in any case; this changes nothing.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(Args { json: _ }: &Args, context: &Context) -> Result<(), CliError> {
    context.output.json(&json_schema())
}
