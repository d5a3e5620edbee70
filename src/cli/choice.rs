//! Which sweeps and trials a command is about, and whether the user means it.

use std::str::FromStr;

use super::access::Access;
use super::{CliError, Context};
use crate::protocol::http::{ResultsResponse, StatusResponse, SweepStatus, TrialCounts};
use crate::protocol::steering::ChosenTrials;
use crate::report::json::{ChosenDocument, SweepsDocument};
use crate::report::{chosen_table, counted, facts, sweeps_table};
use crate::spec::{SelectError, SweepFacts, SweepSelector, TrialSelector};
use crate::vocabulary::{SweepId, TrialNumber, TrialState};

/// More than so many are asked about before anything happens to them.
const CONFIRM_ABOVE: u64 = 20;

/// One sweep: its id, its name, or `last`.
#[derive(Debug, Clone)]
pub(super) struct SweepArg(SweepSelector);

impl FromStr for SweepArg {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<SweepArg, SelectError> {
        SweepSelector::one(text).map(SweepArg)
    }
}

impl SweepArg {
    /// The sweep that is meant; one that is named by its id need not exist.
    pub(super) async fn find(&self, access: &Access) -> Result<SweepId, CliError> {
        if let Some(id) = self.0.id() {
            return Ok(id);
        }
        self.find_in(&access.status().await?)
    }

    /// The sweep that is meant, which has to be there.
    pub(super) async fn find_present(&self, access: &Access) -> Result<SweepId, CliError> {
        self.find_in(&access.status().await?)
    }

    fn find_in(&self, status: &StatusResponse) -> Result<SweepId, CliError> {
        let found = select_sweeps(&self.0, status)?;
        found.first().map(|sweep| sweep.id).ok_or_else(|| CliError::usage("there are no sweeps"))
    }
}

impl From<SelectError> for CliError {
    fn from(error: SelectError) -> CliError {
        CliError::Usage(error.into())
    }
}

/// Sweeps, one or several.
#[derive(Debug, clap::Args)]
pub(super) struct SweepsArgs {
    /// Sweeps by id or name: `3`, `1,3-5`, `kd-ema`, `last`, `all`, `state=queued` (docs/SELECTORS.md).
    #[arg(value_name = "SWEEP", required = true)]
    sweeps: Vec<String>,
}

impl SweepsArgs {
    /// The sweeps that are meant. One that is named alone is among them whatever it is; of several those that can change.
    pub(super) async fn find(
        &self,
        access: &Access,
        can_change: impl Fn(&SweepStatus) -> bool,
    ) -> Result<Vec<SweepStatus>, CliError> {
        let selector = SweepSelector::parse(&self.sweeps)?;
        let mut found = select_sweeps(&selector, &access.status().await?)?;
        if !selector.is_one() {
            found.retain(can_change);
        }
        Ok(found)
    }
}

fn select_sweeps(selector: &SweepSelector, status: &StatusResponse) -> Result<Vec<SweepStatus>, CliError> {
    let facts: Vec<SweepFacts<'_>> = status
        .sweeps
        .iter()
        .map(|sweep| SweepFacts {
            id: sweep.id,
            name: &sweep.name,
            state: sweep.state,
            priority: sweep.priority,
        })
        .collect();
    let selected = selector.select(&facts)?;
    Ok(status.sweeps.iter().filter(|sweep| selected.contains(&sweep.id)).cloned().collect())
}

/// Trials of one sweep.
#[derive(Debug, clap::Args)]
pub(super) struct TrialArgs {
    /// Only these trials: `1,3,5-8`, `last`, `state=running`, `mask_ratio=0.5`, `reason=oom` (docs/SELECTORS.md).
    #[arg(value_name = "TRIALS")]
    trials: Vec<String>,
    /// Only trials for which this holds too: `state=failed`, `mask_ratio=0.5,0.75`, `top1<50`.
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
}

impl TrialArgs {
    pub(super) fn selector(&self) -> Result<TrialSelector, CliError> {
        Ok(TrialSelector::parse(&[&self.trials[..], &self.conditions[..]].concat())?)
    }
}

/// The one trial that is meant. `why`: why it must be one.
pub(super) async fn find_trial(
    why: &str,
    trial: &[String],
    sweep: SweepId,
    access: &Access,
) -> Result<TrialNumber, CliError> {
    let selector = TrialSelector::parse(trial)?;
    let numbers = match selector.numbers() {
        Some(numbers) => numbers,
        None => selector.select(&facts(&access.results(sweep).await?))?,
    };
    match numbers.iter().copied().collect::<Vec<_>>()[..] {
        [only] => Ok(only),
        [] => Err(CliError::usage(format!("no trial of sweep {sweep} is so"))),
        [first, second, ..] => Err(CliError::usage(format!(
            "{why}, and {} trials of sweep {sweep} are meant ({first}, {second}, …); name one by its number, or `last`",
            numbers.len()
        ))),
    }
}

