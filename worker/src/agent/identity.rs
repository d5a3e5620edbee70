//! Who this agent is among all processes of all hosts.

use sweep::protocol::http::{PROTOCOL, RegisterRequest};
use sweep::protocol::slurm::SlurmTask;

/// What the agent says of itself when it registers.
pub(crate) fn introduce(slots: u32, slurm: Option<SlurmTask>) -> RegisterRequest {
    RegisterRequest {
        host: own_host(),
        boot_id: boot_id(),
        pid: std::process::id(),
        started_ticks: own_started_ticks(),
        slots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        slurm,
    }
}

/// A process of some host, in words that can stand in a file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Stands for the boot of a machine in which the id means something.
    pub(crate) boot: String,
    pub(crate) pid: u32,
    pub(crate) started_ticks: u64,
}

impl Process {
    pub(crate) fn this() -> Process {
        let boot = blake3::hash(boot_id().as_bytes()).to_hex()[..16].to_owned();
        Process { boot, pid: std::process::id(), started_ticks: own_started_ticks() }
    }

    /// Whether it still runs, of a process of the same boot. Ids are used again: only with the same start is it the same.
    pub(crate) fn is_there(&self) -> bool {
        match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            Ok(stat) => started_ticks(&stat).is_none_or(|ticks| ticks == self.started_ticks),
        }
    }
}

fn own_started_ticks() -> u64 {
    started_ticks(&read("/proc/self/stat")).unwrap_or(0)
}

/// This host, as the system calls it.
pub(crate) fn own_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This boot of this machine, and the namespace in which the process id means something.
fn boot_id() -> String {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", read("/proc/sys/kernel/random/boot_id").trim(), namespace.display())
}

/// A host without `/proc` has no better name for its processes than host and pid.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Field 22 of `/proc/PID/stat`. Fields are counted from the last parenthesis: the program's name stands before it
/// and may hold spaces and parentheses of its own.
fn started_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_name_with_spaces() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 123456 1000 50 18446744073709551615";
        assert_eq!(started_ticks(stat), Some(123_456));
        assert_eq!(started_ticks(""), None);
        assert_eq!(started_ticks("7 (a) S 1"), None);
    }
}
