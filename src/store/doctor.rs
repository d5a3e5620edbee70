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
        "open needs are what counting would give, and only a job without any is queued, leased or succeeded",
        "SELECT COUNT(*) FROM jobs WHERE open_needs <>
           (SELECT COUNT(*) FROM jobs AS need WHERE need.state <> 'succeeded' AND
              (need.id = jobs.parent_id
               OR need.id IN (SELECT required_id FROM job_requirements WHERE job_id = jobs.id)))
           OR (open_needs > 0 AND state IN ('queued', 'leased', 'succeeded'))",
    ),
    ("a job with all it needs is not blocked", "SELECT COUNT(*) FROM jobs WHERE open_needs = 0 AND state = 'blocked'"),
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
        "SELECT COUNT(*) FROM attempts WHERE attempt = 1 AND resumed_epoch > 0",
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
    (
        "a sweep lists every job in which a trial ends",
        "SELECT COUNT(*) FROM trials LEFT JOIN sweep_jobs USING (sweep_id, job_id) WHERE sweep_jobs.job_id IS NULL",
    ),
];