/// What whatever changes something can be told.
#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    /// Change nothing; show what would be.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Don't ask, however many are meant.
    #[arg(long, short)]
    yes: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

impl ChangeArgs {
    /// Asks where many are meant; what there is nobody to ask about needs `-y`. `what`: as in `cancel 132 trials`.
    pub(super) fn confirm(&self, what: &str, count: u64, context: &Context) -> Result<(), CliError> {
        if self.yes || count <= CONFIRM_ABOVE {
            return Ok(());
        }
        match context.output.ask(&format!("{what}?")) {
            Some(true) => Ok(()),
            Some(false) => {
                context.output.note("nothing was changed");
                Err(CliError::Unsuccessful)
            }
            None => Err(CliError::usage(format!(
                "to {what} needs a yes, and there is no terminal to ask on; say it with `-y`, or look first with `--dry-run`"
            ))),
        }
    }
}

impl ChangeArgs {
    /// Whether sweeps shall be changed: it is no rehearsal, there are some, and where they are many the user agrees.
    pub(super) fn goes_on(
        &self,
        verb: &str,
        sweeps: &[SweepStatus],
        context: &Context,
    ) -> Result<bool, CliError> {
        let count = u64::try_from(sweeps.len()).unwrap_or(u64::MAX);
        let named = counted(count, "sweep", "sweeps");
        if self.dry_run {
            if self.json {
                context.output.json(&SweepsDocument::from(sweeps.to_vec()))?;
            } else if count > 0 {
                context.output.data(&sweeps_table(sweeps))?;
            }
            context.output.note(&format!("would {verb} {named}; nothing was changed"));
            return Ok(false);
        }
        if count == 0 {
            context.output.note(&format!("nothing to {verb}: no sweep that is meant can be changed so"));
        }
        self.confirm(&format!("{verb} {named}"), count, context)?;
        Ok(count > 0 || self.json)
    }
}

/// Trials that something is about to happen to.
pub(super) struct Chosen {
    pub(super) request: ChosenTrials,
    /// To how many it will happen, as far as is known.
    pub(super) count: u64,
    /// All that is known of them, where they were looked at.
    pub(super) looked_at: Option<ResultsResponse>,
}

impl Chosen {
    /// Nothing would happen, and it is known.
    pub(super) fn is_empty(&self) -> bool {
        self.looked_at.is_some() && self.count == 0
    }
}

/// Finds the trials that are meant and in one of these states. They are looked at only where that is needed.
pub(super) async fn choose(
    access: &Access,
    sweep: SweepId,
    selector: &TrialSelector,
    states: &[TrialState],
    must_look: bool,
) -> Result<Chosen, CliError> {
    if !must_look && selector.is_all() {
        let status = access.status().await?;
        let counts = status.sweeps.iter().find(|found| found.id == sweep).map(|found| found.trials);
        let count = counts.map_or(0, |counts| states.iter().map(|state| count_of(&counts, *state)).sum());
        return Ok(Chosen { request: ChosenTrials::default(), count, looked_at: None });
    }
    if let Some(numbers) = selector.numbers().filter(|_| !must_look) {
        let count = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        let request = ChosenTrials { trials: Some(numbers.into_iter().collect()) };
        return Ok(Chosen { request, count, looked_at: None });
    }
    let mut results = access.results(sweep).await?;
    let selected = selector.select(&facts(&results))?;
    results.trials.retain(|trial| selected.contains(&trial.trial) && states.contains(&trial.state));
    let numbers: Vec<TrialNumber> = results.trials.iter().map(|trial| trial.trial).collect();
    Ok(Chosen {
        count: u64::try_from(numbers.len()).unwrap_or(u64::MAX),
        request: ChosenTrials { trials: Some(numbers) },
        looked_at: Some(results),
    })
}

fn count_of(counts: &TrialCounts, state: TrialState) -> u64 {
    match state {
        TrialState::Queued => counts.queued,
        TrialState::Running => counts.running,
        TrialState::Succeeded => counts.succeeded,
        TrialState::Failed => counts.failed,
        TrialState::Cancelled => counts.cancelled,
    }
}

/// Shows what would happen; nothing does.
pub(super) fn rehearse(
    verb: &str,
    sweep: SweepId,
    chosen: &Chosen,
    json: bool,
    context: &Context,
) -> Result<(), CliError> {
    let Some(results) = &chosen.looked_at else { return Ok(()) };
    if json {
        return context.output.json(&ChosenDocument::new(results));
    }
    if chosen.count > 0 {
        context.output.data(&chosen_table(results))?;
    }
    let trials = counted(chosen.count, "trial", "trials");
    context.output.note(&format!("would {verb} {trials} of sweep {sweep}; nothing was changed"));
    Ok(())
}
