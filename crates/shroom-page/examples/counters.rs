//! An array of counters in a file, with the page layer alone: changed together or not at all, also across a crash.
//!
//! `cargo run -p shroom-page --example counters [FILE]`; without a file, in the system's temporary directory.
//!
//! A page holds 512 counters of 8 bytes. A transaction changes any pages and commits them at once; whoever holds an older state
//! goes on reading it. The last commit says in the application's root where the counters begin.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use shroom_page::storage::{FileStorage, OpenMode};
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots};

const PAGES: u32 = 4;
const PER_PAGE: u32 = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let chosen = std::env::args_os().nth(1).map(PathBuf::from);
    let path = chosen
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("counters-{}", std::process::id())));

    let storage = Arc::new(FileStorage::open(&path, OpenMode::CREATE)?);
    let store = match PageStore::is_blank(&*storage, PageSize::DEFAULT)? {
        true => create(storage)?,
        false => PageStore::open(storage)?,
    };
    let before = store.snapshot();

    // Every tenth counter goes up, in all pages or in none.
    let first = first_page(before.roots());
    let mut txn = store.begin()?;
    for counter in (0..PAGES * PER_PAGE).step_by(10) {
        let (page, at) = place(first, counter);
        let bytes = txn.page_mut(page)?;
        let value = u64_at(bytes, at) + 1;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let after = txn.commit(*before.roots())?;

    let read = |state: &shroom_page::Snapshot, counter| -> Result<u64, Box<dyn Error>> {
        let (page, at) = place(first, counter);
        Ok(u64_at(state.page(page)?, at))
    };
    assert_eq!(read(&after, 2040)?, read(&before, 2040)? + 1);
    assert_eq!(read(&after, 2041)?, read(&before, 2041)?);
    println!("counter 2040 was {} and is {}", read(&before, 2040)?, read(&after, 2040)?);
    let root: String = after.page_root().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("commit {} of {}, page root {root}", after.sequence(), path.display());
    assert!(store.verify()?.is_sound());

    drop((before, after, store));
    if chosen.is_none() {
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

/// A store with all counters at zero. Which page they begin in is part of the commit.
fn create(storage: Arc<FileStorage>) -> shroom_page::Result<PageStore> {
    let store = PageStore::create(storage, PageSize::DEFAULT)?;
    let mut txn = store.begin()?;
    let first = txn.allocate_run(PAGES)?;
    txn.write_run(first, &[0; (PAGES * PER_PAGE * 8) as usize])?;
    let mut roots = Roots::default();
    roots.application[..4].copy_from_slice(&first.0.to_le_bytes());
    txn.commit(roots)?;
    Ok(store)
}

fn first_page(roots: &Roots) -> LogicalPage {
    let [a, b, c, d, ..] = roots.application;
    LogicalPage(u32::from_le_bytes([a, b, c, d]))
}

fn place(first: LogicalPage, counter: u32) -> (LogicalPage, usize) {
    (LogicalPage(first.0 + counter / PER_PAGE), (counter % PER_PAGE) as usize * 8)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
