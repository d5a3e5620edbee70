use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::Access;
use super::choice::SweepArg;
use super::preflight::{PreflightArgs, TrainingPlace, preflight};
use super::signals::StopSignals;
use super::spec_file::{CheckedSpec, SpecArgs};
use super::submit::note_submitted;
use super::worker_process::{WorkerArgs, find_worker};
use super::written::write_file;
use super::{CliError, Context, needed, slurm_static, state_folder};
use crate::coordinator::{LEASE, StateFolder};
use crate::protocol::http::SweepState;
use crate::protocol::slurm::{SlurmJob, SlurmJobsRequest, SlurmRole};
use crate::slurm::{
    self, Count, Place, ProfileError, Purpose, ScriptError, SlurmError, Stage, Submission, SubmitError,
    SubmittedJob, Template, WishError, Wishes, draft_coordinator, draft_workers, read_profile, render,
};
use crate::vocabulary::SweepId;

/// Write a script for Slurm whose jobs are workers for a sweep, or submit it.
///
/// Each task of the array takes jobs from the coordinator until all trials have ended or its time is nearly over, whatever number
/// of trials there is. Start `sweep serve --listen 0.0.0.0:7077` here first, or say `--coordinator job`: then the coordinator is a
/// small job of Slurm's, too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep's id or name, `last`, or a spec, which is submitted first.
    #[arg(value_name = "SWEEP|SPEC", required_unless_present = "show_template")]
    pub(super) target: Option<String>,
    /// Changes to the spec: `name=value`, or `name=value,value` to sweep.
    #[arg(value_name = "NAME=VALUE")]
    pub(super) overrides: Vec<String>,
    /// Where the script goes, if not to stdout.
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Submit it with sbatch, and print the job's id.
    #[arg(long)]
    pub(super) submit: bool,
    /// How long sbatch may take; what it submitted nevertheless is cancelled.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) submit_timeout: u64,
    /// Settings of `[slurm.NAME]` in `sweep.toml`, beside `.sweep/`; those of `[slurm.default]` unless given.
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// The same for the job of `--coordinator job`, which otherwise has the workers' time, partition and account.
    #[arg(long, value_name = "NAME")]
    pub(super) coordinator_profile: Option<String>,
    /// For nodes that reach no coordinator: an export of all that is to be done, an array for each depth of the stage tree, and
    /// results that `sweep ingest` brings in.
    #[arg(long = "static")]
    is_static: bool,
    /// In static mode: bring in what earlier exports of the sweep have come to, and export what they left undone.
    #[arg(long, requires = "is_static")]
    pub(super) missing: bool,
    /// In static mode: how many jobs a task of an array does.
    #[arg(long, value_name = "K", requires = "is_static", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) jobs_per_task: u32,
    #[command(flatten)]
    pub(super) preflight: PreflightArgs,
    #[command(flatten)]
    pub(super) wishes: Wishes,
    /// Print the template of a script and exit; one in `.sweep/templates/` takes its place.
    #[arg(long, value_name = "SCRIPT", value_enum)]
    show_template: Option<Template>,
    /// Options of the worker itself, as `sweep-worker --help` shows them.
    #[arg(last = true, value_name = "WORKER OPTION")]
    pub(super) worker_options: Vec<String>,
}

/// What `--coordinator` says where no address is meant.
const JOB: &str = "job";
/// How often a coordinator's job is looked at that runs and is not there, and how long to wait in between.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The folder in a state folder in which scripts are kept that were submitted.
const SUBMITTED: &str = "slurm";

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    if let Some(template) = args.show_template {
        return context.output.data(template.built_in());
    }
    args.wishes.check()?;
    if args.is_static {
        return slurm_static::run(&args, context).await;
    }
    let has_own_coordinator = context.coordinator.as_deref() == Some(JOB);
    let coordinator = context.coordinator.clone().filter(|_| !has_own_coordinator);
    let context = &Context { coordinator, ..context.clone() };
    let target = Target::parse(args.target.as_deref().unwrap_or_default(), &args.overrides, context)?;
    target.try_first(args.preflight, context).await?;
    let _turn = if has_own_coordinator && args.submit { Some(take_turn(context)?) } else { None };
    let access = Access::open_or_create(context, LEASE).await?;
    let found = Found::look(target, &access, context).await;
    // The table must be free before a coordinator's job starts.
    access.close().await;
    let found = found?;
    let scripts =
        Scripts::write(&args, &found, has_own_coordinator && found.is_without_coordinator(), context)?;
    if let Some(file) = &args.output {
        scripts.put_into(file, args.submit, context)?;
    }
    match args.submit {
        true => Submitter { args: &args, found: &found, scripts: &scripts, context }.submit().await?,
        false if args.output.is_some() => {}
        false => scripts.print(context)?,
    }
    // Not before: where nothing was submitted, nobody waits for a coordinator.
    if !has_own_coordinator {
        found.coordination.note(context);
    }
    Ok(())
}

