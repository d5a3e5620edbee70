use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::access::Access;
use super::open_exports::known;
use super::{CliError, Context};
use crate::protocol::export::{PlannedJob, TaskName, TaskPlan};
use crate::protocol::http::{
    AttemptEnd, EpochMetrics, LeaseToken, Outcome, OutcomesRequest, Report, ReportsRequest,
};
use crate::report::counted;
use crate::report::json::{IngestDocument, SpoolRest};
use crate::spool::{ExportFolder, JobResults, Rest, SpoolError, TaskResults, link_or_copy};
use crate::vocabulary::JobId;

/// Bring what an export's jobs have come to into the job table.
///
/// It may be asked at any time, while jobs run, and again: what is there already stays as it is. It says what is still missing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The export's folder, `.sweep/exports/ID`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let folder = ExportFolder::open(&context.environment.working_directory.join(&args.folder))?;
    let access = Access::open(context).await?;
    let ingested = ingest(&folder, &access).await;
    if let Ok(ingested) = &ingested {
        ingested.tidy_up(&folder, context);
    }
    access.close().await;
    let ingested = ingested?;
    if args.json {
        return context.output.json(&ingested.document(&folder));
    }
    ingested.note_details(&folder, context);
    context.output.data(&format!("{}\n", ingested.line(&folder)))
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Ingested {
    done: u64,
    failed: u64,
    /// Begun and not ended, with a checkpoint to go on from.
    begun: u64,
    /// Of which there is nothing that lasts; by the task that is to run them.
    missing: BTreeMap<TaskName, u64>,
    /// Ended here, and not counted, with what the coordinator says to it.
    refused: Vec<(LeaseToken, String)>,
    rests: Vec<(PathBuf, Rest)>,
    /// Checkpoints that were put into the project's folder, or are there, and that folder.
    brought: BTreeSet<(TaskName, String)>,
    store: PathBuf,
    /// Jobs that are done now and whose last checkpoint is nowhere.
    without_weights: u64,
}

/// Brings in what the folder has, depth by depth: the lease of a job begins when the table knows that what it needs is done.
pub(super) async fn ingest(folder: &ExportFolder, access: &Access) -> Result<Ingested, CliError> {
    let manifest = folder.manifest();
    let table = access.table()?;
    if manifest.table != table {
        return Err(CliError::usage(format!(
            "`{}` is an export of another project's job table; run this in that project's folder",
            folder.path().display()
        )));
    }
    let made = access.exports().await?.exports;
    let Some(export) = known(manifest, &table, &made) else {
        return Err(CliError::usage(format!(
            "`{}` is of an export that the job table does not know: the table was put back to an earlier state since, and its jobs \
             may be others now; export them again with `sweep slurm SWEEP --static --missing`",
            folder.path().display()
        )));
    };
    let artifacts = access.folder().map(|state| state.artifacts()).ok_or_else(|| {
        CliError::usage(
            "checkpoints are brought into the project's own folder: run this there, without `--coordinator`",
        )
    })?;
    std::fs::create_dir_all(&artifacts).map_err(|source| SpoolError::Io {
        what: "make",
        path: artifacts.clone(),
        source,
    })?;
    let mut ingested = Ingested::default();
    let mut delivery = Delivery {
        access,
        reports: Vec::new(),
        outcomes: Vec::new(),
        refused: Vec::new(),
        brought: BTreeSet::new(),
        store: artifacts,
        open: export.jobs.iter().copied().collect(),
        without_weights: 0,
    };
    let mut depth = 0;
    for task in folder.list_tasks() {
        if task.depth != depth {
            // What goes on from these may only follow.
            delivery.send().await?;
            depth = task.depth;
        }
        let plan = folder.read_plan(task)?;
        let results = folder.read_results(task)?;
        let from = Place { task, folder: &folder.artifacts(task) };
        ingested.take_task(from, plan, results, &mut delivery).await?;
    }
    delivery.send().await?;
    ingested.refuse(delivery.refused);
    (ingested.brought, ingested.store) = (delivery.brought, delivery.store);
    ingested.without_weights = delivery.without_weights;
    Ok(ingested)
}

