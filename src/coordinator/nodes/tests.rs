use super::*;
use crate::vocabulary::Nonce;

const SILENCE: Duration = Duration::from_secs(60);
const NOW: Timestamp = Timestamp(1_000_000);
const ANNE: WorkerId = WorkerId(1);
const BOB: WorkerId = WorkerId(2);
const FAILED: Luck = Luck::Bad(FailureReason::Exit(1));
const FAILED_OTHERWISE: Luck = Luck::Bad(FailureReason::Exit(2));

/// Two nodes with a worker each; on bob a job went well.
fn nodes() -> Nodes {
    let nodes = two_new_nodes();
    end(&nodes, BOB, 1000, Luck::Good);
    nodes
}

fn two_new_nodes() -> Nodes {
    let nodes = Nodes::default();
    nodes.worker_is_on(ANNE, "anne", NOW);
    nodes.worker_is_on(BOB, "bob", NOW);
    nodes
}

fn token(job: i64) -> LeaseToken {
    LeaseToken { job: JobId(job), attempt: Attempt(1), nonce: Nonce::default() }
}

fn end(nodes: &Nodes, worker: WorkerId, job: i64, luck: Luck) {
    turn(nodes, worker, job, luck);
}

fn turn(nodes: &Nodes, worker: WorkerId, job: i64, luck: Luck) -> Vec<Turn> {
    nodes.leased(token(job), worker, NOW);
    nodes.ended(&[(token(job), luck)], &[], NOW)
}

fn fail(nodes: &Nodes, worker: WorkerId, jobs: std::ops::RangeInclusive<i64>) {
    jobs.for_each(|job| end(nodes, worker, job, FAILED));
}

fn is_quarantined(nodes: &Nodes, worker: WorkerId) -> bool {
    nodes.quarantine(worker, NOW, SILENCE).is_some()
}

/// What it may have, where both are at work.
fn permit(nodes: &Nodes, worker: WorkerId, now: Timestamp) -> Permit {
    [ANNE, BOB].into_iter().for_each(|worker| nodes.worker_was_seen(worker, now));
    nodes.permit(worker, None, now, SILENCE)
}

#[test]
fn a_node_where_different_jobs_fail_alike_gets_hardly_any_more_until_it_is_released() {
    let nodes = nodes();
    fail(&nodes, ANNE, 1..=4);
    fail(&nodes, ANNE, 1..=4);
    assert!(!is_quarantined(&nodes, ANNE), "four different ones");
    fail(&nodes, ANNE, 5..=5);
    let why = nodes.quarantine(ANNE, NOW, SILENCE).unwrap();
    let expected = "5 different jobs in a row failed on anne (exit:1), and bob does better; anne gets one every 5 minutes until \
                    one goes well: mend it, then `sweep worker release anne`";
    assert_eq!(why, expected);
    assert!(!is_quarantined(&nodes, BOB));
    // Another agent on the same node is not better off, nor is one that is started again.
    nodes.worker_left(ANNE);
    nodes.worker_is_on(WorkerId(3), "anne", NOW);
    assert!(is_quarantined(&nodes, WorkerId(3)));
    assert!(nodes.release("anne") && !nodes.release("anne") && !nodes.release("nobody"));
    assert!(!is_quarantined(&nodes, WorkerId(3)));
}

