//! Pages of a sweep's trials, and one trial with what was tried for it.

use super::{Coordinator, CoordinatorError, wire};
use crate::protocol::listing::{
    AttemptsResponse, ListedTrial, TrialAttempt, TrialsOrder, TrialsQuery, TrialsResponse,
};
use crate::store::{
    self, ListedTrialRow, Page, StoreError, TrialAttemptRow, TrialFilter, TrialOrder, Wanted,
};
use crate::vocabulary::{JobId, SweepId, Timestamp, TrialNumber};

/// Attempts that are named; a trial has as many as its retries and its stages allow, and mostly one.
const MOST_ATTEMPTS: u32 = 200;

impl Coordinator {
    /// A page of a sweep's trials.
    ///
    /// # Errors
    /// When there is no such sweep, or the table can't be read.
    pub async fn list_trials(
        &self,
        sweep: SweepId,
        query: &TrialsQuery,
    ) -> Result<TrialsResponse, CoordinatorError> {
        let row = self.find(sweep).await?;
        let filter = TrialFilter { state: query.state, wanted: wanted(&query.find) };
        let order = match (query.order, &row.metric) {
            (TrialsOrder::Newest, _) => TrialOrder::NumberDescending,
            (TrialsOrder::Best, Some(metric)) => TrialOrder::BestFirst(metric.clone()),
            (TrialsOrder::Worst, Some(metric)) => TrialOrder::WorstFirst(metric.clone()),
            (TrialsOrder::Number | TrialsOrder::Best | TrialsOrder::Worst, _) => TrialOrder::Number,
        };
        let page = Page { offset: query.offset, limit: query.limit.into() };
        let mut reader = self.store.reader().await?;
        let total = store::count_listed(&mut reader, sweep, &filter).await?;
        let rows = store::list_page(&mut reader, sweep, row.metric.as_ref(), &filter, &order, page).await?;
        let trials = rows.into_iter().map(|trial| listed(trial, &row.swept)).collect::<Result<_, _>>()?;
        Ok(TrialsResponse { total, metric: row.metric, swept: row.swept, trials })
    }

    /// A trial, and what was tried for it.
    ///
    /// # Errors
    /// When there is no such trial, or the table can't be read.
    pub async fn attempts(
        &self,
        sweep: SweepId,
        trial: TrialNumber,
    ) -> Result<AttemptsResponse, CoordinatorError> {
        self.find(sweep).await?;
        let now = self.clock.now();
        let mut reader = self.store.reader().await?;
        let found = store::find_listed(&mut reader, sweep, trial).await?;
        let (state, seed, parameters) = found.ok_or(CoordinatorError::UnknownTrial { sweep, trial })?;
        let line = store::list_line(&mut reader, sweep, trial).await?;
        let jobs: Vec<JobId> = line.iter().map(|row| row.job).collect();
        let attempts = store::list_attempts(&mut reader, &jobs, MOST_ATTEMPTS).await?;
        Ok(AttemptsResponse {
            sweep,
            trial,
            state: wire::trial_state(trial, &state)?,
            seed,
            parameters: wire::parameters(trial, &parameters)?,
            attempts: attempts.into_iter().map(|row| attempt(row, now)).collect(),
        })
    }
}

/// `lr=0.1` is a parameter's value, a number where it reads as one; any other word is text.
fn wanted(find: &str) -> Vec<Wanted> {
    let word = |word: &str| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Wanted::Value {
            name: name.to_owned(),
            value: match serde_json::from_str(value) {
                Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => value,
                _ => value.into(),
            },
        },
        _ => Wanted::Text(word.to_owned()),
    };
    find.split_whitespace().map(word).collect()
}

