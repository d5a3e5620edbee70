//! Whether a worker's process on this machine still exists.

use crate::store::LiveWorker;

/// True when the worker belongs to this boot of this machine and its process has ended. Of another machine nothing is
/// known: its worker's leases run out by themselves.
pub(super) fn is_gone(worker: &LiveWorker) -> bool {
    if boot_id().is_none_or(|boot_id| boot_id != worker.boot_id) {
        return false;
    }
    match std::fs::read_to_string(format!("/proc/{}/stat", worker.pid)) {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        // Process ids are used again: only with the same start is it the same process. A zombie has ended.
        Ok(stat) => match parse_stat(&stat) {
            Some((state, started_ticks)) => state == "Z" || started_ticks != worker.started_ticks,
            None => false,
        },
    }
}

/// Names this boot of this machine and the namespace in which process ids mean something: containers share the one and
/// not the other. `sweep-worker` says the same of itself.
pub(super) fn boot_id() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// State and start of a process, from fields 3 and 22 of `/proc/PID/stat` (proc(5)).
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    // The name, field 2, is in parentheses and may itself contain spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    let started_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, started_ticks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::WorkerId;

    fn this_process() -> LiveWorker {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        LiveWorker {
            id: WorkerId(1),
            boot_id: boot_id().unwrap(),
            pid: std::process::id(),
            started_ticks: parse_stat(&stat).unwrap().1,
        }
    }

    #[test]
    fn a_running_process_is_there() {
        assert!(!is_gone(&this_process()));
    }

    #[test]
    fn another_process_with_the_same_id_is_not_the_worker() {
        assert!(is_gone(&LiveWorker { started_ticks: 1, ..this_process() }));
    }

    #[test]
    fn nothing_is_known_of_another_machine() {
        let elsewhere = LiveWorker { boot_id: "elsewhere".to_owned(), started_ticks: 1, ..this_process() };
        assert!(!is_gone(&elsewhere));
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) b) (c) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_stat(stat), Some(("S", 4711)));
    }
}
