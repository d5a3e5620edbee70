//! The table on a network file system, as far as one machine can show it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::super::{FileSystem, StoreError};
use super::*;

const NFS: FileSystem = FileSystem::Network("NFS");
/// Tells the child that it is one, and where the table lies.
const TABLE: &str = "SWEEP_TEST_SHARED_TABLE";

/// Not a test by itself: another process, as it would be another host, that wants the table too.
#[tokio::test]
async fn a_child_that_opens_the_table_of_another() {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells this process that it is a child")]
    let Ok(table) = std::env::var(TABLE) else { return };
    let opened = Store::open_on(NFS, Path::new(&table)).await;
    assert!(matches!(opened, Err(StoreError::InUse { .. })), "{:?}", opened.err());
}

#[tokio::test]
async fn nobody_else_opens_it_no_memory_is_shared_and_reading_does_not_wait_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("sweep.db");
    let store = Store::open_on(NFS, &table).await.unwrap();
    let submitted = store.submit(sweep("s", &["a", "b"]), Timestamp(0)).await.unwrap();
    let mut reader = store.reader().await.unwrap();
    let before = list_trials(&mut reader, submitted.sweep).await.unwrap();
    let anne = store.register(worker("anne"), Timestamp(0)).await.unwrap();
    let grant = Grant { worker: anne, sweep: None, most: 2, lasts: LASTS };
    assert_eq!(jobs(store.lease(grant, Timestamp(1)).await.unwrap()).len(), 2);
    let after = list_trials(&mut reader, submitted.sweep).await.unwrap();
    let states = |trials: &[TrialRow]| trials.iter().map(|trial| trial.job_state.clone()).collect::<Vec<_>>();
    assert_eq!((states(&before), states(&after)), (vec!["queued".into(); 2], vec!["leased".into(); 2]));
    assert!(folder.path().join("sweep.db-wal").exists());
    assert!(!folder.path().join("sweep.db-shm").exists(), "other hosts would not see it");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::network::a_child_that_opens_the_table_of_another"])
        .env(TABLE, &table)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(child.success(), "the child was let in");
    drop(reader);
    store.close().await;
    Store::open(&table).await.expect("once it is closed it is a table like any other");
}
