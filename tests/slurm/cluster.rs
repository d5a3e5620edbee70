//! A cluster, as its own commands show it, and projects that work on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Project, Running, wait_until};

/// A cluster of its own, taken down with the test.
pub(crate) struct Cluster {
    folder: PathBuf,
    configuration: String,
}

impl Cluster {
    /// `settings`: as `tests/slurm/cluster` takes them, without their common beginning.
    pub(crate) fn up(name: &str, settings: &[(&str, &str)]) -> Cluster {
        #[expect(clippy::disallowed_methods, reason = "a test has no main that could read the environment")]
        let folder = std::env::var("SWEEP_TEST_CLUSTERS").expect("run `make test-slurm`");
        let folder = PathBuf::from(folder).join(name);
        // Larger on paper than any host. (A job that is to be started again waits 5 seconds; told less, Slurm takes 120.)
        let common = [("CPUS", "64"), ("MEM", "32768")];
        let mut command = script(&["up"]);
        command.arg(&folder);
        for (name, value) in common.iter().chain(settings) {
            command.env(format!("SLURM_CLUSTER_{name}"), value);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let configuration = said.trim().strip_prefix("export SLURM_CONF=").unwrap().to_owned();
        Cluster { folder, configuration }
    }

    /// A project whose commands find this cluster.
    pub(crate) fn project(&self) -> Project {
        self.adopt(Project::new())
    }

    pub(crate) fn adopt(&self, project: Project) -> Project {
        project.with_variable("SLURM_CONF", &self.configuration)
    }

    /// What finds it: `SLURM_CONF`.
    pub(crate) fn configuration(&self) -> &str {
        &self.configuration
    }

    /// What one of Slurm's commands prints.
    #[track_caller]
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let output = Command::new(command[0])
            .args(&command[1..])
            .env("SLURM_CONF", &self.configuration)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}{complaint}", command.join(" "));
        said
    }

    /// Stops or starts slurmctld alone.
    pub(crate) fn control_daemon(&self, what: &str) {
        let status = script(&["ctl"]).arg(&self.folder).arg(what).status().unwrap();
        assert!(status.success(), "{what}");
    }

    /// All tasks of an array of which Slurm still knows something, those that have ended too.
    pub(crate) fn tasks(&self, job: &str) -> Vec<Task> {
        let shown = self.ask(&["scontrol", "-o", "show", "job", job]);
        shown.lines().filter(|line| line.starts_with("JobId=")).map(Task::parse).collect()
    }

    pub(crate) fn running(&self, job: &str) -> Vec<Task> {
        self.tasks(job).into_iter().filter(|task| task.state == "RUNNING").collect()
    }

    /// Slurm's own process for a task that runs. Other clusters of this host have jobs of the same number: this one's processes
    /// write to its logs.
    #[track_caller]
    pub(crate) fn stepd(&self, task: &Task) -> i32 {
        let title = format!("slurmstepd: [{}.batch]", task.id);
        let logs = self.folder.join("slurm-log");
        let is_it = |process: &Path| {
            let Ok(line) = fs::read_to_string(process.join("cmdline")) else { return false };
            let mut files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            line.starts_with(&title)
                && files.any(|file| fs::read_link(file.path()).is_ok_and(|file| file.starts_with(&logs)))
        };
        let mut processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let found = processes.find(|process| is_it(process)).unwrap_or_else(|| panic!("no {title}"));
        found.file_name().and_then(|pid| pid.to_str()?.parse().ok()).unwrap()
    }

    /// Waits until nothing of a job is left in the queue.
    #[track_caller]
    pub(crate) fn wait_for_end(&self, job: &str) {
        wait_until("the job to leave Slurm's queue", || self.queue(job).is_empty());
    }

    /// What it knows of its jobs and nodes, and the ends of its daemons' logs: for a test that failed.
    fn account(&self) -> String {
        let mut account = String::new();
        let commands: [&[&str]; 4] = [
            &["squeue", "--array"],
            &["scontrol", "show", "job"],
            &["sinfo", "--Node", "--long"],
            &["ps", "-e", "--forest", "-o", "pid,ppid,stat,etime,args"],
        ];
        for command in commands {
            let said = Command::new("timeout")
                .arg("20")
                .args(command)
                .env("SLURM_CONF", &self.configuration)
                .output();
            let said = said.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
            account += &format!("{}:\n{}\n", command.join(" "), String::from_utf8_lossy(&said));
        }
        for entry in fs::read_dir(self.folder.join("slurm-log")).into_iter().flatten().flatten() {
            let log = fs::read(entry.path()).unwrap_or_default();
            let lines = String::from_utf8_lossy(&log).lines().map(str::to_owned).collect::<Vec<_>>();
            let end = &lines[lines.len().saturating_sub(60)..];
            account += &format!("{}:\n{}\n", entry.path().display(), end.join("\n"));
        }
        account
    }

    /// The states of a job's tasks that have not ended.
    pub(crate) fn queue(&self, job: &str) -> Vec<String> {
        let queue = self.ask(&["squeue", "--noheader", "--array", "--format=%F %T"]);
        let mine = queue.lines().filter_map(|line| line.trim().split_once(' ')).filter(|(id, _)| *id == job);
        mine.map(|(_, state)| state.to_owned()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.folder.display(), self.account());
        }
        let _what_is_left_ends_with_the_script = script(&["down"]).arg(&self.folder).status();
    }
}

