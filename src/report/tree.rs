//! The stage tree as people read it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::plan::{Plan, PlannedJob};
use crate::spec::{Spec, Trial};

/// A line for each stage, below the one that it continues: its epochs, what all its trials have in common and those around
/// it don't, and which trials they are.
#[must_use]
pub fn stage_tree(spec: &Spec, plan: &Plan) -> String {
    let jobs: Vec<_> = plan.jobs().collect();
    let mut children = vec![Vec::new(); jobs.len()];
    let mut roots = Vec::new();
    for (place, job) in jobs.iter().enumerate() {
        match job.parent {
            Some(parent) => children[parent as usize].push(place),
            None => roots.push(place),
        }
    }
    let below = below(spec, plan, &jobs);
    let drawing = Drawing { jobs: &jobs, children: &children, below: &below };
    let mut text = String::new();
    for root in roots {
        drawing.stage(root, ["", ""], &Values::new(), &mut text);
    }
    text
}

type Values = BTreeMap<String, Value>;

/// The trials that go through a stage.
#[derive(Debug, Clone)]
struct Below {
    trials: usize,
    first: i64,
    common: Values,
}

impl Below {
    fn merge(&mut self, other: &Below) {
        self.trials += other.trials;
        self.first = self.first.min(other.first);
        self.common.retain(|name, value| other.common.get(name) == Some(value));
    }
}

fn below(spec: &Spec, plan: &Plan, jobs: &[PlannedJob<'_>]) -> Vec<Option<Below>> {
    let mut below: Vec<Option<Below>> = vec![None; jobs.len()];
    let add = |below: &mut Option<Below>, more: Below| match below {
        Some(sum) => sum.merge(&more),
        None => *below = Some(more),
    };
    for planned in &plan.trials {
        let Some(trial) = spec.trial(planned.number) else { continue };
        let own = Below { trials: 1, first: planned.number.0, common: swept_values(spec, &trial) };
        add(&mut below[planned.job as usize], own);
    }
    // Children come after their parent, so that from the end on each is complete before it is added.
    for (place, job) in jobs.iter().enumerate().rev() {
        if let (Some(parent), Some(own)) = (job.parent, below[place].clone()) {
            add(&mut below[parent as usize], own);
        }
    }
    below
}

fn swept_values(spec: &Spec, trial: &Trial) -> Values {
    let value = |name: &&str| Some(((*name).to_owned(), trial.parameters.get(*name)?.clone()));
    let mut values: Values = spec.swept().iter().filter_map(value).collect();
    if spec.seeds.len() > 1 {
        values.insert("seed".to_owned(), trial.seed.into());
    }
    values
}

struct Drawing<'d> {
    jobs: &'d [PlannedJob<'d>],
    children: &'d [Vec<usize>],
    below: &'d [Option<Below>],
}

impl Drawing<'_> {
    /// `indents`: what stands before this line, and before those below it. `said`: what the lines above have in common.
    fn stage(&self, place: usize, indents: [&str; 2], said: &Values, text: &mut String) {
        let (job, Some(below)) = (&self.jobs[place], &self.below[place]) else { return };
        let news = below.common.iter().filter(|(name, value)| said.get(*name) != Some(value));
        let news: String = news.map(|(name, value)| format!("  {name}={}", plain(value))).collect();
        let trials = match below.trials {
            1 => format!("trial {}", below.first),
            more => format!("{more} trials"),
        };
        let epochs = match job.first_epoch == job.last_epoch {
            true => format!("epoch {}", job.first_epoch),
            false => format!("epochs {}–{}", job.first_epoch, job.last_epoch),
        };
        writeln!(text, "{}{epochs}{news}  ({trials})", indents[0]).expect("a string takes everything");
        let children = &self.children[place];
        for (number, &child) in children.iter().enumerate() {
            let is_last = number + 1 == children.len();
            let [branch, rest] = if is_last { ["└─ ", "   "] } else { ["├─ ", "│  "] };
            let indents = [branch, rest].map(|part| format!("{}{part}", indents[1]));
            self.stage(child, [&indents[0], &indents[1]], &below.common, text);
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Choice, Surroundings, plan, uses_of_datasets};
    use crate::spec::parse;

    #[test]
    fn a_tree_shows_what_its_branches_differ_in() {
        let text = "seeds: 2\nparameters: {method: [ce, kd], epochs: 12, lr_steps: [[4], [6]], eval_every: 12, \
                    method_start: 7, method_every: 1, loss_weight: 1}";
        let spec = parse("s.yaml", text, &[]).unwrap();
        let uses = uses_of_datasets(&spec).unwrap().into_iter();
        let around = Surroundings {
            dataset_checksums: uses.map(|used| (used, String::new())).collect(),
            ..Surroundings::default()
        };
        let plan = plan(&spec, &around, Choice::default()).unwrap();
        insta::assert_snapshot!(stage_tree(&spec, &plan));
    }
}
