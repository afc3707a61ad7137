//! Forges directory pages, packs and the token root of a store, then looks tokens up, checks and edits.
//!
//! The input changes pages as bytes, or as entries that are encoded again, so that what follows a page's own check is reached: entries
//! that name others' pages, ids out of place, circles. The root's totals may be made to agree with what is found.
//!
//! * D1 Nothing panics, hangs, or takes memory without bound; what is wrong is said to be the file's fault.
//! * D2 In a store that `verify` finds sound, every way to read gives the same tokens, as many as the root says.
//! * D3 Such a store takes edits, stays sound, and holds what a map holds after the same edits.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

#[path = "pages.rs"]
mod pages;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use shroom_page::storage::MemoryStorage;
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, PageTxn, Roots, Snapshot};
use shroom_seg::{References, SegmentTxn, blob_to_vec};
use shroom_sim::Choices;
use shroom_token::{
    Bytes, Edit, LookupCache, Stored, TokenError, TokenId, TokenRoot, bulk_append, directory_pages,
    get, get_cached, info, merge, range, survivors, verify,
};

/// The stores that are forged: page size in bytes, tokens, length of most of them, and the root's height.
const STORES: [(u32, u64, usize, u8); 5] = [
    (512, 1_200, 110, 3),
    (512, 150, 110, 2),
    (1024, 900, 220, 3),
    (4096, 300, 12, 2),
    (512, 8, 12, 1),
];
/// Changes to a store, at most.
const CHANGES_MAX: u8 = 6;
/// Tokens read in a store that is not sound, at most.
const TOKENS_MAX: usize = 10_000;
/// Format §8.
const HEADER_LEN: usize = 8 + 14;

/// A sound store, and where its directory is.
struct Sample {
    image: Vec<u8>,
    /// Directory pages, each with its level.
    directory: Vec<(LogicalPage, u8)>,
    /// Storage pages.
    storage: Vec<LogicalPage>,
}

static SAMPLES: LazyLock<[Sample; 5]> =
    LazyLock::new(|| STORES.map(|(size, tokens, len, height)| sample(size, tokens, len, height)));

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let sample = &SAMPLES[choices.index(SAMPLES.len())];
    let memory = MemoryStorage::from_bytes(sample.image.clone());
    let store = PageStore::open(Arc::new(memory)).expect("the sample opens");
    let Some(root) = forge(&store, sample, &mut choices) else {
        return;
    };
    let snapshot = store.snapshot();
    let sound = is_sound(&snapshot, &root);
    let content = read(&snapshot, &root, sound, &mut choices);
    let survived = survivors(&snapshot, &root, &snapshot.roots().seg).expect("no system error");
    assert!(!sound || survived.spans.iter().all(|span| span.is_proven()));
    append(&store, &root, sound, &content);
    edit(&store, root, sound, content, &mut choices);
}

fn sample(page_size: u32, tokens: u64, len: usize, height: u8) -> Sample {
    let memory = MemoryStorage::new();
    let page_size = PageSize::new(page_size).expect("a page size");
    let store = PageStore::create(Arc::new(memory.clone()), page_size).expect("create");
    let page_len = page_size.bytes();
    let load = (0..tokens).map(|index| {
        let len = match index % 50 {
            49 => page_len + 77, // a blob
            part => len - part as usize % 9,
        };
        // Ids with gaps of many sizes.
        (
            TokenId(index * 5 + ((index / 16) << 20)),
            vec![index as u8; len],
        )
    });
    let mut txn = store.begin().expect("begin");
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).expect("an empty store");
    let root = bulk_append(&mut segments, &TokenRoot::EMPTY, load).expect("load");
    let seg = segments.finish().expect("finish");
    let token = root.encode();
    txn.commit(Roots {
        seg,
        token,
        ..Roots::default()
    })
    .expect("commit");
    let snapshot = store.snapshot();
    let (mut directory, mut storage) = (Vec::new(), Vec::new());
    for page in (1..snapshot.logical_pages()).map(LogicalPage) {
        match snapshot
            .page(page)
            .map(|bytes| [bytes[0], bytes[1], bytes[4]])
        {
            Ok([2, 3 | 4, level]) => directory.push((page, level)),
            Ok([1, 0, _]) => storage.push(page),
            _ => {}
        }
    }
    assert!(is_sound(&snapshot, &root));
    assert_eq!(root.height(), height);
    drop(store);
    Sample {
        image: memory.to_bytes(),
        directory,
        storage,
    }
}