/// Waits until nobody else submits with a coordinator's job, and holds others up until the file is closed: the second one is to
/// find the coordinator of the first, instead of submitting another.
pub(super) fn take_turn(context: &Context) -> Result<File, CliError> {
    let folder = state_folder::ensure(context)?.path().join(SUBMITTED);
    let path = folder.join("turn.lock");
    let opened = std::fs::create_dir_all(&folder).and_then(|()| File::create(&path));
    let file = opened.map_err(|error| cant_write(&path, error))?;
    match file.lock() {
        // Without locks two coordinators may be submitted, of which the second ends at once.
        Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(cant_write(&path, error)),
        _ => Ok(file),
    }
}

/// What was found out before anything is written.
struct Found {
    sweep: SweepId,
    name: String,
    coordination: Coordination,
    /// What was submitted to Slurm before.
    submitted: Vec<SlurmJob>,
}

impl Found {
    async fn look(target: Target, access: &Access, context: &Context) -> Result<Found, CliError> {
        let (sweep, name) = target.find(access, false, context).await?;
        let submitted = access.status().await?.slurm;
        Ok(Found { sweep, name, coordination: Coordination::of(access), submitted })
    }

    fn is_without_coordinator(&self) -> bool {
        matches!(self.coordination, Coordination::Nobody)
    }
}

/// The scripts of one submission.
struct Scripts {
    workers: String,
    /// Of a coordinator's own job.
    coordinator: Option<String>,
    /// What the workers wait for beside.
    dependency: Option<String>,
    tasks: u32,
    folder: StateFolder,
}

impl Scripts {
    fn write(
        args: &Args,
        found: &Found,
        has_own_coordinator: bool,
        context: &Context,
    ) -> Result<Scripts, CliError> {
        let folder = state_folder::ensure(context)?;
        let place = find_place(&folder, context)?;
        let read = |name: Option<&String>| read_profile(Path::new(&place.project), name.map(String::as_str));
        let wishes = args.wishes.clone().over(read(args.profile.as_ref())?);
        wishes.check()?;
        let purpose = Purpose {
            sweep: found.sweep,
            name: found.name.clone(),
            coordinator: context.coordinator.clone(),
            worker_options: args.worker_options.clone(),
        };
        let workers = render(Template::Worker, folder.path(), &draft_workers(&place, &purpose, &wishes))?;
        let coordinator = match has_own_coordinator {
            true => {
                let own = match &args.coordinator_profile {
                    Some(name) => read(Some(name))?,
                    None => wishes.for_coordinator(),
                };
                own.check()?;
                Some(render(Template::Coordinator, folder.path(), &draft_coordinator(&place, &own))?)
            }
            false => None,
        };
        // Slurm ends a job at once whose log can't be opened, without a word.
        std::fs::create_dir_all(folder.logs()).map_err(|error| cant_write(&folder.logs(), error))?;
        let dependency =
            wishes.set.iter().find(|set| set.key == "dependency").and_then(|set| set.value.clone());
        Ok(Scripts { workers, coordinator, dependency, tasks: wishes.workers.map_or(1, Count::get), folder })
    }

    fn print(&self, context: &Context) -> Result<(), CliError> {
        match self.coordinator {
            None => context.output.data(&self.workers),
            Some(_) => Err(CliError::usage(
                "two scripts don't go to stdout: with `--coordinator job` say `--submit`, or where they go with `-o FILE`",
            )),
        }
    }

