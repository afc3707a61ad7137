//! Salvage: what survives damage of each kind, what is lost, and that nothing is invented.

#[path = "salvage/map_pages.rs"]
mod map_pages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use shroom::salvage::{Salvage, SalvageReport};
use shroom::storage::MemoryStorage;
use shroom::storage::faulty::FaultyStorage;
use shroom::{Db, ErrorKind, Options};
use shroom_sim::forge::{Image, SUPERBLOCK_HEADER_LEN, field};
use shroom_sim::{Model, Random};

const STORAGE: u8 = 1;
const INDEX: u8 = 2;

/// A sound database, what it holds, and where.
struct Sample {
    image: Vec<u8>,
    model: Model,
    /// Logical page -> physical page.
    places: BTreeMap<u32, usize>,
    page_len: usize,
    /// Logical page -> ids of the tokens that it alone holds.
    tokens: BTreeMap<u32, BTreeSet<u64>>,
}

impl Sample {
    fn new(page_size: u32, tokens: impl Iterator<Item = (u64, Vec<u8>)>) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let options = Options::new().page_size(page_size).background(false);
        let db = options.open_storage(storage.clone()).unwrap();
        db.bulk_load(tokens).unwrap();
        let mut batch = db.batch();
        batch.tag(77);
        batch.commit().unwrap();
        db.close().unwrap();
        Self::of(storage.to_bytes())
    }

    fn of(image: Vec<u8>) -> Self {
        let storage = Arc::new(MemoryStorage::from_bytes(image.clone()));
        let db = Options::new()
            .read_only(true)
            .open_storage(storage)
            .unwrap();
        let model = Model::read(&db).unwrap();
        let mut tokens: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for &id in model.tokens.keys() {
            let page = db.stat(id).unwrap().unwrap().page;
            tokens.entry(page.0).or_default().insert(id);
        }
        let forged = Image::new(image.clone()).unwrap();
        Self {
            places: places(&forged),
            page_len: forged.page_len(),
            image,
            model,
            tokens,
        }
    }

    /// Logical pages with this page type and kind.
    fn pages(&self, page_type: u8, kind: u8) -> Vec<u32> {
        let is_kind =
            |physical: usize| self.image[physical * self.page_len..][..2] == [page_type, kind];
        let pages = self
            .places
            .iter()
            .filter(|(_, physical)| is_kind(**physical));
        pages.map(|(&logical, _)| logical).collect()
    }

    fn damaged(&self, physical: usize, damage: &Damage) -> Vec<u8> {
        let mut image = self.image.clone();
        let start = physical * self.page_len;
        let other =
            |number: u64| (number as usize % (image.len() / self.page_len - 2) + 2) * self.page_len;
        match *damage {
            Damage::Flip(bit) => image[start + bit / 8 % self.page_len] ^= 1 << (bit % 8),
            Damage::Zero => image[start..start + self.page_len].fill(0),
            Damage::Replace(page) => {
                let from = other(page);
                image.copy_within(from..from + self.page_len, start);
            }
            Damage::Swap(page) => {
                let from = other(page);
                let here = image[start..start + self.page_len].to_vec();
                image.copy_within(from..from + self.page_len, start);
                image[from..from + self.page_len].copy_from_slice(&here);
            }
            Damage::Cut => image.truncate(start),
        }
        image
    }

    /// Salvages an image; asserts that every token of the new database is one of the sound one, and that what is
    /// missing is reported. Returns what is missing.
    fn salvage(&self, image: &[u8]) -> (BTreeSet<u64>, SalvageReport) {
        let (found, report) = salvage(image, &Salvage::new()).unwrap();
        let lost = self.check(&found, &report);
        (lost, report)
    }

    fn check(&self, found: &Model, report: &SalvageReport) -> BTreeSet<u64> {
        for (id, bytes) in &found.tokens {
            assert!(
                self.model.tokens.get(id) == Some(bytes),
                "token {id} is invented"
            );
        }
        assert_eq!(report.tokens, found.tokens.len() as u64);
        assert_eq!(report.payload_bytes, found.payload());
        assert_eq!(report.tag, Some(self.model.tag));
        assert_eq!(found.tag, self.model.tag);
        let lost: BTreeSet<u64> = self
            .model
            .tokens
            .keys()
            .copied()
            .filter(|id| !found.tokens.contains_key(id))
            .collect();
        for id in &lost {
            assert!(
                report
                    .lost
                    .iter()
                    .any(|loss| (loss.first..=loss.last).contains(id)),
                "token {id} is lost without a word: {:?}",
                report.lost
            );
        }
        for loss in &report.lost {
            assert!(loss.first <= loss.last);
        }
        lost
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(usize),
    Zero,
    Replace(u64),
    Swap(u64),
    Cut,
}

