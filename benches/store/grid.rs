//! A command grid of any size as a sweep to store. Its trials are computed from the spec, whenever they are asked for.

use std::sync::Arc;

use sweep::spec::{self, Spec};
use sweep::store::{Keep, NewJob, NewSweep, NewTrial, TrialSource};
use sweep::vocabulary::{StateHash, TrialNumber};

/// In which order the jobs lie in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Listed,
    Shuffled,
}

#[derive(Debug)]
pub(crate) struct Grid {
    spec: Spec,
}

impl Grid {
    /// Three axes that multiply to as many trials, or the next cube.
    pub(crate) fn new(name: &str, trials: u32) -> Grid {
        let (a, b) = match trials {
            0..2_000 => (10, 10),
            _ => (100, 100),
        };
        let values = |count: u32, step: f64| {
            let values = (1..=count).map(|value| format!("{:.6}", f64::from(value) * step));
            values.collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "name: {name}\ncommand: [python, train.py, '--lr={{{{lr}}}}', '--wd={{{{weight_decay}}}}']\nparameters:\n  \
             lr: [{}]\n  weight_decay: [{}]\n  momentum: [{}]\n",
            values(a, 0.001),
            values(b, 0.0001),
            values(trials / (a * b), 0.000_01),
        );
        Grid { spec: spec::parse("grid.yaml", &text, &[]).unwrap() }
    }

    /// Expands and plans it: a job a trial.
    pub(crate) fn into_sweep(self, order: Order) -> NewSweep {
        let trials = u32::try_from(self.spec.number_count()).unwrap();
        let mut order_of_jobs: Vec<u32> = (0..trials).collect();
        if order == Order::Shuffled {
            shuffle(&mut order_of_jobs);
        }
        let mut trial_ends = vec![0; trials as usize];
        let mut jobs = Vec::with_capacity(trials as usize);
        for trial in order_of_jobs {
            trial_ends[trial as usize] = u32::try_from(jobs.len()).unwrap();
            let NewTrial { parameters, seed, .. } = self.trial(trial as usize);
            let cause = [self.spec.name.as_bytes(), parameters.as_bytes(), &seed.to_le_bytes()].concat();
            jobs.push(NewJob {
                state: StateHash::of(&cause),
                parent: None,
                trial,
                context: 0,
                cpus: 1,
                first_epoch: 1,
                last_epoch: 1,
                inner_from: 0,
            });
        }
        NewSweep {
            name: self.spec.name.clone(),
            spec: "grid".to_owned(),
            overrides: "[]".to_owned(),
            working_directory: "/".to_owned(),
            expansion_hash: self.spec.name.clone(),
            metric: None,
            swept: "[]".to_owned(),
            priority: 0,
            retries: 0,
            keep: Keep::Last,
            resources: "{}".to_owned(),
            code: None,
            contexts: vec![r#"{"trainer":"command","command":["true"]}"#.to_owned()],
            jobs,
            inner_states: vec![],
            requirements: vec![],
            trial_ends,
            trials: Arc::new(self),
        }
    }
}

impl TrialSource for Grid {
    fn number(&self, index: usize) -> TrialNumber {
        TrialNumber(i64::try_from(index).unwrap() + 1)
    }

    fn trial(&self, index: usize) -> NewTrial {
        let trial = self.spec.trial(self.number(index)).unwrap();
        let parameters = serde_json::to_string(&trial.parameters).unwrap();
        NewTrial { number: trial.number, parameters, seed: trial.seed }
    }
}

/// The same order in every run.
pub(crate) fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for end in (1..items.len()).rev() {
        items.swap(end, draw(&mut state) as usize % (end + 1));
    }
}

/// A number that looks like chance (xorshift).
pub(crate) fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}
