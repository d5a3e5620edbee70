//! Jobs that read the weights of trials of other sweeps.

use super::planned::{state, students};
use super::sharing::hash_of;
use super::*;
use crate::store::trials::Cause;
use crate::store::{Chosen, Keep, StoreError, Submitted, list_sweeps};

impl Fixture {
    async fn submit_students(&self, name: &str, trials: &[&str], teachers: &[&str]) -> Submitted {
        let submitted = self.store.submit(students(name, trials, teachers), Timestamp(0)).await.unwrap();
        check_invariants(&self.store).await;
        submitted
    }

    async fn submit_unkept(&self, name: &str, trials: &[&str]) -> Submitted {
        let sweep = NewSweep { keep: Keep::None, ..tree(name, trials) };
        self.store.submit(sweep, Timestamp(0)).await.unwrap()
    }
}

/// The weights that a job was told of, by the names of their trials; nothing stands for a file that isn't there.
fn read_by(job: &LeasedJob, teachers: &[&str]) -> Vec<Option<CheckpointHash>> {
    assert_eq!(job.required.len(), teachers.len());
    let find = |teacher: &&str| job.required.iter().find(|weights| weights.state == state(teacher)).unwrap();
    let hash = |teacher| Some(find(teacher).checkpoint.as_ref()?.hash.clone());
    teachers.iter().map(hash).collect()
}

#[tokio::test]
async fn a_job_waits_for_the_weights_that_it_reads_and_is_told_of_their_files() {
    let fixture = Fixture::new().await;
    fixture.submit_unkept("teachers", &["ab", "c"]).await;
    let submitted = fixture.submit_students("students", &["xyz"], &["ab", "c"]).await;
    assert_eq!((submitted.jobs_new, submitted.epochs_to_run), (1, 3 + 2 + 1));
    assert_eq!(fixture.states(submitted.sweep).await, ["blocked"]);
    // Whoever works for the students only gets what these wait for.
    let first = fixture.lease_for(fixture.anne, Some(submitted.sweep), 9, 0).await;
    assert_eq!(names(&first), ["ab", "c"]);
    fixture.complete(&first[0]).await;
    assert_eq!(fixture.lease(9, 0).await, []);
    fixture.complete(&first[1]).await;
    assert_eq!(fixture.unneeded(), [], "the weights stay until they are read");
    let student = fixture.lease(9, 0).await.remove(0);
    assert_eq!(read_by(&student, &["c", "ab"]), [Some(hash_of("c")), Some(hash_of("ab"))]);
    fixture.complete(&student).await;
    let mut unneeded = fixture.unneeded();
    unneeded.sort();
    let mut expected = [hash_of("ab"), hash_of("c")];
    expected.sort();
    assert_eq!(unneeded, expected);
}

#[tokio::test]
async fn weights_that_are_gone_are_made_again_as_they_were_made_first() {
    let fixture = Fixture::new().await;
    fixture.submit_unkept("teachers", &["ab", "ac"]).await;
    fixture.run_all().await;
    let submitted = fixture.submit_students("students", &["x"], &["ac"]).await;
    assert_eq!((submitted.epochs_to_run, submitted.epochs_run_again), (1 + 2, 2));
    let first = fixture.lease_for(fixture.anne, Some(submitted.sweep), 9, 0).await;
    // With the parameters of the trial that teaches, and not of those that learn from it.
    assert_eq!(names(&first), ["ac"]);
    assert_eq!(fixture.complete(&first[0]).await, "a");
    assert_eq!(fixture.run_all().await, ["ac", "x"]);
}

#[tokio::test]
async fn weights_that_a_sweep_keeps_are_kept_when_they_are_made_again() {
    let fixture = Fixture::new().await;
    fixture.submit_unkept("let go", &["a"]).await;
    fixture.run_all().await;
    assert_eq!(fixture.unneeded(), [hash_of("a")]);
    // Its trial is there, but nothing of it can be kept yet.
    fixture.submit_tree("kept", &["a"]).await;
    fixture.submit_students("students", &["x"], &["a"]).await;
    assert_eq!(fixture.run_all().await, ["a", "x"]);
    assert_eq!(fixture.unneeded(), []);
}

#[tokio::test]
async fn a_checkpoint_of_an_earlier_epoch_holds_no_final_weights() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("teachers", &["abc"]).await;
    let lease = fixture.lease_one(0).await;
    fixture.report_checkpoint(lease, 1.0, checkpoint('1', 2, 0)).await;
    // The disk was full when the last one was to be written.
    fixture.finish(lease, complete(), 0).await;
    let students = fixture.submit_students("students", &["x"], &["abc"]).await;
    assert_eq!(students.epochs_run_again, 3);
    assert_eq!(fixture.run_all().await, ["abc", "x"]);
}

#[tokio::test]
async fn weights_that_could_not_be_written_are_said_to_be_missing_and_a_retry_makes_them() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("teachers", &["a"]).await;
    let students = fixture.submit_students("students", &["x"], &["a"]).await;
    let teacher = fixture.lease_one(0).await;
    fixture.finish(teacher, complete(), 0).await;
    let student = fixture.lease(1, 0).await.remove(0);
    assert_eq!(read_by(&student, &["a"]), [None]);
    fixture.finish(student.lease, fail("bad_config"), 0).await;
    assert_eq!(fixture.store.retry(students.sweep, Chosen::All, Timestamp(1)).await.unwrap(), 1);
    check_invariants(&fixture.store).await;
    let teacher = fixture.lease(9, 1).await;
    assert_eq!(names(&teacher), ["a"]);
    fixture.complete(&teacher[0]).await;
    let student = fixture.lease(1, 1).await.remove(0);
    assert_eq!(read_by(&student, &["a"]), [Some(hash_of("a"))]);
}

