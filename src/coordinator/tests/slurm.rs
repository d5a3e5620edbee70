//! Workers in Slurm's jobs that fall silent, and what was submitted.

use super::*;
use crate::protocol::slurm::{ArrayTask, SlurmJob, SlurmJobsRequest, SlurmRole, SlurmTask};

#[tokio::test]
async fn a_silent_worker_of_a_slurm_job_is_suspicious_and_buried_its_jobs_go_to_others_at_once() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("command: [/bin/true]\nparameters: {x: [1, 2]}\n").await;
    let slurm = SlurmTask { cluster: None, job: 8, array: Some(ArrayTask { job: 7, task: 3 }), restarts: 0 };
    let request = RegisterRequest { slurm: Some(slurm.clone()), ..RegisterRequest::of_test() };
    let there = fixture.coordinator.register(request).await.unwrap().worker;
    let ask = LeaseRequest { worker: there, ..fixture.ask(0) };
    assert_eq!(fixture.coordinator.lease(&ask).await.unwrap().leases.len(), 2);
    let silent = async || fixture.coordinator.silent_slurm_workers().await.unwrap();
    fixture.clock.advance(LEASE / HEARTBEATS_PER_LEASE);
    assert_eq!(silent().await, [], "a heartbeat may take its time");
    fixture.clock.advance(LEASE / HEARTBEATS_PER_LEASE);
    assert_eq!(
        silent().await,
        [SilentWorker { worker: there, slurm: slurm.clone() }],
        "the other runs in no job of Slurm"
    );
    let shown = fixture.coordinator.status().await.unwrap().workers;
    assert_eq!(shown.iter().find(|worker| worker.id == there).unwrap().slurm, Some(slurm));

    assert_eq!(fixture.coordinator.bury(there).await.unwrap(), 2);
    assert_eq!((silent().await, fixture.coordinator.status().await.unwrap().workers.len()), (vec![], 1));
    let counts = fixture.coordinator.status().await.unwrap().sweeps[0].trials;
    assert_eq!((fixture.coordinator.status().await.unwrap().sweeps[0].id, counts.queued), (sweep, 2));
    check_invariants(&fixture.coordinator.store).await;
}

#[tokio::test]
async fn what_was_submitted_shows_in_the_status() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit(COMMAND).await;
    let workers = SlurmJob { cluster: None, job: 7, role: SlurmRole::Workers { sweep }, tasks: 8 };
    let coordinator = SlurmJob { role: SlurmRole::Coordinator, job: 6, tasks: 1, ..workers.clone() };
    let request = SlurmJobsRequest { jobs: vec![coordinator, workers.clone()] };
    fixture.coordinator.record_slurm_jobs(request.clone()).await.unwrap();
    assert_eq!(fixture.coordinator.status().await.unwrap().slurm, request.jobs);
    let role = SlurmRole::Workers { sweep: SweepId(9) };
    let stray = SlurmJobsRequest { jobs: vec![SlurmJob { role, job: 9, ..workers }] };
    let error = fixture.coordinator.record_slurm_jobs(stray).await.unwrap_err();
    assert!(matches!(error, CoordinatorError::NoSuchSweep(SweepId(9))), "{error}");
    assert_eq!(fixture.coordinator.status().await.unwrap().slurm, request.jobs);
}

#[tokio::test]
async fn many_can_ask_for_the_status_at_a_time() {
    let fixture = Fixture::new().await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let coordinator = fixture.coordinator.clone();
        asked.spawn(async move { coordinator.status().await.map(|status| status.workers.len()) });
    }
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), 1);
    }
}