fn some_damage(random: &mut Random) -> Damage {
    match random.below(4) {
        0 => Damage::Flip(random.below(1 << 40) as usize),
        1 => Damage::Zero,
        2 => Damage::Replace(random.next()),
        _ => Damage::Swap(random.next()),
    }
}

/// Where each logical page lies, by the newest superblock.
fn places(image: &Image) -> BTreeMap<u32, usize> {
    let slot = image.newest_slot() * image.page_len();
    let entries = image.u32(slot + field::ROOT_ENTRIES) as usize;
    let mut level: Vec<(u32, usize)> = (0..entries)
        .map(|index| {
            (
                index as u32,
                image.u32(slot + SUPERBLOCK_HEADER_LEN + index * 4) as usize,
            )
        })
        .collect();
    for _ in 0..image.bytes()[slot + field::MAP_HEIGHT] {
        let fanout = image.fanout() as u32;
        level = level
            .into_iter()
            .filter(|&(_, page)| page != 0)
            .flat_map(|(index, page)| {
                (0..fanout).map(move |digit| {
                    (
                        index * fanout + digit,
                        image.u32(image.map_entry(page, digit as usize)) as usize,
                    )
                })
            })
            .collect();
    }
    level.into_iter().filter(|&(_, page)| page != 0).collect()
}

fn salvage(image: &[u8], how: &Salvage) -> shroom::Result<(Model, SalvageReport)> {
    let damaged = MemoryStorage::from_bytes(image.to_vec());
    let new = Arc::new(MemoryStorage::new());
    let report = how.run_storage(&damaged, new.clone())?;
    assert_eq!(damaged.to_bytes(), image, "the damaged file was changed");
    let db = Options::new().create(false).open_storage(new)?;
    shroom_sim::assert_sound(&db);
    Ok((Model::read(&db)?, report))
}

fn fixed_tokens(count: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let mut random = Random(1);
    (0..count).map(move |id| (id, random.bytes(16)))
}

fn mixed_tokens(count: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let mut random = Random(2);
    let mut id = 0;
    (0..count).map(move |_| {
        id += 1 + random.below(1000);
        let len = 8 + random.below(505) as usize;
        (id, random.bytes(len))
    })
}

/// Tokens, some of which are blobs: with one page, with a tail, long.
fn blob_tokens(count: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let mut random = Random(3);
    (0..count).map(move |id| {
        let len = match id % 10 {
            3 => 300 + random.below(200),
            5 => 512,
            7 => 5_000 + random.below(3000),
            _ => random.below(120),
        };
        let mut bytes = random.bytes(len as usize);
        if let Some(first) = bytes.first_mut() {
            *first = 0xEE; // no page type
        }
        (id * 3, bytes)
    })
}

