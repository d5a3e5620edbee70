//! Shell completion that asks the program itself: commands and options, and what is there: sweeps, nodes, trials, metrics and
//! parameters. It makes nothing: where there is no job table yet, there is nothing to offer. `offers` says what may stand where.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

mod offers;

use offers::{Asked, Names, TrialsPage, nodes, of_sweep, sweeps};

use super::access::Access;
use super::{Cli, CliError, Context, Environment, LogFormat, Output, state_folder};
use crate::protocol::http::{StatusResponse, TrialState};
use crate::protocol::listing::{LARGEST_PAGE, PageSize, TrialsOrder, TrialsQuery};
use crate::spec::SweepSelector;
use crate::vocabulary::SweepId;

/// The variable by which a shell says that it wants completions and no command.
pub const VARIABLE: &str = "SWEEP_COMPLETE";

/// Nobody waits longer for a key press to do something.
const PATIENCE: Duration = Duration::from_secs(1);

/// Trials that are looked at beside the first ones, to know values of parameters.
const SAMPLES: u64 = 6;

/// Print what makes a shell complete commands, options, and what is there: sweeps, trials, metrics, parameters.
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

/// What a shell asks about.
#[derive(Debug, Clone, Default)]
pub struct Completed {
    /// The coordinator that the environment names.
    pub coordinator: Option<String>,
    /// The words before the one that is completed, the program's name first.
    pub before: Vec<String>,
}

impl Completed {
    /// `arguments`: those that a shell's script gives, the line's words behind `--`. `index`: which of them is completed, where the
    /// shell says it; else the last one.
    #[must_use]
    pub fn new(coordinator: Option<String>, arguments: &[String], index: Option<usize>) -> Completed {
        let begin = arguments.iter().position(|word| word == "--").map_or(arguments.len(), |at| at + 1);
        let words = &arguments[begin..];
        let index = index.unwrap_or(words.len().saturating_sub(1)).min(words.len());
        Completed { coordinator, before: words[..index].to_vec() }
    }
}

/// The command line with what may stand in its arguments.
#[must_use]
pub fn completed(environment: Environment, completed: Completed) -> Command {
    let context = Context {
        environment,
        coordinator: completed.coordinator,
        database: None,
        log_format: LogFormat::Text,
        output: Output::silent(),
        has_named_folder: Arc::default(),
    };
    let line = Line { context, before: completed.before.into() };
    complete_below(Cli::command(), &line)
}

/// The line that is completed, and where it was typed.
#[derive(Clone)]
struct Line {
    context: Context,
    before: Arc<[String]>,
}

fn complete_below(command: Command, line: &Line) -> Command {
    // Each in its place: an argument that is taken out and put back would stand behind the others.
    let mut command = command.mut_args(|argument| {
        let Some(asked) = asked(&argument) else { return argument };
        let line = line.clone();
        argument.add(ArgValueCompleter::new(move |typed: &OsStr| {
            line.complete(asked, &typed.to_string_lossy()).unwrap_or_default()
        }))
    });
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for name in below {
        command = command.mut_subcommand(name, |below| complete_below(below, line));
    }
    command
}

/// What stands in an argument, by its name.
fn asked(argument: &clap::Arg) -> Option<Asked> {
    match argument.get_id().as_str() {
        "sweep" | "sweeps" | "target" => Some(Asked::Sweep),
        "node" => Some(Asked::Node),
        // `audit --trials` is a number.
        "trial" | "trials" if argument.is_positional() => Some(Asked::Trials),
        "conditions" => Some(Asked::Condition),
        "metric" | "correlate" => Some(Asked::Metric),
        "pivot" | "given" => Some(Asked::Parameter),
        "sort" => Some(Asked::Quantity),
        "columns" => Some(Asked::Column),
        _ => None,
    }
}

impl Line {
    /// What is there; nothing where it can't be had at once.
    fn complete(&self, asked: Asked, typed: &str) -> Option<Vec<CompletionCandidate>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let asking = async { tokio::time::timeout(PATIENCE, self.ask(asked, typed)).await.ok().flatten() };
        let found = runtime.block_on(asking);
        runtime.shutdown_background();
        found
    }

    async fn ask(&self, asked: Asked, typed: &str) -> Option<Vec<CompletionCandidate>> {
        if !self.has_table() {
            return None;
        }
        let access = Access::open(&self.context).await.ok()?;
        let found = self.ask_about(asked, typed, &access).await;
        access.close().await;
        found
    }

    /// Whether there is something to look at, which opening would make otherwise.
    fn has_table(&self) -> bool {
        let is_there = || {
            let folder = state_folder::find(&self.context)?;
            let files = folder.place_database(None).ok()?;
            Some(files.database.is_file() && folder.token_file().is_file())
        };
        self.context.coordinator.is_some() || is_there() == Some(true)
    }

    async fn ask_about(
        &self,
        asked: Asked,
        typed: &str,
        access: &Access,
    ) -> Option<Vec<CompletionCandidate>> {
        let status = access.status().await.ok()?;
        let all = match asked {
            Asked::Sweep => sweeps(&status),
            Asked::Node => nodes(&status),
            asked => {
                let sweep = self.sweep(&status)?;
                let (name, begun) = self.joined(typed);
                let typed = format!("{name}{begun}");
                let names = names(asked, &typed, sweep, access).await?;
                let found = of_sweep(asked, &names, &typed);
                return Some(found.into_iter().filter_map(|one| without(one, name.len())).collect());
            }
        };
        let begins = |one: &CompletionCandidate| one.get_value().to_string_lossy().starts_with(typed);
        Some(all.into_iter().filter(begins).collect())
    }

    /// The first word behind the command that names a sweep which is there.
    fn sweep(&self, status: &StatusResponse) -> Option<SweepId> {
        let words = self.before.iter().skip(2).filter(|word| !word.starts_with('-'));
        let found = |word: &String| {
            if word == "last" {
                return status.sweeps.last().map(|sweep| sweep.id);
            }
            let id = SweepSelector::one(word).ok().and_then(|selector| selector.id());
            let is_it =
                |sweep: &&crate::protocol::http::SweepStatus| Some(sweep.id) == id || sweep.name == *word;
            status.sweeps.iter().rev().find(is_it).map(|sweep| sweep.id)
        };
        words.into_iter().find_map(found)
    }

    /// Bash takes `state=failed` apart into three words and completes the last. The first two, joined, and what is typed of it.
    fn joined<'t>(&'t self, typed: &'t str) -> (String, &'t str) {
        match &self.before[..] {
            [.., name] if typed == "=" => (format!("{name}="), ""),
            [.., name, sign] if sign == "=" => (format!("{name}="), typed),
            _ => (String::new(), typed),
        }
    }
}

