//! Puts forged storage pages under right hashes into a segment store, then reads and writes it.
//!
//! The input forges pages of a sound store. A reader of its own ([`read_page`]), written from the format alone, says what is
//! in each page, and the root is made to agree with that, so that what the pages say is all that may be wrong.
//!
//! * G1 Nothing panics, hangs, or takes memory without bound, whatever address and length is asked for; what is wrong is
//!   said to be the file's fault.
//! * G2 The layer finds a page sound exactly when the other reader does, and sees the same segments.
//! * G3 All readers of a blob agree with each other.
//! * G4 In a store that is sound, allocating, replacing and freeing succeed, keep it sound, and change no other segment.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

#[path = "pages.rs"]
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use shroom_page::storage::MemoryStorage;
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots};
use shroom_seg::{
    BlobChunks, References, SegError, SegmentAddr, SegmentTxn, blob_extents, blob_pages, blob_read,
    blob_slice, blob_to_vec, index_pages, live_segments, segment, segment_data, stats, verify,
};
use shroom_sim::Choices;

/// Page sizes of the stores that are forged, in bytes.
const PAGE_SIZES: [u32; 4] = [512, 1024, 4096, 65_536];
/// Pages forged, at most.
const FORGED_MAX: u8 = 4;
/// Operations on a forged store, at most.
const OPERATIONS_MAX: u8 = 24;
/// Where the inline classes begin in the segment root, and how many there are (format §6).
const CLASSES_AT: usize = 24;
const CLASSES: usize = 40;
/// Bytes of a page header, and of a segment beside its data (format §2.2, §5).
const HEADER_LEN: usize = 8;
const OVERHEAD: usize = 4;
/// Where a page header names the first free segment (format §2.2).
const FREE_HEAD_AT: usize = 4;

/// A sound store to forge.
struct Sample {
    image: Vec<u8>,
    /// Storage pages, ascending.
    storage: Vec<LogicalPage>,
    /// Pages of extents.
    raw: Vec<LogicalPage>,
    blobs: Vec<(SegmentAddr, u64)>,
}

static SAMPLES: LazyLock<[Sample; 4]> = LazyLock::new(|| PAGE_SIZES.map(sample));

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let sample = &SAMPLES[choices.index(SAMPLES.len())];
    let memory = MemoryStorage::from_bytes(sample.image.clone());
    let store = PageStore::open(Arc::new(memory)).expect("the sample opens");
    let kept_root = choices.byte().is_multiple_of(8);
    let Some(root) = forge(&store, sample, &mut choices, kept_root) else {
        return;
    };
    let snapshot = store.snapshot();
    let pages = Pages::read(&snapshot, sample);
    let sound = is_sound(&snapshot, &root, &pages, sample);
    if !kept_root {
        let expected = pages.is_sound();
        assert_eq!(
            sound,
            expected,
            "{:?}",
            verify(&snapshot, &root, &pages.references(&snapshot, sample))
        );
    }
    let heads = heads(&pages, sample, &mut choices);
    for &(head, length) in &heads {
        read_blob(&snapshot, head, length);
    }
    let _ = index_pages(&snapshot, &root).map_err(blames_the_file);
    write_anywhere(&store, &root, &heads);
    operate(&store, root, pages, sample, sound, &mut choices);
}

/// Segments of many sizes with gaps between them, blobs with and without extents, and a chain over several pages.
fn sample(page_size: u32) -> Sample {
    let memory = MemoryStorage::new();
    let page_size = PageSize::new(page_size).expect("a page size");
    let store = PageStore::create(Arc::new(memory.clone()), page_size).expect("create");
    let page_len = page_size.bytes();
    let mut txn = store.begin().expect("begin");
    let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).expect("an empty store");
    let allocated: Vec<SegmentAddr> = (1..9)
        .map(|part| vec![part as u8; page_len * part / 20])
        .map(|data| segments.allocate(&data).expect("allocate"))
        .collect();
    let mut blobs = Vec::new();
    for length in [3, page_len / 2, 3 * page_len + 40] {
        let head = segments.blob_create(&[&vec![7; length]]).expect("create");
        blobs.push((head, length as u64));
    }
    for &addr in allocated.iter().step_by(3) {
        segments.free(addr).expect("free");
    }
    let seg = segments.finish().expect("finish");
    txn.commit(Roots {
        seg,
        ..Roots::default()
    })
    .expect("commit");
    let snapshot = store.snapshot();
    let mut raw = Vec::new();
    for &(head, length) in &blobs {
        let extents = blob_extents(&snapshot, head, length).expect("a sound blob");
        raw.extend(
            extents
                .iter()
                .flat_map(|(first, len)| first.0..first.0 + len),
        );
    }
    let storage = (1..snapshot.logical_pages())
        .filter(|number| !raw.contains(number))
        .map(LogicalPage)
        .collect();
    drop(store);
    Sample {
        image: memory.to_bytes(),
        storage,
        raw: raw.into_iter().map(LogicalPage).collect(),
        blobs,
    }
}

