//! The house, held by tests: which room may use which, what a room must not contain, and that the docs' links lead
//! somewhere. `docs/ARCHITECTURE.md` draws the same picture.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each room of the root package and the rooms it may use. A new arrow is a change of architecture.
const ARROWS: &[(&str, &[&str])] = &[
    ("vocabulary", &[]),
    ("protocol", &["vocabulary"]),
    ("recipe", &["vocabulary"]),
    ("lease", &["vocabulary"]),
    ("spec", &["recipe", "vocabulary"]),
    ("plan", &["spec", "recipe", "vocabulary"]),
    ("dataset", &["vocabulary"]),
    ("client", &["protocol", "vocabulary"]),
    ("spool", &["protocol", "vocabulary"]),
    ("store", &["lease", "vocabulary"]),
    ("coordinator", &["store", "plan", "spec", "protocol", "dataset", "vocabulary"]),
    ("api", &["coordinator", "report", "protocol", "vocabulary"]),
    ("slurm", &["coordinator", "protocol", "vocabulary"]),
    ("report", &["slurm", "plan", "protocol", "recipe", "spec", "vocabulary"]),
    (
        "cli",
        &[
            "api",
            "report",
            "slurm",
            "client",
            "coordinator",
            "store",
            "spool",
            "dataset",
            "spec",
            "recipe",
            "protocol",
            "vocabulary",
        ],
    ),
];

/// Rooms without clock, files, network, async or chance.
const PURE: &[&str] = &["vocabulary", "protocol", "recipe", "lease", "spec", "plan"];

/// What the worker may see of the root package, and which of its two rooms sees it.
const WORKER_DOORS: &[(&str, &[&str])] = &[
    ("agent", &["client", "protocol", "spool", "vocabulary"]),
    ("trainer", &["protocol", "recipe", "dataset", "vocabulary"]),
];

#[test]
fn every_room_uses_only_rooms_below_it() {
    let mut wrong = Vec::new();
    for (room, allowed) in ARROWS {
        for source in sources(&root().join("src").join(room)) {
            for used in mentioned_after(&source.code, "crate::") {
                if used != *room && is_room(&used) && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}: {room} uses {used}", source.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that go up:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_has_its_arrows_written_down() {
    let written: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let room = entry.file_name().into_string().unwrap();
            assert!(written.contains(&room.as_str()), "src/{room}/ has no entry in ARROWS");
        }
    }
}

#[test]
fn sql_is_in_the_store_only() {
    let statements = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "PRAGMA ", "sqlx::"];
    for (room, _) in ARROWS.iter().filter(|(room, _)| *room != "store") {
        assert_absent(&root().join("src").join(room), &statements, "SQL belongs to store");
    }
    assert_absent(&root().join("worker/src"), &statements, "SQL belongs to store");
}

#[test]
fn pure_rooms_have_no_clock_file_network_async_or_chance() {
    let impure = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "Instant::now",
        "SystemTime",
        "tokio",
        "reqwest",
        "async fn",
        ".await",
        "rand::",
        "getrandom",
    ];
    for room in PURE {
        assert_absent(&root().join("src").join(room), &impure, "this room is pure");
    }
}

#[test]
fn sql_has_no_clock_and_names_its_columns() {
    let banned = ["CURRENT_TIMESTAMP", "datetime(", "strftime(", "random()", "SELECT *"];
    assert_absent(&root().join("src/store"), &banned, "times are bound as parameters, columns are named");
}

#[test]
fn agent_and_trainer_see_only_their_doors() {
    let mut wrong = Vec::new();
    for (room, doors) in WORKER_DOORS {
        for source in sources(&root().join("worker/src").join(room)) {
            for used in mentioned_after(&source.code, "sweep::") {
                if !doors.contains(&used.as_str()) {
                    wrong.push(format!("{}: {room} uses sweep::{used}", source.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_agent_has_no_tensors_and_the_trainer_no_leases() {
    for source in sources(&root().join("worker/src/agent")) {
        let tensors = mentioned_after(&source.code, "tch::");
        assert_eq!(tensors, Vec::<String>::new(), "{}: the agent has no tensors", source.name());
    }
    assert_absent(&root().join("worker/src/agent"), &["crate::trainer"], "the agent has no tensors");
    let leasing = ["protocol::http", "LeaseToken", "crate::agent", "sweep::client"];
    assert_absent(&root().join("worker/src/trainer"), &leasing, "the trainer has no word for lease");
}

#[test]
fn the_worker_depends_on_neither_sqlite_nor_an_http_server() {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args([
            "tree",
            "--package",
            "sweep-worker",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--offline",
            "--locked",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(tree.contains("reqwest v"), "this is no tree: {tree}");
    for banned in ["sqlx", "libsqlite3-sys", "axum", "utoipa", "prometheus-client", "miette", "comfy-table"] {
        let found = tree.lines().find(|line| line.starts_with(&format!("{banned} v")));
        assert_eq!(found, None, "sweep-worker depends on {banned}");
    }
}

#[test]
fn links_in_the_docs_lead_to_files_that_exist() {
    let mut documents = vec![root().join("README.md"), root().join("worker/README.md")];
    documents.extend(files_below(&root().join("docs"), "md"));
    documents.extend(files_below(&root().join("worker/assets"), "md"));
    let mut dead = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            if !document.parent().unwrap().join(path).exists() {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

struct Source {
    path: PathBuf,
    /// Without comments and tests.
    code: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_room(name: &str) -> bool {
    ARROWS.iter().any(|(room, _)| *room == name)
}

/// The sources of a room: what ships, not its tests.
fn sources(room: &Path) -> Vec<Source> {
    let is_test = |path: &PathBuf| {
        let path = path.to_string_lossy();
        ["/tests/", "/tests.rs", "_tests.rs", "properties.rs", "wrong_specs.rs"]
            .iter()
            .any(|part| path.contains(part))
    };
    let sources: Vec<Source> = files_below(room, "rs")
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| Source { code: without_comments_and_tests(&fs::read_to_string(&path).unwrap()), path })
        .collect();
    assert!(!sources.is_empty(), "there is no room {}", room.display());
    sources
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn without_comments_and_tests(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let shipped = shipped.split("#[cfg(test)]\npub(").next().unwrap();
    let code = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The first path segments that follow `prefix`, also those in braces.
fn mentioned_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let list = match rest.strip_prefix('{') {
            Some(list) => outer_items(list),
            None => vec![rest],
        };
        let name = |text: &str| {
            text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        };
        names.extend(list.into_iter().map(name).filter(|name| !name.is_empty()));
    }
    names
}

/// The items of a list in braces, without what stands in braces of their own.
fn outer_items(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

fn assert_absent(folder: &Path, banned: &[&str], why: &str) {
    for source in sources(folder) {
        for (number, line) in source.code.lines().enumerate() {
            for word in banned {
                assert!(!line.contains(word), "{} (code line {number}): `{word}` — {why}", source.name());
            }
        }
    }
}

#[test]
fn the_test_of_arrows_would_see_one() {
    let code = "use crate::store::Store;\nuse crate::{lease::{A, B}, plan::Plan};\nlet x = sweep::crate::no;";
    assert_eq!(mentioned_after(code, "crate::"), ["store", "lease", "plan"]);
}
