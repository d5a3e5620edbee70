//! Trained weights that a spec names as teachers: a path becomes the hash of what lies there, so that a trial's identity
//! follows the contents, and the file is kept under that hash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::prepare::Around;
use super::selection::Selections;
use crate::protocol::http::SubmitRequest;
use crate::spec::{MissingWeights, Selector, Weights};
use crate::vocabulary::{CheckpointHash, NAMED_WEIGHTS, state_of_weights, weights_file_name};

/// Weights that a spec names, with the files in which they were found.
#[derive(Debug)]
pub(super) struct Found(BTreeMap<PathBuf, String>);

/// Finds the weights that a spec names, and remembers them.
pub(super) struct Finder<'p> {
    /// What relative paths start from.
    directory: &'p Path,
    /// Where checkpoints lie under their hashes; `None` where there is no state folder yet, and so no weights.
    artifacts: Option<&'p Path>,
    /// Content hashes of the files that were named, by path.
    files: RefCell<BTreeMap<PathBuf, String>>,
    selections: &'p Selections,
    /// Names of what was selected before, by the selector's text.
    given: &'p BTreeMap<String, Vec<String>>,
    /// Selectors that nobody has looked up.
    unselected: RefCell<Vec<Selector>>,
}

impl<'p> Finder<'p> {
    pub(super) fn new(request: &'p SubmitRequest, around: &Around<'p>) -> Finder<'p> {
        Finder {
            directory: Path::new(&request.working_directory),
            artifacts: around.artifacts,
            files: RefCell::default(),
            selections: around.selections,
            given: &request.selected,
            unselected: RefCell::default(),
        }
    }

    /// The names of the weights that a spec names.
    pub(super) fn find(&self, named: Weights<'_>) -> Result<Vec<String>, MissingWeights> {
        match named {
            Weights::Hash(hash) => Ok(vec![self.find_hash(hash)?]),
            Weights::File(name) => Ok(vec![self.find_file(name)?]),
            Weights::Trials(selector) => self.find_trials(selector),
        }
    }

    fn find_hash(&self, hash: &str) -> Result<String, MissingWeights> {
        let folder = self.artifacts.ok_or_else(|| no_such_hash(hash))?;
        let place = file_of(folder, hash).ok_or_else(|| no_such_hash(hash))?;
        self.files.borrow_mut().insert(place, hash.to_owned());
        Ok(hash.to_owned())
    }

    fn find_file(&self, name: &str) -> Result<String, MissingWeights> {
        if state_of_weights(name).is_some() {
            return Err(MissingWeights {
                message: format!("`{name}` is how results name the weights of a trial, not how a spec does"),
                help: "select the trial: `{sweep: NAME, trials: [1]}`".to_owned(),
            });
        }
        let path = self.directory.join(name);
        if let Some(hash) = self.files.borrow().get(&path) {
            return Ok(hash.clone());
        }
        let contents = read(&path).map_err(|error| MissingWeights {
            message: match error.kind() {
                io::ErrorKind::NotFound => format!("there are no weights `{name}`"),
                _ => format!("can't read the weights `{name}`: {error}"),
            },
            help: format!("relative paths start from {}", self.directory.display()),
        })?;
        check_contents(&contents, name)?;
        let hash = blake3::hash(&contents).to_hex().to_string();
        self.files.borrow_mut().insert(path, hash.clone());
        Ok(hash)
    }

    fn find_trials(&self, selector: &Selector) -> Result<Vec<String>, MissingWeights> {
        if let Some(names) = self.given.get(&selector.to_string()) {
            for hash in names.iter().filter(|name| name.parse::<CheckpointHash>().is_ok()) {
                self.find_hash(hash)?;
            }
            return Ok(names.clone());
        }
        match self.selections.of(selector) {
            Some(selection) => Ok(selection?.told.weights.clone()),
            None => {
                self.unselected.borrow_mut().push(selector.clone());
                Ok(vec![Weights::Trials(selector).unfound()])
            }
        }
    }

    /// Selectors that nobody has looked up; names stand in for what they select.
    pub(super) fn take_unselected(&self) -> Vec<Selector> {
        self.unselected.take()
    }

    /// What was found so far.
    pub(super) fn into_found(self) -> Found {
        Found(self.files.into_inner())
    }
}

