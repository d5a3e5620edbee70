//! The shadow average of the student that `eval_weights: average` evaluates (METHOD.md §3).

use sweep::recipe::Averaging;

use super::model::ResNet;
use super::reference::{average, weight};

/// An average of the student that nothing is trained on.
#[derive(Debug)]
pub struct Shadow {
    pub network: ResNet,
    /// How often it was updated.
    pub updates: u32,
}

impl Shadow {
    /// A shadow whose first update will make it a copy of `student`.
    #[must_use]
    pub fn new(student: &ResNet) -> Shadow {
        Shadow { network: student.frozen_copy(), updates: 0 }
    }

    /// Moves it towards `student`; `ratio` is the weight of the new value. Batch norm's statistics are the student's.
    pub fn update(&mut self, student: &ResNet, ratio: f64) {
        average(self.network.tensors(), student.tensors(), weight(Averaging::Ema { ratio }, self.updates));
        self.updates += 1;
    }
}