/// What a process was called with.
pub(crate) fn line_of(pid: i32) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.replace('\0', " ").trim().to_owned()
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slurm/cluster"));
    command.args(arguments);
    command
}

/// A job, or a task of an array, as Slurm names it, and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) id: u32,
    /// `4711_3`, or `4711`.
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) exit_code: String,
    pub(crate) node: String,
}

impl Task {
    /// A line of `scontrol -o show job`.
    fn parse(line: &str) -> Task {
        let field = |name: &str| {
            let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
            fields.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (id, array, place) = (field("JobId"), field("ArrayJobId"), field("ArrayTaskId"));
        Task {
            name: if array.is_empty() { id.clone() } else { format!("{array}_{place}") },
            id: id.parse().unwrap(),
            state: field("JobState"),
            exit_code: field("ExitCode"),
            node: field("NodeList"),
        }
    }
}

/// A coordinator of the project; the address is announced when this comes back.
pub(crate) fn serve(project: &Project, lease: &str) -> Running {
    let mut command = project.command(&["serve", "--lease", lease]);
    command.env("SWEEP_LOG", "warn");
    let serve = project.start_command(command, "serve");
    wait_until("the coordinator", || project.path(".sweep/coordinator.json").exists());
    serve
}

/// Submits workers for a sweep or a spec; the job's id.
#[track_caller]
pub(crate) fn submit(project: &Project, arguments: &[&str]) -> String {
    let submitted = project.sweep(&[&["slurm", "--submit"], arguments].concat()).exits_with(0);
    let job = submitted.stdout().trim().to_owned();
    assert!(job.parse::<u32>().is_ok(), "{job}: {}", submitted.stderr());
    job
}

/// Waits until a sweep has ended, and gives its results without what measures the machine.
#[track_caller]
pub(crate) fn results_of(project: &Project, sweep: &str) -> Vec<Value> {
    let id = sweep.parse::<u64>().unwrap();
    project.wait_for_status("the sweep's end", |status| {
        let sweeps = status["sweeps"].as_array().unwrap();
        let found = sweeps.iter().find(|found| found["id"] == id);
        found.is_some_and(|found| found["trials"]["queued"] == 0 && found["trials"]["running"] == 0)
    });
    crate::harness::stable(&project.results(sweep))
}

/// What the same spec comes to with `sweep run`, on this host and undisturbed.
pub(crate) fn results_alone(project: &Project, spec: &str, text: &str) -> Vec<Value> {
    let alone = project.beside();
    alone.write(spec, text);
    alone.sweep(&["run", spec, "--quiet"]).exits_with(0);
    crate::harness::stable(&alone.results("1"))
}

/// The logs of an array's workers.
pub(crate) fn logs(project: &Project) -> String {
    let folder: PathBuf = project.path(".sweep/logs");
    let mut text = String::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("slurm-") {
            text += &fs::read_to_string(entry.path()).unwrap_or_default();
        }
    }
    text
}
