//! A coordinator inside this process: the API on a port of this host, for the worker that is started beside it and
//! for every other command meanwhile.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::CliError;
use super::access::Local;
use crate::api;
use crate::coordinator::{Announcement, Coordinator, StateFolder};

/// Requests that are under way at the end get this long; a worker's long poll would otherwise be waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// A coordinator that listens.
pub(super) struct Host {
    url: String,
    folder: StateFolder,
    coordinator: Coordinator,
    server: JoinHandle<std::io::Result<()>>,
    watcher: JoinHandle<()>,
    tidier: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Host {
    /// Listens on a free port of the loopback address and announces it in the state folder.
    pub(super) async fn start(local: &Local) -> Result<Host, CliError> {
        let token = local.folder.ensure_token().map_err(CliError::failed)?;
        // Workers that died with an earlier coordinator are not waited for.
        local.coordinator.bury_dead_workers().await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(CliError::failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(CliError::failed)?);
        let (stop, stopped) = oneshot::channel();
        let coordinator = local.coordinator.clone();
        let server = tokio::spawn(async move {
            let shutdown = async {
                let _stopped_or_dropped = stopped.await;
            };
            api::serve(listener, coordinator, &token, shutdown).await
        });
        let coordinator = local.coordinator.clone();
        let watcher = tokio::spawn(coordinator.clone().watch_deadlines());
        let tidier = tokio::spawn(coordinator.clone().tidy_artifacts());
        let announcement = Announcement {
            url: url.clone(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
        };
        local.folder.announce(&announcement).map_err(CliError::failed)?;
        Ok(Host { url, folder: local.folder.clone(), coordinator, server, watcher, tidier, stop })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Takes no more requests and lets those under way end.
    pub(super) async fn stop(self) {
        self.folder.withdraw();
        let _server_gone = self.stop.send(());
        let abort = self.server.abort_handle();
        if tokio::time::timeout(FAREWELL, self.server).await.is_err() {
            abort.abort();
        }
        self.watcher.abort();
        self.tidier.abort();
        // A folder that does not answer must not keep the command from ending; what stays is found at the next start.
        let _ = tokio::time::timeout(FAREWELL, self.coordinator.tidy_artifacts_at_the_end()).await;
    }
}
