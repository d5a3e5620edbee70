//! The stage tree: trials that agree share their first epochs.
//!
//! A trial comes in as the states after its epochs. A state's name covers all that led to it, so two trials are in the same
//! state exactly where the names agree, and a stage is found by the name of its first state alone.

use std::collections::HashMap;
use std::ops::Range;

use crate::vocabulary::StateHash;

/// Stages and the states in them.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) stages: Vec<Stage>,
    /// States of all stages; each has a range of its own.
    states: Vec<StateHash>,
}

/// A tree that trials are still added to.
#[derive(Debug, Default)]
pub(super) struct GrowingTree {
    pub(super) tree: Tree,
    /// Stages by their first state. Only growing needs it, and it is as large as a large sweep.
    starting_with: HashMap<StateHash, u32>,
}

/// A run of epochs that is trained once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) parent: Option<u32>,
    pub(super) first_epoch: u32,
    /// Place of the first trial that goes through it among all trials; it is run with that trial's parameters.
    pub(super) trial: u32,
    states: Range<u32>,
}

impl Stage {
    pub(super) fn last_epoch(&self) -> u32 {
        self.first_epoch + self.epochs() - 1
    }

    pub(super) fn epochs(&self) -> u32 {
        self.states.end - self.states.start
    }
}

/// Indices into the tree are of 32 bits: a tree that large would not fit into memory.
fn index(n: usize) -> u32 {
    u32::try_from(n).expect("four billion states don't fit into memory")
}

impl GrowingTree {
    /// Adds a trial and gives the stage in which it ends. `states` are those after each of its epochs, at least one.
    pub(super) fn insert(&mut self, states: &[StateHash], trial: u32) -> u32 {
        let (mut parent, mut done) = (None, 0);
        loop {
            let rest = &states[done..];
            let Some(&found) = self.starting_with.get(&rest[0]) else {
                return self.append(parent, index(done) + 1, rest, trial);
            };
            let own = self.tree.states_of(found);
            let common = own.iter().zip(rest).take_while(|(one, other)| one == other).count();
            let stage = if common < own.len() { self.split(found, index(common)) } else { found };
            done += common;
            if done == states.len() {
                return stage;
            }
            parent = Some(stage);
        }
    }

    fn append(&mut self, parent: Option<u32>, first_epoch: u32, states: &[StateHash], trial: u32) -> u32 {
        let start = index(self.tree.states.len());
        self.tree.states.extend_from_slice(states);
        let stage = Stage { parent, first_epoch, trial, states: start..index(self.tree.states.len()) };
        self.add(stage)
    }

    fn add(&mut self, stage: Stage) -> u32 {
        let number = index(self.tree.stages.len());
        self.starting_with.insert(self.tree.states[stage.states.start as usize], number);
        self.tree.stages.push(stage);
        number
    }

    /// Makes a stage of the first `epochs` of another; that one keeps the others, and the trials that end in it.
    fn split(&mut self, number: u32, epochs: u32) -> u32 {
        let lower = &mut self.tree.stages[number as usize];
        let middle = lower.states.start + epochs;
        let upper = Stage { states: lower.states.start..middle, ..lower.clone() };
        lower.states.start = middle;
        lower.first_epoch += epochs;
        let first = self.tree.states[middle as usize];
        let upper = self.add(upper);
        self.tree.stages[number as usize].parent = Some(upper);
        self.starting_with.insert(first, number);
        upper
    }
}

impl Tree {
    /// The states after each epoch of a stage.
    pub(super) fn states_of(&self, stage: u32) -> &[StateHash] {
        let range = &self.stages[stage as usize].states;
        &self.states[range.start as usize..range.end as usize]
    }

    /// Epochs of all stages.
    pub(super) fn count_epochs(&self) -> usize {
        self.states.len()
    }

