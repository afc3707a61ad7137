//! Arbitrary bytes in the pages: every reader and writer gives data or an error, and ends.

use std::sync::Arc;

use proptest::prelude::*;
use shroom_page::storage::MemoryStorage;
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots};
use shroom_seg::{
    BlobChunks, References, SegmentAddr, SegmentTxn, blob_pages, blob_read, blob_slice,
    blob_to_vec, segment, stats, verify,
};
use shroom_sim::forge::{Image, SUPERBLOCK_HEADER_LEN, field};

/// What a test may do to a page.
#[derive(Clone, Debug)]
enum Damage {
    Byte(usize, usize, u8),
    Word(usize, usize, u16),
    Random(usize, Vec<u8>),
    Copy(usize, usize),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let word = prop_oneof![0u16..24, any::<u16>(), Just(u16::MAX)];
    let damage = prop_oneof![
        4 => (any::<usize>(), any::<usize>(), any::<u8>()).prop_map(|(page, at, value)| Damage::Byte(page, at, value)),
        6 => (any::<usize>(), any::<usize>(), word).prop_map(|(page, at, value)| Damage::Word(page, at, value)),
        1 => (any::<usize>(), prop::collection::vec(any::<u8>(), 512)).prop_map(|(page, bytes)| Damage::Random(page, bytes)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Damage::Copy(from, to)),
    ];
    prop::collection::vec(damage, 0..12)
}

/// Segments, blobs and an index of two levels, in pages of 512 bytes.
fn build(store: &PageStore) -> ([u8; 64], Vec<SegmentAddr>, Vec<(SegmentAddr, u64)>) {
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
    let mut addrs: Vec<_> = (0..60)
        .map(|at| segments.allocate(&vec![at as u8; at * 7 % 200]).unwrap())
        .collect();
    for addr in addrs.split_off(40) {
        segments.free(addr).unwrap();
    }
    let mut blobs = Vec::new();
    for length in [3, 400, 500, 900, 5000, 20_000, 300_000] {
        let head = segments
            .blob_create(&[&vec![length as u8; length]])
            .unwrap();
        blobs.push((
            segments
                .blob_append(head, length as u64, &[&[7; 300]])
                .unwrap(),
            length as u64 + 300,
        ));
    }
    addrs.extend((0..8).map(|_| segments.allocate(&[9; 450]).unwrap()));
    let seg = segments.finish().unwrap();
    txn.commit(Roots {
        seg,
        ..Roots::default()
    })
    .unwrap();
    assert!(seg[0] >= 1, "the index has pages");
    (seg, addrs, blobs)
}

fn apply(store: &PageStore, damages: &[Damage]) {
    let mut txn = store.begin().unwrap();
    // Pages with a header, twice as likely as any: damage to raw pages is only wrong data.
    let all: Vec<_> = (1..txn.logical_pages())
        .map(LogicalPage)
        .filter(|&page| txn.is_allocated(page).unwrap())
        .collect();
    let formed: Vec<_> = all
        .iter()
        .copied()
        .filter(|&page| matches!(txn.page(page).unwrap()[..2], [1, 0] | [2, 1 | 2]))
        .collect();
    for damage in damages {
        let pick = |page: usize| formed[page % formed.len()];
        match damage {
            Damage::Byte(page, at, value) => txn.page_mut(pick(*page)).unwrap()[at % 512] = *value,
            Damage::Word(page, at, value) => {
                txn.page_mut(pick(*page)).unwrap()[at % 511..][..2]
                    .copy_from_slice(&value.to_le_bytes());
            }
            Damage::Random(page, bytes) => txn.page_mut(pick(*page)).unwrap()[at_body(bytes)..]
                .copy_from_slice(&bytes[at_body(bytes)..]),
            Damage::Copy(from, to) => {
                let copy = txn.page(pick(*from)).unwrap().to_vec();
                txn.page_mut(pick(*to)).unwrap().copy_from_slice(&copy);
            }
        }
    }
    txn.commit(store.snapshot().roots().to_owned()).unwrap();
}

