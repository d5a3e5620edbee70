//! Whole lives of a coordinator and its agents under one seed: messages that are lost, doubled, late and overtaken; nodes
//! that die, freeze and are cut off; a coordinator that crashes about any write; clocks that are set; files that vanish;
//! a table that is put back to a copy of it; users who change their minds. Real are the coordinator, the table in SQLite and
//! every agent's mind; processes, the network and time are simulated, and nothing else decides what happens than the seed. One
//! of the nodes shares no files with the coordinator: what its trials leave is sent, late or never.
//!
//! In the end every trial has one result, which is that of a life without faults, bit for bit. `make sim SEEDS=10000`.

mod chance;
mod node;
mod table;
mod training;
mod world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use table::{Scrutiny, Template};
use world::{Results, Weather, World};

/// A sweep of the trainer that shares its first epochs, one of a program in stages, and one of a program that doesn't.
const SPECS: &[&str] = &[
    "name: trained\nmetric: {name: top1}\nseeds: 2\nretries: 2\nparameters: {dataset: d, method: ce, epochs: 4, lr_steps: [[1], [2], [3]]}\n",
    "name: staged\ncommand: [train, \"{{a}}\", \"{{b}}\"]\nmetric: {name: top1, goal: maximize}\nretries: 2\n\
     stages: [{until: 2, parameters: [a]}, {until: 4}]\nparameters: {a: [1, 2], b: [1, 2, 3]}\n",
    "name: flat\ncommand: [train, \"{{x}}\"]\nmetric: {name: top1, goal: maximize}\nretries: 1\nparameters: {x: [1, 2, 3, 4]}\n",
];

/// Seeds that have found something once: who held a lease when a copy was made went on under it after that had become the table,
/// and what had been reported in between was missing.
const FOUND: &[u64] = &[1_000_015];

/// In `make test`; `make sim` says how many.
const SEEDS: u64 = 200;
const SEEDS_ON_DISK: u64 = 20;

#[test]
fn every_life_ends_with_the_results_of_one_without_faults() {
    let (first, seeds) = (number("SWEEP_SIM_SEED"), number("SWEEP_SIM_SEEDS"));
    let seeds = match (first, seeds) {
        (Some(first), None | Some(1)) => vec![first],
        (first, seeds) => {
            let first = first.unwrap_or(0);
            FOUND.iter().copied().chain(first..first + seeds.unwrap_or(SEEDS)).collect::<Vec<_>>()
        }
    };
    live(&seeds, &memory(), 2, Scrutiny::NowAndThen);
}

#[test]
fn so_does_every_life_on_a_disk_looked_at_after_every_call() {
    let seeds = number("SWEEP_SIM_SEEDS_ON_DISK").unwrap_or(SEEDS_ON_DISK);
    let seeds: Vec<u64> = (1_000_000..1_000_000 + seeds).collect();
    live(&seeds, &disk(), 8, Scrutiny::EveryCall);
}

#[expect(clippy::disallowed_methods, reason = "how `make sim` says how much to simulate")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Where files are not written to a disk, if there is such a place.
fn memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

/// Beside what was built.
fn disk() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().map_or_else(std::env::temp_dir, Into::into)
}

fn live(seeds: &[u64], place: &Path, lives_on_a_core: usize, scrutiny: Scrutiny) {
    // Nobody waits for a socket here, and a thread that does not either is woken with less ado.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let Some(&first) = seeds.first() else { return };
    let template = runtime().block_on(Template::new(SPECS));
    let one = |seed: u64, weather| -> (Results, Vec<String>) {
        let folder = tempfile::tempdir_in(place).unwrap();
        runtime().block_on(async { World::new(&template, folder, seed, weather, scrutiny).await.run().await })
    };
    let (expected, _) = one(0, Weather::Fair);
    assert_eq!(expected.len(), 16);
    assert_eq!(one(first, Weather::Foul), one(first, Weather::Foul), "the seed does not decide everything");
    let next = AtomicU64::new(0);
    let cores = cores();
    std::thread::scope(|scope| {
        for core in cores.iter().cycle().take(cores.len() * lives_on_a_core) {
            let (one, next, expected) = (&one, &next, &expected);
            scope.spawn(move || {
                stay_on(*core);
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let (results, trace) = one(seed, Weather::Foul);
                    assert_eq!(&results, expected, "seed {seed}:\n{}", trace.join("\n"));
                    if seeds.len() == 1 {
                        println!("{}", trace.join("\n"));
                    }
                }
            });
        }
    });
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

/// Keeps this thread on a core, and with it those that it starts: a table's threads take turns, one waits for the other at
/// every statement, and to wake another core each time takes longer than the statement.
fn stay_on(core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).unwrap();
}