    /// The coordinator's goes into a file beside.
    fn put_into(&self, file: &Path, is_submitted: bool, context: &Context) -> Result<(), CliError> {
        write_file(file, self.workers.as_bytes(), context)?;
        let Some(coordinator) = &self.coordinator else {
            if !is_submitted {
                context.output.note(&format!("`sbatch {}` submits it", file.display()));
            }
            return Ok(());
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let beside = file.with_file_name(format!("coordinator-{name}"));
        write_file(&beside, coordinator.as_bytes(), context)?;
        if !is_submitted {
            context.output.note(&format!(
                "`sbatch {}` submits the coordinator; when it has the id N, `sbatch --dependency=after:N {}` submits the workers",
                beside.display(),
                file.display()
            ));
        }
        Ok(())
    }
}

/// Submits all scripts, or none.
struct Submitter<'a> {
    args: &'a Args,
    found: &'a Found,
    scripts: &'a Scripts,
    context: &'a Context,
}

impl Submitter<'_> {
    async fn submit(&self) -> Result<(), CliError> {
        // From here to the end: what Slurm has taken is recorded or taken back, whenever somebody interrupts.
        let mut stop = StopSignals::catch()?;
        let mut submitted = Vec::new();
        let mut outcome = self.submit_each(&mut submitted, &mut stop).await;
        if outcome.is_ok() {
            outcome = self.record(&submitted).await;
        }
        match outcome {
            Ok(()) => self.tell(&submitted),
            Err(error) => {
                self.take_back(&submitted).await;
                Err(error)
            }
        }
    }

    async fn submit_each(
        &self,
        submitted: &mut Vec<SlurmJob>,
        stop: &mut StopSignals,
    ) -> Result<(), CliError> {
        let mut first = None;
        if let Some(script) = &self.scripts.coordinator {
            first = self.coordinator_in_queue(stop).await?;
            if let Some(job) = first {
                self.context.output.note(&format!("Slurm's job {job}, submitted before, is the coordinator"));
            } else {
                let job = self.submit_one(script, None, SlurmRole::Coordinator, 1, submitted, stop).await?;
                first = Some(job);
                self.context.output.note(&format!("the coordinator is Slurm's job {job}"));
            }
        }
        let after = first.map(|job| format!("after:{job}"));
        let dependency = match (after, &self.scripts.dependency) {
            (Some(after), Some(more)) => Some(format!("{after},{more}")),
            (after, _) => after,
        };
        let role = SlurmRole::Workers { sweep: self.found.sweep };
        let (script, tasks) = (&self.scripts.workers, self.scripts.tasks);
        self.submit_one(script, dependency.as_deref(), role, tasks, submitted, stop).await?;
        Ok(())
    }

    /// A coordinator's job that was submitted before and has not ended.
    async fn coordinator_in_queue(&self, stop: &mut StopSignals) -> Result<Option<u32>, CliError> {
        let of_coordinators: Vec<_> =
            self.found.submitted.iter().filter(|job| job.role == SlurmRole::Coordinator).cloned().collect();
        if of_coordinators.is_empty() {
            return Ok(None);
        }
        let announcement = self.scripts.folder.announcement_file();
        for look in 1.. {
            let queue = slurm::list_queue().await?;
            let Some((job, stage)) = slurm::newest_unfinished(&of_coordinators, &queue) else { break };
            // One that runs and has not come up, or is about to end: the table was free a moment ago.
            let is_doubtful = stage == Stage::Running && !announcement.exists();
            if !is_doubtful || look == LOOKS {
                return Ok(Some(job));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = stop.asked() => return Err(SlurmError::Interrupted { program: "squeue" }.into()),
            }
        }
        Ok(None)
    }

    async fn submit_one(
        &self,
        script: &str,
        dependency: Option<&str>,
        role: SlurmRole,
        tasks: u32,
        submitted: &mut Vec<SlurmJob>,
        stop: &mut StopSignals,
    ) -> Result<u32, CliError> {
        let within = Duration::from_secs(self.args.submit_timeout);
        let no_chance =
            |error| CliError::failed(anyhow::Error::new(error).context("can't read /dev/urandom"));
        let marker = slurm::new_marker().map_err(no_chance)?;
        let submission = Submission { script, marker: &marker, dependency, within };
        let SubmittedJob { job, cluster } = slurm::submit(submission, stop.asked()).await?;
        submitted.push(SlurmJob { cluster, job, role, tasks });
        self.keep(script, job)?;
        Ok(job)
    }

    /// So that it can be looked up later what was submitted.
    fn keep(&self, script: &str, job: u32) -> Result<(), CliError> {
        let folder = self.scripts.folder.path().join(SUBMITTED);
        let file = folder.join(format!("{job}.sh"));
        let write = || std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, script));
        write().map_err(|error| cant_write(&file, error))
    }

    async fn record(&self, submitted: &[SlurmJob]) -> Result<(), CliError> {
        let access = Access::open(self.context).await?;
        let recorded = access.record_slurm_jobs(&SlurmJobsRequest { jobs: submitted.to_vec() }).await;
        access.close().await;
        recorded
    }

    async fn take_back(&self, submitted: &[SlurmJob]) {
        let jobs: Vec<u32> = submitted.iter().map(|job| job.job).collect();
        if jobs.is_empty() {
            return;
        }
        let names = jobs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        self.context.output.note(&match slurm::cancel(&jobs).await {
            Ok(()) => format!("Slurm's job {names}, which was submitted already, is cancelled again"),
            Err(error) => format!(
                "warning: what was submitted already can't be cancelled ({error}); `scancel {names}` does it"
            ),
        });
    }

    fn tell(&self, submitted: &[SlurmJob]) -> Result<(), CliError> {
        let Some(workers) = submitted.last() else { return Ok(()) };
        let (job, tasks) = (workers.job, workers.tasks);
        if let Err(error) = self.context.output.data(&format!("{job}\n")) {
            self.context.output.note(&unprinted(&error));
        }
        let noun = if tasks == 1 { "worker" } else { "workers" };
        self.context.output.note(&format!(
            "{tasks} {noun} for sweep {} as Slurm's job {job}; `sweep status` shows what becomes of them, `scancel {job}` ends them",
            self.found.sweep
        ));
        Ok(())
    }
}