/// Random pages keep their type every other time, so that what follows is read at all.
fn at_body(bytes: &[u8]) -> usize {
    if bytes[0].is_multiple_of(2) { 8 } else { 0 }
}

fn read_everything<R: PageRead>(
    pages: &R,
    seg: &[u8; 64],
    addrs: &[SegmentAddr],
    blobs: &[(SegmentAddr, u64)],
) {
    let mut references = References::new();
    for &addr in addrs {
        let _ = segment(pages, addr);
        references.add_segment(addr);
    }
    for &(head, length) in blobs {
        let _ = (
            blob_slice(pages, head, length),
            blob_pages(pages, head, length),
        );
        let _ = blob_read(
            pages,
            head,
            length,
            length / 3,
            &mut vec![0; (length / 2) as usize],
        );
        if let Ok(bytes) = blob_to_vec(pages, head, length) {
            assert_eq!(bytes.len() as u64, length);
        }
        if let Ok(chunks) = BlobChunks::new(pages, head, length) {
            assert!(
                chunks
                    .filter_map(Result::ok)
                    .map(<[u8]>::len)
                    .sum::<usize>() as u64
                    <= length
            );
        }
        let _ = references.add_blob(pages, head, length);
        // Any byte may be taken for a head, and any length asked for.
        for odd in [0, 1, length + 1, 1 << 40, u64::MAX] {
            let _ = (
                blob_to_vec(pages, head, odd),
                blob_slice(pages, SegmentAddr::new(head.page, odd as u16), odd),
            );
        }
    }
    let _ = stats(pages, seg);
    verify(pages, seg, &references).expect("damage is a finding, not an error");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_pages_are_survived(damages in damages(), root in prop::option::of((0usize..64, any::<u8>())), pick in any::<usize>()) {
        let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
        let (mut seg, addrs, blobs) = build(&store);
        apply(&store, &damages);
        if let Some((at, value)) = root {
            seg[at] = value;
        }
        read_everything(&store.snapshot(), &seg, &addrs, &blobs);

        // Every writer once, each in a transaction of its own that is dropped; then all of them in one.
        type Edit<'e> = Box<dyn Fn(&mut SegmentTxn<'_, '_>) -> shroom_seg::Result<()> + 'e>;
        let addr = addrs[pick % addrs.len()];
        let (head, length) = blobs[pick % blobs.len()];
        let edits: Vec<Edit<'_>> = vec![
            Box::new(|segments| segments.allocate(&[1; 30]).map(drop)),
            Box::new(|segments| segments.allocate(&[1; 480]).map(drop)),
            Box::new(|segments| segments.replace(addr, &[1; 200]).map(drop)),
            Box::new(|segments| segments.free(addr)),
            Box::new(|segments| segments.blob_create(&[&[1; 3000]]).map(drop)),
            Box::new(|segments| segments.blob_append(head, length, &[&[1; 3000]]).map(drop)),
            Box::new(|segments| segments.blob_truncate(head, length, length / 2).map(drop)),
            Box::new(|segments| segments.blob_free(head, length)),
        ];
        for edit in &edits {
            let mut txn = store.begin().unwrap();
            if let Ok(mut segments) = SegmentTxn::open(&mut txn, &seg) {
                let _ = edit(&mut segments).and_then(|()| segments.finish().map(drop));
            }
        }
        let mut txn = store.begin().unwrap();
        if let Ok(mut segments) = SegmentTxn::open(&mut txn, &seg) {
            for edit in &edits {
                if let Err(error) = edit(&mut segments) {
                    prop_assert!(!error.to_string().is_empty());
                    break;
                }
            }
            let _ = segments.finish();
        }
    }
}

