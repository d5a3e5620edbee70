//! The command line: one file per subcommand, arguments in, text out, no logic of its own.
//!
//! Data goes to stdout, everything else to stderr. `access.rs` decides whether a command talks to a running coordinator
//! or opens the local table; `host.rs` is a coordinator inside this process, `worker_process.rs` its worker.

mod access;
mod analyze;
mod apart;
mod audit;
mod backup;
mod bump;
mod cancel;
mod check;
mod choice;
mod code;
mod completions;
mod data;
mod doctor;
mod exit;
mod expand;
mod explain;
mod export;
mod follow;
mod host;
mod ingest;
mod insight;
mod logs;
mod looking;
mod metrics;
mod needed;
mod open_exports;
mod output;
mod params;
mod pause;
mod preflight;
mod progress;
mod recipes;
mod report;
mod results;
mod resume;
mod retry;
mod run;
mod schema;
mod serve;
mod signals;
mod slurm;
mod slurm_static;
mod smoke;
mod spec_file;
mod state_folder;
mod status;
mod stint;
mod submit;
mod worker;
mod worker_process;
mod workers;
mod written;

pub use completions::{Completed, VARIABLE as COMPLETE, completed};
pub use exit::{CliError, ExitStatus};
pub use output::{ColourChoice, Output};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};

use crate::dataset::datasets_root;

/// What a script may rely on.
const EXIT_CODES: &str = "Exit codes: 0 success; 1 trials failed, the work was stopped, a check found something, or the machine, the disk or \
                          the network failed; 2 what was asked for can't be done as it is written.";

