//! Readings of sensors by time, in the ordered directory alone: loaded in bulk, corrected as a batch, read as ranges.
//!
//! `cargo run -p shroom-token --example time_series`
//!
//! Ids are seconds, so a range of ids is a stretch of time. There is no journal here: a batch is a commit of pages, and whoever
//! needs small commits that are durable takes the crate `shroom`.

use std::error::Error;

use shroom_page::{PageSize, PageStore, Roots, Snapshot};
use shroom_seg::SegmentTxn;
use shroom_token::{Bytes, Edit, Stored, TokenId, TokenRoot, bulk_append, get, merge, range};

const DAY: u64 = 86_400;

fn main() -> Result<(), Box<dyn Error>> {
    let store = PageStore::in_memory(PageSize::DEFAULT)?;

    // A day of readings of 4 bytes each. In ascending order, packs are written straight into pages.
    let readings =
        (0..DAY).map(|second| (TokenId(second), (second as u32 * 7 % 1000).to_le_bytes()));
    let day = commit(&store, |segments, root| {
        Ok(bulk_append(segments, root, readings)?)
    })?;
    let root = root(&day)?;
    let pages = u64::from(day.physical_pages());
    println!(
        "{} readings in {pages} pages: {} bytes each",
        root.tokens(),
        pages * 4096 / root.tokens()
    );
    assert!(pages * 4096 / root.tokens() <= 4);

    // Corrections come in order of ids; each page is written once, however many of its readings change.
    let corrected = commit(&store, |segments, root| {
        let zero = [0; 4];
        let wrong = (3600..3660).map(|second| (TokenId(second), Edit::Put(Bytes::One(&zero))));
        let broken = (7200..7260).map(|second| (TokenId(second), Edit::Delete));
        let mut edits = wrong.chain(broken).peekable();
        Ok(merge(segments, root, &mut edits, usize::MAX)?)
    })?;
    assert_eq!(self::root(&corrected)?.tokens(), DAY - 60);
    assert_eq!(
        get(&corrected, &self::root(&corrected)?, TokenId(7230))?,
        None
    );

    // The mean of the second hour, in both states; nothing is copied.
    for (name, state) in [("before", &day), ("corrected", &corrected)] {
        let (mut sum, mut count) = (0, 0);
        for token in range(state, &self::root(state)?, TokenId(3600)..TokenId(7200)) {
            let (_, Stored::Inline(bytes)) = token? else {
                return Err("4 bytes always lie in their pack".into());
            };
            sum += u64::from(u32::from_le_bytes(bytes.try_into()?));
            count += 1;
        }
        println!("{name}: {} in the mean of {count}", sum / count);
    }
    Ok(())
}

/// A change of the directory, and the commit of its pages with the roots of both layers.
fn commit(
    store: &PageStore,
    change: impl FnOnce(&mut SegmentTxn<'_, '_>, &TokenRoot) -> Result<TokenRoot, Box<dyn Error>>,
) -> Result<Snapshot, Box<dyn Error>> {
    let before = store.snapshot();
    let mut txn = store.begin()?;
    let mut segments = SegmentTxn::open(&mut txn, &before.roots().seg)?;
    let token = change(&mut segments, &root(&before)?)?.encode();
    let seg = segments.finish()?;
    Ok(txn.commit(Roots {
        seg,
        token,
        ..Roots::default()
    })?)
}

fn root(state: &Snapshot) -> shroom_token::Result<TokenRoot> {
    TokenRoot::decode(&state.roots().token)
}
