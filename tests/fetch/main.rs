//! Fetching datasets from a publisher on this host, in the publishers' formats and on a small scale.
#![cfg(feature = "coordinator")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use server::{Manners, Server};
use sha2::{Digest, Sha256};
use sweep::dataset::fetch::{
    Contents, FetchError, FetchRequest, Fetched, Mirror, Publication, PublishedFile, STALL_LIMIT, fetch,
    publication,
};
use sweep::dataset::import::{BinaryFormat, Existing, ImportError, Outcome};
use sweep::dataset::{Dataset, Manifest};
use tempfile::TempDir;

const ARCHIVE: &str = "cifar-10-binary.tar.gz";
const IMAGE_BYTES: usize = 3 * 32 * 32;

/// Records of one image each: its labels, then pixels that are the last label plus one in the first plane, plus two in the second, …
fn records(labels: &[&[u8]]) -> Vec<u8> {
    let record = |labels: &&[u8]| {
        let label = *labels.last().unwrap();
        let planes = (1..=3).flat_map(move |plane| std::iter::repeat_n(label + plane, IMAGE_BYTES / 3));
        labels.iter().copied().chain(planes).collect::<Vec<_>>()
    };
    labels.iter().flat_map(record).collect()
}

fn tar_gz(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Files of an archive, by path.
type Files = Vec<(&'static str, Vec<u8>)>;

/// As the publisher packs CIFAR-10, with two images in each file.
fn cifar10_files() -> Files {
    let mut files = vec![
        ("cifar-10-batches-bin/batches.meta.txt", b"cat\ndog\n\n".to_vec()),
        ("cifar-10-batches-bin/readme.html", b"<html>".to_vec()),
        ("cifar-10-batches-bin/test_batch.bin", records(&[&[1], &[0]])),
    ];
    for name in ["1", "2", "3", "4", "5"] {
        let path: &str = format!("cifar-10-batches-bin/data_batch_{name}.bin").leak();
        files.push((path, records(&[&[0], &[1]])));
    }
    files
}

fn cifar10() -> Vec<u8> {
    tar_gz(&cifar10_files())
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    [bytes, header.into_bytes(), data.to_vec()].concat()
}

fn published(name: &str, url: &str, contents: &[u8]) -> PublishedFile {
    let sha256 = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
    PublishedFile {
        name: name.to_owned(),
        url: format!("{url}/{name}"),
        bytes: contents.len() as u64,
        sha256,
    }
}

/// A folder of datasets, and what is fetched into it.
struct Place {
    folder: TempDir,
    request: FetchRequest,
}

impl Place {
    fn new(files: Vec<PublishedFile>, contents: Contents) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let downloads = folder.path().join("datasets/.downloads");
        let publication = Publication { files, contents };
        let dataset = "cifar10".parse().unwrap();
        let (existing, stall_limit) = (Existing::Keep, STALL_LIMIT);
        let request = FetchRequest { publication, from: None, dataset, existing, downloads, stall_limit };
        Place { folder, request }
    }

    /// Of this archive, which the server has.
    fn of_archive(server: &Server, archive: &[u8]) -> Place {
        let file = published(ARCHIVE, &server.url, archive);
        Place::new(vec![file], Contents::Dataset(BinaryFormat::Cifar10))
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("datasets")
    }

    fn fetch(&self) -> Result<Fetched, FetchError> {
        fetch(&self.root(), &self.request, &mut |progress| assert!(progress.bytes <= progress.of_bytes + 1))
    }

    #[track_caller]
    fn fetch_new(&self) -> Manifest {
        match self.fetch() {
            Ok(Fetched::Imported(Outcome::Imported(manifest))) => manifest,
            other => panic!("{other:?}"),
        }
    }

    /// What an earlier command has left of the archive.
    fn leave(&self, part: &[u8]) {
        let downloads = &self.request.downloads;
        let sum = &self.request.publication.files[0].sha256[..12];
        fs::create_dir_all(downloads).unwrap();
        fs::write(downloads.join(format!("{sum}-{ARCHIVE}")), part).unwrap();
    }

    /// Bytes that are kept of downloads.
    fn parts(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.request.downloads).into_iter().flatten();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
    }

    #[track_caller]
    fn refuses(&self) -> String {
        let error = self.fetch().unwrap_err().to_string();
        assert_eq!(Manifest::list(&self.root()).unwrap(), [""; 0], "nothing is imported");
        error
    }
}

