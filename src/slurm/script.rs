//! Scripts from templates. Every `{{value}}` in a template is one word for the shell, whatever is in it: nobody can forget to
//! quote. What is shell text on purpose, a user's own set-up lines, is written `{{{value}}}`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use handlebars::{
    Context, Handlebars, Helper, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
};
use serde::Serialize;

use super::quote::{OptionError, directive, one_line, shell_word};
use super::wishes::Setting;

/// The folder in a state folder in which a user's own templates lie.
pub const TEMPLATES: &str = "templates";

/// A script that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    /// The array of workers.
    Worker,
    /// The coordinator's own job.
    Coordinator,
    /// An array of static mode.
    Static,
    /// What submits the arrays of static mode.
    Submit,
}

impl Template {
    fn name(self) -> &'static str {
        match self {
            Template::Worker => "worker.sh.hbs",
            Template::Coordinator => "coordinator.sh.hbs",
            Template::Static => "static.sh.hbs",
            Template::Submit => "submit.sh.hbs",
        }
    }

    /// The one that comes with the program.
    #[must_use]
    pub fn built_in(self) -> &'static str {
        match self {
            Template::Worker => include_str!("../../templates/worker.sh.hbs"),
            Template::Coordinator => include_str!("../../templates/coordinator.sh.hbs"),
            Template::Static => include_str!("../../templates/static.sh.hbs"),
            Template::Submit => include_str!("../../templates/submit.sh.hbs"),
        }
    }
}

/// What a template of workers can put in. docs/SLURM.md says the same to users.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerScript {
    /// What the workers are for, in words.
    pub title: String,
    pub sweep: i64,
    /// `--sweep`'s sweep by name.
    pub sweep_name: String,
    /// sbatch's options, name and value, the array among them.
    pub options: Vec<Setting>,
    /// How many tasks the array has.
    pub workers: u32,
    pub output: String,
    pub signal: String,
    /// Whether Slurm may start a worker again.
    pub requeue: bool,
    pub project: String,
    pub state_dir: String,
    pub datasets: String,
    /// Set-up lines, shell text.
    pub setup: Vec<String>,
    /// What stands before the command, shell text.
    pub prefix: Option<String>,
    /// A worker on each of several nodes.
    pub srun: bool,
    /// Newer versions of srun have to be told again.
    pub cpus_per_task: Option<u32>,
    /// `sweep-worker`
    pub program: String,
    /// Where the coordinator is, where that was said; otherwise workers look into the state folder.
    pub coordinator: Option<String>,
    pub idle_timeout: String,
    /// Seconds.
    pub grace: u64,
    pub worker_options: Vec<String>,
}

/// The same for a coordinator's job.
#[derive(Debug, Clone, Serialize)]
pub struct CoordinatorScript {
    pub options: Vec<Setting>,
    pub output: String,
    pub signal: String,
    pub requeue: bool,
    pub project: String,
    pub setup: Vec<String>,
    pub prefix: Option<String>,
    /// `sweep`
    pub program: String,
}

/// Why there is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("can't read the template `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the template `{source_name}` is wrong{place}: {problem}")]
    Template { source_name: String, place: String, problem: String },
}

/// The script: of the user's own template in the state folder, or else of the one that comes with the program.
///
/// # Errors
/// When the template can't be read or is wrong, or a value has no place in an option of sbatch.
pub fn render(
    template: Template,
    state_folder: &Path,
    values: &impl Serialize,
) -> Result<String, ScriptError> {
    let path = state_folder.join(TEMPLATES).join(template.name());
    match fs::read_to_string(&path) {
        Ok(text) => render_text(&text, &path.display().to_string(), values),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            render_text(template.built_in(), template.name(), values)
        }
        Err(source) => Err(ScriptError::Read { path, source }),
    }
}

fn render_text(text: &str, source_name: &str, values: &impl Serialize) -> Result<String, ScriptError> {
    let mut handlebars = Handlebars::new();
    // A name that is mistyped must not become an empty word.
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(shell_word);
    handlebars.register_helper("sbatch", Box::new(write_option));
    handlebars.register_helper("line", Box::new(write_line));
    let wrong = |line: Option<usize>, problem: String| ScriptError::Template {
        source_name: source_name.to_owned(),
        place: line.map(|line| format!(" in line {line}")).unwrap_or_default(),
        problem,
    };
    handlebars
        .register_template_string(source_name, text)
        .map_err(|error| wrong(error.pos().map(|(line, _)| line), error.reason().to_string()))?;
    handlebars.render(source_name, values).map_err(|error| match refused_option(&error) {
        Some(option) => ScriptError::Option(option),
        None => wrong(error.line_no, problem_of(error.reason())),
    })
}

fn problem_of(reason: &RenderErrorReason) -> String {
    match reason {
        RenderErrorReason::MissingVariable(Some(name)) => {
            format!("there is no value `{name}` here; docs/SLURM.md lists those that there are")
        }
        reason => reason.to_string(),
    }
}

/// `{{sbatch name value}}`: a line `#SBATCH --name=value`; with `null` for the value without one.
fn write_option(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let [name, value] = [0, 1].map(|at| helper.param(at).map(|parameter| parameter.value()));
    let Some(name) = name.and_then(|name| name.as_str()) else {
        return Err(RenderErrorReason::ParamNotFoundForIndex("sbatch", 0).into());
    };
    let value = match value {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let line = directive(name, value.as_deref())
        .map_err(|error| RenderError::from(RenderErrorReason::NestedError(Box::new(error))))?;
    Ok(out.write(&line)?)
}

/// `{{line value}}`: text within a comment.
fn write_line(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let value = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("line", 0))?;
    Ok(out.write(&one_line(&value.render()))?)
}

fn refused_option(error: &RenderError) -> Option<OptionError> {
    match error.reason() {
        RenderErrorReason::NestedError(nested) => nested.downcast_ref::<OptionError>().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
