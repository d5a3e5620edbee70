//! Workers in jobs of Slurm, and what was submitted to it.

use super::*;
use crate::store::{SlurmJobRow, WorkerSlurmRow, list_slurm_jobs, list_workers};

fn in_slurm(host: &str, job: u32, restarts: u32) -> NewWorker {
    let slurm = WorkerSlurmRow { cluster: Some("big".to_owned()), job, array: Some((7, 3)), restarts };
    NewWorker { slurm: Some(slurm), ..worker(host) }
}

#[tokio::test]
async fn a_worker_that_slurm_has_started_again_ends_what_it_held_before() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("sweep", &["a", "b", "c"]).await;
    let store = &fixture.store;
    let register = async |worker: NewWorker| store.register(worker, Timestamp(0)).await.unwrap();
    let first = register(in_slurm("n1", 8, 0)).await;
    let other_task = register(in_slurm("n1", 9, 0)).await;
    for worker in [first, other_task] {
        assert_eq!(fixture.lease_for(worker, None, 1, 0).await.len(), 1);
    }
    let cluster = Some("small".to_owned());
    let elsewhere = NewWorker {
        slurm: Some(WorkerSlurmRow { cluster, job: 8, array: None, restarts: 5 }),
        ..worker("n2")
    };
    register(elsewhere).await;
    assert_eq!(fixture.states(sweep).await, ["leased", "leased", "queued"], "another cluster's job 8");
    let again = register(in_slurm("n2", 8, 1)).await;
    // Another agent of the same start, on the job's other node.
    register(in_slurm("n3", 8, 1)).await;
    assert_eq!(fixture.states(sweep).await, ["queued", "leased", "queued"]);
    let rows = list_workers(&mut store.reader().await.unwrap()).await.unwrap();
    let there: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert!(!there.contains(&first) && there.contains(&again) && there.len() == 5, "{rows:?}");
    let slurm = rows.iter().find(|row| row.id == again).unwrap().slurm.clone().unwrap();
    assert_eq!((slurm.job, slurm.array, slurm.restarts), (8, Some((7, 3)), 1));
    check_invariants(store).await;
}

#[tokio::test]
async fn submissions_are_noted_all_or_none_and_once() {
    let fixture = Fixture::new().await;
    fixture.submit("sweep", &["a"]).await;
    let job =
        |job, sweep: Option<i64>| SlurmJobRow { cluster: None, job, sweep: sweep.map(SweepId), tasks: 8 };
    let record = async |jobs: &[SlurmJobRow]| {
        fixture.store.record_slurm_jobs(jobs.to_vec(), Timestamp(5)).await.unwrap()
    };
    assert!(!record(&[job(1, None), job(2, Some(9))]).await, "there is no sweep 9");
    let list = async || list_slurm_jobs(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    assert_eq!(list().await, []);
    for _ in 0..2 {
        assert!(record(&[job(1, None), job(2, Some(1))]).await);
    }
    assert_eq!(list().await, [job(1, None), job(2, Some(1))]);
}
