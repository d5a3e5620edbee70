use std::fmt;
use std::str::FromStr;

/// Bytes of a state hash: enough that a billion states never meet by chance, and half of what a job's row would hold.
const BYTES: usize = 16;
const DIGITS: usize = 2 * BYTES;

/// Names a state of training by all that decided it: what the epochs up to it computed, seed, dataset and numerics,
/// however the epochs are cut into jobs. The first bytes of a BLAKE3 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub [u8; BYTES]);

/// Text that is no hash of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the hash of a state ({DIGITS} hexadecimal digits)")]
pub struct ParseStateHashError(String);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        // A million of them are written in one submission: one piece of text each, not one a digit.
        let mut text = [0; DIGITS];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for StateHash {
    type Err = ParseStateHashError;

    fn from_str(text: &str) -> Result<Self, ParseStateHashError> {
        let wrong = || ParseStateHashError(text.to_owned());
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() != DIGITS || !is_hex {
            return Err(wrong());
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
        Ok(StateHash(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_what_it_prints() {
        let text = "00ff23456789abcdef0123456789abcd";
        assert_eq!(text.parse::<StateHash>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_shorter_or_longer_or_not_hexadecimal_is_no_hash() {
        for text in ["", "00ff", &"0".repeat(33), &"g".repeat(32), &format!("+{}", "0".repeat(31))] {
            assert!(text.parse::<StateHash>().is_err(), "{text}");
        }
    }
}