/// Forges pages, makes the root agree unless it is to be kept, and commits. None when a page cannot be described by a root.
fn forge(
    store: &PageStore,
    sample: &Sample,
    choices: &mut Choices<'_>,
    kept_root: bool,
) -> Option<[u8; 64]> {
    let mut root = store.snapshot().roots().seg;
    let mut txn = store.begin().expect("begin");
    for _ in 0..1 + choices.byte() % FORGED_MAX {
        let page = choices.one_of(&sample.storage);
        let bytes = txn.page_mut(page).expect("a page of the sample");
        if choices.byte().is_multiple_of(4) {
            lay_out(bytes, page, choices);
        } else {
            pages::forge(bytes, choices);
        }
    }
    if kept_root {
        // Any byte of the root may be wrong, too.
        root[choices.index(64)] ^= choices.byte();
    } else {
        let mut free_bytes = 0_u64;
        root[CLASSES_AT..].fill(0);
        for &page in &sample.storage {
            let bytes = txn.page(page).expect("a page of the sample");
            let Some(found) = read_page(page, bytes) else {
                continue;
            };
            free_bytes += found.free.iter().map(|(_, size)| *size as u64).sum::<u64>();
            let largest = found.free.iter().map(|(_, size)| size - OVERHEAD).max();
            let class = largest.map_or(0, |len| (len / (bytes.len() / 256)).min(254) as u8);
            assert!((page.0 as usize) < CLASSES, "samples are small");
            root[CLASSES_AT + page.0 as usize] = class;
        }
        root[8..12].copy_from_slice(&(sample.storage.len() as u32).to_le_bytes());
        root[16..24].copy_from_slice(&free_bytes.to_le_bytes());
    }
    let roots = Roots {
        seg: root,
        ..Roots::default()
    };
    txn.commit(roots).expect("forged pages are only bytes");
    Some(root)
}

/// Tiles a page with segments that the input chooses, live ones and free ones, and counts them right: most often sound.
fn lay_out(page: &mut [u8], number: LogicalPage, choices: &mut Choices<'_>) {
    page.fill(0);
    let (mut at, mut free_bytes, mut list) = (HEADER_LEN, 0, FREE_HEAD_AT);
    let mut live = Vec::new();
    let mut linked = Vec::new();
    let mut free_before = false;
    // No links; each to the segment after it, which makes chains; or anywhere.
    let (links, forwards) = choices.one_of(&[(false, false), (true, true), (true, false)]);
    while page.len() - at >= OVERHEAD {
        let far = links
            && choices.byte().is_multiple_of(8)
            && page.len() - at > OVERHEAD + SegmentAddr::LEN;
        let overhead = OVERHEAD + if far { SegmentAddr::LEN } else { 0 };
        let room = page.len() - at - overhead;
        let mut len = match choices.byte() {
            byte @ 0..200 => usize::from(byte % 60).min(room),
            _ => usize::from(choices.short()).min(room),
        };
        if room - len < OVERHEAD {
            len = room; // nothing fits behind it
        }
        len = len.max(far.into());
        put(page, at, len);
        let link_at = at + 2 + len;
        if !free_before && choices.byte().is_multiple_of(3) {
            put(page, list, at);
            list = link_at;
            free_bytes += OVERHEAD + len;
            at += OVERHEAD + len;
            // A page ends with a segment: what a link would have taken is too short for one.
            free_before = true;
            continue;
        }
        free_before = false;
        let data_len = len.min(usize::from(choices.byte()));
        let data = choices.bytes(data_len);
        page[at + 2..at + 2 + data.len()].copy_from_slice(data);
        if far {
            put(page, link_at, 1);
        }
        if far || (links && len > 1 && choices.byte().is_multiple_of(8)) {
            if forwards {
                // A blob without extents, if this is its head.
                page[at + 2..at + 2 + len.min(2)].fill(0);
            }
            linked.push((live.len(), link_at, far));
        }
        live.push(at);
        at += overhead + len;
    }
    for (index, link_at, far) in linked {
        let (target, target_page) = match live.get(index + 1) {
            Some(next) if forwards => (*next, number),
            _ => (
                choices.one_of(&live),
                LogicalPage(u32::from(choices.byte() % 24)),
            ),
        };
        if far {
            let addr = SegmentAddr::new(target_page, target as u16);
            page[link_at + 2..link_at + 2 + SegmentAddr::LEN].copy_from_slice(&addr.to_bytes());
        } else {
            put(page, link_at, target);
        }
    }
    page[0] = 1;
    put(page, 2, live.len());
    put(page, 6, free_bytes);
}

