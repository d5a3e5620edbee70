use std::collections::BTreeSet;

use reqwest::Url;

use super::{Client, ClientError};
use crate::protocol::insight::{CurvesResponse, Explanation, StagesResponse, SweepProgress};
use crate::protocol::listing::{TrialsOrder, TrialsQuery, TrialsResponse};
use crate::vocabulary::{SweepId, TrialNumber};

impl Client {
    /// `GET /v1/sweeps/{sweep}/trials/{trial}/explanation`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn explain(&self, sweep: SweepId, trial: TrialNumber) -> Result<Explanation, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/trials/{trial}/explanation")).await
    }

    /// `GET /v1/sweeps/{sweep}/trials`.
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn list_trials(
        &self,
        sweep: SweepId,
        query: &TrialsQuery,
    ) -> Result<TrialsResponse, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/trials?{}", encoded(query))).await
    }

    /// `GET /v1/sweeps/{sweep}/progress`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn progress(&self, sweep: SweepId) -> Result<SweepProgress, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/progress")).await
    }

    /// `GET /v1/sweeps/{sweep}/curves`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn curves(
        &self,
        sweep: SweepId,
        trials: &BTreeSet<TrialNumber>,
        points: Option<u32>,
    ) -> Result<CurvesResponse, ClientError> {
        let numbers: Vec<String> = trials.iter().map(ToString::to_string).collect();
        let points = points.map_or_else(String::new, |points| format!("&points={points}"));
        self.get(&format!("v1/sweeps/{sweep}/curves?trials={}{points}", numbers.join(","))).await
    }

    /// `GET /v1/sweeps/{sweep}/stages`
    ///
    /// # Errors
    /// Like all methods of the client.
    pub async fn stages(&self, sweep: SweepId) -> Result<StagesResponse, ClientError> {
        self.get(&format!("v1/sweeps/{sweep}/stages")).await
    }
}

fn encoded(query: &TrialsQuery) -> String {
    let TrialsQuery { state, find, order, offset, limit } = query;
    let mut url = Url::parse("http://coordinator/").expect("it is a URL");
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("find", find).append_pair("offset", &offset.to_string());
    pairs.append_pair("limit", &u32::from(*limit).to_string());
    let order = match order {
        TrialsOrder::Number => "number",
        TrialsOrder::Newest => "newest",
        TrialsOrder::Best => "best",
        TrialsOrder::Worst => "worst",
    };
    pairs.append_pair("order", order);
    if let Some(state) = state {
        pairs.append_pair("state", state.name());
    }
    drop(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::TrialState;

    #[test]
    fn a_query_is_what_the_route_reads() {
        let query = TrialsQuery {
            state: Some(TrialState::Failed),
            find: "lr=0.1 a&b".to_owned(),
            order: TrialsOrder::Newest,
            ..TrialsQuery::default()
        };
        assert_eq!(encoded(&query), "find=lr%3D0.1+a%26b&offset=0&limit=50&order=newest&state=failed");
    }
}
