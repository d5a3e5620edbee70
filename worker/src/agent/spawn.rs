//! Starts a program without copying the agent: the agent's only `unsafe`.
//!
//! The standard library forks where something has to be done between fork and exec, and a fork copies the page tables of
//! the agent, which takes longer than a small program runs. Here the new process borrows the agent's memory until it has
//! become the program, as in `posix_spawn`, which has no way to ask for the parent's death signal. Meanwhile the thread that
//! starts it stands still.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

/// What the set-up and the search for the program take at most; an argument list is copied where the program turns out to be
/// a script without `#!`, and comes on top.
const STACK_BYTES: usize = 64 << 10;
/// What the agent knows and no trial needs.
const SECRET: &str = "SWEEP_TOKEN";

/// What trial processes have from the agent.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// By name, each in the form `name=value`.
    variables: BTreeMap<OsString, CString>,
    no_input: File,
}

impl Inheritance {
    /// The environment as it is now, without the token.
    pub(crate) fn new() -> io::Result<Inheritance> {
        let variables = std::env::vars_os().filter(|(name, _)| name != SECRET);
        let variables = variables.map(|(name, value)| Ok((name.clone(), variable(&name, &value)?)));
        Ok(Inheritance {
            variables: variables.collect::<io::Result<_>>()?,
            no_input: File::open("/dev/null")?,
        })
    }

    /// An input that is empty.
    pub(crate) fn no_input(&self) -> &File {
        &self.no_input
    }

    /// What is inherited and no change of a command speaks of.
    fn unchanged_by(&self, changes: &Changes<'_>) -> impl Iterator<Item = &CString> {
        let variables = self.variables.iter().filter(|(name, _)| !changes.contains_key(name.as_os_str()));
        variables.map(|(_, variable)| variable)
    }
}

/// What a command changes of the environment, by name; nothing where a variable is taken out.
type Changes<'a> = BTreeMap<&'a OsStr, Option<CString>>;

fn changes_by(command: &Command) -> io::Result<Changes<'_>> {
    let change =
        |(name, value): (_, Option<&_>)| Ok((name, value.map(|value| variable(name, value)).transpose()?));
    command.get_envs().map(change).collect()
}

/// What becomes a program's standard input, output and error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams<'a> {
    pub(crate) input: BorrowedFd<'a>,
    pub(crate) output: BorrowedFd<'a>,
    pub(crate) error: BorrowedFd<'a>,
}

/// Starts `command` in a process group of its own, which the kernel kills when the calling thread ends. Of the command its
/// program, arguments, folder and changes to the environment count.
pub(crate) fn spawn(command: &Command, inheritance: &Inheritance, streams: Streams<'_>) -> io::Result<Pid> {
    let program = text(command.get_program())?;
    let mut arguments = vec![program.clone()];
    for argument in command.get_args() {
        arguments.push(text(argument)?);
    }
    let changes = changes_by(command)?;
    let variables = inheritance.unchanged_by(&changes).chain(changes.values().flatten());
    let folder = command.get_current_dir().map(|folder| text(folder.as_os_str())).transpose()?;
    let (arguments, variables) = (pointers(&arguments), pointers(variables));
    let plan = Plan {
        program: program.as_ptr(),
        arguments: arguments.as_ptr(),
        variables: variables.as_ptr(),
        folder: folder.as_deref().map_or(ptr::null(), CStr::as_ptr),
        streams: [streams.input, streams.output, streams.error].map(|stream| stream.as_raw_fd()),
        agent: rustix::process::getpid().as_raw_nonzero().get(),
        error: AtomicI32::new(0),
    };
    let pid = start(&plan, STACK_BYTES + size_of_val(&*arguments))?;
    match plan.error.load(Ordering::Relaxed) {
        0 => Ok(pid),
        error => {
            // It has ended already; what is left of it is its number.
            while matches!(waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
            Err(io::Error::from_raw_os_error(error))
        }
    }
}

/// All that the new process needs, in a form that it can use without allocating. Every pointer is valid for as long as
/// [`spawn`] runs, and a list ends with a null pointer.
struct Plan {
    program: *const c_char,
    arguments: *const *const c_char,
    variables: *const *const c_char,
    /// Null where the agent's own will do.
    folder: *const c_char,
    streams: [c_int; 3],
    agent: libc::pid_t,
    /// Why it did not become the program.
    error: AtomicI32,
}

/// Starts a process that carries out the plan; returns when it has become the program, or has failed to.
#[expect(
    unsafe_code,
    reason = "there is no safe interface to a process that shares memory; see the safety comments"
)]
fn start(plan: &Plan, stack_bytes: usize) -> io::Result<Pid> {
    // Elements of 16 bytes, since that is how a stack has to be aligned.
    let mut stack = Box::<[u128]>::new_uninit_slice(stack_bytes / size_of::<u128>() + 1);
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let plan = ptr::from_ref(plan).cast_mut().cast::<c_void>();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `clone` with these flags suspends this thread until the new process has executed the program or ended, so
    // that `stack` and all that `plan` points to outlive its use of them, and it is the only one that uses `stack`, whose end
    // `top` is (stacks grow down on every architecture that Linux has a Rust for). `become_program` says why it may run
    // beside the agent's other threads. Signals are blocked meanwhile: a handler of the agent would otherwise run in the new
    // process too, on the agent's memory. `before` is written by the first call and only read by the last.
    let pid = unsafe {
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
        let pid = libc::clone(become_program, top, flags, plan);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        if pid < 0 { Err(error) } else { Ok(pid) }
    }?;
    Ok(Pid::from_raw(pid).expect("a process that was started has a number"))
}