fn random_pages(sample: &Sample, trials: u64, seed: u64) {
    let mut random = Random(seed);
    let packs = sample.pages(STORAGE, 0);
    let (mut lost_total, mut most) = (0, 0);
    for trial in 0..trials {
        let page = packs[random.below(packs.len() as u64) as usize];
        let damage = some_damage(&mut random);
        let image = sample.damaged(sample.places[&page], &damage);
        let changed = (0..sample.image.len() / sample.page_len).filter(|physical| {
            let range = physical * sample.page_len..(physical + 1) * sample.page_len;
            sample.image[range.clone()] != image[range]
        });
        let changed: Vec<usize> = changed.collect();
        let hit: Vec<u32> = packs
            .iter()
            .copied()
            .filter(|page| changed.contains(&sample.places[page]))
            .collect();
        // Replaced by itself, or swapped with a page of another kind, which has its own test.
        if hit.len() != changed.len() || hit.is_empty() {
            continue;
        }
        let on_pages = hit.iter().filter_map(|page| sample.tokens.get(page));
        let expected: BTreeSet<u64> = on_pages.flatten().copied().collect();
        let (lost, report) = sample.salvage(&image);
        assert_eq!(lost, expected, "trial {trial}: page {page}, {damage:?}");
        assert_eq!(report.missing, Some(lost.len() as u64));
        for loss in &report.lost {
            let is_real = lost.range(loss.first..=loss.last).next().is_some();
            assert!(is_real, "nothing was lost there: {loss}");
        }
        lost_total += lost.len();
        most = most.max(lost.len());
    }
    println!(
        "{trials} damaged pack pages of {}: {lost_total} tokens lost, at most {most} at a time",
        packs.len()
    );
}

#[test]
fn a_damaged_pack_page_loses_exactly_its_tokens() {
    random_pages(&Sample::new(4096, fixed_tokens(100_000)), 8, 11);
    random_pages(&Sample::new(4096, mixed_tokens(20_000)), 12, 12);
    random_pages(
        &Sample::new(
            512,
            mixed_tokens(3_000).map(|(id, bytes)| (id, bytes[..bytes.len() / 4].to_vec())),
        ),
        40,
        13,
    );
}

/// The full measurement: one page of a file of 100,000 tokens, 200 times; and each kind of page.
#[test]
#[ignore = "takes minutes"]
fn measure_one_random_page_of_100_000_tokens() {
    for (name, sample) in [
        ("16 bytes", Sample::new(4096, fixed_tokens(100_000))),
        ("8 to 512 bytes", Sample::new(4096, mixed_tokens(100_000))),
    ] {
        println!(
            "{name}: {} bytes, {} logical pages",
            sample.image.len(),
            sample.places.len()
        );
        random_pages(&sample, 200, 21);
        each_kind(&sample, 3);
        let mut random = Random(31);
        let (mut worst, mut total) = (0, 0);
        for _ in 0..200 {
            let pages = sample.image.len() / sample.page_len;
            let physical = random.below(pages as u64) as usize;
            let image = sample.damaged(physical, &Damage::Flip(random.below(1 << 40) as usize));
            let (lost, _) = sample.salvage(&image);
            let on_page = sample.places.iter().find(|(_, place)| **place == physical);
            let own = on_page
                .and_then(|(page, _)| sample.tokens.get(page))
                .map_or(0, BTreeSet::len);
            if lost.len() != own {
                println!("physical page {physical}: {} lost, {own} on it", lost.len());
            }
            worst = worst.max(lost.len());
            total += lost.len();
        }
        println!("any page, 200 times: {total} tokens lost, at most {worst} at a time");
    }
}

/// Damages up to `most` pages of each kind, one at a time.
fn each_kind(sample: &Sample, most: usize) {
    for (name, page_type, kind) in [
        ("free-index leaf", INDEX, 1),
        ("free-index node", INDEX, 2),
        ("directory leaf", INDEX, 3),
        ("directory node", INDEX, 4),
    ] {
        let pages = sample.pages(page_type, kind);
        for page in pages.iter().step_by((pages.len() / most).max(1)) {
            for damage in [Damage::Flip(100), Damage::Zero] {
                let (lost, report) = sample.salvage(&sample.damaged(sample.places[page], &damage));
                assert!(lost.is_empty(), "{name} {page}: {} tokens lost", lost.len());
                assert!(
                    report.is_complete() && report.missing == Some(0),
                    "{report:?}"
                );
                assert!(report.unproven.is_empty());
                assert_eq!(
                    report.damage.len(),
                    usize::from(kind >= 3),
                    "{:?}",
                    report.damage
                );
            }
        }
        println!(
            "{name}: {} pages, nothing lost with one of them",
            pages.len()
        );
    }
    let image = Image::new(sample.image.clone()).unwrap();
    let map_pages = image.map_pages();
    for &physical in map_pages.iter().step_by((map_pages.len() / most).max(1)) {
        let (lost, report) = sample.salvage(&sample.damaged(physical, &Damage::Flip(5_000)));
        assert!(lost.is_empty() && report.is_complete(), "{report:?}");
        assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
        assert!(
            report.damage[0].starts_with("repaired: page map page"),
            "{:?}",
            report.damage
        );
    }
    println!(
        "map: {} pages, nothing lost with one of them",
        map_pages.len()
    );
    for slot in 0..2 {
        let (lost, report) = sample.salvage(&sample.damaged(slot, &Damage::Zero));
        assert!(lost.is_empty() && report.damage.len() == 1, "{report:?}");
    }
}

