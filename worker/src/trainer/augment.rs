//! Augmentation: where each image of a batch is cropped, and whether it is mirrored (METHOD.md §2).

use super::random::{Purpose, Step};

/// Zero pixels on every side of a training image before the crop.
pub const CROP_PADDING: u32 = 4;

/// Which part of a padded image is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// First row, counted in the padded image.
    pub top: u32,
    /// First column, counted in the padded image.
    pub left: u32,
    /// Columns in reverse order.
    pub is_mirrored: bool,
}

impl View {
    /// The image itself, `padding` pixels from the corner.
    #[must_use]
    pub fn centred(padding: u32) -> View {
        View { top: padding, left: padding, is_mirrored: false }
    }
}

/// The views of `count` images at one step of training: crops uniform over all places, one half mirrored.
#[must_use]
pub fn draw_views(at: Step, count: usize) -> Vec<View> {
    let (mut crops, mut flips) = (at.draw(Purpose::Crop), at.draw(Purpose::Flip));
    let places = 2 * CROP_PADDING + 1;
    (0..count)
        .map(|_| View { top: crops.below(places), left: crops.below(places), is_mirrored: flips.coin() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crop_occurs_and_about_half_are_mirrored() {
        let views = draw_views(Step { seed: 1, epoch: 1, step: 0 }, 8100);
        let mirrored = views.iter().filter(|view| view.is_mirrored).count();
        let mut places = [[0_u32; 9]; 9];
        for view in &views {
            places[view.top as usize][view.left as usize] += 1;
        }
        // 4,050 and 100 expected; the deviations are 45 and 10.
        assert!((3825..4275).contains(&mirrored), "{mirrored}");
        assert!(places.iter().flatten().all(|count| (50..150).contains(count)), "{places:?}");
    }
}
