//! Images of a dataset on the device that trains, and the batches that are gathered from them.
//!
//! A split lies there once, as padded bytes `[N × H' × W', 3]`: a pixel is a row, so a batch is one gather of rows, and
//! what it gives is channels-last already.

use std::collections::BTreeMap;
use std::path::Path;

use sweep::dataset::{Dataset, Split, TEST, TRAIN};
use sweep::recipe::{PIXEL_MEAN, PIXEL_STANDARD_DEVIATION};
use tch::{Device, Kind, Tensor};

use super::augment::{CROP_PADDING, View};
use super::device::upload;
use super::error::TrainError;

/// All that one dataset gives to training and evaluation.
#[derive(Debug)]
pub struct Data {
    /// How many classes the network tells apart, at least 2.
    pub classes: i64,
    /// Padded by [`CROP_PADDING`].
    pub train: Images,
    pub test: Images,
    /// The extra evaluation sets that are reported on, by name.
    pub extra: BTreeMap<String, Images>,
}

/// Which dataset a job needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// `None` means all that it has.
    pub eval_sets: Option<Vec<String>>,
    /// Of train, test and these evaluation sets.
    pub checksum: String,
}

/// The splits of a dataset before they go to a device.
pub struct Splits<'a> {
    pub classes: usize,
    pub train: Split<'a>,
    pub test: Split<'a>,
    pub extra: Vec<(String, Split<'a>)>,
}

/// One split on a device.
#[derive(Debug)]
pub struct Images {
    /// u8 `[N × H' × W', 3]`.
    pixels: Tensor,
    /// i64 `[N]`.
    labels: Tensor,
    normaliser: Normaliser,
    pub count: usize,
    height: i64,
    width: i64,
    padding: u32,
}

/// What one step works on.
#[derive(Debug)]
pub struct Batch {
    /// Float `[B, 3, H, W]`, channels-last, normalised.
    pub images: Tensor,
    /// i64 `[B]`.
    pub labels: Tensor,
}

impl Data {
    /// Where the images lie.
    #[must_use]
    pub fn device(&self) -> Device {
        self.train.pixels.device()
    }

    /// Reads the dataset that `wanted` describes from the folder `root` onto `device`.
    ///
    /// # Errors
    /// [`TrainError::Dataset`] where it can't be read, [`TrainError::BadConfig`] where it has other contents than the
    /// job was planned for, or can't be trained on.
    pub fn open(root: &Path, wanted: &Wanted, device: Device) -> Result<Data, TrainError> {
        let Wanted { name, eval_sets, checksum } = wanted;
        let dataset = Dataset::open(root, name)?;
        let found = dataset.manifest.checksum_for(eval_sets.as_deref())?;
        if found != *checksum {
            return Err(TrainError::BadConfig(format!(
                "dataset `{name}` in `{}` has the checksum `{found}`, the job was planned for `{checksum}`; import the \
                 same files on this node, or submit the sweep again where the dataset was changed on purpose",
                root.display()
            )));
        }
        let sets = eval_sets.as_ref().unwrap_or(&dataset.manifest.eval_sets);
        let extra = sets
            .iter()
            .map(|set| Ok((set.clone(), dataset.split(set)?)))
            .collect::<Result<_, TrainError>>()?;
        let classes = dataset.manifest.classes.len();
        let (train, test) = (dataset.split(TRAIN)?, dataset.split(TEST)?);
        Data::load(Splits { classes, train, test, extra }, device)
    }

    /// Copies `splits` onto `device`.
    ///
    /// # Errors
    /// [`TrainError::BadConfig`] for fewer than two classes, an empty split or a label that is no class.
    pub fn load(splits: Splits<'_>, device: Device) -> Result<Data, TrainError> {
        if splits.classes < 2 {
            return Err(TrainError::BadConfig(format!(
                "the dataset has {} class(es); training needs at least 2",
                splits.classes
            )));
        }
        let classes = count(splits.classes);
        let load = |name: &str, split: &Split<'_>, padding| {
            check_split(name, split, classes)?;
            Images::load(split, padding, device)
        };
        Ok(Data {
            classes,
            train: load(TRAIN, &splits.train, CROP_PADDING)?,
            test: load(TEST, &splits.test, 0)?,
            extra: splits
                .extra
                .iter()
                .map(|(name, split)| Ok((name.clone(), load(name, split, 0)?)))
                .collect::<Result<_, TrainError>>()?,
        })
    }
}

