//! Reads the input as the data of a pack, alone and as the only pack of a store, then edits it.
//!
//! * K1 Nothing panics, hangs, or takes memory without bound; what is wrong is said to be the file's fault.
//! * K2 Of a pack that the strict check accepts, every way to read gives the same tokens, in ascending order; and the layer's
//!   `verify` agrees with the check, but for blobs that the pack names and that are none.
//! * K3 Such a pack is the only encoding of its tokens (format §7): written anew, it has the same bytes, but for slack.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

use std::sync::LazyLock;

use shroom_page::{PageRead, PageSize, PageStore, PageTxn, Roots};
use shroom_seg::{References, SegmentAddr, SegmentTxn, segment, segment_data};
use shroom_sim::Choices;
use shroom_token::{
    Bytes, Edit, LookupCache, Pack, Stored, TokenError, TokenId, TokenRoot, bulk_append, get,
    get_cached, info, inline_len_max, merge, range, verify,
};

/// Page sizes of the stores that packs are put in, in bytes.
const PAGE_SIZES: [u32; 3] = [512, 4096, 65_536];
/// Zero bytes that a segment may have after a pack (format §5).
const SLACK_LEN_MAX: usize = 3;
/// Lengths of blobs that are in every store, for packs to name.
const BLOB_LENS: [usize; 3] = [200, 700, 9_000];

/// Stores with some blobs and nothing else. No transaction over them is committed.
static STORES: LazyLock<[PageStore; 3]> = LazyLock::new(|| PAGE_SIZES.map(store));

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let store = &STORES[choices.index(STORES.len())];
    let edit = choices.short();
    let page_len = store.page_size().bytes();
    let mut data = choices.bytes(page_len - 12).to_vec();
    if edit % 8 == 7 {
        name_blobs(&mut data, store);
    }
    let limit = inline_len_max(page_len);
    read_alone(&data, limit);

    let mut txn = store.begin().expect("begin");
    let seg = store.snapshot().roots().seg;
    let mut segments = SegmentTxn::open(&mut txn, &seg).expect("a sound store");
    let addr = segments.allocate(&data).expect("a segment of any bytes");
    // With the slack of its segment, which with its own may be more than a pack may have.
    let data = segment_data(segments.pages(), addr).expect("it was stored");
    let data = data.to_vec();
    let alone = read_alone(&data, limit);
    let Some(root) = root(addr, alone.as_deref(), edit) else {
        return;
    };
    read_stored(segments.pages(), &root, addr, alone.as_deref());
    if let Some(tokens) = &alone {
        write_anew(&mut segments, &root, &data, tokens);
    } else {
        drop(segments);
        drop(txn);
        edit_unsound(store, &root, &data, u64::from(edit));
    }
}

fn store(page_size: u32) -> PageStore {
    let store = PageStore::in_memory(PageSize::new(page_size).expect("a page size"));
    let store = store.expect("a store in memory");
    let mut txn = store.begin().expect("begin");
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).expect("an empty store");
    for len in BLOB_LENS {
        segments
            .blob_create(&[&vec![len as u8; len]])
            .expect("create");
    }
    let seg = segments.finish().expect("finish");
    txn.commit(Roots {
        seg,
        ..Roots::default()
    })
    .expect("commit");
    store
}

/// Makes the first values of a pack name the store's first storage page, so that references lead to segments.
fn name_blobs(data: &mut [u8], store: &PageStore) {
    let snapshot = store.snapshot();
    let storage = (1..snapshot.logical_pages()).find(|page| {
        snapshot
            .page(shroom_page::LogicalPage(*page))
            .is_ok_and(|bytes| bytes[..2] == [1, 0])
    });
    let Some(at) = data.len().checked_sub(14) else {
        return;
    };
    let page = storage.expect("blobs have a storage page").to_le_bytes();
    data[at..at + 4].copy_from_slice(&page);
    data[at + 4] = 8;
    data[at + 5] = 0;
}

type Token<'a> = (TokenId, Stored<'a>);

