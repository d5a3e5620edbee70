//! What holds after every transaction, whatever happened; and whether it still does.

use super::{Reader, StoreError};

/// Something that no version of this program leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    /// Rows that are concerned.
    pub rows: u64,
}

/// Looks at the whole table: its file, its references, and what the rows say of each other. Takes as long as reading it.
///
/// # Errors
/// When the file can't be read at all.
pub async fn examine(reader: &mut Reader) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let damages: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(reader.connection()).await?;
    findings.extend(
        damages
            .into_iter()
            .filter(|damage| damage != "ok")
            .map(|damage| Finding { what: format!("the file is damaged: {damage}"), rows: 1 }),
    );
    let strays: Vec<(String, Option<i64>, String, i64)> =
        sqlx::query_as("PRAGMA foreign_key_check").fetch_all(reader.connection()).await?;
    if let Some((from, _, to, _)) = strays.first() {
        let what = format!("rows of `{from}` and maybe others refer to rows of `{to}` that are not there");
        findings.push(Finding { what, rows: strays.len() as u64 });
    }
    for (holds, violations) in INVARIANTS {
        let rows: i64 = sqlx::query_scalar(*violations).fetch_one(reader.connection()).await?;
        if rows != 0 {
            findings
                .push(Finding { what: format!("not so: {holds}"), rows: u64::try_from(rows).unwrap_or(0) });
        }
    }
    Ok(findings)
}

