use reqwest::Url;

use super::{Client, ClientError};
use crate::protocol::http::{ResultsQuery, ResultsResponse};
use crate::vocabulary::{Goal, SweepId};

impl Client {
    /// `GET /v1/sweeps/{sweep}/results`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn results(&self, sweep: SweepId) -> Result<ResultsResponse, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/results")).await
    }

    /// `GET /v1/sweeps/{sweep}/results` of a certain epoch
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn results_at(
        &self,
        sweep: SweepId,
        query: &ResultsQuery,
    ) -> Result<ResultsResponse, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/results?{}", encoded(query))).await
    }
}

fn encoded(query: &ResultsQuery) -> String {
    let ResultsQuery { epoch, metric, goal } = query;
    let mut url = Url::parse("http://coordinator/").expect("it is a URL");
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("epoch", &epoch.to_string());
    if let Some(metric) = metric {
        pairs.append_pair("metric", metric);
    }
    match goal {
        Some(Goal::Maximize) => drop(pairs.append_pair("goal", "maximize")),
        Some(Goal::Minimize) => drop(pairs.append_pair("goal", "minimize")),
        None => {}
    }
    drop(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::EpochChoice;

    #[test]
    fn a_query_is_encoded_whatever_a_metric_is_called() {
        let metric = Some("a&b=c d".to_owned());
        let query = ResultsQuery { epoch: EpochChoice::Best, metric, goal: Some(Goal::Minimize) };
        assert_eq!(encoded(&query), "epoch=best&metric=a%26b%3Dc+d&goal=minimize");
        assert_eq!(encoded(&ResultsQuery::default()), "epoch=last");
    }
}