impl Found {
    /// Copies the files to where trial processes find them.
    ///
    /// # Errors
    /// The file that can't be copied, and why.
    pub(super) fn keep(&self, artifacts: &Path) -> Result<(), (PathBuf, io::Error)> {
        for (path, hash) in &self.0 {
            keep(path, hash, &artifacts.join(NAMED_WEIGHTS)).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }
}

/// Copies weights of this hash to where another state folder's trial processes find them; says whether they were there.
///
/// # Errors
/// When they can't be read or written, or are not what their hash says.
pub fn lend_weights(hash: &CheckpointHash, from: &Path, to: &Path) -> io::Result<bool> {
    let hash = hash.to_string();
    let Some(path) = file_of(from, &hash) else { return Ok(false) };
    keep(&path, &hash, &to.join(NAMED_WEIGHTS))?;
    Ok(true)
}

/// Refuses what no trial could read hours later: whether the shapes fit is the trainer's to say.
fn check_contents(contents: &[u8], name: &str) -> Result<(), MissingWeights> {
    let checked = match safetensors::SafeTensors::deserialize(contents) {
        Ok(file) if file.tensor("conv1.weight").is_ok() => Ok(()),
        Ok(_) => Err("it has no tensor `conv1.weight`".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    checked.map_err(|what| MissingWeights {
        message: format!("`{name}` holds no weights of a network: {what}"),
        help: "name a checkpoint of `sweep`, or a `state_dict` of the built-in network that PyTorch saved as safetensors"
            .to_owned(),
    })
}

fn no_such_hash(hash: &str) -> MissingWeights {
    MissingWeights {
        message: format!("no weights `{hash}` among the project's artifacts"),
        help: "name a `.safetensors` file instead, or a hash that has a file in .sweep/artifacts/".to_owned(),
    }
}

/// The file of this hash among the checkpoints and the weights that specs name.
pub(super) fn file_of(artifacts: &Path, hash: &str) -> Option<PathBuf> {
    let name = weights_file_name(hash);
    let places = [artifacts.join(NAMED_WEIGHTS).join(&name), artifacts.join(&name)];
    places.into_iter().find(|path| path.is_file())
}

/// Written beside and renamed, so that under a hash there is always all that it stands for.
fn keep(path: &Path, hash: &str, folder: &Path) -> io::Result<()> {
    let kept = folder.join(weights_file_name(hash));
    if kept.is_file() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let contents = read(path)?;
    if blake3::hash(&contents).to_hex().as_str() != hash {
        return Err(io::Error::other("it changed while it was read"));
    }
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(&contents)?;
    beside.as_file().sync_all()?;
    beside.persist(&kept)?;
    fs::File::open(folder)?.sync_all()
}

/// The contents of a file of weights: some tens of megabytes.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for somebody to write into it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    fs::read(path)
}

/// A file of weights that holds `first` first.
#[cfg(test)]
pub(super) fn weights_file(first: &[u8]) -> Vec<u8> {
    use safetensors::tensor::{Dtype, TensorView, serialize};
    // More than what is copied in one piece.
    let mut bytes = vec![7; 200_000];
    bytes[..first.len()].copy_from_slice(first);
    let view = TensorView::new(Dtype::U8, vec![bytes.len()], &bytes).unwrap();
    serialize([("conv1.weight", view)], None).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A finder for a spec without selectors.
    fn find_in<'p>(directory: &'p Path, artifacts: Option<&'p Path>) -> Finder<'p> {
        Finder {
            directory,
            artifacts,
            files: RefCell::default(),
            selections: Box::leak(Box::default()),
            given: Box::leak(Box::default()),
            unselected: RefCell::default(),
        }
    }

    fn text(problem: MissingWeights) -> String {
        format!("{}; {}", problem.message, problem.help)
    }

    #[test]
    fn a_file_is_named_by_its_contents_and_kept_under_that_name() {
        let project = tempfile::tempdir().unwrap();
        let artifacts = project.path().join("artifacts");
        let contents = weights_file(b"");
        fs::write(project.path().join("a.safetensors"), &contents).unwrap();
        fs::write(project.path().join("b.safetensors"), &contents).unwrap();
        let finder = find_in(project.path(), None);
        let hash = finder.find_file("a.safetensors").unwrap();
        assert_eq!(hash, blake3::hash(&contents).to_hex().to_string());
        assert_eq!(finder.find(Weights::File("b.safetensors")).unwrap(), [hash.as_str()]);
        assert!(!artifacts.exists(), "nothing is copied before the whole spec is right");
        finder.into_found().keep(&artifacts).unwrap();
        let names: Vec<_> = fs::read_dir(artifacts.join(NAMED_WEIGHTS))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [weights_file_name(&hash).as_str()]);
        assert_eq!(fs::read(artifacts.join(NAMED_WEIGHTS).join(weights_file_name(&hash))).unwrap(), contents);
        // From now on the hash alone is enough.
        let finder = find_in(project.path(), Some(&artifacts));
        assert_eq!(finder.find(Weights::Hash(&hash)).unwrap(), [hash.as_str()]);
    }

    #[test]
    fn a_checkpoint_that_is_named_stays_when_its_job_lets_go_of_it() {
        let artifacts = tempfile::tempdir().unwrap();
        let hash = blake3::hash(b"state").to_hex().to_string();
        fs::write(artifacts.path().join(weights_file_name(&hash)), b"state").unwrap();
        let finder = find_in(artifacts.path(), Some(artifacts.path()));
        assert_eq!(finder.find(Weights::Hash(&hash)).unwrap(), [hash.as_str()]);
        finder.into_found().keep(artifacts.path()).unwrap();
        fs::remove_file(artifacts.path().join(weights_file_name(&hash))).unwrap();
        let finder = find_in(artifacts.path(), Some(artifacts.path()));
        assert_eq!(finder.find(Weights::Hash(&hash)).unwrap(), [hash.as_str()]);
        finder.into_found().keep(artifacts.path()).unwrap();
    }

    #[test]
    fn weights_that_are_not_there_are_named() {
        let project = tempfile::tempdir().unwrap();
        let finder = find_in(project.path(), Some(project.path()));
        let missing = text(finder.find(Weights::File("a.safetensors")).unwrap_err());
        assert!(missing.starts_with("there are no weights `a.safetensors`; relative paths"), "{missing}");
        fs::create_dir(project.path().join("d.safetensors")).unwrap();
        let folder = text(finder.find(Weights::File("d.safetensors")).unwrap_err());
        assert!(folder.contains("it is not a file"), "{folder}");
        fs::write(project.path().join("n.safetensors"), "no tensors").unwrap();
        let no_weights = text(finder.find(Weights::File("n.safetensors")).unwrap_err());
        assert!(no_weights.starts_with("`n.safetensors` holds no weights of a network"), "{no_weights}");
        let unknown = text(finder.find(Weights::Hash(&"5".repeat(64))).unwrap_err());
        assert!(unknown.contains("no weights `5555"), "{unknown}");
        let state = text(finder.find(Weights::File(&format!("state:{}", "5".repeat(32)))).unwrap_err());
        assert!(
            state.contains("is how results name") && state.contains("`{sweep: NAME, trials: [1]}`"),
            "{state}"
        );
        let no_folder = find_in(project.path(), None);
        assert!(no_folder.find(Weights::Hash(&"5".repeat(64))).is_err());
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_not_kept() {
        let project = tempfile::tempdir().unwrap();
        let artifacts = project.path().join("artifacts");
        fs::write(project.path().join("a.safetensors"), weights_file(b"before")).unwrap();
        let finder = find_in(project.path(), None);
        finder.find(Weights::File("a.safetensors")).unwrap();
        fs::write(project.path().join("a.safetensors"), weights_file(b"after")).unwrap();
        let (path, error) = finder.into_found().keep(&artifacts).unwrap_err();
        assert_eq!(
            (path, error.to_string().as_str()),
            (project.path().join("a.safetensors"), "it changed while it was read")
        );
        assert_eq!(fs::read_dir(artifacts.join(NAMED_WEIGHTS)).unwrap().count(), 0);
    }
}
