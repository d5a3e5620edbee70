//! What a step takes in besides the state: which images, how each is seen, what is masked. Drawn one step ahead by a thread
//! of its own, in plain numbers, so that nothing waits for it and libtorch's threads are left alone.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use sweep::recipe::{Masking, Method, Recipe};
use tch::Device;

use super::augment::{View, draw_views};
use super::mask::{DrawnMask, Mask, draw_masks};
use super::random::{Purpose, Step, draw};

/// Inputs that may wait: one is enough to never be waited for, and more would only use memory.
const AHEAD: usize = 1;

/// The inputs of one step.
#[derive(Debug)]
pub struct Input {
    pub at: Step,
    /// Numbers of the images.
    pub samples: Vec<i64>,
    pub views: Vec<View>,
    /// Empty before the method's start, and where nothing is masked.
    pub masks: Vec<DrawnMask>,
}

impl Input {
    /// The masks for features of `width` channels, on `device`.
    #[must_use]
    pub fn masks_on(&self, recipe: &Recipe, width: i64, device: Device) -> Vec<Mask> {
        match &recipe.method {
            Method::Mask(_, masking) => {
                self.masks.iter().map(|mask| mask.to_device(masking, width, device)).collect()
            }
            Method::Kd(_) | Method::Ce => Vec::new(),
        }
    }
}

/// An epoch whose inputs are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    pub seed: u64,
    /// Counted from 1.
    pub number: u32,
    pub images: u32,
    pub batch_size: usize,
    /// Steps that are done already.
    pub first_step: u32,
    /// The masks of a step, for so many channels.
    pub masking: Option<(Masking, usize)>,
}

impl Epoch {
    /// How many images the steps that are left have.
    #[must_use]
    pub fn images_left(&self) -> usize {
        (self.images as usize).saturating_sub(self.first_step as usize * self.batch_size)
    }

    /// How features are masked during the epoch, in which the method has started or not.
    #[must_use]
    pub fn masking_of(recipe: &Recipe, has_started: bool) -> Option<Masking> {
        match recipe.method {
            Method::Mask(_, masking) if has_started => Some(masking),
            Method::Mask(..) | Method::Kd(_) | Method::Ce => None,
        }
    }
}

/// Starts to draw the inputs of `epoch` in order. The thread ends when they are drawn or nobody wants them any more.
pub fn draw_ahead<'scope>(scope: &'scope Scope<'scope, '_>, epoch: Epoch) -> Receiver<Input> {
    let (sender, inputs) = sync_channel(AHEAD);
    scope.spawn(move || {
        let order = draw(epoch.seed, Purpose::Shuffle, epoch.number, 0).permutation(epoch.images);
        let batches = (0..).zip(order.chunks(epoch.batch_size));
        for (step, samples) in batches.skip_while(|(step, _)| *step < epoch.first_step) {
            let at = Step { seed: epoch.seed, epoch: epoch.number, step };
            let masks = epoch
                .masking
                .map(|(masking, width)| draw_masks(at, &masking, samples.len(), width))
                .unwrap_or_default();
            let input = Input { at, samples: samples.to_vec(), views: draw_views(at, samples.len()), masks };
            if sender.send(input).is_err() {
                return;
            }
        }
    });
    inputs
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const EPOCH: Epoch =
        Epoch { seed: 4, number: 2, images: 10, batch_size: 4, first_step: 0, masking: None };

    fn samples(epoch: Epoch) -> Vec<(u32, Vec<i64>)> {
        thread::scope(|scope| {
            draw_ahead(scope, epoch).iter().map(|input| (input.at.step, input.samples)).collect()
        })
    }

    #[test]
    fn every_image_is_seen_once_and_the_last_batch_is_partial() {
        let steps = samples(EPOCH);
        assert_eq!(steps.iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [4, 4, 2]);
        let mut all: Vec<_> = steps.into_iter().flat_map(|(_, samples)| samples).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn an_epoch_taken_up_again_gives_the_steps_that_are_left() {
        assert_eq!(samples(Epoch { first_step: 2, ..EPOCH }), samples(EPOCH)[2..]);
        assert!(samples(Epoch { first_step: 3, ..EPOCH }).is_empty());
    }

    #[test]
    fn nobody_who_wants_inputs_ends_the_thread() {
        // The scope ends only with its threads.
        thread::scope(|scope| drop(draw_ahead(scope, Epoch { images: 100_000, ..EPOCH })));
    }
}