/// Where a task's checkpoints are.
#[derive(Clone, Copy)]
struct Place<'a> {
    task: TaskName,
    folder: &'a Path,
}

impl Ingested {
    async fn take_task(
        &mut self,
        from: Place<'_>,
        plan: TaskPlan,
        mut results: TaskResults,
        delivery: &mut Delivery<'_>,
    ) -> Result<(), CliError> {
        let task = from.task;
        for job in plan.jobs {
            let Some(found) = results.jobs.remove(&job.lease.token) else {
                *self.missing.entry(task).or_default() += 1;
                continue;
            };
            match &found.end {
                Some(AttemptEnd::Complete { .. }) => self.done += 1,
                Some(AttemptEnd::Fail { .. }) => self.failed += 1,
                Some(AttemptEnd::Release) | None if found.checkpoint.is_some() => self.begun += 1,
                Some(AttemptEnd::Release) | None => *self.missing.entry(task).or_default() += 1,
            }
            delivery.add(&job, found, from).await?;
        }
        self.rests.extend(results.rests);
        Ok(())
    }

    /// What was refused does not count as done.
    fn refuse(&mut self, refused: Vec<Undelivered>) {
        for Undelivered { token, is_complete, message } in refused {
            let counted = if is_complete { &mut self.done } else { &mut self.failed };
            *counted = counted.saturating_sub(1);
            self.refused.push((token, message));
        }
    }

    pub(super) fn missing(&self) -> u64 {
        self.missing.values().sum()
    }

    /// Removes the checkpoints of an export from which nothing more will come.
    fn tidy_up(&self, folder: &ExportFolder, context: &Context) {
        if self.done + self.failed + self.refused.len() as u64 != folder.manifest().jobs {
            return;
        }
        if !self.refused.is_empty() {
            let artifacts = folder.path().join("artifacts");
            if artifacts.exists() {
                context.output.note(&format!(
                    "note: all jobs have ended; their checkpoints stay in `{}`, since some ends are refused. `rm -r` removes them",
                    artifacts.display()
                ));
            }
            return;
        }
        self.remove_artifacts(folder, context);
    }

    /// Removes the export's checkpoints, as far as they are safe in the project's folder; says whether none is left.
    pub(super) fn remove_artifacts(&self, folder: &ExportFolder, context: &Context) -> bool {
        let removed = folder.remove_artifacts(&self.brought, &self.store);
        let is_empty = removed.is_ok();
        match removed {
            Ok(is_removed) if !is_removed || self.brought.is_empty() => {}
            Ok(_) => context.output.note(&format!(
                "checkpoints of export {} are brought in, and those in its folder removed",
                folder.manifest().export
            )),
            Err(error) => context.output.note(&format!("warning: {:#}", anyhow::Error::from(error))),
        }
        is_empty
    }

    /// In a line.
    pub(super) fn line(&self, folder: &ExportFolder) -> String {
        let manifest = folder.manifest();
        let mut line = format!(
            "export {} of sweep {} ({}): {}, {} done, {} failed, {} begun, {} missing",
            manifest.export,
            manifest.sweep,
            manifest.name,
            counted(manifest.jobs, "job", "jobs"),
            self.done,
            self.failed,
            self.begun,
            self.missing()
        );
        if !self.refused.is_empty() {
            line += &format!(", {} refused", self.refused.len());
        }
        line
    }

