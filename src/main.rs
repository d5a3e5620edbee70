//! The `sweep` program: reads the environment, once, and runs the command line.

use std::process::ExitCode;

use clap::Parser;
use sweep::cli::{self, Cli, Environment, LogFormat, Output};
use tracing_subscriber::EnvFilter;

#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(Into::into);
    let output = Output::new(std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()));
    let filter = EnvFilter::try_from_env("SWEEP_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    start_log(cli.log_format(), filter);
    let working_directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return output.report_failure(format!("the working directory is gone: {error}")),
    };
    let environment = Environment {
        working_directory,
        home: path("HOME"),
        xdg_data_home: path("XDG_DATA_HOME"),
        token: std::env::var("SWEEP_TOKEN").ok().filter(|token| !token.is_empty()),
        search_path: std::env::var_os("PATH"),
        own_directory: std::env::current_exe().ok().and_then(|file| file.parent().map(Into::into)),
    };
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
