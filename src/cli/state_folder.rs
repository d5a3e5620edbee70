//! Which state folder a command works on: the nearest from the working directory upward. One that isn't the directory's own is named,
//! since a folder below another project's would otherwise work on that project's sweeps without a word.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::{CliError, Context};
use crate::coordinator::StateFolder;

/// The nearest state folder, if there is one.
pub(super) fn find(context: &Context) -> Option<StateFolder> {
    let found = StateFolder::find(&context.environment.working_directory)?;
    name(&found, context);
    Some(found)
}

/// The nearest state folder, or a new one in the working directory.
pub(super) fn ensure(context: &Context) -> Result<StateFolder, CliError> {
    let found = StateFolder::ensure(&context.environment.working_directory).map_err(CliError::failed)?;
    name(&found, context);
    Ok(found)
}

/// Whether `folder` lies in a directory above the one in which the command was given.
pub(super) fn is_from_above(folder: &Path, context: &Context) -> bool {
    let directory = &context.environment.working_directory;
    folder.parent().is_some_and(|parent| directory.starts_with(parent) && directory != parent)
}

/// Says it once a command.
fn name(found: &StateFolder, context: &Context) {
    let path = found.path();
    if is_from_above(path, context) && !context.has_named_folder.swap(true, Ordering::Relaxed) {
        context.output.note(&format!(
            "in the project of {}; `mkdir -m 700 .sweep` makes this folder one of its own",
            path.display()
        ));
    }
}
