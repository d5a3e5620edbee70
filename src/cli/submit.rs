use super::access::Access;
use super::code::describe_earlier;
use super::preflight::{PreflightArgs, TrainingPlace, preflight};
use super::spec_file::{CheckedSpec, SpecArgs};
use super::worker_process::WorkerArgs;
use super::{CliError, Context, needed};
use crate::coordinator::{LEASE, StateFolder};
use crate::protocol::http::{Selected, SubmitResponse};
use crate::report::json::SubmitDocument;
use crate::report::{counted, forecast, grouped};

/// Store a sweep; workers then run it (`sweep worker`).
///
/// `--plan` says what it would cost and what it can show, by what others of its kind have cost and shown.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
    /// Store nothing; show trials, stages, epochs, time, disk, and the smallest difference that can be told apart.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    preflight: PreflightArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    if args.plan {
        return plan(args, context).await;
    }
    let mut spec = args.spec.into_checked(context)?;
    preflight(args.preflight, &spec, &WorkerArgs::usual(), TrainingPlace::Anywhere, false, context).await?;
    let access = Access::open_or_create(context, LEASE).await?;
    let submitted = needed::submit(&access, &mut spec, context).await;
    access.close().await;
    let submitted = submitted?;
    if args.json {
        return context.output.json(&SubmitDocument::from(submitted));
    }
    context.output.data(&format!("{}\n", submitted.sweep))?;
    note_submitted(&submitted, context);
    Ok(())
}

async fn plan(args: Args, context: &Context) -> Result<(), CliError> {
    let planned = rehearse(args.spec.into_checked(context)?, context).await?;
    if args.json {
        return context.output.json(&SubmitDocument::from(planned));
    }
    context.output.data(&forecast(&planned))?;
    note_selected(&planned.selected, context);
    context.output.note("nothing was submitted");
    Ok(())
}

/// What would become of a submission; nothing is stored.
pub(super) async fn rehearse(spec: CheckedSpec, context: &Context) -> Result<SubmitResponse, CliError> {
    // Where nothing was stored yet, nothing is made either: a table that goes again has the same to say.
    let nothing = tempfile::tempdir().map_err(CliError::failed)?;
    let is_empty =
        context.coordinator.is_none() && StateFolder::find(&context.environment.working_directory).is_none();
    let access = if is_empty {
        let mut elsewhere = context.clone();
        elsewhere.environment.working_directory = nothing.path().to_owned();
        elsewhere.database = None;
        Access::open_or_create(&elsewhere, LEASE).await?
    } else {
        Access::open(context).await?
    };
    let planned = async {
        if is_empty {
            needed::submit_missing(&access, &spec, context, &[]).await?;
        }
        access.rehearse(spec).await
    };
    let planned = planned.await;
    access.close().await;
    planned
}

/// Says what became of a submission.
pub(super) fn note_submitted(submitted: &SubmitResponse, context: &Context) {
    context.output.note(&describe(submitted));
    if let Some(earlier) = &submitted.earlier {
        context.output.note(&describe_earlier(earlier));
    }
    note_selected(&submitted.selected, context);
}

/// Trials of a selector that are named.
const NAMED: usize = 12;

/// Says which trials of other sweeps teach.
pub(super) fn note_selected(selected: &[Selected], context: &Context) {
    for Selected { selector, sweep, trials, unfinished, .. } in selected {
        let mut numbers: Vec<String> = trials.iter().take(NAMED).map(ToString::to_string).collect();
        if trials.len() > NAMED {
            numbers.push(format!("… ({} in all)", grouped(trials.len() as u64)));
        }
        let waits = match unfinished {
            0 => String::new(),
            some => format!(", of which {} have yet to be trained", grouped(*some)),
        };
        let noun = if trials.len() == 1 { "trial" } else { "trials" };
        context.output.note(&format!("{selector}: {noun} {} of sweep {sweep}{waits}", numbers.join(", ")));
    }
}

/// One line about a sweep that was stored or found.
pub(super) fn describe(submitted: &SubmitResponse) -> String {
    let SubmitResponse { sweep, name, trials, jobs, .. } = submitted;
    let trials = counted(*trials, "trial", "trials");
    if submitted.is_existing {
        return format!("sweep {sweep} `{name}` was there already: {trials}");
    }
    let mut line = format!("sweep {sweep} `{name}`: {trials}");
    if submitted.trials_reused > 0 {
        line += &format!(", {} reused", grouped(submitted.trials_reused));
    }
    line += &format!(", {}", counted(*jobs, "job", "jobs"));
    let SubmitResponse { epochs_to_run, epochs_unshared, epochs_run_again, .. } = submitted;
    if epochs_to_run < epochs_unshared {
        line += &format!(", {} of {} epochs to run", grouped(*epochs_to_run), grouped(*epochs_unshared));
    }
    if *epochs_run_again > 0 {
        line +=
            &format!(" ({} of them again, since nothing is left to go on from)", grouped(*epochs_run_again));
    }
    line
}