    /// Stages as the trials need them one after the other: what a trial goes through first comes first.
    pub(super) fn by_trial(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..index(self.stages.len())).collect();
        order.sort_unstable_by_key(|&number| {
            let stage = &self.stages[number as usize];
            (stage.trial, stage.first_epoch)
        });
        order
    }

    /// Stages depth first: one stage's descendants come before the next stage beside it.
    pub(super) fn depth_first(&self) -> Vec<u32> {
        let count = self.stages.len();
        // Children as linked lists, since most sweeps have as many stages as trials: a list for each would be large.
        let (mut first_child, mut next_sibling) = (vec![None; count], vec![None; count]);
        let mut first_root = None;
        for &number in self.by_trial().iter().rev() {
            let first = match self.stages[number as usize].parent {
                Some(parent) => &mut first_child[parent as usize],
                None => &mut first_root,
            };
            next_sibling[number as usize] = first.replace(number);
        }
        let mut order = Vec::with_capacity(count);
        let mut waiting: Vec<u32> = first_root.into_iter().collect();
        while let Some(number) = waiting.pop() {
            order.push(number);
            waiting.extend(next_sibling[number as usize]);
            waiting.extend(first_child[number as usize]);
        }
        order
    }

    /// The most checkpoints that are needed at once when one worker runs the stages in this order: those of stages that are
    /// done and have a child that is not.
    pub(super) fn live_checkpoints(&self, order: &[u32]) -> usize {
        let mut open_children = vec![0_u32; self.stages.len()];
        for parent in self.stages.iter().filter_map(|stage| stage.parent) {
            open_children[parent as usize] += 1;
        }
        let (mut live, mut most) = (0, 0);
        for &number in order {
            // It is written before its parent's is let go.
            live += usize::from(open_children[number as usize] > 0);
            most = most.max(live);
            if let Some(parent) = self.stages[number as usize].parent {
                open_children[parent as usize] -= 1;
                live -= usize::from(open_children[parent as usize] == 0);
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// States of a trial whose epochs are these letters.
    fn states(epochs: &[u8]) -> Vec<StateHash> {
        let mut state = StateHash::of(b"start");
        let next = |epoch: &u8| {
            state = state.then(StateHash::of(&[*epoch]));
            state
        };
        epochs.iter().map(next).collect()
    }

    fn tree(trials: &[&[u8]]) -> (Tree, Vec<u32>) {
        let mut growing = GrowingTree::default();
        let ends =
            trials.iter().enumerate().map(|(trial, epochs)| growing.insert(&states(epochs), index(trial)));
        let ends = ends.collect();
        (growing.tree, ends)
    }

    /// First and last epoch, trial and parent of each stage in an order.
    fn shape(tree: &Tree, order: &[u32]) -> Vec<(u32, u32, u32, Option<usize>)> {
        let place = |number: u32| order.iter().position(|&other| other == number).unwrap();
        order
            .iter()
            .map(|&number| &tree.stages[number as usize])
            .map(|stage| (stage.first_epoch, stage.last_epoch(), stage.trial, stage.parent.map(place)))
            .collect()
    }

    #[test]
    fn equal_prefixes_are_one_stage() {
        let (tree, _) = tree(&[b"aaab", b"aaac", b"aad"]);
        assert_eq!(
            shape(&tree, &tree.depth_first()),
            [(1, 2, 0, None), (3, 3, 0, Some(0)), (4, 4, 0, Some(1)), (4, 4, 1, Some(1)), (3, 3, 2, Some(0))]
        );
    }

    #[test]
    fn a_trial_that_is_the_beginning_of_another_ends_in_the_stage_above_it() {
        let (tree, ends) = tree(&[b"aabb", b"aa", b"aabb"]);
        assert_eq!(shape(&tree, &tree.depth_first()), [(1, 2, 0, None), (3, 4, 0, Some(0))]);
        assert_eq!(tree.stages[ends[1] as usize].last_epoch(), 2);
        assert_eq!(ends[0], ends[2]);
    }

    #[test]
    fn depth_first_finishes_a_subtree_before_the_next_and_by_trial_follows_the_trials() {
        // Two roots whose trials alternate.
        let (tree, _) = tree(&[b"xa", b"ya", b"xb", b"yb"]);
        let first = |order: Vec<u32>| shape(&tree, &order).iter().map(|stage| stage.2).collect::<Vec<_>>();
        assert_eq!(first(tree.depth_first()), [0, 0, 2, 1, 1, 3]);
        assert_eq!(first(tree.by_trial()), [0, 0, 1, 1, 2, 3]);
        assert_eq!(tree.live_checkpoints(&tree.depth_first()), 1);
        assert_eq!(tree.live_checkpoints(&tree.by_trial()), 2);
    }

    proptest! {
        #[test]
        fn the_tree_holds_the_trials_that_went_in_and_each_state_once(
            trials in prop::collection::vec(prop::collection::vec(0_u8..3, 1..7), 1..20)
        ) {
            let slices: Vec<&[u8]> = trials.iter().map(Vec::as_slice).collect();
            let (tree, ends) = tree(&slices);
            for (epochs, end) in trials.iter().zip(&ends) {
                let mut path = Vec::new();
                let mut at = Some(*end);
                while let Some(number) = at {
                    path.splice(0..0, tree.states_of(number).iter().copied());
                    at = tree.stages[number as usize].parent;
                }
                prop_assert_eq!(path, states(epochs));
            }
            let distinct: BTreeSet<_> = trials.iter().flat_map(|epochs| states(epochs)).collect();
            let epochs: u32 = tree.stages.iter().map(Stage::epochs).sum();
            prop_assert_eq!(epochs as usize, distinct.len());
            for order in [tree.depth_first(), tree.by_trial()] {
                prop_assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), tree.stages.len());
                let place: BTreeMap<_, _> = order.iter().enumerate().map(|(at, number)| (*number, at)).collect();
                for (number, stage) in tree.stages.iter().enumerate() {
                    let after_parent = stage.parent.is_none_or(|parent| place[&parent] < place[&index(number)]);
                    prop_assert!(after_parent);
                    let begins = stage.parent.map_or(1, |parent| tree.stages[parent as usize].last_epoch() + 1);
                    prop_assert_eq!(stage.first_epoch, begins);
                }
            }
            // A stage without a fork below it goes on in one piece, unless a trial ends there.
            for (number, stage) in tree.stages.iter().enumerate() {
                let children = tree.stages.iter().filter(|child| child.parent == Some(index(number))).count();
                prop_assert!(children != 1 || ends.contains(&index(number)), "{:?} was cut for nothing", stage);
            }
            // Depth first, the live checkpoints are those on one way down.
            let depth = |mut number: u32| {
                let mut depth = 1;
                while let Some(parent) = tree.stages[number as usize].parent {
                    (number, depth) = (parent, depth + 1);
                }
                depth
            };
            let deepest = (0..index(tree.stages.len())).map(depth).max().unwrap_or(0);
            prop_assert!(tree.live_checkpoints(&tree.depth_first()) < deepest.max(1) || deepest == 1);
        }
    }

    /// The most checkpoints that are live when so many workers run the stages of an order, each the first one that is ready or,
    /// before that, one that goes on from what it has just done. `durations` decide who is done first.
    fn live_with(tree: &Tree, order: &[u32], workers: usize, durations: &[u32]) -> usize {
        let count = tree.stages.len();
        let children =
            |parent: u32| (0..count).filter(move |&child| tree.stages[child].parent == Some(parent));
        let (mut is_done, mut is_begun) = (vec![false; count], vec![false; count]);
        // When the worker is done, with what.
        let mut busy: Vec<Option<(u32, u32)>> = vec![None; workers];
        let mut near: Vec<Option<u32>> = vec![None; workers];
        let (mut now, mut most) = (0, 0);
        loop {
            for worker in 0..workers {
                let ready = |number: &&u32| {
                    let parent = tree.stages[**number as usize].parent;
                    !is_begun[**number as usize] && parent.is_none_or(|parent| is_done[parent as usize])
                };
                if busy[worker].is_some() {
                    continue;
                }
                let is_near = |number: &&u32| {
                    near[worker].is_some() && tree.stages[**number as usize].parent == near[worker]
                };
                let next = order.iter().filter(ready).find(is_near).or_else(|| order.iter().find(ready));
                if let Some(&number) = next {
                    is_begun[number as usize] = true;
                    busy[worker] = Some((now + durations[number as usize % durations.len()], number));
                }
            }
            let Some((worker, (done_at, number))) = (0..workers)
                .filter_map(|worker| Some((worker, busy[worker]?)))
                .min_by_key(|(_, (at, _))| *at)
            else {
                assert!(is_done.iter().all(|done| *done), "everything is run");
                return most;
            };
            (now, busy[worker], is_done[number as usize]) = (done_at, None, true);
            let has_children = children(number).next().is_some();
            near[worker] = if has_children { Some(number) } else { tree.stages[number as usize].parent };
            let is_live =
                |&stage: &usize| is_done[stage] && children(stage as u32).any(|child| !is_done[child]);
            most = most.max((0..count).filter(is_live).count());
        }
    }

    proptest! {
        #[test]
        fn workers_keep_the_checkpoints_of_one_way_down_each(
            trials in prop::collection::vec(prop::collection::vec(0_u8..3, 1..6), 1..25),
            workers in 1_usize..5,
            durations in prop::collection::vec(1_u32..50, 1..30),
        ) {
            let slices: Vec<&[u8]> = trials.iter().map(Vec::as_slice).collect();
            let (tree, _) = tree(&slices);
            let depth = |mut number: u32| {
                let mut depth = 1;
                while let Some(parent) = tree.stages[number as usize].parent {
                    (number, depth) = (parent, depth + 1);
                }
                depth
            };
            let levels = (0..index(tree.stages.len())).map(depth).max().unwrap_or(1) - 1;
            let live = live_with(&tree, &tree.depth_first(), workers, &durations);
            prop_assert!(live <= workers * levels, "{live} with {workers} workers and {levels} levels");
        }
    }
}
