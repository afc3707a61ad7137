//! Bytes in words: what each field of a structure is called, and what its value means. For people who look at a file.
//!
//! * X1 The fields of an explanation tile its bytes: each begins where the one before it ends, and the last ends with the bytes.
//! * X2 Any bytes can be explained: a field that is cut off, or that does not make sense, is one that says so.
//!
//! Absent on purpose: decides nothing. Whether bytes are sound is up to those who read them; flaws are theirs.

use std::fmt::Write as _;

/// A piece of an explained structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it begins, in bytes from the start of the structure.
    pub offset: usize,
    /// Its length in bytes, at least 1.
    pub len: usize,
    /// What the format document calls it.
    pub name: String,
    /// What its value means.
    pub meaning: String,
}

/// A structure of the file, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// What is explained, on one line.
    pub title: String,
    /// Offset in the file of the first byte.
    pub position: u64,
    /// The structure's bytes.
    pub bytes: Vec<u8>,
    /// What they are, in order and without a gap.
    pub fields: Vec<Field>,
    /// What is wrong with it; empty when nothing is.
    pub flaws: Vec<String>,
}

impl Explanation {
    /// An explanation by `explain`, which is given the bytes to take fields from. What it leaves is a field without a meaning.
    pub fn new(
        title: impl Into<String>,
        position: u64,
        bytes: &[u8],
        explain: impl FnOnce(&mut Explainer<'_>),
    ) -> Self {
        let mut explainer = Explainer {
            bytes,
            at: 0,
            fields: Vec::new(),
            flaws: Vec::new(),
        };
        explain(&mut explainer);
        explainer.rest("rest");
        Self {
            title: title.into(),
            position,
            bytes: bytes.to_vec(),
            fields: explainer.fields,
            flaws: explainer.flaws,
        }
    }

    /// Adds something that is wrong.
    #[must_use]
    pub fn with_flaw(mut self, flaw: Option<String>) -> Self {
        self.flaws.extend(flaw);
        self
    }
}

/// Takes fields off the front of a structure's bytes.
#[derive(Debug)]
pub struct Explainer<'b> {
    bytes: &'b [u8],
    at: usize,
    fields: Vec<Field>,
    flaws: Vec<String>,
}

impl<'b> Explainer<'b> {
    /// Offset of the next field.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The bytes that are not explained yet.
    pub fn left(&self) -> &'b [u8] {
        &self.bytes[self.at..]
    }

    /// Notes something that is wrong.
    pub fn flaw(&mut self, flaw: impl Into<String>) {
        self.flaws.push(flaw.into());
    }

    /// The next `len` bytes. `meaning` is given all of them or, where the structure ends before, is not asked.
    pub fn field(
        &mut self,
        len: usize,
        name: impl Into<String>,
        meaning: impl FnOnce(&'b [u8]) -> String,
    ) {
        let left = self.left();
        if len == 0 {
            return;
        }
        let (taken, meaning) = match left.get(..len) {
            Some(bytes) => (len, meaning(bytes)),
            None => (
                left.len(),
                format!("cut off: {} of {len} bytes", left.len()),
            ),
        };
        if taken == 0 {
            return;
        }
        self.fields.push(Field {
            offset: self.at,
            len: taken,
            name: name.into(),
            meaning,
        });
        self.at += taken;
    }

    /// A little-endian number of `len` bytes, at most 8; 0 where it is cut off.
    pub fn number(
        &mut self,
        len: usize,
        name: impl Into<String>,
        meaning: impl FnOnce(u64) -> String,
    ) -> u64 {
        let value = self.left().get(..len).map_or(0, little_endian);
        self.field(len, name, |_| meaning(value));
        value
    }

    /// A number that stands for itself.
    pub fn plain(&mut self, len: usize, name: impl Into<String>) -> u64 {
        self.number(len, name, |value| value.to_string())
    }

    /// Bytes that must be zero.
    pub fn reserved(&mut self, len: usize, name: impl Into<String>) {
        let len = len.min(self.left().len());
        let name = name.into();
        let mut is_zero = true;
        self.field(len, name.clone(), |bytes| {
            is_zero = bytes.iter().all(|&byte| byte == 0);
            match is_zero {
                true => "zero, as it must be".into(),
                false => "must be zero, and is not".into(),
            }
        });
        if !is_zero {
            self.flaw(format!("{name} is not zero"));
        }
    }

    /// Whatever is left, as one field.
    pub fn rest(&mut self, name: &str) {
        let len = self.left().len();
        self.field(len, name, |bytes| {
            match bytes.iter().all(|&byte| byte == 0) {
                true => "zeros".into(),
                false => "without a meaning".into(),
            }
        });
    }
}

/// The number that at most 8 bytes hold.
fn little_endian(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().rev().take(8);
    digits.fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Bytes as hexadecimal digits, the first `most` of them.
pub fn hexadecimal(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    for byte in &bytes[..bytes.len().min(most)] {
        let _ = write!(text, "{byte:02x}"); // a string takes everything
    }
    if bytes.len() > most {
        text.push('…');
    }
    text
}

/// A run of numbered things: "12" or "12 to 19".
pub fn span(first: u64, count: u64) -> String {
    match count {
        0 | 1 => first.to_string(),
        _ => format!("{first} to {}", first.saturating_add(count - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_tile_the_bytes_and_say_where_they_are_cut_off() {
        let bytes = [1, 2, 0, 0, 9, 7, 7];
        let explanation = Explanation::new("test", 100, &bytes, |explainer| {
            assert_eq!(explainer.plain(2, "number"), 0x0201);
            explainer.reserved(3, "reserved");
            explainer.field(0, "nothing", |_| unreachable!());
            explainer.field(4, "long", |_| unreachable!());
        });
        let fields: Vec<_> = explanation
            .fields
            .iter()
            .map(|field| (field.offset, field.len, &*field.name))
            .collect();
        assert_eq!(
            fields,
            [(0, 2, "number"), (2, 3, "reserved"), (5, 2, "long")]
        );
        assert_eq!(explanation.fields[0].meaning, "513");
        assert_eq!(explanation.fields[2].meaning, "cut off: 2 of 4 bytes");
        assert_eq!(explanation.flaws, ["reserved is not zero"]);
        assert_eq!(hexadecimal(&bytes, 2), "0102…");
        assert_eq!((span(4, 1), span(4, 3)), ("4".into(), "4 to 6".into()));
    }
}
