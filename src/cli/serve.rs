use std::time::Duration;

use super::access::{Access, Local};
use super::host::{Door, Host};
use super::signals::StopSignals;
use super::{CliError, Context};
use crate::coordinator::LEASE;
use crate::protocol::http::{StatusResponse, SweepStatus};
use crate::slurm;

/// How often to look whether anything is left to do.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A Slurm that has not answered this often in a row is not waited for.
const MOST_UNANSWERED: u32 = 30;

/// What is waiting at the end to be committed gets this long.
const CLOSING: Duration = Duration::from_secs(30);

/// Coordinate this project's sweeps until stopped: a service for commands and workers, here and elsewhere.
///
/// Commands and workers in this folder find it by themselves. On another host, set SWEEP_COORDINATOR to the address that is
/// printed, SWEEP_TOKEN to the content of .sweep/token, and start `sweep worker`. A service that is started again goes on
/// where it was; workers ride it out, and their trials don't notice.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen, for instance `0.0.0.0:7077`; on this host only, and at the same free port as last time, unless
    /// given.
    ///
    /// Whoever can read the network between the hosts can read the token, and with it run programs as you: everything
    /// crosses it in clear text. Listen elsewhere than on this host only where that network is trusted, or stay on this host
    /// and let workers come through `ssh -L` or a proxy with TLS on both sides.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    listen: Option<String>,
    /// The address that others are told, where it is not the one that is listened on: `http://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How long a job stays with a worker that is not heard of.
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lease: u64,
    /// Exit when every sweep has ended and the last worker is gone; workers that still wait in Slurm's queue are cancelled.
    #[arg(long)]
    until_drained: bool,
}

pub(super) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    if context.coordinator.is_some() {
        return Err(CliError::usage(
            "`sweep serve` is a coordinator itself: unset SWEEP_COORDINATOR and leave out --coordinator",
        ));
    }
    let Args { listen, url, lease, until_drained } = args;
    // Before anything is announced, so that whoever finds the service can also stop it.
    let mut stop = StopSignals::catch()?;
    let local = match Access::open_or_create(context, Duration::from_secs(lease)).await? {
        Access::Local(local) => local,
        Access::Remote(other) => {
            return Err(CliError::failed(anyhow::anyhow!(
                "{} coordinates here already; stop it first, or use it: commands and workers find it by themselves",
                other.describe()
            )));
        }
    };
    let host = Host::start(&local, &Door::Service { listen, url }).await?;
    context.output.data(&format!("{}\n", host.url()))?;
    let folder = local.folder.path().display();
    context.output.note(&format!("coordinating the sweeps of {folder}; Ctrl-C ends it"));
    if context.output.is_live() {
        // For whoever sees this terminal, and in no log. Browsers keep to themselves what stands behind the `#`.
        let token = local.folder.ensure_token().map_err(CliError::failed)?;
        context.output.note(&format!("dashboard: {}/#token={token}", host.url()));
    }
    tokio::select! {
        () = stop.asked() => context.output.note("stopping; once more to stop at once"),
        () = is_drained(&local), if until_drained => context.output.note("every sweep has ended, and no worker is left"),
    }
    tokio::select! {
        () = end(host, local) => Ok(()),
        () = stop.asked() => Err(CliError::Unsuccessful),
    }
}

/// Comes back when there is nothing left to do, and nobody who could ask for something.
async fn is_drained(local: &Local) {
    let mut unanswered = 0;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let Ok(status) = local.coordinator.status().await else { continue };
        if !is_over(&status) {
            continue;
        }
        // One that starts now would look for a coordinator in vain.
        match slurm::dismiss(&status.slurm).await {
            // While Slurm answered, somebody may have submitted another sweep.
            Ok(true) if local.coordinator.status().await.is_ok_and(|status| is_over(&status)) => return,
            Ok(true) => {}
            Ok(false) => unanswered = 0,
            Err(_) => unanswered += 1,
        }
        if unanswered >= MOST_UNANSWERED {
            return;
        }
    }
}

/// Whether every sweep has ended, and the last worker is gone.
fn is_over(status: &StatusResponse) -> bool {
    let has_ended = |sweep: &SweepStatus| sweep.trials.left() == 0;
    status.workers.is_empty() && status.sweeps.iter().all(has_ended)
}

async fn end(host: Host, local: Local) {
    host.stop().await;
    // What is not committed by then was not acknowledged either.
    let _ = tokio::time::timeout(CLOSING, local.close()).await;
}

fn parse_listen(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err("it is an address and a port, such as `127.0.0.1:7077` or `0.0.0.0:7077`".to_owned()),
    }
}
