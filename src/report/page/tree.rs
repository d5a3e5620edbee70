//! The stage tree in few enough blocks for a picture.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::protocol::insight::TreeStage;

/// More make no picture.
const MOST_BLOCKS: usize = 600;

/// A stage, or several last ones of the same epochs that go on from one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Place of the block that it continues.
    pub parent: Option<usize>,
    pub first: u32,
    pub last: u32,
    pub state: String,
    /// How many stages it stands for.
    pub stages: u64,
    /// How many trials end in it or below it.
    pub trials: u64,
    /// One of them.
    pub trial: i64,
}

/// Blocks, each behind the one that it continues, and how many stages are left out.
#[must_use]
pub fn blocks(stages: &[TreeStage]) -> (Vec<Block>, u64) {
    let parents: std::collections::BTreeSet<_> = stages.iter().filter_map(|stage| stage.parent).collect();
    let mut place_of = BTreeMap::new();
    let mut merged: BTreeMap<_, usize> = BTreeMap::new();
    let (mut blocks, mut left_out): (Vec<Block>, u64) = (Vec::new(), 0);
    for stage in stages {
        let parent = stage.parent.map(|job| place_of.get(&job).copied());
        if parent == Some(None) {
            left_out += 1;
            continue;
        }
        let parent = parent.flatten();
        let is_last = !parents.contains(&stage.job);
        let kind = (stage.parent, stage.first_epoch, stage.last_epoch, &stage.state);
        let place = match merged.get(&kind).filter(|_| is_last) {
            Some(place) => *place,
            None if blocks.len() >= MOST_BLOCKS => {
                left_out += 1;
                continue;
            }
            None => {
                blocks.push(Block {
                    parent,
                    first: stage.first_epoch,
                    last: stage.last_epoch,
                    state: stage.state.clone(),
                    stages: 0,
                    trials: 0,
                    trial: stage.trial.0,
                });
                blocks.len() - 1
            }
        };
        if is_last {
            merged.insert(kind, place);
        }
        blocks[place].stages += 1;
        place_of.insert(stage.job, place);
        let mut above = Some(place);
        while let Some(at) = above {
            blocks[at].trials += stage.ends;
            above = blocks[at].parent;
        }
    }
    (blocks, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{JobId, TrialNumber};

    fn stage(job: i64, parent: Option<i64>, epochs: (u32, u32), ends: u64) -> TreeStage {
        TreeStage {
            job: JobId(job),
            parent: parent.map(JobId),
            first_epoch: epochs.0,
            last_epoch: epochs.1,
            state: "succeeded".to_owned(),
            ends,
            trial: TrialNumber(job),
        }
    }

    #[test]
    fn last_stages_that_are_alike_are_one_block() {
        let stages = [
            stage(1, None, (1, 30), 0),
            stage(2, Some(1), (31, 50), 1),
            stage(3, Some(1), (31, 50), 2),
            stage(4, Some(1), (31, 35), 0),
            stage(5, Some(4), (36, 50), 1),
        ];
        let (blocks, left_out) = blocks(&stages);
        let shown: Vec<_> = blocks.iter().map(|b| (b.parent, b.first, b.last, b.stages, b.trials)).collect();
        assert_eq!(
            shown,
            [(None, 1, 30, 1, 4), (Some(0), 31, 50, 2, 3), (Some(0), 31, 35, 1, 1), (Some(2), 36, 50, 1, 1)]
        );
        assert_eq!(left_out, 0);
    }

    #[test]
    fn what_is_too_much_for_a_picture_is_counted() {
        let roots: Vec<TreeStage> =
            (1..=700).map(|job| stage(job, None, (1, u32::try_from(job).unwrap()), 1)).collect();
        let (blocks, left_out) = blocks(&roots);
        assert_eq!((blocks.len(), left_out), (MOST_BLOCKS, 100));
    }
}
