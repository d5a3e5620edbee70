//! Files of frames. A frame is the payload's length and a CRC-32 of length and payload, 4 bytes each with the lowest first, and then
//! the payload. Files begin with eight bytes that say what they are.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What every file begins with.
const MAGIC: &[u8; 8] = b"sweepsp1";
const HEADER: usize = 8;
/// Reports and ends come in pieces of some MiB; whatever claims to be longer is no frame.
const LONGEST_PAYLOAD: usize = 64 << 20;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole<'a> {
    /// All whole frames up to the first that isn't.
    pub frames: Vec<Frame<'a>>,
    pub rest: Rest,
}

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where in the file it begins.
    pub at: u64,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// How much of the file it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (HEADER + self.payload.len()) as u64
    }
}

/// What can't be read: behind the last whole frame, or one whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Nothing,
    /// A frame that was not written to its end: whoever wrote it was interrupted, or is at it.
    Torn {
        at: u64,
        bytes: u64,
    },
    /// A whole frame with a record that this version doesn't know. What comes behind it is read.
    Unknown {
        at: u64,
        bytes: u64,
    },
    /// Something that no interruption leaves. What comes behind it can't be read.
    Damaged {
        at: u64,
        bytes: u64,
    },
}

/// The payload in its frame.
#[must_use]
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&checksum(length, payload).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Over the length too: so that eight bytes of zeros, which a crash may leave, are no frame.
fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// Reads what is whole.
#[must_use]
pub fn read_frames(bytes: &[u8]) -> Whole<'_> {
    let mut frames = Vec::new();
    let Some(mut left) = bytes.strip_prefix(MAGIC) else {
        // The file was made, and its beginning has not arrived.
        let is_beginning = MAGIC.starts_with(bytes) || is_zero(bytes);
        let rest = match bytes.len() as u64 {
            0 => Rest::Nothing,
            bytes if is_beginning => Rest::Torn { at: 0, bytes },
            bytes => Rest::Damaged { at: 0, bytes },
        };
        return Whole { frames, rest };
    };
    while let Some((payload, behind)) = split_frame(left) {
        frames.push(Frame { at: (bytes.len() - left.len()) as u64, payload });
        left = behind;
    }
    let (at, bytes) = ((bytes.len() - left.len()) as u64, left.len() as u64);
    let rest = if left.is_empty() {
        Rest::Nothing
    } else if is_torn(left) {
        Rest::Torn { at, bytes }
    } else {
        Rest::Damaged { at, bytes }
    };
    Whole { frames, rest }
}

/// The first frame's payload, and what comes behind it.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, sum, behind) = split_header(bytes)?;
    let wanted = u32::from_le_bytes(length) as usize;
    let (payload, behind) = behind.split_at_checked(wanted)?;
    (wanted <= LONGEST_PAYLOAD && checksum(length, payload) == sum).then_some((payload, behind))
}

fn split_header(bytes: &[u8]) -> Option<([u8; 4], u32, &[u8])> {
    let (length, behind) = bytes.split_first_chunk::<4>()?;
    let (sum, behind) = behind.split_first_chunk::<4>()?;
    Some((*length, u32::from_le_bytes(*sum), behind))
}