#[tokio::test]
async fn a_job_is_leasable_when_all_that_it_needs_has_succeeded() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("parent", &["a"]).await;
    // It goes on from a, and reads the weights after it too.
    fixture.submit_students("child", &["ab"], &["a"]).await;
    fixture.submit_students("both", &["c"], &["a", "ab"]).await;
    for expected in ["a", "ab", "c"] {
        let leased = fixture.lease(9, 0).await;
        assert_eq!(names(&leased), [expected], "only one at a time has all that it needs");
        fixture.complete(&leased[0]).await;
    }
}

#[tokio::test]
async fn a_job_that_fails_for_good_fails_all_that_reads_its_weights_and_a_retry_reopens_all() {
    let fixture = Fixture::new().await;
    let teachers = fixture.submit_tree("teachers", &["a", "b"]).await.sweep;
    let students = fixture.submit_students("students", &["x", "y"], &["b"]).await.sweep;
    fixture.submit_students("others", &["z"], &["x"]).await;
    assert_eq!(fixture.run_one().await.unwrap(), "a");
    let lease = fixture.lease_one(0).await;
    fixture.finish(lease, fail("bad_config"), 1).await;
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(teachers).await, ["succeeded", "failed"]);
    assert_eq!(fixture.states(students).await, ["failed", "failed"]);
    let failure = fixture.trials(students).await.remove(0).failure.unwrap();
    let cause = Cause { reason: "bad_config".parse().unwrap(), sweep: teachers, trial: TrialNumber(2) };
    assert_eq!((failure.reason.to_string().as_str(), failure.cause), ("upstream", Some(cause)));
    assert_eq!(failure.message, "it broke");

    assert_eq!(fixture.store.retry(students, Chosen::All, Timestamp(2)).await.unwrap(), 3);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(teachers).await, ["succeeded", "queued"]);
    assert_eq!(fixture.states(students).await, ["blocked", "blocked"]);
    assert_eq!(fixture.run_all().await, ["b", "x", "y"]);
}

#[tokio::test]
async fn teachers_that_others_wait_for_are_not_cancelled() {
    let fixture = Fixture::new().await;
    let teachers = fixture.submit_tree("teachers", &["a", "b"]).await.sweep;
    let students = fixture.submit_students("students", &["x"], &["b"]).await.sweep;
    assert_eq!(fixture.store.cancel(teachers, Chosen::All, Timestamp(1)).await.unwrap().trials, 1);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(teachers).await, ["cancelled", "queued"]);
    // It was left for the students only; its own sweep has given it up.
    assert_eq!(fixture.store.cancel(students, Chosen::All, Timestamp(2)).await.unwrap().trials, 2);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.states(teachers).await, ["cancelled", "cancelled"]);
}

#[tokio::test]
async fn what_leads_only_to_a_job_whose_teacher_failed_is_not_run_until_that_is_tried_again() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("teacher", &["t"]).await;
    let one = fixture.submit_tree("one", &["ab"]).await.sweep;
    // It forks off within the job of the other, which is then given up.
    let two = fixture.submit_students("two", &["ac"], &["t"]).await.sweep;
    assert_eq!(fixture.store.cancel(one, Chosen::All, Timestamp(1)).await.unwrap().jobs, 1);
    let teacher = fixture.lease_one(1).await;
    fixture.finish(teacher, fail("nan"), 1).await;
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.lease(9, 1).await, []);
    let live = "SELECT COUNT(*) FROM jobs WHERE state IN ('blocked', 'queued', 'leased')";
    assert_eq!(sqlx::query_scalar::<_, i64>(live).fetch_one(&fixture.store.readers).await.unwrap(), 0);
    assert_eq!(fixture.store.retry(two, Chosen::All, Timestamp(2)).await.unwrap(), 3);
    check_invariants(&fixture.store).await;
    assert_eq!(fixture.run_all().await, ["t", "a", "ac"]);
}

#[tokio::test]
async fn both_parts_of_a_split_job_read_the_weights_that_it_required() {
    let fixture = Fixture::new().await;
    fixture.submit_tree("teacher", &["t"]).await;
    fixture.submit_students("one", &["aab"], &["t"]).await;
    fixture.submit_students("two", &["aac"], &["t"]).await;
    assert_eq!(fixture.run_one().await.unwrap(), "t");
    for expected in ["aab", "aab", "aac"] {
        let job = fixture.lease(1, 0).await.remove(0);
        assert_eq!((names(std::slice::from_ref(&job))[0], job.required.len()), (expected, 1));
        fixture.complete(&job).await;
    }
}

#[tokio::test]
async fn a_sweep_that_reads_what_nobody_trains_is_refused_whole() {
    let fixture = Fixture::new().await;
    let refused = fixture.store.submit(students("students", &["x"], &["a"]), Timestamp(0)).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    assert_eq!(list_sweeps(&mut fixture.store.reader().await.unwrap()).await.unwrap(), []);
}
