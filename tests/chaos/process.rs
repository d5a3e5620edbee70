//! Processes that a test owns: none outlives it, whatever ends it.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};

/// A process of the test's. It is killed when this is dropped, and by the kernel when the test dies.
#[derive(Debug)]
pub(crate) struct Owned {
    child: Child,
}

impl Owned {
    /// Starts a program that writes to the end of a log.
    pub(crate) fn start(command: &Command, log: &Path) -> Owned {
        let mut owned = Command::new("setpriv");
        owned.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            owned.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => owned.env(name, value),
                None => owned.env_remove(name),
            };
        }
        let log = append(log);
        owned.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        Owned { child: owned.spawn().unwrap() }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It fails where the process has ended by itself a moment ago.
        let _ = rustix::process::kill_process(self.pid(), signal);
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Processes that it has started and that run, by id.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let pid = self.pid().as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn append(log: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(log).unwrap()
}

/// Marks all processes of one run, in their environment, which children inherit.
#[derive(Debug, Clone)]
pub(crate) struct Mark(String);

impl Mark {
    const NAME: &str = "SWEEP_CHAOS_RUN";

    pub(crate) fn new(folder: &Path) -> Mark {
        Mark(folder.to_string_lossy().into_owned())
    }

    pub(crate) fn put_on(&self, command: &mut Command) {
        command.env(Mark::NAME, &self.0);
    }

    /// Processes that bear it and run, with what they are.
    pub(crate) fn find(&self) -> Vec<(Pid, String)> {
        let wanted = format!("{}={}", Mark::NAME, self.0);
        let bears_it = |folder: &PathBuf| {
            let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let processes = processes.filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            Some((pid, entry.path()))
        });
        let found = processes.filter(|(_, folder)| bears_it(folder));
        found.map(|(pid, folder)| (pid, command_line(&folder))).collect()
    }

    /// Kills whatever still bears it.
    pub(crate) fn kill_all(&self) {
        for (pid, _) in self.find() {
            let _already_ended = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

fn command_line(folder: &Path) -> String {
    let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
