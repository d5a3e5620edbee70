//! The `sweep` program: reads the environment, once, and runs the command line.

use std::process::ExitCode;

use clap::Parser;
use clap_complete::CompleteEnv;
use sweep::cli::{self, Cli, Environment, LogFormat, Output};
use tracing_subscriber::EnvFilter;

#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
fn main() -> ExitCode {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(Into::into);
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let working_directory = std::env::current_dir();
    let environment = Environment {
        working_directory: working_directory.as_ref().map(Clone::clone).unwrap_or_default(),
        home: path("HOME"),
        xdg_data_home: path("XDG_DATA_HOME"),
        token: text("SWEEP_TOKEN"),
        search_path: std::env::var_os("PATH"),
        own_directory: std::env::current_exe().ok().and_then(|file| file.parent().map(Into::into)),
    };
    // Where a shell asks what may stand there, this answers and ends the program.
    let (asking, index) = (environment.clone(), text("_CLAP_COMPLETE_INDEX"));
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let index = index.and_then(|index| index.parse().ok());
    let completed = cli::Completed::new(text("SWEEP_COORDINATOR"), &words, index);
    CompleteEnv::with_factory(move || cli::completed(asking.clone(), completed.clone()))
        .var(cli::COMPLETE)
        .complete();
    let cli = Cli::parse();
    let output =
        Output::new(cli.colour(), std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()));
    let filter = EnvFilter::try_from_env("SWEEP_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    start_log(cli.log_format(), filter);
    if let Err(error) = working_directory {
        return output.report_failure(format!("the working directory is gone: {error}"));
    }
    // One thread would do, but a slow read of results must not hold up a heartbeat.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let status = runtime.block_on(cli::run(cli, environment, output));
            // A file operation that hangs, on a lost network folder say, must not keep the program from ending.
            runtime.shutdown_background();
            status.into()
        }
        Err(error) => output.report_failure(format!("can't start: {error}")),
    }
}

fn start_log(format: LogFormat, filter: EnvFilter) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Otherwise a log on a full disk ends the process: the complaint itself can't be written.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
