//! Hashing pages on their way into the file: where there are many, on a second thread while they are written.

use std::panic::resume_unwind;
use std::thread;

use crate::Result;
use crate::store::PageStore;
use crate::superblock::Run;

/// Bytes from which on a second thread is worth starting to hash them.
const PARALLEL_BYTES: usize = 256 << 10;

/// BLAKE3 of each page in `bytes`.
fn hash_pages(bytes: &[u8], page_len: usize) -> Vec<[u8; 32]> {
    let pages = bytes.chunks_exact(page_len);
    pages.map(|page| *blake3::hash(page).as_bytes()).collect()
}

impl PageStore {
    /// Writes pages to runs of places, one after the other, and hashes them meanwhile.
    pub(crate) fn write_and_hash(&self, places: &[Run], bytes: &[u8]) -> Result<Vec<[u8; 32]>> {
        let page_len = self.page_size().bytes();
        let write = || self.write_runs(places, bytes);
        if bytes.len() < PARALLEL_BYTES {
            write()?;
            return Ok(hash_pages(bytes, page_len));
        }
        // Hashing takes longer than writing: whoever writes hashes the rest.
        let (most, rest) = bytes.split_at(bytes.len() / page_len * 5 / 8 * page_len);
        thread::scope(|scope| {
            let hashing = thread::Builder::new().spawn_scoped(scope, || hash_pages(most, page_len));
            let written = write();
            let last = hash_pages(rest, page_len);
            let mut hashes = match hashing {
                Ok(hashing) => hashing.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // Without a thread it is done here.
                Err(_) => hash_pages(most, page_len),
            };
            hashes.extend(last);
            written.map(|()| hashes)
        })
    }

    fn write_runs(&self, places: &[Run], mut bytes: &[u8]) -> Result<()> {
        let shift = self.page_size().shift();
        for run in places {
            let (head, tail) = bytes.split_at((run.pages as usize) << shift);
            self.write(u64::from(run.first) << shift, head)?;
            bytes = tail;
        }
        Ok(())
    }
}
