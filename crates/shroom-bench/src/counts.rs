//! Hot operations for an instruction counter: `cargo xtask bench --counts` runs each under callgrind, which counts inside
//! [`measured`] alone. Instructions repeat where times do not.
//!
//! Checkpoints run in the foreground, so that the same instructions run on the same thread; journal areas are large enough for what
//! is counted, so that none comes due but the one that is counted by itself.

use std::hint::black_box;
use std::path::Path;

use ::shroom::{Db, Options};

use crate::data::{Data, Ids, Sizes, Tokens};
use crate::random::Random;
use crate::store::Outcome;
use crate::workloads::get;

/// Tokens in the store.
const TOKENS: u64 = 50_000;

/// Gets counted, and tokens moved by the counted checkpoint.
const OPERATIONS: u64 = 5_000;

/// Writes counted: few enough for one journal area.
const WRITES: u64 = 500;

/// Writes before the counted ones, for which the journal areas grow.
const WARM_UP: u64 = 8_000;

/// One operation: does it often, and returns how often.
type Operation = fn(&Path) -> Outcome<u64>;

const ALL: [(&str, Operation); 11] = [
    ("get-dense", |directory| {
        get_reused(directory, Ids::Dense, 0)
    }),
    ("get-random", |directory| {
        get_reused(directory, Ids::Random, 0)
    }),
    ("get-absent", |directory| {
        get_reused(directory, Ids::Random, TOKENS)
    }),
    ("get-fresh", get_fresh),
    ("scan", scan),
    ("put", put),
    ("batch-put", batch_put),
    ("delete", delete),
    ("checkpoint", checkpoint),
    ("bulk-load", bulk_load),
    ("open", open),
];

/// Runs the operation of a name and prints how often; lists the names when there is none.
pub(crate) fn run(name: Option<&str>) -> Outcome {
    let Some(name) = name else {
        for (name, _) in ALL {
            println!("{name}");
        }
        return Ok(());
    };
    let (_, operation) = ALL
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("there is no operation '{name}'"))?;
    let directory = tempfile::tempdir()?;
    println!("{}", operation(directory.path())?);
    Ok(())
}

/// The counter runs in here only, which it knows by the name.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn data(ids: Ids) -> Data {
    Data {
        count: TOKENS,
        ids,
        sizes: Sizes::Mixed,
    }
}

fn options() -> Options {
    Options::new().background(false)
}

fn sorted(data: Data) -> Tokens {
    data.tokens(&data.sorted(), 0)
}

/// A loaded store, opened again, of which every page has been read once.
fn loaded(directory: &Path, data: Data) -> Outcome<Db> {
    let path = directory.join("tokens.shroom");
    let db = options().open(&path)?;
    db.bulk_load(sorted(data).iter())?;
    db.close()?;
    let db = options().open(&path)?;
    for token in db.iter() {
        black_box(token?.1.len());
    }
    touch(&db, data)?;
    Ok(db)
}

/// Reads every token once, so that every page has been checked.
fn touch(db: &Db, data: Data) -> Outcome {
    for index in 0..data.count {
        black_box(db.get(data.id(index))?.is_some());
    }
    Ok(())
}

fn get_reused(directory: &Path, ids: Ids, offset: u64) -> Outcome<u64> {
    let data = data(ids);
    let db = loaded(directory, data)?;
    let order = &get::order(data, offset)[..OPERATIONS as usize];
    let snapshot = db.snapshot();
    measured(|| -> Outcome {
        for &id in order {
            black_box(snapshot.get(id)?.as_deref().and_then(<[u8]>::first));
        }
        Ok(())
    })?;
    Ok(OPERATIONS)
}

fn get_fresh(directory: &Path) -> Outcome<u64> {
    let data = data(Ids::Random);
    let db = loaded(directory, data)?;
    let order = &get::order(data, 0)[..OPERATIONS as usize];
    measured(|| -> Outcome {
        for &id in order {
            black_box(db.get(id)?.as_deref().and_then(<[u8]>::first));
        }
        Ok(())
    })?;
    Ok(OPERATIONS)
}

