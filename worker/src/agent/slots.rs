//! Which slots are free. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A slot's place among the agent's slots, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(pub(crate) usize);

/// What a slot stands for, and so how many of them a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// A share of a GPU: slot i is on GPU i modulo their number, so that the first slots are on different ones. A job takes
    /// slots on as many GPUs as it uses, or on all of them where it uses more, whatever number of CPUs it uses beside them.
    Gpu { gpus: usize },
    /// A CPU each: a job takes as many as it uses, or all of them where it uses more.
    Cpu,
}

/// What a job uses, as far as slots stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) cpus: u32,
    /// `None` where one slot's share of a GPU is meant, if there is a GPU.
    pub(crate) gpus: Option<u32>,
}

/// The agent's slots.
#[derive(Debug)]
pub(crate) struct Slots {
    kind: SlotKind,
    total: usize,
    free: BTreeSet<SlotId>,
}

impl Slots {
    /// `total` free slots; at least one.
    pub(crate) fn new(kind: SlotKind, total: usize) -> Slots {
        let total = total.max(1);
        Slots { kind, total, free: (0..total).map(SlotId).collect() }
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// How many slots such a job takes.
    pub(crate) fn needed(&self, need: Need) -> usize {
        let (wanted, most) = match self.kind {
            SlotKind::Gpu { gpus } => (need.gpus.unwrap_or(1), gpus.min(self.total)),
            SlotKind::Cpu => (need.cpus, self.total),
        };
        usize::try_from(wanted).unwrap_or(usize::MAX).clamp(1, most.max(1))
    }

    /// Takes the slots for such a job, or none where too few are free. Low slots come first, so that they are taken again
    /// and again: their trainers stay warm and high slots may never need one.
    pub(crate) fn take(&mut self, need: Need) -> Option<Vec<SlotId>> {
        let needed = self.needed(need);
        let taken: Vec<SlotId> = match self.kind {
            SlotKind::Gpu { gpus } => self.idlest(gpus).into_iter().take(needed).collect(),
            SlotKind::Cpu => self.free.iter().copied().take(needed).collect(),
        };
        if taken.len() < needed {
            return None;
        }
        for slot in &taken {
            self.free.remove(slot);
        }
        Some(taken)
    }

    /// The lowest free slot of each GPU that has one, those of GPUs with the most free slots first.
    fn idlest(&self, gpus: usize) -> Vec<SlotId> {
        let mut by_gpu: BTreeMap<usize, Vec<SlotId>> = BTreeMap::new();
        for &slot in &self.free {
            by_gpu.entry(slot.gpu(gpus)).or_default().push(slot);
        }
        let mut lists: Vec<Vec<SlotId>> = by_gpu.into_values().collect();
        lists.sort_by_key(|slots| (Reverse(slots.len()), slots[0]));
        lists.into_iter().map(|slots| slots[0]).collect()
    }

    pub(crate) fn give_back(&mut self, taken: &[SlotId]) {
        for &slot in taken {
            let was_taken = self.free.insert(slot);
            assert!(was_taken && slot.0 < self.total, "slot {} given back twice", slot.0);
        }
    }
}

impl SlotId {
    /// Which of so many GPUs the slot is on.
    pub(crate) fn gpu(self, gpus: usize) -> usize {
        self.0 % gpus.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cpus(cpus: u32) -> Need {
        Need { cpus, gpus: None }
    }

    const fn gpus(gpus: u32) -> Need {
        Need { cpus: 1, gpus: Some(gpus) }
    }

    #[test]
    fn a_job_takes_as_many_cpu_slots_as_it_uses() {
        let mut slots = Slots::new(SlotKind::Cpu, 4);
        let taken = slots.take(cpus(3)).unwrap();
        assert_eq!(taken, [SlotId(0), SlotId(1), SlotId(2)]);
        assert_eq!(slots.take(cpus(2)), None);
        assert_eq!(slots.free(), 1);
        slots.give_back(&taken);
        assert_eq!(slots.free(), 4);
    }

    #[test]
    fn a_job_larger_than_the_machine_takes_all_of_it() {
        let mut slots = Slots::new(SlotKind::Cpu, 2);
        assert_eq!(slots.take(cpus(64)).unwrap().len(), 2);
        assert_eq!(slots.take(cpus(1)), None);
    }

    #[test]
    fn a_job_takes_one_gpu_whatever_cpus_it_uses() {
        let mut slots = Slots::new(SlotKind::Gpu { gpus: 2 }, 2);
        assert_eq!(slots.take(cpus(5)).unwrap(), [SlotId(0)]);
        assert_eq!(slots.take(cpus(5)).unwrap(), [SlotId(1)]);
        assert_eq!(slots.take(cpus(0)), None);
    }

    #[test]
    fn a_job_of_several_gpus_takes_a_slot_on_each_or_on_all_that_there_are() {
        let mut slots = Slots::new(SlotKind::Gpu { gpus: 2 }, 4);
        let pair = slots.take(gpus(2)).unwrap();
        assert_eq!(pair, [SlotId(0), SlotId(1)]);
        assert_eq!(slots.take(gpus(8)).unwrap(), [SlotId(2), SlotId(3)]);
        assert_eq!(slots.take(gpus(1)), None);
        slots.give_back(&pair[..1]);
        assert_eq!(slots.take(gpus(2)), None, "one slot is free, on one GPU");
        assert_eq!(slots.take(gpus(0)).unwrap(), [SlotId(0)], "without a GPU it needs a slot all the same");
    }

    #[test]
    fn jobs_are_spread_over_gpus_before_two_share_one() {
        let mut slots = Slots::new(SlotKind::Gpu { gpus: 2 }, 4);
        let taken: Vec<_> = (0..3).map(|_| slots.take(gpus(1)).unwrap()[0]).collect();
        assert_eq!(taken, [SlotId(0), SlotId(1), SlotId(2)]);
        // What is left runs on GPU 0: the next job goes to the other one, whichever slot is lower.
        slots.give_back(&taken[..2]);
        assert_eq!(slots.take(gpus(1)).unwrap(), [SlotId(1)]);
    }
}
