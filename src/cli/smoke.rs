//! Trying whether all that a spec asks of the built-in trainer works, before hours are spent on it: one small trial for each code
//! path, on a few images that come with the program, in a state folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::apart::Apart;
use super::follow::{Ended, Hands, Scope, Session, Turn, follow, work_through};
use super::spec_file::CheckedSpec;
use super::stint::Stint;
use super::worker_process::WorkerArgs;
use super::{CliError, Context};
use crate::coordinator::{LEASE, outline};
use crate::dataset::import::{Existing, ImportRequest, import};
use crate::protocol::http::{Failure, Sharing, SubmitRequest, TrialState};
use crate::recipe::metrics::set_of_metric;
use crate::recipe::smoke::DATASET;
use crate::report::{SmokeDocument, Tried, counted, smoke_failures, smoke_table};
use crate::spec::{CodePath, Spec, code_paths};
use crate::vocabulary::{FailureReason, SweepId};

/// How the folders are called in which small trials are trained.
const PREFIX: &str = "smoke-";

/// Ten classes with eight images each (worker/assets/README.md).
const IMAGES: &[u8] = include_bytes!("../../worker/assets/cifar10-smoke.tar.xz");

/// The extra evaluation set where the spec names none: every dataset may have one.
const USUAL_SET: &str = "shifted";

/// What is to be tried.
pub(super) struct Smoke {
    pub(super) name: String,
    pub(super) paths: Vec<CodePath>,
    /// Extra evaluation sets that trials may name.
    sets: BTreeSet<String>,
}

impl Smoke {
    /// Of what was or is to be submitted. Neither datasets nor weights have to be there.
    pub(super) fn of_request(request: &SubmitRequest) -> Result<Smoke, CliError> {
        Smoke::of(&outline(request)?.0)
    }

    pub(super) fn of(spec: &Spec) -> Result<Smoke, CliError> {
        let paths = code_paths(spec).map_err(CliError::failed)?;
        let metric = spec.metric.as_ref().and_then(|metric| set_of_metric(&metric.name));
        let named = paths.iter().filter_map(|path| path.smoke.get("eval_sets")?.as_array());
        let named = named.flatten().filter_map(|set| set.as_str());
        let sets = named.chain(metric).chain([USUAL_SET]).map(str::to_owned).collect();
        Ok(Smoke { name: spec.name.clone(), paths, sets })
    }

    /// How many trials stand for how many.
    pub(super) fn describe(&self) -> String {
        let trials = self.paths.iter().map(|path| path.trials).sum();
        format!(
            "{} of {}",
            counted(self.paths.len() as u64, "code path", "code paths"),
            counted(trials, "trial", "trials")
        )
    }

    /// Runs them; nothing where the user stopped it.
    pub(super) async fn run(
        self,
        worker: &WorkerArgs,
        is_quiet: bool,
        context: &Context,
    ) -> Result<Option<Vec<Tried>>, CliError> {
        let apart = Apart::begin(PREFIX, context).await?.with_own_datasets();
        self.import_images(&apart)?;
        let stint = Stint::endless();
        let (mut sweeps, mut tried) = (BTreeMap::new(), None);
        work_through(LEASE, apart.context(), async |session| {
            if sweeps.is_empty() {
                sweeps = self.submit(session, &apart).await?;
            }
            let scope = Scope { sweep: None, until_drained: true };
            let hands = Hands { args: worker, stint: &stint };
            match follow(session, &scope, hands, is_quiet, apart.context()).await? {
                Ended::Orphaned => return Ok(Turn::Orphaned),
                Ended::Interrupted => return Ok(Turn::Over(Ok(()))),
                Ended::Drained => {}
            }
            let mut outcomes = Vec::new();
            for path in &self.paths {
                let failure = failure_of(session, sweeps.get(&path.spec_name())).await?;
                outcomes.push(Tried { path: path.clone(), failure });
            }
            tried = Some(outcomes);
            Ok(Turn::Over(Ok(())))
        })
        .await?;
        Ok(tried)
    }

    /// One set of images in the place of every split: whether the code works doesn't depend on them.
    fn import_images(&self, apart: &Apart) -> Result<(), CliError> {
        let images: PathBuf = apart.path().join("images.tar.xz");
        std::fs::write(&images, IMAGES).map_err(CliError::failed)?;
        let mut eval_sets = BTreeMap::new();
        for set in &self.sets {
            eval_sets.insert(set.parse().map_err(CliError::failed)?, images.clone());
        }
        let name = DATASET.parse().map_err(CliError::failed)?;
        let request =
            ImportRequest { name, train: images.clone(), test: images, eval_sets, existing: Existing::Keep };
        import(&apart.context().datasets()?, &request).map_err(CliError::failed)?;
        Ok(())
    }

    /// Stores a sweep for each code path.
    async fn submit(&self, session: &Session, apart: &Apart) -> Result<BTreeMap<String, SweepId>, CliError> {
        let mut sweeps = BTreeMap::new();
        for (name, text) in self.paths.iter().flat_map(CodePath::spec_texts) {
            let mut spec = CheckedSpec::to_be_checked(request(&name, text, apart));
            sweeps.insert(name, session.access().submit(&mut spec).await?.sweep);
        }
        Ok(sweeps)
    }
}

fn request(name: &str, spec: String, apart: &Apart) -> SubmitRequest {
    SubmitRequest {
        spec,
        source_name: format!("{name}.yaml"),
        bases: Vec::new(),
        overrides: Vec::new(),
        working_directory: apart.path().display().to_string(),
        sharing: Sharing::Prefixes,
        is_rehearsal: false,
        only: None,
        selected: Default::default(),
        code: None,
    }
}

/// Why a sweep's trial failed; nothing if it has succeeded.
async fn failure_of(session: &Session, sweep: Option<&SweepId>) -> Result<Option<Failure>, CliError> {
    let unknown = |message: &str| Failure {
        reason: FailureReason::NodeFault,
        message: message.to_owned(),
        log_tail: String::new(),
    };
    let Some(sweep) = sweep else { return Ok(Some(unknown("it was not run"))) };
    let results = session.access().results(*sweep).await?;
    let unfinished = results.trials.into_iter().find(|trial| trial.state != TrialState::Succeeded);
    Ok(unfinished.map(|trial| trial.failure.unwrap_or_else(|| unknown("it was not run to its end"))))
}

/// `sweep run SPEC --smoke`
pub(super) async fn run(
    request: &SubmitRequest,
    worker: &WorkerArgs,
    json: bool,
    quiet: bool,
    context: &Context,
) -> Result<(), CliError> {
    let smoke = Smoke::of_request(request)?;
    if smoke.paths.is_empty() {
        return Err(CliError::usage(format!(
            "`{}` runs a program, which has no small form that is known here: `--smoke` tries the built-in trainer",
            smoke.name
        )));
    }
    if !quiet {
        context.output.note(&format!(
            "`{}`: {}, each in a small form; nothing is stored",
            smoke.name,
            smoke.describe()
        ));
    }
    let name = smoke.name.clone();
    let Some(tried) = smoke.run(worker, quiet, context).await? else {
        context.output.note("stopped");
        return Err(CliError::Unsuccessful);
    };
    if json {
        context.output.json(&SmokeDocument::new(&name, &tried))?;
    } else {
        context.output.data(&smoke_table(&tried))?;
    }
    match smoke_failures(&name, &tried) {
        None => Ok(()),
        Some(failures) => Err(CliError::Failed(anyhow::Error::msg(failures))),
    }
}
