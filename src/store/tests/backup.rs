use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::{Beat, Contents, StoreError, read_copy};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_others_write_is_a_sound_table() {
    let fixture = Fixture::new().await;
    let trials: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    fixture.submit("s", &trials.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let is_copied = Arc::new(AtomicBool::new(false));
    let writing = {
        let (store, anne, is_copied) = (fixture.store.clone(), fixture.anne, is_copied.clone());
        tokio::spawn(async move {
            let (mut writes, mut meanwhile) = (0, 0);
            while meanwhile < 20 {
                let grant = Grant { worker: anne, sweep: None, most: 1, lasts: LASTS };
                for job in jobs(store.lease(grant, Timestamp(writes)).await.unwrap()) {
                    let outcome = NewOutcome { lease: job.lease, reports: vec![], ended: Ended::Release };
                    store.finish(vec![outcome], Timestamp(writes)).await.unwrap();
                }
                writes += 1;
                if is_copied.load(Ordering::SeqCst) {
                    meanwhile += 1;
                }
            }
            writes
        })
    };
    let path = fixture.folder.path().join("copy.db");
    fixture.store.back_up(&path).await.unwrap();
    is_copied.store(true, Ordering::SeqCst);
    assert!(writing.await.unwrap() >= 20, "the writer went on");
    assert_eq!(read_copy(&path).await.unwrap(), Contents { sweeps: 1, trials: 200, jobs: 200 });
    let copy = Store::open(&path).await.unwrap();
    check_invariants(&copy).await;
    assert_eq!(list_trials(&mut copy.reader().await.unwrap(), SweepId(1)).await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_copy_takes_no_other_files_place_and_is_known_from_one() {
    let fixture = Fixture::new().await;
    let path = fixture.folder.path().join("notes.txt");
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(fixture.store.back_up(&path).await, Err(StoreError::Database(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert!(matches!(read_copy(&path).await, Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn what_was_leased_before_a_table_was_restored_is_not_taken_for_what_it_leases() {
    let fixture = Fixture::new().await;
    let sweep = fixture.submit("s", &["a", "b"]).await;
    let before = fixture.lease_one(0).await;
    let path = fixture.folder.path().join("copy.db");
    fixture.store.back_up(&path).await.unwrap();
    let since = fixture.lease_one(1).await;
    let since_then = fixture.store.register(worker("bob"), Timestamp(1)).await.unwrap();

    let restored = Store::open(&path).await.unwrap();
    let fixture = Fixture { store: restored, ..fixture };
    let bob = fixture.store.register(worker("bob"), Timestamp(2)).await.unwrap();
    assert_ne!(bob, since_then, "who came since the copy was made is unknown, and nobody passes for him");
    let stranger = Grant { worker: since_then, sweep: None, most: 1, lasts: LASTS };
    assert_eq!(fixture.store.lease(stranger, Timestamp(2)).await.unwrap(), Leased::NoSuchWorker);
    let again = fixture.lease_for(bob, None, 1, 2).await[0].lease;
    assert_eq!((again.job, again.attempt), (since.job, since.attempt), "the same numbers are given again");

    let is_held = async |lease| {
        let beat = Beat { worker: fixture.anne, leases: vec![lease], lasts: LASTS };
        fixture.store.heartbeat(beat, Timestamp(3)).await.unwrap().is_empty()
    };
    for _ in ["while bob has it", "after he has ended it"] {
        for lost in [before, since] {
            assert!(!is_held(lost).await, "what else it has reported nobody knows");
            assert!(!fixture.report(lost, 1, 99.0).await);
            assert!(!fixture.finish(lost, complete(), 3).await);
        }
        fixture.report(again, 1, 10.0).await;
        assert!(fixture.finish(again, complete(), 4).await, "once and again");
    }
    assert_eq!(fixture.states(sweep).await, ["leased", "succeeded"]);
    assert_eq!(fixture.trials(sweep).await[1].metrics, report(1, 10.0).metrics);
    check_invariants(&fixture.store).await;
}
