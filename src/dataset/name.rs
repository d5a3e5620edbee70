use std::fmt;
use std::str::FromStr;

use super::{TEST, TRAIN};

/// Longest name of a dataset or set: names become file names and parts of metric names.
const MAX_NAME_BYTES: usize = 64;

/// Text that can't name a dataset or an extra evaluation set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    #[error(
        "`{0}` is no name for a dataset or set: use 1 to {MAX_NAME_BYTES} of `a-z`, `0-9`, `.`, `_`, `-`, \
         beginning with a letter or digit"
    )]
    Malformed(String),
    #[error("`{0}` can't name an extra evaluation set: every dataset has a split of that name")]
    Reserved(String),
    #[error(
        "`{0}` can't name an extra evaluation set: its metrics would be called like others, such as `lp_top1`"
    )]
    Ambiguous(String),
}

/// The name of a dataset, which is also its folder's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatasetName(String);

/// The name of an extra evaluation set; never that of a split which every dataset has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetName(String);

impl DatasetName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SetName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatasetName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<DatasetName, ParseNameError> {
        if is_well_formed(text) {
            Ok(DatasetName(text.to_owned()))
        } else {
            Err(ParseNameError::Malformed(text.to_owned()))
        }
    }
}

impl FromStr for SetName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<SetName, ParseNameError> {
        if text == TRAIN || text == TEST {
            return Err(ParseNameError::Reserved(text.to_owned()));
        }
        // A set's accuracy is `<set>_top1`.
        if ["ema", "lp"].contains(&text.split('_').next().unwrap_or_default()) {
            return Err(ParseNameError::Ambiguous(text.to_owned()));
        }
        text.parse::<DatasetName>().map(|name| SetName(name.0))
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` matches `[a-z0-9][a-z0-9._-]{0,63}`, so that it is a file name on every system and never `..`.
pub(super) fn is_well_formed(text: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_NAME_BYTES
        && text.as_bytes().first().is_some_and(is_alphanumeric)
        && text.bytes().all(|byte| is_alphanumeric(&byte) || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_what_it_prints() {
        for text in ["cifar10", "cifar10.1", "a", "0-b_c", &"x".repeat(64)] {
            assert_eq!(text.parse::<DatasetName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_name_that_is_no_plain_file_name_is_refused() {
        for text in ["", "..", ".hidden", "a/b", "Cifar", "a b", "ä", "-a", &"x".repeat(65)] {
            let refusal = ParseNameError::Malformed(text.to_owned());
            assert_eq!(text.parse::<DatasetName>(), Err(refusal.clone()));
            assert_eq!(text.parse::<SetName>(), Err(refusal));
        }
    }

    #[test]
    fn a_set_is_not_called_like_a_split_of_every_dataset() {
        assert_eq!("test".parse::<SetName>(), Err(ParseNameError::Reserved("test".to_owned())));
        assert!("train".parse::<SetName>().is_err());
        assert!("train".parse::<DatasetName>().is_ok());
    }

    #[test]
    fn a_sets_accuracy_is_not_called_like_another_metric() {
        for text in ["ema", "lp", "lp_x3", "ema_shifted"] {
            assert_eq!(text.parse::<SetName>(), Err(ParseNameError::Ambiguous(text.to_owned())));
        }
        assert!("lpips".parse::<SetName>().is_ok());
    }
}
