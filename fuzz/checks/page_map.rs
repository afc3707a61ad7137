//! Forges the superblock, the page map and the free record of a sound page store, and seals the file again.
//!
//! The input chooses a store and changes to it: fields of the superblock, entries of the root and of map pages (often to
//! those of others: pages reached twice, circles), headers of map pages, bytes and whole runs of the free record, and
//! where the journal's areas lie; and of stores with named snapshots, the list of these and their frozen superblocks. All
//! hashes are then made right, so that nothing but the checks of meaning is left.
//!
//! * F1 Nothing panics, hangs, or takes memory without bound, and what is wrong is said to be the file's fault.
//! * F2 A store that `verify` finds sound can be read in full, and written: pages that were not touched keep their content
//!   over commits, a vacuum and a reopen, and `verify` (which counts each physical page once) finds it sound after each. Its
//!   named snapshots can be read, compared, deleted and restored.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use shroom_page::storage::MemoryStorage;
use shroom_page::{
    LogicalPage, PageError, PageRead, PageSize, PageStore, ReadCheck, Roots, Snapshot,
    StoreOptions, diff_pages,
};
use shroom_sim::Choices;
use shroom_sim::forge::{Image, SUPERBLOCK_HEADER_LEN, field};

/// Page size in bytes and logical pages of the stores that are changed: maps of 2, 1, 0, 1 and 0 levels.
const STORES: [(u32, u32); 5] = [(512, 200), (512, 60), (512, 3), (1024, 120), (4096, 20)];
/// The same with named snapshots.
const NAMED_STORES: [(u32, u32); 3] = [(512, 200), (512, 3), (1024, 120)];
/// A first byte from this on chooses one of those.
const NAMED: u8 = 240;
/// Changes to a store, at most.
const CHANGES_MAX: usize = 40;
/// Logical pages read one by one, at most: a forged superblock may claim four thousand million.
const PAGES_MAX: u32 = 2_000;

static IMAGES: LazyLock<[Image; 5]> =
    LazyLock::new(|| STORES.map(|(size, pages)| sample(size, pages, false)));
static NAMED_IMAGES: LazyLock<[Image; 3]> =
    LazyLock::new(|| NAMED_STORES.map(|(size, pages)| sample(size, pages, true)));

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut image = match choices.byte() {
        byte @ NAMED.. => &NAMED_IMAGES[usize::from(byte - NAMED) % NAMED_STORES.len()],
        byte => &IMAGES[usize::from(byte) % STORES.len()],
    }
    .clone();
    for _ in 0..CHANGES_MAX {
        if choices.is_empty() {
            break;
        }
        change(&mut image, &mut choices);
    }
    image.seal();
    image.level_slots();
    let endless = image.has_sequences_left();
    let bytes = image.into_bytes();
    for check in [ReadCheck::FirstTouch, ReadCheck::EveryRead] {
        exercise(&bytes, check, endless);
    }
}

/// A store with a map of some levels, holes, a journal with live frames, and a free record in pages or inline; with two
/// named snapshots or none.
fn sample(page_size: u32, pages: u32, named: bool) -> Image {
    let memory = MemoryStorage::new();
    let page_size = PageSize::new(page_size).expect("a page size");
    let store = PageStore::create(Arc::new(memory.clone()), page_size).expect("create");
    let mut txn = store.begin().expect("begin");
    for number in 0..pages {
        let page = txn.allocate().expect("allocate");
        txn.page_mut(page).expect("a new page").fill(number as u8);
    }
    txn.set_journal_area(0, 4);
    txn.set_journal_area(1, 5);
    if named {
        txn.save_snapshot("one").expect("save");
    }
    txn.commit(Roots::default()).expect("commit");
    let mut txn = store.begin().expect("begin");
    for number in (1..pages).filter(|number| number % 3 == 0) {
        txn.free(LogicalPage(number)).expect("free");
    }
    if named {
        txn.save_snapshot("two").expect("save");
    }
    txn.commit(Roots::default()).expect("commit");
    for _ in 0..2 {
        assert!(store.journal_rotate().expect("rotate"));
        for number in 0..6 {
            let appended = store.journal_append(&[number; 90]).expect("append");
            appended.expect("there is room");
        }
        let mark = store.journal_mark();
        store.journal_sync(mark.sequence).expect("sync");
    }
    if named {
        // The present state has a page that no snapshot has.
        let mut txn = store.begin().expect("begin");
        txn.page_mut(LogicalPage(1)).expect("a page").fill(77);
        txn.commit(Roots::default()).expect("commit");
    }
    drop(store);
    let mut image = Image::new(memory.to_bytes()).expect("an image");
    image.level_slots();
    let mut sealed = image.clone();
    sealed.seal();
    assert!(sealed == image, "sealing a sound file changes nothing");
    image
}

