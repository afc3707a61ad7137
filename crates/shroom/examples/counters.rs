//! A service that counts events from a log, each exactly once: counts and the place in the log are committed together.
//!
//! `cargo run -p shroom --example counters [FILE]`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use shroom::Db;

/// Events that are committed together.
const BATCH_EVENTS: usize = 500;

/// The log: what each event counts. A real one would be a queue that is read from a position.
fn event(position: u64) -> u64 {
    position.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54
}

fn count(db: &Db, counter: u64) -> Result<u64, Box<dyn Error>> {
    match db.get(counter)? {
        Some(bytes) => Ok(u64::from_le_bytes((*bytes).try_into()?)),
        None => Ok(0),
    }
}

/// Counts the events from where the database is up to `end`. The tag says where that is.
fn follow(db: &Db, end: u64) -> Result<(), Box<dyn Error>> {
    while db.tag() < end {
        let position = db.tag();
        let next = end.min(position + BATCH_EVENTS as u64);
        let mut added = BTreeMap::new();
        for position in position..next {
            *added.entry(event(position)).or_insert(0) += 1;
        }
        let mut batch = db.batch();
        for (counter, added) in added {
            let total = count(db, counter)? + added;
            batch.put(counter, &total.to_le_bytes());
        }
        batch.tag(next);
        batch.commit()?; // visible; durable with the next flush, all of it or nothing
    }
    Ok(db.flush()?)
}

pub(crate) fn run(file: &Path) -> Result<(), Box<dyn Error>> {
    let db = Db::open(file)?;
    let begun = db.tag();
    follow(&db, begun + 10_000)?;
    drop(db); // the service ends, or is ended: it goes on where it was

    let db = Db::open(file)?;
    assert_eq!(db.tag(), begun + 10_000);
    follow(&db, begun + 20_000)?;
    let mut total = 0;
    for token in &db {
        let (counter, _) = token?;
        total += count(&db, counter)?;
    }
    assert_eq!(total, db.tag()); // no event was lost, none counted twice
    println!("{total} events in {} counters", db.len()?);
    let activity = db.activity();
    println!(
        "{} batches, {} bytes of counts, {} bytes written, {} syncs",
        activity.batches, activity.payload_bytes, activity.written_bytes, activity.syncs
    );
    db.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(file) => run(Path::new(&file)),
        None => run(&tempfile::tempdir()?.path().join("counters.shroom")),
    }
}
