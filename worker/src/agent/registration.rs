//! The name under which the coordinator knows this agent.

use std::sync::{Mutex, PoisonError};

use sweep::client::{Backoff, ClientError, retry};
use sweep::protocol::http::{LeaseRequest, LeaseResponse, RegisterRequest, RegisterResponse};
use sweep::vocabulary::WorkerId;

use super::link::Link;

/// What the agent says of itself, and the name that it has got for it.
#[derive(Debug)]
pub(crate) struct Registration {
    request: RegisterRequest,
    worker: Mutex<WorkerId>,
}

impl Registration {
    /// Registers the agent.
    pub(crate) async fn begin(
        link: &Link,
        request: RegisterRequest,
        backoff: &Backoff,
    ) -> Result<(Registration, RegisterResponse), ClientError> {
        let registered = retry(backoff, "register with the coordinator", || link.register(&request)).await?;
        Ok((Registration { request, worker: Mutex::new(registered.worker) }, registered))
    }

    pub(crate) fn worker(&self) -> WorkerId {
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for jobs, if need be under a new name: a table that was restored from a copy knows nobody who came after that
    /// was made. What the agent holds it learns from its heartbeats.
    pub(crate) async fn lease(
        &self,
        link: &Link,
        request: LeaseRequest,
        backoff: &Backoff,
    ) -> Result<LeaseResponse, ClientError> {
        let asked = retry(backoff, "lease jobs", || link.lease(&request)).await;
        match asked {
            Err(ClientError::Refused { problem, .. }) if problem.code == "no_such_worker" => {}
            asked => return asked,
        }
        let again = retry(backoff, "register again", || link.register(&self.request)).await?;
        tracing::warn!(
            before = request.worker.0,
            now = again.worker.0,
            "the coordinator did not know this agent; it has registered again"
        );
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = again.worker;
        let request = LeaseRequest { worker: again.worker, ..request };
        retry(backoff, "lease jobs", || link.lease(&request)).await
    }
}
