//! `sweep slurm --static`: an export of a sweep's jobs, its arrays, and what an earlier one left undone.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::access::Access;
use super::ingest::ingest;
use super::open_exports::{EXPORTS, SLURM_JOBS, known, slurm_jobs_of};
use super::signals::StopSignals;
use super::slurm::{Args, Target, cant_write, find_place, take_turn, text_of, unprinted};
use super::written::write_file;
use super::{CliError, Context, state_folder};
use crate::coordinator::{LEASE, StateFolder};
use crate::protocol::export::{
    ExportResponse, ExportedJob, Manifest, Origin, PlannedJob, TaskName, TaskPlan,
};
use crate::protocol::http::{LeaseToken, Work};
use crate::protocol::slurm::{SlurmJob, SlurmJobsRequest, SlurmRole};
use crate::report::{counted, listed};
use crate::slurm::{
    self, Array, QueuedTask, SlurmError, StaticPurpose, Submission, SubmitError, SubmittedJob, Template,
    USUAL_MAX_ARRAY_SIZE, Wishes, cut_arrays, draft_array, draft_submission, find_max_array_size,
    read_profile, render,
};
use crate::spool::{ExportFolder, SpoolError, link_or_copy};
use crate::vocabulary::{JobId, SweepId, WorkerId};

const SUBMIT: &str = "submit.sh";

/// What has no meaning here.
pub(super) fn check(args: &Args, context: &Context) -> Result<(), CliError> {
    let wishes = &args.wishes;
    let refuse = |option: &str, why: &str| {
        Err(CliError::usage(format!("`{option}` has no meaning with `--static`: {why}")))
    };
    if wishes.workers.is_some() {
        return refuse("--workers", "there is a task for every job, or for several with `--jobs-per-task`");
    }
    if args.coordinator_profile.is_some() {
        return refuse("--coordinator-profile", "no coordinator is started");
    }
    if wishes.nodes.is_some() {
        return refuse("--nodes", "a task's jobs run on one node");
    }
    if context.coordinator.is_some() {
        return refuse(
            "--coordinator",
            "it is for where no coordinator can be reached (SWEEP_COORDINATOR says the same; unset it)",
        );
    }
    Ok(())
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    check(args, context)?;
    let target = Target::parse(args.target.as_deref().unwrap_or_default(), &args.overrides, context)?;
    target.try_first(args.preflight, context).await?;
    let folder = state_folder::ensure(context)?;
    let profile = read_profile(folder.path().parent().unwrap_or(folder.path()), args.profile.as_deref())?;
    let wishes = Wishes { workers: None, nodes: None, ..args.wishes.clone().over(profile) };
    wishes.check()?;
    let max_array_size = max_array_size(args, context).await?;
    // One at a time: `--missing` would take back what another one is just making. Before the table, as everywhere.
    let _turn = take_turn(context)?;
    let access = Access::open_or_create(context, LEASE).await?;
    let maker = Maker { args, context, access: &access, wishes, max_array_size, folder };
    let made = maker.run(target).await;
    access.close().await;
    made
}

async fn max_array_size(args: &Args, context: &Context) -> Result<u32, CliError> {
    match find_max_array_size().await {
        Ok(size) => Ok(size),
        Err(error) if args.submit => Err(error.into()),
        Err(error) => {
            context.output.note(&format!(
                "note: how large arrays may be is not known ({error}); Slurm's own default is taken, {USUAL_MAX_ARRAY_SIZE}"
            ));
            Ok(USUAL_MAX_ARRAY_SIZE)
        }
    }
}

struct Maker<'a> {
    args: &'a Args,
    context: &'a Context,
    access: &'a Access,
    wishes: Wishes,
    max_array_size: u32,
    folder: StateFolder,
}

/// For so long whoever makes an export writes nothing into its folder.
const MAKING_PAUSE: Duration = Duration::from_secs(600);

/// Whether another command may be writing the folder of an export.
#[expect(
    clippy::disallowed_methods,
    reason = "the times of files are the system's, and only tidying up depends on it"
)]
fn is_being_made(path: &Path) -> bool {
    let is_young = |part: PathBuf| {
        let modified = std::fs::metadata(part).and_then(|found| found.modified());
        modified.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < MAKING_PAUSE)
    };
    [path.to_owned(), path.join("tasks")].into_iter().any(is_young)
}

