//! The folder of an export, `.sweep/exports/ID/`: `export.json` says what it is, `tasks/` what each task is to do, `spool/` has what
//! they did, and `artifacts/` their checkpoints, a folder a task, so that nobody deletes another's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frames::Appender;
use super::results::TaskResults;
use crate::protocol::export::{Manifest, TaskName, TaskPlan};
use crate::vocabulary::{JobId, weights_file_name};

const FORMAT: u32 = 1;
const MANIFEST: &str = "export.json";
/// There as soon as the export has left the job table.
const CLOSED: &str = "closed";
/// Processes that run the same task, one after the other; more than Slurm ever starts one again.
const MOST_FILES: u32 = 10_000;
/// Plans that are written at a time. Each is synced, which takes some round trips to a file system's server, and an export may have a
/// hundred thousand.
const WRITERS: usize = 16;

/// An export's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFolder {
    path: PathBuf,
    manifest: Manifest,
}

/// What is wrong with the folder or a file in it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("`{}` is no folder of an export: there is no `{MANIFEST}` in it", path.display())]
    NoExport { path: PathBuf },
    #[error("`{}` was written by another version of sweep (format {format}, this one reads {FORMAT})", path.display())]
    Format { path: PathBuf, format: u32 },
    #[error("can't {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` can't be read: {problem}", path.display())]
    Garbled { path: PathBuf, problem: String },
    #[error("`{}` was taken back by `sweep slurm --static --missing`; what its tasks do counts no more", path.display())]
    Closed { path: PathBuf },
    #[error(
        "`{}` is not what its name says, so the checkpoints in `{}` stay; remove the damaged file and ingest again",
        stored.display(), artifacts.display()
    )]
    Unsafe { stored: PathBuf, artifacts: PathBuf },
}

impl ExportFolder {
    /// Makes the folder; `export.json` comes last, so that what is there is whole.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create<'a>(
        path: &Path,
        manifest: Manifest,
        tasks: impl Iterator<Item = (TaskName, &'a TaskPlan)>,
    ) -> Result<ExportFolder, SpoolError> {
        let folder = ExportFolder { path: path.to_owned(), manifest };
        move_aside(path)?;
        for part in [folder.tasks(), folder.spool(), folder.given()] {
            fs::create_dir_all(&part).map_err(|source| io_error("make", &part, source))?;
        }
        folder.write_plans(&tasks.collect::<Vec<_>>())?;
        let manifest = Manifest { format: FORMAT, ..folder.manifest.clone() };
        write_json(&path.join(MANIFEST), &manifest)?;
        Ok(ExportFolder { manifest, ..folder })
    }