fn put(page: &mut [u8], at: usize, value: usize) {
    page[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

/// What a sound storage page holds.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct PageContent {
    /// Live segments by offset: data and link.
    live: BTreeMap<u16, (Vec<u8>, Option<SegmentAddr>)>,
    /// Free segments: offset and whole size.
    free: Vec<(usize, usize)>,
}

/// Reads a storage page by format §5; `None` when anything is wrong in it. Whether links lead anywhere is not looked at.
fn read_page(number: LogicalPage, page: &[u8]) -> Option<PageContent> {
    let word = |at: usize| {
        let bytes = page.get(at..at + 2)?;
        Some(usize::from(bytes[0]) | usize::from(bytes[1]) << 8)
    };
    if page[..2] != [1, 0] {
        return None;
    }
    // The free segments are those that the list names; it ascends, or this would not end.
    let mut listed = BTreeSet::new();
    let mut at = word(FREE_HEAD_AT)?;
    while at != 0 {
        if at < HEADER_LEN || listed.last().is_some_and(|last| at <= *last) {
            return None;
        }
        listed.insert(at);
        at = word(at + 2 + word(at)?)?;
    }
    let mut content = PageContent::default();
    let mut at = HEADER_LEN;
    let mut free_before = false;
    while at < page.len() {
        let len = word(at)?;
        let data = page.get(at + 2..at + 2 + len)?;
        let next = word(at + 2 + len)?;
        let mut size = OVERHEAD + len;
        let free = listed.remove(&at);
        if free {
            if free_before || data.iter().any(|byte| *byte != 0) {
                return None;
            }
            content.free.push((at, size));
        } else {
            let link = match next {
                0 => None,
                1 => {
                    let bytes = page.get(at + size..at + size + SegmentAddr::LEN)?;
                    size += SegmentAddr::LEN;
                    Some(SegmentAddr::from_bytes(bytes.try_into().ok()?))
                }
                2..HEADER_LEN => return None,
                offset => Some(SegmentAddr::new(number, offset as u16)),
            };
            if link.is_some() && data.is_empty() {
                return None;
            }
            content.live.insert(at as u16, (data.to_vec(), link));
        }
        free_before = free;
        at += size;
    }
    let free_bytes: usize = content.free.iter().map(|(_, size)| size).sum();
    let counted = word(2)? == content.live.len() && word(6)? == free_bytes;
    (listed.is_empty() && counted).then_some(content)
}

/// All storage pages of a store.
#[derive(Clone)]
struct Pages {
    /// By page; `None` where it is not sound.
    content: BTreeMap<LogicalPage, Option<PageContent>>,
}

impl Pages {
    /// Reads all pages that are not raw, and compares both readers (G2).
    fn read<R: PageRead>(pages: &R, sample: &Sample) -> Self {
        let mut content = BTreeMap::new();
        for page in (1..pages.logical_pages()).map(LogicalPage) {
            if sample.raw.contains(&page) || !pages.is_allocated(page).expect("a sound map") {
                continue;
            }
            let bytes = pages.page(page).expect("hashes are right");
            let read = read_page(page, bytes);
            compare(page, bytes, read.as_ref());
            content.insert(page, read);
        }
        Self { content }
    }

    /// Chains of more than one segment: heads, and the length of the blob that each would be. `None` when some link leads
    /// nowhere, or where another leads, too, or in a circle; or when a chain is no blob without extents.
    fn chains(&self) -> Option<Vec<(SegmentAddr, u64)>> {
        let live: BTreeMap<_, _> = self.live().collect();
        let mut targets = BTreeSet::new();
        for link in live.values().filter_map(|(_, link)| *link) {
            if !live.contains_key(&link) || !targets.insert(link) {
                return None;
            }
        }
        let mut chains = Vec::new();
        let mut visited = 0;
        for (&head, (_, link)) in live.iter().filter(|(addr, _)| !targets.contains(addr)) {
            let mut bytes = live[&head].0.clone();
            let mut next = *link;
            while let Some(addr) = next {
                let (data, link) = live[&addr];
                if data.is_empty() {
                    return None; // only a segment without a chain may be
                }
                bytes.extend_from_slice(data);
                next = *link;
                visited += 1;
            }
            if link.is_some() {
                let tail = bytes.strip_prefix(&[0, 0])?;
                chains.push((head, tail.len() as u64));
            }
        }
        // What no head leads to goes in a circle.
        (visited == targets.len()).then_some(chains)
    }

    /// Every page is sound and holds a segment, and links form chains.
    fn is_sound(&self) -> bool {
        let content = self.content.values();
        let mut pages =
            content.map(|content| content.as_ref().is_some_and(|page| !page.live.is_empty()));
        pages.all(|sound| sound) && self.chains().is_some()
    }

    fn live(&self) -> impl Iterator<Item = (SegmentAddr, &(Vec<u8>, Option<SegmentAddr>))> {
        self.content.iter().flat_map(|(page, content)| {
            let live = content.iter().flat_map(|content| &content.live);
            live.map(|(offset, segment)| (SegmentAddr::new(*page, *offset), segment))
        })
    }

    /// All that is there: chains as blobs, every other segment as one that stands alone, and the raw pages.
    fn references<R: PageRead>(&self, pages: &R, sample: &Sample) -> References {
        let mut references = References::new();
        let chains = self.chains().unwrap_or_default();
        let mut in_chains = BTreeSet::new();
        let live: BTreeMap<_, _> = self.live().collect();
        for &(head, length) in &chains {
            references
                .add_blob(pages, head, length)
                .unwrap_or_else(|error| panic!("chain of {length} bytes at {head}: {error}"));
            let mut next = Some(head);
            while let Some(addr) = next {
                in_chains.insert(addr);
                next = live[&addr].1;
            }
        }
        let alone = live.keys().filter(|addr| !in_chains.contains(addr));
        alone.for_each(|addr| references.add_segment(*addr));
        sample
            .raw
            .iter()
            .for_each(|page| references.add_page(*page));
        references
    }
}

/// G2, for one page.
fn compare(page: LogicalPage, bytes: &[u8], expected: Option<&PageContent>) {
    let found = live_segments(page, bytes);
    assert_eq!(found.is_some(), expected.is_some(), "{page}: {found:?}");
    let (Some(found), Some(expected)) = (found, expected) else {
        return;
    };
    assert_eq!(found.len(), expected.live.len(), "{page}");
    for segment in found {
        let (data, link) = &expected.live[&segment.addr.offset];
        assert_eq!(segment.data, data, "{}", segment.addr);
        assert_eq!(segment.link, *link, "{}", segment.addr);
    }
}

/// The second half of G1.
fn blames_the_file(error: SegError) -> SegError {
    assert!(error.is_corruption(), "{error:?}");
    error
}

fn is_sound<R: PageRead>(pages: &R, root: &[u8; 64], found: &Pages, sample: &Sample) -> bool {
    let report =
        verify(pages, root, &found.references(pages, sample)).expect("damage is a finding");
    assert!(report.findings.len() <= 100_000, "findings are bounded");
    let counted = stats(pages, root).map_err(blames_the_file);
    assert!(!report.is_sound() || counted.is_ok(), "{counted:?}");
    report.is_sound()
}

/// Addresses to ask for, with lengths: those of blobs, of live segments, and any.
fn heads(pages: &Pages, sample: &Sample, choices: &mut Choices<'_>) -> Vec<(SegmentAddr, u64)> {
    let mut heads = sample.blobs.clone();
    let limit = sample.image.len() as u64;
    let lengths = |len: u64| [len, len.saturating_sub(2), len / 2 + 1, 0, limit, u64::MAX];
    for (addr, (data, _)) in pages.live().take(24) {
        let length = choices.one_of(&lengths(data.len() as u64));
        heads.push((addr, length));
    }
    for _ in 0..8 {
        let page = match choices.byte() {
            255 => LogicalPage(choices.word()),
            byte => LogicalPage(u32::from(byte % 32)),
        };
        let length = u64::from(choices.short());
        heads.push((SegmentAddr::new(page, choices.short()), length));
    }
    heads
}

/// Reads a blob in every way, and compares the ways (G3).
fn read_blob<R: PageRead>(pages: &R, head: SegmentAddr, length: u64) {
    let alone = segment(pages, head).map_err(blames_the_file);
    let data = segment_data(pages, head).map_err(blames_the_file);
    if let Ok(alone) = alone {
        assert_eq!(alone, data.expect("what ends its chain is a segment"));
    }
    let whole = blob_to_vec(pages, head, length).map_err(blames_the_file);
    let slice = blob_slice(pages, head, length).map_err(blames_the_file);
    let touched = blob_pages(pages, head, length).map_err(blames_the_file);
    let extents = blob_extents(pages, head, length).map_err(blames_the_file);
    let chunks = BlobChunks::new(pages, head, length).map_err(blames_the_file);
    let mut references = References::new();
    let added = references
        .add_blob(pages, head, length)
        .map_err(blames_the_file);
    // A part, not more than the store can hold.
    let from = length / 3;
    let mut part = vec![0; (length / 2).min(1 << 20) as usize];
    let read = blob_read(pages, head, length, from, &mut part).map_err(blames_the_file);
    if let Ok(chunks) = chunks {
        let mut joined = Vec::new();
        let ended = chunks.map(|chunk| chunk.map(|chunk| joined.extend_from_slice(chunk)));
        let ended: Result<(), SegError> = ended.collect();
        assert_eq!(ended.is_ok(), whole.is_ok());
        if let Ok(whole) = &whole {
            assert_eq!(&joined, whole);
        }
    }
    let Ok(whole) = whole else {
        assert!(added.is_err() || touched.is_ok());
        return;
    };
    assert_eq!(whole.len() as u64, length);
    assert!(touched.is_ok() && extents.is_ok());
    let from = from as usize;
    read.expect("a part of what can be read whole");
    assert_eq!(part, whole[from..from + part.len()]);
    if let Some(slice) = slice.expect("what can be read whole") {
        assert_eq!(slice, whole);
    }
}

/// Every writer at every address, in transactions that are dropped.
fn write_anywhere(store: &PageStore, root: &[u8; 64], heads: &[(SegmentAddr, u64)]) {
    let page_len = store.page_size().bytes();
    type Edit<'e> = &'e dyn Fn(&mut SegmentTxn<'_, '_>, SegmentAddr, u64) -> shroom_seg::Result<()>;
    let long = vec![3; 2 * page_len];
    let edits: [Edit<'_>; 6] = [
        &|segments, head, _| segments.free(head),
        &|segments, head, length| segments.blob_free(head, length),
        &|segments, head, length| segments.blob_append(head, length, &[&long]).map(drop),
        &|segments, head, length| segments.blob_truncate(head, length, length / 2).map(drop),
        &|segments, head, _| segments.replace(head, &long[..40]).map(drop),
        &|segments, head, length| segments.blob_append(head, length, &[b"tail"]).map(drop),
    ];
    let mut txn = store.begin().expect("begin");
    let Ok(mut segments) = SegmentTxn::open(&mut txn, root).map_err(blames_the_file) else {
        return;
    };
    let mut failed = 0;
    for (index, &(head, length)) in heads.iter().enumerate() {
        let edit = edits[index % edits.len()];
        match edit(&mut segments, head, length) {
            Ok(()) => {}
            // A length near the highest cannot be appended to, which is no damage.
            Err(SegError::Range { .. }) => {}
            Err(error) => {
                blames_the_file(error);
                failed += 1;
            }
        }
        // After an error the transaction is to be dropped; some go on all the same, and must not panic either.
        if failed > 4 {
            break;
        }
    }
    let _ = segments.finish().map_err(blames_the_file);
}

/// Operations that a user of the layer may do; in a sound store they succeed and leave the rest alone (G4).
fn operate(
    store: &PageStore,
    mut root: [u8; 64],
    pages: Pages,
    sample: &Sample,
    sound: bool,
    choices: &mut Choices<'_>,
) {
    let page_len = store.page_size().bytes();
    // What is stored: data, or (of segments that were there) data with slack; linked segments are left alone.
    let targets: BTreeSet<SegmentAddr> = pages.live().filter_map(|(_, (_, link))| *link).collect();
    let is_chained = |addr, link: Option<SegmentAddr>| link.is_some() || targets.contains(&addr);
    let (fixed, free): (Vec<_>, Vec<_>) = pages
        .live()
        .map(|(addr, (data, link))| (is_chained(addr, *link), addr, data.clone()))
        .partition(|(chained, ..)| *chained);
    let stored = |segments: Vec<(bool, SegmentAddr, Vec<u8>)>| -> Stored {
        segments
            .into_iter()
            .map(|(_, addr, data)| (addr, data))
            .collect()
    };
    let (fixed, mut free) = (stored(fixed), stored(free));
    for _ in 0..2 {
        let mut txn = store.begin().expect("begin");
        let Ok(mut segments) = SegmentTxn::open(&mut txn, &root).map_err(blames_the_file) else {
            assert!(!sound);
            return;
        };
        for _ in 0..1 + choices.byte() % OPERATIONS_MAX {
            let done = operation(&mut segments, page_len, &mut free, choices);
            if let Err(error) = done {
                assert!(!sound, "{error:?}");
                blames_the_file(error);
                return;
            }
        }
        let finished = segments.finish();
        assert!(!sound || finished.is_ok(), "{finished:?}");
        let Ok(seg) = finished.map_err(blames_the_file) else {
            return;
        };
        root = seg;
        txn.commit(Roots {
            seg,
            ..Roots::default()
        })
        .expect("commit");
        let snapshot = store.snapshot();
        let found = Pages::read(&snapshot, sample);
        if !sound {
            continue;
        }
        let report = verify(&snapshot, &root, &found.references(&snapshot, sample))
            .expect("no system error");
        assert!(report.is_sound(), "{:?}", report.findings);
        // What is stored must be there, and nothing else.
        let stored: Stored = found
            .live()
            .map(|(addr, (data, _))| (addr, data.clone()))
            .collect();
        assert_eq!(stored.len(), fixed.len() + free.len());
        for (addr, data) in fixed.iter().chain(&free) {
            let found = stored.get(addr).unwrap_or_else(|| panic!("{addr} is lost"));
            let (start, slack) = found.split_at_checked(data.len()).expect("not shorter");
            assert_eq!(start, &data[..], "{addr}");
            assert!(
                slack.len() < OVERHEAD && slack.iter().all(|byte| *byte == 0),
                "{addr}"
            );
        }
    }
}

/// Data by address; of segments that were there at first, with slack.
type Stored = BTreeMap<SegmentAddr, Vec<u8>>;

fn operation(
    segments: &mut SegmentTxn<'_, '_>,
    page_len: usize,
    stored: &mut Stored,
    choices: &mut Choices<'_>,
) -> shroom_seg::Result<()> {
    let kind = choices.byte();
    let len = match choices.byte() {
        byte @ 0..160 => usize::from(byte % 48),
        byte @ 160..240 => page_len * usize::from(byte - 160) / 80,
        byte => segments.capacity() - usize::from(byte - 240),
    };
    let data = vec![choices.byte() | 1; len.min(segments.capacity())];
    let picked = match stored.len() {
        0 => None,
        count => stored.keys().nth(choices.index(count)).copied(),
    };
    match (kind % 3, picked) {
        (1, Some(addr)) => {
            segments.free(addr)?;
            stored.remove(&addr);
        }
        (2, Some(addr)) => {
            let moved = segments.replace(addr, &data)?;
            stored.remove(&addr);
            assert!(stored.insert(moved, data).is_none(), "{moved} is taken");
        }
        _ => {
            let addr = segments.allocate(&data)?;
            assert!(stored.insert(addr, data).is_none(), "{addr} is taken");
        }
    }
    Ok(())
}