/// Changes pages and the root. None when the root cannot be read, which is said.
fn forge(store: &PageStore, sample: &Sample, choices: &mut Choices<'_>) -> Option<TokenRoot> {
    let mut roots = *store.snapshot().roots();
    let mut txn = store.begin().expect("begin");
    let kind = choices.byte();
    let shape = choices.byte();
    for _ in 0..shape % 8 {
        move_entries(&mut txn, sample, choices);
    }
    for _ in 0..choices.byte() % CHANGES_MAX {
        let changed = match choices.byte() % 8 {
            0 => choices.one_of(&sample.storage),
            _ if sample.directory.is_empty() => choices.one_of(&sample.storage),
            _ => choices.one_of(&sample.directory).0,
        };
        let bytes = match txn.page_mut(changed) {
            Ok(bytes) => bytes,
            Err(_) => continue, // its entries were all moved
        };
        match (choices.byte() % 4, decode(bytes)) {
            (1.., Some((level, mut entries))) => {
                change_entries(&mut entries, sample, choices);
                let level = match choices.byte() {
                    255 => choices.byte() % 9,
                    _ => level,
                };
                encode(bytes, level, &entries);
            }
            _ => pages::forge(bytes, choices),
        }
    }
    raise(&mut txn, &mut roots.token, shape / 32);
    match kind % 8 {
        0 => {
            let at = choices.index(TokenRoot::LEN);
            roots.token[at] = choices.byte();
        }
        1 if !sample.directory.is_empty() => {
            let (page, level) = choices.one_of(&sample.directory);
            roots.token[0] = level + 2;
            roots.token[4..8].copy_from_slice(&page.0.to_le_bytes());
            roots.token[8..10].fill(0);
        }
        2 => roots.token[0] = choices.byte() % 9,
        _ => {}
    }
    let mut root = TokenRoot::decode(&roots.token)
        .map_err(blames_the_file)
        .ok()?;
    if kind & 64 == 0 && root.height() > 0 {
        // Totals that agree with what is found.
        let report = verify(&txn, &root, &mut References::new()).expect("damage is a finding");
        roots.token[16..24].copy_from_slice(&report.tokens.max(1).to_le_bytes());
        roots.token[24..].copy_from_slice(&report.payload.to_le_bytes());
        root = TokenRoot::decode(&roots.token).expect("as before");
    }
    txn.commit(roots).expect("forged pages are only bytes");
    Some(root)
}

/// Id, page and offset of an entry.
type Entry = (u64, u32, u16);

/// Level and entries of a directory page (format §8); none when the page has not the form of one.
fn decode(page: &[u8]) -> Option<(u8, Vec<Entry>)> {
    let number = |at: usize, width: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes
            .get_mut(..width)?
            .copy_from_slice(page.get(at..at + width)?);
        Some(u64::from_le_bytes(bytes))
    };
    if page[0] != 2 || !matches!(page[1], 3 | 4) {
        return None;
    }
    let used = number(2, 2)? as usize;
    let widths = [page[5], page[6], page[7]].map(usize::from);
    let bases = [number(8, 8)?, number(16, 4)?, number(20, 2)?];
    let mut entries = vec![[0; 3]; used];
    let mut at = HEADER_LEN;
    for column in 0..3 {
        for entry in &mut entries {
            entry[column] = bases[column].wrapping_add(number(at, widths[column])?);
            at += widths[column];
        }
    }
    let entries = entries
        .iter()
        .map(|&[id, page, offset]| (id, page as u32, offset as u16));
    Some((page[4], entries.collect()))
}

/// Writes entries in the one form that the format allows, as far as they fit; how many did.
fn encode(page: &mut [u8], level: u8, entries: &[Entry]) -> usize {
    let values = |entry: &Entry| [entry.0, entry.1.into(), entry.2.into()];
    let mut count = entries.len();
    let (bases, widths) = loop {
        let of = |column: usize| {
            entries[..count]
                .iter()
                .map(move |entry| values(entry)[column])
        };
        let bases = [0, 1, 2].map(|column| of(column).min().unwrap_or(0));
        let widths = [0, 1, 2].map(|column| {
            let span = of(column).max().unwrap_or(0) - bases[column];
            (64 - span.leading_zeros()).div_ceil(8) as usize
        });
        if HEADER_LEN + count * widths.iter().sum::<usize>() <= page.len() {
            break (bases, widths);
        }
        count -= 1;
    };
    page.fill(0);
    page[..2].copy_from_slice(&[2, if level == 0 { 3 } else { 4 }]);
    page[2..4].copy_from_slice(&(count as u16).to_le_bytes());
    page[4] = level;
    page[5..8].copy_from_slice(&widths.map(|width| width as u8));
    page[8..16].copy_from_slice(&bases[0].to_le_bytes());
    page[16..20].copy_from_slice(&bases[1].to_le_bytes()[..4]);
    page[20..22].copy_from_slice(&bases[2].to_le_bytes()[..2]);
    let mut at = HEADER_LEN;
    for column in 0..3 {
        for entry in &entries[..count] {
            let bytes = (values(entry)[column] - bases[column]).to_le_bytes();
            page[at..at + widths[column]].copy_from_slice(&bytes[..widths[column]]);
            at += widths[column];
        }
    }
    count
}

