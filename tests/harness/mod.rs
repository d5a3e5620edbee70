//! Starts the real programs in a folder of their own, owns what it started, and shows its output when a test fails.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it saw"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes on a busy machine; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command that trains takes minutes on a busy machine.
const LONGEST_COMMAND: Duration = Duration::from_secs(600);

/// Three trials that note that they ran.
pub(crate) const QUICK: &str = r#"
name: quick
command: [sh, -c, 'echo {{x}} >> order']
parameters:
  x: [1, 2, 3]
"#;

/// Trials that note their start and wait for a file.
pub(crate) const GATED: &str = r#"
name: gated
command: [sh, -c, 'echo {{x}} >> started; while ! test -e gate; do sleep 0.02; done; echo "{\"loss\": {{x}}}" >> "$SWEEP_REPORT"']
metric: {name: loss, goal: minimize}
parameters:
  x: [1, 2]
"#;

/// A project folder with datasets of its own.
pub(crate) struct Project {
    pub(crate) folder: tempfile::TempDir,
    datasets: PathBuf,
    /// Address and token of a coordinator elsewhere.
    coordinator: Option<(String, String)>,
    /// Variables of its commands.
    variables: Vec<(String, String)>,
}

impl Project {
    pub(crate) fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        let datasets = folder.path().join("data");
        Project { folder, datasets, coordinator: None, variables: vec![] }
    }

    /// Another folder, as on another host, whose commands go to this project's coordinator.
    pub(crate) fn elsewhere(&self, url: &str) -> Project {
        let token = self.read(".sweep/token");
        Project { coordinator: Some((url.to_owned(), token)), ..Project::new() }
    }

    /// A folder whose commands go to a coordinator that isn't there.
    pub(crate) fn without_coordinator(url: &str) -> Project {
        Project { coordinator: Some((url.to_owned(), "unknown".to_owned())), ..Project::new() }
    }

    /// The same with this project's datasets.
    pub(crate) fn node(&self, url: &str) -> Project {
        Project { datasets: self.datasets.clone(), ..self.elsewhere(url) }
    }

    /// Another project that sees the same datasets.
    pub(crate) fn beside(&self) -> Project {
        Project { datasets: self.datasets.clone(), ..Project::new() }
    }

    /// Where imported datasets lie.
    pub(crate) fn datasets(&self) -> PathBuf {
        self.datasets.join("sweep/datasets")
    }

    /// Imports the small dataset that lies in the repository.
    pub(crate) fn import_sample(&self) {
        let asset =
            |name: &str| format!("{}/worker/assets/cifar10-sample-{name}.tar.xz", env!("CARGO_MANIFEST_DIR"));
        let (train, test, shifted) = (asset("train"), asset("test"), format!("shifted={}", asset("shifted")));
        let import =
            ["data", "import", "cifar10-sample", "--train", &train, "--test", &test, "--eval", &shifted];
        self.sweep(&import).exits_with(0);
    }

    /// The same, with a variable in the environment of its commands.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Project {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder, which then stays when the test has ended.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn has_state(&self) -> bool {
        self.path(".sweep").exists()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("XDG_DATA_HOME", &self.datasets)
            .env_remove("SWEEP_COORDINATOR")
            .env_remove("SWEEP_TOKEN")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        if let Some((url, token)) = &self.coordinator {
            command.env("SWEEP_COORDINATOR", url).env("SWEEP_TOKEN", token);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same with what becomes of SIGHUP (`--default-signal=HUP`, `--ignore-signal=HUP`), whatever the tests themselves were
    /// started under.
    pub(crate) fn command_with(&self, hangup: &str, arguments: &[&str]) -> Command {
        let inner = self.command(arguments);
        let mut command = Command::new("env");
        command.arg(hangup).arg(inner.get_program()).args(inner.get_args()).current_dir(self.folder.path());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs to its end, which must come in time; whatever it says is kept.
    pub(crate) fn sweep(&self, arguments: &[&str]) -> Finished {
        let command = self.command(arguments);
        let mut in_time = Command::new("timeout");
        in_time.args(["--kill-after=5", &LONGEST_COMMAND.as_secs().to_string()]);
        in_time.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        in_time.current_dir(self.folder.path());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => in_time.env(name, value),
                None => in_time.env_remove(name),
            };
        }
        Finished { arguments: arguments.join(" "), output: in_time.output().unwrap() }
    }

    /// Starts in the background, in a process group of its own like a shell's job.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_command(self.command(arguments), &arguments.join("-").replace('/', "_"))
    }

    /// The same for a command that was changed; its log has this name.
    pub(crate) fn start_command(&self, mut command: Command, name: &str) -> Running {
        use std::os::unix::process::CommandExt;
        let log = self.path(&format!("{name}.log"));
        let file = fs::File::create(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).process_group(0).spawn().unwrap();
        Running { child, log }
    }

    pub(crate) fn status(&self) -> Value {
        self.sweep(&["status", "--json"]).json()
    }

    pub(crate) fn results(&self, sweep: &str) -> Value {
        self.sweep(&["results", sweep, "--json"]).json()
    }

    /// Waits until the status shows what is wanted.
    pub(crate) fn wait_for_status(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        wait_until(what, || self.has_state() && holds(&self.status()));
    }

    /// Processes of the worker or of trials that belong to this project, by name.
    pub(crate) fn processes(&self, name: &str) -> Vec<i32> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let Ok(line) = fs::read_to_string(entry.path().join("cmdline")) else { continue };
            let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            let program = line.split('\0').next().unwrap_or_default();
            let is_named = Path::new(program).file_name().is_some_and(|file| file == name);
            if is_named && (line.contains(&folder) || cwd.starts_with(&folder)) {
                found.push(pid);
            }
        }
        found
    }
}

