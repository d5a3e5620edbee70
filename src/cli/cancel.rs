use super::access::Access;
use super::choice::{ChangeArgs, Chosen, SweepArg, TrialArgs, choose, rehearse};
use super::{CliError, Context};
use crate::protocol::steering::CancelResponse;
use crate::report::json::CancelDocument;
use crate::report::{counted, listed};
use crate::vocabulary::TrialState;

/// Cancel a sweep, or some of its trials.
///
/// What runs is ended within a quarter of a lease, 15 seconds. Trials that have ended stay as they are, and what trials of
/// other sweeps need goes on. `sweep retry` takes it back.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, or `last`.
    sweep: SweepArg,
    #[command(flatten)]
    trials: TrialArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let done = cancel(args, &access, context).await;
    access.close().await;
    done
}

async fn cancel(args: &Args, access: &Access, context: &Context) -> Result<(), CliError> {
    const LIVE: [TrialState; 2] = [TrialState::Queued, TrialState::Running];
    let sweep = args.sweep.find(access).await?;
    let selector = args.trials.selector()?;
    let chosen = choose(access, sweep, &selector, &LIVE, args.change.dry_run).await?;
    if args.change.dry_run {
        return rehearse("cancel", sweep, &chosen, args.change.json, context);
    }
    let is_empty = chosen.is_empty();
    let Chosen { request, count, .. } = chosen;
    let what = format!("cancel {} of sweep {sweep}", counted(count, "trial", "trials"));
    args.change.confirm(&what, count, context)?;
    let cancelled = match is_empty {
        true => CancelResponse { trials: 0, running: 0, jobs: 0, kept: 0, needed_by: vec![] },
        false => access.cancel(sweep, &request).await?,
    };
    if args.change.json {
        return context.output.json(&CancelDocument::new(sweep, &cancelled));
    }
    context.output.note(&match cancelled.trials + cancelled.kept {
        0 => format!("nothing to cancel: no trial of sweep {sweep} that is meant is left to run"),
        _ => describe(&cancelled),
    });
    Ok(())
}

fn describe(cancelled: &CancelResponse) -> String {
    let CancelResponse { trials, running, kept, needed_by, .. } = cancelled;
    let mut line = format!("cancelled {}", counted(*trials, "trial", "trials"));
    if *running > 0 {
        line += &format!(" ({})", counted(*running, "was running", "were running"));
    }
    if *kept > 0 {
        let stay = counted(*kept, "trial goes on", "trials go on");
        let who = match needed_by.as_slice() {
            [] => "other trials of the sweep need".to_owned(),
            [sweep] => format!("sweep {sweep} needs"),
            sweeps => format!("sweeps {} need", listed(sweeps)),
        };
        let what = if *kept == 1 { "its job" } else { "their jobs" };
        line += &format!("; {stay}, since {who} {what}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::SweepId;

    #[test]
    fn what_goes_on_is_said_with_its_reason() {
        let none = CancelResponse { trials: 0, running: 0, jobs: 0, kept: 0, needed_by: vec![] };
        for (cancelled, expected) in [
            (
                CancelResponse { trials: 12, running: 3, jobs: 14, ..none.clone() },
                "cancelled 12 trials (3 were running)",
            ),
            (
                CancelResponse { trials: 1, jobs: 1, kept: 2, needed_by: vec![SweepId(4)], ..none.clone() },
                "cancelled 1 trial; 2 trials go on, since sweep 4 needs their jobs",
            ),
            (
                CancelResponse {
                    trials: 1000,
                    jobs: 1,
                    kept: 1,
                    needed_by: vec![SweepId(4), SweepId(6)],
                    ..none.clone()
                },
                "cancelled 1,000 trials; 1 trial goes on, since sweeps 4 and 6 need its job",
            ),
            (
                CancelResponse { kept: 1, ..none },
                "cancelled 0 trials; 1 trial goes on, since other trials of the sweep need its job",
            ),
        ] {
            assert_eq!(describe(&cancelled), expected);
        }
    }
}