#[test]
fn damage_to_any_other_page_loses_what_needs_it() {
    each_kind(&Sample::new(4096, fixed_tokens(60_000)), 2);
    let sample = Sample::new(
        512,
        mixed_tokens(12_000).map(|(id, bytes)| (id, bytes[..bytes.len() / 4].to_vec())),
    );
    assert!(sample.pages(INDEX, 3).len() > 5 && !sample.pages(INDEX, 4).is_empty());
    assert!(!sample.pages(INDEX, 1).is_empty());
    each_kind(&sample, 10);
}

#[test]
fn blobs_are_lost_one_by_one() {
    let sample = Sample::new(512, blob_tokens(400));
    let mut random = Random(5);
    for (&page, &physical) in &sample.places {
        let damage = if page % 2 == 0 {
            Damage::Zero
        } else {
            Damage::Flip(random.below(4096) as usize)
        };
        let image = sample.damaged(physical, &damage);
        if image == sample.image {
            continue;
        }
        let (lost, report) = sample.salvage(&image);
        // Every token that cannot be read without the page, and no other.
        let storage = Arc::new(MemoryStorage::from_bytes(image));
        let db = Options::new()
            .read_only(true)
            .open_storage(storage)
            .unwrap();
        let unreadable = |id: &u64| db.get(*id).is_err();
        let expected: BTreeSet<u64> = sample
            .model
            .tokens
            .keys()
            .copied()
            .filter(unreadable)
            .collect();
        let is_directory = [[INDEX, 3], [INDEX, 4]]
            .contains(&sample.image[physical * 512..][..2].try_into().unwrap());
        if is_directory {
            assert!(lost.is_empty(), "directory page {page}: {lost:?}");
        } else {
            assert_eq!(lost, expected, "page {page}");
        }
        assert!(
            report
                .lost
                .iter()
                .all(|loss| loss.physical.0 as usize == physical),
            "{:?}",
            report.lost
        );
    }
}

#[test]
fn a_cut_file_keeps_what_is_before_the_cut() {
    let sample = Sample::new(512, blob_tokens(300));
    let pages = sample.image.len() / 512;
    for physical in (2..pages).step_by(7) {
        let (lost, report) = sample.salvage(&sample.damaged(physical, &Damage::Cut));
        assert!(
            report.damage.iter().any(|text| text.contains("truncated")),
            "{report:?}"
        );
        assert!(
            !lost.is_empty() || physical + 3 > pages,
            "cut at {physical}"
        );
    }
    // In the middle of a superblock slot, and of a page.
    for len in [512 + 100, 512 * 2, 512 * 40 + 17] {
        let (lost, _) = sample.salvage(&sample.image[..len]);
        assert!(!lost.is_empty());
    }
}

