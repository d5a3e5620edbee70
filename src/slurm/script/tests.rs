use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::slurm::{
    Place, Purpose, StaticPurpose, Wishes, cut_arrays, draft_array, draft_coordinator, draft_submission,
    draft_workers,
};
use crate::vocabulary::{SweepId, WorkerId};

fn place() -> Place {
    Place {
        project: "/home/u/masks".to_owned(),
        state_folder: "/home/u/masks/.sweep".to_owned(),
        logs: "/home/u/masks/.sweep/logs".to_owned(),
        datasets: "/home/u/.local/share/sweep/datasets".to_owned(),
        sweep: "/opt/sweep/bin/sweep".to_owned(),
        worker: "/opt/sweep/bin/sweep-worker".to_owned(),
    }
}

fn purpose() -> Purpose {
    Purpose { sweep: SweepId(3), name: "masks".to_owned(), coordinator: None, worker_options: vec![] }
}

fn wishes(toml: &str) -> Wishes {
    toml::from_str(toml).unwrap()
}

fn workers(place: &Place, purpose: &Purpose, wishes: &Wishes) -> Result<String, ScriptError> {
    wishes.check().unwrap();
    let nowhere = tempfile::tempdir().unwrap();
    render(Template::Worker, nowhere.path(), &draft_workers(place, purpose, wishes))
}

/// A script that bash can read and shellcheck, where it is installed, finds nothing wrong with.
fn sound(script: String) -> String {
    check("bash", &["-n"], &script);
    check("shellcheck", &["-"], &script);
    script
}

fn check(program: &str, arguments: &[&str], script: &str) {
    let pipes = [Stdio::piped(), Stdio::piped()];
    let [stdin, stdout] = pipes;
    let child =
        Command::new(program).args(arguments).stdin(stdin).stdout(stdout).stderr(Stdio::inherit()).spawn();
    let mut child = match child {
        Ok(child) => child,
        // tests/slurm installs it and checks the scripts with it, too.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && program == "shellcheck" => return,
        Err(error) => panic!("{program}: {error}"),
    };
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}\n{script}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_usual_array_of_workers() {
    let asked = wishes(
        r#"
        workers = 8
        max-running = 4
        time = "3:30:00"
        gres = "gpu:1"
        cpus-per-task = 5
        mem = "8G"
        "#,
    );
    insta::assert_snapshot!(sound(workers(&place(), &purpose(), &asked).unwrap()));
}

#[test]
fn whole_nodes_with_a_worker_on_each_set_up_as_the_site_wants_it() {
    let asked = wishes(
        r#"
        workers = 2
        time = "1-12"
        partition = "gpu"
        account = "group a"
        qos = "long"
        constraint = "a100&nvlink"
        nodes = 4
        exclusive = true
        gpus-per-node = "a100:4"
        mem = 0
        slots-per-gpu = 2
        idle-timeout = "1h"
        grace = 300
        setup = ["module load cuda", 'export TMPDIR="/scratch/$USER"']
        prefix = "apptainer exec --nv image.sif"
        set = {mail-type = "END,FAIL", hint = "nomultithread", reboot = true}
        "#,
    );
    let purpose = Purpose {
        coordinator: Some("http://login1:7077".to_owned()),
        worker_options: vec!["--log-format".to_owned(), "json".to_owned()],
        ..purpose()
    };
    insta::assert_snapshot!(sound(workers(&place(), &purpose, &asked).unwrap()));
}

#[test]
fn a_coordinators_own_job() {
    let nowhere = tempfile::tempdir().unwrap();
    let asked = wishes("time = \"3:30:00\"\npartition = \"cpu\"\n");
    let draft = draft_coordinator(&place(), &asked);
    insta::assert_snapshot!(sound(render(Template::Coordinator, nowhere.path(), &draft).unwrap()));
}

fn static_purpose(folder: &str) -> StaticPurpose {
    StaticPurpose {
        sweep: SweepId(3),
        name: "masks".to_owned(),
        export: WorkerId(7),
        marker: "sweep export 7 of 0123456789abcdef at 1700000000000".to_owned(),
        folder: folder.to_owned(),
        worker_options: vec![],
    }
}

