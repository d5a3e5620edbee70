//! Copies of the job table, and going back to one, with the real programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use harness::{GATED, Project, QUICK, serve, signal, wait_until};

#[test]
fn a_copy_of_the_table_is_sound_whoever_asked_for_it() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["run", "quick.yaml"]).exits_with(0);
    project.write("gated.yaml", GATED);
    // On the local table, through a coordinator that works, and from another host.
    let local = project.sweep(&["backup", "local.db"]).exits_with(0);
    assert!(
        local.stderr().starts_with("1 sweep, 3 trials and 3 jobs are in `local.db` ("),
        "{}",
        local.stderr()
    );
    let (_service, url) = serve(&project, &[]);
    let mut run = project.start(&["run", "gated.yaml", "--cpu-slots", "2"]);
    wait_until("both trials", || project.read("started").lines().count() == 2);
    let running = project.sweep(&["backup", "running.db"]).exits_with(0);
    assert!(running.stderr().starts_with("2 sweeps, 5 trials and 5 jobs"), "{}", running.stderr());
    let elsewhere = project.elsewhere(&url);
    elsewhere.sweep(&["backup", "sent.db"]).exits_with(0);
    project.write("gate", "");
    assert_eq!(run.exit_code(), Some(0));
    for copy in [project.path("local.db"), project.path("running.db"), elsewhere.path("sent.db")] {
        let restored = Project::new();
        restored.write("quick.yaml", QUICK);
        restored.sweep(&["submit", "quick.yaml"]).exits_with(0);
        std::fs::copy(&copy, restored.path(".sweep/sweep.db")).unwrap();
        restored.sweep(&["doctor"]).exits_with(0);
        assert_eq!(restored.results("1"), project.results("1"));
    }
    let left: Vec<String> = std::fs::read_dir(project.path(".sweep"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_copy_replaces_nothing_unless_it_is_told_to_and_never_a_table() {
    let project = Project::new();
    project.write("quick.yaml", QUICK);
    project.sweep(&["run", "quick.yaml"]).exits_with(0);
    project.write("notes.txt", "mine");
    for (command, said) in [
        ("backup notes.txt", "error: `notes.txt` exists already; `--force` replaces it\n"),
        ("backup nowhere/copy.db", "error: `nowhere/copy.db` can't be written: there is no such folder\n"),
        ("backup .sweep", "error: `.sweep` is a folder; name a file in it\n"),
        (
            "backup --force .sweep/sweep.db",
            "error: `.sweep/sweep.db` is the place of a job table, not of a copy\n",
        ),
    ] {
        let refused = project.sweep(&command.split(' ').collect::<Vec<_>>()).exits_with(2);
        assert_eq!(refused.stderr(), said);
    }
    assert_eq!(project.read("notes.txt"), "mine");
    project.sweep(&["backup", "--force", "notes.txt"]).exits_with(0);
    assert!(std::fs::read(project.path("notes.txt")).unwrap().starts_with(b"SQLite format 3\0"));
    assert_eq!(Project::new().sweep(&["backup", "copy.db"]).exits_with(2).stdout(), "");

    let placed = Project::new();
    placed.write("quick.yaml", QUICK);
    placed.sweep(&["submit", "--db", "table.db", "quick.yaml"]).exits_with(0);
    let refused = placed.sweep(&["backup", "--force", "table.db"]).exits_with(2);
    assert!(refused.stderr().contains("the place of a job table"), "{}", refused.stderr());
    placed.sweep(&["backup", "copy.db"]).exits_with(0);
}

#[test]
fn agents_work_on_for_a_table_that_was_restored_below_them() {
    let project = Project::new();
    let (mut service, url) = serve(&project, &["--lease", "2"]);
    project.write("gated.yaml", GATED);
    project.sweep(&["submit", "gated.yaml"]).exits_with(0);
    project.sweep(&["backup", "copy.db"]).exits_with(0);
    // The copy knows neither this agent nor what it leases.
    let mut worker = project.start(&["worker", "--until-drained", "--cpu-slots", "2"]);
    wait_until("both trials", || project.read("started").lines().count() == 2);
    signal("TERM", service.pid());
    assert_eq!(service.exit_code(), Some(0));
    std::fs::copy(project.path("copy.db"), project.path(".sweep/sweep.db")).unwrap();
    let (_service, again) = serve(&project, &["--lease", "2"]);
    assert_eq!(again, url, "it listens where it did");
    wait_until("both trials, leased by the restored table", || project.read("started").lines().count() == 4);
    project.write("gate", "");
    assert_eq!(worker.exit_code(), Some(0), "{}", worker.log());
    assert_eq!(project.status()["sweeps"][0]["trials"]["succeeded"], 2);
    project.sweep(&["doctor"]).exits_with(0);
}