impl Maker<'_> {
    async fn run(&self, target: Target) -> Result<(), CliError> {
        let (sweep, name) = target.find(self.access, self.args.missing, self.context).await?;
        if self.args.missing {
            self.take_back(sweep).await?;
        }
        let mut response = self.access.export(sweep).await?;
        // Exports without a folder: whoever made them was interrupted.
        let stray = self.without_folder(&response.others).await?;
        if self.args.missing && !stray.is_empty() {
            for export in stray.into_iter().chain(response.export) {
                self.access.leave(export).await?;
                self.remove_unfinished(export);
            }
            response = self.access.export(sweep).await?;
        }
        let Some(export) = response.export else {
            return self.say_nothing_is_left(sweep, &response);
        };
        let made_at = response.created_at_millis;
        let made = self.make(export, (sweep, name), response).await;
        if made.is_err() {
            // What was not handed out whole is handed out to nobody.
            self.remove_own(export, made_at);
            // Why there is none is said, whatever becomes of this.
            if self.access.leave(export).await.is_err() {
                self.context.output.note(&format!(
                    "warning: export {export} still holds its jobs; `--missing` takes them back"
                ));
            }
        }
        made
    }

    /// Brings in what the exports of a sweep have come to, and ends them.
    async fn take_back(&self, sweep: SweepId) -> Result<(), CliError> {
        let folders = self.open_exports(sweep).await?;
        if !folders.is_empty() {
            let queue = slurm::list_queue().await;
            for folder in &folders {
                self.refuse_while_running(folder, queue.as_ref())?;
            }
        }
        for folder in &folders {
            let ingested = ingest(folder, self.access).await?;
            self.access.leave(folder.manifest().export).await?;
            // One that still has checkpoints is looked at again.
            if ingested.remove_artifacts(folder, self.context) {
                folder.close()?;
            }
            self.context.output.note(&ingested.line(folder));
        }
        Ok(())
    }

    async fn open_exports(&self, sweep: SweepId) -> Result<Vec<ExportFolder>, CliError> {
        let made = self.access.exports().await?.exports;
        let (path, table) = (self.folder.path().join(EXPORTS), self.access.table()?);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| cant_read(&path, error))?,
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| cant_read(&path, error))?;
            // Without its manifest it was never handed out.
            let folder = match ExportFolder::open(&entry.path()) {
                Ok(folder) => folder,
                Err(SpoolError::NoExport { .. }) => continue,
                Err(error) => return Err(CliError::failed(error)),
            };
            let manifest = folder.manifest();
            let is_known = known(manifest, &table, &made).is_some();
            if manifest.sweep == sweep && is_known && !folder.is_closed() {
                folders.push(folder);
            }
        }
        folders.sort_by_key(|folder| folder.manifest().export);
        Ok(folders)
    }

    async fn without_folder(&self, exports: &[WorkerId]) -> Result<Vec<WorkerId>, CliError> {
        let (table, made) = (self.access.table()?, self.access.exports().await?.exports);
        let mut without = Vec::new();
        for &export in exports {
            match ExportFolder::open(&self.path_of(export)) {
                Ok(folder) if !folder.is_closed() && known(folder.manifest(), &table, &made).is_some() => {}
                // What lies there is another's, or was closed before the table was put back to a time when it was not. It
                // stays: a new export of this number moves it aside.
                Ok(_) | Err(SpoolError::NoExport { .. }) => without.push(export),
                // One that can't be read now has results all the same.
                Err(error) => return Err(CliError::failed(error)),
            }
        }
        Ok(without)
    }

    /// Removes what was not handed out, and by nobody will be: it has no manifest.
    fn remove_unfinished(&self, export: WorkerId) {
        let path = self.path_of(export);
        if let Err(SpoolError::NoExport { .. }) = ExportFolder::open(&path)
            && !is_being_made(&path)
        {
            // What can't be removed only takes room.
            let _nothing_there = std::fs::remove_dir_all(path);
        }
    }

    /// Removes what this command has made, and not what was there before it.
    fn remove_own(&self, export: WorkerId, made_at: i64) {
        let path = self.path_of(export);
        match ExportFolder::open(&path) {
            Ok(folder) if folder.manifest().created_at_millis != made_at => {}
            Ok(_) | Err(SpoolError::NoExport { .. }) => {
                let _nothing_there = std::fs::remove_dir_all(path);
            }
            // What can't be read may have been there.
            Err(_) => {}
        }
    }

    /// What still runs would be done twice.
    fn refuse_while_running(
        &self,
        folder: &ExportFolder,
        queue: Result<&Vec<QueuedTask>, &SlurmError>,
    ) -> Result<(), CliError> {
        let jobs = slurm_jobs_of(folder.path());
        let queue = match queue {
            Ok(queue) => queue,
            // Without Slurm here nobody could ever say, and of what was not submitted there is nothing to be said.
            Err(error) if error.is_nowhere() && jobs.is_empty() => return Ok(()),
            Err(error @ SlurmError::Missing { .. }) => {
                self.context.output.note(&format!(
                    "warning: whether tasks of export {} still run is not known ({error}); what they bring from now on is refused",
                    folder.manifest().export
                ));
                return Ok(());
            }
            Err(error) => {
                return Err(CliError::failed(anyhow::Error::new(error.clone()).context(format!(
                    "whether tasks of export {} still run is not known; try again when Slurm answers",
                    folder.manifest().export
                ))));
            }
        };
        let marker = folder.manifest().marker();
        let mut left: Vec<u32> =
            queue.iter().filter(|task| task.is_of(&jobs, &marker)).map(|task| task.submitted_as).collect();
        let tasks = left.len() as u64;
        left.sort_unstable();
        left.dedup();
        if left.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = left.iter().map(ToString::to_string).collect();
        Err(CliError::usage(format!(
            "{} of export {} {} not ended: wait for them, or `scancel {}`; `sweep ingest {}` brings in what is done",
            counted(tasks, "task", "tasks"),
            folder.manifest().export,
            if tasks == 1 { "has" } else { "have" },
            names.join(" "),
            folder.path().display()
        )))
    }

    fn say_nothing_is_left(&self, sweep: SweepId, response: &ExportResponse) -> Result<(), CliError> {
        if response.left_out == 0 {
            self.context
                .output
                .note(&format!("nothing is missing: sweep {sweep} has no job that has not ended"));
            return Ok(());
        }
        let jobs = counted(response.left_out, "job", "jobs");
        Err(CliError::usage(match response.others.as_slice() {
            [] => format!(
                "nothing can be exported: workers hold {jobs} of sweep {sweep}, or what these wait for"
            ),
            exports => format!(
                "nothing can be exported: {jobs} of sweep {sweep} are held by export {}; `sweep ingest {}` brings in its results, \
                 `--missing` takes back what it has not done",
                listed(exports),
                self.path_of(exports[0]).display()
            ),
        }))
    }

    /// The export's folder, its scripts, and where that is wanted their submission.
    async fn make(
        &self,
        export: WorkerId,
        (sweep, name): (SweepId, String),
        response: ExportResponse,
    ) -> Result<(), CliError> {
        let (left_out, created_at_millis) = (response.left_out, response.created_at_millis);
        let plans = plan_tasks(response.jobs, self.args.jobs_per_task);
        let manifest = Manifest {
            format: 0,
            export,
            sweep,
            name: name.clone(),
            table: self.access.table()?,
            created_at_millis,
            jobs: plans.values().map(|plan| plan.jobs.len() as u64).sum(),
            tasks: tasks_by_depth(&plans),
        };
        let arrays = cut_arrays(&manifest.tasks, self.max_array_size);
        let path = self.path_of(export);
        let purpose = StaticPurpose {
            sweep,
            name,
            export,
            marker: manifest.marker(),
            folder: text_of(&path)?,
            worker_options: self.args.worker_options.clone(),
        };
        let folder = ExportFolder::create(&path, manifest, plans.iter().map(|(task, plan)| (*task, plan)))?;
        self.give_checkpoints(&folder, &plans)?;
        let scripts = self.write_scripts(&path, &purpose, &arrays)?;
        let output = self.args.output.as_ref().filter(|_| !self.args.submit);
        match output {
            _ if self.args.submit => self.submit(&path, &purpose, &scripts).await?,
            Some(file) => write_file(file, scripts.submit.as_bytes(), self.context)?,
            None => self.context.output.data(&scripts.submit)?,
        }
        // Not before: where that fails, the export is undone, and there is nothing to bring in.
        self.note(&folder, &arrays, left_out);
        if let Some(file) = output {
            self.context.output.note(&format!("`bash {}` submits them", file.display()));
        }
        Ok(())
    }

    /// Those that jobs begin with, so that they stay whatever becomes of the table's.
    fn give_checkpoints(
        &self,
        folder: &ExportFolder,
        plans: &BTreeMap<TaskName, TaskPlan>,
    ) -> Result<(), CliError> {
        let artifacts = self.folder.artifacts();
        for job in plans.values().flat_map(|plan| &plan.jobs) {
            let hashes = match &job.lease.work {
                Work::Resnet(request) => request.checkpoints(),
                Work::Command(work) => work.checkpoints(),
            };
            for hash in hashes {
                link_or_copy(&hash.to_string(), &artifacts, &folder.given())?;
            }
        }
        Ok(())
    }

    fn write_scripts(
        &self,
        path: &Path,
        purpose: &StaticPurpose,
        arrays: &[Array],
    ) -> Result<Scripts, CliError> {
        let (place, state) = (find_place(&self.folder, self.context)?, self.folder.path());
        // Slurm ends a job at once whose log can't be opened, without a word.
        std::fs::create_dir_all(self.folder.logs())
            .map_err(|error| cant_write(&self.folder.logs(), error))?;
        let write = |name: &str, text: &str| {
            let file = path.join(name);
            std::fs::write(&file, text).map_err(|error| cant_write(&file, error))
        };
        let mut written = Vec::with_capacity(arrays.len());
        for array in arrays {
            let script =
                render(Template::Static, state, &draft_array(&place, purpose, *array, &self.wishes))?;
            write(&array.file_name(), &script)?;
            written.push((*array, script));
        }
        let submit = render(Template::Submit, state, &draft_submission(purpose, arrays))?;
        write(SUBMIT, &submit)?;
        Ok(Scripts { arrays: written, submit })
    }

    fn note(&self, folder: &ExportFolder, arrays: &[Array], left_out: u64) {
        let manifest = folder.manifest();
        let tasks: u64 = manifest.tasks.iter().map(|tasks| u64::from(*tasks)).sum();
        self.context.output.note(&format!(
            "export {}: {} in {} and {} (at most {} tasks each); `sweep ingest {}` brings in what they come to",
            manifest.export,
            counted(manifest.jobs, "job", "jobs"),
            counted(tasks, "task", "tasks"),
            counted(arrays.len() as u64, "array", "arrays"),
            self.max_array_size,
            folder.path().display()
        ));
        if left_out > 0 {
            let jobs = counted(left_out, "job", "jobs");
            self.context
                .output
                .note(&format!("note: {jobs} are left out, since others hold them or what they wait for"));
        }
    }

    /// All arrays, or none.
    async fn submit(&self, path: &Path, purpose: &StaticPurpose, scripts: &Scripts) -> Result<(), CliError> {
        // From here to the end: what Slurm has taken is recorded or taken back, whenever somebody interrupts.
        let mut stop = StopSignals::catch()?;
        let mut submitted = Vec::new();
        let mut outcome = self.submit_each(path, purpose, scripts, &mut submitted, &mut stop).await;
        let ids: Vec<u32> = submitted.iter().map(|job: &SlurmJob| job.job).collect();
        let lines: String = ids.iter().map(|job| format!("{job}\n")).collect();
        if outcome.is_ok() {
            outcome = self.access.record_slurm_jobs(&SlurmJobsRequest { jobs: submitted }).await;
        }
        if let Err(error) = outcome {
            self.cancel(&ids).await;
            return Err(error);
        }
        if let Err(error) = self.context.output.data(&lines) {
            self.context.output.note(&unprinted(&error));
        }
        Ok(())
    }

    async fn submit_each(
        &self,
        path: &Path,
        purpose: &StaticPurpose,
        scripts: &Scripts,
        submitted: &mut Vec<SlurmJob>,
        stop: &mut StopSignals,
    ) -> Result<(), CliError> {
        let within = Duration::from_secs(self.args.submit_timeout);
        let role = SlurmRole::Workers { sweep: purpose.sweep };
        // Ids of the depth before, and of this one.
        let (mut before, mut these, mut depth) = (Vec::new(), Vec::new(), 0);
        for (number, (array, script)) in (1..).zip(&scripts.arrays) {
            if array.depth != depth {
                (before, these, depth) = (std::mem::take(&mut these), Vec::new(), array.depth);
            }
            let dependency = (!before.is_empty()).then(|| format!("afterany:{}", before.join(":")));
            let marker = purpose.marker_of(*array);
            let submission =
                Submission { script, marker: &marker, dependency: dependency.as_deref(), within };
            let taken = slurm::submit(submission, stop.asked()).await;
            let SubmittedJob { job, cluster } =
                taken.map_err(|error| refused_array(error, number, scripts.arrays.len(), array.tasks))?;
            these.push(job.to_string());
            submitted.push(SlurmJob { cluster, job, role, tasks: array.tasks });
            // At once: whoever takes the export back asks for these, even if this process ends here.
            note_job(&path.join(SLURM_JOBS), job)?;
        }
        Ok(())
    }

    async fn cancel(&self, jobs: &[u32]) {
        if jobs.is_empty() {
            return;
        }
        let names = jobs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        self.context.output.note(&match slurm::cancel(jobs).await {
            Ok(()) => format!("Slurm's jobs {names}, which were submitted already, are cancelled again"),
            Err(error) => say_not_cancelled(&error, &names),
        });
    }

    fn path_of(&self, export: WorkerId) -> PathBuf {
        self.folder.path().join(EXPORTS).join(export.to_string())
    }
}