/// Refuses what libtorch would answer with a broken device (labels) or with a figure that means nothing (no images).
fn check_split(name: &str, split: &Split<'_>, classes: i64) -> Result<(), TrainError> {
    if split.count == 0 {
        return Err(TrainError::BadConfig(format!("the split `{name}` of the dataset has no images")));
    }
    match split.labels.iter().find(|label| !(0..classes).contains(*label)) {
        Some(label) => Err(TrainError::BadConfig(format!(
            "the split `{name}` of the dataset has the label `{label}`, but its classes are 0 to {}",
            classes - 1
        ))),
        None => Ok(()),
    }
}

impl Images {
    fn load(split: &Split<'_>, padding: u32, device: Device) -> Result<Images, TrainError> {
        /// Images that are moved together: the whole split at once would need its size several times over.
        const PIECE: usize = 1000;
        let (images, height, width) = (count(split.count), count(split.height), count(split.width));
        let side = i64::from(padding);
        let (padded_height, padded_width) = (height + 2 * side, width + 2 * side);
        let bytes = (Kind::Uint8, Device::Cpu);
        let pixels = Tensor::f_zeros([images, padded_height, padded_width, 3], bytes)?; // [N, H', W', 3]
        let inside = pixels.f_narrow(1, side, height)?.f_narrow(2, side, width)?; // [N, H, W, 3]
        let image_bytes = 3 * split.height * split.width;
        for (piece, bytes) in split.images.chunks(PIECE * image_bytes).enumerate() {
            let planes = Tensor::f_from_slice(bytes)?.f_view([-1, 3, height, width])?; // [≤ 1000, 3, H, W]
            let (first, length) = (count(piece * PIECE), planes.size()[0]);
            inside.f_narrow(0, first, length)?.f_copy_(&planes.f_permute([0, 2, 3, 1])?)?;
        }
        let pixels = pixels.f_view([-1, 3])?.f_to_device(device)?; // [N × H' × W', 3]
        let labels = Tensor::f_from_slice(&split.labels)?.f_view([images])?.f_to_device(device)?;
        // In bf16 the means would be off by up to a quarter of a grey level, so it comes after.
        let normaliser = Normaliser::new(Kind::Float, device);
        Ok(Images { pixels, labels, normaliser, count: split.count, height, width, padding })
    }

    /// The images numbered `samples`, each seen through its view. One gather, whatever the batch.
    #[must_use]
    pub fn batch(&self, samples: &[i64], views: &[View], kind: Kind) -> Batch {
        assert_eq!(samples.len(), views.len(), "each image has one view");
        let device = self.pixels.device();
        let (padded_height, padded_width) = (self.padded(self.height), self.padded(self.width));
        let places: Vec<i64> =
            samples.iter().zip(views).flat_map(|(&sample, &view)| self.place(sample, view)).collect();
        let places = upload(&Tensor::from_slice(&places).view([-1, 4]), device); // [B, 4]
        let [sample, top, first_column, direction] = [0, 1, 2, 3].map(|k| places.narrow(1, k, 1)); // [B, 1] each

        let rows = top + Tensor::arange(self.height, (Kind::Int64, device)); // [B, H]
        let columns = first_column + direction * Tensor::arange(self.width, (Kind::Int64, device)); // [B, W]
        let first_pixels = (&sample * padded_height + rows) * padded_width; // [B, H]
        let index = first_pixels.unsqueeze(2) + columns.unsqueeze(1); // [B, H, W]
        let pixels = self.pixels.index_select(0, &index.view([-1])); // [B × H × W, 3]
        let images = pixels.view([-1, self.height, self.width, 3]).permute([0, 3, 1, 2]); // [B, 3, H, W]
        let images = self.normaliser.apply(&images).to_kind(kind);
        Batch { images, labels: self.labels.index_select(0, &sample.view([-1])) }
    }

    /// The images numbered `samples` as they are.
    #[must_use]
    pub fn plain_batch(&self, samples: std::ops::Range<usize>, kind: Kind) -> Batch {
        let views = vec![View::centred(self.padding); samples.len()];
        self.batch(&samples.map(count).collect::<Vec<_>>(), &views, kind)
    }

    /// Number, first row, first column and direction of columns (1 or −1) of one image in a batch.
    fn place(&self, sample: i64, view: View) -> [i64; 4] {
        let left = i64::from(view.left);
        let (first_column, direction) =
            if view.is_mirrored { (left + self.width - 1, -1) } else { (left, 1) };
        [sample, i64::from(view.top), first_column, direction]
    }

    /// i64 `[N]`.
    pub fn labels(&self) -> &Tensor {
        &self.labels
    }

    /// Height and width of one image.
    #[must_use]
    pub fn sides(&self) -> (i64, i64) {
        (self.height, self.width)
    }

    fn padded(&self, side: i64) -> i64 {
        side + 2 * i64::from(self.padding)
    }
}

