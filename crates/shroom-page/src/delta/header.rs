//! The head of a delta: which states it leads from and to, and how long it is.

use std::io::{self, Read};

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::FRAME_HEADER_LEN;
use crate::named::{check_name, decode_frozen};
use crate::store::empty_superblock;
use crate::superblock::{Roots, SEQUENCE_LIMIT, Superblock, superblock_len};
use crate::{PageError, PageSize, Result};

const MAGIC: [u8; 8] = *b"SHRDELTA";
const VERSION: u16 = 1;
const FIXED_LEN: usize = 128;
/// Whoever applies a delta counts on from its sequence; no file gets to this one by counting.
const SEQUENCE_MAX: u64 = SEQUENCE_LIMIT / 2;
const HASH_START: usize = 32;
const HASH_END: usize = 64;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Fixed {
    magic: [u8; 8],
    version: U16,
    page_shift: u8,
    from_name_len: u8,
    to_name_len: u8,
    reserved: [u8; 3],
    pages: U32,
    end: U32,
    place: U32,
    reserved_too: [u8; 4],
    hash: [u8; 32],
    from_root: [u8; 32],
    to_root: [u8; 32],
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Fixed>() == FIXED_LEN);
    assert!(offset_of!(Fixed, hash) == HASH_START);
    assert!(offset_of!(Fixed, from_root) == HASH_END);
};

pub(crate) fn structures() -> Vec<crate::format::Structure> {
    use crate::format::{Case, Field, Structure};

    let head = |page_size: PageSize| {
        let (from_length, to_length) = (3, 11);
        let mut fields = crate::format_fields!(Fixed {
            "magic" => magic,
            "version" => version,
            "page_shift" => page_shift,
            "from_length" => from_name_len,
            "to_length" => to_name_len,
            "reserved" => reserved,
            "pages" => pages,
            "end" => end,
            "place" => place,
            "reserved_2" => reserved_too,
            "hash" => hash,
            "from" => from_root,
            "to" => to_root,
        });
        let names_len = from_length + to_length;
        let len = Header::delta_len(names_len, page_size, 0) as usize;
        fields.push(Field::new("from_name", FIXED_LEN, from_length));
        fields.push(Field::new("to_name", FIXED_LEN + from_length, to_length));
        fields.push(Field::rest("superblock", &fields, len));
        let given = vec![
            ("from_length", from_length as u64),
            ("to_length", to_length as u64),
            ("S", superblock_len(page_size) as u64),
        ];
        Case { given, fields }
    };
    let page = |page_size: PageSize| {
        let len = Header::delta_len(0, page_size, 1) - Header::delta_len(0, page_size, 0);
        let mut fields = vec![Field::new("physical", 0, FRAME_HEADER_LEN)];
        fields.push(Field::rest("bytes", &fields, len as usize));
        let given = vec![("page_size", page_size.bytes() as u64)];
        Case { given, fields }
    };
    vec![
        Structure::of("delta head", PageSize::all().map(head)),
        Structure::of("delta page", PageSize::all().map(page)),
    ]
}

/// What a delta says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeltaInfo {
    /// Name that the earlier state had in the source; `None`: the delta begins with nothing, and holds all pages.
    pub from_name: Option<String>,
    /// Name of the later state, under which it is saved where the delta is applied.
    pub to_name: String,
    /// Page root of the earlier state.
    pub from_root: [u8; 32],
    /// Page root of the later state.
    pub to_root: [u8; 32],
    /// Size of each page.
    pub page_size: PageSize,
    /// Pages in the delta, those of the map included.
    pub pages: u32,
    /// Length of the delta, in bytes.
    pub bytes: u64,
}

/// The head of a delta, as its two ends know it.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) info: DeltaInfo,
    /// One more than the highest physical page that the delta writes.
    pub(super) end: u32,
    /// The page of the frozen superblock.
    pub(super) place: u32,
    /// The superblock of the later state, frozen.
    pub(super) frozen: Superblock,
    /// The page that holds it.
    pub(super) frozen_page: Vec<u8>,
}

/// Page root of a store of this page size that holds nothing.
pub(super) fn empty_root(page_size: PageSize) -> [u8; 32] {
    empty_superblock(page_size).page_root()
}

impl Header {
    /// The bytes of the head.
    pub(super) fn encode(&self) -> Vec<u8> {
        let info = &self.info;
        let from_name = info.from_name.as_deref().unwrap_or("");
        let fixed = Fixed {
            magic: MAGIC,
            version: VERSION.into(),
            page_shift: info.page_size.shift(),
            from_name_len: from_name.len() as u8,
            to_name_len: info.to_name.len() as u8,
            reserved: [0; 3],
            pages: info.pages.into(),
            end: self.end.into(),
            place: self.place.into(),
            reserved_too: [0; 4],
            hash: [0; 32],
            from_root: info.from_root,
            to_root: info.to_root,
        };
        let mut bytes = fixed.as_bytes().to_vec();
        bytes.extend_from_slice(from_name.as_bytes());
        bytes.extend_from_slice(info.to_name.as_bytes());
        bytes.extend_from_slice(&self.frozen_page[..superblock_len(info.page_size)]);
        let hash = hash_of(&bytes);
        bytes[HASH_START..HASH_END].copy_from_slice(&hash);
        bytes
    }

    /// Length of a delta of so many pages, in bytes.
    pub(super) fn delta_len(names_len: usize, page_size: PageSize, pages: u32) -> u64 {
        let head = FIXED_LEN + names_len + superblock_len(page_size);
        head as u64 + u64::from(pages) * (FRAME_HEADER_LEN + page_size.bytes()) as u64
    }