/// Changes one thing.
fn change(image: &mut Image, choices: &mut Choices<'_>) {
    let maps = image.map_pages();
    let kind = choices.byte();
    if kind >= NAMED {
        return change_named(image, choices);
    }
    match kind % 10 {
        0 => {
            let fields = [
                field::LOGICAL_PAGES,
                field::PHYSICAL_PAGES,
                field::ROOT_ENTRIES,
                field::FREE_FIRST,
                field::FREE_PAGES,
                field::FREE_BYTES,
                field::JOURNAL[0],
                field::JOURNAL[0] + 4,
                field::JOURNAL[1],
                field::JOURNAL[1] + 4,
            ];
            let at = choices.one_of(&fields);
            let value = number(image, choices, image.u32(at));
            image.set(at, &value.to_le_bytes());
        }
        1 => {
            let at = choices.one_of(&[field::SEQUENCE, field::DRAINED, field::CHAIN]);
            let known = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, image.u64(at)];
            let value = choices
                .one_of(&known)
                .wrapping_add(u64::from(choices.byte()));
            image.set(at, &value.to_le_bytes());
        }
        2 => {
            let height = choices.byte() % 9;
            image.set(field::MAP_HEIGHT, &[height]);
        }
        3 => {
            let at = SUPERBLOCK_HEADER_LEN + choices.index(6) * 4;
            let value = number(image, choices, image.u32(at));
            image.set(at, &value.to_le_bytes());
        }
        4 | 5 if !maps.is_empty() => change_map_entry(image, choices, &maps),
        6 if !maps.is_empty() => {
            // A byte of a map page: its header, its columns, its slack.
            let page = choices.one_of(&maps);
            let at = page * image.page_len() + choices.index(image.page_len());
            image.set(at, &[choices.byte()]);
        }
        7 => {
            let (start, len) = free_record(image);
            let at = start + choices.index(len.clamp(1, 4096));
            let byte = image.bytes().get(at).copied().unwrap_or(0);
            let change = choices.one_of(&[1, 255, 128, choices.clone().byte()]);
            image.set(at, &[byte.wrapping_add(change)]);
        }
        8 => write_free_record(image, choices),
        _ => {
            // Another height, with as many logical pages as make it right.
            let pages = choices.word() >> (choices.byte() % 32);
            set_shape(image, pages);
        }
    }
}

/// A byte of the list of named snapshots changes, or where one of them lies, or a field of its superblock.
fn change_named(image: &mut Image, choices: &mut Choices<'_>) {
    let (entries, frozen) = (image.named_entries(), image.frozen_superblocks());
    if entries.is_empty() || frozen.is_empty() {
        return;
    }
    let entry = entries[choices.index(entries.len())].clone();
    let superblock = choices.one_of(&frozen);
    let at = match choices.byte() % 4 {
        0 => {
            image.set(entry.start + choices.index(entry.len()), &[choices.byte()]);
            return;
        }
        1 => entry.end - 36,
        2 => superblock + SUPERBLOCK_HEADER_LEN + choices.index(6) * 4,
        _ => {
            let fields = [
                field::MAP_HEIGHT,
                field::SEQUENCE,
                field::LOGICAL_PAGES,
                field::PHYSICAL_PAGES,
                field::ROOT_ENTRIES,
                field::FREE_BYTES,
                field::JOURNAL[0],
                field::DRAINED,
            ];
            superblock + choices.one_of(&fields)
        }
    };
    let value = number(image, choices, image.u32(at));
    image.set(at, &value.to_le_bytes());
}

/// An entry of a map page becomes a number, or that of another map entry: then a page is reached twice, or in a circle.
fn change_map_entry(image: &mut Image, choices: &mut Choices<'_>, maps: &[usize]) {
    let page = choices.one_of(maps);
    let index = choices.index(image.fanout());
    let at = image.map_entry(page, index);
    let value = match choices.byte() % 3 {
        0 => number(image, choices, image.u32(at)),
        1 => choices.one_of(maps) as u32,
        _ => {
            let other = choices.one_of(maps);
            image.u32(image.map_entry(other, choices.index(image.fanout())))
        }
    };
    image.set(at, &value.to_le_bytes());
    image.recount_map_page(page);
}

/// A number near the one that is there, or one that is likely to be trouble.
fn number(image: &Image, choices: &mut Choices<'_>, present: u32) -> u32 {
    let pages = image.pages() as u32;
    match choices.byte() {
        0 => 0,
        1 => u32::MAX,
        2 => 1 << 31,
        3 => choices.word(),
        4..100 => choices.index(image.pages() + 2) as u32,
        100..120 => pages - 1,
        120..140 => pages,
        near => present.wrapping_add(i32::from(near as i8) as u32),
    }
}

