//! Pages with wrong bytes under right hashes: every operation gives an answer or an error, never a panic or a hang.

mod support;

use proptest::prelude::*;
use shroom_page::{LogicalPage, PageRead, PageSize};
use shroom_seg::{References, SegmentAddr, SegmentTxn};
use shroom_token::{
    Bytes, Edit, LookupCache, TokenError, TokenId, TokenRoot, bulk_append, get, get_cached,
    get_many_cached, info, merge, range, verify,
};
use support::{Lasting, Random, Store};

fn sample(page_size: PageSize, tokens: u64, seed: u64) -> Store {
    let store = Store::new(page_size);
    let mut random = Random(seed);
    let longest = page_size.bytes() as u64 / 3;
    let load: Vec<_> = (0..tokens)
        .map(|id| {
            let len = random.log_uniform(1, longest);
            (TokenId(id * 5), random.bytes(len))
        })
        .collect();
    store.bulk(load).unwrap();
    let put = |id| (TokenId(id), Edit::Put(Bytes::One(b"between")));
    store
        .merge((0..tokens / 3).map(|id| put(id * 15 + 1)), usize::MAX)
        .unwrap();
    store
}

/// Damages some pages of a store and runs everything over it.
fn torture(store: &Store, random: &mut Random, damages: u64) -> bool {
    let (snapshot, root) = store.snapshot();
    let seg = snapshot.roots().seg;
    let mut txn = store.pages.begin().unwrap();
    let numbers = u64::from(txn.logical_pages());
    for _ in 0..damages {
        let page = LogicalPage(random.below(numbers) as u32);
        if !txn.is_allocated(page).unwrap_or(false) {
            continue;
        }
        let bytes = txn.page_mut(page).unwrap();
        let at = match random.below(3) {
            0 => random.below(bytes.len() as u64),
            1 => random.below(30),
            _ => random.below(100),
        };
        let byte = match random.below(3) {
            0 => random.next() as u8,
            1 => bytes[at as usize].wrapping_add(1),
            _ => bytes[at as usize] ^ (1 << random.below(8)),
        };
        bytes[at as usize] = byte;
    }
    let mut encoded = root.encode();
    if random.below(8) == 0 {
        encoded[random.below(32) as usize] = random.below(12) as u8;
    }
    let Ok(root) = TokenRoot::decode(&encoded) else {
        return true;
    };
    let mut wrong = false;
    let (cache, lasting) = (LookupCache::new(), Lasting(&txn));
    for _ in 0..50 {
        let id = TokenId(random.below(3_000));
        wrong |= get(&txn, &root, id).is_err();
        // The first one reads the pages, the second one what the first has learned.
        for _ in 0..2 {
            wrong |= get_cached(&lasting, &root, &cache, id).is_err();
        }
        let many = [id, TokenId(id.0 / 2)];
        wrong |= get_many_cached(&lasting, &root, &cache, many).is_err();
        let _ = info(&txn, &root, id);
    }
    // Ids strictly progress, so these end.
    wrong |= range(&txn, &root, ..).any(|item| item.is_err());
    wrong |= range(&txn, &root, ..).rev().any(|item| item.is_err());
    let mut tokens = range(&txn, &root, ..);
    wrong |= tokens
        .visit(usize::MAX, |_, _| Ok::<(), TokenError>(()))
        .is_err();
    assert!(tokens.next().is_none());
    let mut references = References::new();
    let report = verify(&txn, &root, &mut references).unwrap();
    let segments = shroom_seg::verify(&txn, &seg, &references);
    let sound = report.is_sound() && segments.is_ok_and(|report| report.is_sound());
    assert!(
        !wrong || !sound,
        "an operation failed on what verify calls sound"
    );
    if random.below(4) == 0 {
        if let Ok(mut segments) = SegmentTxn::open(&mut txn, &seg) {
            let _ = bulk_append(&mut segments, &root, [(TokenId(u64::MAX), [1; 700])]);
        }
    } else if let Ok(mut segments) = SegmentTxn::open(&mut txn, &seg) {
        let mut edits: Vec<_> = (0..80).map(|_| random.below(3_000)).collect();
        edits.sort_unstable();
        edits.dedup();
        let long = vec![7; 1_500];
        let edits = edits.iter().map(|id| {
            let edit = match id % 4 {
                0 => Edit::Delete,
                1 => Edit::Append {
                    kept: 0,
                    tail: Bytes::One(b"tail"),
                },
                2 => Edit::Put(Bytes::One(&long)),
                _ => Edit::Put(Bytes::One(b"short")),
            };
            (TokenId(*id), edit)
        });
        let _ = merge(&mut segments, &root, &mut edits.peekable(), usize::MAX);
    }
    sound
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_pages_are_safe(seed: u64, tokens in 1u64..1_200, shift in 9u8..13, damages in 1u64..12) {
        let store = sample(PageSize::from_shift(shift).unwrap(), tokens, seed);
        let mut random = Random(seed ^ 1);
        for _ in 0..4 {
            torture(&store, &mut random, damages);
        }
    }
}

#[test]
fn undamaged_pages_are_sound() {
    let store = sample(PageSize::new(512).unwrap(), 3_000, 1);
    let (snapshot, root) = store.snapshot();
    assert!(root.height() >= 3 && snapshot.logical_pages() > 100);
    let report = store.verify();
    assert!(report.blobs > 0 && report.directory_pages > 2);
}

/// A directory page of 256 entries that all name the same place, with ids from `first` on.
fn crowded(bytes: &mut [u8], level: u8, first: u64, place: SegmentAddr) {
    bytes.fill(0);
    bytes[..8].copy_from_slice(&[2, if level == 0 { 3 } else { 4 }, 0, 1, level, 1, 0, 0]);
    bytes[8..16].copy_from_slice(&first.to_le_bytes());
    bytes[16..22].copy_from_slice(&place.to_bytes());
    for (id, byte) in bytes[22..22 + 256].iter_mut().enumerate() {
        *byte = id as u8;
    }
}

/// Only the right edge of this directory is real. It is as high as can be, and every page on the edge is full.
#[test]
fn a_directory_of_the_greatest_height_does_not_grow() {
    let store = Store::new(PageSize::new(512).unwrap());
    let last_id = |level: u8| 255 * u64::from(7 - level);
    store.bulk([(TokenId(last_id(0)), [1; 100])]).unwrap();
    let (snapshot, root) = store.snapshot();
    let encoded = root.encode();
    assert_eq!(encoded[0], 1);
    let mut place = SegmentAddr::from_bytes(*encoded[4..].first_chunk().unwrap());
    let mut txn = store.pages.begin().unwrap();
    for level in 0..7 {
        let page = txn.allocate().unwrap();
        let first = last_id(level) - 255;
        crowded(txn.page_mut(page).unwrap(), level, first, place);
        place = SegmentAddr::new(page, 0);
    }
    let mut forged = encoded;
    forged[0] = 8;
    forged[4..10].copy_from_slice(&place.to_bytes());
    let root = TokenRoot::decode(&forged).unwrap();
    assert!(get(&txn, &root, TokenId(last_id(0))).unwrap().is_some());
    let mut segments = SegmentTxn::open(&mut txn, &snapshot.roots().seg).unwrap();
    let tokens = (1..600).map(|step| (TokenId(last_id(0) + step * 1_000), [2; 100]));
    let error = bulk_append(&mut segments, &root, tokens).unwrap_err();
    assert!(
        matches!(
            error,
            TokenError::Root {
                field: "height",
                got: 9,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_corruption());
}
