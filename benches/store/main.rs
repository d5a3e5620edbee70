//! The job table under load, beside what the same machine does without it, in the same run. `make bench-store`.
//!
//! Figures are ratios or rates of this run; the targets stand beside them. `SCALE=100000` makes a short run of it.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod clients;
mod grid;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clients::{Clients, Load};
use grid::{Grid, Order};
use sweep::coordinator::{Clock, Coordinator, Settings};
use sweep::store::Store;

const OPTUNA_TRIALS: u32 = 500;

#[tokio::main]
async fn main() {
    let scale: u32 = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    println!("{scale} trials, {} CPUs, tables in {}", cpus(), folder.path().display());
    println!("{:<66} {:>22}  target", "what", "measured");

    let listed = fill(folder.path(), "listed", scale, Order::Listed).await;
    compare_with_bare_insert(folder.path(), &listed);
    status(&listed).await;
    let filled_mib = peak_mib();
    let pairs = (scale / 8).min(100_000);
    let single = rate("one job a call, in table order", &listed, pairs, Load::single(), 10_000.0).await;
    rate("64 jobs a call, in table order", &listed, 2 * pairs, Load::batches(), 50_000.0).await;
    latency("table order", &listed, single / 2.0).await;
    let worked_mib = peak_mib();
    row("peak memory: storing; then leasing", &format!("{filled_mib} MiB; {worked_mib} MiB"), "150 MB");
    cost_by_size(folder.path(), &listed).await;
    listed.store.close().await;

    let shuffled = fill(folder.path(), "shuffled", scale, Order::Shuffled).await;
    let single = rate("one job a call, shuffled", &shuffled, pairs, Load::single().shuffled(), 5_000.0).await;
    rate("64 jobs a call, shuffled", &shuffled, 2 * pairs, Load::batches().shuffled(), 10_000.0).await;
    latency("shuffled", &shuffled, single / 2.0).await;
    shuffled.store.close().await;

    compare_with_optuna(folder.path()).await;
}

/// A table with a sweep in it, and how long that took.
struct Table {
    store: Store,
    clients: Clients,
    took: Duration,
}

async fn fill(folder: &Path, name: &str, trials: u32, order: Order) -> Table {
    let path = folder.join(format!("{name}.db"));
    let store = Store::open(&path).await.unwrap();
    let begun = Instant::now();
    let sweep = Grid::new(name, trials).into_sweep(order);
    let expanded = begun.elapsed();
    let submitted = store.submit(sweep, clients::now()).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(submitted.jobs_new, u64::from(trials));
    row(
        &format!("expand and store, {name}"),
        &format!("{:.2} s ({:.2} s + {:.2} s)", seconds(took), seconds(expanded), seconds(took - expanded)),
        "a few s",
    );
    Table { clients: Clients::register(&store, 64).await, store, took }
}

/// The same rows into a table of the same shape, by Python's sqlite3: prepared statements, one transaction.
fn compare_with_bare_insert(folder: &Path, table: &Table) {
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/store/bare.py"))
        .args([folder.join("listed.db"), folder.join("bare.db")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bare: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    row(
        "  beside a bare insert of the same rows (Python's sqlite3)",
        &format!("{:.2} of {bare:.2} s", seconds(table.took) / bare),
        "<= 2",
    );
}

async fn status(table: &Table) {
    let settings = Settings {
        lease: Duration::from_secs(60),
        datasets: "/nowhere".into(),
        artifacts: "/nowhere".into(),
        state: "/nowhere".into(),
        logs: "/nowhere".into(),
    };
    let coordinator = Coordinator::new(table.store.clone(), Clock::system(), settings);
    let begun = Instant::now();
    let status = coordinator.status().await.unwrap();
    assert_eq!(status.sweeps.len(), 1);
    row("status", &format!("{:.2} ms", 1e3 * seconds(begun.elapsed())), "<= 50 ms");
}

async fn rate(what: &str, table: &Table, jobs: u32, load: Load, target: f64) -> f64 {
    let begun = Instant::now();
    let done = table.clients.work(&table.store, jobs, load).await;
    let rate = f64::from(done) / seconds(begun.elapsed());
    row(
        &format!("lease + complete, 64 clients, {what}"),
        &format!("{rate:.0}/s"),
        &format!(">= {target:.0}/s"),
    );
    rate
}

async fn latency(what: &str, table: &Table, rate: f64) {
    let mut waits = table.clients.arrive(&table.store, rate, Duration::from_secs(10)).await;
    waits.sort();
    let at = |share: f64| 1e3 * seconds(waits[(share * (waits.len() - 1) as f64) as usize]);
    row(
        &format!("p99 of a lease call at {rate:.0}/s, {what}"),
        &format!("{:.1} ms (p50 {:.1}, max {:.1})", at(0.99), at(0.5), at(1.0)),
        "<= 10 ms",
    );
}

/// Alternating rounds of a thousand leases from the large table and from one of a thousand jobs.
async fn cost_by_size(folder: &Path, large: &Table) {
    const ROUNDS: usize = 15;
    let small = Store::open(&folder.join("small.db")).await.unwrap();
    let small_clients = Clients::register(&small, 64).await;
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let sweep = Grid::new(&format!("round {round}"), 1000).into_sweep(Order::Listed);
        small.submit(sweep, clients::now()).await.unwrap();
        of_small.push(small_clients.time_leases(&small, 1000).await);
        of_large.push(large.clients.time_leases(&large.store, 1000).await);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        seconds(times[times.len() / 2])
    };
    let (small_time, large_time) = (median(&mut of_small), median(&mut of_large));
    row(
        "cost of a lease among all that are queued / among 1,000",
        &format!("{:.2} ({:.1} us, {:.1} us)", large_time / small_time, 1e3 * large_time, 1e3 * small_time),
        "<= 1.2",
    );
    small.close().await;
}

async fn compare_with_optuna(folder: &Path) {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/optuna-venv/bin/python");
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/store/optuna_grid.py"))
        .arg(folder.join("optuna.db"))
        .arg(OPTUNA_TRIALS.to_string())
        .output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        println!("Optuna is not there: `make bench-store` installs it");
        return;
    };
    let optuna: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    for (what, count) in [("one client", 1), ("64 clients", 64)] {
        let store = Store::open(&folder.join(format!("beside-optuna-{count}.db"))).await.unwrap();
        let clients = Clients::register(&store, count).await;
        let begun = Instant::now();
        let sweep = Grid::new("beside optuna", OPTUNA_TRIALS).into_sweep(Order::Listed);
        store.submit(sweep, clients::now()).await.unwrap();
        clients.work(&store, OPTUNA_TRIALS, Load::single().with_reports()).await;
        let ours = f64::from(OPTUNA_TRIALS) / seconds(begun.elapsed());
        row(
            &format!("{OPTUNA_TRIALS} trials beside Optuna's GridSampler on SQLite, {what}"),
            &format!("{:.0} x ({ours:.0}/s, {optuna:.1}/s)", ours / optuna),
            ">= 100 x",
        );
        store.close().await;
    }
}

fn row(what: &str, measured: &str, target: &str) {
    println!("{what:<66} {measured:>22}  {target}");
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The most memory that this process ever had.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}