#[test]
fn a_chain_that_bites_its_tail_ends() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let (_, addrs, _) = build(&store);
    let mut txn = store.begin().unwrap();
    // A page with one segment of 490 bytes whose link leads back to itself, by a far link and by a local one.
    for far in [true, false] {
        let page = addrs[0].page;
        let bytes = txn.page_mut(page).unwrap();
        bytes[8..].fill(0);
        bytes[8..10].copy_from_slice(&488u16.to_le_bytes());
        if far {
            bytes[498..500].copy_from_slice(&1u16.to_le_bytes());
            bytes[500..506].copy_from_slice(&SegmentAddr::new(page, 8).to_bytes());
        } else {
            bytes[498..500].copy_from_slice(&8u16.to_le_bytes());
        }
        let head = SegmentAddr::new(page, 8);
        assert!(segment(&txn, head).unwrap_err().is_corruption());
        for length in [0, 100, 486, 100_000, 100_000_000, u64::MAX] {
            assert!(blob_to_vec(&txn, head, length).unwrap_err().is_corruption());
            assert!(blob_pages(&txn, head, length).is_err());
        }
        // Empty links may not spin either.
        let bytes = txn.page_mut(page).unwrap();
        bytes[8..12].copy_from_slice(&[0, 0, 8, 0]);
        assert!(blob_to_vec(&txn, head, 5).unwrap_err().is_corruption());
    }
}

#[test]
fn a_chain_inside_one_page_is_read() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let mut txn = store.begin().unwrap();
    let page = txn.allocate().unwrap();
    // "ab" at 8 leads to "cdef" at 14, whose last byte is slack.
    let bytes = txn.page_mut(page).unwrap();
    bytes[..8].copy_from_slice(&[1, 0, 2, 0, 22, 0, 0xEA, 1]);
    bytes[8..22].copy_from_slice(&[4, 0, 0, 0, b'a', b'b', 16, 0, 3, 0, b'c', b'd', 0, 0]);
    bytes[22..26].copy_from_slice(&[0, 0, 0, 0]);
    bytes[8..24].copy_from_slice(&[
        4, 0, 0, 0, b'a', b'b', 16, 0, 4, 0, b'c', b'd', b'e', 0, 0, 0,
    ]);
    bytes[4..8].copy_from_slice(&[24, 0, 0xE8, 1]);
    bytes[24..26].copy_from_slice(&484u16.to_le_bytes());
    let head = SegmentAddr::new(page, 8);
    assert_eq!(blob_to_vec(&txn, head, 5).unwrap(), b"abcde");
    assert_eq!(blob_slice(&txn, head, 5).unwrap(), None);
    let mut references = References::new();
    references.add_blob(&txn, head, 5).unwrap();
    let report = verify(&txn, &[0; 64], &references).unwrap();
    // The root knows nothing of this page; the page itself is sound.
    assert_eq!(report.live_segments, 2);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.offset.is_none()),
        "{:?}",
        report.findings
    );
}

/// A chain of segments of one page, each of two zero bytes of data: every one of them could be the head of a blob.
fn beads(bytes: &mut [u8]) -> Vec<u16> {
    let size = 6;
    let offsets: Vec<u16> = (8..bytes.len() as u16 - size - 4)
        .step_by(size.into())
        .collect();
    bytes.fill(0);
    for &offset in &offsets {
        let at = usize::from(offset);
        bytes[at..at + 2].copy_from_slice(&2u16.to_le_bytes());
        bytes[at + 4..at + 6].copy_from_slice(&(offset + size).to_le_bytes());
    }
    let (last, rest) = (offsets[offsets.len() - 1], offsets.len() * 6 + 8);
    bytes[usize::from(last) + 4..usize::from(last) + 6].fill(0);
    let free = bytes.len() - rest;
    bytes[..4].copy_from_slice(&[1, 0, offsets.len() as u8, (offsets.len() >> 8) as u8]);
    bytes[4..6].copy_from_slice(&(rest as u16).to_le_bytes());
    bytes[6..8].copy_from_slice(&(free as u16).to_le_bytes());
    bytes[rest..rest + 2].copy_from_slice(&(free as u16 - 4).to_le_bytes());
    offsets
}

