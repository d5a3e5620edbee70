use crate::store::{Store, examine};

/// What holds after every transaction, whatever happened. Serves every level of tests.
pub(crate) async fn check_invariants(store: &Store) {
    let findings = examine(&mut store.reader().await.unwrap()).await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}");
}