/// Brings bytes to mean 0 and standard deviation 1 per channel. Its constants lie on the device: to send them with each
/// batch would make a GPU wait.
#[derive(Debug)]
pub struct Normaliser {
    /// `[1, 3, 1, 1]` each.
    mean: Tensor,
    standard_deviation: Tensor,
}

impl Normaliser {
    /// One that computes in `kind`.
    #[must_use]
    pub fn new(kind: Kind, device: Device) -> Normaliser {
        let per_channel =
            |values: [f64; 3]| Tensor::from_slice(&values).to_kind(kind).to_device(device).view([1, 3, 1, 1]);
        Normaliser {
            mean: per_channel(PIXEL_MEAN),
            standard_deviation: per_channel(PIXEL_STANDARD_DEVIATION),
        }
    }

    /// u8 `[B, 3, H, W]` → `[B, 3, H, W]`, in the same order in memory. Padding is black: it is normalised like any
    /// other pixel.
    pub fn apply(&self, bytes: &Tensor) -> Tensor {
        (bytes.to_kind(self.mean.kind()) - &self.mean) / &self.standard_deviation
    }
}

/// A number of things as libtorch counts: what is in memory is far below 2⁶³.
fn count(number: usize) -> i64 {
    i64::try_from(number).expect("a count of things in memory fits into 63 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `images` images of 3 × `height` × `width`; all bytes differ from their neighbours.
    fn bytes(images: usize, height: usize, width: usize) -> Vec<u8> {
        (0..images * 3 * height * width).map(|k| (k * 37 % 251) as u8).collect()
    }

    fn split(bytes: &[u8], labels: Vec<i64>, height: usize, width: usize) -> Split<'_> {
        Split { images: bytes, count: labels.len(), labels, height, width }
    }

    #[test]
    fn a_batch_holds_what_cropping_pixel_by_pixel_gives() {
        let (height, width) = (5, 7);
        let bytes = bytes(3, height, width);
        let images =
            Images::load(&split(&bytes, vec![4, 5, 6], height, width), CROP_PADDING, Device::Cpu).unwrap();
        let views = [
            View { top: 0, left: 8, is_mirrored: false },
            View { top: 7, left: 1, is_mirrored: true },
            View { top: 4, left: 4, is_mirrored: true },
        ];
        let samples = [2, 0, 2];
        let batch = images.batch(&samples, &views, Kind::Double);

        assert_eq!(Vec::<i64>::try_from(&batch.labels).unwrap(), [6, 4, 6]);
        for (b, (&sample, view)) in samples.iter().zip(&views).enumerate() {
            for (channel, row, column) in
                (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
            {
                let seen = if view.is_mirrored { width - 1 - column } else { column };
                let (y, x) = (row + view.top as usize, seen + view.left as usize);
                let inside = (4..4 + height).contains(&y) && (4..4 + width).contains(&x);
                let byte = if inside {
                    bytes[((sample as usize * 3 + channel) * height + y - 4) * width + x - 4]
                } else {
                    0
                };
                let expected = (f64::from(byte) - PIXEL_MEAN[channel]) / PIXEL_STANDARD_DEVIATION[channel];
                let got = batch.images.double_value(&[b as i64, channel as i64, row as i64, column as i64]);
                assert!(
                    (got - expected).abs() < 1e-6,
                    "image {b} channel {channel} row {row} column {column}"
                );
            }
        }
    }

    #[test]
    fn a_plain_batch_is_the_same_from_padded_and_unpadded_images() {
        let bytes = bytes(2, 6, 6);
        let load = |padding| Images::load(&split(&bytes, vec![0, 1], 6, 6), padding, Device::Cpu).unwrap();
        let (padded, plain) =
            (load(4).plain_batch(0..2, Kind::Float), load(0).plain_batch(0..2, Kind::Float));
        assert_eq!(padded.images, plain.images);
    }

    #[test]
    fn a_dataset_that_cannot_be_trained_on_is_refused() {
        let bytes = bytes(2, 4, 4);
        let refusal = |classes, train_labels: Vec<i64>, test_labels: Vec<i64>| {
            let test = split(&bytes[..test_labels.len() * 48], test_labels, 4, 4);
            let train = split(&bytes, train_labels, 4, 4);
            Data::load(Splits { classes, train, test, extra: vec![] }, Device::Cpu).unwrap_err().to_string()
        };
        assert_eq!(refusal(1, vec![0, 0], vec![0]), "the dataset has 1 class(es); training needs at least 2");
        assert_eq!(
            refusal(2, vec![0, 2], vec![0]),
            "the split `train` of the dataset has the label `2`, but its classes are 0 to 1"
        );
        assert_eq!(refusal(2, vec![0, 1], vec![]), "the split `test` of the dataset has no images");
    }
}