#[test]
fn blobs_that_share_their_segments_are_not_walked_without_end() {
    let store = PageStore::in_memory(PageSize::new(16_384).unwrap()).unwrap();
    let mut txn = store.begin().unwrap();
    let page = txn.allocate().unwrap();
    let offsets = beads(txn.page_mut(page).unwrap());
    assert!(offsets.len() > 2_000);
    let mut references = References::new();
    let lengths = (0..offsets.len()).map(|at| (offsets.len() - at) as u64 * 2 - 2);
    let added = offsets.iter().zip(lengths).filter(|(offset, length)| {
        let head = SegmentAddr::new(page, **offset);
        match references.add_blob(&txn, head, *length) {
            Ok(()) => true,
            Err(error) => {
                assert!(error.is_corruption());
                false
            }
        }
    });
    // The store has two pages' worth of bytes, and the first of these blobs takes one: twice that holds few of the others.
    assert!((1..8).contains(&added.count()));
    let report = verify(&txn, &[0; 64], &references).unwrap();
    assert!(report.findings.len() < 3 * offsets.len());
}

#[test]
fn blobs_that_share_their_extents_are_refused() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
    let blob = segments.blob_create(&[&[1; 51_200]]).unwrap();
    let descriptor = segment(segments.pages(), blob).unwrap().to_vec();
    let twin = segments.allocate(&descriptor).unwrap();
    let mut references = References::new();
    for head in [blob, twin] {
        references.add_blob(segments.pages(), head, 51_200).unwrap();
    }
    // What two name is a finding; what more do is not even noted.
    let third = segments.allocate(&descriptor).unwrap();
    let error = references
        .add_blob(segments.pages(), third, 51_200)
        .unwrap_err();
    assert!(error.is_corruption(), "{error}");
    let report = verify(segments.pages(), &[0; 64], &references).unwrap();
    let shared = report.findings.iter();
    let shared = shared.filter(|finding| finding.text.contains("extent page and as extent page"));
    assert_eq!(shared.count(), 100);
}

#[test]
fn a_link_of_a_segment_that_stands_alone_is_found() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
    let other = segments.allocate(&[1; 30]).unwrap();
    // The last 6 bytes of this one will be its link: sizes and counts stay right.
    let linked = segments.allocate(&[2; 40]).unwrap();
    let root = segments.finish().unwrap();
    let mut references = References::new();
    references.add_segment(other);
    references.add_segment(linked);
    assert!(verify(&txn, &root, &references).unwrap().is_sound());
    let bytes = txn.page_mut(linked.page).unwrap();
    let at = usize::from(linked.offset);
    bytes[at..at + 2].copy_from_slice(&34u16.to_le_bytes());
    bytes[at + 36..at + 38].copy_from_slice(&1u16.to_le_bytes());
    bytes[at + 38..at + 44].copy_from_slice(&other.to_bytes());
    let report = verify(&txn, &root, &references).unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].offset, Some(linked.offset));
}

#[test]
fn an_empty_segment_with_a_link_is_found() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
    let other = segments.allocate(&[1; 30]).unwrap();
    let linked = segments.allocate(&[]).unwrap();
    segments.finish().unwrap();
    let bytes = txn.page_mut(linked.page).unwrap();
    let at = usize::from(linked.offset);
    bytes[at + 2..at + 4].copy_from_slice(&other.offset.to_le_bytes());
    assert!(shroom_seg::live_segments(linked.page, txn.page(linked.page).unwrap()).is_none());
}

/// Found by fuzzing the format's description against the reader: the format did not say that no writer makes this.
#[test]
fn a_chain_whose_last_segment_is_empty_is_refused() {
    let store = PageStore::in_memory(PageSize::new(512).unwrap()).unwrap();
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
    let head = segments.allocate(&[0, 0, b'a', b'b', b'c']).unwrap();
    let last = segments.allocate(&[]).unwrap();
    segments.finish().unwrap();
    assert_eq!(blob_to_vec(&txn, head, 3).unwrap(), b"abc");
    let bytes = txn.page_mut(head.page).unwrap();
    let link = usize::from(head.offset) + 2 + 5;
    bytes[link..link + 2].copy_from_slice(&last.offset.to_le_bytes());
    for length in 0..8 {
        let error = blob_to_vec(&txn, head, length).unwrap_err();
        assert!(error.is_corruption(), "{length}: {error}");
        assert!(References::new().add_blob(&txn, head, length).is_err());
    }
}