#[test]
fn cifar10_is_downloaded_imported_and_not_downloaded_again() {
    let archive = cifar10();
    let server = Server::start(&[(ARCHIVE, &archive)], Manners::default());
    let place = Place::of_archive(&server, &archive);
    let manifest = place.fetch_new();
    assert_eq!(manifest.classes, ["cat", "dog"]);
    assert_eq!((manifest.files["train"].count, manifest.files["test"].count), (10, 2));
    assert_eq!(manifest.files["train"].source, format!("{}/{ARCHIVE}", server.url));
    let dataset = Dataset::open(&place.root(), "cifar10").unwrap();
    let test = dataset.split("test").unwrap();
    assert_eq!(test.labels, [1, 0]);
    // Planes are stored as they come: red, green and blue of the first image, which is a dog.
    let firsts: Vec<u8> = (0..6).map(|plane| test.images[plane * 1024]).collect();
    assert_eq!(firsts, [2, 3, 4, 1, 2, 3]);
    assert!(!place.request.downloads.exists(), "the archive is gone");

    assert_eq!(server.take_asked(), [None]);
    assert_eq!(place.fetch().unwrap(), Fetched::AlreadyThere(manifest.clone()));
    assert_eq!(server.take_asked(), []);
    // What is damaged is fetched again.
    fs::write(place.root().join("cifar10/train.safetensors"), "x").unwrap();
    let repaired = Fetched::Imported(Outcome::Repaired(manifest, vec!["train".to_owned()]));
    assert_eq!(place.fetch().unwrap(), repaired);
}

#[test]
fn cifar100_has_the_fine_classes() {
    let archive = tar_gz(&[
        ("cifar-100-binary/coarse_label_names.txt", b"animal\n".to_vec()),
        ("cifar-100-binary/fine_label_names.txt", b"bear\nbee\nfox\n".to_vec()),
        ("cifar-100-binary/train.bin", records(&[&[0, 2], &[0, 1]])),
        ("cifar-100-binary/test.bin", records(&[&[0, 0]])),
    ]);
    let server = Server::start(&[("cifar-100-binary.tar.gz", &archive)], Manners::default());
    let file = published("cifar-100-binary.tar.gz", &server.url, &archive);
    let place = Place::new(vec![file], Contents::Dataset(BinaryFormat::Cifar100));
    assert_eq!(place.fetch_new().classes, ["bear", "bee", "fox"]);
    let dataset = Dataset::open(&place.root(), "cifar10").unwrap();
    assert_eq!(dataset.split("train").unwrap().labels, [2, 1]);
}

#[test]
fn cifar10_1_becomes_a_set_of_cifar10_and_says_first_if_that_is_missing() {
    let (images, labels) =
        (npy("|u1", "(2, 32, 32, 3)", &[7; 2 * IMAGE_BYTES]), npy("<i4", "(2,)", &[1, 0, 0, 0, 0, 0, 0, 0]));
    let archive = cifar10();
    let files: [(&str, &[u8]); 3] = [(ARCHIVE, &archive), ("d.npy", &images), ("l.npy", &labels)];
    let server = Server::start(&files, Manners::default());
    let files = vec![published("d.npy", &server.url, &images), published("l.npy", &server.url, &labels)];
    let mut place = Place::new(files, Contents::Set { name: "cifar10.1".parse().unwrap() });
    assert!(place.refuses().contains("cifar10"));
    assert_eq!(server.take_asked(), [], "it is said before the download");

    let set = std::mem::replace(
        &mut place.request.publication,
        Place::of_archive(&server, &archive).request.publication,
    );
    place.fetch_new();
    place.request.publication = set;
    let manifest = place.fetch_new();
    assert_eq!(manifest.eval_sets, ["cifar10.1"]);
    assert_eq!(Dataset::open(&place.root(), "cifar10").unwrap().split("cifar10.1").unwrap().labels, [1, 0]);
    assert_eq!(place.fetch().unwrap(), Fetched::AlreadyThere(manifest));

    // Either file of a mirror's stands for both.
    server.take_asked();
    place.request.existing = Existing::Replace;
    place.request.from = Some(format!("{}/l.npy", server.url).parse().unwrap());
    assert!(matches!(place.fetch(), Ok(Fetched::Imported(_))));
    assert_eq!(server.take_asked(), [None, None]);
}

