//! `kill -9` at any moment, of a real process that writes: what was acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::vocabulary::{Attempt, JobId};

/// Tells the child that it is one, and where the table lies.
const TABLE: &str = "SWEEP_TEST_CRASHING_TABLE";
const CRASHES: u32 = 120;
/// Enough that the child is never done before it dies.
const JOBS: usize = 20_000;

/// What the child has heard an answer to, a line each.
#[derive(Debug, Default)]
struct Heard {
    leased: BTreeMap<JobId, Attempt>,
    reported: BTreeMap<JobId, f64>,
    completed: Vec<JobId>,
}

impl Heard {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["leased", job, attempt] => {
                self.leased.insert(job.parse().unwrap(), attempt.parse().unwrap());
            }
            ["reported", job, value] => {
                self.reported.insert(job.parse().unwrap(), value.parse().unwrap());
            }
            ["completed", job] => self.completed.push(job.parse().unwrap()),
            // The kill may come in the middle of a line, and the test runner talks too.
            _ => {}
        }
    }
}

/// Not a test by itself: it works until it is killed.
#[tokio::test]
async fn a_child_that_is_about_to_crash() {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells this process that it is a child")]
    let Ok(table) = std::env::var(TABLE) else { return };
    let store = Store::open(Path::new(&table)).await.unwrap();
    let worker = store.register(worker("child"), Timestamp(0)).await.unwrap();
    let workers = (0..4).map(|_| work(store.clone(), worker));
    futures_of(workers).await;
}

/// All of them at once, on one thread.
async fn futures_of(workers: impl Iterator<Item = impl Future<Output = ()> + Send + 'static>) {
    let mut tasks = tokio::task::JoinSet::new();
    workers.for_each(|worker| drop(tasks.spawn(worker)));
    while tasks.join_next().await.is_some() {}
}

async fn work(store: Store, worker: WorkerId) {
    // Whole lines, and at once: what is said was acknowledged before.
    let say = |line: String| std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
    loop {
        let grant = Grant { worker, sweep: None, most: 3, lasts: LASTS };
        let leased = jobs(store.lease(grant, Timestamp(1)).await.unwrap());
        for LeasedJob { lease, .. } in leased {
            say(format!("leased {} {}", lease.job, lease.attempt));
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let value = lease.job.0 as f64 / 7.0;
            let written = store.report(vec![(lease, report(3, value))], Timestamp(2)).await.unwrap();
            assert!(written.is_empty());
            say(format!("reported {} {value}", lease.job));
            let outcome = NewOutcome { lease, reports: vec![], ended: complete() };
            assert!(store.finish(vec![outcome], Timestamp(3)).await.unwrap().is_empty());
            say(format!("completed {}", lease.job));
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_moment_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("sweep.db");
    let store = Store::open(&table).await.unwrap();
    let names: Vec<_> = (0..JOBS).map(|job| format!("job {job}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let sweep = store.submit(sweep("crash", &names), Timestamp(0)).await.unwrap().sweep;
    store.close().await;
    let mut heard = Heard::default();
    for crash in 0..CRASHES {
        // From the very first moments on; the kill itself falls anywhere within a transaction.
        crash_after(&table, 1 + (crash * 7) % 60, &mut heard);
    }
    let store = Store::open(&table).await.unwrap();
    check_invariants(&store).await;
    let trials = list_trials(&mut store.reader().await.unwrap(), sweep).await.unwrap();
    for job in &heard.completed {
        let trial = &trials[usize::try_from(job.0).unwrap() - 1];
        assert_eq!(trial.job_state, "succeeded", "job {job}");
        assert_eq!(trial.metrics["top1"], heard.reported[job], "job {job}");
    }
    // Everything that a dead child held is there to be taken back: nothing is stuck, and nobody has it twice.
    for worker in store.list_live_workers().await.unwrap() {
        store.bury(worker.id, Timestamp(10)).await.unwrap();
    }
    let anne = store.register(worker("anne"), Timestamp(11)).await.unwrap();
    let grant = Grant { worker: anne, sweep: None, most: u32::MAX, lasts: LASTS };
    for leased in jobs(store.lease(grant, Timestamp(12)).await.unwrap()) {
        let before = heard.leased.get(&leased.lease.job).copied().unwrap_or(Attempt(0));
        assert!(leased.lease.attempt > before, "attempt {before} of job {} was forgotten", leased.lease.job);
    }
    assert!(
        heard.completed.len() > CRASHES as usize,
        "{} jobs are too few to say anything",
        heard.completed.len()
    );
    check_invariants(&store).await;
}

/// Starts a child, hears `lines` of its answers and kills it; what it said meanwhile counts too.
fn crash_after(table: &Path, lines: u32, heard: &mut Heard) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::a_child_that_is_about_to_crash", "--nocapture"])
        .env(TABLE, table)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut count = 0;
    while count < lines {
        let line = answers.next().expect("the child works until it is killed").unwrap();
        heard.note(&line);
        count += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    answers.map_while(Result::ok).for_each(|line| heard.note(&line));
}
