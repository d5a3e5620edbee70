use std::fmt;
use std::str::FromStr;

use super::StateHash;

/// Hexadecimal digits of a BLAKE3 hash.
const DIGITS: usize = 64;

/// Names a checkpoint by its content. It is safe as the name of a file, whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointHash(String);

/// Text that is no hash of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the hash of a checkpoint ({DIGITS} hexadecimal digits in lower case)")]
pub struct ParseCheckpointHashError(String);

/// Folder within that of checkpoints for the weights that specs name, each under its hash too.
pub const NAMED_WEIGHTS: &str = "weights";

/// What stands before the hash of a state in the name of weights.
const STATE: &str = "state:";

/// Names the weights that training has in a state: what a trial that teaches becomes in canonical parameters.
#[must_use]
pub fn weights_in_state(state: StateHash) -> String {
    format!("{STATE}{state}")
}

/// The state whose weights this names, if it names any so.
#[must_use]
pub fn state_of_weights(name: &str) -> Option<StateHash> {
    name.strip_prefix(STATE)?.parse().ok()
}

/// Name of the file that holds the weights of this hash.
#[must_use]
pub fn weights_file_name(hash: &str) -> String {
    format!("{hash}.safetensors")
}

impl fmt::Display for CheckpointHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CheckpointHash {
    type Err = ParseCheckpointHashError;

    fn from_str(text: &str) -> Result<Self, ParseCheckpointHashError> {
        let is_hash =
            text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hash {
            Ok(CheckpointHash(text.to_owned()))
        } else {
            Err(ParseCheckpointHashError(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_what_it_prints() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(text.parse::<CheckpointHash>().unwrap().to_string(), text);
    }

    #[test]
    fn nothing_that_could_lead_out_of_a_folder_is_a_hash() {
        for text in [
            "",
            "abc",
            "../../etc/passwd",
            &"A".repeat(64),
            &"a".repeat(65),
            &format!("../{}", "a".repeat(61)),
        ] {
            assert!(text.parse::<CheckpointHash>().is_err(), "{text}");
        }
    }
}
