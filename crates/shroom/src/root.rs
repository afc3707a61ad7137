//! The application root in the superblock (format §9).

use shroom_page::{PageError, PhysicalPage};

use crate::error::Result;

/// What this layer keeps in the superblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApplicationRoot {
    pub(crate) tag: u64,
}

impl ApplicationRoot {
    /// The root of a canonical image: the tag, and nothing else.
    pub(crate) fn of_tag(tag: u64) -> Self {
        Self { tag }
    }

    pub(crate) fn decode(bytes: &[u8; 32]) -> Result<Self> {
        let (tag, reserved) = bytes.split_at(8);
        if reserved.iter().any(|&byte| byte != 0) {
            let detail = "reserved bytes are not zero".into();
            return Err(PageError::Corrupt {
                what: "application root",
                physical: PhysicalPage(0),
                detail,
            }
            .into());
        }
        Ok(Self {
            tag: tag.try_into().map_or(0, u64::from_le_bytes),
        })
    }

    pub(crate) fn encode(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.tag.to_le_bytes());
        bytes
    }
}