    fn note_details(&self, folder: &ExportFolder, context: &Context) {
        let output = &context.output;
        if folder.is_closed() {
            output
                .note("note: this export was given up by `--missing`; what its tasks bring later is refused");
        }
        for (path, rest) in &self.rests {
            match rest {
                Rest::Nothing => {}
                Rest::Torn { at, bytes } => output.note(&format!(
                    "note: the last {bytes} bytes of `{}` (from {at}) are no whole record: its task was interrupted, or is writing",
                    path.display()
                )),
                Rest::Unknown { at, bytes } => output.note(&format!(
                    "warning: `{}` has a record of another version of sweep at byte {at} ({bytes} bytes), which is left out; \
                     that version can bring it in",
                    path.display()
                )),
                Rest::Damaged { at, bytes } => output.note(&format!(
                    "warning: `{}` is damaged from byte {at} on; {bytes} bytes are not read, and jobs in them count as missing",
                    path.display()
                )),
            }
        }
        if self.without_weights > 0 {
            output.note(&format!(
                "warning: the last checkpoints of {} are neither in this folder nor in the project's; their numbers are brought in, \
                 without weights",
                counted(self.without_weights, "job", "jobs")
            ));
        }
        for (token, message) in &self.refused {
            output.note(&format!("note: job {} is refused: {message}", token.job));
        }
        if !self.missing.is_empty() {
            output.note(&format!("missing: tasks {}", ranges(self.missing.keys().copied())));
        }
        if !folder.is_closed() && self.missing() + self.begun + self.failed > 0 {
            output.note(&format!(
                "when its tasks have ended, `sweep slurm {} --static --missing` takes back what is not done and writes scripts for that",
                folder.manifest().sweep
            ));
        }
    }

    fn document(&self, folder: &ExportFolder) -> IngestDocument {
        let manifest = folder.manifest();
        let rest = |(path, rest): &(PathBuf, Rest)| {
            let (at, bytes, is_torn) = match *rest {
                Rest::Nothing => (0, 0, false),
                Rest::Torn { at, bytes } => (at, bytes, true),
                Rest::Unknown { at, bytes } | Rest::Damaged { at, bytes } => (at, bytes, false),
            };
            SpoolRest { file: path.display().to_string(), at, bytes, is_torn }
        };
        IngestDocument {
            schema_version: 1,
            export: manifest.export,
            sweep: manifest.sweep,
            jobs: manifest.jobs,
            done: self.done,
            failed: self.failed,
            begun: self.begun,
            missing: self.missing(),
            missing_tasks: self.missing.keys().map(ToString::to_string).collect(),
            refused: self.refused.iter().map(|(token, _)| token.job).collect(),
            unread: self.rests.iter().map(rest).collect(),
        }
    }
}

/// Tasks as `0-3, 0-5 to 0-9`.
fn ranges(tasks: impl Iterator<Item = TaskName>) -> String {
    let mut found: Vec<(TaskName, TaskName)> = Vec::new();
    for task in tasks {
        match found.last_mut() {
            Some((_, last)) if last.depth == task.depth && last.index + 1 == task.index => *last = task,
            _ => found.push((task, task)),
        }
    }
    let text = |(first, last): &(TaskName, TaskName)| {
        if first == last { first.to_string() } else { format!("{first} to {last}") }
    };
    found.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Reports in one request, and ends: both are committed together, and bounded as an agent's are.
const MOST_REPORTS: usize = 512;
const MOST_OUTCOMES: usize = 128;
const MOST_BYTES: usize = 4 << 20;

/// What is on its way to the table.
struct Delivery<'a> {
    access: &'a Access,
    reports: Vec<Report>,
    outcomes: Vec<Outcome>,
    refused: Vec<Undelivered>,
    brought: BTreeSet<(TaskName, String)>,
    /// Where checkpoints go.
    store: PathBuf,
    /// Jobs of which the table does not know the end yet.
    open: BTreeSet<JobId>,
    without_weights: u64,
}

/// An end that does not count.
struct Undelivered {
    token: LeaseToken,
    is_complete: bool,
    message: String,
}