#[test]
fn without_a_superblock_nothing_is_proven() {
    let mut image = Sample::new(512, blob_tokens(50)).image;
    image[100] ^= 1;
    image[612] ^= 1;
    let error = salvage(&image, &Salvage::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    assert!(salvage(&[], &Salvage::new()).unwrap_err().is_corruption());
}

#[test]
fn a_damaged_journal_counts_up_to_the_damage() {
    let storage = FaultyStorage::new();
    let options = Options::new().page_size(512).background(false);
    let db = options.open_storage(Arc::new(storage.clone())).unwrap();
    for id in 0..200 {
        db.put(id, &[id as u8; 30]).unwrap();
    }
    db.checkpoint().unwrap();
    let before = Image::new(storage.image()).unwrap();
    let mut states = vec![Model::read(&db).unwrap()];
    let mut step = |change: &dyn Fn(&mut shroom::Batch<'_>)| {
        let mut batch = db.batch();
        change(&mut batch);
        batch.commit_synced().unwrap();
        states.push(Model::read(&db).unwrap());
    };
    step(&|batch| _ = batch.put(5, b"five").delete(6).tag(1));
    step(&|batch| _ = batch.append(7, b"more").put(1000, b"new").tag(2));
    step(&|batch| _ = batch.append(5, b"+").tag(3));
    step(&|batch| _ = batch.delete(1000).tag(4));
    std::mem::forget(db);
    let image = storage.image();
    let frames: Vec<usize> = (0..image.len().min(before.bytes().len()))
        .filter(|&at| at >= 1024 && image[at] != before.bytes()[at])
        .collect();
    let mut reached = BTreeSet::new();
    for &at in &frames {
        let mut damaged = image.clone();
        damaged[at] ^= 0x40;
        let (found, report) = salvage(&damaged, &Salvage::new()).unwrap();
        let state = states
            .iter()
            .position(|state| *state == found)
            .expect("a state that was");
        assert_eq!(report.journal_frames, state as u64);
        // That something is missing is known by a frame behind it only.
        assert!(
            state + 2 >= states.len()
                || report
                    .damage
                    .iter()
                    .any(|text| text.contains("journal damaged")),
            "{state}: {report:?}"
        );
        reached.insert(state);
    }
    assert_eq!(reached, (0..states.len() - 1).collect());

    // The journal says what is in pages that are lost: puts are recovered, deletes are no loss, appends need the page.
    let sample = Sample::of(image.clone());
    let page = sample
        .tokens
        .iter()
        .find(|(_, ids)| ids.contains(&7))
        .map(|(&page, _)| page);
    let last = states.last().unwrap();
    let packs = sample.pages(STORAGE, 0);
    assert!(page.is_some() && packs.len() > 3);
    let mut images = packs
        .iter()
        .map(|page| sample.damaged(sample.places[page], &Damage::Zero));
    let (lost, report) = images
        .find_map(|image| {
            let (lost, report) = sample.salvage(&image);
            lost.contains(&7).then_some((lost, report))
        })
        .expect("some page holds token 7");
    assert!(!lost.contains(&5) && last.tokens[&5] == b"five+");
    assert!(
        report
            .lost
            .iter()
            .all(|loss| !(loss.first..=loss.last).contains(&5)
                && !(loss.first..=loss.last).contains(&6)),
        "{:?}",
        report.lost
    );
}

#[test]
fn files_are_read_only_and_new_ones_are_new() {
    let dir = tempfile::tempdir().unwrap();
    let (damaged, new) = (dir.path().join("damaged"), dir.path().join("new"));
    let sample = Sample::new(512, blob_tokens(100));
    let image = sample.damaged(sample.places[&sample.pages(STORAGE, 0)[0]], &Damage::Zero);
    std::fs::write(&damaged, &image).unwrap();
    let report = Db::salvage(&damaged, &new).unwrap();
    assert_eq!(std::fs::read(&damaged).unwrap(), image);
    let db = Db::open_read_only(&new).unwrap();
    sample.check(&Model::read(&db).unwrap(), &report);
    drop(db);
    assert!(Db::salvage(&damaged, &new).is_err(), "the new one is there");
    let bytes = std::fs::read(&new).unwrap();
    std::fs::remove_file(&new).unwrap();
    let again = Db::salvage(&damaged, &new).unwrap();
    assert!(
        again == report && std::fs::read(&new).unwrap() == bytes,
        "the same file gives the same bytes"
    );

    std::fs::remove_file(&new).unwrap();
    let db = Db::open(dir.path().join("other")).unwrap();
    let locked = Db::salvage(dir.path().join("other"), &new).unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::Locked);
    assert!(!new.exists());
    drop(db);
}