    /// # Errors
    /// When it is no export's folder, or of another version.
    pub fn open(path: &Path) -> Result<ExportFolder, SpoolError> {
        let file = path.join(MANIFEST);
        let manifest: Manifest = match fs::read(&file) {
            Ok(text) => parse(&file, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SpoolError::NoExport { path: path.to_owned() });
            }
            Err(source) => return Err(io_error("read", &file, source)),
        };
        if manifest.format != FORMAT {
            return Err(SpoolError::Format { path: file, format: manifest.format });
        }
        Ok(ExportFolder { path: path.to_owned(), manifest })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the export has left the job table: what its tasks still do counts no more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.path.join(CLOSED).exists()
    }

    /// Notes that it has left. Its checkpoints are nobody's then, and are removed before: nobody looks at a closed export again.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn close(&self) -> Result<(), SpoolError> {
        note_closed(&self.path)
    }

    /// Removes the tasks' checkpoints; says whether there were any. All that were brought into the folder `store` have to be safe
    /// there: the same file or whole. Those that are there no more the job table has let go of.
    ///
    /// # Errors
    /// When one is damaged there; then nothing is removed. Or when something can't be read or removed.
    pub fn remove_artifacts(
        &self,
        brought: &BTreeSet<(TaskName, String)>,
        store: &Path,
    ) -> Result<bool, SpoolError> {
        let artifacts = self.path.join("artifacts");
        for (task, hash) in brought {
            let name = weights_file_name(hash);
            let (own, stored) = (self.artifacts(*task).join(&name), store.join(&name));
            if !is_safe(&own, &stored, hash).map_err(|source| io_error("read", &stored, source))? {
                return Err(SpoolError::Unsafe { stored, artifacts });
            }
        }
        match fs::remove_dir_all(&artifacts) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error("remove", &artifacts, error)),
        }
    }

    /// All tasks, those first that others need.
    pub fn list_tasks(&self) -> impl Iterator<Item = TaskName> {
        let by_depth = (0..).zip(self.manifest.tasks.iter().copied());
        by_depth.flat_map(|(depth, tasks)| (0..tasks).map(move |index| TaskName { depth, index }))
    }

    /// # Errors
    /// When there is no such task, or its file can't be read.
    pub fn read_plan(&self, task: TaskName) -> Result<TaskPlan, SpoolError> {
        let path = self.task_file(task);
        let text = fs::read(&path).map_err(|source| io_error("read", &path, source))?;
        parse(&path, &text)
    }

    /// What a task has done so far.
    ///
    /// # Errors
    /// When a file can't be read. What is torn or damaged in it is no error.
    pub fn read_results(&self, task: TaskName) -> Result<TaskResults, SpoolError> {
        let mut results = TaskResults::default();
        for number in 1..=MOST_FILES {
            let path = self.spool_file(task, number);
            match fs::read(&path) {
                Ok(bytes) => results.add_file(path, &bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(source) => return Err(io_error("read", &path, source)),
            }
        }
        Ok(results)
    }

    /// Jobs whose ends its files tell.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn list_ended(&self) -> Result<BTreeSet<JobId>, SpoolError> {
        let mut ended = BTreeSet::new();
        for task in self.list_tasks() {
            let jobs = self.read_results(task)?.jobs;
            let of_task = jobs.iter().filter(|(_, results)| results.end.is_some());
            ended.extend(of_task.map(|(token, _)| token.job));
        }
        Ok(ended)
    }

    /// A new file for the records of a process that runs a task.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn begin_file(&self, task: TaskName) -> Result<Appender, SpoolError> {
        let mut number = 1;
        loop {
            let path = self.spool_file(task, number);
            match Appender::create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_FILES => {
                    number += 1
                }
                made => return made.map_err(|source| io_error("make", &path, source)),
            }
        }
    }

    /// Where a task's checkpoints lie.
    #[must_use]
    pub fn artifacts(&self, task: TaskName) -> PathBuf {
        self.path.join("artifacts").join(task.to_string())
    }

    /// Where those checkpoints lie that were there before the export.
    #[must_use]
    pub fn given(&self) -> PathBuf {
        self.path.join("artifacts/given")
    }

    fn write_plans(&self, plans: &[(TaskName, &TaskPlan)]) -> Result<(), SpoolError> {
        let write = |(task, plan): &(TaskName, &TaskPlan)| write_json(&self.task_file(*task), plan);
        let share = plans.len().div_ceil(WRITERS).max(1);
        thread::scope(|scope| {
            let shares = plans.chunks(share);
            let writers: Vec<_> =
                shares.map(|share| scope.spawn(move || share.iter().try_for_each(write))).collect();
            let joined =
                writers.into_iter().map(|writer| writer.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.collect()
        })
    }

    fn tasks(&self) -> PathBuf {
        self.path.join("tasks")
    }

    fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    fn task_file(&self, task: TaskName) -> PathBuf {
        self.tasks().join(format!("{task}.json"))
    }

    fn spool_file(&self, task: TaskName, number: u32) -> PathBuf {
        self.spool().join(format!("{task}-{number}.frames"))
    }
}

