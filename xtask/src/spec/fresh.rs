//! Random files for the independent reader, written by the engine: all page sizes, dense and scattered ids, values of every kind,
//! deletions, named snapshots, kept sums, journals that are still alive, compacted files; what a crash leaves, and damaged ones.

use std::sync::Arc;

use shroom::storage::faulty::{CrashPlan, FaultyStorage, Torn};
use shroom::{Db, Options};
use shroom_sim::forge::{Image, field};
use shroom_sim::{Random, Workload, perform};

use super::describe::shown;
use crate::Result;

/// A file, deltas between its named snapshots, and proofs of some of its tokens.
pub(super) struct Fresh {
    pub(super) bytes: Vec<u8>,
    /// Deltas: which states they lead from and to and how many pages they have, as the reader says it, and their bytes.
    pub(super) deltas: Vec<(String, Vec<u8>)>,
    /// Ids and their proofs.
    pub(super) proofs: Vec<(u64, Vec<u8>)>,
    /// What a crash before the end leaves, or the file with a bit changed, or forged.
    pub(super) changed: Vec<u8>,
    /// How it came to be, in words.
    pub(super) history: String,
}

impl Fresh {
    /// What lies beside the file, by the rest of its name.
    pub(super) fn beside(&self) -> Vec<(String, &[u8])> {
        let deltas = self.deltas.iter().enumerate();
        let deltas = deltas.map(|(index, (_, delta))| (format!("{index}.names.delta"), &delta[..]));
        let proofs = self.proofs.iter().enumerate();
        let proofs = proofs.map(|(index, (id, proof))| (format!("{index}.{id}.proof"), &proof[..]));
        deltas.chain(proofs).collect()
    }

    /// What the engine says of it.
    pub(super) fn beside_described(&self) -> Result<String> {
        let mut text = String::new();
        for (line, _) in &self.deltas {
            text += &format!("{line}\n");
        }
        let root = super::describe::open(&self.bytes)?.page_root();
        for (id, proof) in &self.proofs {
            let answer =
                shroom::proof::Proof::from_bytes(proof.clone()).verify(root.as_bytes(), *id);
            let answer = answer.map_err(|error| format!("proof of {id}: {error}"))?;
            let answer = answer.map_or("absent".into(), |bytes| super::describe::value(&bytes));
            text += &format!("proof {id} {answer}\n");
        }
        Ok(text)
    }
}

/// The file of a seed.
pub(super) fn write(seed: u64) -> Result<Fresh> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9).wrapping_add(77));
    let workload = Workload {
        page_size: 512 << (seed % 8),
        ids: [8, 300, 5000, 1 << 40][random.below(4) as usize],
        value_len_max: [40, 1500, 9000, 40_000][random.below(4) as usize],
        acknowledged: 10,
    };
    let storage = FaultyStorage::new();
    let (tracks, in_slices) = (random.below(3) == 0, random.below(2) == 0);
    let mut options = Options::new()
        .page_size(workload.page_size)
        .journal_limit(64 << 10)
        .track_content_root(tracks)
        .background(false);
    if in_slices {
        // A crash then may leave pages that are ahead of the journal's first frames.
        options = options.slice_bytes(1);
    }
    let endings = [Ending::Flushed, Ending::Closed, Ending::Compacted];
    let ending = endings[random.below(5).min(2) as usize];
    let operations = 10 + random.below(300);
    let written = run(
        &options,
        &storage,
        &workload,
        operations,
        ending,
        &mut random,
    );
    let (bytes, begun) = written.map_err(shown)?;
    let mut fresh = Fresh {
        deltas: deltas(&bytes)?,
        proofs: proofs(&bytes, &mut random)?,
        changed: Vec::new(),
        history: format!(
            "{workload:?}, {operations} operations, tracks: {tracks}, in slices: {in_slices}, {ending:?}"
        ),
        bytes,
    };
    let image = Image::new(fresh.bytes.clone()).ok_or("a file is too short")?;
    fresh.changed = match random.below(8) {
        0..3 => crashed(&storage, begun, &mut random),
        3 => damaged(&image, &mut random),
        4 => drained_further(&image, &mut random),
        // Of named snapshots `verify` checks hashes and maps, not what pages of old states say.
        _ if image.frozen_superblocks().is_empty() => forged(&image, &mut random),
        _ => crashed(&storage, begun, &mut random),
    };
    Ok(fresh)
}

/// How the process that writes a file ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// As a crash leaves it, with everything in the journal.
    Flushed,
    Closed,
    Compacted,
}

/// Writes a file; its bytes in the end, and how many events of the storage there were when it had become a database.
fn run(
    options: &Options,
    storage: &FaultyStorage,
    workload: &Workload,
    operations: u64,
    ending: Ending,
    random: &mut Random,
) -> shroom::Result<(Vec<u8>, usize)> {
    let db = options.open_storage(Arc::new(storage.clone()))?;
    db.checkpoint()?;
    let begun = storage.events();
    if random.below(2) == 0 {
        many_small(&db, random)?;
    }
    for _ in 0..operations {
        let op = match random.below(20) {
            0 => workload.snapshot_op(random),
            _ => workload.op(random),
        };
        perform(&db, &op)?;
    }
    db.flush()?;
    let flushed = storage.image();
    let bytes = match ending {
        Ending::Flushed => flushed,
        Ending::Closed => db.close().map(|()| storage.image())?,
        Ending::Compacted => {
            db.compact()?;
            db.close().map(|()| storage.image())?
        }
    };
    Ok((bytes, begun))
}

