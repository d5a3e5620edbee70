use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CliError;

/// Ctrl-C, and what a scheduler or a service manager sends.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(super) fn catch() -> Result<StopSignals, CliError> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt()).map_err(CliError::failed)?,
            terminate: signal(SignalKind::terminate()).map_err(CliError::failed)?,
        })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
