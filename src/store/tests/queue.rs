//! Which jobs are offered to whom, and in which order.

use super::*;

#[tokio::test]
async fn sweeps_take_turns_by_priority_and_then_by_age() {
    let fixture = Fixture::new().await;
    fixture.submit("one", &["a", "b"]).await;
    let two = fixture.submit("two", &["c", "d"]).await;
    assert_eq!(names(&fixture.lease(1, 0).await), ["a"]);
    fixture.store.bump(two, NewPriority::Exactly(5)).await.unwrap();
    assert_eq!(names(&fixture.lease(9, 0).await), ["c", "d", "b"]);
}

#[tokio::test]
async fn nothing_is_leased_from_a_paused_sweep() {
    let fixture = Fixture::new().await;
    let one = fixture.submit("one", &["a"]).await;
    fixture.submit("two", &["b"]).await;
    fixture.store.pause(one).await.unwrap();
    assert!(fixture.lease_for(fixture.anne, Some(one), 9, 0).await.is_empty());
    assert_eq!(names(&fixture.lease(9, 0).await), ["b"]);
    fixture.store.resume(one).await.unwrap();
    assert_eq!(names(&fixture.lease(9, 0).await), ["a"]);
}

#[tokio::test]
async fn what_a_paused_sweep_shares_is_leased_for_the_other() {
    let fixture = Fixture::new().await;
    let one = fixture.submit_tree("one", &["aab", "aac"]).await.sweep;
    fixture.submit_tree("two", &["aab"]).await;
    fixture.store.pause(one).await.unwrap();
    assert_eq!(fixture.run_all().await, ["aa", "aab"]);
}

#[tokio::test]
async fn a_worker_is_offered_what_goes_on_from_where_it_is() {
    let fixture = Fixture::new().await;
    let bob = fixture.store.register(worker("bob"), Timestamp(0)).await.unwrap();
    fixture.submit_tree("s", &["aab", "aac", "dde", "ddf"]).await;
    let of_anne = fixture.lease(1, 0).await.remove(0);
    let of_bob = fixture.lease_for(bob, None, 1, 0).await.remove(0);
    assert_eq!(names(&[of_anne.clone(), of_bob.clone()]), ["aab", "dde"]);
    fixture.complete(&of_bob).await;
    fixture.complete(&of_anne).await;
    let next = fixture.lease_for(bob, None, 1, 0).await.remove(0);
    assert_eq!(names(std::slice::from_ref(&next)), ["dde"], "though another job comes first");
    fixture.complete(&next).await;
    assert_eq!(names(&fixture.lease_for(bob, None, 1, 0).await), ["ddf"], "it has that state still");
    assert_eq!(names(&fixture.lease_for(bob, None, 9, 0).await), ["aab", "aac"]);
}

#[tokio::test]
async fn what_has_a_higher_priority_comes_before_what_goes_on_from_where_a_worker_is() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("s", &["aab", "aac"]).await;
    fixture.run_one().await;
    let urgent = fixture.submit("urgent", &["x"]).await;
    fixture.store.bump(urgent, NewPriority::Exactly(1)).await.unwrap();
    assert_eq!(names(&fixture.lease(2, 0).await), ["x", "aab"]);
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_try_is_offered_when_it_is_due_also_to_those_who_join() {
    let fixture = Fixture::new().await;
    let one = NewSweep { retries: 1, ..sweep("one", &["a"]) };
    fixture.store.submit(one, Timestamp(0)).await.unwrap();
    let lease = fixture.lease_one(0).await;
    let two = fixture.submit("two", &["a"]).await;
    fixture.finish(lease, fail("exit:1"), 0).await;
    check_invariants(&fixture.store).await;
    assert!(fixture.lease_for(fixture.anne, Some(two), 1, 999).await.is_empty());
    // A second, and up to half as long again.
    assert_eq!(names(&fixture.lease_for(fixture.anne, Some(two), 1, 1500).await), ["a"]);
    check_invariants(&fixture.store).await;
}

#[tokio::test]
async fn requests_of_one_group_see_what_the_others_did() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b", "c"]).await;
    let lease = fixture.lease_one(0).await;
    let outcome = |ended| vec![NewOutcome { lease, reports: vec![report(1, 1.0)], ended }];
    let grant = |most| Grant { worker: fixture.anne, sweep: None, most, lasts: LASTS };
    let (first, second, leased, rest) = tokio::join!(
        fixture.store.finish(outcome(complete()), Timestamp(1)),
        fixture.store.finish(outcome(Ended::Release), Timestamp(1)),
        fixture.store.lease(grant(1), Timestamp(1)),
        fixture.store.lease(grant(5), Timestamp(1)),
    );
    assert_eq!(first.unwrap(), []);
    assert_eq!(second.unwrap()[0].message, "attempt 1 is no longer leased: the job is succeeded");
    assert_eq!((names(&jobs(leased.unwrap())), names(&jobs(rest.unwrap()))), (vec!["b"], vec!["c"]));
    assert_eq!(fixture.states(sweep).await, ["succeeded", "leased", "leased"]);
    check_invariants(&fixture.store).await;
}
