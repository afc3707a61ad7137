//! Damaged pages of the page map: what is rebuilt, that it is what was there, and what is left when it cannot be.

use std::time::Instant;

use shroom_page::{DamagedStore, LogicalPage, Surveyed};

use super::*;

/// What can be read of the pages.
struct Seen {
    /// Logical page -> its bytes; `None`: damaged.
    pages: BTreeMap<u32, Option<Vec<u8>>>,
    unmapped: usize,
    repaired: usize,
}

impl Seen {
    fn of(image: &[u8]) -> Self {
        let storage = MemoryStorage::from_bytes(image.to_vec());
        let store = DamagedStore::open(&storage).unwrap();
        let mut seen = Self {
            pages: BTreeMap::new(),
            unmapped: 0,
            repaired: store.repaired().len(),
        };
        let mut visit = |surveyed: Surveyed<'_>| {
            match surveyed {
                Surveyed::Page(LogicalPage(page), bytes) => {
                    _ = seen.pages.insert(page, bytes.ok().map(<[u8]>::to_vec));
                }
                Surveyed::Unmapped { .. } => seen.unmapped += 1,
            }
            Ok::<(), ()>(())
        };
        store.snapshot().survey(&mut visit).unwrap();
        seen
    }

    /// Asserts that every page that is given is the sound file's; returns how many are not given.
    fn check(&self, sound: &Self, what: &str) -> usize {
        let given = self.pages.iter().filter(|(_, bytes)| bytes.is_some());
        let mut count = 0;
        for (page, bytes) in given {
            count += 1;
            assert_eq!(
                Some(bytes),
                sound.pages.get(page),
                "{what}: page {page} is invented"
            );
        }
        sound.pages.len() - count
    }
}

impl Sample {
    /// A database that was changed at random, so that the pages lie in no order.
    fn churned(page_size: u32, ids: u64, len: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let options = Options::new().page_size(page_size).background(false);
        let db = options.open_storage(storage.clone()).unwrap();
        let mut random = Random(41);
        let some = |id: u64, random: &mut Random| {
            let len = 8 + random.below(len) as usize;
            (id, random.bytes(len))
        };
        db.bulk_load((0..ids).map(|id| some(id * 3, &mut random)))
            .unwrap();
        let mut random = Random(42);
        for _ in 0..30 {
            for _ in 0..ids / 30 {
                let (id, value) = some(random.below(ids * 3), &mut random);
                db.put(id, &value).unwrap();
            }
            db.checkpoint().unwrap();
        }
        let mut batch = db.batch();
        batch.tag(77);
        batch.commit().unwrap();
        db.close().unwrap();
        Self::of(storage.to_bytes())
    }

    fn small_tokens(count: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
        mixed_tokens(count).map(|(id, bytes)| (id, bytes[..bytes.len() / 4].to_vec()))
    }
}