/// What a crash at some point of the history leaves.
fn crashed(storage: &FaultyStorage, begun: usize, random: &mut Random) -> Vec<u8> {
    let events = begun as u64 + random.below((storage.events() - begun) as u64 + 1);
    let torn = [Torn::None, Torn::Sector512, Torn::Page4096][random.below(3) as usize];
    let plan = CrashPlan::Random {
        seed: random.next(),
        torn,
        reordered: random.below(2) == 0,
    };
    storage.crash_image(events as usize, &plan)
}

/// The file with one bit changed: in a page, in a superblock, or in the journal, which no hash covers as a whole.
fn damaged(image: &Image, random: &mut Random) -> Vec<u8> {
    let areas = [0, 1].map(|area| image.journal_area(area));
    let area = areas.iter().find(|area| !area.is_empty());
    let at = match (random.below(3), area) {
        // Where frames are: at the start of an area.
        (0, Some(area)) => area.start + random.below(400) as usize,
        (1, _) => random.below(2) as usize * image.page_len() + random.below(500) as usize,
        _ => in_a_page(image, random),
    };
    let mut image = image.clone();
    let byte = image.bytes()[at] ^ 1 << random.below(8);
    image.set(at, &[byte]);
    image.into_bytes()
}

/// The file with another byte in a page or in the roots, and every hash made right: what then is wrong with it, if anything, only
/// its structures say.
fn forged(image: &Image, random: &mut Random) -> Vec<u8> {
    let mut image = image.clone();
    image.level_slots();
    let at = match random.below(4) {
        0 => 144 + random.below(128) as usize,
        _ => in_a_page(&image, random),
    };
    let value = match random.below(3) {
        0 => image.bytes()[at] ^ 1 << random.below(8),
        1 => image.bytes()[at].wrapping_add(1),
        _ => random.next() as u8,
    };
    image.set(at, &[value]);
    image.level_slots();
    image.seal();
    image.into_bytes()
}

/// A byte in a page that is in no journal area, often near the page's start, where the fields are.
fn in_a_page(image: &Image, random: &mut Random) -> usize {
    let pages = image.pages() as u64 - 2;
    let len = image.page_len();
    let areas = [0, 1].map(|area| image.journal_area(area));
    let page = |random: &mut Random| (2 + random.below(pages) as usize) * len;
    let places = (0..100).map(|_| page(random));
    let mut places: Vec<usize> = places.collect();
    places.retain(|start| !areas.iter().any(|area| area.contains(start)));
    let start = places.first().copied().unwrap_or(0);
    let span = if random.below(2) == 0 { 64 } else { len as u64 };
    start + random.below(span) as usize
}

/// The file with superblocks that say of the first frames of an area that they are in the pages. They are not, but what the file
/// then means is the same to every reader.
fn drained_further(image: &Image, random: &mut Random) -> Vec<u8> {
    let mut image = image.clone();
    image.level_slots();
    let drained = image.u64(field::DRAINED);
    for area in [0, 1].map(|area| image.journal_area(area)) {
        // Its number is behind the frame's checksum and that of the frame before it.
        if !area.is_empty() && image.u64(area.start + 16) == drained + 1 {
            let last = drained + 1 + random.below(3);
            for slot in [0, image.page_len()] {
                image.set(slot + field::DRAINED, &last.to_le_bytes());
            }
            break;
        }
    }
    image.seal();
    image.into_bytes()
}

/// Enough tokens for a directory and a page map of more than one level, in small pages.
fn many_small(db: &Db, random: &mut Random) -> shroom::Result<()> {
    let gap = 1 + random.below(3) * 1_000_003;
    let mut tokens = Vec::new();
    for index in 0..random.below(3000) {
        let len = random.below(30) as usize;
        tokens.push((index * gap, random.bytes(len)));
    }
    db.bulk_load(tokens).map(drop)
}

/// A delta from each named snapshot to the one after it by name, and from nothing to the first.
fn deltas(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let db = super::describe::open(bytes)?;
    let mut from: Option<String> = None;
    let mut deltas = Vec::new();
    for saved in db.snapshots().map_err(shown)? {
        let mut delta = Vec::new();
        let info = db.export_delta(from.as_deref(), &saved.name, &mut delta);
        let pages = info.map_err(shown)?.pages;
        let earlier = from.as_deref().unwrap_or_default();
        deltas.push((format!("delta {earlier} {} {pages}", saved.name), delta));
        from = Some(saved.name);
    }
    Ok(deltas)
}

/// Proofs of some ids, present and absent; none of those that only the journal has.
fn proofs(bytes: &[u8], random: &mut Random) -> Result<Vec<(u64, Vec<u8>)>> {
    let db = super::describe::open(bytes)?;
    let mut ids: Vec<u64> = vec![0, random.below(400), u64::MAX];
    let present = db.keys(..).map(|id| id.map_err(shown));
    let present: Vec<u64> = present.collect::<Result<_>>()?;
    for _ in 0..3.min(present.len()) {
        ids.push(present[random.below(present.len() as u64) as usize]);
    }
    let proof = |id: u64| match db.prove(id) {
        Ok(proof) => Some(Ok((id, proof.into_bytes()))),
        Err(shroom::Error::OnlyInJournal { .. }) => None,
        Err(error) => Some(Err(shown(error))),
    };
    ids.into_iter().filter_map(proof).collect()
}
