//! Sweeps whose trials teach those of a spec: where one was not submitted yet and its spec lies beside under its name, it is
//! submitted first.

use std::path::{Path, PathBuf};

use super::access::Access;
use super::spec_file::{CheckedSpec, SpecArgs};
use super::submit::describe;
use super::{CliError, Context};
use crate::coordinator::outline;
use crate::protocol::http::{SubmitRequest, SubmitResponse};
use crate::spec::{Selector, SweepName};

/// A sweep that a spec names, and the spec of that name.
pub(super) struct Needed {
    selector: Selector,
    name: String,
    file: PathBuf,
    request: SubmitRequest,
}

/// The specs of those names, as far as there are any beside the spec that names them.
pub(super) fn find(
    source_name: &str,
    selectors: Vec<Selector>,
    context: &Context,
) -> Result<Vec<Needed>, CliError> {
    let mut found = Vec::new();
    for selector in selectors {
        let SweepName::Name(name) = selector.sweep.clone() else { continue };
        let Some(file) = find_file(source_name, &name, context) else { continue };
        let request = SpecArgs::new(&file.display().to_string(), &[]).into_request(context)?;
        found.push(Needed { selector, name, file, request });
    }
    Ok(found)
}

fn find_file(source_name: &str, name: &str, context: &Context) -> Option<PathBuf> {
    // A name is no path.
    if Path::new(name).file_name().is_none_or(|file| file != name) {
        return None;
    }
    let beside = Path::new(source_name).with_file_name(format!("{name}.yaml"));
    context.environment.working_directory.join(&beside).is_file().then_some(beside)
}

/// Submits a spec, and before it what it needs and the job table doesn't have.
///
/// # Errors
/// When one of them can't be submitted; those before it are then.
pub(super) async fn submit(
    access: &Access,
    spec: &mut CheckedSpec,
    context: &Context,
) -> Result<SubmitResponse, CliError> {
    submit_missing(access, spec, context, &[]).await?;
    access.submit(spec).await
}

/// Submits what a spec needs. `students`: for whom it is needed in turn.
pub(super) async fn submit_missing(
    access: &Access,
    spec: &CheckedSpec,
    context: &Context,
    students: &[&str],
) -> Result<(), CliError> {
    for needed in &spec.needed {
        if !needed.is_missing(access).await? {
            continue;
        }
        let mut spec = needed.check(context, students)?;
        let students = [students, &[needed.name.as_str()]].concat();
        Box::pin(submit_missing(access, &spec, context, &students)).await?;
        let submitted = access.submit(&mut spec).await?;
        context.output.note(&format!(
            "its trials teach, and so `{}` is submitted first: {}",
            needed.file.display(),
            describe(&submitted)
        ));
    }
    Ok(())
}

/// Whether something that a spec needs would be submitted.
pub(super) async fn is_missing(access: &Access, spec: &CheckedSpec) -> Result<bool, CliError> {
    for needed in &spec.needed {
        if needed.is_missing(access).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Needed {
    async fn is_missing(&self, access: &Access) -> Result<bool, CliError> {
        Ok(access.status().await?.sweeps.iter().all(|sweep| sweep.name != self.name))
    }

    /// Its spec, where it can be submitted and there will be trials to select: what is submitted for nothing would be in the way.
    pub(super) fn check(&self, context: &Context, students: &[&str]) -> Result<CheckedSpec, CliError> {
        let Needed { selector, name, file, request } = self;
        let file = file.display();
        if students.contains(&name.as_str()) {
            return Err(CliError::usage(format!(
                "`{name}` would have to teach itself: `{file}` learns from what it teaches"
            )));
        }
        let (spec, _) = outline(request)?;
        if spec.name != *name {
            return Err(CliError::usage(format!(
                "there is no sweep `{name}`, and `{file}` is one of another name: `{}`; name the sweep that is meant",
                spec.name
            )));
        }
        if selector.best.is_some() {
            return Err(CliError::usage(format!(
                "there is no sweep `{name}` yet, and `best` asks for its results: `sweep run {file}` first"
            )));
        }
        if !spec.trials().any(|trial| selector.fits(trial.number, trial.seed, &trial.parameters)) {
            return Err(CliError::usage(format!(
                "`{selector}` selects no trial of `{file}`; `sweep expand {file}` lists them"
            )));
        }
        CheckedSpec::for_students(request.clone(), context, &[students, &[name]].concat())
    }
}
