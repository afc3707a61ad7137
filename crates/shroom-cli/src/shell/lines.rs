//! Lines from a stream, of bounded length, that tell whether the next one is here already.
//!
//! * L1 `next_is_buffered` is true only when `next` will not read from the stream: a peer that waits for an answer
//!   before it sends another line is never kept waiting.
//! * L2 No more than the longest line is ever held in memory.

use std::io::{self, BufRead, BufReader, Read};

/// Input buffer, in bytes.
const BUFFER_LEN: usize = 64 * 1024;

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes, without the line end (`\n` or `\r\n`).
    Whole(&'a [u8]),
    /// It was longer than the limit, and was passed over.
    TooLong,
}

/// Splits a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    stream: BufReader<R>,
    line: Vec<u8>,
    line_len_max: usize,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `line_len_max` bytes, line end included.
    pub(crate) fn new(stream: R, line_len_max: usize) -> Self {
        Self {
            stream: BufReader::with_capacity(BUFFER_LEN, stream),
            line: Vec::new(),
            line_len_max,
        }
    }

    /// The longest line, in bytes.
    pub(crate) fn line_len_max(&self) -> usize {
        self.line_len_max
    }

    /// Is a whole line in the buffer?
    pub(crate) fn next_is_buffered(&self) -> bool {
        self.stream.buffer().contains(&b'\n')
    }

    /// The next line; none at the end of the stream. A last line need not have an end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut too_long = false;
        loop {
            let available = match self.stream.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = available
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|index| index + 1);
            let piece = &available[..end.unwrap_or(available.len())];
            let at_end_of_stream = piece.is_empty();
            too_long |= self.line.len() + piece.len() > self.line_len_max;
            if !too_long {
                self.line.extend_from_slice(piece);
            }
            let taken = piece.len();
            self.stream.consume(taken);
            if end.is_some() || at_end_of_stream {
                break;
            }
        }
        if too_long {
            self.line = Vec::new();
            return Ok(Some(Line::TooLong));
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(Some(Line::Whole(line.strip_suffix(b"\r").unwrap_or(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_newline_or_stream() {
        let mut lines = Lines::new(&b"one\ntwo\r\n\nlast"[..], 100);
        for expected in ["one", "two", "", "last"] {
            assert_eq!(
                lines.next().unwrap(),
                Some(Line::Whole(expected.as_bytes()))
            );
        }
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = [b'x'; 300_000];
        let input = [b"a\n", &long[..], b"\nb\n"].concat();
        let mut lines = Lines::new(&input[..], 8);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"a")));
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"b")));
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn only_whole_lines_count_as_buffered() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut lines = Lines::new(reader, 100);
        assert!(!lines.next_is_buffered());
        io::Write::write_all(&mut writer, b"one\ntwo\nthr").unwrap();
        lines.next().unwrap();
        assert!(lines.next_is_buffered());
        lines.next().unwrap();
        assert!(!lines.next_is_buffered());
    }
}
