use super::super::SetName;
use super::super::import::BinaryFormat;

/// What somebody has published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// One archive; or images and labels.
    pub files: Vec<PublishedFile>,
    pub contents: Contents,
}

/// What the files are.
#[derive(Debug, Clone)]
pub enum Contents {
    /// A dataset of its own.
    Dataset(BinaryFormat),
    /// An extra evaluation set of another one, as numpy arrays.
    Set { name: SetName },
}

/// A file as it was published. Length and sum tell it from any other.
#[derive(Debug, Clone)]
pub struct PublishedFile {
    pub name: String,
    pub url: String,
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
}

const KRIZ: &str = "https://www.cs.toronto.edu/~kriz";
const CIFAR10_1: &str = "https://github.com/modestyachts/CIFAR-10.1/raw/master/datasets";

/// The publications that are known, by name: `cifar10`, `cifar100`, `cifar10.1`.
///
/// Lengths and sums are those of TensorFlow Datasets (`url_checksums/cifar10.txt`, `cifar100.txt`, `cifar10_1.txt`). The publisher of
/// CIFAR gives MD5 sums of the same archives (c32a1d4ab5d03f1284b67883e8d87530 and 03b5dce01913d631647c71ecec9e9cb8); that of CIFAR-10.1 gives none.
#[must_use]
pub fn publication(name: &str) -> Option<Publication> {
    let file = |base: &str, name: &str, bytes, sha256: &str| PublishedFile {
        name: name.to_owned(),
        url: format!("{base}/{name}"),
        bytes,
        sha256: sha256.to_owned(),
    };
    let (files, contents) = match name {
        "cifar10" => (
            vec![file(
                KRIZ,
                "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            )],
            Contents::Dataset(BinaryFormat::Cifar10),
        ),
        "cifar100" => (
            vec![file(
                KRIZ,
                "cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            )],
            Contents::Dataset(BinaryFormat::Cifar100),
        ),
        // v6: 2,000 images; v4 is the other version.
        "cifar10.1" => (
            vec![
                file(
                    CIFAR10_1,
                    "cifar10.1_v6_data.npy",
                    6_144_128,
                    "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6",
                ),
                file(
                    CIFAR10_1,
                    "cifar10.1_v6_labels.npy",
                    8_128,
                    "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448",
                ),
            ],
            Contents::Set { name: name.parse().ok()? },
        ),
        _ => return None,
    };
    Some(Publication { files, contents })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_publication_has_files_of_its_kind_with_sums() {
        for (name, files) in [("cifar10", 1), ("cifar100", 1), ("cifar10.1", 2)] {
            let found = publication(name).unwrap();
            assert_eq!(found.files.len(), files, "{name}");
            assert!(
                found.files.iter().all(|file| file.sha256.len() == 64 && file.url.starts_with("https://"))
            );
            // 2,000 images of 32 × 32 × 3 bytes, or labels of four, behind a header of 128.
            if let [images, labels] = &found.files[..] {
                assert_eq!((images.bytes, labels.bytes), (128 + 2000 * 3072, 128 + 2000 * 4));
            }
        }
        assert!(publication("cifar").is_none());
    }
}
