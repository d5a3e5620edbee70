//! From whom an agent gets its jobs, and whom it tells what became of them: a coordinator, or the folder of an export.

use std::sync::Arc;

use sweep::client::{Client, ClientError};
use sweep::protocol::http::{
    HeartbeatRequest, HeartbeatResponse, LeaseRequest, LeaseResponse, LeaveRequest, OutcomesRequest,
    RegisterRequest, RegisterResponse, ReportsRequest, WriteResponse,
};
use sweep::protocol::logs::LogsRequest;

use super::export::Export;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    Coordinator(Client),
    Export(Arc<Export>),
}

impl Link {
    pub(crate) async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ClientError> {
        match self {
            Link::Coordinator(client) => client.register(request).await,
            Link::Export(export) => Ok(export.register()),
        }
    }

    pub(crate) async fn lease(&self, request: &LeaseRequest) -> Result<LeaseResponse, ClientError> {
        match self {
            Link::Coordinator(client) => client.lease(request).await,
            Link::Export(export) => export.clone().lease(request.most).await,
        }
    }

    pub(crate) async fn report(&self, request: &ReportsRequest) -> Result<WriteResponse, ClientError> {
        match self {
            Link::Coordinator(client) => client.report(request).await,
            Link::Export(export) => export.clone().report(request.clone()).await,
        }
    }

    pub(crate) async fn finish(&self, request: &OutcomesRequest) -> Result<WriteResponse, ClientError> {
        match self {
            Link::Coordinator(client) => client.finish(request).await,
            Link::Export(export) => export.clone().finish(request.clone()).await,
        }
    }

    /// Of an export nothing is lost while its agent is silent.
    pub(crate) async fn heartbeat(
        &self,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, ClientError> {
        match self {
            Link::Coordinator(client) => client.heartbeat(request).await,
            Link::Export(_) => Ok(HeartbeatResponse { stop: Vec::new() }),
        }
    }

    /// Logs of an export's jobs are written where they are read.
    pub(crate) async fn send_logs(&self, request: &LogsRequest) -> Result<(), ClientError> {
        match self {
            Link::Coordinator(client) => client.send_logs(request).await.map(drop),
            Link::Export(_) => Ok(()),
        }
    }

    pub(crate) async fn leave(&self, request: &LeaveRequest) -> Result<(), ClientError> {
        match self {
            Link::Coordinator(client) => client.leave(request).await,
            Link::Export(_) => Ok(()),
        }
    }
}
