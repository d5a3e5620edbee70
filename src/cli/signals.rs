use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CliError;

/// Ctrl-C, what a scheduler or a service manager sends, and the end of the terminal or of a connection.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// Not where `nohup` has it ignored.
    hangup: Option<Signal>,
}

impl StopSignals {
    pub(super) fn catch() -> Result<StopSignals, CliError> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt()).map_err(CliError::failed)?,
            terminate: signal(SignalKind::terminate()).map_err(CliError::failed)?,
            hangup: match is_hangup_ignored() {
                true => None,
                false => Some(signal(SignalKind::hangup()).map_err(CliError::failed)?),
            },
        })
    }

    pub(super) async fn asked(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether this process was started with it ignored. It is the lowest bit of a mask of signals.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1)
}
