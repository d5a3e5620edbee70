use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::archive::Item;
use super::*;
use crate::vocabulary::{KEPT_CODE, weights_file_name};

struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Project {
        let project = Project(tempfile::tempdir().unwrap());
        project.write("train.py", "import model");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn request(&self, text: &str) -> SubmitRequest {
        SubmitRequest {
            spec: text.to_owned(),
            source_name: "s.yaml".to_owned(),
            bases: vec![],
            overrides: vec![],
            working_directory: self.0.path().display().to_string(),
            sharing: Default::default(),
            is_rehearsal: false,
            only: None,
            selected: Default::default(),
            code: None,
        }
    }

    fn code_by(&self, request: &SubmitRequest) -> Result<Code, String> {
        let spec = spec::parse(&request.source_name, &request.spec, &[]).unwrap();
        Code::of(&spec, request).map_err(|error| error.to_string())
    }

    /// The code of a spec that runs this.
    fn code(&self, command: &str) -> Result<Code, String> {
        self.code_by(&self.request(&format!("command: {command}")))
    }
}

/// What is kept, as `path: contents`, `path*: contents` for what can be executed, or `path -> target`.
fn items(code: &Code) -> Vec<String> {
    let archive = Archive::read(code.archive().unwrap().1).unwrap();
    archive
        .items()
        .map(|(path, item)| {
            let path = path.display();
            match item {
                Item::File { contents, is_executable } => {
                    let mark = if *is_executable { "*" } else { "" };
                    format!("{path}{mark}: {}", String::from_utf8_lossy(contents))
                }
                Item::Link(target) => format!("{path} -> {}", target.display()),
            }
        })
        .collect()
}

#[test]
fn the_files_that_a_command_names_are_kept_and_count() {
    let project = Project::new();
    project.write("conf/a.yaml", "lr: 1");
    project.write("1.json", "a result of an earlier run");
    project.write("python3", "no program is looked for here");
    fs::set_permissions(project.path("train.py"), fs::Permissions::from_mode(0o755)).unwrap();
    let command = "[python3, ./train.py, --conf=conf/a.yaml, '--out={{x}}.json']\nparameters: {x: [1, 2]}";
    let code = project.code(command).unwrap();
    assert_eq!(items(&code), ["conf/a.yaml: lr: 1", "train.py*: import model"]);
    let kept = code.told().kept.as_ref().unwrap();
    assert_eq!((kept.scope, kept.directory.as_str()), (CodeScope::Named, ""));
    assert_eq!(Path::new(&kept.root), project.0.path());
    let names: Vec<_> = code.told().files.keys().map(String::as_str).collect();
    assert_eq!(names, ["./train.py", "1.json", "conf/a.yaml", "python3"]);
    assert_eq!(project.code(command).unwrap().told(), code.told());
    project.write("train.py", "edited");
    assert_ne!(project.code(command).unwrap().told().files, code.told().files);
    assert_eq!(project.code("[true]").unwrap().told().kept, None);
}

#[test]
fn a_named_link_stays_one_where_it_leads_to_the_folder_and_else_nothing_is_kept() {
    let project = Project::new();
    project.write("src/run.py", "x");
    fs::create_dir(project.path("bin")).unwrap();
    symlink("../src/run.py", project.path("bin/run")).unwrap();
    let code = project.code("[python3, bin/run]").unwrap();
    assert_eq!(items(&code), ["bin/run -> ../src/run.py", "src/run.py: x"]);
    symlink("/etc/passwd", project.path("out")).unwrap();
    for command in ["[python3, out]", "[/bin/sh]", "[python3, ../train.py]", "[sh, src]"] {
        assert_eq!(project.code(command).unwrap().told().kept, None, "{command}");
    }
    assert_eq!(project.code("[python3, out]").unwrap().told().files.len(), 1, "it counts all the same");
}