#[test]
fn a_download_that_breaks_off_goes_on_from_there_at_once() {
    let archive = cifar10();
    let server =
        Server::start(&[(ARCHIVE, &archive)], Manners { breaks: Some((2, 10_000)), ..Manners::default() });
    let place = Place::of_archive(&server, &archive);
    place.fetch_new();
    assert_eq!(server.take_asked(), [None, Some(10_000), Some(20_000)]);
}

#[test]
fn a_connection_on_which_nothing_moves_is_replaced_and_ends_with_words_where_nothing_comes_any_more() {
    let archive = cifar10();
    let stall = |times, bytes| Manners { breaks: Some((times, bytes)), stalls: true, ..Manners::default() };
    let server = Server::start(&[(ARCHIVE, &archive)], stall(1, 10_000));
    let mut place = Place::of_archive(&server, &archive);
    // Longer than this host is ever too busy to answer.
    place.request.stall_limit = Duration::from_secs(3);
    place.fetch_new();
    assert_eq!(server.take_asked(), [None, Some(10_000)]);

    let mut place = Place::of_archive(&server, &archive);
    place.request.stall_limit = Duration::from_secs(2);
    place.leave(&archive[..5_000]);
    server.behave(stall(9, 0));
    let said = place.refuses();
    assert!(
        said.contains("broke off after 5000 of") && said.contains(": nothing came for 2 seconds;"),
        "{said}"
    );
    assert_eq!(place.parts(), [5_000]);
}

#[test]
fn a_download_of_which_nothing_came_leaves_nothing() {
    let archive = cifar10();
    let silent = Manners { breaks: Some((9, 0)), ..Manners::default() };
    for server in [Server::start(&[], Manners::default()), Server::start(&[(ARCHIVE, &archive)], silent)] {
        let place = Place::of_archive(&server, &archive);
        place.refuses();
        assert!(!place.request.downloads.exists());
        // An empty one, as an earlier version left it.
        place.leave(b"");
        place.refuses();
        assert_eq!(place.parts(), [0; 0]);
    }
}

#[test]
fn a_command_that_was_interrupted_goes_on_from_what_is_there() {
    let archive = cifar10();
    // It breaks off, and then sends nothing any more.
    let server =
        Server::start(&[(ARCHIVE, &archive)], Manners { breaks: Some((1, 10_000)), ..Manners::default() });
    let place = Place::of_archive(&server, &archive);
    place.leave(&archive[..5_000]);
    server.behave(Manners { breaks: Some((9, 0)), ..Manners::default() });
    let said = place.refuses();
    assert!(
        said.contains("broke off after 5000 of") && said.contains("the same command goes on from there"),
        "{said}"
    );
    assert_eq!((server.take_asked(), place.parts()), (vec![Some(5_000)], vec![5_000]));

    server.behave(Manners::default());
    place.fetch_new();
    assert_eq!(server.take_asked(), [Some(5_000)]);
}

#[test]
fn a_mirror_that_has_another_file_does_not_cost_what_is_there() {
    let (archive, page) = (cifar10(), b"<html>Log in first</html>".to_vec());
    for hides_length in [false, true] {
        let server = Server::start(&[(ARCHIVE, &page)], Manners { hides_length, ..Manners::default() });
        let place = Place::of_archive(&server, &archive);
        place.leave(&archive[..5_000]);
        let said = place.refuses();
        assert!(said.contains("has 25 bytes and the published file"), "{said}");
        assert_eq!(place.parts(), [5_000]);
    }
    // One that shows only at its end that it is longer.
    let long = [&archive[..], b"x"].concat();
    let manners = Manners { hides_length: true, has_no_ranges: true, ..Manners::default() };
    let server = Server::start(&[(ARCHIVE, &long)], manners);
    let place = Place::of_archive(&server, &archive);
    place.leave(&archive[..5_000]);
    assert!(place.refuses().contains("and the published file"));
    assert_eq!(place.parts(), [5_000]);
}

