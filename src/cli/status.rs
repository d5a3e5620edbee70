use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::access::Access;
use super::choice::SweepArg;
use super::follow::note_progress;
use super::open_exports::OpenExports;
use super::progress::Progress;
use super::signals::StopSignals;
use super::{CliError, Context};
use crate::coordinator::LEASE;
use crate::protocol::http::{StatusResponse, SweepStatus};
use crate::protocol::insight::SweepProgress;
use crate::report::{self, Around, Trouble, troubles};
use crate::slurm::{self, SlurmView};
use crate::vocabulary::SweepId;

/// How often a view is brought up to date.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A view that was up outlasts so many looks that fail.
const MOST_MISSED: u32 = 20;

/// Of more sweeps that have something to say only these do.
const MOST_SWEEPS: usize = 20;

/// Show what is going on and whether anything is wrong: sweeps, workers, and what Slurm does with what was submitted to it.
///
/// Wrong are jobs that nobody works on, workers that stall or get no jobs, and trials that fail. `sweep explain SWEEP TRIAL` says why
/// one trial is not running.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this sweep: its id or name, or `last`.
    sweep: Option<SweepArg>,
    /// Go on showing progress until everything has ended; Ctrl-C ends it sooner.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    if args.watch && !watch(args, context).await? {
        return Ok(());
    }
    let access = Access::open(context).await?;
    let looked = look(args, &access).await;
    let is_coordinated = access.is_coordinated();
    access.close().await;
    let Seen { status, progress, exports } = looked?;
    let exports = exports.look(context).await;
    let slurm = slurm::look(&status).await;
    if let Err(error) = &slurm {
        context.output.note(&format!("note: what Slurm does with its jobs is not known: {error}"));
    }
    let exported: BTreeSet<SweepId> = exports.iter().map(|export| export.sweep).collect();
    let around = Around { is_coordinated, exported: &exported, slurm: slurm.as_ref().ok() };
    let troubles = troubles(&status, &progress, LEASE, around);
    if args.json {
        let document = report::json::StatusDocument::new(status, progress, troubles, slurm.ok(), &exports);
        return context.output.json(&document);
    }
    let slurm = report::slurm_table(&slurm.unwrap_or_else(|_| SlurmView::default()));
    let mut parts = vec![report::status_tables(&status)];
    parts.push(report::progress_lines(&status, &progress));
    parts.push(slurm);
    parts.push(report::exports_table(&exports));
    parts.push(painted(&troubles, context));
    parts.retain(|part| !part.is_empty());
    context.output.data(&parts.join("\n"))
}

fn painted(troubles: &[Trouble], context: &Context) -> String {
    let text = report::troubles_text(troubles);
    let paint = context.output.data_paint();
    let lines = text.lines().map(|line| match line.starts_with("! ") {
        true => paint.alarm(line) + "\n",
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// What the table says.
struct Seen {
    status: StatusResponse,
    progress: Vec<SweepProgress>,
    exports: OpenExports,
}

/// The sweeps that are meant with how far they are, where that says something.
async fn look(args: &Args, access: &Access) -> Result<Seen, CliError> {
    let mut status = access.status().await?;
    let mut exports = OpenExports::ask(access).await?;
    if let Some(sweep) = find(args, access).await? {
        status.sweeps.retain(|found| found.id == sweep);
        status.running.retain(|job| job.sweep == sweep);
        exports.retain(sweep);
    }
    let says_something = |sweep: &&SweepStatus| sweep.trials.left() + sweep.trials.failed > 0;
    let mut telling: Vec<&SweepStatus> = status.sweeps.iter().filter(says_something).collect();
    // What goes on comes before what has ended, and new before old.
    telling.sort_by_key(|sweep| (sweep.trials.left() == 0, Reverse(sweep.id)));
    let mut ids: Vec<SweepId> = telling.iter().take(MOST_SWEEPS).map(|sweep| sweep.id).collect();
    ids.sort_unstable();
    let mut progress = Vec::new();
    for id in ids {
        progress.push(access.progress(id).await?);
    }
    Ok(Seen { status, progress, exports })
}

async fn find(args: &Args, access: &Access) -> Result<Option<SweepId>, CliError> {
    match &args.sweep {
        Some(sweep) => sweep.find_present(access).await.map(Some),
        None => Ok(None),
    }
}

/// Shows progress until everything has ended; says whether it has.
async fn watch(args: &Args, context: &Context) -> Result<bool, CliError> {
    let mut stop = StopSignals::catch()?;
    let mut progress: Option<Progress> = None;
    let mut missed = 0;
    let is_over = loop {
        let seen = tokio::select! {
            () = stop.asked() => break Ok(false),
            seen = refresh(args, &mut progress, context) => seen,
        };
        match seen {
            Ok(true) => break Ok(true),
            Ok(false) => missed = 0,
            // A coordinator that is started again is away for some seconds.
            Err(_) if progress.is_some() && missed < MOST_MISSED => missed += 1,
            Err(error) => break Err(error),
        }
        tokio::select! {
            () = stop.asked() => break Ok(false),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    };
    if let Some(progress) = progress {
        progress.end();
    }
    is_over
}

/// Shows how it is now; says whether everything has ended.
async fn refresh(args: &Args, progress: &mut Option<Progress>, context: &Context) -> Result<bool, CliError> {
    // Opened anew each time: a table that is only watched must be free for whoever works.
    let access = Access::open(context).await?;
    let seen = async {
        let sweep = find(args, &access).await?;
        let progress = progress.get_or_insert_with(|| Progress::start(sweep, false, context.output));
        let status = access.status().await?;
        note_progress(progress, &status, &access).await;
        progress.show(&status);
        let shown = progress.shown(&status);
        Ok(shown.iter().all(|sweep| sweep.trials.left() == 0))
    }
    .await;
    access.close().await;
    seen
}
