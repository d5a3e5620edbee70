//! A coordinator inside this process: the API on a port of this host, for the worker that is started beside it and
//! for every other command meanwhile; with `sweep serve`, for everybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::CliError;
use super::access::Local;
use crate::api;
use crate::client::Client;
use crate::coordinator::{Announcement, Coordinator, StateFolder, Watch, own_host};

/// Requests that are under way at the end get this long. Nobody waits for jobs any more by then, and what a submission of
/// a million trials has not stored in this time is not stored at all.
const FAREWELL: Duration = Duration::from_secs(10);

/// How long deleting files may take at the end; what stays is found at the next start.
const TIDYING: Duration = Duration::from_secs(2);

/// Where a coordinator listens unless told otherwise: at a port that nobody else on this host uses.
const LOOPBACK: &str = "127.0.0.1";

/// How a coordinator is reached, and by whom.
pub(super) enum Door {
    /// By this host, as long as the command lasts that works with it.
    Command,
    /// By whoever finds it.
    Service {
        /// `HOST:PORT`; on this host, at the port of the last time, if there is none.
        listen: Option<String>,
        /// What others are told.
        url: Option<String>,
    },
}

/// A coordinator that listens.
pub(super) struct Host {
    url: String,
    folder: StateFolder,
    coordinator: Coordinator,
    server: JoinHandle<()>,
    watcher: JoinHandle<()>,
    tidier: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Host {
    /// Listens, and announces in the state folder where.
    pub(super) async fn start(local: &Local, door: &Door) -> Result<Host, CliError> {
        let token = local.folder.ensure_token().map_err(CliError::failed)?;
        local.coordinator.take_over().await?;
        local.coordinator.delete_partial_backups();
        let listener = door.listen(&local.folder).await?;
        let address = listener.local_addr().map_err(CliError::failed)?;
        let url = door.url(address, &token).await?;
        if let Door::Service { .. } = door {
            local.folder.note_port(address.port()).map_err(CliError::failed)?;
        }
        let (stop, stopped) = oneshot::channel();
        let coordinator = local.coordinator.clone();
        let server = tokio::spawn(async move {
            let shutdown = async {
                let _stopped_or_dropped = stopped.await;
            };
            api::serve(listener, coordinator, &token, shutdown).await;
        });
        let coordinator = local.coordinator.clone();
        let watcher = tokio::spawn(Watch::new(coordinator.clone()).keep_looking());
        let tidier = tokio::spawn(coordinator.clone().tidy_artifacts());
        let announcement = Announcement {
            url: url.clone(),
            url_here: Some(url_here(address)),
            host: own_host(),
            pid: std::process::id(),
            is_service: matches!(door, Door::Service { .. }),
        };
        local.folder.announce(&announcement).map_err(CliError::failed)?;
        Ok(Host { url, folder: local.folder.clone(), coordinator, server, watcher, tidier, stop })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Takes no more requests and lets those under way end; who waits for jobs is answered at once.
    pub(super) async fn stop(self) {
        self.folder.withdraw();
        self.coordinator.stop_waiting();
        let _server_gone = self.stop.send(());
        let abort = self.server.abort_handle();
        if tokio::time::timeout(FAREWELL, self.server).await.is_err() {
            abort.abort();
        }
        self.watcher.abort();
        self.tidier.abort();
        // A folder that does not answer must not keep the command from ending; what stays is found at the next start.
        let _ = tokio::time::timeout(TIDYING, self.coordinator.tidy_artifacts_at_the_end()).await;
    }
}

impl Door {
    async fn listen(&self, folder: &StateFolder) -> Result<TcpListener, CliError> {
        let address = match self {
            Door::Service { listen: Some(address), .. } => address,
            Door::Service { listen: None, .. } => {
                if let Some(port) = folder.last_port()
                    && let Ok(listener) = TcpListener::bind((LOOPBACK, port)).await
                {
                    return Ok(listener);
                }
                &format!("{LOOPBACK}:0")
            }
            Door::Command => &format!("{LOOPBACK}:0"),
        };
        TcpListener::bind(address).await.map_err(|error| {
            CliError::failed(anyhow::Error::new(error).context(format!("can't listen on `{address}`")))
        })
    }

    /// What others are told of where to find it.
    async fn url(&self, address: SocketAddr, token: &str) -> Result<String, CliError> {
        if let Door::Service { url: Some(url), .. } = self {
            // Whether it is an address at all; nobody has to answer there yet.
            Client::new(url, token)?;
            return Ok(url.clone());
        }
        if !address.ip().is_unspecified() {
            return Ok(format!("http://{address}"));
        }
        let (name, port) = (own_host(), address.port());
        match tokio::net::lookup_host((name.as_str(), port)).await {
            Ok(_) => Ok(format!("http://{name}:{port}")),
            Err(_) => Err(CliError::usage(format!(
                "others would look for this host as `{name}`, which not even this host can resolve; say `--url \
                 http://NAME:{port}`"
            ))),
        }
    }
}

/// What holds on this host: where a coordinator listens everywhere, it listens on the loopback address too.
fn url_here(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}
