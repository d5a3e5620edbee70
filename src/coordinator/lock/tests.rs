use super::*;

/// So long that a test that waited for it would be noticed.
const NEVER: Duration = Duration::from_secs(3600);
const AT_ONCE: Pace = Pace { renewal: Duration::from_millis(5), settling: Duration::ZERO };

fn elsewhere() -> Holder {
    Holder { name: "process 7 on node3".to_owned(), boot: "another boot".to_owned() }
}

/// A lock file that says that a process of another machine has the table.
fn file_of(holder: &Holder) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    std::fs::write(&path, holder.text(3)).unwrap();
    (folder, path)
}

fn name_of(error: LockError) -> String {
    match error {
        LockError::Held { holder } => holder,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_second_holder_is_refused_by_name_until_the_first_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let first = DatabaseLock::acquire(&path).await.unwrap();
    let refusal = DatabaseLock::acquire(&path).await.unwrap_err().to_string();
    assert!(refusal.contains(&format!("process {} on ", std::process::id())), "{refusal}");
    drop(first);
    DatabaseLock::acquire(&path).await.unwrap();
}

#[tokio::test]
async fn another_machine_that_lives_is_refused_by_name() {
    let (_folder, path) = file_of(&elsewhere());
    let pace = Pace { renewal: NEVER, ..AT_ONCE };
    let renewing = tokio::spawn({
        let path = path.clone();
        async move {
            for renewals in 4.. {
                elsewhere().renew(&path, renewals).unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let refusal = acquire_as(Holder::this_process(), &path, Some(pace)).await.unwrap_err();
    renewing.abort();
    assert_eq!(name_of(refusal), "process 7 on node3");
}

#[tokio::test]
async fn another_machine_that_shows_no_sign_of_life_is_dead() {
    let (_folder, path) = file_of(&elsewhere());
    let lock = acquire_as(Holder::this_process(), &path, Some(AT_ONCE)).await.unwrap();
    Holder::this_process().expect_in(&path).unwrap();
    drop(lock);
    assert_eq!(read(&path).unwrap(), "", "who comes next need not wait");
}

#[tokio::test]
async fn a_dead_process_of_this_machine_is_not_waited_for() {
    let dead = Holder { name: "process 7 on here".to_owned(), ..Holder::this_process() };
    let (_folder, path) = file_of(&dead);
    let pace = Pace { renewal: NEVER, ..AT_ONCE };
    acquire_as(Holder::this_process(), &path, Some(pace)).await.unwrap();
}

#[tokio::test]
async fn a_holder_renews_until_it_lets_go_and_notices_that_it_was_taken_for_dead() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let me = Holder::this_process();
    let lock = acquire_as(me.clone(), &path, Some(AT_ONCE)).await.unwrap();
    let first = read(&path).unwrap();
    while read(&path).unwrap() == first {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(lock);
    let (_folder, path) = file_of(&elsewhere());
    assert_eq!(name_of(me.renew(&path, 1).unwrap_err()), "process 7 on node3");
    assert_eq!(read(&path).unwrap(), elsewhere().text(3), "nothing was written");
}

#[test]
fn a_file_system_without_locks_is_told_from_a_failing_one() {
    let error = |errno: rustix::io::Errno| io_error(Path::new("/x/lock"), errno.into());
    assert!(matches!(error(rustix::io::Errno::NOSYS), LockError::NoLocks { .. }));
    assert!(matches!(error(rustix::io::Errno::ACCESS), LockError::Io { .. }));
}