/// A command that has ended.
pub(crate) struct Finished {
    arguments: String,
    pub(crate) output: Output,
}

impl Finished {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    pub(crate) fn exits_with(self, code: i32) -> Finished {
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "sweep {}\nstdout:\n{}\nstderr:\n{}",
            self.arguments,
            self.stdout(),
            self.stderr()
        );
        self
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let finished = self.exits_with(0);
        serde_json::from_slice(&finished.output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", finished.stdout()))
    }
}

/// A command in the background; killed with the test.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end; its exit code, or nothing if a signal ended it.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        let child = &mut self.child;
        wait_until("the command to end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Running {
    /// What Slurm's workers wrote in this one's project.
    fn logs_of_workers(&self) -> Vec<PathBuf> {
        let Some(project) = self.log.parent() else { return vec![] };
        let entries = fs::read_dir(project.join(".sweep/logs")).into_iter().flatten().flatten();
        let of_slurm = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("slurm-"));
        of_slurm.map(|entry| entry.path()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
            for log in self.logs_of_workers() {
                eprintln!("--- {}\n{}", log.display(), fs::read_to_string(&log).unwrap_or_default());
            }
        }
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A service, and the address that it prints.
pub(crate) fn serve(project: &Project, arguments: &[&str]) -> (Running, String) {
    let service = project.start(&[&["serve"], arguments].concat());
    wait_until("the service's address", || service.log().contains("coordinating"));
    let url = service.log().lines().next().expect("the line that was waited for").to_owned();
    (service, url)
}

/// Sends a signal by its name.
pub(crate) fn signal(name: &str, pid: i32) {
    let status =
        Command::new("kill").args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status();
    assert!(status.is_ok());
}

/// Waits until something holds; fails when it doesn't in time.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "waited in vain for {what}");
        #[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Results without what measures the machine: equal means equal bits.
pub(crate) fn stable(results: &Value) -> Vec<Value> {
    let mut results = results["results"].as_array().unwrap().clone();
    for result in &mut results {
        let metrics = result["metrics"].as_object_mut().unwrap();
        metrics.retain(|name, _| !sweep::vocabulary::is_volatile(name));
    }
    results
}
