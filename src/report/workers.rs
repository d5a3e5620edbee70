//! The table of workers.

use comfy_table::{Cell, CellAlignment};

use super::table::{lines_of, new_table};
use crate::protocol::http::{NodeLoad, WorkerStatus};

/// One row a worker; below it, why those that get no jobs get none.
#[must_use]
pub fn workers_table(workers: &[WorkerStatus]) -> String {
    let mut table = new_table();
    table.set_header([
        "worker",
        "host",
        "slots",
        "running",
        "last seen",
        "load",
        "memory",
        "gpus",
        "gpu memory",
        "health",
    ]);
    for worker in workers {
        let node = worker.node.clone().unwrap_or_default();
        let numbers = [
            worker.slots.to_string(),
            worker.running.to_string(),
            format!("{:.0} s ago", worker.last_seen_seconds),
            node.load.map_or_else(unknown, |load| format!("{load:.1}")),
            memory(node.memory_used_bytes, node.memory_total_bytes),
            utilisation(&node),
            gpu_memory(&node),
        ];
        let mut row = vec![Cell::new(worker.id), Cell::new(&worker.host)];
        row.extend(numbers.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
        row.push(Cell::new(if worker.problem.is_some() { "takes no jobs" } else { "ok" }));
        table.add_row(row);
    }
    let problems =
        workers.iter().filter_map(|worker| worker.problem.as_ref().map(|problem| (worker, problem)));
    let lines = problems.map(|(worker, problem)| {
        format!("worker {} on {} takes no jobs: {problem}\n", worker.id, worker.host)
    });
    lines_of(&table) + &lines.collect::<String>()
}

fn unknown() -> String {
    "–".to_owned()
}

/// `12/64 GiB`
fn memory(used: Option<u64>, total: Option<u64>) -> String {
    used.zip(total)
        .map_or_else(unknown, |(used, total)| format!("{}/{} GiB", gibibytes(used), gibibytes(total)))
}

/// `2 × 87 %`: how many GPUs, and how busy they are on average.
fn utilisation(node: &NodeLoad) -> String {
    let shares: Vec<u32> = node.gpus.iter().filter_map(|gpu| gpu.utilisation_percent).collect();
    match (node.gpus.len(), u32::try_from(shares.len()).unwrap_or(0)) {
        (0, _) => unknown(),
        (gpus, 0) => gpus.to_string(),
        (gpus, known) => format!("{gpus} × {} %", shares.iter().sum::<u32>() / known),
    }
}

fn gpu_memory(node: &NodeLoad) -> String {
    if node.gpus.is_empty() {
        return unknown();
    }
    let used = node.gpus.iter().map(|gpu| gpu.memory_used_bytes).sum();
    memory(Some(used), Some(node.gpus.iter().map(|gpu| gpu.memory_total_bytes).sum()))
}

/// Rounded to the nearest.
fn gibibytes(bytes: u64) -> u64 {
    bytes.saturating_add(1 << 29) >> 30
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::GpuLoad;
    use crate::vocabulary::WorkerId;

    #[test]
    fn workers_show_what_is_known_of_their_nodes() {
        let gpu = |percent| GpuLoad {
            name: "GPU-1".to_owned(),
            utilisation_percent: percent,
            memory_used_bytes: 5 << 30,
            memory_total_bytes: 80 << 30,
        };
        let node = NodeLoad {
            load: Some(3.25),
            memory_used_bytes: Some(12 << 30),
            memory_total_bytes: Some(64 << 30),
            gpus: vec![gpu(Some(90)), gpu(Some(85))],
        };
        let busy = WorkerStatus {
            id: WorkerId(1),
            host: "node1".to_owned(),
            pid: 4711,
            slots: 2,
            running: 2,
            last_seen_seconds: 3.2,
            node: Some(node),
            problem: None,
            slurm: None,
        };
        let sick = WorkerStatus {
            id: WorkerId(2),
            host: "node2".to_owned(),
            running: 0,
            node: None,
            problem: Some("the disk of `/x` is full (3 MiB are free); make room".to_owned()),
            ..busy.clone()
        };
        let shares = WorkerStatus {
            id: WorkerId(3),
            node: Some(NodeLoad { gpus: vec![gpu(None)], ..NodeLoad::default() }),
            ..busy.clone()
        };
        insta::assert_snapshot!(workers_table(&[busy, sick, shares]));
    }
}
