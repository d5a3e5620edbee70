use std::collections::BTreeSet;

use super::*;
use crate::store::{Beat, RefusedLease, list_running, list_workers};
use crate::vocabulary::{Attempt, JobId, Nonce};

#[tokio::test]
async fn jobs_are_leased_in_order_and_each_once() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a", "b", "c"]).await;
    let first = fixture.lease(2, 0).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!((&*first[0].context, first[0].trial, first[0].seed), ("context", TrialNumber(1), u64::MAX));
    assert_eq!((first[0].first_epoch, first[0].last_epoch, first[0].cpus), (1, 10, 1));
    let rest = fixture.lease(9, 0).await;
    assert_eq!(names(&rest), ["c"]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn callers_at_the_same_moment_never_get_the_same_job() {
    let fixture = Fixture::new().await;
    let hashes: Vec<String> = (0..100).map(|n| format!("job{n}")).collect();
    fixture.submit("s", &hashes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let callers = (0..50).map(|_| {
        let (store, worker) = (fixture.store.clone(), fixture.anne);
        tokio::spawn(async move {
            jobs(
                store
                    .lease(Grant { worker, sweep: None, most: 2, lasts: LASTS }, Timestamp(0))
                    .await
                    .unwrap(),
            )
        })
    });
    let mut leased = BTreeSet::new();
    for caller in callers.collect::<Vec<_>>() {
        for job in caller.await.unwrap() {
            assert!(leased.insert(job.lease.job), "job {} was leased twice", job.lease.job);
        }
    }
    assert_eq!(leased.len(), 100);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn only_jobs_of_the_named_sweep_are_leased() {
    let fixture = Fixture::new().await;
    fixture.submit("one", &["a"]).await;
    let two = fixture.submit("two", &["b"]).await;
    let leased = fixture.lease_for(fixture.anne, Some(two), 9, 0).await;
    assert_eq!(names(&leased), ["b"]);
}

/// A sweep whose attempts may use this.
fn limited(name: &str, trials: &[&str], resources: &str) -> NewSweep {
    NewSweep { resources: resources.to_owned(), ..sweep(name, trials) }
}

#[tokio::test]
async fn a_lease_says_what_the_sweep_that_stored_the_job_allows_also_to_those_that_join_it() {
    let fixture = Fixture::new().await;
    fixture.store.submit(limited("one", &["a", "b"], r#"{"time_millis":5}"#), Timestamp(0)).await.unwrap();
    let two = limited("two", &["b"], r#"{"time_millis":9}"#);
    let two = fixture.store.submit(two, Timestamp(0)).await.unwrap().sweep;
    let joined = fixture.lease_for(fixture.anne, Some(two), 9, 0).await;
    assert_eq!(names(&joined), ["b"]);
    assert_eq!(joined[0].resources, r#"{"time_millis":5}"#);
    assert_eq!(fixture.lease(9, 0).await[0].resources, r#"{"time_millis":5}"#);
}

#[tokio::test]
async fn submitting_a_sweep_again_with_other_resources_changes_what_later_attempts_may_use() {
    let fixture = Fixture::new().await;
    let first =
        fixture.store.submit(limited("s", &["a"], r#"{"time_millis":5}"#), Timestamp(0)).await.unwrap();
    let lease = fixture.lease_one(0).await;
    let more = r#"{"time_millis":50}"#;
    // A rehearsal changes nothing.
    fixture.store.rehearse(limited("s", &["a"], "{}"), Timestamp(1)).await.unwrap();
    let again = fixture.store.submit(limited("s", &["a"], more), Timestamp(1)).await.unwrap();
    assert_eq!((again.sweep, again.is_existing), (first.sweep, true));
    assert!(fixture.finish(lease, Ended::Release, 2).await);
    assert_eq!(fixture.lease(1, 3).await[0].resources, more);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn of_what_a_lost_worker_held_only_what_it_can_have_begun_is_suspected() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a", "b", "c", "d", "e"]).await;
    let suspected = async || -> Vec<String> {
        let failures = "SELECT failures FROM jobs ORDER BY id";
        sqlx::query_scalar(failures).fetch_all(&fixture.store.readers).await.unwrap()
    };
    // Two slots, the first of which has the job that was leased first; that of another worker is no matter of this one's.
    let bob = fixture.store.register(worker("bob"), Timestamp(0)).await.unwrap();
    fixture.lease_for(bob, None, 1, 0).await;
    fixture.lease(1, 1).await;
    fixture.lease(3, 2).await;
    let (lost, waited) = (r#"{"node_lost":1}"#, r#"{"lost_unbegun":1}"#);
    fixture.store.bury(fixture.anne, Timestamp(3)).await.unwrap();
    assert_eq!(suspected().await, ["{}", lost, lost, waited, waited]);

    fixture.lease(9, 4).await;
    assert_eq!(fixture.store.expire(Timestamp(60_000), Timestamp(-1)).await.unwrap(), 1, "bob's");
    assert_eq!(fixture.store.expire(Timestamp(60_004), Timestamp(-1)).await.unwrap(), 4);
    let (twice, both) = (r#"{"node_lost":2}"#, r#"{"lost_unbegun":2}"#);
    assert_eq!(suspected().await, [lost, twice, twice, both, both]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn an_expired_lease_goes_to_somebody_else_and_the_late_worker_is_refused() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let bob = fixture.store.register(worker("bob"), Timestamp(0)).await.unwrap();
    let late = fixture.lease_one(0).await;
    assert!(fixture.report(late, 1, 10.0).await);
    assert_eq!(fixture.store.expire(Timestamp(59_999), Timestamp(-1)).await.unwrap(), 0);
    assert_eq!(fixture.store.expire(Timestamp(60_000), Timestamp(-1)).await.unwrap(), 1);
    let current = fixture.lease_for(bob, None, 1, 60_000).await[0].lease;
    assert_eq!((current.job, current.attempt), (late.job, Attempt(2)));

    assert!(!fixture.report(late, 2, 99.0).await);
    assert!(!fixture.finish(late, complete(), 60_001).await);
    let beat = Beat { worker: fixture.anne, leases: vec![late], lasts: LASTS };
    let refused = fixture.store.heartbeat(beat, Timestamp(60_002)).await.unwrap();
    let message = "attempt 1 is no longer leased: the job is leased under attempt 2".to_owned();
    assert_eq!(refused, [RefusedLease { lease: late, message }]);

    assert_eq!(fixture.states(sweep).await, ["leased"]);
    assert_eq!(fixture.trials(sweep).await[0].metrics, report(1, 10.0).metrics);
    assert!(fixture.report(current, 1, 20.0).await);
    assert!(fixture.finish(current, complete(), 60_003).await);
    assert_eq!(fixture.states(sweep).await, ["succeeded"]);
    assert_eq!(fixture.trials(sweep).await[0].metrics, report(1, 20.0).metrics);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn what_a_lost_attempt_reported_is_no_result() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lost = fixture.lease_one(0).await;
    for epoch in 1..=3 {
        fixture.report(lost, epoch, 99.0).await;
    }
    fixture.finish(lost, Ended::Release, 1).await;
    let current = fixture.lease_one(1).await;
    let running = list_running(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    assert_eq!(running[0].reported_epoch, 0);
    fixture.report(current, 1, 5.0).await;
    fixture.finish(current, complete(), 2).await;
    assert_eq!(fixture.trials(sweep).await[0].metrics, report(1, 5.0).metrics);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_program_may_report_more_epochs_than_its_job_has() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.report(lease, 1, 1.0).await;
    fixture.report(lease, 500, 2.0).await;
    fixture.finish(lease, complete(), 1).await;
    assert_eq!(fixture.trials(sweep).await[0].metrics, report(500, 2.0).metrics);
}

#[tokio::test]
async fn a_heartbeat_keeps_a_lease_alive() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    let beat = Beat { worker: fixture.anne, leases: vec![lease], lasts: LASTS };
    assert_eq!(fixture.store.heartbeat(beat, Timestamp(30_000)).await.unwrap(), []);
    assert_eq!(fixture.store.expire(Timestamp(60_000), Timestamp(-1)).await.unwrap(), 0);
    assert_eq!(fixture.store.expire(Timestamp(90_000), Timestamp(-1)).await.unwrap(), 1);
}

#[tokio::test]
async fn an_end_that_is_told_twice_counts_once() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    let outcome = NewOutcome { lease, reports: vec![report(1, 5.0)], ended: complete() };
    for _ in 0..2 {
        assert_eq!(fixture.store.finish(vec![outcome.clone()], Timestamp(1)).await.unwrap(), []);
    }
    assert_eq!(fixture.states(sweep).await, ["succeeded"]);
    assert_eq!(fixture.trials(sweep).await[0].metrics, report(1, 5.0).metrics);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn what_a_program_wrote_is_kept_behind_a_nul_character_too() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    let log_tail = "first\0\n\"last\" ✓ \u{1f600} \\".to_owned();
    let ended = Ended::Fail { reason: "nan".parse().unwrap(), message: "m\0m".to_owned(), log_tail };
    assert!(fixture.finish(lease, ended, 1).await);
    let failure = fixture.trials(sweep).await.remove(0).failure.unwrap();
    assert_eq!(failure.message, "m\u{fffd}m");
    assert_eq!(failure.log_tail, "first\u{fffd}\n\"last\" ✓ \u{1f600} \\");
}

#[tokio::test]
async fn a_metric_keeps_every_bit() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    // But for the sign of zero, which no table of SQLite keeps.
    let edges = [0.0, 0.1, -1.0 / 3.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::EPSILON, 9007199254740993.0];
    // Numbers that look like chance, of every size, and some with a mantissa just above and below a power of two.
    let mut state = 1_u64;
    let drawn = (0..20_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(state)
    });
    let near = (-300..300).flat_map(|power| {
        let two = 2.0_f64.powi(power).to_bits();
        [two - 1, two, two + 1].map(f64::from_bits)
    });
    let values = edges.into_iter().chain(near).chain(drawn).filter(|value| value.is_finite());
    let metrics: Metrics = values.enumerate().map(|(at, value)| (format!("metric {at}"), value)).collect();
    let report = NewReport { epoch: 1, metrics: metrics.clone(), checkpoint: None };
    fixture.store.report(vec![(lease, report)], Timestamp(0)).await.unwrap();
    let stored = fixture.trials(sweep).await.remove(0).metrics;
    assert_eq!(stored.len(), metrics.len());
    for (name, value) in metrics {
        assert_eq!(stored[&name].to_bits(), value.to_bits(), "{name}: {value:e}");
    }
}

#[tokio::test]
async fn one_refusal_in_a_batch_does_not_touch_the_others() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let leased = fixture.lease(2, 0).await;
    let second = &leased[1];
    let stale = LeaseFor { job: leased[0].lease.job, attempt: Attempt(7), nonce: Nonce(1) };
    let unknown = LeaseFor { job: JobId(999), attempt: Attempt(1), nonce: Nonce(1) };
    let outcomes = [stale, unknown, second.lease].map(|lease| NewOutcome {
        lease,
        reports: vec![report(1, 1.0)],
        ended: complete(),
    });
    let refused = fixture.store.finish(outcomes.to_vec(), Timestamp(1)).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.lease).collect::<Vec<_>>(), [stale, unknown]);
    assert_eq!(fixture.states(sweep).await, ["leased", "succeeded"]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_job_given_back_is_leased_again_at_once() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a"]).await;
    for attempt in 1..20 {
        let lease = fixture.lease_one(0).await;
        assert_eq!(lease.attempt, Attempt(attempt));
        assert!(fixture.finish(lease, Ended::Release, 0).await);
    }
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_dead_workers_leases_end_and_it_leaves_the_list() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    fixture.lease(1, 0).await;
    assert_eq!(fixture.store.bury(fixture.anne, Timestamp(1)).await.unwrap(), 1);
    assert_eq!(fixture.states(sweep).await, ["queued", "queued"]);
    assert_eq!(list_workers(&mut fixture.store.reader().await.unwrap()).await.unwrap(), []);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_worker_that_leaves_gives_back_what_it_holds() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.store.leave(fixture.anne, Timestamp(1)).await.unwrap();
    assert_eq!(fixture.states(sweep).await, ["queued"]);
    assert!(!fixture.finish(lease, complete(), 2).await);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn a_silent_worker_leaves_the_list_and_comes_back_with_its_next_heartbeat() {
    let fixture = Fixture::new().await;
    fixture.store.expire(Timestamp(500), Timestamp(400)).await.unwrap();
    assert_eq!(fixture.store.list_live_workers().await.unwrap(), []);
    let beat = Beat { worker: fixture.anne, leases: vec![], lasts: LASTS };
    fixture.store.heartbeat(beat, Timestamp(600)).await.unwrap();
    let live = fixture.store.list_live_workers().await.unwrap();
    assert_eq!((live[0].id, live[0].started_ticks), (fixture.anne, u64::MAX));
    fixture.store.leave(fixture.anne, Timestamp(700)).await.unwrap();
    assert_eq!(fixture.store.list_live_workers().await.unwrap(), []);
}

#[tokio::test]
async fn running_jobs_show_their_epoch_and_the_sweeps_metric() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.report(lease, 1, 10.0).await;
    fixture.report(lease, 2, 12.5).await;
    let running = list_running(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!((running[0].sweep, running[0].trial), (sweep, TrialNumber(1)));
    assert_eq!((running[0].reported_epoch, running[0].metric), (2, Some(12.5)));
    let workers = list_workers(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    assert_eq!(workers[0].running, 1);
}

#[tokio::test]
async fn a_job_that_two_sweeps_share_runs_in_both() {
    let fixture = Fixture::new().await;
    let one = fixture.submit("one", &["a"]).await;
    let two = fixture.submit("two", &["b", "a"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.report(lease, 1, 10.0).await;
    let running = list_running(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    let seen: Vec<_> =
        running.iter().map(|row| (row.sweep, row.trial, row.reported_epoch, row.metric)).collect();
    assert_eq!(seen, [(one, TrialNumber(1), 1, Some(10.0)), (two, TrialNumber(2), 1, Some(10.0))]);
}