#[test]
fn a_folder_is_kept_without_what_git_ignores() {
    let project = Project::new();
    for (name, text) in [
        (".gitignore", "/data\n*.log\n"),
        ("data/x.bin", "large"),
        ("a.log", "x"),
        ("pkg/model.py", "m"),
        ("pkg/__pycache__/model.pyc", "x"),
        (".sweep/token", "secret"),
        (".github/x.yml", "y"),
        ("a <b>&'\"\n.py", "odd"),
    ] {
        project.write(name, text);
    }
    symlink("pkg/model.py", project.path("link.py")).unwrap();
    let code = project.code("[python3, train.py]\ncode: .").unwrap();
    assert!(items(&code).contains(&"data/x.bin: large".to_owned()), "without git nothing is ignored");
    project.write(".git/HEAD", "ref: refs/heads/main");
    let code = project.code("[python3, train.py]\ncode: .").unwrap();
    let kept =
        [".github/x.yml: y", ".gitignore: /data\n*.log\n", "a <b>&'\"\n.py: odd", "link.py -> pkg/model.py"];
    assert_eq!(items(&code), [&kept[..], &["pkg/model.py: m", "train.py: import model"]].concat());
    assert!(code.told().files.is_empty(), "what lies in the folder counts by the folder");
    let same = project.code("[python3, train.py]\ncode: .").unwrap();
    assert_eq!(same.told(), code.told());
    project.write("data/y.bin", "more");
    assert_eq!(project.code("[python3, train.py]\ncode: .").unwrap().told(), code.told());
    project.write("pkg/model.py", "n");
    assert_ne!(project.code("[python3, train.py]\ncode: .").unwrap().told().kept, code.told().kept);
}

#[test]
fn what_git_tracks_is_kept_whatever_its_patterns_say() {
    let project = Project::new();
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        let done = git.arg("-C").arg(project.0.path()).args(arguments).env_remove("GIT_DIR").status();
        assert!(done.unwrap().success(), "git {arguments:?}");
    };
    for (name, text) in [
        (".gitignore", "data\n*.log\n__pycache__\n"),
        ("golden.log", "tracked"),
        ("other.log", "x"),
        ("data/table.csv", "tracked"),
        ("data/large.bin", "x"),
        ("gone.py", "x"),
        ("pkg/__pycache__/a.pyc", "x"),
    ] {
        project.write(name, text);
    }
    git(&["init", "-q"]);
    git(&["add", "-f", ".gitignore", "golden.log", "data/table.csv", "gone.py", "pkg"]);
    fs::remove_file(project.path("gone.py")).unwrap();
    let code = project.code("[python3, train.py]\ncode: .").unwrap();
    let kept = ["data/table.csv: tracked", "golden.log: tracked", "train.py: import model"];
    assert_eq!(items(&code)[1..], kept);
    // What lies behind a link is not the folder's, though git tracked it there.
    fs::rename(project.path("data"), project.path("moved.log")).unwrap();
    symlink("moved.log", project.path("data")).unwrap();
    let code = project.code("[python3, train.py]\ncode: .").unwrap();
    assert_eq!(items(&code)[1..], kept[1..]);
}

#[test]
fn folders_in_which_nothing_is_kept_are_noted() {
    let project = Project::new();
    for folder in ["src/results/a/b", "src/pkg", "src/cache/__pycache__", "elsewhere"] {
        fs::create_dir_all(project.path(folder)).unwrap();
    }
    project.write("src/pkg/model.py", "m");
    let code = project.code("[python3, train.py]\ncode: src").unwrap();
    let folder = code.told().kept.as_ref().unwrap().folder.as_ref().unwrap();
    assert_eq!((folder.path.as_str(), folder.live.join(" ").as_str()), ("src", "src/cache src/results"));
    assert_eq!(project.code("[python3, train.py]").unwrap().told().kept.as_ref().unwrap().folder, None);
}

#[test]
fn a_folder_lies_below_where_it_is_submitted_or_above_it() {
    let project = Project::new();
    project.write("src/model.py", "m");
    project.write("sweeps/s.yaml", "");
    let code = project.code("[python3, src/model.py, train.py]\ncode: src").unwrap();
    assert_eq!(items(&code), ["src/model.py: m"]);
    assert_eq!(code.told().files.keys().collect::<Vec<_>>(), ["train.py"], "beside the folder");
    let above = SubmitRequest {
        working_directory: project.path("sweeps").display().to_string(),
        ..project.request("command: [python3, ../train.py]\ncode: ..")
    };
    let code = project.code_by(&above).unwrap();
    let kept = code.told().kept.as_ref().unwrap();
    assert_eq!((Path::new(&kept.root), kept.directory.as_str()), (project.0.path(), "sweeps"));
    assert_eq!(items(&code).len(), 3);
    let apart = SubmitRequest {
        working_directory: project.path("sweeps").display().to_string(),
        ..project.request("command: [python3, ../train.py]\ncode: ../src")
    };
    let error = project.code_by(&apart).unwrap_err();
    assert!(
        error.contains("lies neither in") && error.contains("submit from a folder that has both"),
        "{error}"
    );
}

