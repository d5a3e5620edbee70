use super::*;
use crate::store::{IllHost, list_held, list_ill_hosts};
use crate::vocabulary::FailureReason;

#[tokio::test]
async fn ill_hosts_are_there_after_reopening_until_they_are_well() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a", "b", "c"]).await;
    let jobs: Vec<_> = fixture.lease(2, 0).await.into_iter().map(|job| job.lease.job).collect();
    let longest = Duration::from_millis(1500);
    let ill = |host: &str, reason| IllHost { host: host.to_owned(), reason, jobs: jobs.clone(), longest };
    let [anne, bob] = [ill("anne", FailureReason::Exit(-1)), ill("bob", FailureReason::GpuOom)];
    for host in [ill("anne", FailureReason::Nan), bob.clone(), anne.clone()] {
        fixture.store.note_ill_host(host).await.unwrap();
    }
    let path = fixture.folder.path().join("sweep.db");
    fixture.store.clone().close().await;

    let store = Store::open(&path).await.unwrap();
    assert_eq!(list_ill_hosts(&mut store.reader().await.unwrap()).await.unwrap(), [anne, bob.clone()]);
    assert!(store.forget_ill_host("anne".to_owned()).await.unwrap());
    assert!(!store.forget_ill_host("anne".to_owned()).await.unwrap());
    assert_eq!(list_ill_hosts(&mut store.reader().await.unwrap()).await.unwrap(), [bob]);
    check_invariants(&store).await;
}

#[tokio::test]
async fn leases_that_are_held_are_listed_with_their_workers() {
    let fixture = Fixture::new().await;
    fixture.submit("s", &["a", "b", "c"]).await;
    let bob = fixture.store.register(worker("bob"), Timestamp(0)).await.unwrap();
    let first = fixture.lease_one(0).await;
    let second = fixture.lease_for(bob, None, 1, 0).await[0].lease;
    let third = fixture.lease_one(0).await;
    fixture.finish(third, complete(), 1).await;
    let mut held = list_held(&mut fixture.store.reader().await.unwrap()).await.unwrap();
    held.sort_by_key(|(lease, _)| lease.job);
    assert_eq!(held, [(first, fixture.anne), (second, bob)]);
}
