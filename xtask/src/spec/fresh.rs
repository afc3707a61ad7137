//! Random files for the independent reader, written by the engine: all page sizes, dense and scattered ids, values of every kind,
//! deletions, named snapshots, kept sums, journals that are still alive, and compacted files.

use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options};
use shroom_sim::{Random, Workload, perform};

use super::describe::shown;
use crate::Result;

/// A file, and proofs of some of its tokens.
pub(super) struct Fresh {
    pub(super) bytes: Vec<u8>,
    /// Ids and their proofs.
    pub(super) proofs: Vec<(u64, Vec<u8>)>,
    /// How it came to be, in words.
    pub(super) history: String,
}

/// The file of a seed.
pub(super) fn write(seed: u64) -> Result<Fresh> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9).wrapping_add(77));
    let shift = 9 + seed % 8;
    let tracks = random.below(3) == 0;
    let workload = Workload {
        page_size: 1 << shift,
        ids: [8, 300, 5000, 1 << 40][random.below(4) as usize],
        value_len_max: [40, 1500, 9000, 40_000][random.below(4) as usize],
        acknowledged: 10,
    };
    let memory = MemoryStorage::new();
    let options = Options::new()
        .page_size(workload.page_size)
        .journal_limit(64 << 10)
        .track_content_root(tracks)
        .background(false);
    let operations = 10 + random.below(300);
    let mut run = || {
        let db = options.open_storage(Arc::new(memory.clone()))?;
        if random.below(2) == 0 {
            many_small(&db, &mut random)?;
        }
        for _ in 0..operations {
            let op = match random.below(20) {
                0 => workload.snapshot_op(&mut random),
                _ => workload.op(&mut random),
            };
            perform(&db, &op)?;
        }
        let end = random.below(5);
        let bytes = match end {
            // As a crash leaves it.
            0..3 => {
                db.flush()?;
                memory.to_bytes()
            }
            3 => {
                db.close()?;
                memory.to_bytes()
            }
            _ => {
                db.compact()?;
                db.close()?;
                memory.to_bytes()
            }
        };
        let ending = ["flushed", "flushed", "flushed", "closed", "compacted"][end as usize];
        Ok((bytes, ending))
    };
    let (bytes, ending) = run().map_err(shown)?;
    let proofs = proofs(&bytes, &mut random)?;
    Ok(Fresh {
        bytes,
        proofs,
        history: format!("{workload:?}, {operations} operations, tracks: {tracks}, {ending}"),
    })
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
