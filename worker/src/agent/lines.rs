//! Cuts a stream of bytes into lines of bounded length. Pure.

use std::mem;

/// The lines of a stream that arrives in pieces.
#[derive(Debug)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    longest: usize,
    is_overlong: bool,
}

impl Lines {
    /// Lines of at most `longest` bytes.
    pub(crate) fn new(longest: usize) -> Lines {
        Lines { partial: Vec::new(), longest, is_overlong: false }
    }

    /// Takes the next piece; gives the lines that are complete now, without their line breaks. From the first line
    /// that is too long on, everything is ignored.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut parts = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if self.is_overlong || self.partial.len() + part.len() > self.longest {
                self.is_overlong = true;
                self.partial.clear();
                break;
            }
            self.partial.extend_from_slice(part);
            // What follows the last line break is the beginning of a line.
            if parts.peek().is_some() {
                lines.push(mem::take(&mut self.partial));
            }
        }
        lines
    }

    /// The beginning of a line that never got its line break; empty where there is none.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        mem::take(&mut self.partial)
    }

    /// A line was too long.
    pub(crate) fn is_overlong(&self) -> bool {
        self.is_overlong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_stream_is_cut() {
        let text = b"one\n\ntwo\nrest";
        for size in 1..=text.len() {
            let mut lines = Lines::new(10);
            let found: Vec<Vec<u8>> = text.chunks(size).flat_map(|chunk| lines.push(chunk)).collect();
            assert_eq!(found, [b"one".to_vec(), b"".to_vec(), b"two".to_vec()]);
            assert_eq!(lines.take_rest(), b"rest");
        }
    }

    #[test]
    fn a_line_that_is_too_long_ends_the_stream_and_keeps_what_came_before() {
        let mut lines = Lines::new(3);
        assert_eq!(lines.push(b"abc\nabcd"), [b"abc".to_vec()]);
        assert!(lines.is_overlong());
        assert!(lines.push(b"\nx\n").is_empty());
        assert!(lines.take_rest().is_empty());
    }
}
