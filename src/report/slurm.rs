//! What Slurm does with what was submitted to it.

use comfy_table::{Cell, CellAlignment};

use super::listed;
use super::table::{lines_of, new_table};
use crate::slurm::{JobView, SlurmView};

/// One row a submission; below it the workers that are lost. Nothing where there is nothing to say.
#[must_use]
pub fn slurm_table(view: &SlurmView) -> String {
    let mut text = String::new();
    if !view.jobs.is_empty() {
        let mut table = new_table();
        table.set_header(["slurm job", "for", "tasks", "pending", "running", "ended", "waiting for"]);
        for job in &view.jobs {
            let mut row = vec![Cell::new(job.job), Cell::new(purpose(job))];
            let numbers = [job.tasks, job.pending, job.running, job.ended];
            row.extend(numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right)));
            row.push(Cell::new(reasons(job)));
            table.add_row(row);
        }
        text += &lines_of(&table);
        for job in &view.jobs {
            text += &waits_for_ever(job);
            text += &ends(job);
        }
    }
    for lost in &view.lost {
        let leases = if lost.running == 1 { "its lease expires" } else { "its leases expire" };
        text += &format!("worker {} is lost: Slurm's job {} is gone; {leases}\n", lost.worker, lost.slurm);
    }
    text
}

fn purpose(job: &JobView) -> String {
    match job.sweep {
        Some(sweep) => format!("sweep {sweep}"),
        None => "the coordinator".to_owned(),
    }
}

/// `Resources`, or `Priority (2), Resources (1)`: in Slurm's words.
fn reasons(job: &JobView) -> String {
    if job.reasons.len() == 1 {
        return job.reasons.keys().cloned().collect();
    }
    let counted: Vec<String> =
        job.reasons.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
    counted.join(", ")
}

/// Reasons that don't pass by themselves, beside those of limits for a single job.
const LASTING: [&str; 8] = [
    "AccountNotAllowed",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
];

/// Other limits, such as `QOSMaxJobsPerUserLimit`, end as other jobs do.
fn waits_for_ever(job: &JobView) -> String {
    let is_lasting = |reason: &&String| reason.contains("PerJob") || LASTING.contains(&reason.as_str());
    let lasting: Vec<&String> = job.reasons.keys().filter(is_lasting).collect();
    if lasting.is_empty() {
        return String::new();
    }
    format!(
        "Slurm's job {} waits for what does not come ({}): `scancel {}`, and ask for something else\n",
        job.job,
        listed(&lasting),
        job.job
    )
}

/// How tasks ended, where it was not well.
fn ends(job: &JobView) -> String {
    let bad: Vec<String> = job.bad_ends.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if bad.is_empty() {
        return String::new();
    }
    format!("of Slurm's job {} ended: {}; `sacct -j {}` says more\n", job.job, bad.join(", "), job.job)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::slurm::LostWorker;
    use crate::vocabulary::{SweepId, WorkerId};

    #[test]
    fn submissions_and_lost_workers_are_shown() {
        let counts = |pairs: &[(&str, u32)]| {
            pairs.iter().map(|(text, count)| ((*text).to_owned(), *count)).collect::<BTreeMap<_, _>>()
        };
        let coordinator = JobView {
            job: 4710,
            sweep: None,
            tasks: 1,
            pending: 0,
            reasons: BTreeMap::new(),
            running: 1,
            ended: 0,
            bad_ends: BTreeMap::new(),
        };
        let workers = JobView {
            job: 4711,
            sweep: Some(SweepId(3)),
            tasks: 8,
            pending: 3,
            reasons: counts(&[("Priority", 2), ("Resources", 1)]),
            running: 3,
            ended: 2,
            bad_ends: counts(&[("NODE_FAIL", 1)]),
        };
        let waiting = JobView { job: 4720, reasons: counts(&[("Dependency", 8)]), ..workers.clone() };
        let limited = JobView {
            job: 4730,
            reasons: counts(&[("QOSMaxJobsPerUserLimit", 6), ("QOSMaxWallDurationPerJobLimit", 2)]),
            bad_ends: BTreeMap::new(),
            ..waiting.clone()
        };
        let lost = LostWorker { worker: WorkerId(5), slurm: "4711_3".to_owned(), running: 2 };
        let view = SlurmView { jobs: vec![coordinator, workers, waiting, limited], lost: vec![lost] };
        insta::assert_snapshot!(slurm_table(&view));
        assert_eq!(slurm_table(&SlurmView::default()), "");
    }
}