/// Where the free record lies, by the superblock: start and length in bytes.
fn free_record(image: &Image) -> (usize, usize) {
    let first = image.u32(field::FREE_FIRST) as usize;
    let start = match first {
        0 => SUPERBLOCK_HEADER_LEN + (image.u32(field::ROOT_ENTRIES) as usize).min(100) * 36,
        _ => first.saturating_mul(image.page_len()),
    };
    (start, image.u32(field::FREE_BYTES) as usize)
}

/// Writes runs that the input chooses as the free record, where the present one lies.
fn write_free_record(image: &mut Image, choices: &mut Choices<'_>) {
    let mut record = Vec::new();
    for _ in 0..2 {
        let count = choices.byte() % 5;
        record.push(count);
        for _ in 0..count * 2 {
            match choices.byte() {
                255 => record.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
                254 => record.extend_from_slice(choices.bytes(4)),
                value => {
                    record.extend_from_slice(&[value | 0x80, 0][..1 + usize::from(value > 127)])
                }
            }
            if let Some(last) = record.last_mut().filter(|last| **last & 0x80 != 0) {
                *last &= 0x7f;
            }
        }
    }
    let (start, _) = free_record(image);
    image.set(start, &record);
    image.set(field::FREE_BYTES, &(record.len() as u32).to_le_bytes());
}

/// Makes the superblock name `pages` logical pages, and the height and root entries that this takes (format §3).
fn set_shape(image: &mut Image, pages: u32) {
    let room = (image.page_len().min(4096) - SUPERBLOCK_HEADER_LEN) / 36;
    let mut span = 1_u64;
    for height in 0..=7_u8 {
        let entries = u64::from(pages).div_ceil(span);
        if entries <= room as u64 {
            image.set(field::MAP_HEIGHT, &[height]);
            image.set(field::LOGICAL_PAGES, &pages.to_le_bytes());
            image.set(field::ROOT_ENTRIES, &(entries as u32).to_le_bytes());
            return;
        }
        span *= image.fanout() as u64;
    }
}

/// Everything that a user may do with a store; writes succeed only where sequences do not come to their end.
fn exercise(bytes: &[u8], check: ReadCheck, endless: bool) {
    let memory = MemoryStorage::from_bytes(bytes.to_vec());
    let open = |options: StoreOptions| {
        let opened = PageStore::open_with(Arc::new(memory.clone()), options.check(check));
        opened.map_err(blames_the_file).ok()
    };
    if let Some(store) = open(StoreOptions::new().read_only(true)) {
        read_all(&store, false);
        read_named(&store, false);
    }
    let Some(store) = open(StoreOptions::new()) else {
        return;
    };
    let sound = is_sound(&store);
    let mut content = read_all(&store, sound);
    let mut named = read_named(&store, sound);
    let sound = sound && endless;
    let frames = store.take_recovered();
    assert!(
        frames.iter().count() < 1_000,
        "frames are bounded by the areas"
    );
    for round in 0..3 {
        let changed = change_pages(&store, round, &mut content).and_then(|()| journal(&store));
        assert!(!sound || changed.is_ok(), "{changed:?}");
        if round == 1 {
            let vacuumed = store.vacuum(&mut drop);
            assert!(!sound || vacuumed.is_ok(), "{vacuumed:?}");
        }
        let changed = change_snapshots(&store, round, &mut content, &mut named);
        assert!(!sound || changed.is_ok(), "{changed:?}");
        let stays_sound = is_sound(&store);
        assert!(!sound || stays_sound, "{:?}", store.verify());
    }
    let ended = store.release_journal().and_then(|()| store.settle());
    assert!(!sound || ended.is_ok(), "{ended:?}");
    drop(store);
    let reopened = open(StoreOptions::new());
    if sound {
        let store = reopened.expect("a sound store opens again");
        assert!(is_sound(&store));
        assert!(
            read_all(&store, true) == content,
            "a page changed by itself"
        );
        assert!(
            read_named(&store, true) == named,
            "a page of a snapshot changed"
        );
    }
}

/// The second half of F1.
fn blames_the_file(error: PageError) -> PageError {
    let unallocated = matches!(error, PageError::Unallocated { .. });
    assert!(unallocated || error.is_corruption(), "{error:?}");
    error
}

fn is_sound(store: &PageStore) -> bool {
    let report = store.verify().map_err(blames_the_file);
    report.is_ok_and(|report| {
        assert!(report.findings.len() <= 1_000, "findings are bounded");
        report.is_sound()
    })
}

/// Content of pages by their numbers.
type Content = BTreeMap<u32, Vec<u8>>;

