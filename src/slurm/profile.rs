//! Profiles in `sweep.toml`, which lies beside the state folder: what a site or a kind of node always asks for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::wishes::Wishes;

/// The file's name.
const FILE: &str = "sweep.toml";
/// The profile that is taken where none is named.
const DEFAULT: &str = "default";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    slurm: BTreeMap<String, Wishes>,
}

/// Why a profile can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("can't read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is wrong: {}", path.display(), problem.trim_end())]
    Parse { path: PathBuf, problem: String },
    #[error(
        "`{}` can be written by somebody else, whose commands would run as yours; `chmod o-w` it, or make one of your own",
        path.display()
    )]
    Foreign { path: PathBuf },
    #[error("there is no profile `{name}`: {found}")]
    Unknown { name: String, found: String },
}

/// The profile of this name in the folder's `sweep.toml`; without a name `[slurm.default]`, if there is one.
///
/// # Errors
/// When the file can't be read, is wrong or somebody else's, or has no such profile.
pub fn read_profile(folder: &Path, name: Option<&str>) -> Result<Wishes, ProfileError> {
    let path = folder.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(ProfileError::Read { path, source }),
    };
    if text.is_some() && is_foreign(&path).unwrap_or(true) {
        return Err(ProfileError::Foreign { path });
    }
    let document: Document = match &text {
        Some(text) => toml::from_str(text)
            .map_err(|source| ProfileError::Parse { path: path.clone(), problem: source.to_string() })?,
        None => Document::default(),
    };
    let mut profiles = document.slurm;
    match (profiles.remove(name.unwrap_or(DEFAULT)), name) {
        (Some(wishes), _) => Ok(wishes),
        (None, None) => Ok(Wishes::default()),
        (None, Some(name)) => {
            let names: Vec<String> = profiles.keys().map(|name| format!("`{name}`")).collect();
            let found = match (text, names.as_slice()) {
                (None, _) => format!("there is no `{}`; write `[slurm.{name}]` into it", path.display()),
                (Some(_), []) => format!("`{}` has none; write `[slurm.{name}]`", path.display()),
                (Some(_), names) => format!("`{}` has {}", path.display(), names.join(", ")),
            };
            Err(ProfileError::Unknown { name: name.to_owned(), found })
        }
    }
}

/// Whether somebody else than this user may change the file, in a folder where everybody may put files.
fn is_foreign(path: &Path) -> io::Result<bool> {
    const WRITABLE_BY_ALL: u32 = 0o002;
    let (file, folder) = (fs::metadata(path)?, fs::metadata(path.parent().unwrap_or(path))?);
    let is_ours = file.uid() == rustix::process::geteuid().as_raw() || file.uid() == 0;
    Ok(file.mode() & WRITABLE_BY_ALL != 0 || (!is_ours && folder.mode() & WRITABLE_BY_ALL != 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, name: Option<&str>) -> Result<Wishes, ProfileError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        read_profile(folder.path(), name)
    }

    #[test]
    fn a_profile_has_the_settings_of_the_command_line() {
        let text = r#"
            [slurm.h200]
            partition = "gpu"
            gres = "gpu:h200:1"
            time = "3:30:00"
            cpus-per-task = 5
            mem = 8000
            gpus-per-node = "a100:4"
            exclusive = true
            setup = ["module load cuda"]
            prefix = "apptainer exec --nv image.sif"
            set = {mail-type = "END", nice = 100, reboot = true, hold-not = false}
        "#;
        let wishes = read(text, Some("h200")).unwrap();
        assert_eq!(wishes.partition.as_deref(), Some("gpu"));
        assert_eq!(wishes.time.unwrap().to_string(), "03:30:00");
        assert_eq!(wishes.mem.unwrap().0, "8000");
        let set: Vec<_> = wishes.set.iter().map(|set| (set.key.as_str(), set.value.as_deref())).collect();
        assert_eq!(set, [("mail-type", Some("END")), ("nice", Some("100")), ("reboot", None)]);
        assert!(wishes.exclusive && wishes.setup == ["module load cuda"]);
    }

    #[test]
    fn without_a_name_the_default_is_taken_where_there_is_one() {
        let text = "[slurm.default]\npartition = \"gpu\"\n";
        assert_eq!(read(text, None).unwrap().partition.as_deref(), Some("gpu"));
        assert_eq!(read("", None).unwrap(), Wishes::default());
        let nowhere = tempfile::tempdir().unwrap();
        assert_eq!(read_profile(nowhere.path(), None).unwrap(), Wishes::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_place() {
        let wrong = |text: &str| read(text, None).unwrap_err().to_string();
        let misspelled = wrong("[slurm.default]\npartitoin = \"gpu\"\n");
        assert!(
            misspelled.contains("unknown field `partitoin`") && misspelled.contains("line 2"),
            "{misspelled}"
        );
        let time = wrong("[slurm.default]\ntime = \"soon\"\n");
        assert!(time.contains("expected a time such as") && time.contains("line 2"), "{time}");
        let none = wrong("[slurm.default]\npartition = \"gpu\"\nworkers = 0\n");
        assert!(none.contains("0 is not in 1..=1000000") && none.contains("line 3"), "{none}");
        assert!(
            wrong("[slurm]\npartition = \"gpu\"\n").contains("below `[slurm.default]` or `[slurm.NAME]`")
        );
        assert!(wrong("[slrum.default]\n").contains("unknown field `slrum`"));
    }

    #[test]
    fn a_profile_that_is_not_there_is_an_error_that_names_those_that_are() {
        let error = read("[slurm.h200]\n[slurm.a100]\n", Some("v100")).unwrap_err().to_string();
        assert!(
            error.starts_with("there is no profile `v100`: ") && error.ends_with("has `a100`, `h200`"),
            "{error}"
        );
        let nowhere = tempfile::tempdir().unwrap();
        let error = read_profile(nowhere.path(), Some("h200")).unwrap_err().to_string();
        assert!(error.contains("write `[slurm.h200]` into it"), "{error}");
    }

    #[test]
    fn a_file_that_everybody_may_change_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read_profile(folder.path(), None), Err(ProfileError::Foreign { .. })));
    }
}