    fn read(source: &mut Source<'_>) -> Result<Self> {
        let mut bytes = vec![0; FIXED_LEN];
        source.fill(&mut bytes)?;
        let (fixed, page_size) = check_fixed(&bytes).map_err(|detail| flaw(0, detail))?;
        let [from_len, to_len] = [fixed.from_name_len, fixed.to_name_len].map(usize::from);
        bytes.resize(FIXED_LEN + from_len + to_len + superblock_len(page_size), 0);
        source.fill(&mut bytes[FIXED_LEN..])?;
        if hash_of(&bytes) != fixed.hash {
            return Err(flaw(0, "its head does not match the hash in it".into()));
        }
        let (from_name, rest) = bytes[FIXED_LEN..].split_at(from_len);
        let (to_name, superblock) = rest.split_at(to_len);
        let mut frozen_page = superblock.to_vec();
        frozen_page.resize(page_size.bytes(), 0);
        let header = || {
            let from_name = match from_len {
                0 => None,
                _ => Some(name(from_name)?),
            };
            let frozen = decode_frozen(&frozen_page, page_size, SEQUENCE_MAX)?;
            let header = Self {
                info: DeltaInfo {
                    from_name,
                    to_name: name(to_name)?,
                    from_root: fixed.from_root,
                    to_root: fixed.to_root,
                    page_size,
                    pages: fixed.pages.get(),
                    bytes: Self::delta_len(from_len + to_len, page_size, fixed.pages.get()),
                },
                end: fixed.end.get(),
                place: fixed.place.get(),
                frozen,
                frozen_page: frozen_page.clone(),
            };
            header.check().map(|()| header)
        };
        header().map_err(|detail| flaw(0, detail))
    }

    /// Says what in the head does not fit the rest of it.
    fn check(&self) -> Result<(), String> {
        let Self { end, place, .. } = *self;
        let pages = self.info.pages;
        let length = self.frozen.physical_pages;
        if end > length || !(2..end).contains(&place) {
            return Err(format!(
                "it ends with page {end} and has the superblock at page {place}, in a file of {length}"
            ));
        }
        // Beside the two slots, and the page of the frozen superblock.
        if pages > end - 3 {
            return Err(format!("{pages} pages, all of them below page {end}"));
        }
        if self.info.from_name.is_none() && self.info.from_root != empty_root(self.info.page_size) {
            return Err(
                "it names no state to lead on from, but does not begin with nothing".into(),
            );
        }
        if self.frozen.page_root() != self.info.to_root {
            return Err("its superblock does not have the page root that it leads to".into());
        }
        Ok(())
    }
}

fn check_fixed(bytes: &[u8]) -> Result<(Fixed, PageSize), String> {
    let fixed = Fixed::read_from_bytes(bytes).map_err(|_| "too short".to_owned())?;
    if fixed.magic != MAGIC {
        return Err("not a delta: it does not begin with SHRDELTA".into());
    }
    if fixed.version.get() != VERSION {
        return Err(format!(
            "version {}, this build reads version {VERSION}",
            fixed.version
        ));
    }
    let page_size = PageSize::from_shift(fixed.page_shift)
        .ok_or_else(|| format!("page size 2^{}", fixed.page_shift))?;
    if fixed.reserved != [0; 3] || fixed.reserved_too != [0; 4] {
        return Err("reserved bytes are not zero".into());
    }
    Ok((fixed, page_size))
}

fn name(bytes: &[u8]) -> Result<String, String> {
    let name = std::str::from_utf8(bytes).map_err(|_| "a name is not UTF-8".to_owned())?;
    check_name(name).map(|()| name.to_owned())
}

fn hash_of(head: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head[..HASH_START]);
    hasher.update(&head[HASH_END..]);
    *hasher.finalize().as_bytes()
}

#[cold]
pub(super) fn flaw(offset: u64, detail: String) -> PageError {
    PageError::Delta { offset, detail }
}

/// Bytes of a delta, and how far they have been read.
pub(super) struct Source<'r> {
    reader: &'r mut dyn Read,
    pub(super) offset: u64,
}

impl Source<'_> {
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let offset = self.offset;
        self.reader
            .read_exact(buffer)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => flaw(
                    offset,
                    format!("it ends within {} bytes from here", buffer.len()),
                ),
                _ => PageError::io("read of a delta", offset)(error),
            })?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// Nothing may follow.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut byte = [0];
        match self.reader.read_exact(&mut byte) {
            Ok(()) => Err(flaw(self.offset, "bytes follow its end".into())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(PageError::io("read of a delta", self.offset)(error)),
        }
    }
}

/// A delta whose head has been read, and whose pages come next.
pub struct DeltaReader<'r> {
    pub(super) source: Source<'r>,
    pub(super) header: Header,
}

impl std::fmt::Debug for DeltaReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaReader")
            .field("info", &self.header.info)
            .finish_non_exhaustive()
    }
}

impl<'r> DeltaReader<'r> {
    /// Reads and checks the head of a delta. What is read with small calls should be buffered.
    ///
    /// # Errors
    /// [`PageError::Delta`]; I/O errors of the reader.
    pub fn new(reader: &'r mut dyn Read) -> Result<Self> {
        let mut source = Source { reader, offset: 0 };
        let header = Header::read(&mut source)?;
        Ok(Self { source, header })
    }

    /// What it says of itself.
    pub fn info(&self) -> &DeltaInfo {
        &self.header.info
    }

    /// The roots of the state that it leads to.
    pub fn roots(&self) -> &Roots {
        &self.header.frozen.roots
    }
}
