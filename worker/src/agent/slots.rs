//! Which slots are free. Pure.

use std::collections::BTreeSet;

/// A slot's place among the agent's slots, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(pub(crate) usize);

/// What a slot stands for, and so how many of them a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// A GPU each: a job takes one, whatever number of CPUs it uses beside it.
    Gpu,
    /// A CPU each: a job takes as many as it uses, or all of them where it uses more.
    Cpu,
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

    /// How many slots a job takes that uses `cpus` CPUs.
    pub(crate) fn needed(&self, cpus: u32) -> usize {
        match self.kind {
            SlotKind::Gpu => 1,
            SlotKind::Cpu => usize::try_from(cpus).unwrap_or(usize::MAX).clamp(1, self.total),
        }
    }

    /// Takes the slots for such a job, lowest first, or none where too few are free. Low slots are taken again and
    /// again, so that their trainers stay warm and high slots may never need one.
    pub(crate) fn take(&mut self, cpus: u32) -> Option<Vec<SlotId>> {
        let needed = self.needed(cpus);
        if self.free.len() < needed {
            return None;
        }
        let taken: Vec<SlotId> = self.free.iter().copied().take(needed).collect();
        for slot in &taken {
            self.free.remove(slot);
        }
        Some(taken)
    }

    pub(crate) fn give_back(&mut self, taken: &[SlotId]) {
        for &slot in taken {
            let was_taken = self.free.insert(slot);
            assert!(was_taken && slot.0 < self.total, "slot {} given back twice", slot.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_takes_as_many_cpu_slots_as_it_uses() {
        let mut slots = Slots::new(SlotKind::Cpu, 4);
        let taken = slots.take(3).unwrap();
        assert_eq!(taken, [SlotId(0), SlotId(1), SlotId(2)]);
        assert_eq!(slots.take(2), None);
        assert_eq!(slots.free(), 1);
        slots.give_back(&taken);
        assert_eq!(slots.free(), 4);
    }

    #[test]
    fn a_job_larger_than_the_machine_takes_all_of_it() {
        let mut slots = Slots::new(SlotKind::Cpu, 2);
        assert_eq!(slots.take(64).unwrap().len(), 2);
        assert_eq!(slots.take(1), None);
    }

    #[test]
    fn a_job_takes_one_gpu_whatever_cpus_it_uses() {
        let mut slots = Slots::new(SlotKind::Gpu, 2);
        assert_eq!(slots.take(5).unwrap(), [SlotId(0)]);
        assert_eq!(slots.take(5).unwrap(), [SlotId(1)]);
        assert_eq!(slots.take(0), None);
    }
}
