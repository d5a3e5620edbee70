//! Sweeps that are steered while they run, on the local table and through a coordinator, with the real programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use harness::{GATED, Project, QUICK, serve, signal, wait_until};

/// Trials that never end by themselves, and don't when they are asked to.
const ENDLESS: &str = r#"
name: endless
command: [sh, -c, 'trap "" TERM; echo {{x}} >> started; while :; do sleep 0.02; done']
parameters:
  x: [1, 2, 3]
"#;

#[test]
fn the_help_of_what_steers_a_sweep_says_what_it_does() {
    let project = Project::new();
    for command in ["cancel", "retry", "pause", "resume", "bump", "serve", "worker", "logs", "backup"] {
        let help = project.sweep(&[command, "--help"]).exits_with(0);
        insta::assert_snapshot!(format!("help_{command}"), own_part(&help.stdout()));
    }
}

/// A command's help without the options that all have, and without the columns, whose width depends on those.
fn own_part(help: &str) -> String {
    let own = help.lines().take_while(|line| !line.contains("--coordinator <URL>"));
    own.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn cancelling_ends_a_running_trial_within_a_heartbeat() {
    let project = Project::new();
    project.write("endless.yaml", ENDLESS);
    let mut run = project.start(&["run", "endless.yaml", "--cpu-slots", "2", "--lease", "1"]);
    wait_until("two trials", || project.read("started").lines().count() == 2);
    let cancelled = project.sweep(&["cancel", "1", "1"]).exits_with(0);
    assert_eq!(cancelled.stderr(), "cancelled 1 trial (1 was running)\n");
    wait_until("the slot's next trial", || project.read("started").lines().count() == 3);
    // A trial that starts `sleep` is two for a moment.
    wait_until("the cancelled trial's end", || project.processes("sh").len() == 2);
    let cancelled = project.sweep(&["cancel", "1"]).exits_with(0);
    assert_eq!(cancelled.stderr(), "cancelled 2 trials (2 were running)\n");
    // Its trials did not succeed, so neither did it.
    assert_eq!(run.exit_code(), Some(1), "{}", run.log());
    assert_eq!(project.processes("sh"), Vec::<i32>::new());
    assert_eq!(project.status()["sweeps"][0]["trials"]["cancelled"], 3);
}

#[test]
fn a_sweep_is_steered_alike_on_the_local_table_and_through_a_coordinator() {
    let local = Project::new();
    local.write("endless.yaml", ENDLESS);
    local.sweep(&["submit", "endless.yaml"]).exits_with(0);
    let said_locally = steer(&local);
    let remote = Project::new();
    remote.write("endless.yaml", ENDLESS);
    // It has no slot for any other sweep.
    let _coordinator = remote.start(&["run", "endless.yaml", "--cpu-slots", "1"]);
    wait_until("the first trial", || !remote.read("started").is_empty());
    assert_eq!(steer(&remote), said_locally);
    insta::assert_snapshot!("steering", said_locally);
}

/// What the commands say to a second sweep.
fn steer(project: &Project) -> String {
    project.write("quick.yaml", QUICK);
    assert_eq!(project.sweep(&["submit", "quick.yaml"]).exits_with(0).stdout(), "2\n");
    let mut said = String::new();
    for (code, command) in [
        (0, "pause 2"),
        (0, "pause 2"),
        (0, "resume 2"),
        (0, "bump 2 --priority 5"),
        (0, "bump 2 --by -2"),
        (0, "bump 2"),
        (2, "bump 2 --priority 1001"),
        (2, "bump 2 --priority 1 --by 1"),
        (0, "cancel 2 3"),
        (2, "cancel 2 3"),
        (2, "cancel 2 7"),
        (2, "cancel 2 zero"),
        (2, "retry 2 7"),
        (0, "retry 2 3"),
        (0, "cancel 2"),
        (2, "cancel 2"),
        (2, "pause 2"),
        (2, "resume 2"),
        (2, "bump 2"),
        (2, "cancel 99"),
        (2, "retry 99"),
        (2, "pause 99"),
        (2, "resume 99"),
        (2, "bump 99"),
        // By what they are.
        (0, "retry quick 1-2 --dry-run"),
        (0, "retry last x=3 --dry-run --json"),
        (0, "retry last --failed"),
        (0, "retry last --where x>1 state=cancelled"),
        (0, "cancel quick state=running"),
        (0, "pause name=quick --dry-run"),
        (0, "resume all"),
        (0, "cancel quick seed=0 x=2,3"),
        (2, "cancel quick x=4"),
        (2, "cancel quick y=3"),
        (2, "cancel quack"),
        (2, "logs quick"),
    ] {
        let finished = project.sweep(&command.split(' ').collect::<Vec<_>>()).exits_with(code);
        let is_rehearsal = command.contains("--dry-run");
        assert_eq!(finished.stdout().is_empty(), !is_rehearsal, "{command}: {}", finished.stdout());
        said += &format!("$ sweep {command}\n{}{}", finished.stdout(), finished.stderr());
    }
    said
}

/// More trials than anybody is taken to have meant without being asked.
const MANY: &str = "name: many\ncommand: [\"true\"]\nparameters: {x: 0}\n";

#[test]
fn what_many_trials_are_meant_by_needs_a_yes() {
    let project = Project::new();
    project.write("many.yaml", MANY);
    project.sweep(&["submit", "many.yaml", "x=range(1,31)"]).exits_with(0);
    let unasked = project.sweep(&["cancel", "many"]).exits_with(2);
    assert!(unasked.stderr().contains("to cancel 30 trials of sweep 1 needs a yes"), "{}", unasked.stderr());
    assert_eq!(project.status()["sweeps"][0]["trials"]["queued"], 30);
    let few = project.sweep(&["cancel", "many", "x<=20"]).exits_with(0);
    assert_eq!(few.stderr(), "cancelled 20 trials\n");
    project.sweep(&["retry", "many"]).exits_with(0);
    let looked = project.sweep(&["cancel", "many", "--dry-run"]).exits_with(0);
    assert_eq!(looked.stdout().lines().count(), 2 + 30);
    let cancelled = project.sweep(&["cancel", "many", "-y", "--json"]).json();
    assert_eq!((&cancelled["trials"], &cancelled["sweep"]), (&30.into(), &1.into()));
}

/// Runs a command on a terminal, types an answer, and gives what the terminal showed and the exit code.
const ON_A_TERMINAL: &str = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
shown = b""
while b"[y/N]" not in shown:
    shown += os.read(terminal, 1024)
os.write(terminal, sys.argv[1].encode() + b"\n")
try:
    while part := os.read(terminal, 1024):
        shown += part
except OSError:
    pass
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn on_a_terminal_many_trials_are_asked_about() {
    let project = Project::new();
    project.write("many.yaml", MANY);
    project.sweep(&["submit", "many.yaml", "x=range(1,31)"]).exits_with(0);
    let answer = |answer: &str| {
        let command = project.command(&["cancel", "last"]);
        let mut on_terminal = std::process::Command::new("python3");
        on_terminal.args(["-c", ON_A_TERMINAL, answer]).arg(command.get_program()).args(command.get_args());
        on_terminal.current_dir(project.folder.path());
        let output = on_terminal.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, shown) = answer("no");
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("cancel 30 trials of sweep 1? [y/N]") && shown.contains("nothing was changed"),
        "{shown}"
    );
    assert_eq!(project.status()["sweeps"][0]["trials"]["queued"], 30);
    let (code, shown) = answer("y");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(project.status()["sweeps"][0]["trials"]["cancelled"], 30);
}

