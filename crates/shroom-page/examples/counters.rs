//! An array of counters with the page layer alone: changed together or not at all, also across a crash.
//!
//! `cargo run -p shroom-page --example counters [FILE]`; without a file, in memory.
//!
//! A page holds 512 counters of 8 bytes. The application's root, which is committed with the pages, says where they begin.

use std::error::Error;
use std::sync::Arc;

use shroom_page::storage::{FileStorage, MemoryStorage, OpenMode, Storage};
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots, Snapshot};

const PAGES: u32 = 4;
const PER_PAGE: u32 = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let storage: Arc<dyn Storage> = match std::env::args_os().nth(1) {
        Some(path) => Arc::new(FileStorage::open(path.as_ref(), OpenMode::OPEN_OR_CREATE)?),
        None => Arc::new(MemoryStorage::new()),
    };
    let store = match PageStore::is_blank(&*storage, PageSize::DEFAULT)? {
        true => create(storage)?,
        false => PageStore::open(storage)?,
    };
    let before = store.snapshot();

    // Every tenth counter goes up, in all pages or in none.
    let mut txn = store.begin()?;
    for counter in (0..PAGES * PER_PAGE).step_by(10) {
        let (page, at) = place(before.roots(), counter);
        let bytes = txn.page_mut(page)?;
        let value = u64_at(bytes, at) + 1;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let after = txn.commit(*before.roots())?;

    // The older state is as it was, for as long as somebody holds it.
    assert_eq!(read(&after, 2040)?, read(&before, 2040)? + 1);
    assert_eq!(read(&after, 2041)?, read(&before, 2041)?);
    println!("counter 2040 is {}", read(&after, 2040)?);
    println!(
        "commit {}, page root {:02x?}",
        after.sequence(),
        after.page_root()
    );
    assert!(store.verify()?.is_sound());
    Ok(())
}

/// A store with all counters at zero.
fn create(storage: Arc<dyn Storage>) -> shroom_page::Result<PageStore> {
    let store = PageStore::create(storage, PageSize::DEFAULT)?;
    let mut txn = store.begin()?;
    let first = txn.allocate_run(PAGES)?;
    txn.write_run(first, &[0; (PAGES * PER_PAGE * 8) as usize])?;
    let mut roots = Roots::default();
    roots.application[..4].copy_from_slice(&first.0.to_le_bytes());
    txn.commit(roots)?;
    Ok(store)
}

/// The page of a counter, and its offset in it.
fn place(roots: &Roots, counter: u32) -> (LogicalPage, usize) {
    let [a, b, c, d, ..] = roots.application;
    let page = u32::from_le_bytes([a, b, c, d]) + counter / PER_PAGE;
    (LogicalPage(page), (counter % PER_PAGE) as usize * 8)
}

fn read(state: &Snapshot, counter: u32) -> shroom_page::Result<u64> {
    let (page, at) = place(state.roots(), counter);
    Ok(u64_at(state.page(page)?, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
