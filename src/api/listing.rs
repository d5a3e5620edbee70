use axum::Json;
use axum::extract::State;

use super::extract::{Path, Query, parse_id};
use super::problem::ApiError;
use super::routes::Answer;
use crate::coordinator::Coordinator;
use crate::protocol::http::{ResultsQuery, ResultsResponse};
use crate::protocol::listing::{
    AttemptsResponse, ConfigurationsQuery, ConfigurationsResponse, ListedConfiguration, ListedMetric,
    MeanOfSeeds, SeededTrial, TrialsQuery, TrialsResponse,
};
use crate::report::{Configuration, ShownMetric, View, ViewError, count};
use crate::vocabulary::{SweepId, TrialNumber};

/// A page of a sweep's trials.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/trials", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    TrialsQuery,
), responses(
    (status = 200, description = "the page, and how much there is", body = TrialsResponse),
    (status = 404, description = "there is no such sweep"),
))]
pub(super) async fn trials(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    Query(query): Query<TrialsQuery>,
) -> Answer<TrialsResponse> {
    Ok(Json(coordinator.list_trials(parse_id(sweep)?, &query).await?))
}

/// A trial, and what was tried for it.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/trials/{trial}/attempts", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    ("trial" = TrialNumber, Path, description = "The trial's number."),
), responses(
    (status = 200, description = "its parameters, and the attempts at its jobs", body = AttemptsResponse),
    (status = 404, description = "there is no such sweep or trial"),
))]
pub(super) async fn attempts(
    State(coordinator): State<Coordinator>,
    Path((sweep, trial)): Path<(String, String)>,
) -> Answer<AttemptsResponse> {
    let trial = trial.parse().map_err(|_| ApiError::Id(trial))?;
    Ok(Json(coordinator.attempts(parse_id(sweep)?, trial).await?))
}

/// A sweep's configurations, best first: the numbers of `sweep results`. It reads every trial of the sweep.
#[utoipa::path(get, path = "/v1/sweeps/{sweep}/configurations", tag = "sweeps", params(
    ("sweep" = SweepId, Path, description = "The sweep's id."),
    ConfigurationsQuery,
), responses(
    (status = 200, description = "the page, and how many there are", body = ConfigurationsResponse),
    (status = 404, description = "there is no such sweep, or it has no such metric"),
))]
pub(super) async fn configurations(
    State(coordinator): State<Coordinator>,
    Path(sweep): Path<String>,
    Query(query): Query<ConfigurationsQuery>,
) -> Answer<ConfigurationsResponse> {
    let results = coordinator.results_at(parse_id(sweep)?, &ResultsQuery::default()).await?;
    // Grouping some ten thousand trials takes longer than other requests may be kept waiting.
    let page = tokio::task::spawn_blocking(move || page(&results, &query)).await;
    Ok(Json(page.map_err(std::io::Error::other).map_err(ApiError::File)??))
}

fn page(results: &ResultsResponse, query: &ConfigurationsQuery) -> Result<ConfigurationsResponse, ViewError> {
    let view = View::usual(results);
    let metrics = view.metrics.clone();
    let warnings = view.dead_knobs.iter().map(ToString::to_string).collect();
    // With the columns that are usually shown, whatever ranks.
    let configurations = match &query.metric {
        Some(metric) => view.ranked_by(metric)?,
        None => view.configurations,
    };
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(u32::from(query.limit)).unwrap_or(usize::MAX);
    let shown = configurations.iter().enumerate().skip(offset).take(limit);
    Ok(ConfigurationsResponse {
        total: count(configurations.len()),
        parameters: results.swept.clone(),
        metrics: metrics
            .iter()
            .map(|metric| ListedMetric { name: metric.name.clone(), goal: metric.goal })
            .collect(),
        warnings,
        configurations: shown.map(|(place, one)| listed(results, &metrics, place, one)).collect(),
    })
}

fn listed(
    results: &ResultsResponse,
    metrics: &[ShownMetric],
    place: usize,
    configuration: &Configuration<'_>,
) -> ListedConfiguration {
    let value = |name: &String| configuration.parameters.get(name).cloned().unwrap_or_default();
    let trials = configuration.trials.iter();
    ListedConfiguration {
        rank: count(place) + 1,
        hash: configuration.hash.clone(),
        values: results.swept.iter().map(value).collect(),
        trials: trials
            .map(|trial| SeededTrial { trial: trial.trial, seed: trial.seed, state: trial.state })
            .collect(),
        n: count(configuration.n()),
        results: metrics
            .iter()
            .map(|metric| {
                let spread = configuration.metrics.get(metric.name.as_str())?;
                Some(MeanOfSeeds { mean: spread.mean, std: spread.std, n: count(spread.n) })
            })
            .collect(),
    }
}