#[test]
fn a_server_without_ranges_that_breaks_off_early_does_not_cost_what_is_there() {
    let archive = cifar10();
    let manners = Manners { has_no_ranges: true, breaks: Some((9, 1_000)), ..Manners::default() };
    let server = Server::start(&[(ARCHIVE, &archive)], manners);
    let place = Place::of_archive(&server, &archive);
    place.leave(&archive[..5_000]);
    let said = place.refuses();
    assert!(said.contains("broke off after 5000 of"), "{said}");
    assert_eq!(place.parts(), [5_000]);
    server.behave(Manners { has_no_ranges: true, ..Manners::default() });
    place.fetch_new();
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let archive = cifar10();
    for manners in [
        Manners { has_no_ranges: true, breaks: Some((1, 10_000)), ..Manners::default() },
        Manners { sends_wrong_part: true, breaks: Some((1, 10_000)), ..Manners::default() },
    ] {
        let server = Server::start(&[(ARCHIVE, &archive)], manners);
        Place::of_archive(&server, &archive).fetch_new();
        assert_eq!(server.take_asked()[..2], [None, Some(10_000)]);
    }
}

#[test]
fn what_was_there_and_is_wrong_is_downloaded_anew() {
    let archive = cifar10();
    for there in [vec![0; 5_000], vec![0; archive.len()], vec![0; archive.len() + 9]] {
        let server = Server::start(&[(ARCHIVE, &archive)], Manners::default());
        let place = Place::of_archive(&server, &archive);
        place.leave(&there);
        place.fetch_new();
        assert_eq!(server.take_asked().last(), Some(&None));
    }
}

#[test]
fn other_and_damaged_files_are_refused_and_not_kept() {
    let archive = cifar10();
    let mut corrupt = archive.clone();
    corrupt[20_000] ^= 1;
    let page = b"<html>This page has moved</html>".to_vec();
    let (short, long) = (archive[..archive.len() - 1].to_vec(), [&archive[..], b"x"].concat());
    for hides_length in [false, true] {
        for (sent, expected) in [
            (&corrupt, "is not the published file, or a damaged one: its SHA-256 is"),
            (&page, "has 32 bytes and the published file"),
            (&short, "and the published file"),
            (&long, "and the published file"),
        ] {
            let server = Server::start(&[(ARCHIVE, sent)], Manners { hides_length, ..Manners::default() });
            let place = Place::of_archive(&server, &archive);
            let said = place.refuses();
            assert!(said.contains(expected), "{} bytes: {said}", sent.len());
            assert_eq!(place.parts(), [0; 0], "{said}");
        }
    }
    let server = Server::start(&[], Manners::default());
    let said = Place::of_archive(&server, &archive).refuses();
    assert!(said.contains("answers with status 404; name a mirror with `--from"), "{said}");
}

#[test]
fn archives_in_another_format_are_refused_by_what_is_wrong() {
    let refuse = |change: &dyn Fn(&mut Files)| {
        let mut files = cifar10_files();
        change(&mut files);
        let archive = tar_gz(&files);
        let server = Server::start(&[(ARCHIVE, &archive)], Manners::default());
        Place::of_archive(&server, &archive).refuses()
    };
    let missing = refuse(&|files| files.retain(|(name, _)| !name.ends_with("batch_3.bin")));
    assert!(missing.contains("has no file `cifar-10-batches-bin/data_batch_3.bin`"), "{missing}");
    let cut = refuse(&|files| files[2].1.truncate(4_000));
    assert!(
        cut.contains("test_batch.bin has 4000 bytes, which are not one or more records of 3073"),
        "{cut}"
    );
    let label = refuse(&|files| files[2].1[3073] = 9);
    assert!(
        label.contains("test_batch.bin has label 9 at index 1; the dataset's 2 classes are 0 to 1"),
        "{label}"
    );
    let server = Server::start(&[(ARCHIVE, b"no archive")], Manners::default());
    let said = Place::of_archive(&server, b"no archive").refuses();
    assert!(said.contains("no tar archive"), "{said}");
}