/// A pack of consecutive ids as its segment's data has it: values of one length, or blob references.
fn pack_bytes(base: u64, values: &[Vec<u8>], are_blobs: bool) -> Vec<u8> {
    let mut bytes = base.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(values.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[0, if are_blobs { 1 | 4 } else { 1 }]);
    bytes.extend_from_slice(&(values[0].len() as u16).to_le_bytes());
    for index in (0..values.len()).step_by(8).filter(|_| are_blobs) {
        let rest = (values.len() - index).min(8);
        bytes.push((0xFF_u16 >> (8 - rest)) as u8);
    }
    values
        .iter()
        .for_each(|value| bytes.extend_from_slice(value));
    bytes
}

/// A storage page of 512 bytes that is full of one pack, as a raw page of a blob may look.
fn page_of_one_pack(base: u64) -> Vec<u8> {
    let pack = pack_bytes(base, &vec![b"imitation".to_vec(); 54], false);
    let mut page = vec![STORAGE, 0, 1, 0, 0, 0, 0, 0];
    page.extend_from_slice(&(pack.len() as u16).to_le_bytes());
    page.extend_from_slice(&pack);
    page.extend_from_slice(&[0, 0]);
    assert_eq!(page.len(), 512);
    page
}

/// Ids of which no token exists, and which a lost directory page may cover.
const FREE_IDS: u64 = 1 << 16;
/// Ids above all tokens: no true pack overlaps an imitation there, which alone would give it away.
const BEYOND: u64 = 1 << 30;

#[test]
fn a_value_that_looks_like_a_pack_never_becomes_tokens() {
    let mut tokens: BTreeMap<u64, Vec<u8>> =
        (100..2000).map(|id| (id, vec![id as u8; 20])).collect();
    tokens.extend((0..300).map(|id| (id + 2 * FREE_IDS, vec![id as u8; 20])));
    // A blob in one segment begins with its number of extents, 0: so does this base.
    let single = pack_bytes(BEYOND, &vec![b"imitation".to_vec(); 20], false);
    tokens.insert(10, single[2..].to_vec());
    tokens.insert(20, page_of_one_pack(BEYOND + 500));
    tokens.insert(
        30,
        [
            page_of_one_pack(BEYOND + 1000),
            page_of_one_pack(BEYOND + 2000),
        ]
        .concat(),
    );
    let storage = Arc::new(MemoryStorage::new());
    let options = Options::new().page_size(512).background(false);
    let db = options.open_storage(storage.clone()).unwrap();
    db.bulk_load(tokens).unwrap();
    // Appended to, a blob's chain gets more segments; what was appended is in the last one.
    for id in 40..60 {
        db.put(id, &vec![1; 300 + 10 * id as usize % 200]).unwrap();
        db.checkpoint().unwrap();
        let tail = pack_bytes(
            BEYOND + 3000 + id * 10,
            &vec![b"appended".to_vec(); 6],
            false,
        );
        db.append(id, &tail).unwrap();
        db.checkpoint().unwrap();
    }
    let mut batch = db.batch();
    batch.tag(77);
    batch.commit().unwrap();
    db.close().unwrap();
    let sample = Sample::of(storage.to_bytes());

    let kinds = [3, 4].into_iter();
    let directory: Vec<u32> = kinds.flat_map(|kind| sample.pages(INDEX, kind)).collect();
    assert!(directory.len() > 2);
    let (mut pairs, mut told) = (0, 0);
    for page in &directory {
        let image = sample.damaged(sample.places[page], &Damage::Zero);
        let (lost, report) = sample.salvage(&image);
        // Imitations are told apart, and the ids that they claim were never in use.
        assert!(
            lost.is_empty() && report.missing == Some(0),
            "{lost:?} {report:?}"
        );
        told += report.lost.len();
        for &other in sample.places.values() {
            let mut image = image.clone();
            image[other * 512..(other + 1) * 512].fill(0xAA);
            sample.salvage(&image);
            pairs += 1;
        }
    }
    println!("{told} imitations told apart; {pairs} pairs of damaged pages: none became a token");
}

