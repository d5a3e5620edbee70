//! What is handed to Slurm, what it makes of it, and that nothing is half submitted.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::cluster::{Cluster, serve};
use crate::harness::{Project, signal, wait_until};

const SPEC: &str = r#"
name: "it's \"quoted\" $(touch pwned) `touch pwned` # \\ %j"
command: [sh, -c, 'echo {{x}} >> ends']
parameters: {x: [1, 2]}
"#;

/// What users ask for, all at once.
const EVERYTHING: &[&str] = &[
    "--workers=8",
    "--max-running=4",
    "--time=3:30:00",
    "--gres=gpu:1",
    "--cpus-per-task=5",
    "--mem=8G",
    "--partition=gpu",
    "--set=mail-type=END",
    "--setup=ulimit -n 1024",
    "--slots-per-gpu=2",
];

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn slurm_and_shellcheck_take_the_scripts_as_they_are() {
    let cluster = Cluster::up("scripts", &[]);
    let project = cluster.project();
    project.write("spec.yaml", SPEC);
    let whole_nodes =
        ["--workers=2", "--nodes=2", "--exclusive", "--gpus-per-node=2", "--mem=0", "--time=1-12"];
    for (arguments, names) in [
        (EVERYTHING, &["script.sh"][..]),
        (&whole_nodes[..], &["script.sh"]),
        (&["--coordinator", "job", "--time=60"], &["script.sh", "coordinator-script.sh"]),
    ] {
        project.sweep(&[&["slurm", "spec.yaml", "-o", "script.sh"], arguments].concat()).exits_with(0);
        for name in names {
            let script = project.read(name);
            for check in [&["sbatch", "--test-only"][..], &["bash", "-n"], &["shellcheck"]] {
                let path = project.path(name);
                cluster.ask(&[check, &[path.to_str().unwrap()]].concat());
            }
            assert!(script.contains("#SBATCH --requeue\n"), "{script}");
        }
    }
    // The name is Slurm's as it is written in the spec.
    let job = cluster.ask(&["sbatch", "--parsable", "--hold", project.path("script.sh").to_str().unwrap()]);
    let shown = cluster.ask(&["squeue", "--noheader", "--format=%j", &format!("--jobs={}", job.trim())]);
    assert!(shown.starts_with("sweep-1-it's \"quoted\" $(touch pwned)"), "{shown}");
    assert!(!project.path("pwned").exists());
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_script_works_by_hand_wherever_it_is_submitted_from_and_whatever_the_folders_are_called() {
    let cluster = Cluster::up("by-hand", &[]);
    let outer = cluster.project();
    let folder = outer.path("it's a $(touch pwned) %j folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("spec.yaml"), SPEC).unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = outer.command(arguments);
        command.current_dir(&folder);
        command
    };
    let script = inside(&["slurm", "spec.yaml", "--cpu-slots", "1", "--time", "10"]).output().unwrap();
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    let notes = String::from_utf8_lossy(&script.stderr).into_owned();
    assert!(notes.contains("nobody coordinates here yet"), "{notes}");
    // The worker waits for a coordinator, who comes later.
    let mut sbatch = Command::new("sbatch")
        .arg("--parsable")
        .env("SLURM_CONF", cluster.configuration())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sbatch.stdin.take().unwrap().write_all(&script.stdout).unwrap();
    let job = String::from_utf8(sbatch.wait_with_output().unwrap().stdout).unwrap().trim().to_owned();
    crate::harness::wait_until("the worker", || !cluster.running(&job).is_empty());
    let serve = outer.start_command(inside(&["serve"]), "serve");
    cluster.wait_for_end(&job);
    let mut ends: Vec<String> =
        std::fs::read_to_string(folder.join("ends")).unwrap_or_default().lines().map(str::to_owned).collect();
    ends.sort();
    assert_eq!(ends, ["1", "2"], "{}", serve.log());
    let log = folder.join(format!(".sweep/logs/slurm-{job}_0.log"));
    assert!(log.exists(), "the log is where it was said to be");
    assert!(!folder.join("pwned").exists() && !outer.path("pwned").exists());
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn what_slurm_refuses_is_said_in_its_own_words_and_nothing_is_left() {
    let cluster = Cluster::up("refusals", &[("MAX_ARRAY", "20")]);
    let project = cluster.project();
    project.write("spec.yaml", SPEC);
    project.sweep(&["submit", "spec.yaml"]).exits_with(0);
    for (arguments, words, help) in [
        (
            &["--partition", "nope"][..],
            "invalid partition specified: nope",
            "`sinfo -s` lists the partitions",
        ),
        (&["--workers", "21"], "Invalid job array specification", "MaxArraySize"),
        (&["--gres", "gpu:9"], "Requested node configuration is not available", "sinfo -o"),
        (&["--set", "dependency=nonsense"], "Job dependency problem", ""),
        // The coordinator's job was taken already.
        (
            &["--coordinator", "job", "--gres", "gpu:9"],
            "Requested node configuration",
            "which was submitted already, is cancelled again",
        ),
    ] {
        let refused = project.sweep(&[&["slurm", "1", "--submit"], arguments].concat()).exits_with(1);
        let said = refused.stderr();
        assert!(said.contains(words) && said.contains(help), "{arguments:?}: {said}");
        assert!(refused.stdout().is_empty());
        crate::harness::wait_until("an empty queue", || cluster.ask(&["squeue", "--noheader"]).is_empty());
        assert_eq!(project.status()["slurm"]["jobs"], json!([]), "{arguments:?}");
    }
    let ended = project.sweep(&["slurm", "7", "--submit"]).exits_with(2);
    assert!(ended.stderr().contains("there is no sweep 7"), "{}", ended.stderr());
}

/// A project on whose PATH a program of this text stands for sbatch.
fn with_sbatch(project: Project, text: &str) -> Project {
    let folder = project.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("sbatch");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    project.with_variable("PATH", &format!("{}:/usr/bin:/bin", folder.display()))
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn an_sbatch_that_is_missing_or_breaks_a_rule_or_never_answers_leaves_nothing() {
    let cluster = Cluster::up("sbatch", &[]);
    let project = cluster.project();
    project.write("spec.yaml", SPEC);
    project.sweep(&["submit", "spec.yaml"]).exits_with(0);
    let try_to_submit = |project: &Project| {
        project.sweep(&["slurm", "1", "--submit", "--submit-timeout", "2"]).exits_with(1).stderr()
    };

    let nowhere = project.path("empty");
    std::fs::create_dir(&nowhere).unwrap();
    let missing = cluster.project().with_variable("PATH", nowhere.to_str().unwrap());
    missing.write("spec.yaml", SPEC);
    let said = missing.command(&["slurm", "spec.yaml", "--submit"]).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("there is no `sbatch` here"), "{said}");

    let limit = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
    let refusing =
        with_sbatch(cluster.project(), &format!("#!/bin/sh\necho \"sbatch: error: {limit}\" >&2\nexit 1\n"));
    refusing.write("spec.yaml", SPEC);
    refusing.sweep(&["submit", "spec.yaml"]).exits_with(0);
    let said = try_to_submit(&refusing);
    assert!(said.contains(limit) && said.contains("--qos"), "{said}");

    // Slurm has the job, and the answer gets lost.
    let slow = with_sbatch(
        cluster.project(),
        "#!/bin/sh\n/usr/bin/sbatch --hold \"$@\"\necho 'still waiting' >&2\nexec sleep 600\n",
    );
    slow.write("spec.yaml", SPEC);
    slow.sweep(&["submit", "spec.yaml"]).exits_with(0);
    let said = try_to_submit(&slow);
    assert!(said.contains("sbatch did not end within 2 s; it said: still waiting"), "{said}");
    assert!(said.contains("was cancelled"), "{said}");
    assert_eq!(cluster.ask(&["squeue", "--noheader"]), "");
    assert_eq!(slow.status()["slurm"]["jobs"], json!([]));
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn what_a_site_says_beside_the_id_and_a_ctrl_c_lose_no_job() {
    let cluster = Cluster::up("asides", &[]);
    let submit = ["slurm", "1", "--submit", "--submit-timeout", "60"];
    let friendly = with_sbatch(
        cluster.project(),
        "#!/bin/sh\n/usr/bin/sbatch --hold \"$@\" && echo 'Your quota is fine'\n",
    );
    friendly.write("spec.yaml", SPEC);
    friendly.sweep(&["submit", "spec.yaml"]).exits_with(0);
    let job = friendly.sweep(&submit).exits_with(0).stdout().trim().to_owned();
    assert_eq!(friendly.status()["slurm"]["jobs"][0]["job"].to_string(), job);
    cluster.ask(&["scancel", &job]);

    let wordless =
        with_sbatch(cluster.project(), "#!/bin/sh\n/usr/bin/sbatch --hold \"$@\" > id && echo submitted\n");
    wordless.write("spec.yaml", SPEC);
    wordless.sweep(&["submit", "spec.yaml"]).exits_with(0);
    let said = wordless.sweep(&submit).exits_with(1).stderr();
    assert!(said.contains("printed no job id: `submitted`") && said.contains("was cancelled"), "{said}");

    // Slurm has the job, and its answer is on the way when somebody presses Ctrl-C or the connection ends.
    let slow = with_sbatch(
        cluster.project(),
        "#!/bin/sh\n/usr/bin/sbatch --hold \"$@\"\ntouch submitted\nexec sleep 600\n",
    );
    slow.write("spec.yaml", SPEC);
    slow.sweep(&["submit", "spec.yaml"]).exits_with(0);
    for name in ["INT", "HUP"] {
        let mut submission = slow.command_with("--default-signal=HUP", &submit);
        let submission = submission.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        wait_until("Slurm has the job", || slow.path("submitted").exists());
        signal(name, i32::try_from(submission.id()).unwrap());
        let ended = submission.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(
            said.contains("stopped while sbatch was at work") && said.contains("was cancelled"),
            "{said}"
        );
        assert_eq!(cluster.ask(&["squeue", "--noheader"]), "");
        std::fs::remove_file(slow.path("submitted")).unwrap();
    }
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn arrays_of_an_export_are_known_though_nobody_lived_to_write_their_ids_down() {
    let cluster = Cluster::up("unrecorded", &[]);
    let project = with_sbatch(
        cluster.project(),
        "#!/bin/sh\n/usr/bin/sbatch --hold \"$@\" > id && touch submitted\nexec sleep 600\n",
    );
    project.write("spec.yaml", SPEC);
    let submit = ["slurm", "spec.yaml", "--static", "--submit", "--time", "10"];
    let mut submission =
        project.command(&submit).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("Slurm has the job", || project.path("submitted").exists());
    signal("KILL", i32::try_from(submission.id()).unwrap());
    submission.wait().unwrap();
    let job = project.read("id").trim().to_owned();

    let missing = ["slurm", "1", "--static", "--missing"];
    let refused = project.sweep(&missing).exits_with(2).stderr();
    assert!(refused.contains(&format!("not ended: wait for them, or `scancel {job}`")), "{refused}");
    // What a user's own settings hide is there all the same.
    let hiding = project.command(&missing).env("SQUEUE_PARTITION", "urgent").output().unwrap();
    assert_eq!(hiding.status.code(), Some(2), "{}", String::from_utf8_lossy(&hiding.stderr));
    let again = Command::new("bash")
        .env("SQUEUE_PARTITION", "urgent")
        .arg(project.path(".sweep/exports/1/submit.sh"))
        .env("SLURM_CONF", cluster.configuration())
        .output()
        .unwrap();
    let again = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.contains(&format!("submitted already, as jobs {job};")), "{again}");
    cluster.ask(&["scancel", &job]);
    wait_until("an empty queue", || cluster.ask(&["squeue", "--noheader"]).is_empty());
    let exported = project.sweep(&missing).exits_with(0).stderr();
    assert!(exported.contains("2 jobs in 2 tasks"), "{exported}");
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn an_export_whose_ids_can_not_be_printed_is_kept_with_its_jobs() {
    let cluster = Cluster::up("unprinted", &[]);
    let project = cluster.project();
    project.write("spec.yaml", SPEC);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut submission = project.command(&["slurm", "spec.yaml", "--static", "--submit"]);
    let submitted = submission.stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&submitted.stderr).into_owned();
    assert!(submitted.status.success() && said.contains("the ids can't be printed"), "{said}");
    let job = project.read(".sweep/exports/1/slurm-jobs").trim().to_owned();
    cluster.wait_for_end(&job);
    project.sweep(&["ingest", ".sweep/exports/1"]).exits_with(0);
    assert_eq!(project.status()["sweeps"][0]["trials"]["succeeded"], 2);
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_worker_that_is_cancelled_while_it_starts_takes_no_job() {
    let cluster = Cluster::up("early", &[]);
    let project = cluster.project();
    project.write(
        "spec.yaml",
        "command: [sh, -c, 'while ! test -e gate; do sleep 0.05; done']\nparameters: {x: 1}\n",
    );
    project.write(
        "slow-start",
        "#!/bin/bash\ntouch starting\nuntil test -e go; do sleep 0.05; done\nexec \"$@\"\n",
    );
    std::fs::set_permissions(project.path("slow-start"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _serve = serve(&project, "60");
    let slow_start = project.path("slow-start");
    let asked = ["--cpu-slots", "1", "--time", "10", "--prefix", slow_start.to_str().unwrap()];
    let submitted = project.sweep(&[&["slurm", "spec.yaml", "--submit"], &asked[..]].concat()).exits_with(0);
    let job = submitted.stdout().trim().to_owned();
    wait_until("the worker's container", || project.path("starting").exists());
    cluster.ask(&["scancel", &job]);
    project.write("go", "");
    cluster.wait_for_end(&job);
    let log = project.read(&format!(".sweep/logs/slurm-{job}_0.log"));
    assert!(!log.contains("ready") || log.contains("it was asked to stop"), "{log}");
}

#[test]
#[ignore = "needs Slurm: `make test-slurm`"]
fn a_coordinator_that_listens_on_this_host_only_is_a_warning_and_no_refusal() {
    let cluster = Cluster::up("loopback", &[]);
    let project = cluster.project();
    project.write("spec.yaml", SPEC);
    let _serve = serve(&project, "60");
    let submitted =
        project.sweep(&["slurm", "spec.yaml", "--submit", "--cpu-slots", "1", "--time", "10"]).exits_with(0);
    assert!(
        submitted.stderr().contains("warning: the coordinator listens on this host only (http://127.0.0.1:"),
        "{}",
        submitted.stderr()
    );
    let job = submitted.stdout().trim().to_owned();
    assert_eq!(project.read(&format!(".sweep/slurm/{job}.sh")).lines().next(), Some("#!/bin/bash"));
    cluster.wait_for_end(&job);
    let refused = project.sweep(&["slurm", "1", "--submit"]).exits_with(2);
    assert!(refused.stderr().contains("sweep 1 has ended"), "{}", refused.stderr());
}
