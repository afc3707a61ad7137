//! A stack of strings in byte chains: what the segment layer gives to a data structure of one's own.
//!
//! `cargo run -p shroom-seg --example linked_list`
//!
//! Each element is a blob: the address and length of the element below it, then the string, of any length. Where the stack begins is
//! kept in the application's root, beside the root of this layer.

use std::error::Error;

use shroom_page::{PageSize, PageStore, Snapshot};
use shroom_seg::{References, SegmentAddr, SegmentTxn, blob_to_vec, verify};

/// An address of 6 bytes, and a length of 8; zeros where there is nothing.
type Link = [u8; 14];

fn main() -> Result<(), Box<dyn Error>> {
    let store = PageStore::in_memory(PageSize::DEFAULT)?;
    let hyphae = "hyphae ".repeat(10_000);

    let names = ["cap", "gills", &hyphae, "ring"];
    let four = commit(&store, |segments, mut top| {
        for name in names {
            top = push(segments, top, name)?;
        }
        Ok(top)
    })?;
    // Popped and pushed in one commit; the older state is as it was.
    let other = commit(&store, |segments, top| {
        let (head, length) = parse(top).ok_or("empty")?;
        let below = blob_to_vec(segments.pages(), head, length)?;
        segments.blob_free(head, length)?;
        push(segments, *below.first_chunk().ok_or("too short")?, "stem")
    })?;
    for (state, top) in [(&four, "ring"), (&other, "stem")] {
        let (names, references) = walk(state)?;
        assert_eq!(names, [top, &hyphae, "gills", "cap"]);
        // Every byte of every page is accounted for: what is referenced is all that is there.
        let report = verify(state, &state.roots().seg, &references)?;
        assert!(report.is_sound(), "{:?}", report.findings);
        println!(
            "{top}: {} segments, {} pages of extents",
            report.live_segments, report.extent_pages
        );
    }
    Ok(())
}

fn push(
    segments: &mut SegmentTxn<'_, '_>,
    below: Link,
    name: &str,
) -> Result<Link, Box<dyn Error>> {
    let head = segments.blob_create(&[&below, name.as_bytes()])?;
    let length = (below.len() + name.len()) as u64;
    let link = [&head.to_bytes()[..], &length.to_le_bytes()].concat();
    Ok(*link.first_chunk().ok_or("too short")?)
}

fn parse([a, b, c, d, e, f, length @ ..]: Link) -> Option<(SegmentAddr, u64)> {
    let head = SegmentAddr::from_bytes([a, b, c, d, e, f]);
    (!head.page.is_none()).then_some((head, u64::from_le_bytes(length)))
}

/// A change of the stack, committed with both roots.
fn commit(
    store: &PageStore,
    change: impl FnOnce(&mut SegmentTxn<'_, '_>, Link) -> Result<Link, Box<dyn Error>>,
) -> Result<Snapshot, Box<dyn Error>> {
    let mut roots = *store.snapshot().roots();
    let mut txn = store.begin()?;
    let mut segments = SegmentTxn::open(&mut txn, &roots.seg)?;
    let top = change(
        &mut segments,
        *roots.application.first_chunk().ok_or("too short")?,
    )?;
    roots.application[..14].copy_from_slice(&top);
    roots.seg = segments.finish()?;
    Ok(txn.commit(roots)?)
}

/// The strings from the top down, and all that they reference.
fn walk(state: &Snapshot) -> Result<(Vec<String>, References), Box<dyn Error>> {
    let (mut names, mut references) = (Vec::new(), References::new());
    let mut link: Link = *state.roots().application.first_chunk().ok_or("too short")?;
    while let Some((head, length)) = parse(link) {
        references.add_blob(state, head, length)?;
        let element = blob_to_vec(state, head, length)?;
        let (below, name) = element.split_first_chunk().ok_or("too short")?;
        names.push(std::str::from_utf8(name)?.to_owned());
        link = *below;
    }
    Ok((names, references))
}