fn listed(row: ListedTrialRow, swept: &[String]) -> Result<ListedTrial, StoreError> {
    let mut parameters = wire::parameters(row.number, &row.parameters)?;
    parameters.retain(|name, _| swept.contains(name));
    let reason = row.failure_reason.and_then(|reason| reason.parse().ok());
    Ok(ListedTrial {
        trial: row.number,
        state: wire::trial_state(row.number, &row.job_state)?,
        seed: row.seed,
        parameters,
        epoch: row.reported_epoch,
        last_epoch: row.last_epoch,
        value: row.value,
        message: row.message.filter(|message| reason.is_some() && !message.is_empty()),
        reason,
    })
}

fn attempt(row: TrialAttemptRow, now: Timestamp) -> TrialAttempt {
    let ended_at = row.ended_at.unwrap_or(now);
    TrialAttempt {
        job: row.job,
        first_epoch: row.first_epoch,
        last_epoch: row.last_epoch,
        attempt: row.attempt,
        worker: row.worker,
        host: row.host,
        began_seconds_ago: now.since(row.leased_at).as_secs_f64(),
        seconds: ended_at.since(row.leased_at).as_secs_f64(),
        outcome: row.outcome.unwrap_or_else(|| "running".to_owned()),
        message: row.message.filter(|message| !message.is_empty()),
        log_tail: row.log_tail.filter(|tail| !tail.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::Fixture;
    use crate::protocol::listing::PageSize;
    use crate::vocabulary::TrialState;

    const SPEC: &str = "command: [/bin/true]\nseeds: 2\nparameters: {lr: [0.1, 0.01], mode: [Plain, '0.1'], deep: [true, false]}\n";

    async fn numbers(fixture: &Fixture, sweep: SweepId, query: TrialsQuery) -> (u64, Vec<i64>) {
        let page = fixture.coordinator.list_trials(sweep, &query).await.unwrap();
        (page.total, page.trials.iter().map(|trial| trial.trial.0).collect())
    }

    #[tokio::test]
    async fn a_page_has_what_was_asked_for_and_says_how_much_there_is() {
        let fixture = Fixture::new().await;
        let sweep = fixture.submit(SPEC).await;
        let ask = |find: &str| TrialsQuery { find: find.to_owned(), ..TrialsQuery::default() };
        assert_eq!(numbers(&fixture, sweep, ask("")).await.0, 16);
        // A number is a number, not the text that looks like it, and the other way round.
        for (find, total) in [
            ("lr=0.1", 8),
            ("lr=1e-1", 8),
            ("lr=0.1 mode=Plain", 4),
            ("mode=0.1", 0),
            ("deep=true", 8),
            ("plain", 8),
            ("nothing", 0),
            ("lr=0.1 lr=0.01", 0),
            ("'); DROP TABLE trials; --", 0),
        ] {
            assert_eq!(numbers(&fixture, sweep, ask(find)).await.0, total, "{find}");
        }
        let page = TrialsQuery {
            order: TrialsOrder::Newest,
            offset: 1,
            limit: PageSize::try_from(2).unwrap(),
            ..TrialsQuery::default()
        };
        assert_eq!(numbers(&fixture, sweep, page).await, (16, vec![15, 14]));
        let beyond = TrialsQuery { offset: u64::MAX, ..TrialsQuery::default() };
        assert_eq!(numbers(&fixture, sweep, beyond).await, (16, vec![]));
        let failed = TrialsQuery { state: Some(TrialState::Failed), ..TrialsQuery::default() };
        assert_eq!(numbers(&fixture, sweep, failed).await, (0, vec![]));
    }

    #[tokio::test]
    async fn a_trial_that_nobody_began_has_no_attempts() {
        let fixture = Fixture::new().await;
        let sweep = fixture.submit(SPEC).await;
        let found = fixture.coordinator.attempts(sweep, TrialNumber(3)).await.unwrap();
        assert_eq!((found.state, found.attempts.len()), (TrialState::Queued, 0));
        assert_eq!(found.parameters.len(), 3);
        let missing = fixture.coordinator.attempts(sweep, TrialNumber(99)).await.unwrap_err();
        assert!(matches!(missing, CoordinatorError::UnknownTrial { .. }), "{missing}");
    }
}