#[test]
fn a_node_in_quarantine_gets_a_job_from_time_to_time_and_one_that_goes_well_ends_it() {
    let nodes = nodes();
    fail(&nodes, ANNE, 1..=5);
    assert_eq!(permit(&nodes, ANNE, NOW), Permit::NoneFor(PROBE_PERIOD));
    let later = NOW.after(PROBE_PERIOD);
    assert_eq!(permit(&nodes, ANNE, later), Permit::Probe);
    assert_eq!(permit(&nodes, ANNE, later), Permit::NoneFor(PROBE_PERIOD), "one at a time");
    nodes.probe_was_in_vain(ANNE, later);
    assert_eq!(permit(&nodes, ANNE, later), Permit::Probe, "there was no job");
    for (job, luck) in [(6, FAILED), (7, FAILED_OTHERWISE), (8, Luck::Neither)] {
        end(&nodes, ANNE, job, luck);
        assert_eq!(permit(&nodes, ANNE, later), Permit::NoneFor(PROBE_PERIOD), "{luck:?}");
    }
    end(&nodes, ANNE, 9, Luck::Good);
    assert_eq!(permit(&nodes, ANNE, later), Permit::AsManyAsAsked);
    assert!(!nodes.release("anne"), "it is well");
}

#[test]
fn an_illness_is_handed_out_when_it_begins_and_when_it_ends_and_can_be_restored() {
    let nodes = nodes();
    fail(&nodes, ANNE, 1..=4);
    let ill = IllHost {
        host: "anne".to_owned(),
        reason: FailureReason::Exit(1),
        jobs: (1..=5).map(JobId).collect(),
        longest: Duration::ZERO,
    };
    assert_eq!(turn(&nodes, ANNE, 5, FAILED), [Turn::Ill(ill.clone())]);
    assert_eq!(turn(&nodes, ANNE, 6, FAILED), []);
    assert_eq!(turn(&nodes, ANNE, 7, Luck::Good), [Turn::Well { host: "anne".to_owned() }]);
    assert_eq!(turn(&nodes, ANNE, 8, Luck::Good), []);

    nodes.were_ill(vec![ill], NOW);
    assert!(is_quarantined(&nodes, ANNE));
    assert_eq!(permit(&nodes, ANNE, NOW), Permit::Probe);
}

#[test]
fn a_success_or_another_reason_begins_the_row_anew() {
    for interruption in [Luck::Good, FAILED_OTHERWISE] {
        let nodes = nodes();
        fail(&nodes, ANNE, 1..=4);
        end(&nodes, ANNE, 5, interruption);
        fail(&nodes, ANNE, 6..=9);
        assert!(!is_quarantined(&nodes, ANNE), "{interruption:?}");
        fail(&nodes, ANNE, 10..=10);
        assert!(is_quarantined(&nodes, ANNE));
    }
}

#[test]
fn where_every_node_fails_alike_or_there_is_no_other_the_jobs_are_to_blame() {
    let nodes = nodes();
    fail(&nodes, ANNE, 1..=9);
    fail(&nodes, BOB, 10..=10);
    assert!(!is_quarantined(&nodes, ANNE) && !is_quarantined(&nodes, BOB));
    // Bob does better after all.
    end(&nodes, BOB, 11, Luck::Good);
    assert!(is_quarantined(&nodes, ANNE));
    let later = NOW.after(SILENCE * 2);
    nodes.worker_was_seen(ANNE, later);
    assert_eq!(nodes.quarantine(ANNE, later, SILENCE), None, "bob was not heard of for long");
    nodes.worker_left(BOB);
    assert!(!is_quarantined(&nodes, ANNE));
}

#[test]
fn two_ill_nodes_do_not_lock_each_other_out_whatever_ails_them() {
    let nodes = nodes();
    end(&nodes, ANNE, 1001, Luck::Good);
    fail(&nodes, ANNE, 1..=5);
    (11..=15).for_each(|job| end(&nodes, BOB, job, FAILED_OTHERWISE));
    for worker in [ANNE, BOB] {
        assert_eq!(permit(&nodes, worker, NOW), Permit::AsManyAsAsked, "{worker}");
    }
    // Whichever is well first is better than the other.
    end(&nodes, BOB, 16, Luck::Good);
    assert!(is_quarantined(&nodes, ANNE) && !is_quarantined(&nodes, BOB));
}