/// What the new process does: it becomes the program, or leaves an error number and ends.
#[expect(unsafe_code, reason = "runs in a process that shares the agent's memory; see the safety comment")]
extern "C" fn become_program(plan: *mut c_void) -> c_int {
    // SAFETY: `plan` comes from `start`, which stands still for as long as this runs. Nobody else knows of it.
    let plan = unsafe { &*plan.cast::<Plan>() };
    let Err(error) = set_up(plan);
    plan.error.store(error, Ordering::Relaxed);
    127
}

/// Sets up the process and executes the program; comes back only with an error number.
#[expect(unsafe_code, reason = "runs in a process that shares the agent's memory; see the safety comment")]
fn set_up(plan: &Plan) -> Result<std::convert::Infallible, c_int> {
    // SAFETY: this runs on the agent's memory, beside its other threads, one of which may be in the allocator or hold any
    // lock. So it calls nothing that allocates, locks or panics: these are plain system calls, besides `execvpe`, which
    // searches the path on its own stack, and `last_os_error`, which reads a number. What it writes is its stack, the thread's
    // error number, which `start` reads only where no process came to be, and through system calls the new process's own
    // tables of signals and descriptors, its folder and its group. The pointers are valid as `Plan` says.
    unsafe {
        reset_signals();
        check(libc::setpgid(0, 0))?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // An agent that died before the call above will send no signal any more.
        if libc::getppid() != plan.agent {
            return Err(libc::ESRCH);
        }
        for (stream, number) in plan.streams.into_iter().zip(0..) {
            check(libc::dup2(stream, number))?;
        }
        if !plan.folder.is_null() {
            check(libc::chdir(plan.folder))?;
        }
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        check(libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()))?;
        check(libc::execvpe(plan.program, plan.arguments, plan.variables))?;
    }
    Err(libc::EINVAL)
}

/// Takes back the agent's handlers, which must not run here once signals are let through, and its wish not to be ended by a
/// broken pipe. What whoever started the agent had it ignore stays ignored.
///
/// # Safety
/// Changes what signals do in the calling process.
#[expect(unsafe_code, reason = "a new process has no safe interface to its signals")]
unsafe fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: `action` is read only where the first call has written it. Numbers that are no signals, or the C
        // library's own, are refused.
        unsafe {
            if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) != 0 {
                continue;
            }
            let mut action = action.assume_init();
            let is_ignored = action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE;
            if action.sa_sigaction != libc::SIG_DFL && !is_ignored {
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &action, ptr::null_mut());
            }
        }
    }
}