#[test]
fn what_can_not_be_kept_is_said_with_its_mend() {
    let project = Project::new();
    fs::create_dir(project.path("empty")).unwrap();
    project.write("large/a.bin", "");
    fs::File::options().write(true).open(project.path("large/a.bin")).unwrap().set_len(65 << 20).unwrap();
    project.write("large/b.bin", "x");
    let error = |folder: &str| project.code(&format!("[true]\ncode: {folder}")).unwrap_err();
    assert!(
        error("nowhere").starts_with("`code` names `nowhere`, and there is no such folder"),
        "{}",
        error("nowhere")
    );
    assert!(error("train.py").contains("there is no such folder"));
    assert!(error("empty").contains("in which there is nothing to keep"));
    let large = error("large");
    assert!(
        large.contains("with 2 files of 65 MiB together, and 10000 files of 64 MiB together can be kept"),
        "{large}"
    );
    assert!(large.contains("the largest are `") && large.contains("large/a.bin` (65 MiB)"), "{large}");
    assert!(large.contains(".gitignore") && large.contains("`code: live`"), "{large}");
    for (name, target) in [("one", "/etc"), ("two", "../train.py")] {
        fs::create_dir(project.path(name)).unwrap();
        symlink(target, project.path(name).join("out")).unwrap();
        let leaves = error(name);
        assert!(leaves.contains(&format!("is a link to `{target}`, which leads out")), "{leaves}");
    }
}

#[test]
fn of_live_code_nothing_is_kept_and_what_is_named_counts() {
    let project = Project::new();
    let code = project.code("[python3, train.py]\ncode: live").unwrap();
    assert_eq!((code.told().files.len(), code.archive(), code.told().kept.is_none()), (1, None, true));
    assert!(Code::to_send(&project.request("parameters: {}")).unwrap().is_none());
}

#[test]
fn an_archive_is_kept_once_and_mended_where_it_is_damaged() {
    let project = Project::new();
    let artifacts = project.path("artifacts");
    let code = project.code("[python3, train.py]").unwrap();
    let (hash, bytes) = code.archive().unwrap();
    assert_eq!(condition(&hash, &artifacts), Condition::Missing);
    code.keep(&artifacts).unwrap();
    code.keep(&artifacts).unwrap();
    assert_eq!(condition(&hash, &artifacts), Condition::Whole);
    let path = artifacts.join(KEPT_CODE).join(format!("{hash}.tar"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    fs::write(&path, "damage").unwrap();
    assert_eq!(condition(&hash, &artifacts), Condition::Damaged);
    assert!(!lend_code(&hash, &artifacts, &project.path("other")).unwrap());
    code.keep(&artifacts).unwrap();
    assert!(lend_code(&hash, &artifacts, &project.path("other")).unwrap());
    assert_eq!(condition(&hash, &project.path("other")), Condition::Whole);
}

#[test]
fn code_that_was_sent_takes_its_place_and_without_it_nothing_can_be_submitted() {
    let project = Project::new();
    let artifacts = project.path("artifacts");
    let code = project.code("[python3, train.py]").unwrap();
    let (hash, bytes) = code.archive().unwrap();
    let request = project.request("command: [python3, train.py]");
    let told =
        project.code_by(&SubmitRequest { code: Some(code.told().clone()), ..request.clone() }).unwrap();
    assert_eq!((told.told(), told.archive()), (code.told(), None));
    let error = told.keep(&artifacts).unwrap_err().to_string();
    assert!(error.contains("is not among the artifacts; send it before"), "{error}");
    fs::create_dir(&artifacts).unwrap();
    let sent = artifacts.join(weights_file_name(&hash.to_string()));
    fs::write(&sent, "other").unwrap();
    assert!(told.keep(&artifacts).is_err(), "it is not what its name says");
    fs::write(&sent, bytes).unwrap();
    told.keep(&artifacts).unwrap();
    assert_eq!((sent.exists(), condition(&hash, &artifacts)), (false, Condition::Whole));
    let mut nameless = code.told().clone();
    nameless.kept.as_mut().unwrap().hash = "../x".to_owned();
    let nameless = project.code_by(&SubmitRequest { code: Some(nameless), ..request }).unwrap();
    assert_eq!(
        nameless.keep(&artifacts).unwrap_err().to_string(),
        "`../x` is not the hash of an archive of code"
    );
}

#[test]
fn what_has_changed_since_an_earlier_sweep_is_named() {
    let project = Project::new();
    project.write("src/a.py", "1");
    project.write("src/b.py", "1");
    let artifacts = project.path("artifacts");
    let command = "[python3, train.py, src/a.py]\ncode: src";
    let before = project.code(command).unwrap();
    before.keep(&artifacts).unwrap();
    project.write("src/b.py", "2");
    project.write("train.py", "2");
    let after = project.code(command).unwrap();
    assert_eq!(changes(before.told(), &after, &artifacts), ["src/b.py", "train.py"]);
    assert_eq!(changes(before.told(), &after, Path::new("/nowhere")), ["train.py"], "as far as is known");
}