/// That the ids don't reach who asked for them: what is submitted is submitted all the same.
pub(super) fn unprinted(error: &CliError) -> String {
    format!("warning: the ids can't be printed ({}); Slurm has the jobs", error.words())
}

/// The sweep that is meant, by its id, its name or `last`; what is called like a file is a spec.
fn sweep_named(text: &str, context: &Context) -> Option<SweepArg> {
    let is_id = text.parse::<SweepId>().is_ok();
    let is_file = text.contains(['/', '.']) || context.environment.working_directory.join(text).exists();
    (is_id || !is_file).then(|| text.parse().ok()).flatten()
}

/// What the workers are for.
pub(super) enum Target {
    Sweep(SweepArg),
    Spec(Box<CheckedSpec>),
}

impl Target {
    /// A spec is checked before a state folder is made.
    pub(super) fn parse(text: &str, overrides: &[String], context: &Context) -> Result<Target, CliError> {
        match sweep_named(text, context) {
            Some(_) if !overrides.is_empty() => Err(CliError::usage(format!(
                "sweep {text} is submitted already and can't be changed by `{}`; name the spec instead",
                overrides.join(" ")
            ))),
            Some(sweep) => Ok(Target::Sweep(sweep)),
            None => Ok(Target::Spec(Box::new(SpecArgs::new(text, overrides).into_checked(context)?))),
        }
    }

    /// Of a spec that asks for much it is tried whether that works, as `sweep submit` does. Nothing was stored so far.
    pub(super) async fn try_first(&self, args: PreflightArgs, context: &Context) -> Result<(), CliError> {
        match self {
            Target::Sweep(_) => Ok(()),
            Target::Spec(spec) => {
                preflight(args, spec, &WorkerArgs::usual(), TrainingPlace::Anywhere, false, context).await
            }
        }
    }