/// A candidate without what stands before it already.
fn without(candidate: CompletionCandidate, length: usize) -> Option<CompletionCandidate> {
    match length {
        0 => Some(candidate),
        length => Some(CompletionCandidate::new(candidate.get_value().to_str()?.get(length..)?)),
    }
}

/// What is known of a sweep, as far as it is needed.
async fn names(asked: Asked, typed: &str, sweep: SweepId, access: &Access) -> Option<Names> {
    let limit = |rows: u32| PageSize::try_from(rows).unwrap_or_default();
    let list = async |query: TrialsQuery| access.list_trials(sweep, &query).await.ok();
    let first = list(TrialsQuery { limit: limit(LARGEST_PAGE), ..TrialsQuery::default() }).await?;
    let mut page = TrialsPage::from(first);
    if page.total > u64::from(LARGEST_PAGE) && asked == Asked::Trials {
        let newest = TrialsQuery { order: TrialsOrder::Newest, limit: limit(1), ..TrialsQuery::default() };
        page.last = list(newest).await?.trials.first().map(|trial| trial.trial);
    }
    if page.total > u64::from(LARGEST_PAGE) && typed.contains('=') {
        // Seeds vary fastest: the first trials are all of a few configurations. Steps of no round part meet all axes.
        for sample in 1..=SAMPLES {
            let offset = (page.total * ((sample * 618) % 1000)) / 1000;
            let some = list(TrialsQuery { offset, limit: limit(1), ..TrialsQuery::default() }).await?;
            page.samples.extend(some.trials);
        }
    }
    let mut metrics = Vec::new();
    if matches!(asked, Asked::Metric | Asked::Quantity | Asked::Column) {
        for state in [TrialState::Succeeded, TrialState::Running, TrialState::Failed] {
            let query = TrialsQuery { state: Some(state), limit: limit(1), ..TrialsQuery::default() };
            let Some(trial) = list(query).await?.trials.first().map(|trial| trial.trial) else { continue };
            let reports = access.history(sweep, trial).await.ok()?.reports;
            let reported = reports.into_iter().flat_map(|report| report.metrics.into_keys());
            metrics = reported.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            if !metrics.is_empty() {
                break;
            }
        }
    }
    Some(Names { page, metrics })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            working_directory: "/nowhere".into(),
            home: None,
            xdg_data_home: None,
            token: None,
            search_path: None,
            own_directory: None,
        }
    }

    #[test]
    fn arguments_stay_in_their_places() {
        // Clap panics about places that changed.
        completed(environment(), Completed::default()).debug_assert();
    }

    #[test]
    fn the_words_before_are_those_up_to_the_one_that_is_completed() {
        let words = |line: &str, index| {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Completed::new(None, &arguments, index).before
        };
        assert_eq!(words("/bin/sweep -- sweep logs kd 1", None), ["sweep", "logs", "kd"]);
        assert_eq!(words("/bin/sweep -- sweep logs kd 1", Some(2)), ["sweep", "logs"]);
        assert_eq!(words("/bin/sweep", Some(9)), [""; 0]);
    }

    #[test]
    fn what_bash_takes_apart_is_put_together() {
        let joined = |before: &[&str], typed: &str| {
            let completed = Completed {
                coordinator: None,
                before: before.iter().map(|word| (*word).to_owned()).collect(),
            };
            let context = Context {
                environment: environment(),
                coordinator: None,
                database: None,
                log_format: LogFormat::Text,
                output: Output::silent(),
                has_named_folder: Arc::default(),
            };
            let line = Line { context, before: completed.before.into() };
            let (name, begun) = line.joined(typed);
            format!("{name}|{begun}")
        };
        assert_eq!(joined(&["retry", "kd", "state", "="], "f"), "state=|f");
        assert_eq!(joined(&["retry", "kd", "state"], "="), "state=|");
        assert_eq!(joined(&["retry", "kd"], "state=f"), "|state=f");
        let candidate = without(CompletionCandidate::new("state=failed"), 6).unwrap();
        assert_eq!(candidate.get_value(), "failed");
    }
}
