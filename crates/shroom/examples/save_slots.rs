//! A game's save slots: each is a range of ids, saved as one batch and loaded from one state.
//!
//! `cargo run -p shroom --example save_slots [FILE]`

use std::error::Error;
use std::ops::RangeInclusive;
use std::path::Path;

use shroom::Db;

/// What is saved: where the player is, and the regions of the world that were changed.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    player: [f32; 3],
    regions: Vec<(u32, Vec<u8>)>,
}

/// The ids of a slot: the first is the player's, the others are those of regions.
fn ids(slot: u64) -> RangeInclusive<u64> {
    slot << 32..=slot << 32 | u64::from(u32::MAX)
}

/// All of it is saved or nothing, also when the machine stops in the middle.
fn save(db: &Db, slot: u64, world: &World) -> shroom::Result<()> {
    let first = *ids(slot).start();
    let mut batch = db.batch();
    for id in db.keys(ids(slot)) {
        batch.delete(id?);
    }
    let player: Vec<u8> = world
        .player
        .iter()
        .flat_map(|at| at.to_le_bytes())
        .collect();
    batch.put(first, &player);
    for (region, bytes) in &world.regions {
        batch.put(first + 1 + u64::from(*region), bytes);
    }
    batch.commit_synced()
}

/// `None` when the slot is empty.
fn load(db: &Db, slot: u64) -> Result<Option<World>, Box<dyn Error>> {
    let state = db.snapshot(); // whatever is saved meanwhile
    let first = *ids(slot).start();
    let Some(player) = state.get(first)? else {
        return Ok(None);
    };
    let mut world = World::default();
    for (at, bytes) in world.player.iter_mut().zip(player.chunks_exact(4)) {
        *at = f32::from_le_bytes(bytes.try_into()?);
    }
    for token in state.range(first + 1..=*ids(slot).end()) {
        let (id, bytes) = token?;
        let region = u32::try_from(id - first - 1)?;
        world.regions.push((region, bytes.to_vec()));
    }
    Ok(Some(world))
}

pub(crate) fn run(file: &Path) -> Result<(), Box<dyn Error>> {
    let db = Db::open(file)?;
    let mut world = World {
        player: [1.0, 64.0, -7.5],
        regions: (0..50)
            .map(|region| (region, vec![region as u8; 200]))
            .collect(),
    };
    save(&db, 1, &world)?;
    world.player[0] = 300.0;
    world.regions.truncate(20);
    save(&db, 2, &world)?;
    save(&db, 1, &world)?; // what the slot had before is gone
    assert_eq!(load(&db, 1)?, Some(world));
    assert_eq!(load(&db, 3)?, None);
    for slot in 1..=3 {
        let (mut tokens, mut bytes) = (0, 0);
        for token in db.range(ids(slot)) {
            tokens += 1;
            bytes += token?.1.len();
        }
        println!("slot {slot}: {tokens} tokens, {bytes} bytes");
    }
    db.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(file) => run(Path::new(&file)),
        None => run(&tempfile::tempdir()?.path().join("saves.shroom")),
    }
}
