//! Writing packs: how long one would be, token by token, and its bytes.
//!
//! * E1 A shape's length is exactly that of the encoding, so that a pack can be cut to the byte.
//!
//! Absent on purpose: does not decide where to cut.

use alloc::vec::Vec;

use super::{KIND_BLOBS, KIND_UNIFORM, KIND_WIDE_ENDS, PACK_HEADER_LEN, PACK_TOKENS_MAX};
use crate::column::{width_of, write_column};

/// What decides the encoded length of a pack, kept up to date token by token.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct PackShape {
    count: usize,
    base: u64,
    last: u64,
    /// Stored length of the first token.
    length: usize,
    mixed: bool,
    blobs: bool,
    values_len: usize,
}

impl PackShape {
    /// The shape with one more token, whose id is above all others.
    #[inline]
    pub(crate) fn with(mut self, id: u64, stored_len: usize, blob: bool) -> Self {
        if self.count == 0 {
            self.base = id;
            self.length = stored_len;
        }
        self.count += 1;
        self.last = id;
        self.mixed |= stored_len != self.length;
        self.blobs |= blob;
        self.values_len += stored_len;
        self
    }

    /// True when one segment of `capacity` bytes holds the pack.
    #[inline]
    pub(crate) fn fits(&self, capacity: usize) -> bool {
        self.count <= PACK_TOKENS_MAX && self.encoded_len() <= capacity
    }

    /// Bytes of the encoded pack.
    #[inline]
    pub(crate) fn encoded_len(&self) -> usize {
        let columns = match self.mixed {
            false => 2,
            true => self.count * if self.values_len > 255 { 2 } else { 1 },
        };
        let blobs = if self.blobs {
            self.count.div_ceil(8)
        } else {
            0
        };
        let ids = self.count.saturating_sub(1) * self.id_width();
        PACK_HEADER_LEN + columns + ids + blobs + self.values_len
    }

    pub(super) fn id_width(&self) -> usize {
        let span = self.last.wrapping_sub(self.base);
        match span.wrapping_add(1) == self.count as u64 {
            true => 0,
            false => width_of(span),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        let wide_ends = self.mixed && self.values_len > 255;
        let flags = [
            (!self.mixed, KIND_UNIFORM),
            (wide_ends, KIND_WIDE_ENDS),
            (self.blobs, KIND_BLOBS),
        ];
        flags.iter().map(|(set, flag)| u8::from(*set) * flag).sum()
    }
}

/// A token as it is put into a pack: its id, its stored bytes, and whether they are a blob reference.
pub(crate) type StoredToken<'a> = (u64, &'a [u8], bool);

/// Encodes `tokens`, whose shape is `shape`, over whatever `out` held.
pub(crate) fn encode<'a>(
    shape: &PackShape,
    tokens: impl Iterator<Item = StoredToken<'a>> + Clone,
    out: &mut Vec<u8>,
) {
    debug_assert!(shape.count > 0 && shape.count <= PACK_TOKENS_MAX);
    out.clear();
    out.reserve(shape.encoded_len());
    out.extend_from_slice(&shape.base.to_le_bytes());
    out.extend_from_slice(&(shape.count as u16).to_le_bytes());
    out.extend_from_slice(&[shape.id_width() as u8, shape.kind()]);
    if !shape.mixed {
        out.extend_from_slice(&(shape.length as u16).to_le_bytes());
    }
    let offsets = tokens.clone().skip(1).map(|(id, _, _)| id - shape.base);
    match shape.id_width() {
        0 => {}
        width => write_column(out, width, offsets),
    }
    if shape.mixed {
        let width = if shape.kind() & KIND_WIDE_ENDS != 0 {
            2
        } else {
            1
        };
        let ends = tokens.clone().scan(0, |end, (_, bytes, _)| {
            *end += bytes.len() as u64;
            Some(*end)
        });
        write_column(out, width, ends);
    }
    if shape.blobs {
        let at = out.len();
        out.resize(at + shape.count.div_ceil(8), 0);
        for (index, (_, _, blob)) in tokens.clone().enumerate() {
            if let Some(byte) = out.get_mut(at + index / 8) {
                *byte |= u8::from(blob) << (index % 8);
            }
        }
    }
    for (_, bytes, _) in tokens {
        out.extend_from_slice(bytes);
    }
    debug_assert_eq!(out.len(), shape.encoded_len());
}