/// Moves entries from a leaf to the one before it, as no writer would but as the format allows.
fn move_entries(txn: &mut PageTxn<'_>, sample: &Sample, choices: &mut Choices<'_>) {
    let parents: Vec<LogicalPage> = sample
        .directory
        .iter()
        .filter(|(_, level)| *level == 1)
        .map(|(page, _)| *page)
        .collect();
    if parents.is_empty() {
        return;
    }
    let parent = choices.one_of(&parents);
    let entries_of = |txn: &PageTxn<'_>, page| {
        txn.page(page)
            .ok()
            .and_then(decode)
            .filter(|(_, entries)| !entries.is_empty())
    };
    let Some((1, mut above)) = entries_of(txn, parent).filter(|(_, above)| above.len() > 1) else {
        return;
    };
    let at = choices.index(above.len() - 1);
    let [left_page, right_page] = [at, at + 1].map(|at| LogicalPage(above[at].1));
    let (Some((0, mut left)), Some((0, mut right))) =
        (entries_of(txn, left_page), entries_of(txn, right_page))
    else {
        return; // something else was changed before
    };
    let moved = 1 + choices.index(right.len());
    left.extend(right.drain(..moved));
    let mut page = vec![0; txn.page_size().bytes()];
    if encode(&mut page, 0, &left) < left.len() {
        return;
    }
    txn.page_mut(left_page)
        .expect("it was read")
        .copy_from_slice(&page);
    match right.first() {
        Some(first) => {
            above[at + 1].0 = first.0;
            encode(txn.page_mut(right_page).expect("it was read"), 0, &right);
        }
        None => {
            above.remove(at + 1);
            txn.free(right_page).expect("it was read");
        }
    }
    encode(txn.page_mut(parent).expect("it was read"), 1, &above);
}

/// Puts pages with one entry above the root.
fn raise(txn: &mut PageTxn<'_>, token: &mut [u8; TokenRoot::LEN], levels: u8) {
    for _ in 0..levels {
        let page = LogicalPage(u32::from_le_bytes([token[4], token[5], token[6], token[7]]));
        let root = txn.page(page).ok().and_then(decode);
        let Some((level, entries)) = root.filter(|(level, entries)| {
            level.checked_add(2) == Some(token[0]) && !entries.is_empty()
        }) else {
            return; // a root that is a pack, or none
        };
        if token[0] == 8 {
            return;
        }
        let above = txn.allocate().expect("there are pages left");
        let bytes = txn.page_mut(above).expect("a new page");
        encode(bytes, level + 1, &[(entries[0].0, page.0, 0)]);
        token[0] += 1;
        token[4..8].copy_from_slice(&above.0.to_le_bytes());
    }
}

fn change_entries(entries: &mut Vec<Entry>, sample: &Sample, choices: &mut Choices<'_>) {
    for _ in 0..1 + choices.byte() % 4 {
        if entries.is_empty() {
            return;
        }
        let at = choices.index(entries.len());
        let other = entries[choices.index(entries.len())];
        match choices.byte() % 10 {
            0 => drop(entries.remove(at)),
            1 => entries.truncate(at + 1),
            2 => drop(entries.drain(..at)),
            3 => entries[at].1 = other.1,
            4 => (entries[at].1, entries[at].2) = (other.1, other.2),
            5 => {
                entries[at].0 = entries[at]
                    .0
                    .wrapping_add(u64::from(choices.byte()))
                    .wrapping_sub(9)
            }
            6 => {
                let pages = [&sample.storage[..1], &sample.storage[..]][choices.index(2)];
                entries[at].1 = choices.one_of(pages).0;
                entries[at].2 = u16::from(choices.byte());
            }
            7 if !sample.directory.is_empty() => {
                entries[at].1 = choices.one_of(&sample.directory).0.0;
                entries[at].2 = 0;
            }
            8 => entries[at].0 = choices.long(),
            _ => {
                // Fill the page: many entries that lead nowhere, behind all others.
                let (mut id, page, offset) = entries[entries.len() - 1];
                for _ in 0..u16::from(choices.byte()) * 2 {
                    id = id.saturating_add(1 + u64::from(choices.clone().byte()));
                    entries.push((id, page, offset));
                }
            }
        }
        if choices.byte().is_multiple_of(2) {
            entries.sort_by_key(|entry| entry.0);
            entries.dedup_by_key(|entry| entry.0);
        }
    }
}

