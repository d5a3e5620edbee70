//! Arguments that name a spec, and the request that they amount to.

use std::path::{Path, PathBuf};

use super::needed::{self, Needed};
use super::{CliError, Context, recipes, state_folder};
use crate::coordinator::{Around, Code, PrepareError, Prepared, Selections, prepare, selectors_of};
use crate::protocol::http::{BaseSpec, Sharing, SubmitRequest};
use crate::spec;

/// A spec and what is changed in it.
#[derive(Debug, clap::Args)]
pub(super) struct SpecArgs {
    /// The spec, a YAML file, or the name of a recipe (`sweep recipes`).
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Changes to it: `name=value`, or `name=value,value` to sweep.
    #[arg(value_name = "NAME=VALUE")]
    overrides: Vec<String>,

    /// Train every trial by itself, whatever it has in common with others or was trained before.
    #[arg(long)]
    no_share: bool,
}

/// A spec to submit, in which everything was found to be right that can be known here.
pub(super) struct CheckedSpec {
    pub(super) request: SubmitRequest,
    /// What checking it came to. Taken by the first submission to a coordinator of this process; there is none for one
    /// that the user named, nor where the job table has to be asked.
    pub(super) prepared: Option<Prepared>,
    /// What its programs are run from, as it is here: whoever coordinates may not see these files, or others under their names.
    pub(super) code: Option<Code>,
    /// Sweeps whose trials teach, as far as their specs are found.
    pub(super) needed: Vec<Needed>,
}

impl CheckedSpec {
    /// For whoever coordinates to check, by whom all that it names is known.
    pub(super) fn to_be_checked(request: SubmitRequest) -> CheckedSpec {
        CheckedSpec { request, prepared: None, code: None, needed: Vec::new() }
    }

    pub(super) fn new(request: SubmitRequest, context: &Context) -> Result<CheckedSpec, CliError> {
        CheckedSpec::for_students(request, context, &[])
    }

    /// For a spec that these sweeps need, each for the one before.
    pub(super) fn for_students(
        mut request: SubmitRequest,
        context: &Context,
        students: &[&str],
    ) -> Result<CheckedSpec, CliError> {
        if context.coordinator.is_some() {
            let code = Code::to_send(&request)?;
            request.code = code.as_ref().map(|code| code.told().clone());
            let needed = needed::find(&request.source_name, selectors_of(&request), context)?;
            return Ok(CheckedSpec { request, prepared: None, code, needed });
        }
        let folder = state_folder::find(context);
        let artifacts = folder.map(|folder| folder.artifacts());
        let datasets = context.datasets()?;
        let prepare_with = |selections: &Selections| {
            prepare(&request, Around { datasets: &datasets, artifacts: artifacts.as_deref(), selections })
        };
        let mut needed = Vec::new();
        let prepared = match prepare_with(&Selections::default()) {
            // Whoever opens the job table looks them up.
            Err(PrepareError::Selectors(selectors)) => {
                needed = needed::find(&request.source_name, selectors.clone(), context)?;
                match artifacts.is_some() {
                    true => None,
                    false if needed.len() == selectors.len() => {
                        for needed in &needed {
                            needed.check(context, students)?;
                        }
                        None
                    }
                    false => Some(prepare_with(&Selections::without_table(&selectors))?),
                }
            }
            prepared => Some(prepared?),
        };
        let code = prepared.as_ref().map(|prepared| prepared.code().clone());
        request.code = code.as_ref().map(|code| code.told().clone());
        Ok(CheckedSpec { request, prepared, code, needed })
    }
}

impl SpecArgs {
    pub(super) fn new(spec: &str, overrides: &[String]) -> SpecArgs {
        SpecArgs { spec: spec.into(), overrides: overrides.to_vec(), no_share: false }
    }

    /// Reads the spec and finds all that is wrong with it, before a state folder is made. A coordinator that the user
    /// names has datasets of its own and checks for itself what depends on them.
    pub(super) fn into_checked(self, context: &Context) -> Result<CheckedSpec, CliError> {
        CheckedSpec::new(self.into_request(context)?, context)
    }

    pub(super) fn into_request(mut self, context: &Context) -> Result<SubmitRequest, CliError> {
        let is_there = context.environment.working_directory.join(&self.spec).exists();
        let name = self.spec.to_str().filter(|_| !is_there);
        if let Some(recipe) = name.and_then(|name| recipes::find(name, context)) {
            self.spec = recipe;
        }
        let path = context.environment.working_directory.join(&self.spec);
        let spec = std::fs::read_to_string(&path).map_err(|error| {
            let source_name = self.spec.display();
            CliError::usage(match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("there is no spec `{source_name}`, nor a recipe of that name (`sweep recipes` lists them)")
                }
                std::io::ErrorKind::InvalidData => {
                    format!("`{source_name}` is no text (UTF-8), so it is no spec")
                }
                _ => format!("can't read the spec `{source_name}`: {error}"),
            })
        })?;
        let source_name = self.spec.display().to_string();
        let bases = read_bases(&context.environment.working_directory, &source_name, &spec);
        Ok(SubmitRequest {
            spec,
            source_name,
            bases,
            overrides: self.overrides,
            working_directory: context.environment.working_directory.display().to_string(),
            sharing: if self.no_share { Sharing::Nothing } else { Sharing::Prefixes },
            is_rehearsal: false,
            only: None,
            selected: Default::default(),
            code: None,
        })
    }
}

/// The specs that this one is based on, as far as they can be read. Parsing shows where one is missing, and refuses circles.
fn read_bases(directory: &Path, source_name: &str, text: &str) -> Vec<BaseSpec> {
    let mut bases: Vec<BaseSpec> = Vec::new();
    let mut next = spec::base_of(source_name, text);
    while let Some(name) = next
        .take()
        .filter(|name| bases.len() < spec::MOST_BASES && bases.iter().all(|base| base.name != *name))
    {
        let Ok(text) = std::fs::read_to_string(directory.join(&name)) else { break };
        next = spec::base_of(&name, &text);
        bases.push(BaseSpec { name, text });
    }
    bases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_read_beside_the_spec_that_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("sweeps")).unwrap();
        write("sweeps/a.yaml", "base: b.yaml");
        write("sweeps/b.yaml", "base: ../c.yaml");
        write("c.yaml", "base: gone.yaml");
        let names = |text: &str| {
            let bases = read_bases(folder.path(), "sweeps/x.yaml", text);
            bases.into_iter().map(|base| base.name).collect::<Vec<_>>()
        };
        assert_eq!(names("base: a.yaml"), ["sweeps/a.yaml", "sweeps/b.yaml", "sweeps/../c.yaml"]);
        assert_eq!(names("parameters:"), [""; 0]);
        write("c.yaml", "base: sweeps/a.yaml");
        assert!(names("base: a.yaml").len() <= spec::MOST_BASES);
    }
}
