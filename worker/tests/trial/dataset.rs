//! Synthetic images that can be learned, and their form on disk.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use sweep::dataset::{Manifest, Split};

pub(crate) const CLASSES: usize = 7;
pub(crate) const SIDE: usize = 12;

/// Images of one split: every class has a brightness of its own, under noise.
pub(crate) struct Synthetic {
    images: Vec<u8>,
    labels: Vec<i64>,
}

impl Synthetic {
    pub(crate) fn new(count: usize, noise_seed: usize) -> Synthetic {
        let pixels = 3 * SIDE * SIDE;
        let byte = |k: usize| {
            let brightness = (k / pixels % CLASSES) * 30;
            (brightness + (k + noise_seed).wrapping_mul(2_654_435_761) % 4093 % 40) as u8
        };
        Synthetic {
            images: (0..count * pixels).map(byte).collect(),
            labels: (0..count).map(|image| (image % CLASSES) as i64).collect(),
        }
    }

    pub(crate) fn split(&self) -> Split<'_> {
        let (images, labels) = (&self.images, self.labels.clone());
        Split { images, count: labels.len(), labels, height: SIDE, width: SIDE }
    }

    /// Writes the split's file and gives its entry in the manifest.
    fn write(&self, folder: &Path, name: &str) -> serde_json::Value {
        let count = self.labels.len();
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let tensors = HashMap::from([
            ("images", TensorView::new(Dtype::U8, vec![count, 3, SIDE, SIDE], &self.images).unwrap()),
            ("labels", TensorView::new(Dtype::I64, vec![count], &labels).unwrap()),
        ]);
        let file = serialize(&tensors, None).unwrap();
        fs::write(folder.join(format!("{name}.safetensors")), &file).unwrap();

        let mut hasher = blake3::Hasher::new();
        for side in [count, SIDE, SIDE] {
            hasher.update(&(side as u64).to_le_bytes());
        }
        let checksum = hasher.update(&self.images).update(&labels).finalize().to_hex().to_string();
        json!({"file": format!("{name}.safetensors"), "count": count, "checksum": checksum,
               "bytes": file.len(), "source": "a test"})
    }
}

/// Writes the dataset `name` with the extra evaluation set `dim` below `root`, and gives its checksum.
pub(crate) fn write(root: &Path, name: &str) -> String {
    let folder = root.join(name);
    fs::create_dir_all(&folder).unwrap();
    let splits = [("train", 60, 0), ("test", 30, 1), ("dim", 20, 2)];
    let files: serde_json::Map<_, _> = splits
        .iter()
        .map(|&(split, count, seed)| (split.to_owned(), Synthetic::new(count, seed).write(&folder, split)))
        .collect();
    let classes: Vec<String> = (0..CLASSES).map(|class| format!("class-{class}")).collect();
    let mut manifest: Manifest = serde_json::from_value(json!({
        "schema_version": 1, "name": name, "classes": classes, "height": SIDE, "width": SIDE,
        "eval_sets": ["dim"], "files": files, "checksum": "",
    }))
    .unwrap();
    manifest.checksum = manifest.checksum_for(None).unwrap();
    fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    manifest.checksum
}