fn scan(directory: &Path) -> Outcome<u64> {
    let db = loaded(directory, data(Ids::Dense))?;
    measured(|| -> Outcome {
        for token in db.iter() {
            let (id, value) = token?;
            black_box((id, value.first()));
        }
        Ok(())
    })?;
    Ok(TOKENS)
}

/// Random overwrites, in memory before the counter runs.
fn overwrites(data: Data, count: u64) -> Tokens {
    let mut random = Random::new(31);
    let indices: Vec<u64> = (0..count).map(|_| random.below(data.count)).collect();
    data.tokens(&indices, count)
}

/// A loaded store that has been written to, with an empty journal.
fn written(directory: &Path, data: Data) -> Outcome<Db> {
    let db = loaded(directory, data)?;
    write_batches(&db, &overwrites(data, WARM_UP))?;
    db.checkpoint()?;
    touch(&db, data)?;
    Ok(db)
}

/// Counts writes, into a journal that takes them all.
fn count_writes(db: Db, write: impl FnOnce(&Db) -> Outcome) -> Outcome<u64> {
    let before = db.stats()?.checkpoint;
    measured(|| write(&db))?;
    if db.stats()?.checkpoint != before {
        return Err("a checkpoint fell due among the writes".into());
    }
    db.close()?;
    Ok(WRITES)
}

fn put(directory: &Path) -> Outcome<u64> {
    let data = data(Ids::Random);
    let tokens = overwrites(data, WRITES);
    count_writes(written(directory, data)?, |db| {
        for (id, value) in tokens.iter() {
            db.put(id, value)?;
        }
        Ok(())
    })
}

fn write_batches(db: &Db, tokens: &Tokens) -> Outcome {
    for first in (0..tokens.len()).step_by(1000) {
        let mut batch = db.batch();
        for position in first..tokens.len().min(first + 1000) {
            let (id, value) = tokens.get(position);
            batch.put(id, value);
        }
        batch.commit()?;
    }
    Ok(())
}

fn batch_put(directory: &Path) -> Outcome<u64> {
    let data = data(Ids::Random);
    let tokens = overwrites(data, WRITES);
    count_writes(written(directory, data)?, |db| write_batches(db, &tokens))
}

fn delete(directory: &Path) -> Outcome<u64> {
    let data = data(Ids::Random);
    let order = Random::new(37).permutation(data.count);
    let ids: Vec<u64> = order[..WRITES as usize]
        .iter()
        .map(|&index| data.id(index))
        .collect();
    count_writes(written(directory, data)?, |db| {
        for &id in &ids {
            black_box(db.delete(id)?);
        }
        Ok(())
    })
}

/// For each token that the journal holds.
fn checkpoint(directory: &Path) -> Outcome<u64> {
    let data = data(Ids::Random);
    let db = written(directory, data)?;
    write_batches(&db, &overwrites(data, OPERATIONS))?;
    let waiting = db.stats()?.overlay_tokens;
    measured(|| db.checkpoint())?;
    db.close()?;
    Ok(waiting)
}

fn bulk_load(directory: &Path) -> Outcome<u64> {
    let tokens = sorted(data(Ids::Random));
    let db = options().open(directory.join("tokens.shroom"))?;
    measured(|| db.bulk_load(tokens.iter()))?;
    db.close()?;
    Ok(TOKENS)
}

/// Up to the answer to the first get.
fn open(directory: &Path) -> Outcome<u64> {
    let data = data(Ids::Dense);
    loaded(directory, data)?.close()?;
    let path = directory.join("tokens.shroom");
    let db = measured(|| -> Outcome<Db> {
        let db = options().open(&path)?;
        black_box(db.get(TOKENS / 3)?.is_some());
        Ok(db)
    })?;
    db.close()?;
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_runs_and_has_a_name_of_its_own() {
        for (index, (name, operation)) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|(other, _)| other != name));
            let directory = tempfile::tempdir().unwrap();
            assert!(operation(directory.path()).unwrap() > 0, "{name}");
        }
    }
}
