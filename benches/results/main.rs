//! A large finished sweep in a project folder, written through the real coordinator: what `results`, `analyze`, reports and the
//! dashboard are timed on. `make bench-results`.
//!
//!     cargo bench --bench results -- FOLDER [--trials 10000] [--epochs 50]
//!
//! Five seeds of a grid over four parameters; eight metrics after each epoch, with effects, an interaction and noise. The
//! same arguments give the same numbers.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(clippy::cast_precision_loss, reason = "numbers of a synthetic sweep are small")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sweep::coordinator::{Clock, Coordinator, Settings, StateFolder};
use sweep::protocol::http::{
    AttemptEnd, EpochMetrics, Lease, LeaseRequest, Outcome, OutcomesRequest, PROTOCOL, RegisterRequest,
    SubmitRequest, Work,
};
use sweep::protocol::trial::TrialRecord;
use sweep::store::Store;
use sweep::vocabulary::{Metrics, Parameters};

const SEEDS: usize = 5;

/// Values of four parameters; the first grows with the number of trials.
const EMA_RATIOS: [f64; 10] = [0.9, 0.7, 0.5, 0.3, 0.1, 0.07, 0.05, 0.01, 0.005, 0.001];
const MASK_RATIOS: [f64; 5] = [0.95, 0.75, 0.5, 0.25, 0.05];
const MODES: [&str; 2] = ["s", "sgf"];

struct Wanted {
    folder: PathBuf,
    trials: usize,
    epochs: u32,
}

#[tokio::main]
async fn main() {
    let wanted = arguments();
    let begun = Instant::now();
    let folder = StateFolder::ensure(&wanted.folder).unwrap();
    let coordinator = coordinator(&folder).await;
    let request = SubmitRequest {
        spec: spec(&wanted),
        source_name: "synthetic.yaml".to_owned(),
        working_directory: "/".to_owned(),
        ..SubmitRequest::default()
    };
    let submitted = coordinator.submit(&request).await.unwrap();
    let values = run(&coordinator, wanted.epochs).await;
    coordinator.close().await;
    println!(
        "{} trials, {values} values in {:.1} s: {}",
        submitted.trials,
        begun.elapsed().as_secs_f64(),
        folder.path().display()
    );
}

fn arguments() -> Wanted {
    let mut wanted = Wanted { folder: PathBuf::new(), trials: 10_000, epochs: 50 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number");
        match argument.as_str() {
            "--trials" => wanted.trials = number(),
            "--epochs" => wanted.epochs = u32::try_from(number()).unwrap(),
            // Cargo's own, to whoever has no harness.
            "--bench" => {}
            folder => wanted.folder = Path::new(folder).to_owned(),
        }
    }
    assert!(wanted.folder.is_dir(), "name a folder that is there");
    wanted
}

async fn coordinator(folder: &StateFolder) -> Coordinator {
    let files = folder.place_database(None).unwrap();
    let store = Store::open(&files.database).await.unwrap();
    let settings = Settings {
        lease: Duration::from_secs(3600),
        datasets: "/nowhere".into(),
        artifacts: folder.artifacts(),
        state: folder.path().to_owned(),
        logs: folder.logs(),
    };
    Coordinator::new(store, Clock::system(), settings)
}

fn spec(wanted: &Wanted) -> String {
    let rest = SEEDS * EMA_RATIOS.len() * MASK_RATIOS.len() * MODES.len();
    let weights: Vec<String> =
        (1..=wanted.trials.div_ceil(rest)).map(|at| format!("{:.2}", at as f64 / 4.0)).collect();
    format!(
        "name: synthetic\ncommand: [\"true\"]\nmetric: {{name: top1, goal: maximize}}\nseeds: {SEEDS}\nparameters:\n  \
         epochs: {}\n  loss_weight: [{}]\n  ema_ratio: {EMA_RATIOS:?}\n  mask_ratio: {MASK_RATIOS:?}\n  mask_mode: {MODES:?}\n",
        wanted.epochs,
        weights.join(", "),
    )
}

/// Runs all that there is; says how many values were reported.
async fn run(coordinator: &Coordinator, epochs: u32) -> usize {
    let register = RegisterRequest {
        host: "synthetic".to_owned(),
        boot_id: "boot".to_owned(),
        pid: 1,
        started_ticks: 1,
        slots: 64,
        version: "0".to_owned(),
        protocol: PROTOCOL,
        slurm: None,
    };
    let worker = coordinator.register(register).await.unwrap().worker;
    let request = LeaseRequest { worker, sweep: None, most: 64, wait_millis: 0 };
    let mut values = 0;
    loop {
        let leases = coordinator.lease(&request).await.unwrap().leases;
        if leases.is_empty() {
            coordinator.leave(worker).await.unwrap();
            return values;
        }
        let outcomes: Vec<Outcome> = leases.iter().map(|lease| outcome(lease, epochs)).collect();
        let reports = outcomes.iter().flat_map(|outcome| &outcome.reports);
        values += reports.map(|report| report.metrics.len()).sum::<usize>();
        let refused = coordinator.finish(OutcomesRequest { outcomes }).await.unwrap().refused;
        assert_eq!(refused, []);
    }
}

fn outcome(lease: &Lease, epochs: u32) -> Outcome {
    let Work::Command(work) = &lease.work else { panic!("the spec has a command") };
    let report = |epoch| EpochMetrics {
        epoch,
        metrics: metrics(&work.parameters, work.seed, f64::from(epoch) / f64::from(epochs)),
        checkpoint: None,
    };
    Outcome {
        token: lease.token,
        reports: (1..=epochs).map(report).collect(),
        end: AttemptEnd::Complete { record: TrialRecord::default() },
    }
}

/// What training has come to after this share of its epochs.
fn metrics(parameters: &Parameters, seed: u64, done: f64) -> Metrics {
    let number = |name: &str| parameters[name].as_f64().unwrap();
    let (weight, ratio, mask) = (number("loss_weight"), number("ema_ratio"), number("mask_ratio"));
    let mode = if parameters["mask_mode"] == "s" { 0.3 } else { 0.0 };
    let best =
        92.0 - (weight.ln() - 0.5).powi(2) + 0.4 * ratio.log10() - 3.0 * (mask - 0.5).powi(2) + mode * mask;
    let mut noise = Noise::of(parameters, seed, done);
    let top1 = best - 60.0 * (-6.0 * done).exp() + noise.next() * 0.3;
    let shifted = top1 - 12.0 + ratio + noise.next() * 0.6;
    let values = [
        ("top1", top1),
        ("cifar10.1_top1", shifted),
        ("cifar10.1_gap", top1 - shifted),
        ("rankme", 40.0 + 20.0 * done + 0.5 * (top1 - 90.0) + noise.next()),
        ("train_loss", 2.3 * (-4.0 * done).exp() + weight * 0.05 + noise.next().abs() * 0.01),
        ("ce_loss", 2.3 * (-4.0 * done).exp() + noise.next().abs() * 0.01),
        ("lr", if done < 0.5 { 0.1 } else { 0.01 }),
        ("seconds", 9.0 + noise.next()),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Numbers between −1 and 1 that look like chance (SplitMix64), the same for the same trial and epoch.
struct Noise(u64);

impl Noise {
    fn of(parameters: &Parameters, seed: u64, done: f64) -> Noise {
        let mut state = 0xcbf2_9ce4_8422_2325 ^ seed ^ done.to_bits();
        for byte in serde_json::to_string(parameters).unwrap().bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Noise(state)
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}