/// The content of all named snapshots, each compared with the present state.
fn read_named(store: &PageStore, sound: bool) -> BTreeMap<String, Content> {
    let mut named = BTreeMap::new();
    let names = store.snapshot_names().map_err(blames_the_file);
    assert!(!sound || names.is_ok(), "{names:?}");
    for name in names.unwrap_or_default() {
        let pages = store.snapshot_pages(&name).map_err(blames_the_file);
        let opened = store.open_snapshot(&name).map_err(blames_the_file);
        assert!(!sound || (pages.is_ok() && opened.is_ok()), "{pages:?}");
        let Ok(snapshot) = opened else { continue };
        let present = store.snapshot();
        let compared = diff_pages(&present, &snapshot)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(blames_the_file);
        assert!(!sound || compared.is_ok(), "{compared:?}");
        named.insert(name, read_state(&snapshot, sound));
    }
    named
}

/// Saves the present state, deletes a snapshot, restores another; keeps what is expected in step.
fn change_snapshots(
    store: &PageStore,
    round: u32,
    content: &mut Content,
    named: &mut BTreeMap<String, Content>,
) -> shroom_page::Result<()> {
    let names = store.snapshot_names()?;
    let roots = *store.snapshot().roots();
    match (round, names.first(), names.last()) {
        (0, _, Some(last)) => {
            store.restore_snapshot(last, store.journal_mark().skip_one())?;
            *content = named.get(last).cloned().unwrap_or_default();
        }
        (1, Some(first), _) => {
            let mut txn = store.begin()?;
            txn.delete_snapshot(first)?;
            txn.commit(roots)?;
            named.remove(first);
        }
        (2, ..) if !names.iter().any(|name| name == "saved") => {
            let mut txn = store.begin()?;
            txn.save_snapshot("saved")?;
            txn.commit(roots)?;
            named.insert("saved".into(), content.clone());
        }
        _ => {}
    }
    Ok(())
}

/// The pages' content, each read in every way; of a store that is not sound, what can be read.
fn read_all(store: &PageStore, sound: bool) -> Content {
    let snapshot = store.snapshot();
    let content = read_state(&snapshot, sound);
    let stats = store.stats(true).map_err(blames_the_file);
    if sound && snapshot.logical_pages() <= PAGES_MAX {
        let stats = stats.expect("a sound store can be counted");
        assert_eq!(stats.logical_pages, content.len() as u64);
    }
    content
}

fn read_state(snapshot: &Snapshot, sound: bool) -> Content {
    let mut content = BTreeMap::new();
    for number in 1..snapshot.logical_pages().min(PAGES_MAX) {
        let page = LogicalPage(number);
        let _ = snapshot.run(page, 3).map_err(blames_the_file);
        let _ = snapshot.run(page, u32::MAX).map_err(blames_the_file);
        let allocated = snapshot.is_allocated(page).map_err(blames_the_file);
        let read = snapshot.page(page).map_err(blames_the_file);
        if sound {
            let allocated = allocated.expect("a sound map can be read");
            assert_eq!(allocated, read.is_ok(), "page {number}: {read:?}");
        }
        if let Ok(bytes) = read {
            content.insert(number, bytes.to_vec());
        }
    }
    for number in [0, snapshot.logical_pages() - 1, u32::MAX] {
        let _ = snapshot.page(LogicalPage(number)).map_err(blames_the_file);
    }
    content
}

/// Allocates, writes, changes and frees pages, and commits; keeps `content` in step.
fn change_pages(store: &PageStore, round: u32, content: &mut Content) -> shroom_page::Result<()> {
    let page_len = store.page_size().bytes();
    let mut after = content.clone();
    let mut txn = store.begin()?;
    let page = txn.allocate()?;
    txn.page_mut(page)?.fill(7);
    after.insert(page.0, vec![7; page_len]);
    let first = txn.allocate_run(3)?;
    txn.write_run(first, &vec![8; 3 * page_len])?;
    after.extend((first.0..first.0 + 3).map(|number| (number, vec![8; page_len])));
    for &number in content.keys().filter(|&&number| number % 4 == round) {
        let page = LogicalPage(number);
        if number % 8 < 4 {
            txn.page_mut(page)?[0] ^= 1;
            after.entry(number).and_modify(|bytes| bytes[0] ^= 1);
        } else {
            txn.free(page)?;
            after.remove(&number);
        }
    }
    txn.spill()?;
    txn.set_drained(store.journal_mark());
    txn.set_journal_area(round as usize % 2, 2 + round);
    txn.commit(*store.snapshot().roots())?;
    *content = after;
    Ok(())
}

/// Fills the journal some times over; what is in it is drained when it is full.
fn journal(store: &PageStore) -> shroom_page::Result<()> {
    for _ in 0..4 {
        if store.journal_append(&[1; 700])?.is_none() && !store.journal_rotate()? {
            let mut txn = store.begin()?;
            txn.set_drained(store.journal_mark());
            txn.commit(*store.snapshot().roots())?;
        }
    }
    store.journal_sync(store.journal_mark().sequence)
}