/// Reads a pack without a store; its tokens, when the strict check accepts it.
fn read_alone(data: &[u8], limit: usize) -> Option<Vec<Token<'_>>> {
    let pack = Pack::parse(data).ok()?;
    assert!(!pack.is_empty() && pack.len() <= usize::from(u16::MAX));
    let sound = pack.check(limit).is_ok();
    let mut tokens = Vec::new();
    for index in 0..pack.len() {
        let (id, slot) = (pack.id(index), pack.slot(index));
        assert!(!sound || slot.is_ok(), "{slot:?}");
        tokens.extend(slot.ok().map(|slot| (id, slot)));
    }
    let beyond = tokens
        .last()
        .and_then(|(id, _)| id.0.checked_add(5))
        .map(TokenId);
    let step = tokens.len().div_ceil(64);
    for index in (0..tokens.len()).step_by(step.max(1)) {
        let (id, slot) = tokens[index];
        // A hint may cost time, but changes no answer.
        for next in [
            None,
            beyond,
            Some(TokenId(0)),
            Some(TokenId(id.0.wrapping_add(1))),
        ] {
            let found = pack.get(id, next);
            let count = pack.count_up_to(id, next);
            assert!(count <= pack.len());
            if sound {
                assert_eq!(found, Ok(Some(slot)), "{id:?}");
                assert_eq!(count, index + 1, "{id:?}");
            }
        }
        for other in [id.0.wrapping_sub(1), id.0.wrapping_add(1)].map(TokenId) {
            let found = pack.get(other, beyond);
            if sound {
                let expected = tokens.binary_search_by_key(&other, |token| token.0);
                let expected = expected.ok().map(|at| tokens[at].1);
                assert_eq!(found, Ok(expected), "{other:?}");
            }
        }
    }
    if sound {
        assert!(tokens.is_sorted_by(|left, right| left.0 < right.0));
        assert_eq!(pack.first_id(), tokens[0].0);
    }
    sound.then_some(tokens)
}

