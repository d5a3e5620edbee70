//! Sweeps for tests: a trial is the states after its epochs, and a sweep is the stage tree of its trials.

use std::sync::Arc;

use crate::store::{Keep, NewJob, NewSweep, NewTrial, TrialSource};
use crate::vocabulary::{Goal, Metric, StateHash, TrialNumber};

/// The state of this name.
pub(crate) fn state(name: &str) -> StateHash {
    let hash = blake3::hash(name.as_bytes());
    StateHash::try_from(&hash.as_bytes()[..16]).unwrap()
}

/// A sweep of trials of ten epochs, no two of which have a state in common unless they have the same name.
pub(crate) fn sweep(name: &str, trials: &[&str]) -> NewSweep {
    plan(name, trials, |trial| (1..=10).map(|epoch| state(&format!("{trial} {epoch}"))).collect())
}

/// A sweep of trials with an epoch a letter: what begins with the same letters shares the states after them.
pub(crate) fn tree(name: &str, trials: &[&str]) -> NewSweep {
    plan(name, trials, |trial| (1..=trial.len()).map(|epoch| state(&trial[..epoch])).collect())
}

/// A tree all of whose jobs read the weights of trials of these names.
pub(crate) fn students(name: &str, trials: &[&str], teachers: &[&str]) -> NewSweep {
    let sweep = tree(name, trials);
    let jobs = 0..u32::try_from(sweep.jobs.len()).unwrap();
    let requirements =
        jobs.flat_map(|job| teachers.iter().map(move |teacher| (job, state(teacher)))).collect();
    NewSweep { requirements, ..sweep }
}

#[derive(Debug)]
struct Named(Vec<String>);

impl TrialSource for Named {
    fn number(&self, index: usize) -> TrialNumber {
        TrialNumber(i64::try_from(index).unwrap() + 1)
    }

    fn trial(&self, index: usize) -> NewTrial {
        // As high as seeds go, since its bits are kept in a signed column.
        NewTrial { number: self.number(index), parameters: format!("\"{}\"", self.0[index]), seed: u64::MAX }
    }
}

/// A state in the tree, with the first trial that has it and the trials that end in it.
struct Node {
    state: StateHash,
    trial: usize,
    ends: Vec<usize>,
    children: Vec<Node>,
}

fn plan(name: &str, trials: &[&str], states: impl Fn(&str) -> Vec<StateHash>) -> NewSweep {
    let mut root = Node { state: state(""), trial: 0, ends: vec![], children: vec![] };
    for (index, trial) in trials.iter().enumerate() {
        let mut node = &mut root;
        for state in states(trial) {
            let known = node.children.iter().position(|child| child.state == state);
            let at = known.unwrap_or_else(|| {
                node.children.push(Node { state, trial: index, ends: vec![], children: vec![] });
                node.children.len() - 1
            });
            node = &mut node.children[at];
        }
        node.ends.push(index);
    }
    let mut sweep = NewSweep {
        name: name.to_owned(),
        spec: "spec".to_owned(),
        overrides: "[]".to_owned(),
        working_directory: "/".to_owned(),
        expansion_hash: name.to_owned(),
        metric: Some(Metric { name: "top1".to_owned(), goal: Goal::Maximize }),
        swept: "[\"job\"]".to_owned(),
        priority: 0,
        retries: 0,
        keep: Keep::Last,
        resources: "{}".to_owned(),
        code: None,
        contexts: vec!["context".to_owned()],
        jobs: vec![],
        inner_states: vec![],
        requirements: vec![],
        trial_ends: vec![0; trials.len()],
        trials: Arc::new(Named(trials.iter().map(|trial| (*trial).to_owned()).collect())),
    };
    for node in &root.children {
        cut(&mut sweep, node, None, 1);
    }
    sweep
}

/// Makes jobs of a node and all below it, depth first.
fn cut(sweep: &mut NewSweep, first: &Node, parent: Option<u32>, first_epoch: u32) {
    let inner_from = u32::try_from(sweep.inner_states.len()).unwrap();
    let (mut last, mut last_epoch) = (first, first_epoch);
    while let ([only], true) = (last.children.as_slice(), last.ends.is_empty()) {
        sweep.inner_states.push(last.state);
        last = only;
        last_epoch += 1;
    }
    let index = u32::try_from(sweep.jobs.len()).unwrap();
    sweep.jobs.push(NewJob {
        state: last.state,
        parent,
        trial: u32::try_from(first.trial).unwrap(),
        context: 0,
        cpus: 1,
        first_epoch,
        last_epoch,
        inner_from,
    });
    for &end in &last.ends {
        sweep.trial_ends[end] = index;
    }
    for child in &last.children {
        cut(sweep, child, Some(index), last_epoch + 1);
    }
}