impl Delivery<'_> {
    async fn add(&mut self, job: &PlannedJob, found: JobResults, from: Place<'_>) -> Result<(), CliError> {
        let token = job.lease.token;
        let newest = found.checkpoint.as_ref().map(|checkpoint| checkpoint.hash.clone());
        for EpochMetrics { epoch, metrics, mut checkpoint } in found.lasting_reports() {
            // Those that were superseded are gone, unless the sweep keeps them.
            if let Some(there) = &checkpoint {
                let is_newest = Some(&there.hash) == newest.as_ref();
                let is_wanted = job.lease.keeps_checkpoints || is_newest;
                if is_wanted && link_or_copy(&there.hash, from.folder, &self.store)? {
                    self.brought.insert((from.task, there.hash.clone()));
                } else {
                    let is_last = is_newest && matches!(found.end, Some(AttemptEnd::Complete { .. }));
                    self.without_weights += u64::from(is_last && self.open.contains(&token.job));
                    checkpoint = None;
                }
            }
            if !metrics.is_empty() || checkpoint.is_some() {
                self.reports.push(Report { token, epoch, metrics, checkpoint });
            }
        }
        if let Some(end) = found.end {
            self.outcomes.push(Outcome { token, reports: Vec::new(), end });
        }
        if self.reports.len() >= MOST_REPORTS || self.outcomes.len() >= MOST_OUTCOMES {
            self.send().await?;
        }
        Ok(())
    }

    /// Reports first: behind its end nothing of a job is taken.
    async fn send(&mut self) -> Result<(), CliError> {
        for reports in pieces(std::mem::take(&mut self.reports)) {
            // What is refused here was stored before, or its end is refused below.
            let _refused = self.access.report(ReportsRequest { reports }).await?;
        }
        for outcomes in pieces(std::mem::take(&mut self.outcomes)) {
            let complete: BTreeMap<LeaseToken, bool> = outcomes
                .iter()
                .map(|outcome| (outcome.token, matches!(outcome.end, AttemptEnd::Complete { .. })))
                .collect();
            let refused = self.access.finish(OutcomesRequest { outcomes }).await?;
            self.refused.extend(refused.into_iter().map(|refused| Undelivered {
                token: refused.token,
                is_complete: complete.get(&refused.token).copied().unwrap_or(false),
                message: refused.message,
            }));
        }
        Ok(())
    }
}

/// In pieces that one request takes.
fn pieces<T: serde::Serialize>(items: Vec<T>) -> Vec<Vec<T>> {
    let (mut pieces, mut bytes) = (Vec::<Vec<T>>::new(), MOST_BYTES);
    for item in items {
        let size = serde_json::to_vec(&item).map_or(0, |text| text.len());
        bytes += size;
        match pieces.last_mut() {
            Some(piece) if bytes <= MOST_BYTES => piece.push(item),
            _ => {
                pieces.push(vec![item]);
                bytes = size;
            }
        }
    }
    pieces
}

impl From<SpoolError> for CliError {
    fn from(error: SpoolError) -> CliError {
        match error {
            SpoolError::NoExport { .. } | SpoolError::Format { .. } => CliError::Usage(error.into()),
            SpoolError::Io { .. }
            | SpoolError::Garbled { .. }
            | SpoolError::Closed { .. }
            | SpoolError::Unsafe { .. } => CliError::failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tasks_are_ranges() {
        let tasks = ["0-3", "0-5", "0-6", "0-7", "1-8"].map(|name| name.parse::<TaskName>().unwrap());
        assert_eq!(ranges(tasks.into_iter()), "0-3, 0-5 to 0-7, 1-8");
    }

    #[test]
    fn requests_are_bounded_and_nothing_is_left_out_of_them() {
        let large = "x".repeat(MOST_BYTES / 3);
        let cut = pieces(vec![large.clone(); 7]);
        assert!(cut.iter().all(|piece| piece.len() <= 3));
        assert_eq!(cut.iter().map(Vec::len).sum::<usize>(), 7);
        assert_eq!(pieces(vec!["x".repeat(2 * MOST_BYTES)]).len(), 1, "larger than one is one");
        assert!(pieces(Vec::<String>::new()).is_empty());
    }
}