/// Puts the checkpoint of this hash from one folder into another one, unless it is there. False where there is none.
///
/// # Errors
/// When it can't be written.
pub fn link_or_copy(hash: &str, from: &Path, to: &Path) -> Result<bool, SpoolError> {
    let name = weights_file_name(hash);
    let (source, target) = (from.join(&name), to.join(&name));
    if !source.exists() {
        return Ok(target.exists());
    }
    if fs::hard_link(&source, &target).is_err() && !target.exists() {
        // Another file system, or one without links.
        let part = to.join(format!("{name}.{}.part", std::process::id()));
        let copied = fs::copy(&source, &part).and_then(|_| fs::File::open(&part)?.sync_all());
        match copied.and_then(|()| fs::rename(&part, &target)) {
            // A newer one has taken its place in this moment.
            Err(_) if !source.exists() => return Ok(target.exists()),
            copied => copied.map_err(|source| io_error("write", &target, source))?,
        }
    }
    // Whoever tidies up spares what is young, because somebody may be about to name it.
    #[expect(
        clippy::disallowed_methods,
        reason = "a file's age is for whoever tidies up, and decides nothing else"
    )]
    let now = SystemTime::now();
    if let Ok(file) = fs::File::options().append(true).open(&target) {
        let _read_only_elsewhere = file.set_modified(now);
    }
    Ok(true)
}

/// Whether nothing is lost with `own`.
fn is_safe(own: &Path, stored: &Path, hash: &str) -> io::Result<bool> {
    let find = |path: &Path| match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    };
    let (Some(own), Some(there)) = (find(own)?, find(stored)?) else { return Ok(true) };
    if (own.dev(), own.ino()) == (there.dev(), there.ino()) {
        return Ok(true);
    }
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut fs::File::open(stored)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex().as_str() == hash)
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> SpoolError {
    SpoolError::Io { what, path: path.to_owned(), source }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, SpoolError> {
    let garbled =
        |error: serde_json::Error| SpoolError::Garbled { path: path.to_owned(), problem: error.to_string() };
    serde_json::from_slice(text).map_err(garbled)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SpoolError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| SpoolError::Garbled { path: path.to_owned(), problem: error.to_string() })?;
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().map_err(|source| io_error("write", path, source))
}

fn note_closed(folder: &Path) -> Result<(), SpoolError> {
    let path = folder.join(CLOSED);
    fs::write(&path, "").map_err(|source| io_error("write", &path, source))
}

