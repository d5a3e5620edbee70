//! Starts trial processes so that nothing of them is left behind: each leads a process group of its own, and the
//! kernel kills it when the agent dies, by whatever death.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use sweep::vocabulary::FailureReason;
use tokio::signal::unix::{self, SignalKind};

use super::event::{Stop, TrialEnd};
use super::spawn::{Inheritance, Streams, spawn};

/// A started trial process; its whole group is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct TrialProcess {
    state: State,
    /// Tells that a child of the agent has ended, any of them.
    child_ended: unix::Signal,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The group's number is the process's own.
    Running {
        group: Pid,
    },
    Ended(ExitStatus),
}

impl TrialProcess {
    /// Starts `command`. Call it on the main thread only: the kernel sends the parent's death signal when the
    /// *thread* ends that started the child, so a pool's thread that retires would take healthy trials with it.
    /// (The agent's runtime has one thread, so every task is on it.)
    pub(crate) fn start(
        command: &Command,
        inheritance: &Inheritance,
        streams: Streams<'_>,
    ) -> io::Result<TrialProcess> {
        // Listen before there is anything to hear.
        let child_ended = unix::signal(SignalKind::child())?;
        let group = spawn(command, inheritance, streams)?;
        Ok(TrialProcess { state: State::Running { group }, child_ended })
    }

    /// Its process group; `None` once it has ended.
    pub(crate) fn group(&self) -> Option<Pid> {
        match self.state {
            State::Running { group } => Some(group),
            State::Ended(_) => None,
        }
    }

    pub(crate) fn stop(&self, how: Stop) {
        if let Some(group) = self.group() {
            signal(group, how);
        }
    }

    /// Waits for its end, and ends what it left behind in its group. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.look()? {
                return Ok(status);
            }
            self.child_ended.recv().await;
        }
    }

    /// How it has ended, if it has, without waiting.
    pub(crate) fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        let group = match self.state {
            State::Running { group } => group,
            State::Ended(status) => return Ok(Some(status)),
        };
        let Some((_, status)) = waitpid(Some(group), WaitOptions::NOHANG)? else { return Ok(None) };
        // The number can't belong to another group yet: numbers are handed out in turn, and it was free for no
        // longer than this function took to get here.
        signal(group, Stop::Kill);
        let status = ExitStatus::from_raw(status.as_raw());
        self.state = State::Ended(status);
        Ok(Some(status))
    }
}

impl Drop for TrialProcess {
    fn drop(&mut self) {
        self.stop(Stop::Kill);
    }
}

fn signal(group: Pid, how: Stop) {
    let signal = match how {
        Stop::Terminate => Signal::TERM,
        Stop::Kill => Signal::KILL,
    };
    // It fails where the last process of the group has just ended, which is what was asked for.
    let _ = rustix::process::kill_process_group(group, signal);
}

/// The end of a trial whose program could not be started; `remedy` says what a user can do about it.
pub(crate) fn cant_start(program: &str, error: &io::Error, remedy: &str) -> TrialEnd {
    // What a shell says of a program that is there and can't be started.
    const CANT_EXECUTE: i32 = 126;
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    let reason = if [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE].into_iter().any(is) {
        // Out of processes, memory or open files: another attempt may have more luck.
        FailureReason::HostOom
    } else if is(Errno::TXTBSY) {
        // Somebody is writing the file at this moment, such as a compiler; soon it will be whole.
        FailureReason::Exit(CANT_EXECUTE)
    } else {
        FailureReason::BadConfig
    };
    let message = format!("can't start `{program}`: {error}{remedy}");
    TrialEnd::Failed { reason, message, log_tail: String::new() }
}

/// What an exit status means as a failure, and the same in words.
pub(crate) fn failure(status: ExitStatus) -> (FailureReason, String) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (FailureReason::Exit(code), format!("ended with exit code {code}")),
        (None, Some(signal)) => {
            (FailureReason::Signal(signal), format!("was ended by signal {signal}{}", signal_name(signal)))
        }
        // A process that was waited for has ended in one of the two ways.
        (None, None) => (FailureReason::Exit(-1), format!("ended with status {status}")),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_a_fault_of_the_spec_and_what_passes_is_not() {
        let reason = |error: io::Error| match cant_start("x", &error, "") {
            TrialEnd::Failed { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(Errno::NOENT.into()), FailureReason::BadConfig);
        assert_eq!(reason(Errno::ACCESS.into()), FailureReason::BadConfig);
        assert_eq!(reason(Errno::AGAIN.into()), FailureReason::HostOom);
        assert_eq!(reason(Errno::MFILE.into()), FailureReason::HostOom);
        assert_eq!(reason(Errno::TXTBSY.into()), FailureReason::Exit(126));
    }

    #[test]
    fn an_exit_status_says_whether_it_was_a_code_or_a_signal() {
        assert_eq!(failure(ExitStatus::from_raw(3 << 8)).0, FailureReason::Exit(3));
        let (reason, words) = failure(ExitStatus::from_raw(9));
        assert_eq!(reason, FailureReason::Signal(9));
        assert_eq!(words, "was ended by signal 9 (SIGKILL)");
    }
}
