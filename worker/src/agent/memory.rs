//! How much memory process groups use, from `/proc`.
//!
//! What is counted is what lies in RAM for each process of the group, so a page that two of them share counts twice. A
//! process that leaves its group is not seen.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Pid;
use tokio::time::Instant;

/// One look at all processes serves every trial for this long.
const FRESH: Duration = Duration::from_millis(500);

/// Memory by process group, as of a moment ago.
#[derive(Debug, Default)]
pub(crate) struct MemoryTable {
    read_at: Option<Instant>,
    bytes: BTreeMap<i32, u64>,
}

impl MemoryTable {
    /// What a group uses; 0 for one that is gone.
    pub(crate) fn of_group(&mut self, group: Pid, now: Instant) -> u64 {
        if self.read_at.is_none_or(|read_at| now.duration_since(read_at) >= FRESH) {
            self.bytes = read_all();
            self.read_at = Some(now);
        }
        self.bytes.get(&group.as_raw_nonzero().get()).copied().unwrap_or(0)
    }
}

/// A process that ends meanwhile is left out.
fn read_all() -> BTreeMap<i32, u64> {
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut bytes = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if !is_process {
            continue;
        }
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else { continue };
        if let Some((group, pages)) = parse(&String::from_utf8_lossy(&stat)) {
            *bytes.entry(group).or_default() += pages * page_bytes;
        }
    }
    bytes
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
    use super::*;

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
    fn a_group_uses_what_its_processes_hold() {
        let group = rustix::process::getpgrp();
        let mut table = MemoryTable::default();
        let now = Instant::now();
        let before = table.of_group(group, now);
        let block = vec![1_u8; 64 << 20];
        assert_eq!(table.of_group(group, now), before, "one look serves for a while");
        let after = table.of_group(group, now + FRESH);
        assert!(after >= u64::try_from(block.len()).unwrap(), "{before} and then {after}");
        assert!(before > 0);
    }
}