/// A store that claims as many logical pages as a map of 7 levels can hold, and is a few pages long.
fn with_half_a_billion_pages(bytes: Vec<u8>) -> Vec<u8> {
    let mut image = Image::new(bytes).unwrap();
    let (fanout, levels) = (image.fanout(), 7_u8);
    let span = (fanout as u32).pow(levels.into());
    let (pages, entries) = (6 * span, 6);
    let roots = image.u32(field::ROOT_ENTRIES) as usize;
    let old: Vec<u32> = (0..roots)
        .map(|index| image.u32(SUPERBLOCK_HEADER_LEN + index * 4))
        .collect();
    let first = image.add_pages(levels.into());
    for level in 0..levels {
        let page = (first + u32::from(levels - 1 - level)) as usize;
        image.set(page * 512, &[3, level]);
        if level == 0 {
            for (index, physical) in old.iter().enumerate() {
                image.set(image.map_entry(page, index), &physical.to_le_bytes());
            }
        } else {
            image.set(image.map_entry(page, 0), &(page as u32 + 1).to_le_bytes());
        }
        image.recount_map_page(page);
    }
    image.set(SUPERBLOCK_HEADER_LEN, &[0; 512 - SUPERBLOCK_HEADER_LEN]);
    image.set(SUPERBLOCK_HEADER_LEN, &first.to_le_bytes());
    image.set(field::MAP_HEIGHT, &[levels]);
    image.set(field::LOGICAL_PAGES, &u32::to_le_bytes(pages));
    image.set(field::ROOT_ENTRIES, &u32::to_le_bytes(entries));
    // No free physical page; one logical run, of which only the last page is told.
    let mut record = vec![0, 1];
    for mut value in [pages - 1, 1] {
        while value > 127 {
            record.push(value as u8 | 128);
            value >>= 7;
        }
        record.push(value as u8);
    }
    let tail = SUPERBLOCK_HEADER_LEN + entries as usize * 36;
    image.set(tail, &record);
    image.set(field::FREE_BYTES, &(record.len() as u32).to_le_bytes());
    image.seal();
    image.level_slots();
    image.into_bytes()
}

#[test]
fn pages_that_a_forged_map_only_claims_cost_nothing() {
    let memory = MemoryStorage::new();
    let page_size = PageSize::new(512).unwrap();
    let store = PageStore::create(Arc::new(memory.clone()), page_size).unwrap();
    let mut txn = store.begin().unwrap();
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
    // A blob whose only extent is all the pages there seem to be.
    let extent: Vec<u8> = [
        &[1, 0][..],
        &1u32.to_le_bytes(),
        &600_000_000u32.to_le_bytes(),
    ]
    .concat();
    let vast = segments.allocate(&extent).unwrap();
    let circle = segments.allocate(&[0; 100]).unwrap();
    let seg = segments.finish().unwrap();
    let bytes = txn.page_mut(circle.page).unwrap();
    let link = usize::from(circle.offset) + 2 + 100;
    bytes[link..link + 2].copy_from_slice(&circle.offset.to_le_bytes());
    txn.commit(Roots {
        seg,
        ..Roots::default()
    })
    .unwrap();
    drop(store);

    let forged = with_half_a_billion_pages(memory.to_bytes());
    let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(forged))).unwrap();
    let snapshot = store.snapshot();
    assert_eq!(snapshot.logical_pages(), 6 * 14u32.pow(7));
    let length = 600_000_000 * 512;
    let mut references = References::new();
    for (head, length) in [(vast, length), (circle, 1 << 20), (circle, length)] {
        assert!(
            blob_to_vec(&snapshot, head, length)
                .unwrap_err()
                .is_corruption()
        );
        assert!(
            blob_pages(&snapshot, head, length)
                .unwrap_err()
                .is_corruption()
        );
        assert!(references.add_blob(&snapshot, head, length).is_err());
    }
    references.add_segment(vast);
    references.add_segment(circle);
    let report = verify(&snapshot, &seg, &references).unwrap();
    // That the second stands alone and has a link.
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
}
