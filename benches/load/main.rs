//! A coordinator under the load of two hundred agents: the real `sweep serve`, and simulated agents that speak to it through
//! the client that real ones use. `make bench-load`; arguments: seconds, agents.
//!
//! Fails where a lease was lost, a result was stored twice or is not what was reported, or a request failed at all.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod agents;
mod service;

use std::time::{Duration, Instant};

use agents::{Agent, Kind, Tally};
use service::Service;
use sweep::client::Client;
use sweep::protocol::http::{SubmitRequest, TrialState};
use sweep::vocabulary::SweepId;

/// Jobs that an agent runs at a time.
const SLOTS: usize = 2;
/// Four heartbeats a lease: each agent sends one every two and a half seconds, six times as many as with a minute's leases.
const LEASE_SECONDS: u64 = 10;
/// How long a job takes.
const SHORTEST_JOB: Duration = Duration::from_millis(100);
const LONGEST_JOB: Duration = Duration::from_millis(2900);
/// Agents arrive one after the other for so long, as those of a cluster do.
const ARRIVAL: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let lasts = Duration::from_secs(numbers.first().copied().unwrap_or(60));
    let count = usize::try_from(numbers.get(1).copied().unwrap_or(200)).unwrap();
    let service = Service::start(LEASE_SECONDS).await;
    let client = Client::new(service.url(), service.token()).unwrap();
    let sweep = submit(&client, enough_jobs(count, lasts)).await;
    println!(
        "{count} agents with {SLOTS} slots each, for {} s; jobs of {SHORTEST_JOB:?} to {LONGEST_JOB:?} with 1 to 4 reports; \
         leases of {LEASE_SECONDS} s; {} CPUs",
        lasts.as_secs(),
        std::thread::available_parallelism().map_or(1, usize::from),
    );

    let (tally, begun) = (Tally::default(), Instant::now());
    let mut working = Vec::new();
    for number in 0..count {
        let (tally, until) = (tally.clone(), begun + lasts);
        let (url, token) = (service.url().to_owned(), service.token().to_owned());
        let arrives = begun + ARRIVAL.mul_f64(number as f64 / count as f64);
        working.push(tokio::spawn(async move {
            tokio::time::sleep_until(arrives.into()).await;
            Agent::arrive(&url, &token, number, tally).await.work(SLOTS, until).await;
        }));
    }
    for agent in working {
        agent.await.unwrap();
    }
    let took = begun.elapsed();
    let is_right = print_waits(&tally, took) & check(&client, sweep, &tally).await;
    service.stop().await;
    assert!(is_right, "see above");
}

/// So many that nobody ever waits for one.
fn enough_jobs(agents: usize, lasts: Duration) -> usize {
    let mean = (SHORTEST_JOB + LONGEST_JOB).as_secs_f64() / 2.0;
    ((agents * SLOTS) as f64 * lasts.as_secs_f64() / mean * 1.5) as usize + 1000
}

async fn submit(client: &Client, jobs: usize) -> SweepId {
    let spec = format!(
        "name: load\ncommand: [/bin/true]\nmetric: {{name: loss, goal: minimize}}\nparameters: {{x: {{range: [1, {jobs}]}}}}\n"
    );
    let request = SubmitRequest {
        spec,
        source_name: "load.yaml".to_owned(),
        working_directory: "/".to_owned(),
        ..SubmitRequest::default()
    };
    client.submit(&request).await.unwrap().sweep
}

/// How long each kind of request took; whether all were answered.
fn print_waits(tally: &Tally, took: Duration) -> bool {
    let mut waits = tally.waits();
    let requests: usize = waits.values().map(Vec::len).sum();
    println!("{:.0} requests/s, {requests} in all", requests as f64 / took.as_secs_f64());
    println!("{:<10} {:>8} {:>8} {:>8} {:>8}", "ms", "count", "p50", "p99", "max");
    for kind in Kind::ALL {
        let waits = waits.entry(kind).or_default();
        waits.sort();
        let at = |share: f64| match waits.len().checked_sub(1) {
            Some(last) => 1e3 * waits[(share * last as f64) as usize].as_secs_f64(),
            None => f64::NAN,
        };
        println!("{kind:<10} {:>8} {:>8.1} {:>8.1} {:>8.1}", waits.len(), at(0.5), at(0.99), at(1.0));
    }
    let failures = tally.failures();
    println!("requests that failed: {}", failures.len());
    failures.iter().take(5).for_each(|failure| println!("  {failure}"));
    failures.is_empty()
}

/// Compares what the agents did with what the table says.
async fn check(client: &Client, sweep: SweepId, tally: &Tally) -> bool {
    let results = client.results(sweep).await.unwrap();
    let succeeded = results.trials.iter().filter(|trial| trial.state == TrialState::Succeeded);
    let right = succeeded.clone().filter(|trial| trial.metrics["loss"] == trial.trial.0 as f64).count();
    let (succeeded, completed) = (succeeded.count(), tally.completed());
    let doubled = completed.values().filter(|times| **times > 1).count();
    let findings = client.examine().await.unwrap().findings;
    println!("lost leases: {}", tally.lost());
    println!("doubled results: {doubled}");
    println!(
        "jobs completed: {}; results in the table: {succeeded}, of which right: {right}",
        completed.len()
    );
    findings.iter().for_each(|finding| println!("doctor: {}", finding.what));
    tally.lost() + doubled == 0 && findings.is_empty() && completed.len() == succeeded && succeeded == right
}
