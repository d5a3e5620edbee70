//! A network of the test's own, in a namespace that is gone with its last process: nothing of it is seen outside.
//!
//! The test runs again in it, as another process. Each agent is a node in a namespace within, with one wire to where the
//! proxies are.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use crate::harness::wait_until;
use crate::process::{Mark, Owned};

/// Says to the test that it runs in the network.
const INSIDE: &str = "SWEEP_CHAOS_INSIDE";

/// Where a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a network of its own, in which wires can be cut.
    OwnNetwork,
    /// In the host's, where they can't.
    Host,
}

/// Runs `body` in a network of the test's own if that is allowed; elsewhere says which fault has to be left out.
pub(crate) fn run(test: &str, body: impl FnOnce(Place)) {
    if is_set(INSIDE) {
        shell("ip link set lo up");
        return body(Place::OwnNetwork);
    }
    let probe = "ip link set lo up && ip link add probe0 type veth peer name probe1";
    let allowed = Command::new("unshare").args(["--net", "--uts", "sh", "-c", probe]).output();
    let why_not = match allowed {
        Ok(output) if output.status.success() => return run_inside(test),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        Err(error) => format!("unshare: {error}"),
    };
    assert!(!is_true("CI"), "network namespaces can't be made: {why_not}");
    // Past the capture of what tests print: a test that passes shows nothing of that.
    let said = format!("SKIPPED CutNetwork in {test}: network namespaces can't be made ({why_not})\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    body(Place::Host);
}

fn run_inside(test: &str) {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--uts", "--"]);
    command.arg(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--include-ignored", "--nocapture"]).env(INSIDE, "1");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{test} failed in its network");
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

fn is_true(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "true")
}

/// A node with one wire to us. It exists as long as the process that holds it.
pub(crate) struct Node {
    number: usize,
    holder: Owned,
}

impl Node {
    pub(crate) fn open(number: usize, mark: &Mark, log: &Path) -> Node {
        let mut command = Command::new("unshare");
        let script = format!("echo node{number} > /proc/sys/kernel/hostname && exec sleep infinity");
        command.args(["--net", "--uts", "sh", "-c", &script]);
        mark.put_on(&mut command);
        let holder = Owned::start(&command, log);
        let pid = holder.pid();
        wait_until("a node's namespaces", || is_sleeping(pid));
        let (pid, node) = (pid.as_raw_nonzero(), format!("node{number}"));
        shell(&format!("ip link add {node} type veth peer name wire netns {pid}"));
        shell(&format!("ip addr add {}/30 dev {node} && ip link set {node} up", ours(number)));
        shell(&format!(
            "nsenter --net=/proc/{pid}/ns/net sh -c 'ip link set lo up && ip addr add {}/30 dev wire && ip link set wire up'",
            theirs(number)
        ));
        Node { number, holder }
    }

    /// A command of the program's on the node, without arguments yet.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let pid = self.holder.pid().as_raw_nonzero();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg(format!("--uts=/proc/{pid}/ns/uts"));
        command.arg("--").arg(program);
        command
    }

    /// Where a proxy listens for it.
    pub(crate) fn listen(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(ours(self.number)), 0)
    }

    /// No packet comes through any more, and nobody is told.
    pub(crate) fn cut(&self) {
        shell(&format!("ip link set node{} down", self.number));
    }

    pub(crate) fn mend(&self) {
        shell(&format!("ip link set node{} up", self.number));
    }
}

fn ours(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, u8::try_from(number).unwrap(), 1)
}

fn theirs(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, u8::try_from(number).unwrap(), 2)
}

fn is_sleeping(pid: Pid) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    line.starts_with(b"sleep\0")
}

#[track_caller]
fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