    /// The sweep and its name; a spec is submitted.
    pub(super) async fn find(
        self,
        access: &Access,
        may_have_ended: bool,
        context: &Context,
    ) -> Result<(SweepId, String), CliError> {
        let sweep = match self {
            Target::Sweep(sweep) => sweep.find(access).await?,
            Target::Spec(mut spec) => {
                let submitted = needed::submit(access, &mut spec, context).await?;
                note_submitted(&submitted, context);
                submitted.sweep
            }
        };
        let sweeps = access.status().await?.sweeps;
        let Some(found) = sweeps.into_iter().find(|found| found.id == sweep) else {
            return Err(CliError::usage(format!(
                "there is no sweep {sweep}; `sweep status` lists those that are there"
            )));
        };
        match found.state {
            SweepState::Queued | SweepState::Running | SweepState::Paused => Ok((sweep, found.name)),
            _ if may_have_ended => Ok((sweep, found.name)),
            SweepState::Succeeded | SweepState::Failed | SweepState::Cancelled => {
                Err(CliError::usage(format!(
                    "sweep {sweep} has ended, so that workers would have nothing to do; `sweep retry {sweep}` queues what failed or was \
                 cancelled"
                )))
            }
        }
    }
}

/// What there is to say of the coordinator that the workers will look for.
enum Coordination {
    Nobody,
    /// It can't be reached from other hosts.
    ThisHostOnly {
        url: String,
    },
    Reachable,
}

impl Coordination {
    fn of(access: &Access) -> Coordination {
        match access {
            Access::Local(_) => Coordination::Nobody,
            Access::Remote(remote) => {
                let url = remote.told_url();
                match is_loopback(&url) {
                    true => Coordination::ThisHostOnly { url },
                    false => Coordination::Reachable,
                }
            }
        }
    }

    fn note(&self, context: &Context) {
        match self {
            Coordination::Reachable => {}
            Coordination::Nobody => context.output.note(
                "note: nobody coordinates here yet; start `sweep serve --listen 0.0.0.0:7077` on this host. Workers wait for it, \
                 about an hour",
            ),
            Coordination::ThisHostOnly { url } => context.output.note(&format!(
                "warning: the coordinator listens on this host only ({url}); workers on other hosts won't reach it. Stop it, and \
                 start `sweep serve --listen 0.0.0.0:7077`"
            )),
        }
    }
}

fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or(host);
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn find_place(folder: &StateFolder, context: &Context) -> Result<Place, CliError> {
    let worker = find_worker(context)?;
    let sweep = worker.with_file_name("sweep");
    let project = folder.path().parent().unwrap_or(folder.path());
    if text_of(&folder.logs())?.contains('\\') {
        return Err(CliError::usage(format!(
            "Slurm writes no logs below a folder with a backslash in its name, which `{}` has; rename it",
            project.display()
        )));
    }
    Ok(Place {
        project: text_of(project)?,
        state_folder: text_of(folder.path())?,
        logs: text_of(&folder.logs())?,
        datasets: text_of(&context.datasets()?)?,
        sweep: text_of(&sweep)?,
        worker: text_of(&worker)?,
    })
}

pub(super) fn text_of(path: &Path) -> Result<String, CliError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        CliError::usage(format!("`{}` is no text (UTF-8), which a script can't hold", path.display()))
    })
}

pub(super) fn cant_write(path: &Path, error: std::io::Error) -> CliError {
    CliError::failed(anyhow::Error::new(error).context(format!("can't write `{}`", path.display())))
}

impl From<WishError> for CliError {
    fn from(error: WishError) -> CliError {
        CliError::Usage(error.into())
    }
}

impl From<ProfileError> for CliError {
    fn from(error: ProfileError) -> CliError {
        CliError::Usage(error.into())
    }
}

impl From<SlurmError> for CliError {
    fn from(error: SlurmError) -> CliError {
        CliError::failed(error)
    }
}

impl From<SubmitError> for CliError {
    fn from(error: SubmitError) -> CliError {
        CliError::failed(error)
    }
}

impl From<ScriptError> for CliError {
    fn from(error: ScriptError) -> CliError {
        CliError::Usage(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_host_only_is_told_from_others() {
        for url in
            ["http://127.0.0.1:7077", "http://localhost:1", "http://[::1]:7077/", "http://127.0.0.2:1/x"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://login1:7077", "http://10.0.0.1:7077", "http://[fe80::1]:7077"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