/// Several pages of the map in each; their number.
fn samples() -> [(&'static str, Sample); 4] {
    [
        ("4096, loaded", Sample::new(4096, fixed_tokens(60_000))),
        ("4096, changed", Sample::churned(4096, 3_000, 500)),
        ("512, loaded", Sample::new(512, Sample::small_tokens(2_000))),
        ("512, changed", Sample::churned(512, 1_500, 100)),
    ]
}

fn map_pages(sample: &Sample) -> Vec<usize> {
    let pages = Image::new(sample.image.clone()).unwrap().map_pages();
    assert!(pages.len() > 1, "the map has pages");
    pages
}

#[test]
fn a_flipped_bit_in_any_entry_is_undone() {
    let mut random = Random(51);
    for (name, sample) in samples() {
        let sound = Seen::of(&sample.image);
        let image = Image::new(sample.image.clone()).unwrap();
        let mut tried = 0;
        for page in map_pages(&sample) {
            for index in 0..image.fanout() {
                let physical = image.map_entry(page, index);
                let hash = image.map_entry(page, image.fanout()) + index * 32;
                let physical_bit = physical * 8 + random.below(32) as usize;
                let hash_bit = hash * 8 + random.below(256) as usize;
                for bits in [&[physical_bit][..], &[hash_bit], &[physical_bit, hash_bit]] {
                    let mut damaged = sample.image.clone();
                    for bit in bits {
                        damaged[bit / 8] ^= 1 << (bit % 8);
                    }
                    let seen = Seen::of(&damaged);
                    let what = format!("{name}: map page {page}, entry {index}, {bits:?}");
                    assert_eq!(seen.check(&sound, &what), 0, "{what}");
                    assert_eq!((seen.repaired, seen.unmapped), (1, 0), "{what}");
                    tried += 1;
                }
            }
        }
        println!("{name}: {tried} entries damaged and repaired");
    }
}

#[test]
fn a_zeroed_sector_is_rebuilt() {
    for (name, sample) in samples().into_iter().filter(|(_, s)| s.page_len == 4096) {
        let sound = Seen::of(&sample.image);
        for page in map_pages(&sample) {
            for sector in 0..sample.page_len / 512 {
                let start = page * sample.page_len + sector * 512;
                for fill in [0, 0xAA] {
                    let mut damaged = sample.image.clone();
                    damaged[start..start + 512].fill(fill);
                    if damaged == sample.image {
                        continue;
                    }
                    let seen = Seen::of(&damaged);
                    let what = format!("{name}: map page {page}, sector {sector}");
                    assert_eq!(seen.check(&sound, &what), 0, "{what}");
                    assert_eq!((seen.repaired, seen.unmapped), (1, 0), "{what}");
                }
            }
        }
    }
}

/// A sector of the map, and a page under it: one page is lost.
#[test]
fn a_damaged_page_under_a_damaged_map_page_is_the_only_loss() {
    for (name, sample) in samples() {
        let sound = Seen::of(&sample.image);
        let image = Image::new(sample.image.clone()).unwrap();
        // One with entries enough to tell which of them are wrong.
        let entries = |page: usize| -> Vec<usize> {
            let all = 0..image.fanout();
            all.filter(|&index| image.u32(image.map_entry(page, index)) != 0)
                .collect()
        };
        let pages = map_pages(&sample).into_iter().rev();
        let mut pages = pages.filter(|&page| entries(page).len() >= 4);
        let page = pages.next().unwrap();
        let present = entries(page);
        let mut random = Random(52);
        for &index in present.iter().step_by(3) {
            let mut damaged = sample.image.clone();
            let child = image.u32(image.map_entry(page, index)) as usize;
            damaged[child * sample.page_len + 300] ^= 1;
            // Any bit of another entry's hash, so that two do not agree with their pages.
            let other =
                present[(present.iter().position(|&at| at == index).unwrap() + 1) % present.len()];
            let hash = image.map_entry(page, image.fanout()) + other * 32;
            damaged[hash..hash + 32].fill(random.below(256) as u8);
            let seen = Seen::of(&damaged);
            assert_eq!(seen.check(&sound, name), 1, "{name}: entry {index}");
            assert_eq!((seen.repaired, seen.unmapped), (1, 0), "{name}");
        }
    }
}

#[test]
fn a_destroyed_map_page_is_rebuilt_where_the_pages_lie_in_order() {
    for (name, sample) in samples() {
        let sound = Seen::of(&sample.image);
        let pages = map_pages(&sample);
        let is_loaded = name.ends_with("loaded");
        let (mut repaired, mut lost) = (0, 0);
        for &page in &pages {
            for damage in [Damage::Zero, Damage::Replace(7), Damage::Replace(77)] {
                let damaged = sample.damaged(page, &damage);
                if damaged == sample.image {
                    continue;
                }
                let seen = Seen::of(&damaged);
                let what = format!("{name}: map page {page}, {damage:?}");
                let missing = seen.check(&sound, &what);
                assert_eq!(missing > 0, seen.unmapped > 0, "{what}");
                assert_eq!(seen.repaired + seen.unmapped, 1, "{what}");
                assert!(!is_loaded || missing == 0, "{what}: {missing} pages lost");
                repaired += seen.repaired;
                lost += seen.unmapped;
            }
        }
        println!("{name}: destroyed map pages: {repaired} rebuilt, {lost} not");
        assert!(is_loaded || lost > 0, "{name}: nothing tells their order");
    }
}

/// What cannot be rebuilt takes what is under it, and no more.
#[test]
fn a_map_page_that_is_lost_takes_what_is_under_it() {
    let sample = Sample::churned(512, 3_000, 100);
    let image = Image::new(sample.image.clone()).unwrap();
    let mut lost_pages = 0;
    for physical in map_pages(&sample) {
        let below: BTreeSet<usize> = (0..image.fanout())
            .map(|index| image.u32(image.map_entry(physical, index)) as usize)
            .collect();
        let damaged = sample.damaged(physical, &Damage::Zero);
        let (lost, report) = sample.salvage(&damaged);
        if Seen::of(&damaged).unmapped == 0 {
            assert!(lost.is_empty(), "map page {physical}: {lost:?}");
            continue;
        }
        lost_pages += 1;
        let under = |page: u32| below.contains(&sample.places[&page]);
        let on_pages = sample.tokens.iter().filter(|(page, _)| under(**page));
        let own: BTreeSet<u64> = on_pages.flat_map(|(_, ids)| ids).copied().collect();
        let directory = [sample.pages(INDEX, 3), sample.pages(INDEX, 4)].concat();
        let directory_lost = directory.into_iter().any(under);
        let is_leaf = image.bytes()[physical * image.page_len() + 1] == 0;
        if is_leaf {
            assert!(own.is_subset(&lost));
            assert!(
                directory_lost || own == lost,
                "map page {physical}: {} lost, {} under it",
                lost.len(),
                own.len()
            );
        }
        assert!(
            report.lost.iter().all(|loss| !loss.page.is_none()),
            "{:?}",
            report.lost
        );
        // What is not proven can be asked for, and is still never wrong here.
        let (found, generous) = salvage(&damaged, &Salvage::new().unproven(true)).unwrap();
        let still_lost = sample.check(&found, &generous);
        assert!(still_lost.is_subset(&lost));
        if is_leaf {
            assert_eq!(still_lost, own, "map page {physical}");
        }
    }
    assert!(lost_pages > 3, "{lost_pages}");
}

#[test]
fn map_pages_that_lie_in_wrong_places_are_found() {
    for (name, sample) in samples() {
        let sound = Seen::of(&sample.image);
        let pages = map_pages(&sample);
        for pair in pages.windows(2) {
            let swapped = sample.damaged(pair[0], &Damage::Swap(pair[1] as u64 - 2));
            let seen = Seen::of(&swapped);
            assert_eq!(seen.check(&sound, name), 0, "{name}: {pair:?} swapped");
            assert_eq!((seen.repaired, seen.unmapped), (2, 0), "{name}: {pair:?}");
        }
        let data = sample.places.values().copied();
        for other in data.step_by(sample.places.len() / 7) {
            let swapped = sample.damaged(pages[0], &Damage::Swap(other as u64 - 2));
            let seen = Seen::of(&swapped);
            assert_eq!(seen.check(&sound, name), 1, "{name}: with page {other}");
            assert_eq!((seen.repaired, seen.unmapped), (1, 0), "{name}: {other}");
        }
    }
}

#[test]
fn two_damaged_map_pages_are_both_rebuilt() {
    let mut random = Random(53);
    for (name, sample) in samples() {
        let sound = Seen::of(&sample.image);
        let pages = map_pages(&sample);
        let is_loaded = name.ends_with("loaded");
        for trial in 0..20 {
            let first = random.below(pages.len() as u64 - 1) as usize;
            let second = first + 1 + random.below((pages.len() - 1 - first) as u64) as usize;
            let mut damaged = sample.image.clone();
            // Of a destroyed page under a destroyed one the hash is nowhere.
            let pair = [pages[first], pages[second]];
            let mut changed = Vec::new();
            let are_leaves = pair.map(|page| sample.image[page * sample.page_len + 1]) == [0, 0];
            for page in pair {
                let start = page * sample.page_len;
                if is_loaded && are_leaves && trial % 2 == 0 {
                    damaged[start..start + sample.page_len].fill(0);
                } else {
                    let at = random.below(sample.page_len as u64 - 40) as usize;
                    damaged[start + at] ^= 0x10;
                    changed.push(at);
                }
            }
            let seen = Seen::of(&damaged);
            let what = format!("{name}: map pages {pair:?}, bytes {changed:?}");
            assert_eq!(seen.check(&sound, &what), 0, "{what}");
            assert_eq!((seen.repaired, seen.unmapped), (2, 0), "{what}");
        }
    }
}

/// Every page of the map is gone, or forged: the search ends, and nothing is invented.
#[test]
fn hopeless_and_hostile_maps_end() {
    let mut random = Random(54);
    for (name, sample) in samples() {
        let sound = Seen::of(&sample.image);
        let pages = map_pages(&sample);
        for kind in 0..5 {
            let mut image = Image::new(sample.image.clone()).unwrap();
            let (fanout, page_len) = (image.fanout(), image.page_len());
            for &page in &pages {
                let garbage = random.bytes(page_len);
                for index in 0..fanout {
                    let at = image.map_entry(page, index);
                    match kind {
                        0 => image.set(page * page_len, &vec![0; page_len]),
                        1 => image.set(page * page_len, &garbage),
                        // Each entry names the same page, or the one after its own map page; beyond the file; at random.
                        2 => image.set(at, &(pages[0] as u32 + 1).to_le_bytes()),
                        3 => image.set(at, &(u32::MAX - index as u32).to_le_bytes()),
                        _ => {
                            let place = random.below(sample.places.len() as u64 + 9) as u32;
                            image.set(at, &place.to_le_bytes());
                        }
                    }
                }
            }
            let started = Instant::now();
            let unsealed = Seen::of(image.bytes());
            unsealed.check(&sound, name);
            // With the superblock's hashes made right, the root's entries lead to pages whose entries are all damaged.
            image.seal();
            for &page in &pages {
                let start = image.map_entry(page, fanout);
                let hashes = random.bytes(fanout * 32);
                image.set(start, &hashes);
            }
            let _ = Seen::of(image.bytes());
            image.seal();
            let _ = Seen::of(image.bytes());
            println!(
                "{name}: all {} map pages, kind {kind}: {} rebuilt, {:?}",
                pages.len(),
                unsealed.repaired,
                started.elapsed()
            );
        }
    }
}

/// Damages each of the physical pages in turn, by a bit and by a zeroed sector: nothing is lost but what is on the page itself.
fn measure(sample: &Sample, physical_pages: impl Iterator<Item = usize>) {
    let mut random = Random(61);
    let map: BTreeSet<usize> = map_pages(sample).into_iter().collect();
    let logical: BTreeMap<usize, u32> = sample.places.iter().map(|(&l, &p)| (p, l)).collect();
    // Kind of page -> pages, damages, tokens on the damaged pages, lost beyond these, damages that cost nothing.
    let mut table: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for physical in physical_pages {
        let start = physical * sample.page_len;
        let own = logical
            .get(&physical)
            .and_then(|page| sample.tokens.get(page))
            .cloned()
            .unwrap_or_default();
        let kind = match sample.image[start..start + 2] {
            _ if physical < 2 => "superblock",
            _ if map.contains(&physical) => "page map",
            _ if !logical.contains_key(&physical) => "free, record",
            [STORAGE, _] => "packs",
            [INDEX, 1 | 2] => "free-space index",
            [INDEX, _] => "directory",
            _ => "raw",
        };
        let row = table.entry(kind).or_default();
        row[0] += 1;
        let bit = start * 8 + random.below(sample.page_len as u64 * 8) as usize;
        let sector = start + random.below(sample.page_len as u64 / 512) as usize * 512;
        let mut flipped = sample.image.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut zeroed = sample.image.clone();
        zeroed[sector..sector + 512].fill(0);
        for image in [flipped, zeroed] {
            if image == sample.image {
                continue; // the sector was zero
            }
            let (lost, report) = sample.salvage(&image);
            let beyond = lost.difference(&own).count();
            assert_eq!(beyond, 0, "{kind} {physical}: {:?}", report.lost);
            assert_eq!(report.missing, Some(lost.len() as u64));
            row[1] += 1;
            row[2] += lost.len();
            row[3] += beyond;
            row[4] += usize::from(report.is_complete());
        }
    }
    println!("kind | pages | damages | lost on the page | lost beyond it | nothing lost");
    for (kind, row) in &table {
        println!(
            "{kind} | {} | {} | {} | {} | {}",
            row[0], row[1], row[2], row[3], row[4]
        );
    }
}

#[test]
fn one_damaged_page_costs_its_own_tokens_only() {
    let sample = Sample::new(4096, fixed_tokens(40_000));
    let packs: BTreeSet<usize> = (sample.pages(STORAGE, 0).iter())
        .map(|page| sample.places[page])
        .collect();
    let every = packs.len() / 20;
    let some: BTreeSet<usize> = packs.iter().copied().step_by(every).collect();
    let pages = 0..sample.image.len() / sample.page_len;
    measure(
        &sample,
        pages.filter(|page| !packs.contains(page) || some.contains(page)),
    );
}

#[test]
#[ignore = "takes minutes"]
fn measure_every_page_of_100_000_tokens() {
    let sample = Sample::new(4096, fixed_tokens(100_000));
    measure(&sample, 0..sample.image.len() / sample.page_len);
}
