use safetensors::{Dtype, SafeTensors};

use super::error::Damage;

pub(super) const IMAGES: &str = "images";
pub(super) const LABELS: &str = "labels";
/// Red, green and blue.
pub(super) const CHANNELS: usize = 3;

/// The images of one split and their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split<'a> {
    /// Pixels `[count, 3, height, width]`, row-major, channels in the order red, green, blue.
    pub images: &'a [u8],
    /// For each image the index of its class.
    pub labels: Vec<i64>,
    pub count: usize,
    pub height: usize,
    pub width: usize,
}

impl<'a> Split<'a> {
    /// Reads a split's file: safetensors with `images` u8 `[N, 3, H, W]` and `labels` i64 `[N]`.
    pub(super) fn parse(file: &'a [u8]) -> Result<Split<'a>, Damage> {
        let tensors = SafeTensors::deserialize(file).map_err(Damage::NotTensors)?;
        let images = tensors.tensor(IMAGES).map_err(Damage::NotTensors)?;
        let labels = tensors.tensor(LABELS).map_err(Damage::NotTensors)?;
        let &[count, CHANNELS, height, width] = images.shape() else {
            return Err(Damage::WrongTensor { tensor: IMAGES });
        };
        if images.dtype() != Dtype::U8 {
            return Err(Damage::WrongTensor { tensor: IMAGES });
        }
        if labels.dtype() != Dtype::I64 || labels.shape() != [count] {
            return Err(Damage::WrongTensor { tensor: LABELS });
        }
        let (labels, _) = labels.data().as_chunks();
        let labels = labels.iter().copied().map(i64::from_le_bytes).collect();
        Ok(Split { images: images.data(), labels, count, height, width })
    }

    /// BLAKE3 of shape, images and labels, in hexadecimal.
    pub(super) fn checksum(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for side in [self.count, self.height, self.width] {
            hasher.update(&(side as u64).to_le_bytes());
        }
        hasher.update(self.images);
        for label in &self.labels {
            hasher.update(&label.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}
