//! Trials of a sweep whose weights others may read.

use super::{Reader, StoreError};
use crate::vocabulary::{StateHash, SweepId, TrialNumber};

/// A trial and the state in which it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub number: TrialNumber,
    pub seed: u64,
    /// Canonical JSON.
    pub parameters: String,
    /// Names its final weights.
    pub state: StateHash,
    /// Whether its last job has succeeded.
    pub has_succeeded: bool,
    /// What it has in common with other trials of its kind, as it was submitted.
    pub context: String,
}

/// A sweep's trials by number.
///
/// # Errors
/// When the file can't be read.
pub async fn list_candidates(reader: &mut Reader, sweep: SweepId) -> Result<Vec<Candidate>, StoreError> {
    let rows = sqlx::query!(
        "-- list_candidates
        SELECT trials.number, trials.seed, trials.parameters, jobs.hash, jobs.state, contexts.work
        FROM trials
        CROSS JOIN jobs ON jobs.id = trials.job_id
        CROSS JOIN contexts ON contexts.id = jobs.context_id
        WHERE trials.sweep_id = ?
        ORDER BY trials.number",
        sweep.0
    )
    .fetch_all(reader.connection())
    .await?;
    let candidates = rows.into_iter().map(|row| {
        Ok(Candidate {
            number: TrialNumber(row.number),
            seed: row.seed.cast_unsigned(),
            parameters: row.parameters,
            state: StateHash::try_from(row.hash.as_slice())
                .map_err(|error| StoreError::Damaged(error.to_string()))?,
            has_succeeded: row.state == "succeeded",
            context: row.work,
        })
    });
    candidates.collect()
}
