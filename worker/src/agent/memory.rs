//! How much memory process groups use, from `/proc`.
//!
//! What is counted is what lies in RAM for the group. Each process's own figure counts a page that several share once for
//! each of them, which is quick to read and never too little. Only where that is more than a group may use is it looked at
//! closely, which takes the kernel longer: there a page counts once, shared out among those that use it. So a program whose
//! children share what it has loaded is charged for it once. A process that leaves its group is not seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use tokio::time::Instant;

/// One look at all processes serves every trial for this long.
const FRESH: Duration = Duration::from_millis(500);

/// Memory by process group, as of a moment ago.
#[derive(Debug, Default)]
pub(crate) struct MemoryTable {
    read_at: Option<Instant>,
    groups: BTreeMap<i32, Vec<Process>>,
}

/// A process, and what lies in RAM for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    id: i32,
    resident_bytes: u64,
}

impl MemoryTable {
    /// What a group uses; exact where it may be more than `limit_bytes`. 0 for one that is gone.
    pub(crate) fn of_group(&mut self, group: Pid, limit_bytes: u64, now: Instant) -> u64 {
        if self.read_at.is_none_or(|read_at| now.duration_since(read_at) >= FRESH) {
            self.groups = read_all();
            self.read_at = Some(now);
        }
        let processes = self.groups.get(&group.as_raw_nonzero().get()).map_or(&[][..], Vec::as_slice);
        let at_most = processes.iter().map(|process| process.resident_bytes).sum();
        if at_most > limit_bytes { processes.iter().map(own_share).sum() } else { at_most }
    }
}

/// A process that ends meanwhile is left out.
fn read_all() -> BTreeMap<i32, Vec<Process>> {
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut groups: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else { continue };
        if let Some((group, pages)) = parse(&String::from_utf8_lossy(&stat)) {
            groups.entry(group).or_default().push(Process { id, resident_bytes: pages * page_bytes });
        }
    }
    groups
}

/// What a process uses where each page is shared out among those that use it. Where the kernel doesn't say (an old one, or a
/// program that may not be looked at), what lies in RAM for it.
fn own_share(process: &Process) -> u64 {
    let folder = Path::new("/proc").join(process.id.to_string());
    match std::fs::read_to_string(folder.join("smaps_rollup")) {
        Ok(text) => parse_share(&text).unwrap_or(process.resident_bytes),
        // It has ended, and nobody has waited for it yet.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => 0,
        Err(_) if folder.exists() => process.resident_bytes,
        Err(_) => 0,
    }
}

/// The line `Pss:` of `/proc/PID/smaps_rollup`.
fn parse_share(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Fields 5 and 24 of `/proc/PID/stat`: the group, and the pages that lie in RAM. Counted from the last parenthesis, since
/// the name before it may hold anything.
fn parse(stat: &str) -> Option<(i32, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let group = fields.nth(2)?.parse().ok()?;
    let pages = fields.nth(18)?.parse().ok()?;
    Some((group, pages))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::{Signal, kill_process_group};

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn group_and_pages_are_found_behind_a_name_with_spaces() {
        let stat =
            "7 (a) b) S 1 42 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 123456 1000 50 18446744073709551615";
        assert_eq!(parse(stat), Some((42, 50)));
        for wrong in
            ["", "7 (a) S 1", "7 (a) S 1 x 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 123456 1000 50 1"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_share_is_that_of_all_kinds_of_pages() {
        let text = "5581 7fff ---p 00000000 00:00 0   [rollup]\nRss:     9000 kB\nPss:     1234 kB\nPss_Anon:  200 kB\n";
        assert_eq!(parse_share(text), Some(1234 << 10));
        assert_eq!(parse_share("Rss: 1 kB\nPss_Anon: 1 kB\n"), None);
    }

    #[test]
    fn what_a_program_shares_with_its_children_counts_once() {
        // It holds 64 MiB, of which its three children have no copy of their own. They are there when it says so.
        let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' a); for i in 1 2 3; do (while :; do sleep 600; done) & done; \
                      echo ready; while :; do sleep 600; done";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let group = Pid::from_raw(shell.id().cast_signed()).unwrap();
        let mut table = MemoryTable::default();
        let now = Instant::now();
        let resident = table.of_group(group, u64::MAX, now);
        let shared_out = table.of_group(group, resident - 1, now);
        kill_process_group(group, Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert_eq!(said, "ready\n");
        assert!(resident >= 4 * 64 * MIB, "each of four processes has 64 MiB in RAM: {resident}");
        assert!((64 * MIB..resident / 2).contains(&shared_out), "{shared_out} of {resident}");
    }
}
