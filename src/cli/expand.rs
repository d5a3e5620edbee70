use super::spec_file::SpecArgs;
use super::{CliError, Context};
use crate::report;
use crate::spec;

/// Show a spec's trials; nothing is stored.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let request = args.spec.into_request(context)?;
    let find_base = |name: &str| request.base(name);
    let as_written = |named: spec::Weights<'_>| Ok(named.as_str().to_owned());
    let spec =
        spec::parse_finding(&request.source_name, &request.spec, &request.overrides, &as_written, &find_base)
            .map_err(|error| CliError::Spec(Box::new(error)))?;
    if args.json {
        return context.output.json(&report::json::ExpandDocument::from(&spec));
    }
    let trials: Vec<_> = spec.trials().collect();
    context.output.data(&report::trials_table(&spec.swept(), trials.iter()))?;
    context.output.note(&format!("`{}`: {} trials", spec.name, trials.len()));
    Ok(())
}