/// The second half of D1.
fn blames_the_file(error: TokenError) -> TokenError {
    assert!(error.is_corruption(), "{error:?}");
    error
}

fn is_sound(snapshot: &Snapshot, root: &TokenRoot) -> bool {
    let mut references = References::new();
    let report = verify(snapshot, root, &mut references).expect("damage is a finding");
    assert!(report.findings.len() <= 1_000_000, "findings are bounded");
    let seg = &snapshot.roots().seg;
    let segments = shroom_seg::verify(snapshot, seg, &references).expect("damage is a finding");
    report.is_sound() && segments.is_sound()
}

fn value(snapshot: &Snapshot, stored: Stored<'_>) -> Result<Vec<u8>, TokenError> {
    Ok(match stored {
        Stored::Inline(bytes) => bytes.to_vec(),
        Stored::Blob { head, length } => blob_to_vec(snapshot, head, length)?,
    })
}

/// Reads in every way (D2); what is there, as far as it can be read in order.
fn read(
    snapshot: &Snapshot,
    root: &TokenRoot,
    sound: bool,
    choices: &mut Choices<'_>,
) -> BTreeMap<u64, Vec<u8>> {
    let mut content = BTreeMap::new();
    let (mut tokens, mut failed) = (Vec::new(), false);
    for item in range(snapshot, root, ..).take(TOKENS_MAX) {
        let item = item.and_then(|(id, stored)| Ok((id, stored, value(snapshot, stored)?)));
        match item.map_err(blames_the_file) {
            Ok((id, stored, value)) => {
                tokens.push((id, stored));
                assert!(content.insert(id.0, value).is_none(), "{id:?} comes twice");
            }
            Err(_) => {
                failed = true;
                break;
            }
        }
    }
    assert!(tokens.is_sorted_by(|left, right| left.0 < right.0));
    let mut backwards = Vec::new();
    for item in range(snapshot, root, ..).rev().take(TOKENS_MAX) {
        match item.map_err(blames_the_file) {
            Ok(token) => backwards.push(token),
            Err(_) => failed = true,
        }
    }
    // From both ends in turns: they meet, or end.
    let mut both = range(snapshot, root, ..);
    let mut met = 0_u64;
    while let Some(item) = if met.is_multiple_of(3) {
        both.next_back()
    } else {
        both.next()
    } {
        failed |= item.map_err(blames_the_file).is_err();
        met += 1;
    }
    let cache = LookupCache::new();
    let chosen = (0..8).map(|_| TokenId(choices.long() >> (choices.byte() % 64)));
    let step = (tokens.len() / 50).max(1);
    let near = tokens
        .iter()
        .step_by(step)
        .flat_map(|(id, _)| [id.0.wrapping_sub(1), id.0, id.0.wrapping_add(1)].map(TokenId));
    for id in chosen.chain(near) {
        let found = get(snapshot, root, id).map_err(blames_the_file);
        let cached = get_cached(snapshot, root, &cache, id).map_err(blames_the_file);
        let known = info(snapshot, root, id).map_err(blames_the_file);
        if sound {
            let at = tokens.binary_search_by_key(&id, |token| token.0).ok();
            let expected = at.map(|at| tokens[at].1);
            assert_eq!(found.expect("a sound store"), expected, "{id:?}");
            assert_eq!(cached.expect("a sound store"), expected, "{id:?}");
            let length = known.expect("a sound store").map(|known| known.length);
            assert_eq!(length, expected.map(|stored| stored.len()));
        }
    }
    let counted = directory_pages(snapshot, root).map_err(blames_the_file);
    if sound {
        assert!(!failed && counted.is_ok());
        assert_eq!(
            (root.tokens(), met),
            (tokens.len() as u64, tokens.len() as u64)
        );
        backwards.reverse();
        assert_eq!(backwards, tokens);
        let payload: usize = content.values().map(Vec::len).sum();
        assert_eq!(root.payload(), payload as u64);
    }
    content
}