#[test]
fn a_mirror_is_a_file_a_folder_or_a_url_and_must_have_the_same_bytes() {
    let archive = cifar10();
    let mirror = Server::start(&[(ARCHIVE, &archive), ("renamed.tgz", &archive)], Manners::default());
    let publisher = Server::start(&[], Manners::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(ARCHIVE);
    fs::write(&file, &archive).unwrap();
    let path = |path: &Path| path.display().to_string();
    for from in [
        path(&file),
        path(folder.path()),
        format!("FILE://localhost{}", file.display()),
        format!("{}/renamed.tgz", mirror.url),
        format!("{}/", mirror.url),
    ] {
        let mut place = Place::of_archive(&publisher, &archive);
        place.request.from = Some(from.parse().unwrap());
        let manifest = place.fetch_new();
        assert_eq!(manifest.files["train"].source, format!("{}/{ARCHIVE}", publisher.url));
    }
    assert_eq!(publisher.take_asked(), []);
    assert!(file.exists(), "a file of the user's stays");
    fs::write(&file, &archive[1..]).unwrap();
    let mut place = Place::of_archive(&publisher, &archive);
    place.request.from = Some(Mirror::Path(file));
    assert!(place.refuses().contains("it is truncated, or another file"));
}

#[test]
fn other_contents_are_replaced_only_when_asked_and_that_is_said_before_the_download() {
    let (archive, mut files) = (cifar10(), cifar10_files());
    files[2].1 = records(&[&[0]]);
    let other = tar_gz(&files);
    let servers = [&archive, &other].map(|archive| Server::start(&[(ARCHIVE, archive)], Manners::default()));
    let mut place = Place::of_archive(&servers[0], &archive);
    place.fetch_new();
    place.request.publication = Place::of_archive(&servers[1], &other).request.publication;
    let error = place.fetch().unwrap_err();
    assert!(matches!(error, FetchError::Import(ImportError::Exists { .. })), "{error:?}");
    assert_eq!(servers[1].take_asked(), []);
    place.request.existing = Existing::Replace;
    assert_eq!(place.fetch_new().files["test"].count, 1);
}

#[test]
fn two_commands_do_not_write_to_one_download() {
    let archive = cifar10();
    let server = Server::start(&[(ARCHIVE, &archive)], Manners::default());
    let place = Place::of_archive(&server, &archive);
    let sum = &place.request.publication.files[0].sha256[..12];
    fs::create_dir_all(&place.request.downloads).unwrap();
    let held = fs::File::create(place.request.downloads.join(format!("{sum}-{ARCHIVE}"))).unwrap();
    held.lock().unwrap();
    assert!(place.refuses().starts_with("another command is fetching"));
    drop(held);
    place.fetch_new();
}

#[test]
fn the_command_checks_that_it_is_what_the_publisher_has() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command
            .args(["data", "fetch"])
            .args(arguments)
            .env("XDG_DATA_HOME", folder.path())
            .current_dir(folder.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let archive = cifar10();
    let server = Server::start(&[(ARCHIVE, &archive)], Manners::default());
    let (code, said) = sweep(&["cifar10", "--from", &format!("{}/", server.url)]);
    let bytes = publication("cifar10").unwrap().files[0].bytes;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("has {} bytes and the published file {bytes}", archive.len())), "{said}");
    let (code, said) = sweep(&["cifar10.1", "--from", &server.url]);
    assert!(code == Some(2) && said.contains("sweep data fetch cifar10"), "{said}");
    let (code, said) = sweep(&["cifar10", "--from", "http://127.0.0.1:9/"]);
    assert!(
        code == Some(1) && said.contains("http://127.0.0.1:9/cifar-10-binary.tar.gz can't be fetched"),
        "{said}"
    );
    let (code, said) = sweep(&["cifar10", "--from", "gone.tar.gz"]);
    assert!(code == Some(2) && said.contains("gone.tar.gz: No such file"), "{said}");
    let (code, said) = sweep(&["cifar10", "--from", "FTP://host/cifar-10-binary.tar.gz"]);
    assert!(code == Some(2) && said.contains("begins with `http://`, `https://` or `file:///`"), "{said}");
    assert_eq!(sweep(&["imagenet"]).0, Some(2));
}
