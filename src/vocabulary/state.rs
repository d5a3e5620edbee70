use std::fmt;
use std::str::FromStr;

/// Bytes of a hash: enough that no two of any number of states that will ever be trained meet by chance.
const LENGTH: usize = 16;

/// Names a state of training by all that decided it: the first 16 bytes of a BLAKE3 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash([u8; LENGTH]);

/// What is no hash of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the hash of a state ({} hexadecimal digits in lower case)", 2 * LENGTH)]
pub struct ParseStateHashError {
    text: String,
}

impl StateHash {
    /// The state that `cause` alone decides.
    #[must_use]
    pub fn of(cause: &[u8]) -> StateHash {
        let whole = blake3::hash(cause);
        let mut bytes = [0; LENGTH];
        bytes.copy_from_slice(&whole.as_bytes()[..LENGTH]);
        StateHash(bytes)
    }

    /// The state that follows from this one by an epoch that `epoch` names.
    #[must_use]
    pub fn then(self, epoch: StateHash) -> StateHash {
        StateHash::of(&[self.0, epoch.0].concat())
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for StateHash {
    type Error = ParseStateHashError;

    fn try_from(bytes: &[u8]) -> Result<StateHash, ParseStateHashError> {
        bytes.try_into().map(StateHash).map_err(|_| ParseStateHashError { text: format!("{bytes:02x?}") })
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        // A million of them are written in one submission: one piece of text each, not one a digit.
        let mut text = [0; 2 * LENGTH];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for StateHash {
    type Err = ParseStateHashError;

    fn from_str(text: &str) -> Result<StateHash, ParseStateHashError> {
        let wrong = || ParseStateHashError { text: text.to_owned() };
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 2 * LENGTH || !is_hex {
            return Err(wrong());
        }
        let mut bytes = [0; LENGTH];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| wrong())?;
        }
        Ok(StateHash(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_what_it_prints_and_stores() {
        let hash = StateHash::of(b"cause");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(StateHash::try_from(hash.as_bytes()), Ok(hash));
        for text in ["", "00", &"A".repeat(32), &"é".repeat(16)] {
            assert!(text.parse::<StateHash>().is_err(), "{text}");
        }
        assert!(StateHash::try_from([0_u8; 15].as_slice()).is_err());
    }

    #[test]
    fn the_order_of_epochs_counts() {
        let [start, a, b] = [b"start", b"a    ", b"b    "].map(|cause| StateHash::of(cause));
        assert_ne!(start.then(a).then(b), start.then(b).then(a));
    }
}
