//! The real program, in a folder of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longer than a start or an end takes; reached only where something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A coordinator; killed with the benchmark.
pub(crate) struct Service {
    child: Child,
    url: String,
    token: String,
    _folder: TempDir,
}

impl Service {
    pub(crate) async fn start(lease_seconds: u64) -> Service {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sweep"))
            .args(["serve", "--lease", &lease_seconds.to_string()])
            .current_dir(folder.path())
            .env("XDG_DATA_HOME", folder.path())
            .env_remove("SWEEP_COORDINATOR")
            .env_remove("SWEEP_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("it does not start");
        let url = line.unwrap().expect("it prints its address");
        let token = std::fs::read_to_string(folder.path().join(".sweep/token")).unwrap().trim().to_owned();
        Service { child, url, token, _folder: folder }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Ends it, and says what it used.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().unwrap();
        let process = Path::new("/proc").join(pid.to_string());
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned();
        println!("the coordinator: {} of CPU time, {peak} of memory at its peak", cpu_time(&process));
        Command::new("kill").args(["-TERM", &pid.to_string()]).status().await.unwrap();
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it does not end");
        assert!(ended.unwrap().success());
    }
}

/// Of all its threads, in user code and in the kernel; a clock tick is a hundredth of a second on every Linux.
fn cpu_time(process: &Path) -> String {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    format!("{:.1} s", ticks as f64 / 100.0)
}
