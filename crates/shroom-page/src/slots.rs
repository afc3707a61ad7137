//! The two slots of the superblock: which one is the state of the file, and what is wrong with the other.
//!
//! Absent on purpose: does not know where the bytes come from; whoever asks brings a way to read them, which is asked for nothing
//! beyond the file's length.

use alloc::borrow::Cow;
use alloc::format;

use crate::superblock::{
    FORMAT_VERSION, SUPERBLOCK_LEN_MAX, SlotError, Superblock, superblock_len,
};
use crate::{PageError, PageSize, PhysicalPage, Result};

/// The state of the file.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) superblock: Superblock,
    /// Both slots hold it. The second is written once the first is durable.
    pub(crate) is_durable: bool,
    /// Bytes of the storage.
    pub(crate) len: u64,
}

impl Chosen {
    /// The error for a storage that is shorter than the superblock says.
    pub(crate) fn truncation(&self) -> Option<PageError> {
        let superblock = &self.superblock;
        let expected = u64::from(superblock.physical_pages) << superblock.page_size.shift();
        let found = self.len;
        (found < expected).then_some(PageError::Truncated { expected, found })
    }
}

/// What is wrong with a slot beside the newest superblock: it is not sound, or has the same number and is another; `None` for
/// the newest itself, and for an older one.
pub(crate) fn damage<'b>(
    len: u64,
    newest: &Superblock,
    slot: u32,
    read: impl Fn(u64, usize) -> Result<Cow<'b, [u8]>>,
) -> Result<Option<PageError>> {
    let page_size = newest.page_size;
    let offset = u64::from(slot) << page_size.shift();
    let there = len
        .saturating_sub(offset)
        .min(superblock_len(page_size) as u64);
    let detail = match Superblock::decode(&read(offset, there as usize)?) {
        Ok(superblock) if superblock.page_size == page_size => {
            if superblock.sequence < newest.sequence || superblock == *newest {
                return Ok(None);
            }
            format!("differs from the other one of number {}", newest.sequence)
        }
        Ok(superblock) => format!(
            "page size {:?}, expected {page_size:?}",
            superblock.page_size
        ),
        Err(SlotError::Zero) => "it is all zeros".into(),
        Err(SlotError::NoMagic) => "it does not begin with SHROOMDB".into(),
        Err(SlotError::Version(version)) => format!("format version {version}"),
        Err(SlotError::Malformed(detail)) => detail,
    };
    Ok(Some(PageError::Corrupt {
        what: "superblock",
        physical: PhysicalPage(slot),
        detail,
    }))
}

/// Reads both slots and chooses the newest that is sound.
pub(crate) fn newest<'b>(
    len: u64,
    read: impl Fn(u64, usize) -> Result<Cow<'b, [u8]>>,
) -> Result<Chosen> {
    if len == 0 {
        return Err(PageError::NotADatabase {
            reason: "the file is empty (0 bytes)".into(),
        });
    }
    let read = |offset: u64, want: usize| {
        let available = len.saturating_sub(offset).min(want as u64) as usize;
        match available {
            0 => Ok(Cow::Borrowed(&[][..])),
            _ => read(offset, available),
        }
    };
    let (mut best, first) = match Superblock::decode(&read(0, SUPERBLOCK_LEN_MAX)?) {
        Ok(superblock) => (Some(superblock), None),
        Err(error) => (None, Some(error)),
    };
    // The second slot's place depends on the page size, which only a sound first slot tells.
    let known = best.as_ref().map(|superblock| superblock.page_size);
    let sizes = PageSize::all().filter(|size| known.is_none_or(|known| known == *size));
    let mut version = None;
    let mut is_durable = false;
    for size in sizes {
        match Superblock::decode(&read(size.bytes() as u64, superblock_len(size))?) {
            Ok(second) if second.page_size == size => {
                is_durable = best.as_ref() == Some(&second);
                let newer = best
                    .as_ref()
                    .is_none_or(|best| best.sequence < second.sequence);
                best = if newer { Some(second) } else { best };
                // Larger sizes would look into pages, where a user may have stored a database.
                break;
            }
            Err(SlotError::Version(found)) => version = Some(found),
            _ => {}
        }
    }
    if let Some(superblock) = best {
        return Ok(Chosen {
            superblock,
            is_durable,
            len,
        });
    }
    if let Some(SlotError::Version(found)) = first {
        version = Some(found);
    }
    Err(match (first, version) {
        (_, Some(found)) => PageError::Version {
            found,
            supported: FORMAT_VERSION,
        },
        (Some(SlotError::Malformed(detail)), _) => PageError::Corrupt {
            what: "superblock",
            physical: PhysicalPage(0),
            detail: format!("neither slot is sound; the first: {detail}"),
        },
        (Some(SlotError::Zero), _) => PageError::NotADatabase {
            reason: "it begins with zeros".into(),
        },
        _ => PageError::NotADatabase {
            reason: "it does not begin with SHROOMDB".into(),
        },
    })
}