/// A value that, as a pack, claims that a true pack is its blob: without the directory page nothing tells which of the two is right.
/// The pack is reported lost; nothing is invented.
#[test]
fn a_pack_that_a_value_claims_as_a_blob_is_not_believed() {
    let in_pack = (512 - 12 - 14) / 20;
    let ids = (0..2 * in_pack).chain(FREE_IDS..FREE_IDS + 400 * in_pack);
    let load = |claim: &[u8]| {
        let tokens = ids.clone().map(|id| (id, vec![id as u8; 20]));
        Sample::new(512, tokens.chain([(1 << 40, claim.to_vec())]))
    };
    let sample = load(&[0; 200]);
    // Its base makes it read as a blob without extents.
    let place = |sample: &Sample| {
        let mut pages = sample.tokens.iter();
        *pages
            .find(|(_, ids)| ids.first() == Some(&FREE_IDS))
            .unwrap()
            .0
    };
    let page = place(&sample);
    let length = in_pack * 20 + 14 - 2;
    let mut reference = page.to_le_bytes().to_vec();
    reference.extend_from_slice(&8_u16.to_le_bytes());
    reference.extend_from_slice(&length.to_le_bytes());
    let claim = pack_bytes(FREE_IDS << 1, &vec![reference; 13], true);
    assert!(claim.len() - 2 > 128, "a blob");
    let sample = load(&claim[2..]);
    assert_eq!(place(&sample), page);
    let (mut claimed, mut believed) = (0, 0);
    for leaf in sample.pages(INDEX, 3) {
        let (lost, _) = sample.salvage(&sample.damaged(sample.places[&leaf], &Damage::Zero));
        if lost.is_empty() {
            believed += 1;
        } else {
            claimed += 1;
            assert_eq!(lost, sample.tokens[&page]);
        }
    }
    println!("{claimed} leaves whose pack a value claims, {believed} others");
    assert!(claimed == 1 && believed > 0);
}

fn some_bytes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec(
        (any::<usize>(), prop_oneof![any::<u8>(), 0..4_u8, Just(255)]),
        0..20,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes, and any change to a database with its hashes made right again: a report or an error, never a panic; and what was
    /// changed without new hashes is never taken for a token.
    #[test]
    fn arbitrary_files(changes in some_bytes(), header in some_bytes(), sealed: bool, unproven: bool, len in 0..60_000_usize) {
        use std::sync::OnceLock;
        static SAMPLE: OnceLock<Sample> = OnceLock::new();
        let sample = SAMPLE.get_or_init(|| Sample::new(512, blob_tokens(150)));
        let mut image = Image::new(sample.image.clone()).unwrap();
        let total = image.bytes().len();
        for (at, value) in changes {
            image.bytes_mut()[at % total] = value;
        }
        for (at, value) in header.into_iter().filter(|_| sealed) {
            // Headers of pages and segments, and the superblock's fields.
            let page = at / 64 % (total / 512) * 512;
            image.bytes_mut()[page + at % 64] = value;
        }
        let is_cut = len < total / 2;
        let how = Salvage::new().unproven(unproven);
        if sealed && Image::new(image.bytes().to_vec()).is_some() {
            image.bytes_mut()[..12].copy_from_slice(&sample.image[..12]);
            image.seal();
        }
        let mut bytes = image.into_bytes();
        if is_cut {
            bytes.truncate(len * 2);
        }
        let result = salvage(&bytes, &how);
        if let (Ok((found, report)), false) = (&result, sealed) {
            for (id, value) in &found.tokens {
                prop_assert_eq!(Some(value), sample.model.tokens.get(id));
            }
            prop_assert_eq!(report.tokens, found.tokens.len() as u64);
        }
        if let Err(error) = result {
            prop_assert!(error.is_corruption(), "{}", error);
        }
    }

    #[test]
    fn bytes_that_are_no_database(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(salvage(&bytes, &Salvage::new()).is_err());
    }
}