#[test]
fn an_array_of_static_mode_and_what_submits_it() {
    let nowhere = tempfile::tempdir().unwrap();
    let asked = wishes("time = \"3:30:00\"\ngres = \"gpu:1\"\nmax-running = 4\nslots-per-gpu = 2\n");
    let purpose = static_purpose("/home/u/masks/.sweep/exports/7");
    let arrays = cut_arrays(&[30, 12], 20);
    let array = render(Template::Static, nowhere.path(), &draft_array(&place(), &purpose, arrays[1], &asked));
    insta::assert_snapshot!("static_array", sound(array.unwrap()));
    let submit = render(Template::Submit, nowhere.path(), &draft_submission(&purpose, &arrays)).unwrap();
    insta::assert_snapshot!("static_submit", sound(submit));
}

/// Programs of Slurm's names, for the script that submits. The queue is a file.
fn slurm_of_ours(folder: &Path) {
    let programs = [
        ("sbatch", "echo \"$*\" >>asked; eval \"$SBATCH\""),
        ("squeue", "[ ! -e queue ] || cat queue"),
        ("scancel", "echo \"$*\" >>cancelled; ! grep -q \"^$1|\" queue 2>/dev/null || rm -f queue"),
        ("sleep", ":"),
    ];
    fs::create_dir(folder).unwrap();
    for (name, text) in programs {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/bash\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn arrays_wait_for_all_of_the_depth_before_and_none_is_left_where_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's $(touch pwned)");
    fs::create_dir(&path).unwrap();
    slurm_of_ours(&folder.path().join("bin"));
    let purpose = static_purpose(path.to_str().unwrap());
    let draft = draft_submission(&purpose, &cut_arrays(&[30, 12], 20));
    let script = render(Template::Submit, folder.path(), &draft).unwrap();
    let run = |sbatch: &str| {
        let script = format!("PATH={}/bin:$PATH\n{script}", folder.path().display());
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir("/").env("SBATCH", sbatch);
        command.process_group(0);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let take = |name: &str| {
        let text = fs::read_to_string(path.join(name)).unwrap_or_default();
        let _was_not_there = fs::remove_file(path.join(name));
        text
    };
    let queue = |job: u32| {
        let line = format!("{job}|{}\n9|another\n", purpose.marker_of(cut_arrays(&[30], 20)[1]));
        fs::write(path.join("queue"), line).unwrap();
    };
    let counts = "wc -l <asked";

    assert_eq!(run(counts), (true, "1\n2\n3\n".to_owned(), String::new()));
    assert_eq!(
        take("asked"),
        "--parsable array-0-0.sh\n--parsable array-0-20.sh\n--parsable --dependency=afterany:1:2 array-1-0.sh\n"
    );
    let (is_done, _, said) = run(counts);
    assert!(
        !is_done && take("asked").is_empty() && said.contains("already, as jobs 1 2 3;"),
        "twice: {said}"
    );
    assert_eq!(take("slurm-jobs"), "1\n2\n3\n");

    // Whoever submitted did not live to write the id down.
    queue(7);
    let (is_done, _, said) = run(counts);
    assert!(!is_done && take("asked").is_empty() && said.contains("already, as jobs 7;"), "twice: {said}");
    take("queue");

    let (is_done, _, _) = run("case $* in *array-1*) exit 1;; *) wc -l <asked;; esac");
    assert!(!is_done && take("slurm-jobs").is_empty(), "it can be submitted again");
    assert_eq!((take("cancelled").as_str(), take("asked").lines().count()), ("1 2\n", 3));

    // Slurm has the job, and its id was not said.
    let taken =
        format!("echo '7|{} and what a site adds' >queue", purpose.marker_of(cut_arrays(&[30], 20)[0]));
    let (is_done, out, said) = run(&format!("{taken}; echo submitted"));
    assert!(!is_done && out.is_empty() && said.contains("printed no job id: submitted"), "{said}");
    assert_eq!((take("cancelled").as_str(), take("asked").lines().count()), ("7\n", 1));

    // As of a terminal's Ctrl-C, which all processes hear.
    let (is_done, _, _) = run(&format!("case $* in *array-0-0*) echo 1;; *) {taken}; kill -TERM 0;; esac"));
    assert!(!is_done && take("slurm-jobs").is_empty());
    assert_eq!(take("cancelled"), "1\n7\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a value was run");
}

#[test]
fn no_value_becomes_shell_text() {
    let evil = "a'b\"c $(touch pwned) `touch pwned` \\ #\ntouch pwned; %j";
    let place = Place {
        project: format!("/p/{evil}"),
        state_folder: format!("/p/{evil}/.sweep"),
        logs: "/p/100% $(touch pwned) \"'\\/logs".to_owned(),
        datasets: format!("/d/{evil}"),
        sweep: "/b/sweep".to_owned(),
        worker: format!("/b/{evil}/sweep-worker"),
    };
    let purpose = Purpose { name: evil.to_owned(), worker_options: vec![evil.to_owned()], ..purpose() };
    let asked = wishes("time = \"1:00:00\"\nset = {wckey = \"x $(touch pwned) 'y' \\\"z\\\"\"}\n");
    // (shellcheck takes quotes around such a command for a mistake.)
    let script = workers(&place, &purpose, &asked).unwrap();
    check("bash", &["-n"], &script);
    let folder = tempfile::tempdir().unwrap();
    // Up to the worker, which is replaced by something that shows how it was called.
    let run = format!("cd() {{ printf '[%s]\\n' \"$1\"; }}\nsrun() {{ \"$@\"; }}\n{script}")
        .replace(&crate::slurm::quote::shell_word(&place.worker), "printf '[%s]\\n'");
    let output = Command::new("bash").arg("-c").arg(&run).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for value in [&place.project, &place.state_folder, &place.datasets, &evil.to_owned()] {
        assert!(said.contains(&format!("[{value}]\n")), "{value} in {said}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a value was run");
    // The lines that Slurm reads are lines of their own, each from its beginning to its end.
    let options: Vec<&str> =
        script.lines().filter(|line| line.contains("--job-name") || line.contains("wckey")).collect();
    insta::assert_snapshot!(options.join("\n"), @r##"
    #SBATCH --job-name="sweep-3-a'b\"c $(touch pwned) `touch pwned` \\ # touch pwned;"
    #SBATCH --wckey="x $(touch pwned) 'y' \"z\""
    "##);
}

#[test]
fn what_slurm_can_not_spell_is_an_error() {
    let asked = wishes("set = {wckey = \"a\\nb\"}\n");
    let error = workers(&place(), &purpose(), &asked).unwrap_err();
    assert!(matches!(error, ScriptError::Option(OptionError::Control { .. })), "{error}");
}

#[test]
fn a_template_of_ones_own_comes_first_and_its_mistakes_are_shown_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(TEMPLATES)).unwrap();
    let own = folder.path().join(TEMPLATES).join("worker.sh.hbs");
    let render_own = |text: &str| {
        fs::write(&own, text).unwrap();
        let values = draft_workers(
            &place(),
            &Purpose { name: "it's".to_owned(), ..purpose() },
            &wishes("workers = 2"),
        );
        render(Template::Worker, folder.path(), &values)
    };
    let text =
        "#!/bin/bash\n{{sbatch \"comment\" sweep_name}}\necho {{sweep_name}} {{workers}} # {{line title}}\n";
    let script = render_own(text).unwrap();
    assert_eq!(script, "#!/bin/bash\n#SBATCH --comment=\"it's\"\necho 'it'\\''s' 2 # sweep 3 (it's)\n");
    for (wrong, line) in [
        ("a\n{{#if x}}\n", ""),
        ("a\nb {{titel}}\n", " in line 2: there is no value `titel` here"),
        ("{{nohelper title}}", " in line 1"),
    ] {
        let error = render_own(wrong).unwrap_err().to_string();
        let start = format!("the template `{}` is wrong{line}", own.display());
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn the_shell_passes_the_warning_on_and_gives_the_workers_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let worker = folder.path().join("worker");
    // It ends in any case, so that a warning that is lost fails the test and does not hang it.
    let text = "#!/bin/bash\ntrap 'echo warned; exit 7' USR1\ntouch ready\nfor _ in {1..600}; do sleep 0.05 & wait $!; done\n";
    fs::write(&worker, text).unwrap();
    let set_mode = Command::new("chmod").arg("+x").arg(&worker).status().unwrap();
    assert!(set_mode.success());
    let here = folder.path().display().to_string();
    let place = Place { project: here, worker: worker.display().to_string(), ..place() };
    let script = workers(&place, &purpose(), &wishes("workers = 1")).unwrap();
    let shell = Command::new("bash").arg("-c").arg(script).stdout(Stdio::piped()).spawn().unwrap();
    let ready = folder.path().join("ready");
    let started = std::time::Instant::now();
    while !ready.exists() {
        assert!(started.elapsed().as_secs() < 60, "the worker did not start");
        std::thread::yield_now();
    }
    for signal in ["-TERM", "-USR1"] {
        assert!(Command::new("kill").args([signal, &shell.id().to_string()]).status().unwrap().success());
    }
    let output = shell.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "warned\n");
    assert_eq!(output.status.code(), Some(7));
}