#[test]
fn a_node_is_not_measured_by_one_that_takes_other_jobs() {
    let (first, second) = (SweepId(1), SweepId(2));
    for (anne_takes, bob_takes, is_held_up) in [
        (None, None, true),
        (Some(first), None, true),
        (Some(first), Some(first), true),
        (Some(first), Some(second), false),
        (None, Some(second), false),
    ] {
        let nodes = nodes();
        nodes.permit(BOB, bob_takes, NOW, SILENCE);
        fail(&nodes, ANNE, 1..=5);
        let permit = nodes.permit(ANNE, anne_takes, NOW, SILENCE);
        let expected = if is_held_up { Permit::NoneFor(PROBE_PERIOD) } else { Permit::AsManyAsAsked };
        assert_eq!(permit, expected, "{anne_takes:?} {bob_takes:?}");
    }
}

#[test]
fn who_has_shown_nothing_yet_is_not_better_until_its_job_outlasts_those_that_failed() {
    let nodes = two_new_nodes();
    let after = |seconds| NOW.after(Duration::from_secs(seconds));
    for job in 1..=5 {
        nodes.leased(token(job), ANNE, NOW);
        nodes.ended(&[(token(job), FAILED)], &[], after(10));
    }
    assert_eq!(permit(&nodes, ANNE, after(10)), Permit::AsManyAsAsked, "bob has done nothing");
    nodes.leased(token(6), BOB, after(10));
    assert_eq!(permit(&nodes, ANNE, after(20)), Permit::AsManyAsAsked, "it may fail yet");
    assert!(matches!(permit(&nodes, ANNE, after(21)), Permit::NoneFor(_)));
    nodes.lost([token(6)].into_iter());
    assert_eq!(permit(&nodes, ANNE, after(21)), Permit::AsManyAsAsked, "bob does not work on it any more");
}

#[test]
fn what_was_refused_told_before_or_leased_by_nobody_known_counts_for_nothing() {
    let nodes = nodes();
    fail(&nodes, ANNE, 1..=4);
    let token = LeaseToken { job: JobId(5), attempt: Attempt(2), nonce: Nonce::default() };
    let ends = [(token, FAILED)];
    nodes.ended(&ends, &[], NOW);
    nodes.leased(token, ANNE, NOW);
    nodes.ended(&ends, &[Refused { token, message: String::new() }], NOW);
    let earlier = LeaseToken { attempt: Attempt(1), ..token };
    nodes.ended(&[(earlier, FAILED)], &[], NOW);
    end(&nodes, ANNE, 6, Luck::Neither);
    nodes.leased(token, ANNE, NOW);
    assert!(!is_quarantined(&nodes, ANNE));
    nodes.ended(&ends, &[], NOW);
    assert!(is_quarantined(&nodes, ANNE));
}

#[test]
fn numbers_that_diverge_are_no_nodes_fault() {
    let nodes = nodes();
    (1..=50).for_each(|job| end(&nodes, ANNE, job, Luck::Bad(FailureReason::Nan)));
    assert!(!is_quarantined(&nodes, ANNE));
}

#[test]
fn workers_that_are_gone_leave_nothing_but_the_illness_of_their_node() {
    let nodes = nodes();
    for worker in 10..30 {
        let host = format!("host {worker}");
        nodes.worker_is_on(WorkerId(worker), &host, NOW);
        end(&nodes, WorkerId(worker), worker, Luck::Good);
        nodes.leased(token(worker), WorkerId(worker), NOW);
    }
    fail(&nodes, ANNE, 1..=5);
    let later = NOW.after(SILENCE);
    nodes.only_these_are_there([Present { worker: BOB, host: "bob", seen_at: later }].into_iter());
    let memory = nodes.lock();
    assert_eq!(memory.workers.keys().collect::<Vec<_>>(), [&BOB]);
    assert_eq!(memory.workers[&BOB].seen_at, later);
    assert!(memory.leases.is_empty());
    assert_eq!(memory.hosts.keys().collect::<Vec<_>>(), ["anne", "bob"]);
}