/// Whether this, which is no frame, can be the beginning of one. Blocks that were not written in time may read as zeros, at the end.
fn is_torn(bytes: &[u8]) -> bool {
    match split_header(bytes) {
        None => true,
        Some((length, _, behind)) => {
            let wanted = u32::from_le_bytes(length) as usize;
            is_zero(bytes) || (wanted <= LONGEST_PAYLOAD && behind.len() <= wanted)
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Writes frames to a file of its own.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: File,
    /// How much of it is whole.
    length: u64,
}

impl Appender {
    /// Makes the file, which must not be there.
    ///
    /// # Errors
    /// When it is there, or can't be made.
    pub fn create(path: &Path) -> io::Result<Appender> {
        let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
        file.write_all(MAGIC)?;
        file.sync_data()?;
        Ok(Appender { path: path.to_owned(), file, length: MAGIC.len() as u64 })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a frame, which has reached the disk when this comes back.
    ///
    /// # Errors
    /// When the disk refuses. Then nothing of it is there, and it can be tried again.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.is_empty() || payload.len() > LONGEST_PAYLOAD {
            let problem = format!("a record of {} bytes", payload.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        // What was left of a frame that could not be written would hide those behind it.
        if self.file.metadata()?.len() != self.length {
            self.file.set_len(self.length)?;
        }
        let frame = frame(payload);
        self.file.write_all(&frame)?;
        self.file.sync_data()?;
        self.length += frame.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file_of(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        payloads.iter().for_each(|payload| bytes.extend(frame(payload)));
        bytes
    }

    fn payloads_of<'a>(read: &Whole<'a>) -> Vec<&'a [u8]> {
        read.frames.iter().map(|frame| frame.payload).collect()
    }

    fn any_payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8)
    }

    #[test]
    fn a_frame_is_length_checksum_and_payload() {
        let bytes = frame(b"{}");
        assert_eq!((&bytes[..4], &bytes[8..]), (&[2, 0, 0, 0][..], &b"{}"[..]));
        let sum = crc32fast::hash(b"\x02\0\0\0{}");
        assert_eq!(bytes[4..8], sum.to_le_bytes());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(payloads in any_payloads()) {
            let bytes = file_of(&payloads);
            let read = read_frames(&bytes);
            prop_assert_eq!(payloads_of(&read), payloads);
            prop_assert_eq!(read.rest, Rest::Nothing);
            let mut at = MAGIC.len() as u64;
            for frame in read.frames {
                prop_assert_eq!(frame.at, at);
                at += frame.bytes();
            }
            prop_assert_eq!(at, bytes.len() as u64);
        }

        /// Wherever it is cut, all frames before the cut are read, and the rest is a torn tail and never damage. Blocks behind the
        /// cut may be there as zeros.
        #[test]
        fn a_torn_tail_hides_nothing_that_is_whole(
            payloads in any_payloads(), cut in any::<prop::sample::Index>(), zeros in prop_oneof![Just(0), 1_usize..20]
        ) {
            let whole = file_of(&payloads);
            let cut = cut.index(whole.len() + 1);
            let mut ends = vec![MAGIC.len()];
            payloads.iter().for_each(|payload| ends.push(ends[ends.len() - 1] + HEADER + payload.len()));
            let expected = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            let mut bytes = whole[..cut].to_vec();
            let read = read_frames(&bytes);
            prop_assert_eq!(payloads_of(&read), &payloads[..expected]);
            prop_assert_eq!(read.rest == Rest::Nothing, cut == 0 || ends.contains(&cut));
            let is_damaged = matches!(read.rest, Rest::Damaged { .. });
            prop_assert!(!is_damaged, "{:?}", read.rest);
            bytes.resize(whole.len().min(cut + zeros), 0);
            let read = read_frames(&bytes);
            prop_assert!(read.frames.len() >= expected);
            prop_assert_eq!(payloads_of(&read), &payloads[..read.frames.len()]);
        }

        /// A changed byte never gives a payload that nobody wrote.
        #[test]
        fn damage_is_never_taken_for_a_record(
            payloads in any_payloads(), at in any::<prop::sample::Index>(), change in 1_u8..
        ) {
            let mut bytes = file_of(&payloads);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let read = read_frames(&bytes);
            prop_assert!(read.frames.len() <= payloads.len());
            prop_assert_eq!(payloads_of(&read), &payloads[..read.frames.len()]);
            prop_assert!(read.rest != Rest::Nothing);
        }
    }

    #[test]
    fn damage_in_the_middle_is_told_from_a_torn_tail() {
        let mut bytes = file_of(&[b"one".to_vec(), b"two".to_vec()]);
        bytes[MAGIC.len() + HEADER] ^= 1;
        let read = read_frames(&bytes);
        assert_eq!((read.frames.len(), read.rest), (0, Rest::Damaged { at: 8, bytes: 22 }));
        assert!(matches!(read_frames(b"something else").rest, Rest::Damaged { at: 0, .. }));
        assert_eq!(read_frames(b"").rest, Rest::Nothing);
        assert_eq!(read_frames(b"swee").rest, Rest::Torn { at: 0, bytes: 4 });
    }

    #[test]
    fn a_frame_that_could_not_be_written_is_cut_off_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let mut appender = Appender::create(&path).unwrap();
        assert!(Appender::create(&path).is_err(), "a file has one writer");
        appender.append(b"one").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"half a fra").unwrap();
        appender.append(b"two").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = read_frames(&bytes);
        assert_eq!((payloads_of(&read), read.rest), (vec![&b"one"[..], b"two"], Rest::Nothing));
        assert!(appender.append(b"").is_err());
    }
}
