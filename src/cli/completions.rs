//! Shell completion that asks the program itself: commands and options, and the sweeps and nodes that are there.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use super::access::Access;
use super::{Cli, CliError, Context, Environment, LogFormat, Output};
use crate::protocol::http::{StatusResponse, SweepStatus};

/// The variable by which a shell says that it wants completions and no command.
pub const VARIABLE: &str = "SWEEP_COMPLETE";

/// Nobody waits longer for a key press to do something.
const PATIENCE: Duration = Duration::from_secs(1);

/// Print what makes a shell complete commands, options, and the ids and names of the sweeps that are there.
///
/// For bash: `echo 'source <(sweep completions bash)' >> ~/.bashrc`; likewise for zsh. For fish: `sweep completions fish >
/// ~/.config/fish/completions/sweep.fish`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which one.
    #[arg(value_name = "SHELL", value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(&args.shell)
        .ok_or_else(|| CliError::usage(format!("`{}` is no shell that is known", args.shell)))?;
    // The same program answers that was asked, also where it is not in `PATH`.
    let own = context.environment.own_directory.as_ref().map(|folder| folder.join("sweep"));
    let completer =
        own.filter(|own| own.exists()).map_or_else(|| "sweep".into(), |own| own.display().to_string());
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "sweep", "sweep", &completer, &mut script)
        .map_err(CliError::failed)?;
    context.output.data(&String::from_utf8_lossy(&script))
}

/// The command line with what may stand in its arguments. `coordinator`: the one that the environment names.
#[must_use]
pub fn completed(environment: Environment, coordinator: Option<String>) -> Command {
    let context = Context {
        environment,
        coordinator,
        database: None,
        log_format: LogFormat::Text,
        output: Output::silent(),
        has_named_folder: Arc::default(),
    };
    complete_below(Cli::command(), &context)
}

fn complete_below(command: Command, context: &Context) -> Command {
    // Each in its place: an argument that is taken out and put back would stand behind the others.
    let mut command = command.mut_args(|argument| {
        let candidates = match argument.get_id().as_str() {
            "sweep" | "sweeps" | "target" => sweeps,
            "node" => nodes,
            _ => return argument,
        };
        let context = context.clone();
        argument.add(ArgValueCompleter::new(move |typed: &OsStr| {
            let all = ask(&context).map(|status| candidates(&status)).unwrap_or_default();
            begin_with(all, typed)
        }))
    });
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for name in below {
        command = command.mut_subcommand(name, |below| complete_below(below, context));
    }
    command
}

/// What is there; nothing where it can't be had at once.
fn ask(context: &Context) -> Option<StatusResponse> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let asked = runtime.block_on(async {
        let asking = async {
            let access = Access::open(context).await.ok()?;
            let status = access.status().await.ok();
            access.close().await;
            status
        };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten()
    });
    runtime.shutdown_background();
    asked
}

/// Ids, names that name one sweep and need no quotes, and `last`; the newest first, what has something to do before the rest.
fn sweeps(status: &StatusResponse) -> Vec<CompletionCandidate> {
    let is_over = |sweep: &&SweepStatus| sweep.trials.queued + sweep.trials.running == 0;
    let mut all: Vec<&SweepStatus> = status.sweeps.iter().rev().collect();
    all.sort_by_key(is_over);
    let is_only = |name: &str| status.sweeps.iter().filter(|sweep| sweep.name == name).count() == 1;
    let help = |sweep: &SweepStatus, head: String| {
        let done = format!("{}/{} trials", sweep.trials.succeeded, sweep.trials.total);
        format!("{head}, {}, {done}", sweep.state).into()
    };
    let mut candidates = Vec::new();
    for sweep in &all {
        let id = CompletionCandidate::new(sweep.id.to_string());
        candidates.push(id.help(Some(help(sweep, sweep.name.clone()))));
    }
    for sweep in &all {
        if is_plain(&sweep.name) && is_only(&sweep.name) && sweep.name.parse::<i64>().is_err() {
            let name = CompletionCandidate::new(&sweep.name);
            candidates.push(name.help(Some(help(sweep, format!("sweep {}", sweep.id)))));
        }
    }
    if let Some(newest) = status.sweeps.last() {
        candidates
            .push(CompletionCandidate::new("last").help(Some(help(newest, format!("sweep {}", newest.id)))));
    }
    candidates
}

/// Hosts of the workers that are there.
fn nodes(status: &StatusResponse) -> Vec<CompletionCandidate> {
    let mut hosts: Vec<&String> = status.workers.iter().map(|worker| &worker.host).collect();
    hosts.sort();
    hosts.dedup();
    // What a worker calls its host goes into the user's shell.
    hosts.into_iter().filter(|host| is_plain(host)).map(CompletionCandidate::new).collect()
}

/// Whether it means itself to every shell.
fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn begin_with(all: Vec<CompletionCandidate>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let begins =
        |candidate: &CompletionCandidate| candidate.get_value().to_string_lossy().starts_with(&*typed);
    all.into_iter().filter(begins).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::{SweepState, TrialCounts};
    use crate::vocabulary::SweepId;

    #[test]
    fn arguments_stay_in_their_places() {
        let environment = Environment {
            working_directory: "/nowhere".into(),
            home: None,
            xdg_data_home: None,
            token: None,
            search_path: None,
            own_directory: None,
        };
        // Clap panics about places that changed.
        completed(environment, None).debug_assert();
    }

    #[test]
    fn sweeps_are_completed_by_id_and_by_names_that_are_unambiguous() {
        let sweep = |id, name: &str, queued| SweepStatus {
            id: SweepId(id),
            name: name.to_owned(),
            state: if queued > 0 { SweepState::Queued } else { SweepState::Succeeded },
            trials: TrialCounts { total: 4, queued, succeeded: 4 - queued, ..TrialCounts::default() },
            priority: 0,
        };
        let status = StatusResponse {
            sweeps: vec![
                sweep(1, "kd-ema", 2),
                sweep(2, "twice", 0),
                sweep(3, "twice", 0),
                sweep(4, "two words", 0),
            ],
            workers: vec![],
            running: vec![],
            slurm: vec![],
        };
        let shown = |typed: &str| {
            let found = begin_with(sweeps(&status), OsStr::new(typed));
            found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shown(""), ["1", "4", "3", "2", "kd-ema", "last"]);
        assert_eq!(shown("k"), ["kd-ema"]);
        let help = sweeps(&status)[0].get_help().map(ToString::to_string);
        assert_eq!(help.as_deref(), Some("kd-ema, queued, 2/4 trials"));
    }
}