fn check(result: c_int) -> Result<(), c_int> {
    match result {
        -1 => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
        _ => Ok(()),
    }
}

fn text(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::from)
}

fn variable(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(io::Error::from)
}

fn pointers<'a>(texts: impl IntoIterator<Item = &'a CString>) -> Vec<*const c_char> {
    texts.into_iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    use rustix::process::Signal;

    fn start(command: &Command, output: impl AsFd) -> io::Result<Pid> {
        let inheritance = Inheritance::new().unwrap();
        let (input, output) = (inheritance.no_input().as_fd(), output.as_fd());
        spawn(command, &inheritance, Streams { input, output, error: output })
    }

    /// What a command prints, read to the end.
    fn output(command: &Command) -> String {
        let (mut reader, writer) = io::pipe().unwrap();
        let pid = start(command, &writer).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        waitpid(Some(pid), WaitOptions::empty()).unwrap();
        text
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script, "name", "a b", ""]);
        command
    }

    #[test]
    fn a_program_has_its_arguments_its_folder_its_environment_and_an_empty_input() {
        let mut command =
            shell(r#"echo "$0|$1|$2|$#"; pwd; echo "$ONE,${PATH:+path},${HOME-none}"; cat; echo e >&2"#);
        command.current_dir("/usr").env("ONE", "1=2").env_remove("HOME");
        assert_eq!(output(&command), "name|a b||2\n/usr\n1=2,path,none\ne\n");
    }

    #[test]
    fn a_program_leads_a_group_and_takes_every_signal_as_if_it_were_the_first() {
        // A handler in this process, which is the agent's way to hear of signals.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _caught = runtime.block_on(async {
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1()).unwrap()
        });
        // A shell blocks signals of its own while it starts a program, so it becomes that program.
        let text = output(&shell(
            "cut -d ' ' -f 1,5 /proc/$$/stat; exec grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status",
        ));
        let lines: Vec<&str> = text.lines().collect();
        let (pid, group) = lines[0].split_once(' ').unwrap();
        assert_eq!(pid, group);
        let mask = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask(lines[1]), 0, "blocked");
        assert_eq!(mask(lines[2]) & (1 << (libc::SIGPIPE - 1)), 0, "ignored");
        assert_eq!(mask(lines[3]) & (1 << (libc::SIGUSR1 - 1)), 0, "caught");
    }

    #[test]
    fn the_kernel_kills_a_program_when_the_thread_ends_that_started_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        let starting = std::thread::spawn(move || start(&shell("exec sleep 1000"), &writer).unwrap());
        let pid = starting.join().unwrap();
        // Its output closes with it.
        reader.read_to_end(&mut Vec::new()).unwrap();
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()));
    }

    /// Whether a process that this thread has started is there, or what is left of one. Other tests have processes too.
    #[expect(unsafe_code, reason = "there is no safe interface to the children of one thread")]
    fn has_children() -> bool {
        // SAFETY: no memory is handed over.
        let found = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG | libc::__WNOTHREAD) };
        found != -1 || io::Error::last_os_error().raw_os_error() != Some(libc::ECHILD)
    }

    #[test]
    fn what_cant_be_started_says_why_and_leaves_no_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let mut in_no_folder = shell("true");
        in_no_folder.current_dir("/nonexistent");
        for (command, expected) in [
            (Command::new("/nonexistent"), Errno::NOENT),
            (Command::new("nonexistent-program"), Errno::NOENT),
            (Command::new(&file), Errno::ACCESS),
            (in_no_folder, Errno::NOENT),
        ] {
            let null = File::open("/dev/null").unwrap();
            let error = std::thread::spawn(move || {
                let error = start(&command, &null).unwrap_err();
                assert!(!has_children(), "{command:?}");
                error
            });
            assert_eq!(error.join().unwrap().raw_os_error(), Some(expected.raw_os_error()));
        }
    }

    #[test]
    fn a_script_that_names_no_interpreter_is_run_by_the_shell() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "echo \"$1\"\n").unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(&script);
        command.arg("x").args(vec!["y"; 10_000]);
        assert_eq!(output(&command), "x\n");
    }
}