fn note_job(file: &Path, job: u32) -> Result<(), CliError> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    let noted = opened.and_then(|mut opened| writeln!(opened, "{job}"));
    noted.map_err(|error| cant_write(file, error))
}

/// Of several arrays only some may be too many.
fn refused_array(error: SubmitError, number: usize, of: usize, tasks: u32) -> CliError {
    match of {
        1 => error.into(),
        _ => CliError::Failed(anyhow::anyhow!(
            "array {number} of {of}, {}, was not taken, and so none is submitted: {error}",
            counted(u64::from(tasks), "task", "tasks")
        )),
    }
}

fn say_not_cancelled(error: &SlurmError, names: &str) -> String {
    format!("warning: what was submitted already can't be cancelled ({error}); `scancel {names}` does it")
}

struct Scripts {
    arrays: Vec<(Array, String)>,
    submit: String,
}

/// So many jobs of a depth to a task, in their order, which keeps siblings together.
fn plan_tasks(jobs: Vec<ExportedJob>, jobs_per_task: u32) -> BTreeMap<TaskName, TaskPlan> {
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    let mut places: BTreeMap<JobId, Origin> = BTreeMap::new();
    for job in &jobs {
        let count = counts.entry(job.depth).or_default();
        let task = TaskName { depth: job.depth, index: *count / jobs_per_task.max(1) };
        *count += 1;
        let token: LeaseToken = job.lease.token;
        places.insert(token.job, Origin { token, task });
    }
    let mut plans: BTreeMap<TaskName, TaskPlan> = BTreeMap::new();
    for ExportedJob { lease, parent, teachers, .. } in jobs {
        let Some(own) = places.get(&lease.token.job) else { continue };
        let of = |job: &JobId| places.get(job).copied();
        let teachers = teachers.into_iter().filter_map(|(state, job)| Some((state, of(&job)?))).collect();
        let planned = PlannedJob { parent: parent.as_ref().and_then(of), teachers, lease };
        plans.entry(own.task).or_insert_with(|| TaskPlan { jobs: Vec::new() }).jobs.push(planned);
    }
    plans
}

fn tasks_by_depth(plans: &BTreeMap<TaskName, TaskPlan>) -> Vec<u32> {
    let mut tasks: Vec<u32> = Vec::new();
    for task in plans.keys() {
        let depth = task.depth as usize;
        tasks.resize(tasks.len().max(depth + 1), 0);
        tasks[depth] = tasks[depth].max(task.index + 1);
    }
    tasks
}

fn cant_read(path: &Path, error: std::io::Error) -> CliError {
    CliError::failed(anyhow::Error::new(error).context(format!("can't read `{}`", path.display())))
}
