//! The answers of a shell, gathered in memory until they are written out.
//!
//! * A1 Every method adds exactly one line, so one call for each command keeps a peer in step.
//!
//! Absent on purpose: knows no stream, so adding an answer cannot fail or block.

use std::fmt::Display;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Answer lines that nobody has seen yet.
#[derive(Debug, Default)]
pub(crate) struct Answers(Vec<u8>);

impl Answers {
    /// `ok`
    pub(crate) fn ok(&mut self) {
        self.0.extend_from_slice(b"ok\n");
    }

    /// `ok VALUE`; the value has no line end.
    pub(crate) fn ok_with(&mut self, value: impl Display) {
        self.0.extend_from_slice(format!("ok {value}\n").as_bytes());
    }

    /// `ok HEX`; `ok` alone for no bytes.
    pub(crate) fn ok_with_bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return self.ok();
        }
        self.0.reserve(bytes.len() * 2 + 4);
        self.0.extend_from_slice(b"ok ");
        self.0.extend(bytes.iter().flat_map(|&byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        }));
        self.0.push(b'\n');
    }

    /// `none`
    pub(crate) fn none(&mut self) {
        self.0.extend_from_slice(b"none\n");
    }

    /// `err MESSAGE`, on one line whatever the message is.
    pub(crate) fn err(&mut self, message: impl Display) {
        let message = message.to_string().replace(['\n', '\r'], " ");
        self.0
            .extend_from_slice(format!("err {message}\n").as_bytes());
    }

    /// The lines so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Forgets the lines, which have been written out.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