#[test]
fn nothing_starts_while_a_sweep_is_paused_and_the_bumped_one_starts_first() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    for x in ["x=1", "x=2", "x=3"] {
        project.sweep(&["submit", "quick.yaml", x]).exits_with(0);
    }
    project.sweep(&["pause", "1"]).exits_with(0);
    project.sweep(&["bump", "3"]).exits_with(0);
    assert_eq!(project.status()["sweeps"][0]["state"], "paused");
    let mut worker = project.start(&["worker", "--until-drained", "--cpu-slots", "1"]);
    project.wait_for_status("all others to be done", |status| {
        status["sweeps"][1]["state"] == "succeeded" && status["sweeps"][2]["state"] == "succeeded"
    });
    assert_eq!(project.read("order"), "3\n2\n");
    project.sweep(&["resume", "1"]).exits_with(0);
    assert_eq!(worker.exit_code(), Some(0));
    assert_eq!(project.read("order"), "3\n2\n1\n");
}

#[test]
fn the_trials_that_another_sweep_needs_go_on() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    project.sweep(&["submit", "quick.yaml", "x=1,2,7"]).exits_with(0);
    let cancelled = project.sweep(&["cancel", "1"]).exits_with(0);
    assert_eq!(cancelled.stderr(), "cancelled 1 trial; 2 trials go on, since sweep 2 needs their jobs\n");
    project.sweep(&["worker", "--until-drained", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(project.read("order"), "1\n2\n7\n");
}

#[test]
fn a_worker_with_no_shared_folder_works_for_a_service() {
    let project = Project::new();
    let (mut service, url) = serve(&project, &[]);
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    let elsewhere = project.elsewhere(&url);
    elsewhere.sweep(&["worker", "--until-drained", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(project.read("order"), "1\n2\n3\n");
    assert_eq!(elsewhere.results("1"), project.results("1"));
    // A run is a client too, with a worker for its own sweep only.
    elsewhere.write("quick.yaml", QUICK);
    elsewhere.sweep(&["run", "quick.yaml", "x=7", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(elsewhere.read("order"), "7\n");
    assert!(!elsewhere.path(".sweep/sweep.db").exists());

    signal("TERM", service.pid());
    assert_eq!(service.exit_code(), Some(0), "{}", service.log());
    assert!(!project.path(".sweep/coordinator.json").exists(), "the announcement was withdrawn");
    assert_eq!(project.status()["sweeps"][1]["trials"]["succeeded"], 1);
    let gone = elsewhere.sweep(&["status"]).exits_with(1);
    assert!(gone.stderr().contains("can't reach the coordinator"), "{}", gone.stderr());
}

#[test]
fn a_wrong_spec_is_described_alike_by_this_host_and_by_a_coordinator_elsewhere() {
    let project = Project::new();
    let (_service, url) = serve(&project, &[]);
    let elsewhere = project.elsewhere(&url);
    for host in [&project, &elsewhere] {
        host.write("wrong.yaml", "command: [x]\nparameters: {x: []}\nseedss: 1\n");
    }
    for command in ["submit", "run", "expand"] {
        let here = project.sweep(&[command, "wrong.yaml"]).exits_with(2).stderr();
        assert_eq!(here.matches("error: ").count(), 2, "{here}");
        assert_eq!(elsewhere.sweep(&[command, "wrong.yaml"]).exits_with(2).stderr(), here, "{command}");
    }
}

#[test]
fn what_others_are_told_need_not_hold_on_this_host() {
    let project = Project::new();
    let (_service, url) = serve(&project, &["--listen", "0.0.0.0:0", "--url", "http://far.invalid:7077"]);
    assert_eq!(url, "http://far.invalid:7077");
    assert_eq!(project.status()["sweeps"], serde_json::json!([]));
}

#[test]
fn what_can_not_be_served_says_why() {
    let project = Project::new();
    let (service, url) = serve(&project, &[]);
    let second = project.sweep(&["serve"]).exits_with(1);
    let holder = format!("process {} on ", service.pid());
    assert!(second.stderr().contains(&holder) && second.stderr().contains(&url), "{}", second.stderr());
    assert!(second.stderr().contains("coordinates here already"), "{}", second.stderr());

    let elsewhere = project.elsewhere(&url);
    let contradictory = elsewhere.sweep(&["serve"]).exits_with(2);
    assert!(contradictory.stderr().contains("unset SWEEP_COORDINATOR"), "{}", contradictory.stderr());
    let other = Project::new();
    for (code, arguments, said) in [
        (2, &["--listen", "nowhere"][..], "an address and a port"),
        (1, &["--listen", url.trim_start_matches("http://")], "can't listen on"),
        (2, &["--url", "nonsense"], "no coordinator's address"),
    ] {
        let refused = other.sweep(&[&["serve"], arguments].concat()).exits_with(code);
        assert!(refused.stderr().contains(said), "{}", refused.stderr());
        assert_eq!(refused.stdout(), "");
        assert!(!other.path(".sweep/coordinator.json").exists());
    }
}

#[test]
fn workers_ride_out_the_restart_of_a_service() {
    for (ending, exit_code) in [("KILL", None), ("TERM", Some(0))] {
        let project = Project::new();
        let (mut service, url) = serve(&project, &["--lease", "2"]);
        project.write("gated.yaml", GATED);
        project.sweep(&["submit", "gated.yaml"]).exits_with(0);
        let elsewhere = project.elsewhere(&url);
        let work = ["worker", "--until-drained", "--cpu-slots", "1"];
        let mut workers = [project.start(&work), elsewhere.start(&work)];
        wait_until("both trials", || project.read("started").lines().count() == 2);
        signal(ending, service.pid());
        assert_eq!(service.exit_code(), exit_code);
        let (_service, again) = serve(&project, &["--lease", "2"]);
        assert_eq!(again, url, "it listens where it did");
        project.write("gate", "");
        for worker in &mut workers {
            assert_eq!(worker.exit_code(), Some(0), "{}", worker.log());
            assert!(!worker.log().contains("takes over"), "{}", worker.log());
        }
        assert_eq!(project.status()["sweeps"][0]["trials"]["succeeded"], 2);
        assert_eq!(project.read("started").lines().count(), 2, "{ending}: a trial was started again");
    }
}

#[test]
fn a_second_signal_ends_a_service_at_once() {
    let project = Project::new();
    let (mut service, url) = serve(&project, &[]);
    // A request that does not end is waited for; that is bounded, too, but longer than this test takes.
    let mut request = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let token = project.read(".sweep/token");
    let head = format!(
        "POST /v1/sweeps HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\nexpect: 100-continue\r\n\r\n"
    );
    request.write_all(head.as_bytes()).unwrap();
    let mut begun = [0; 12];
    request.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100");
    signal("TERM", service.pid());
    wait_until("the first signal to be heard", || service.log().contains("once more"));
    signal("TERM", service.pid());
    assert_eq!(service.exit_code(), Some(1), "{}", service.log());
}

#[test]
fn a_service_outlives_its_terminal_where_that_was_wanted_and_else_ends_in_order() {
    for (hangup, outlives) in [("--ignore-signal=HUP", true), ("--default-signal=HUP", false)] {
        let project = Project::new();
        let mut service = project.start_command(project.command_with(hangup, &["serve"]), "serve");
        wait_until("the service's address", || service.log().contains("coordinating"));
        signal("HUP", service.pid());
        if outlives {
            // It answers, and has heard of nothing.
            project.sweep(&["status"]).exits_with(0);
            assert!(!service.log().contains("stopping"), "{}", service.log());
            signal("TERM", service.pid());
        }
        assert_eq!(service.exit_code(), Some(0), "{}", service.log());
        assert!(service.log().contains("stopping"), "{}", service.log());
    }
}

#[test]
fn what_a_worker_can_not_do_is_said_by_it() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    let refused = project.sweep(&["worker", "--time-limit", "60s", "--grace", "60"]).exits_with(2);
    assert!(refused.stderr().contains("leaves no time to work"), "{}", refused.stderr());
    assert_eq!(project.read("order"), "");
}

#[test]
fn a_worker_that_is_started_again_has_what_is_left_of_its_jobs() {
    let project = Project::new();
    project.write("gated.yaml", &GATED.replace("[1, 2]", "[1, 2, 3]"));
    project.sweep(&["submit", "gated.yaml"]).exits_with(0);
    let mut worker = project.start(&["worker", "--max-jobs", "2", "--cpu-slots", "1"]);
    wait_until("the first trial", || project.read("started").lines().count() == 1);
    project.processes("sweep-worker").iter().for_each(|pid| signal("KILL", *pid));
    wait_until("the second job", || project.read("started").lines().count() == 2);
    project.write("gate", "");
    assert_eq!(worker.exit_code(), Some(0), "{}", worker.log());
    assert!(worker.log().contains("starting another"), "{}", worker.log());
    assert_eq!(project.read("started").lines().count(), 2, "the first attempt was one of two");
    assert_eq!(project.status()["sweeps"][0]["trials"]["succeeded"], 1);
}

/// An address at which nobody listens yet.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_worker_waits_for_a_coordinator_that_is_started_after_it() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml"]).exits_with(0);
    let address = free_address();
    let elsewhere = project.elsewhere(&format!("http://{address}"));
    let mut worker = elsewhere.start(&["worker", "--until-drained", "--cpu-slots", "1"]);
    wait_until("the worker to wait", || worker.log().contains("waiting for the coordinator: can't reach"));
    let (_service, _) = serve(&project, &["--listen", &address]);
    assert_eq!(worker.exit_code(), Some(0), "{}", worker.log());
    assert_eq!(project.read("order"), "1\n2\n3\n");
    // Other commands don't wait.
    let nobody = Project::without_coordinator(&format!("http://{}", free_address()));
    nobody.sweep(&["status"]).exits_with(1);
}

#[test]
fn a_worker_waits_for_its_coordinator_no_longer_than_for_something_to_do() {
    let elsewhere = Project::without_coordinator(&format!("http://{}", free_address()));
    for limit in [["--idle-timeout", "1s"], ["--time-limit", "1s"]] {
        let gone = elsewhere.sweep(&[&["worker"], &limit[..]].concat()).exits_with(1);
        assert!(gone.stderr().contains("waiting for the coordinator"), "{}", gone.stderr());
        assert!(gone.stderr().contains("error: can't reach the coordinator"), "{}", gone.stderr());
    }
}

#[test]
fn a_worker_without_the_right_token_says_so() {
    let project = Project::new();
    let (_service, url) = serve(&project, &[]);
    let elsewhere = project.elsewhere(&url);
    let stranger = elsewhere.command(&["worker"]).env("SWEEP_TOKEN", "guessed").output().unwrap();
    assert_eq!(stranger.status.code(), Some(2));
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(said.contains("the request shows no valid token"), "{said}");
    let stranger = elsewhere.command(&["worker"]).env_remove("SWEEP_TOKEN").output().unwrap();
    assert_eq!(stranger.status.code(), Some(2));
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(said.contains("set `SWEEP_TOKEN`"), "{said}");
    assert!(!elsewhere.has_state());
}

/// Fails twice, and says more than anybody wants to read.
const TALKATIVE: &str = r#"
name: talkative
command: [sh, -c, 'echo try >> tries; seq 1 100000; echo end of try $(wc -l < tries); exit 3']
retries: 1
parameters: {}
"#;

#[test]
fn the_log_of_an_attempt_is_read_wherever_it_ran() {
    let project = Project::new();
    project.write("talkative.yaml", TALKATIVE);
    let (_service, url) = serve(&project, &[]);
    project.sweep(&["run", "talkative.yaml"]).exits_with(1);
    let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    let host = host_name();
    for (arguments, attempt) in [(&["logs", "1", "1"][..], 2), (&["logs", "1", "1", "--attempt", "1"], 1)] {
        let shown = project.sweep(arguments).exits_with(0);
        assert_eq!(shown.stdout(), format!("{numbers}end of try {attempt}\n"));
        assert_eq!(shown.stderr(), format!("job 1, attempt {attempt}, on {host}\n"));
    }
    for (attempt, said) in [("1", "end of try 1\n"), ("2", "end of try 2\n")] {
        let followed = project.sweep(&["logs", "1", "1", "-f", "--attempt", attempt]).exits_with(0);
        assert_eq!(followed.stdout(), format!("{numbers}{said}"), "it ends with the attempt");
    }

    // A worker with a state folder of its own sends it.
    let elsewhere = project.elsewhere(&url);
    elsewhere.write("talkative.yaml", TALKATIVE);
    elsewhere.sweep(&["run", "talkative.yaml", "retries=0"]).exits_with(1);
    for reader in [&elsewhere, &project] {
        let shown = reader.sweep(&["logs", "2", "1"]).exits_with(0);
        assert_eq!(shown.stdout(), format!("{numbers}end of try 1\n"));
        assert_eq!(shown.stderr(), format!("job 2, attempt 1, on {host}\n"));
    }
    // Of one that prints more than anybody reads the end is enough.
    elsewhere.write("mad.yaml", &TALKATIVE.replace("seq 1 100000", "seq 1 2000000"));
    elsewhere.sweep(&["run", "mad.yaml", "retries=0"]).exits_with(1);
    let shown = project.sweep(&["logs", "3", "1"]).exits_with(0);
    assert!(shown.stdout().ends_with("\n2000000\nend of try 2\n") && shown.stdout().len() < 6 << 20);
    assert!(shown.stdout().contains(" bytes are left out here\n"));
}

#[test]
fn a_log_of_a_trial_on_another_host_is_followed_while_it_runs() {
    let project = Project::new();
    let spec = r#"
name: slow
command: [sh, -c, 'echo begun; while ! test -e gate; do sleep 0.02; done; printf "the end"']
parameters: {}
"#;
    project.write("slow.yaml", spec);
    project.sweep(&["submit", "slow.yaml"]).exits_with(0);
    let (_service, url) = serve(&project, &[]);
    let elsewhere = project.elsewhere(&url);
    let mut worker = elsewhere.start(&["worker", "--until-drained", "--cpu-slots", "1"]);
    let mut log = project.start(&["logs", "1", "1", "-f"]);
    wait_until("the first line", || log.log().contains("begun\n"));
    project.write("gate", "");
    assert_eq!(log.exit_code(), Some(0));
    assert_eq!(log.log(), format!("job 1, attempt 1, on {}\nbegun\nthe end", host_name()));
    assert_eq!(worker.exit_code(), Some(0), "{}", worker.log());
}

#[test]
fn a_log_is_followed_until_its_trial_ends() {
    let project = Project::new();
    let spec = r#"
name: slow
command: [sh, -c, 'echo begun; while ! test -e gate; do sleep 0.02; done; printf "the end"']
parameters: {}
"#;
    project.write("slow.yaml", spec);
    project.sweep(&["submit", "slow.yaml"]).exits_with(0);
    let nothing = project.sweep(&["logs", "1", "1"]).exits_with(0);
    assert_eq!(
        (nothing.stdout(), nothing.stderr()),
        (String::new(), "nothing of it was begun yet; `-f` waits for it\n".to_owned())
    );
    let (mut service, _) = serve(&project, &[]);
    let mut command = project.command(&["logs", "1", "1", "-f"]);
    command.env("SWEEP_LOG", "warn");
    let mut log = project.start_command(command, "followed");
    let mut worker = project.start(&["worker", "--until-drained", "--cpu-slots", "1"]);
    wait_until("the first line", || log.log().contains("begun\n"));
    // A restart of the service is no end.
    signal("KILL", service.pid());
    assert_eq!(service.exit_code(), None);
    wait_until("the service to be missed", || log.log().contains("trying again"));
    let (_service, _) = serve(&project, &[]);
    project.write("gate", "");
    assert_eq!(log.exit_code(), Some(0));
    let (begin, end) = (format!("job 1, attempt 1, on {}\nbegun\n", host_name()), "the end");
    assert!(log.log().starts_with(&begin) && log.log().ends_with(end), "{}", log.log());
    assert_eq!(worker.exit_code(), Some(0));
}

#[test]
fn a_log_that_is_followed_leaves_the_table_to_whoever_runs_the_trial() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["submit", "quick.yaml", "x=1"]).exits_with(0);
    let mut log = project.start(&["logs", "1", "1", "-f"]);
    project.sweep(&["status"]).exits_with(0);
    project.sweep(&["worker", "--until-drained", "--cpu-slots", "1"]).exits_with(0);
    assert_eq!(log.exit_code(), Some(0), "{}", log.log());
}

#[test]
fn a_log_that_is_not_there_is_named() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["run", "quick.yaml", "x=1"]).exits_with(0);
    for (command, said) in [
        ("logs 9 1", "error: there is no sweep 9\n"),
        ("logs 1 9", "error: sweep 1 has no trial 9\n"),
        (
            "logs 1 1 --attempt 2",
            "error: trial 1 of sweep 1 has no such log: job 1 has no attempt 2; its newest is 1\n",
        ),
        (
            "logs 1 1 --job 7",
            "error: trial 1 of sweep 1 has no such log: job 7 is none of its jobs, which are 1\n",
        ),
    ] {
        let refused = project.sweep(&command.split(' ').collect::<Vec<_>>()).exits_with(2);
        assert_eq!(refused.stderr(), said);
    }
    let silent = project.sweep(&["logs", "1", "1"]).exits_with(0);
    assert_eq!(silent.stdout(), "");
    assert!(silent.stderr().contains("if it printed anything"), "{}", silent.stderr());
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}
