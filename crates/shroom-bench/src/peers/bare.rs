//! A bare write and `fdatasync`: the limit for a durable commit. It keeps the bytes in a row and finds nothing again.
//!
//! The file is written once from end to end before anything is measured, and then from its start again, so that a sync carries no
//! change of length or of blocks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::peer::{Peer, Scan};
use crate::store::{Change, Durability, Outcome, Store, Tally, unsupported};

pub(crate) const PEER: Peer = Peer {
    settings: "pwrite of all changes in a row, fdatasync; blocks written before",
    is_limit: true,
    has_files: false,
    can_compact: false,
    can_read: false,
    scan: Scan::Missing,
    ..Peer::new("bare", "", open)
};

/// Length of the file, in bytes: more than any durable workload writes.
const FILE_LEN: u64 = 64 << 20;

fn open(directory: &Path, _: Durability) -> Outcome<Box<dyn Store>> {
    let file = File::create(directory.join("bare"))?;
    let block = vec![0; 1 << 20];
    for offset in (0..FILE_LEN).step_by(block.len()) {
        file.write_all_at(&block, offset)?;
    }
    file.sync_all()?;
    Ok(Box::new(Bare {
        file,
        offset: 0,
        buffer: Vec::new(),
    }))
}

#[derive(Debug)]
struct Bare {
    file: File,
    offset: u64,
    buffer: Vec<u8>,
}

impl Store for Bare {
    fn load_sorted(&mut self, _: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        unsupported("load")
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        self.buffer.clear();
        for change in changes {
            self.buffer.extend_from_slice(&change.id.to_le_bytes());
            self.buffer
                .extend_from_slice(change.value.unwrap_or_default());
        }
        let len = self.buffer.len() as u64;
        if self.offset + len > FILE_LEN {
            self.offset = 0;
        }
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.file.sync_data()?;
        self.offset += len;
        Ok(())
    }

    fn get_reused(&self, _: &[u64], _: &mut Tally) -> Outcome {
        unsupported("get")
    }

    fn get_fresh(&self, _: &[u64], _: &mut Tally) -> Outcome {
        unsupported("get")
    }

    fn flush(&mut self) -> Outcome {
        Ok(self.file.sync_data()?)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(())
    }
}
