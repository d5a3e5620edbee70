use sweep::vocabulary::KeptFolder;

use super::*;

/// An archive of files, `path: contents`, and of links, `path -> target`.
fn archive(items: &[&str]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some((path, target)) = item.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            // As somebody would who means harm: no check of ours, none of the crate's.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_cksum();
            tar.append(&header, io::empty()).unwrap();
        } else {
            let (path, contents) = item.split_once(": ").unwrap();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(contents.len() as u64);
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, contents.as_bytes()).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        for folder in ["artifacts/code", "project/data", "spool/agent-own"] {
            fs::create_dir_all(scene.path(folder)).unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn place(&self) -> Place {
        Place {
            logs: self.path("logs"),
            spool: self.path("spool/agent-own"),
            datasets: self.path("datasets"),
            artifacts: self.path("artifacts"),
            remote: None,
            attempts: self.path("attempts"),
            trainer: PathBuf::new(),
            grace: Default::default(),
            ends_with_its_trials: false,
            memory: Default::default(),
            inheritance: crate::spawn::Inheritance::new().unwrap(),
        }
    }

    fn keep(&self, items: &[&str], scope: CodeScope) -> KeptCode {
        let bytes = archive(items);
        let hash = blake3::hash(&bytes).to_hex().to_string();
        fs::write(self.path("artifacts/code").join(code_file_name(&hash)), bytes).unwrap();
        let root = self.path("project").display().to_string();
        KeptCode { hash, root, directory: String::new(), scope, folder: None }
    }

    fn unpack(&self, kept: &KeptCode) -> Result<Copy, String> {
        self.unpack_as("agent-own", kept)
    }

    fn unpack_as(&self, agent: &str, kept: &KeptCode) -> Result<Copy, String> {
        let place = Place { spool: self.path(&format!("spool/{agent}")), ..self.place() };
        fs::create_dir_all(&place.spool).unwrap();
        unpack(kept.clone(), &place, "job-1-attempt-1-").map_err(Problem::into_words)
    }

    fn attempts(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("attempts")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_copy_has_the_code_as_it_was_and_leads_to_all_else() {
    let scene = Scene::new();
    scene.write("project/train.py", "edited");
    scene.write("project/pkg/util.py", "live");
    scene.write("project/pkg/__pycache__/model.pyc", "of another version");
    scene.write("project/data/x", "1");
    let kept =
        scene.keep(&["train.py: old", "pkg/model.py: m", "link.py -> pkg/model.py"], CodeScope::Folder);
    let copy = scene.unpack(&kept).unwrap();
    let read = |name: &str| fs::read_to_string(copy.folder.join(name)).unwrap();
    assert_eq!(
        (read("train.py"), read("link.py"), read("pkg/util.py"), read("data/x")),
        ("old".into(), "m".into(), "live".into(), "1".into())
    );
    assert!(!copy.folder.join("pkg/__pycache__").exists());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(copy.folder.join("train.py")).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(copy.clear().await, None);
    assert_eq!(scene.attempts(), [""; 0]);
    assert_eq!(fs::read_to_string(scene.path("project/data/x")).unwrap(), "1", "what links lead to stays");
}

#[test]
fn what_has_come_into_a_kept_folder_since_is_not_in_its_copies_unless_git_ignores_it() {
    let scene = Scene::new();
    for name in [
        ".git/HEAD",
        "src/.gitignore",
        "src/pkg/model.py",
        "src/pkg/new.py",
        "src/new.py",
        "src/new_pkg/a.py",
        "src/results/1.csv",
        "src/data/x",
        "src/pkg/run.log",
        "README",
    ] {
        scene.write(
            &format!("project/{name}"),
            if name.ends_with("ignore") { "data\n*.log\n" } else { "live" },
        );
    }
    let taken = scene.keep(&["src/.gitignore: data", "src/pkg/model.py: m"], CodeScope::Folder);
    let live = vec!["src/results".to_owned()];
    let kept = KeptCode { folder: Some(KeptFolder { path: "src".to_owned(), live }), ..taken };
    let copy = scene.unpack(&kept).unwrap();
    let is_there = |name: &&str| copy.folder.join(name).exists();
    let live = [".git/HEAD", "README", "src/results/1.csv", "src/data/x", "src/pkg/run.log"];
    assert!(live.iter().all(is_there));
    assert!(!["src/new.py", "src/new_pkg", "src/pkg/new.py"].iter().any(is_there));
    assert_eq!(fs::read_to_string(copy.folder.join("src/pkg/model.py")).unwrap(), "m");
}

#[tokio::test]
async fn what_a_program_writes_into_its_copy_stays_and_only_that() {
    let scene = Scene::new();
    let kept = scene.keep(&["a/train.py: old", "notes.txt: kept"], CodeScope::Folder);
    let copy = scene.unpack(&kept).unwrap();
    fs::write(copy.folder.join("a/out.txt"), "mine").unwrap();
    fs::create_dir(copy.folder.join("a/__pycache__")).unwrap();
    fs::write(copy.folder.join("a/__pycache__/train.pyc"), "bytecode").unwrap();
    fs::remove_file(copy.folder.join("notes.txt")).unwrap();
    fs::write(copy.folder.join("notes.txt"), "changed").unwrap();
    fs::create_dir(copy.folder.join("empty")).unwrap();
    let folder = copy.folder.clone();
    assert_eq!(copy.clear().await, Some(folder.clone()));
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a", "notes.txt"]);
    assert_eq!(fs::read_dir(folder.join("a")).unwrap().count(), 1);
    assert_eq!(scene.attempts().len(), 1, "the note is gone");
}

#[test]
fn names_in_a_command_become_those_of_the_copy() {
    let scene = Scene::new();
    let command = |copy: &Copy, arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let folder = copy.folder.display().to_string();
        copy.command(&arguments).iter().map(|argument| argument.replace(&folder, "COPY")).collect::<Vec<_>>()
    };
    let absolute = scene.path("project/a.py").display().to_string();
    let items = ["a.py: x", "conf/a.yaml: y"];
    let written = ["a.py", "./a.py", "--c=conf/a.yaml", "x=y=a.py", "b.py", "../a.py", &absolute];
    let named = scene.unpack(&scene.keep(&items, CodeScope::Named)).unwrap();
    let expected = ["a.py", "COPY/a.py", "--c=COPY/conf/a.yaml", "x=y=a.py", "b.py", "../a.py", "COPY/a.py"];
    assert_eq!(command(&named, &written), expected);
    assert_eq!(command(&named, &["./a.py", "a.py"]), ["COPY/a.py", "COPY/a.py"]);
    let folder = scene.unpack(&scene.keep(&items, CodeScope::Folder)).unwrap();
    assert_eq!(command(&folder, &written)[..6], written[..6]);
    assert_eq!(command(&folder, &written)[6], "COPY/a.py");
}

#[test]
fn damaged_and_missing_code_is_never_unpacked() {
    let scene = Scene::new();
    let kept = scene.keep(&["train.py: old"], CodeScope::Named);
    let path = scene.path("artifacts/code").join(code_file_name(&kept.hash));
    let mut bytes = fs::read(&path).unwrap();
    bytes[512] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let words = scene.unpack(&kept).unwrap_err();
    assert!(
        words.starts_with("the code that this trial runs is damaged") && words.contains(&kept.hash),
        "{words}"
    );
    fs::remove_file(&path).unwrap();
    let words = scene.unpack(&kept).unwrap_err();
    assert!(words.starts_with("can't read the code that this trial runs"), "{words}");
    let nameless = KeptCode { hash: "../../etc/passwd".to_owned(), ..kept };
    assert!(scene.unpack(&nameless).unwrap_err().contains("is not the hash"));
    assert!(!scene.path("attempts").exists());
}

#[test]
fn nothing_in_an_archive_leads_out_of_the_copy() {
    for items in [
        &["../x: 1"][..],
        &["/etc/x: 1"],
        &["a/../../x: 1"],
        &["a -> /etc"],
        &["a -> .."],
        &["a/b -> ../../c"],
        &["a -> b", "a/c: 1"],
    ] {
        let error = Archive::of(archive(items)).unwrap_err();
        assert!(
            error.contains("leads out of the copy") || error.contains("is no folder"),
            "{items:?}: {error}"
        );
    }
    assert!(Archive::of(archive(&["a/b -> ../c", "c: 1"])).is_ok());
    let scene = Scene::new();
    let kept = scene.keep(&["a: 1"], CodeScope::Folder);
    for wrong in [
        KeptCode { directory: "../x".to_owned(), ..kept.clone() },
        KeptCode { root: "project".to_owned(), ..kept.clone() },
    ] {
        assert!(scene.unpack(&wrong).unwrap_err().contains("is no place for trials"));
    }
}

#[tokio::test]
async fn the_copy_of_an_agent_that_is_gone_is_cleared_and_no_other() {
    let scene = Scene::new();
    scene.write("project/data/x", "1");
    let kept = scene.keep(&["train.py: old"], CodeScope::Folder);
    let (own, elsewhere) = (scene.unpack(&kept).unwrap(), scene.unpack_as("agent-elsewhere", &kept).unwrap());
    let (_bare, written) =
        (scene.unpack_as("agent-gone", &kept).unwrap(), scene.unpack_as("agent-gone", &kept).unwrap());
    fs::write(written.folder.join("result"), "mine").unwrap();
    // It was killed when it had noted that there would be one more.
    let gone = Place { spool: scene.path("spool/agent-gone"), ..scene.place() };
    announce(&kept, &gone, "job-2-attempt-1-").unwrap();
    fs::remove_dir(scene.path("spool/agent-gone")).unwrap();
    // As seen from another node: nothing that this process holds open or locked says that they are used.
    let alone = |copy: Copy| copy.folder;
    let (own, elsewhere) = (alone(own), alone(elsewhere));
    clear_abandoned(Arc::new(scene.place())).await;
    assert!(own.join("train.py").exists() && elsewhere.join("train.py").exists());
    assert_eq!(fs::read_dir(&written.folder).unwrap().count(), 1, "what it wrote is left, and nothing else");
    assert_eq!(scene.attempts().len(), 5, "two that are used with their notes, and what one wrote");
    assert!(scene.path("project/data/x").exists());
}

#[tokio::test]
async fn two_agents_may_clear_the_same_copies_at_once() {
    let scene = Scene::new();
    let files: Vec<String> = (0..50).map(|n| format!("{}/{n}.py: {n}", n % 7)).collect();
    let kept = scene.keep(&files.iter().map(String::as_str).collect::<Vec<_>>(), CodeScope::Folder);
    for _ in 0..4 {
        scene.unpack_as("agent-gone", &kept).unwrap();
    }
    fs::remove_dir(scene.path("spool/agent-gone")).unwrap();
    let place = Arc::new(scene.place());
    tokio::join!(clear_abandoned(place.clone()), clear_abandoned(place.clone()), clear_abandoned(place));
    assert_eq!(scene.attempts(), [""; 0]);
}
