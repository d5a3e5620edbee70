//! Chaos: a sweep whose trials go on from each other's checkpoints, on four agents, while agents, trials and the coordinator
//! are killed and stopped, networks are cut, and requests are lost, doubled and late. In the end every trial has the one
//! result that it has without all that, bit for bit, and nothing is left over.
//!
//! The seed decides what happens, to whom, and at which point of the work; how the processes' timing then falls out is
//! theirs. `make chaos SEED=n` is the long variant. Start with `faults`, then `run`.

#![cfg(feature = "coordinator")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it saw"
)]

mod cluster;
mod faults;
#[path = "../harness/mod.rs"]
mod harness;
mod network;
mod process;
mod proxy;
mod run;
mod verdict;
mod work;

use std::collections::BTreeSet;

use cluster::Cluster;
use faults::Kind;
use harness::Project;
use network::Place;
use run::Run;
use serde_json::Value;
use work::Work;

/// Always the same, so that what CI sees is what everybody sees.
const SEEDS: [u64; 2] = [1, 2];

#[test]
fn a_sweep_comes_through_chaos_with_the_results_of_a_quiet_run() {
    network::run("a_sweep_comes_through_chaos_with_the_results_of_a_quiet_run", |place| {
        let work = |project: &Project| work::of_a_program(project, 90);
        let expected = undisturbed(place, work);
        let mut kinds = BTreeSet::new();
        for seed in SEEDS {
            let run = disturbed(place, seed, 34, &expected, work, false);
            assert!(run.count() >= 25, "only {}", run.summary());
            kinds.extend(run.kinds());
        }
        let missed: Vec<Kind> = faults::kinds(left_out(place)).filter(|kind| !kinds.contains(kind)).collect();
        assert!(missed.is_empty(), "never made: {missed:?}");
    });
}

/// `make chaos`: as many jobs and faults as asked for, then some trials of the built-in trainer.
#[test]
#[ignore = "takes minutes: make chaos"]
fn a_long_sweep_comes_through_chaos() {
    let seed = number_from("SWEEP_CHAOS_SEED", 1);
    let (jobs, count) = (number_from("SWEEP_CHAOS_JOBS", 500), number_from("SWEEP_CHAOS_FAULTS", 200));
    network::run("a_long_sweep_comes_through_chaos", |place| {
        let work = |project: &Project| work::of_a_program(project, jobs as usize);
        let expected = undisturbed(place, work);
        // Some meet nothing any more.
        let run = disturbed(place, seed, count as usize * 11 / 10, &expected, work, true);
        assert!(run.count() >= count as usize, "only {}", run.summary());
        drop(run);
        let expected = undisturbed(place, work::of_the_trainer);
        disturbed(place, seed, 16, &expected, work::of_the_trainer, true);
    });
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var_os(variable).filter(|value| !value.is_empty());
    given.map_or(otherwise, |value| value.to_str().unwrap().parse().expect("a number"))
}

/// What a run without faults gives.
fn undisturbed(place: Place, work: impl Fn(&Project) -> Work) -> Vec<Value> {
    let project = Project::new();
    let work = work(&project);
    let cluster = Cluster::start(project, place, &work);
    let mut run = Run::new(cluster, Vec::new(), 0, false);
    run.go_on_to_the_end();
    let results = verdict::results(&run.cluster);
    assert_eq!(results.len(), work.trials);
    let ends: BTreeSet<String> = results.iter().map(|result| result["checkpoints"].to_string()).collect();
    assert_eq!(ends.len(), work.trials, "each trial comes to something else");
    let named = verdict::named_checkpoints(&results);
    verdict::assert_nothing_is_left_over(&mut run.cluster, &named, work.archives);
    results
}

/// A run with the faults of a seed, which must end as if there had been none.
fn disturbed(
    place: Place,
    seed: u64,
    count: usize,
    expected: &[Value],
    work: impl Fn(&Project) -> Work,
    is_told_live: bool,
) -> Run {
    println!("seed {seed}");
    let project = Project::new();
    let work = work(&project);
    let plan = faults::plan(seed, count, work.epochs, left_out(place));
    let cluster = Cluster::start(project, place, &work);
    let mut run = Run::new(cluster, plan, seed, is_told_live);
    run.go_on_to_the_end();
    let results = verdict::results(&run.cluster);
    verdict::assert_same(&results, expected);
    verdict::assert_nothing_is_left_over(
        &mut run.cluster,
        &verdict::named_checkpoints(&results),
        work.archives,
    );
    println!("seed {seed}, {} jobs: {}", work.jobs, run.summary());
    run
}

/// What can't be made there.
fn left_out(place: Place) -> &'static [Kind] {
    match place {
        Place::OwnNetwork => &[],
        Place::Host => &[Kind::CutNetwork],
    }
}