/// One file, one command, a table to trust: hyperparameter sweeps for masked self-distillation, and for any program.
#[derive(Debug, Parser)]
#[command(name = "sweep", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Address of a running coordinator, instead of the one of this project.
    #[arg(long, global = true, env = "SWEEP_COORDINATOR", value_name = "URL")]
    coordinator: Option<String>,

    /// Where the job table is to lie, if not in `.sweep/`: on a local disk, for instance; needed once.
    #[arg(long = "db", global = true, value_name = "FILE")]
    database: Option<PathBuf>,

    /// When there are colours; NO_COLOR switches them off, too.
    #[arg(long = "color", global = true, value_name = "WHEN", value_enum, default_value_t)]
    colour: ColourChoice,

    /// How the log on stderr is written, of this command and of the worker that it starts; SWEEP_LOG sets what is logged.
    #[arg(long, global = true, env = "SWEEP_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl LogFormat {
    pub(crate) fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl Cli {
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    #[must_use]
    pub fn colour(&self) -> ColourChoice {
        self.colour
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Expand(expand::Args),
    Submit(submit::Args),
    Status(status::Args),
    Explain(explain::Args),
    Results(results::Args),
    Report(report::Args),
    Export(export::ExportArgs),
    Analyze(analyze::Args),
    Check(check::Args),
    Logs(logs::Args),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Bump(bump::Args),
    Audit(audit::Args),
    Backup(backup::Args),
    Doctor(doctor::Args),
    Serve(serve::Args),
    Worker(worker::Args),
    Workers(workers::Args),
    Slurm(Box<slurm::Args>),
    Ingest(ingest::Args),
    Data(data::Args),
    Recipes(recipes::Args),
    Metrics(metrics::Args),
    Params(params::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// What `main` read from the environment, once.
#[derive(Debug, Clone)]
pub struct Environment {
    pub working_directory: PathBuf,
    pub home: Option<PathBuf>,
    pub xdg_data_home: Option<PathBuf>,
    /// `SWEEP_TOKEN`, instead of the token file.
    pub token: Option<String>,
    /// `PATH`, where programs are looked for.
    pub search_path: Option<std::ffi::OsString>,
    /// Where this program's own file lies.
    pub own_directory: Option<PathBuf>,
}

/// What every subcommand gets beside its arguments.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    pub(crate) coordinator: Option<String>,
    pub(crate) database: Option<PathBuf>,
    pub(crate) log_format: LogFormat,
    pub(crate) output: Output,
    /// The state folder in use is above the working directory, and that was said.
    pub(crate) has_named_folder: Arc<AtomicBool>,
}

impl Context {
    /// Where imported datasets lie.
    pub(crate) fn datasets(&self) -> Result<PathBuf, CliError> {
        datasets_root(self.environment.xdg_data_home.as_deref(), self.environment.home.as_deref()).ok_or_else(
            || {
                CliError::usage(
                    "there is no place for datasets: neither `XDG_DATA_HOME` nor `HOME` is an absolute path",
                )
            },
        )
    }
}

/// Runs one command line; what goes wrong is said on stderr.
pub async fn run(cli: Cli, environment: Environment, output: Output) -> ExitStatus {
    let context = Context {
        environment,
        coordinator: cli.coordinator,
        database: cli.database,
        log_format: cli.log_format,
        output,
        has_named_folder: Arc::default(),
    };
    let outcome = match cli.command {
        Command::Run(args) => run::run(args, &context).await,
        Command::Expand(args) => expand::run(args, &context).await,
        Command::Submit(args) => submit::run(args, &context).await,
        Command::Status(args) => status::run(&args, &context).await,
        Command::Explain(args) => explain::run(&args, &context).await,
        Command::Results(args) => results::run(&args, &context).await,
        Command::Export(args) => export::run(&args, &context).await,
        Command::Report(args) => report::run(&args, &context).await,
        Command::Analyze(args) => analyze::run(&args, &context).await,
        Command::Check(args) => check::run(&args, &context).await,
        Command::Logs(args) => logs::run(&args, &context).await,
        Command::Cancel(args) => cancel::run(&args, &context).await,
        Command::Retry(args) => retry::run(&args, &context).await,
        Command::Pause(args) => pause::run(&args, &context).await,
        Command::Resume(args) => resume::run(&args, &context).await,
        Command::Bump(args) => bump::run(&args, &context).await,
        Command::Audit(args) => audit::run(args, &context).await,
        Command::Backup(args) => backup::run(&args, &context).await,
        Command::Doctor(args) => doctor::run(&args, &context).await,
        Command::Serve(args) => serve::run(args, &context).await,
        Command::Worker(args) => worker::run(args, &context).await,
        Command::Workers(args) => workers::run(&args, &context).await,
        Command::Slurm(args) => slurm::run(*args, &context).await,
        Command::Ingest(args) => ingest::run(&args, &context).await,
        Command::Data(args) => import_or_show(args, &context),
        Command::Recipes(args) => recipes::run(&args, &context),
        Command::Metrics(args) => metrics::run(&args, &context),
        Command::Params(args) => params::run(&args, &context),
        Command::Schema(args) => schema::run(&args, &context),
        Command::Completions(args) => completions::run(&args, &context),
    };
    match outcome {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            context.output.error(&error);
            error.exit_status()
        }
    }
}

fn import_or_show(args: data::Args, context: &Context) -> Result<(), CliError> {
    let mut text = Vec::new();
    let mut view = data::FetchView::new(context.output);
    let outcome = data::run(args, &context.datasets()?, &mut text, &mut |progress| view.show(progress));
    drop(view);
    // What was found is shown even where it ends in an error: `verify` lists the damage.
    let printed = context.output.data(&String::from_utf8_lossy(&text));
    outcome.map_err(|error| match error.is_bad_input() {
        true => CliError::Usage(error.into()),
        false => CliError::failed(error),
    })?;
    printed
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Those that print no answer: they go on until they are stopped, or what they print is a script.
    const WITHOUT_JSON: [&str; 4] = ["serve", "worker", "slurm", "completions"];

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, bool)>) {
        let below: Vec<&clap::Command> = command.get_subcommands().collect();
        let has_own = below.is_empty() || !command.is_subcommand_required_set() && !path.is_empty();
        if has_own && path != "data" {
            found
                .push((path.to_owned(), command.get_arguments().any(|argument| argument.get_id() == "json")));
        }
        for below in below {
            leaves(below, format!("{path} {}", below.get_name()).trim(), found);
        }
    }

    #[test]
    fn every_command_that_answers_has_a_json_document() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > 25, "{found:?}");
        let without: Vec<&str> =
            found.iter().filter(|(_, has_json)| !has_json).map(|(path, _)| path.as_str()).collect();
        assert_eq!(without.iter().filter(|path| !WITHOUT_JSON.contains(path)).count(), 0, "{without:?}");
    }
}