/// The root of a store with one pack. Its totals are right where the tokens are known and their lengths can be summed up.
fn root(addr: SegmentAddr, tokens: Option<&[Token<'_>]>, edit: u16) -> Option<TokenRoot> {
    let (count, payload) = match tokens {
        Some(tokens) => {
            let payload = tokens
                .iter()
                .try_fold(0_u64, |sum, (_, slot)| sum.checked_add(slot.len()));
            (tokens.len() as u64, payload?)
        }
        None => (u64::from(edit) + 1, u64::from(edit) * 3),
    };
    let mut bytes = [0; TokenRoot::LEN];
    bytes[0] = 1;
    bytes[4..10].copy_from_slice(&addr.to_bytes());
    bytes[16..24].copy_from_slice(&count.to_le_bytes());
    bytes[24..].copy_from_slice(&payload.to_le_bytes());
    Some(TokenRoot::decode(&bytes).expect("a root of height 1"))
}

fn blames_the_file(error: TokenError) -> TokenError {
    assert!(error.is_corruption(), "{error:?}");
    error
}

/// Reads the pack through the layer's operations (K1, K2).
fn read_stored(
    pages: &PageTxn<'_>,
    root: &TokenRoot,
    addr: SegmentAddr,
    expected: Option<&[Token<'_>]>,
) {
    let forwards: Result<Vec<_>, _> = range(pages, root, ..).collect();
    let backwards: Result<Vec<_>, _> = range(pages, root, ..).rev().collect();
    let cache = LookupCache::new();
    let ids = forwards.iter().flatten().map(|(id, _)| id.0);
    for id in ids.take(40).chain([0, 7, u64::MAX]).map(TokenId) {
        let found = get(pages, root, id).map_err(blames_the_file);
        let cached = get_cached(pages, root, &cache, id).map_err(blames_the_file);
        assert_eq!(found.ok(), cached.ok());
        let _ = info(pages, root, id).map_err(blames_the_file);
    }
    let mut references = References::new();
    let report = verify(pages, root, &mut references).expect("damage is a finding");
    let flawed = |error: &TokenError| !matches!(error, TokenError::Seg(_) | TokenError::Page(_));
    match expected {
        Some(expected) => {
            assert_eq!(forwards.expect("a sound pack can be read"), expected);
            let mut backwards = backwards.expect("a sound pack can be read");
            backwards.reverse();
            assert_eq!(backwards, expected);
            assert!(!report.findings.iter().any(flawed), "{:?}", report.findings);
            let blobs = expected
                .iter()
                .filter(|(_, slot)| matches!(slot, Stored::Blob { .. }));
            assert_eq!(report.blobs, blobs.count() as u64);
            assert!(report.blobs > 0 || report.is_sound());
            let middle = expected[expected.len() / 2].0;
            let part: Result<Vec<_>, _> = range(pages, root, middle..).collect();
            assert_eq!(part.expect("as all"), expected[expected.len() / 2..]);
        }
        None => {
            let _ = (
                forwards.map_err(blames_the_file),
                backwards.map_err(blames_the_file),
            );
            assert!(!report.is_sound(), "{addr} is flawed");
        }
    }
}

/// K3: adds a token, which writes the pack anew, and takes it away again.
fn write_anew(
    segments: &mut SegmentTxn<'_, '_>,
    root: &TokenRoot,
    data: &[u8],
    tokens: &[Token<'_>],
) {
    let (first, last) = (tokens[0].0.0, tokens[tokens.len() - 1].0.0);
    let Some(guest) = last
        .checked_add(1)
        .or_else(|| first.checked_sub(1))
        .map(TokenId)
    else {
        return;
    };
    let mut put = [(guest, Edit::Put(Bytes::One(b"guest")))]
        .into_iter()
        .peekable();
    let with = merge(segments, root, &mut put, usize::MAX);
    // The totals may have no room for one more.
    let full = root.payload().checked_add(5).is_none();
    let Ok(with) = with else {
        assert!(full, "{with:?}");
        return;
    };
    let found = get(segments.pages(), &with, guest).expect("a sound pack");
    assert_eq!(found, Some(Stored::Inline(b"guest")));
    let mut delete = [(guest, Edit::Delete)].into_iter().peekable();
    let without = merge(segments, &with, &mut delete, usize::MAX).expect("a sound pack");
    assert_eq!(
        (without.tokens(), without.payload()),
        (root.tokens(), root.payload())
    );
    let pages = segments.pages();
    let found: Result<Vec<_>, _> = range(pages, &without, ..).collect();
    assert_eq!(found.expect("a sound pack"), tokens);
    if without.height() > 1 {
        return; // the guest needed a pack of its own, and the two stayed apart
    }
    let bytes = without.encode();
    let addr = SegmentAddr::from_bytes(bytes[4..10].try_into().expect("six bytes"));
    let written = segment(pages, addr).expect("a pack");
    let common = written.len().min(data.len());
    assert_eq!(written[..common], data[..common]);
    for slack in [&written[common..], &data[common..]] {
        assert!(slack.len() <= SLACK_LEN_MAX && slack.iter().all(|byte| *byte == 0));
    }
}

/// Edits of a pack that is not sound: done or refused.
fn edit_unsound(store: &PageStore, root: &TokenRoot, data: &[u8], number: u64) {
    let ids = Pack::parse(data).map(|pack| {
        let ids = (0..pack.len())
            .step_by(pack.len().div_ceil(8))
            .map(|index| pack.id(index).0);
        ids.chain([0, number, u64::MAX])
            .collect::<std::collections::BTreeSet<u64>>()
    });
    let ids = ids.unwrap_or_else(|_| [number].into());
    let long = vec![5; store.page_size().bytes()];
    for bulk in [false, true] {
        let mut txn = store.begin().expect("begin");
        let seg = store.snapshot().roots().seg;
        let mut segments = SegmentTxn::open(&mut txn, &seg).expect("a sound store");
        let addr = segments.allocate(data).expect("a segment of any bytes");
        assert_eq!(root.encode()[4..10], addr.to_bytes());
        if bulk {
            let appended = bulk_append(&mut segments, root, [(TokenId(u64::MAX), &long[..9])]);
            let misuse = matches!(appended, Err(TokenError::NotAscending { .. }));
            let _ = appended.map_err(|error| {
                if misuse {
                    error
                } else {
                    blames_the_file(error)
                }
            });
            continue;
        }
        let edits = ids.iter().enumerate().map(|(index, id)| {
            let edit = match (index as u64 + number) % 4 {
                0 => Edit::Delete,
                1 => Edit::Put(Bytes::One(&long)),
                2 => Edit::Put(Bytes::One(b"short")),
                _ => Edit::Append {
                    kept: 0,
                    tail: Bytes::One(b"tail"),
                },
            };
            (TokenId(*id), edit)
        });
        let _ =
            merge(&mut segments, root, &mut edits.peekable(), usize::MAX).map_err(blames_the_file);
    }
}
