//! The bytes before the payload of a journal frame (format §4.2).

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::format::Structure;
use crate::journal::FRAME_HEADER_LEN;

/// Header of a frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct FrameHeader {
    /// Of everything behind it, the payload included.
    pub(crate) checksum: U64,
    pub(crate) previous: U64,
    pub(crate) sequence: U64,
    pub(crate) synced: U64,
    pub(crate) epoch: U32,
    /// Of the payload, in bytes.
    pub(crate) length: U32,
}
const _: () = assert!(size_of::<FrameHeader>() == FRAME_HEADER_LEN);

pub(crate) fn structures() -> Vec<Structure> {
    let fields = crate::format_fields!(FrameHeader {
        "checksum" => checksum,
        "previous" => previous,
        "sequence" => sequence,
        "synced" => synced,
        "epoch" => epoch,
        "length" => length,
    });
    vec![Structure::fixed("frame", fields)]
}
