use std::collections::BTreeSet;
use std::path::PathBuf;

use super::access::Access;
use super::looking::{Found, LookingArgs, warn};
use super::written::write_file;
use super::{CliError, Context};
use crate::coordinator::Clock;
use crate::protocol::http::SubmitRequest;
use crate::protocol::insight::{CurvesResponse, StagesResponse, SweepProgress};
use crate::protocol::trial::TrialRecord;
use crate::report::View;
use crate::report::json::{ReportDocument, ReportExtent};
use crate::report::page::{PageDocument, PageParts, page};
use crate::vocabulary::TrialNumber;

/// Trials whose curves are in a report: those of the best configurations.
const MOST_TRIALS: usize = 240;

/// Numbers in all curves of a report: a few megabytes.
const MOST_NUMBERS: usize = 400_000;
/// Points of a curve: the fewest that still show its shape, and as many as a wide screen has places for.
const POINTS: (u32, u32) = (64, 1024);

/// Write a page with everything about a sweep: tables, heat maps, curves, what matters, failures, where it comes from.
///
/// It is one file that needs no network and no program but a browser.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    looking: LookingArgs,
    /// Where it goes, if not to stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON document about the page that was written.
    #[arg(long, requires = "output")]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let access = Access::open(context).await?;
    let gathered = gather(args, &access).await;
    access.close().await;
    let gathered = gathered?;
    let view = View::new(&gathered.found.results, &args.looking.options(&gathered.found))?;
    let parts = PageParts {
        view: &view,
        origin: &gathered.found.origin,
        progress: &gathered.progress,
        curves: &gathered.curves,
        stages: &gathered.stages,
        request: &gathered.request,
        record: gathered.record.as_ref(),
        made_at: Clock::system().now(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let text = page(&PageDocument::new(&parts)).map_err(CliError::failed)?;
    match &args.output {
        Some(file) => {
            write_file(file, text.as_bytes(), context)?;
            if args.json {
                let extent = ReportExtent {
                    size_bytes: text.len(),
                    configurations: view.configurations.len(),
                    trials_with_curves: gathered.curves.trials.len(),
                };
                let (sweep, file) = (gathered.found.results.sweep, file.display().to_string());
                context.output.json(&ReportDocument::new(sweep, file, extent))?;
            } else {
                context.output.note(&format!("`{}`: open it in a browser", file.display()));
            }
        }
        None => context.output.data(&text)?,
    }
    warn(&view, context);
    Ok(())
}

/// All that a report is made of.
struct Gathered {
    found: Found,
    progress: SweepProgress,
    curves: CurvesResponse,
    stages: StagesResponse,
    request: SubmitRequest,
    record: Option<TrialRecord>,
}

async fn gather(args: &Args, access: &Access) -> Result<Gathered, CliError> {
    let found = args.looking.find(access).await?;
    let sweep = found.results.sweep;
    let (curved, best, metrics) = {
        let view = View::new(&found.results, &args.looking.options(&found))?;
        (curved(&view), best(&view), view.metrics.len())
    };
    let curves = (curved.len() * metrics).max(1);
    let points = u32::try_from(MOST_NUMBERS / curves).unwrap_or(u32::MAX).clamp(POINTS.0, POINTS.1);
    let record = match best {
        Some(trial) => Some(access.history(sweep, trial).await?.record),
        None => None,
    };
    Ok(Gathered {
        progress: access.progress(sweep).await?,
        curves: access.curves(sweep, &curved, Some(points)).await?,
        stages: access.stages(sweep).await?,
        request: access.request(sweep).await?,
        record,
        found,
    })
}

/// The trials of the first configurations, whole configurations only.
fn curved(view: &View<'_>) -> BTreeSet<TrialNumber> {
    let mut curved = BTreeSet::new();
    for configuration in &view.configurations {
        if !curved.is_empty() && curved.len() + configuration.trials.len() > MOST_TRIALS {
            break;
        }
        curved.extend(configuration.trials.iter().map(|trial| trial.trial));
    }
    curved
}

fn best(view: &View<'_>) -> Option<TrialNumber> {
    let first = view.configurations.iter().find(|configuration| configuration.n() > 0)?;
    first.succeeded().next().map(|trial| trial.trial)
}