/// An id is given once by a job table: a folder that has it already is of a table that was put back to an earlier state, or replaced.
/// Nothing in it is this export's, and nobody takes it for that any more.
fn move_aside(path: &Path) -> Result<(), SpoolError> {
    if !path.exists() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..MOST_FILES).map(|n| path.with_file_name(format!("{name}-earlier-{n}")));
    for aside in free {
        if !aside.exists() {
            fs::rename(path, &aside).map_err(|source| io_error("move aside", path, source))?;
            return note_closed(&aside);
        }
    }
    Err(io_error("move aside", path, io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::export::Record;
    use crate::protocol::http::LeaseToken;
    use crate::vocabulary::{Attempt, Nonce, SweepId, WorkerId};

    #[test]
    fn what_a_table_that_is_no_more_has_left_is_not_taken_for_an_exports_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("5");
        let none = || std::iter::empty::<(TaskName, &TaskPlan)>();
        ExportFolder::create(&path, manifest(), none()).unwrap();
        fs::write(path.join("spool/0-0.0"), "results").unwrap();
        let again = ExportFolder::create(&path, manifest(), none()).unwrap();
        assert!(!again.is_closed());
        assert_eq!(fs::read_dir(path.join("spool")).unwrap().count(), 0);
        let aside = ExportFolder::open(&folder.path().join("5-earlier-1")).unwrap();
        assert!(aside.is_closed(), "nobody ingests it");
        assert!(aside.path().join("spool/0-0.0").exists(), "and nothing is lost");
    }

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            export: WorkerId(7),
            sweep: SweepId(1),
            name: "it".to_owned(),
            table: "t".to_owned(),
            created_at_millis: 1,
            jobs: 3,
            tasks: vec![2, 1],
        }
    }

    #[test]
    fn an_export_is_found_as_it_was_written_and_each_process_has_a_file_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("7");
        assert!(matches!(ExportFolder::open(&path), Err(SpoolError::NoExport { .. })));
        let plan = TaskPlan { jobs: Vec::new() };
        let names = ["0-0", "0-1", "1-0"].map(|name| name.parse::<TaskName>().unwrap());
        ExportFolder::create(&path, manifest(), names.iter().map(|name| (*name, &plan))).unwrap();
        let folder = ExportFolder::open(&path).unwrap();
        assert_eq!(folder.manifest(), &manifest());
        assert!(folder.list_tasks().eq(names));
        assert_eq!(folder.read_plan(names[2]).unwrap(), plan);
        for epoch in [3, 4] {
            let token = LeaseToken { job: JobId(1), attempt: Attempt(1), nonce: Nonce::default() };
            let record = Record::Begun { token, epoch };
            folder.begin_file(names[1]).unwrap().append(&serde_json::to_vec(&record).unwrap()).unwrap();
        }
        assert_eq!(fs::read_dir(folder.spool()).unwrap().count(), 2);
        assert_eq!(folder.read_results(names[1]).unwrap().jobs.len(), 1);
        assert!(folder.read_results(names[0]).unwrap().jobs.is_empty());
        assert!(!folder.is_closed());
        folder.close().unwrap();
        folder.close().unwrap();
        assert!(folder.is_closed());
    }

    #[test]
    fn checkpoints_are_removed_when_all_that_were_brought_are_safe_and_never_before() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        fs::create_dir(&store).unwrap();
        let folder = ExportFolder::create(&root.path().join("7"), manifest(), std::iter::empty()).unwrap();
        let task: TaskName = "0-0".parse().unwrap();
        let own = folder.artifacts(task);
        fs::create_dir_all(&own).unwrap();
        let hashes = ["linked", "copied", "let go"].map(|text| {
            let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
            fs::write(own.join(weights_file_name(&hash)), text).unwrap();
            hash
        });
        let stored = store.join(weights_file_name(&hashes[1]));
        link_or_copy(&hashes[0], &own, &store).unwrap();
        fs::write(&stored, "cop").unwrap();
        let brought: BTreeSet<_> = hashes.into_iter().map(|hash| (task, hash)).collect();
        let refused = folder.remove_artifacts(&brought, &store).unwrap_err();
        assert!(matches!(refused, SpoolError::Unsafe { .. }), "{refused}");
        assert_eq!(fs::read_dir(&own).unwrap().count(), 3);
        fs::write(&stored, "copied").unwrap();
        assert!(folder.remove_artifacts(&brought, &store).unwrap());
        assert!(!folder.remove_artifacts(&brought, &store).unwrap(), "there are none any more");
        assert!(!own.exists() && folder.path().join("export.json").exists());
    }

    #[test]
    fn a_checkpoint_is_linked_once_and_young_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| root.path().join(name));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        assert!(!link_or_copy("a", &from, &to).unwrap());
        let file = from.join(weights_file_name("a"));
        fs::write(&file, "weights").unwrap();
        fs::File::options().append(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        for _ in 0..2 {
            assert!(link_or_copy("a", &from, &to).unwrap());
        }
        assert_eq!(fs::read_to_string(to.join(weights_file_name("a"))).unwrap(), "weights");
        assert!(fs::metadata(&file).unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH);
        fs::remove_file(&file).unwrap();
        assert!(link_or_copy("a", &from, &to).unwrap(), "it is there");
    }
}
