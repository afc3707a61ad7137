//! A list of strings, kept in byte chains: what the segment layer gives to a data structure of one's own.
//!
//! `cargo run -p shroom-seg --example linked_list`
//!
//! Each element is one segment, which holds the address of the element below it and the string; where the list begins is kept in the
//! application's root, beside the root of this layer. A long text is a blob: the list holds its address and length.

use std::error::Error;

use shroom_page::{PageSize, PageStore, Roots, Snapshot};
use shroom_seg::{References, SegmentAddr, SegmentTxn, blob_to_vec, segment, verify};

fn main() -> Result<(), Box<dyn Error>> {
    let store = PageStore::in_memory(PageSize::DEFAULT)?;
    let text = b"hypha ".repeat(10_000);

    // Pushed in one transaction: the elements, the text, and where all that begins.
    let mut txn = store.begin()?;
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64])?; // an empty store
    let mut head = None;
    for name in ["cap", "gills", "stem", "ring"] {
        head = Some(segments.allocate(&element(head, name.as_bytes()))?);
    }
    let long = segments.blob_create(&[&text])?;
    let seg = segments.finish()?;
    let state = txn.commit(roots(seg, head))?;
    assert_eq!(list(&state)?, ["ring", "stem", "gills", "cap"]);
    assert_eq!(blob_to_vec(&state, long, text.len() as u64)?, text);

    // Popping frees the segment: the next element of its size lies in its place.
    let mut txn = store.begin()?;
    let mut segments = SegmentTxn::open(&mut txn, &state.roots().seg)?;
    let (ring, below) = (head.ok_or("empty")?, next(&state, head)?);
    segments.free(ring)?;
    let spore = segments.allocate(&element(below, b"scar"))?;
    assert_eq!(spore, ring);
    let long = segments.blob_append(long, text.len() as u64, &[b"and so on"])?;
    let seg = segments.finish()?;
    let after = txn.commit(roots(seg, Some(spore)))?;
    assert_eq!(list(&state)?[0], "ring"); // the older state is as it was
    println!("{}", list(&after)?.join(", "));

    // Every byte of every page is accounted for: what is referenced is all that is there.
    let mut references = References::new();
    let mut at = Some(spore);
    while let Some(addr) = at {
        references.add_segment(addr);
        at = next(&after, at)?;
    }
    references.add_blob(&after, long, text.len() as u64 + 9)?;
    let report = verify(&after, &after.roots().seg, &references)?;
    assert!(report.is_sound(), "{:?}", report.findings);
    println!("{} segments in {} pages, {} bytes free in them", report.live_segments, report.storage_pages, report.free_bytes);
    Ok(())
}

/// Address of the element below (zeros for none), length, string: the length, since a segment may have up to 3 zeros more.
fn element(below: Option<SegmentAddr>, name: &[u8]) -> Vec<u8> {
    let below = below.map_or([0; 6], SegmentAddr::to_bytes);
    [&below[..], &[name.len() as u8], name].concat()
}

fn roots(seg: [u8; 64], head: Option<SegmentAddr>) -> Roots {
    let mut roots = Roots { seg, ..Roots::default() };
    roots.application[..6].copy_from_slice(&head.map_or([0; 6], SegmentAddr::to_bytes));
    roots
}

fn next(state: &Snapshot, at: Option<SegmentAddr>) -> Result<Option<SegmentAddr>, Box<dyn Error>> {
    let stored = match at {
        Some(addr) => segment(state, addr)?,
        None => &state.roots().application[..],
    };
    let below = SegmentAddr::from_bytes(*stored.first_chunk().ok_or("too short")?);
    Ok(Some(below).filter(|below| !below.page.is_none()))
}

fn list(state: &Snapshot) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    let mut at = next(state, None)?;
    while let Some(addr) = at {
        let [length, rest @ ..] = &segment(state, addr)?[6..] else {
            return Err("too short".into());
        };
        names.push(std::str::from_utf8(&rest[..usize::from(*length)])?.to_owned());
        at = next(state, at)?;
    }
    Ok(names)
}
