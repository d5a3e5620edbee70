use super::{Fixture, check_invariants, checkpoint, complete, fail, report, tree, worker};
use crate::store::{Export, LeaseFor, NewOutcome, NewReport, Store, list_exports};
use crate::vocabulary::{JobId, SweepId, Timestamp};

const FAR: i64 = 1_000_000_000_000_000;

impl Fixture {
    async fn export(&self, sweep: SweepId, now: i64) -> Export {
        let export = self.store.export(sweep, "0".to_owned(), Timestamp(now)).await.unwrap();
        check_invariants(&self.store).await;
        export
    }

    /// What an export says when a job is done: its reports, its last state, its end.
    async fn bring_back(&self, lease: LeaseFor, epoch: u32) -> bool {
        let last = NewReport { checkpoint: Some(checkpoint('a', epoch, 0)), ..report(epoch, 50.0) };
        let outcome = NewOutcome { lease, reports: vec![last], ended: complete() };
        let accepted = self.store.finish(vec![outcome], Timestamp(FAR)).await.unwrap().is_empty();
        check_invariants(&self.store).await;
        accepted
    }
}

fn leases(export: &Export) -> Vec<(i64, i64, u32)> {
    export.jobs.iter().map(|job| (job.job.lease.job.0, job.job.lease.attempt.0, job.depth)).collect()
}

#[tokio::test]
async fn an_export_takes_all_of_a_sweep_for_ever() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("flat", &["a", "b", "c"]).await;
    let export = fixture.export(sweep, 1).await;
    assert_eq!((export.jobs.len(), export.left_out), (3, 0));
    assert!(fixture.lease(9, 2).await.is_empty(), "nothing is left for others");
    // Neither time nor another coordinator ends its leases.
    fixture.store.adopt(super::LASTS, Timestamp(FAR)).await.unwrap();
    assert_eq!(fixture.store.expire(Timestamp(2 * FAR), Timestamp(0)).await.unwrap(), 0);
    let lease = export.jobs[1].job.lease;
    assert!(fixture.bring_back(lease, 10).await);
    assert!(fixture.bring_back(lease, 10).await, "said again it is the same");
    assert_eq!(fixture.states(sweep).await, ["leased", "succeeded", "leased"]);
    let again = fixture.export(sweep, 3).await;
    assert_eq!((again.worker, again.jobs.len(), again.left_out), (None, 0, 2));
    assert_eq!(again.others, [export.worker.unwrap()]);
}

#[tokio::test]
async fn jobs_further_down_are_the_exports_as_soon_as_their_turn_comes_and_nobodys_before() {
    let fixture = Fixture::new().await;
    let sweep = fixture.store.submit(tree("tree", &["aab", "aac", "d"]), Timestamp(0)).await.unwrap().sweep;
    let export = fixture.export(sweep, 1).await;
    let deepest = export.jobs.iter().map(|job| job.depth).max().unwrap();
    assert!(deepest > 0, "{:?}", leases(&export));
    for job in &export.jobs {
        assert_eq!(job.parent.is_some(), job.depth > 0, "{:?}", leases(&export));
        if job.depth > 0 {
            assert!(!fixture.finish(job.job.lease, complete(), 2).await, "before its parent it is no lease");
        }
    }
    for job in &export.jobs {
        assert!(fixture.lease(9, 3).await.is_empty(), "what became ready is promised");
        assert!(fixture.bring_back(job.job.lease, job.job.last_epoch).await, "{:?}", job.job.lease);
    }
    assert!(fixture.states(sweep).await.iter().all(|state| state == "succeeded"));
}

#[tokio::test]
async fn what_an_export_leaves_goes_back_at_no_cost_and_its_late_word_is_refused() {
    let fixture = Fixture::new().await;
    let sweep = fixture.store.submit(tree("tree", &["aab", "aac", "d"]), Timestamp(0)).await.unwrap().sweep;
    let export = fixture.export(sweep, 1).await;
    let root = export.jobs[0].job.lease;
    fixture.store.leave(export.worker.unwrap(), Timestamp(2)).await.unwrap();
    check_invariants(&fixture.store).await;
    assert!(!fixture.finish(root, complete(), 3).await);
    let next = fixture.export(sweep, 4).await;
    assert_eq!(next.jobs.len(), export.jobs.len());
    let attempts: Vec<i64> = next.jobs.iter().map(|job| job.job.lease.attempt.0).collect();
    assert_eq!(attempts[0], 2);
    assert!(attempts[1..].iter().all(|attempt| *attempt <= 2), "{attempts:?}");
    assert!(fixture.bring_back(next.jobs[0].job.lease, next.jobs[0].job.last_epoch).await);
}