/// Each query counts violations.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "a sweep's kept counts are what counting would give",
        "SELECT COUNT(*) FROM sweeps WHERE
           (trials_queued, trials_running, trials_succeeded, trials_failed, trials_cancelled) <> (
             SELECT COALESCE(SUM(state IN ('blocked', 'queued')), 0), COALESCE(SUM(state = 'leased'), 0),
                    COALESCE(SUM(state = 'succeeded'), 0), COALESCE(SUM(state = 'failed'), 0),
                    COALESCE(SUM(state = 'cancelled'), 0)
             FROM trials JOIN jobs ON jobs.id = trials.job_id WHERE trials.sweep_id = sweeps.id)",
    ),
    (
        "a job has an open attempt exactly while it is leased, and it is the newest",
        "SELECT COUNT(*) FROM jobs WHERE
           (SELECT COUNT(*) FROM attempts WHERE job_id = jobs.id AND outcome IS NULL) <> (state = 'leased')
           OR COALESCE((SELECT MAX(attempt) FROM attempts WHERE job_id = jobs.id), 0) <> attempt",
    ),
    (
        "a job's last outcome is that of its newest ended attempt",
        "SELECT COUNT(*) FROM jobs WHERE last_outcome IS NOT
           (SELECT outcome FROM attempts WHERE job_id = jobs.id AND outcome IS NOT NULL ORDER BY attempt DESC LIMIT 1)",
    ),
    (
        "a live job's open needs are what counting would give, and only a job without any is queued, leased or succeeded",
        "SELECT COUNT(*) FROM jobs WHERE (state IN ('blocked', 'queued', 'leased') AND open_needs <>
           (SELECT COUNT(*) FROM jobs AS need WHERE need.state <> 'succeeded' AND
              (need.id = jobs.parent_id
               OR need.id IN (SELECT required_id FROM job_requirements WHERE job_id = jobs.id))))
           OR (open_needs > 0 AND state IN ('queued', 'leased', 'succeeded'))",
    ),
    ("a job with all it needs is not blocked", "SELECT COUNT(*) FROM jobs WHERE open_needs = 0 AND state = 'blocked'"),
    (
        "live dependents are what counting would give",
        "SELECT COUNT(*) FROM jobs WHERE live_dependents <>
           (SELECT COUNT(*) FROM jobs AS dependent WHERE dependent.state IN ('blocked', 'queued', 'leased') AND
              (dependent.parent_id = jobs.id
               OR dependent.id IN (SELECT job_id FROM job_requirements WHERE required_id = jobs.id)))",
    ),
    (
        "a live job does not need one that was given up",
        "SELECT COUNT(*) FROM jobs WHERE state IN ('blocked', 'queued', 'leased') AND EXISTS
           (SELECT 1 FROM jobs AS need WHERE need.state IN ('failed', 'cancelled') AND
              (need.id = jobs.parent_id
               OR need.id IN (SELECT required_id FROM job_requirements WHERE job_id = jobs.id)))",
    ),
    (
        "a job that succeeded has its checkpoint let go where nobody needs it",
        "SELECT COUNT(*) FROM artifacts JOIN jobs ON jobs.id = artifacts.job_id
         WHERE artifacts.kind = 'checkpoint' AND jobs.state = 'succeeded' AND jobs.is_kept = 0
           AND jobs.live_dependents = 0",
    ),
    (
        "a job begins where its parent ends",
        "SELECT COUNT(*) FROM jobs LEFT JOIN jobs AS parent ON parent.id = jobs.parent_id
         WHERE jobs.first_epoch <> COALESCE(parent.last_epoch, 0) + 1",
    ),
    (
        "inner states lie within their job",
        "SELECT COUNT(*) FROM inner_states JOIN jobs ON jobs.id = inner_states.job_id
         WHERE inner_states.epoch NOT BETWEEN jobs.first_epoch AND jobs.last_epoch - 1",
    ),
    (
        "a sweep waits for every unfinished job of another sweep that its trials need, as long as it is",
        "WITH RECURSIVE needed (sweep_id, job_id) AS (
             SELECT trials.sweep_id, trials.job_id FROM trials JOIN jobs ON jobs.id = trials.job_id
             WHERE jobs.state IN ('blocked', 'queued', 'leased')
             UNION SELECT needed.sweep_id, jobs.parent_id FROM needed JOIN jobs ON jobs.id = needed.job_id
             WHERE jobs.parent_id IS NOT NULL
             UNION SELECT needed.sweep_id, job_requirements.required_id FROM needed
             JOIN jobs ON jobs.id = needed.job_id AND jobs.state IN ('blocked', 'queued', 'leased')
             JOIN job_requirements ON job_requirements.job_id = jobs.id)
         SELECT (SELECT COUNT(*) FROM needed JOIN jobs ON jobs.id = needed.job_id
                 WHERE jobs.sweep_id <> needed.sweep_id AND jobs.state IN ('blocked', 'queued', 'leased')
                   AND NOT EXISTS (SELECT 1 FROM joins WHERE joins.sweep_id = needed.sweep_id
                                     AND joins.job_id = needed.job_id))
              + (SELECT COUNT(*) FROM joins JOIN jobs ON jobs.id = joins.job_id
                 WHERE jobs.state NOT IN ('blocked', 'queued', 'leased')
                    OR joins.is_ready <> (jobs.state = 'queued' AND jobs.waits_until IS NULL))",
    ),
    (
        "only what has to wait is promised to an export, whose leases have no end",
        "SELECT (SELECT COUNT(*) FROM promises JOIN jobs ON jobs.id = promises.job_id WHERE jobs.state <> 'blocked')
              + (SELECT COUNT(*) FROM jobs JOIN exports ON exports.worker_id = jobs.worker_id
                 WHERE jobs.lease_deadline < 9223372036854775807)",
    ),
    (
        "a job keeps no more checkpoints than sweeps ask for",
        "SELECT COUNT(*) FROM jobs WHERE
           (SELECT COUNT(*) FROM kept_checkpoints WHERE job_id = jobs.id) > (
             SELECT COALESCE(SUM(CASE sweeps.keeps_more WHEN 'all' THEN jobs.last_epoch ELSE 1 END), 0)
             FROM keeps JOIN sweeps ON sweeps.id = keeps.sweep_id WHERE keeps.job_id = jobs.id)",
    ),
    (
        "a job is run with the parameters of a trial that there is",
        "SELECT COUNT(*) FROM jobs LEFT JOIN trials ON trials.sweep_id = jobs.sweep_id AND trials.number = jobs.trial
         WHERE trials.number IS NULL",
    ),
    (
        "reports were made under an attempt that there was",
        "SELECT COUNT(*) FROM reports LEFT JOIN attempts USING (job_id, attempt) WHERE attempts.job_id IS NULL",
    ),
    (
        "what succeeded has no report of an epoch that a later attempt did anew",
        "SELECT COUNT(*) FROM reports JOIN jobs ON jobs.id = reports.job_id
         WHERE jobs.state = 'succeeded' AND EXISTS
           (SELECT 1 FROM attempts WHERE attempts.job_id = reports.job_id AND attempts.attempt > reports.attempt
              AND attempts.resumed_epoch < reports.epoch)",
    ),
    (
        "an attempt takes over only epochs that an attempt before it was there for",
        "SELECT COUNT(*) FROM attempts JOIN jobs ON jobs.id = attempts.job_id
         WHERE attempts.attempt = 1 AND resumed_epoch > jobs.first_epoch - 1",
    ),
    (
        "a job has one checkpoint at most, and it was reported under an attempt that there was",
        "SELECT COUNT(*) FROM artifacts LEFT JOIN attempts USING (job_id, attempt)
         WHERE kind = 'checkpoint' AND (attempts.job_id IS NULL OR epoch IS NULL
           OR EXISTS (SELECT 1 FROM artifacts AS other WHERE other.kind = 'checkpoint'
                        AND other.job_id = artifacts.job_id AND other.id <> artifacts.id))",
    ),
    (
        "a leased job's progress does not lie before the checkpoint with which it began",
        "SELECT COUNT(*) FROM jobs JOIN attempts ON attempts.job_id = jobs.id AND attempts.attempt = jobs.attempt
         WHERE jobs.state = 'leased' AND jobs.reported_epoch < attempts.resumed_epoch",
    ),
];
