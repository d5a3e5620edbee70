//! Starts trial processes so that nothing of them is left behind: each leads a process group of its own, and the
//! kernel kills it when the agent dies, by whatever death.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use sweep::vocabulary::FailureReason;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::event::{Stop, TrialEnd};

/// A started trial process; its whole group is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct TrialProcess {
    child: Child,
    /// The group's number, which is the process's own; `None` once it has ended.
    group: Option<Pid>,
}

impl TrialProcess {
    /// Starts `command`. Call it on the main thread only: the kernel sends the parent's death signal when the
    /// *thread* ends that started the child, so a pool's thread that retires would take healthy trials with it.
    /// (The agent's runtime has one thread, so every task is on it.)
    pub(crate) fn start(command: &mut Command) -> io::Result<TrialProcess> {
        command.process_group(0).env_remove("SWEEP_TOKEN");
        die_with_the_agent(command);
        let child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(TrialProcess { child, group })
    }

    /// Its process group; `None` once it has ended.
    pub(crate) fn group(&self) -> Option<Pid> {
        self.group
    }

    /// Its standard input and output, where they are pipes and not taken yet.
    pub(crate) fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.child.stdin.take().zip(self.child.stdout.take())
    }

    pub(crate) fn stop(&self, how: Stop) {
        let signal = match how {
            Stop::Terminate => Signal::TERM,
            Stop::Kill => Signal::KILL,
        };
        if let Some(group) = self.group {
            // It fails where the last process of the group has just ended, which is what was asked for.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Waits for its end, and ends what it left behind in its group. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The number can't belong to another group yet: numbers are handed out in turn, and it was free for no
        // longer than this function took to get here.
        self.stop(Stop::Kill);
        self.group = None;
        Ok(status)
    }

    /// Whether it has ended, without waiting.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for TrialProcess {
    fn drop(&mut self) {
        self.stop(Stop::Kill);
    }
}

/// Lets the kernel kill the process when the agent dies. (Children of the process are not covered; and a set-user-ID
/// program loses the setting when it starts.)
#[expect(unsafe_code, reason = "code between fork and exec has no safe interface; see the safety comment")]
fn die_with_the_agent(command: &mut Command) {
    let agent = rustix::process::getpid();
    let set_up = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // An agent that died between fork and the call above will send no signal any more.
        if rustix::process::getppid() == Some(agent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec the child may only do what is safe in a signal handler, because another thread
    // of the agent may have held any lock at the fork. `set_up` makes two plain system calls and turns an error
    // number into an `io::Error` without allocating; it takes no lock and touches no memory but its own copy of
    // `agent`.
    unsafe { command.pre_exec(set_up) };
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