/// Adds tokens behind all others, in a transaction that is dropped.
fn append(store: &PageStore, root: &TokenRoot, sound: bool, content: &BTreeMap<u64, Vec<u8>>) {
    let snapshot = store.snapshot();
    let mut txn = store.begin().expect("begin");
    let mut segments = SegmentTxn::open(&mut txn, &snapshot.roots().seg).expect("a sound root");
    let last = content.last_key_value().map_or(0, |(id, _)| *id);
    let tokens = (1..200).filter_map(|step| Some((TokenId(last.checked_add(step)?), [9; 20])));
    let appended = bulk_append(&mut segments, root, tokens);
    assert!(!sound || appended.is_ok(), "{appended:?}");
    if !matches!(appended, Err(TokenError::NotAscending { .. })) {
        let _ = appended.map_err(blames_the_file);
    }
}

/// Edits here and there, in some commits (D3).
fn edit(
    store: &PageStore,
    mut root: TokenRoot,
    sound: bool,
    mut model: BTreeMap<u64, Vec<u8>>,
    choices: &mut Choices<'_>,
) {
    let long = vec![5; 3 * store.page_size().bytes() / 2];
    let known: Vec<u64> = model.keys().copied().collect();
    for _ in 0..2 {
        let mut chosen = BTreeMap::new();
        for _ in 0..1 + choices.byte() % 40 {
            let id = match (choices.byte() % 4, known.is_empty()) {
                (1.., false) => {
                    let near = known[choices.index(known.len())];
                    near.wrapping_add(u64::from(choices.byte() % 3))
                }
                _ => choices.long() >> (choices.byte() % 64),
            };
            let run = if choices.byte().is_multiple_of(8) {
                60
            } else {
                1
            };
            let kind = choices.byte();
            chosen.extend((0..run).map(|step| (id.saturating_add(step), kind)));
        }
        let mut edits = Vec::new();
        for (&id, &kind) in &chosen {
            let old = model.get(&id).cloned();
            let bytes = match kind % 8 {
                0..2 => &long[..],
                _ => &long[..usize::from(kind / 4)],
            };
            let edit = match kind % 4 {
                0 => {
                    model.remove(&id);
                    Edit::Delete
                }
                1 => {
                    let kept = old.as_ref().map_or(0, Vec::len) / 2;
                    let mut value = old.unwrap_or_default();
                    value.truncate(kept);
                    value.extend_from_slice(bytes);
                    model.insert(id, value);
                    Edit::Append {
                        kept: kept as u64,
                        tail: Bytes::One(bytes),
                    }
                }
                _ => {
                    model.insert(id, bytes.to_vec());
                    Edit::Put(Bytes::One(bytes))
                }
            };
            edits.push((TokenId(id), edit));
        }
        let mut edits = edits.into_iter().peekable();
        let budget = if choices.byte().is_multiple_of(2) {
            usize::MAX
        } else {
            1
        };
        while edits.peek().is_some() {
            let mut txn = store.begin().expect("begin");
            let seg = store.snapshot().roots().seg;
            let mut segments = SegmentTxn::open(&mut txn, &seg).expect("a root of the layer's own");
            let merged = merge(&mut segments, &root, &mut edits, budget).and_then(|root| {
                let seg = segments.finish()?;
                Ok((root, seg))
            });
            assert!(!sound || merged.is_ok(), "{merged:?}");
            let Ok((new, seg)) = merged.map_err(|error| refused(error, sound)) else {
                return;
            };
            root = new;
            let token = root.encode();
            txn.commit(Roots {
                seg,
                token,
                ..Roots::default()
            })
            .expect("commit");
        }
        if sound {
            let snapshot = store.snapshot();
            assert!(is_sound(&snapshot, &root));
            let content = read(&snapshot, &root, true, choices);
            assert!(content == model, "the tokens are not those of the model");
        }
    }
}

/// In a store that is not sound, the content known may be wrong, and so an append may ask for more than there is.
fn refused(error: TokenError, sound: bool) -> TokenError {
    match error {
        TokenError::KeptBeyondEnd { .. } if !sound => error,
        error => blames_the_file(error),
    }
}