#[tokio::test]
async fn a_job_that_fails_or_is_cancelled_is_no_promise_any_more() {
    let fixture = Fixture::new().await;
    let sweep = fixture.store.submit(tree("tree", &["aab", "aac", "d"]), Timestamp(0)).await.unwrap().sweep;
    let export = fixture.export(sweep, 1).await;
    assert!(fixture.finish(export.jobs[0].job.lease, fail("nan"), 2).await);
    check_invariants(&fixture.store).await;
    fixture.store.retry(sweep, crate::store::Chosen::All, Timestamp(3)).await.unwrap();
    check_invariants(&fixture.store).await;
    let leased = fixture.lease_for(fixture.anne, Some(sweep), 1, FAR).await;
    assert_eq!(leased[0].lease.job, export.jobs[0].job.lease.job, "it is everybody's again");
}

#[tokio::test]
async fn what_others_hold_and_what_waits_for_it_is_left_out() {
    let fixture = Fixture::new().await;
    let sweep = fixture.store.submit(tree("tree", &["aab", "aac", "d"]), Timestamp(0)).await.unwrap().sweep;
    let bob = fixture.store.register(worker("bob"), Timestamp(0)).await.unwrap();
    let held: Vec<JobId> = fixture.lease_for(bob, None, 1, 1).await.iter().map(|job| job.lease.job).collect();
    let export = fixture.export(sweep, 1).await;
    assert_eq!(
        (export.left_out, export.others.as_slice()),
        (3, &[][..]),
        "a worker that is there is no export"
    );
    assert!(export.jobs.iter().all(|job| !held.contains(&job.job.lease.job)));
    assert!(export.jobs.iter().all(|job| job.parent.is_none_or(|parent| !held.contains(&parent))));
}

#[tokio::test]
async fn an_export_is_open_until_all_that_it_took_has_ended_or_gone_back() {
    let fixture = Fixture::new().await;
    let sweep = fixture.store.submit(tree("tree", &["aab", "aac", "d"]), Timestamp(0)).await.unwrap().sweep;
    let export = fixture.export(sweep, 7).await;
    let open = async || list_exports(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    let [only] = &open().await[..] else { panic!("one") };
    assert_eq!((only.worker, only.sweep, only.created_at), (export.worker.unwrap(), sweep, Timestamp(7)));
    let mut held = only.jobs.clone();
    held.sort_unstable();
    let mut taken: Vec<JobId> = export.jobs.iter().map(|job| job.job.lease.job).collect();
    taken.sort_unstable();
    assert_eq!(held, taken, "what waits for others is promised");
    for (done, job) in (1..).zip(&export.jobs) {
        assert!(fixture.bring_back(job.job.lease, job.job.last_epoch).await);
        let left: usize = open().await.iter().map(|export| export.jobs.len()).sum();
        assert_eq!(left, export.jobs.len() - done);
    }
    assert_eq!(open().await.len(), 1, "that it was made is known for ever");
}

#[tokio::test]
async fn an_export_is_brought_back_to_a_copy_of_its_table() {
    let fixture = Fixture::new().await;
    let sweep = fixture.store.submit(tree("tree", &["aab", "aac"]), Timestamp(0)).await.unwrap().sweep;
    let export = fixture.export(sweep, 1).await;
    let path = fixture.folder.path().join("copy.db");
    fixture.store.back_up(&path).await.unwrap();
    let restored = Fixture { store: Store::open(&path).await.unwrap(), ..fixture };
    for job in &export.jobs {
        assert!(restored.bring_back(job.job.lease, 10).await, "depth {}", job.depth);
    }
}

#[tokio::test]
async fn what_another_tables_export_brings_is_refused_although_its_jobs_have_the_same_numbers() {
    let (ours, theirs) = (Fixture::new().await, Fixture::new().await);
    let mut exports = Vec::new();
    for fixture in [&ours, &theirs] {
        let sweep = fixture.store.submit(tree("tree", &["aab", "aac"]), Timestamp(0)).await.unwrap().sweep;
        exports.push(fixture.export(sweep, 1).await);
    }
    assert_eq!(leases(&exports[0]), leases(&exports[1]));
    for (own, other) in exports[0].jobs.iter().zip(&exports[1].jobs) {
        assert!(!ours.bring_back(other.job.lease, 10).await, "depth {}", other.depth);
        assert!(ours.bring_back(own.job.lease, 10).await, "depth {}: under what was promised", own.depth);
        assert!(!ours.bring_back(other.job.lease, 10).await);
    }
}
