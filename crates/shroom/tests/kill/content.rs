//! What a world's database must hold: the batches of the chronicle, and bulk loads at ids far above.
//!
//! Load 1 adds a range of tokens at the end, load 2 overwrites it, load 3 adds the next range, and so on.

use std::collections::BTreeMap;

use shroom::{Db, Snapshot};
use shroom_sim::{Model, Random};

use crate::chronicle;
use crate::log::Said;

/// Tokens of one load.
const LOAD_TOKENS: u64 = 300;
/// Loads go to ids from here on.
const LOADS_FROM: u64 = 1 << 40;

/// The tokens of load `number`, from 1.
pub(crate) fn load(number: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let range = number.div_ceil(2) - 1;
    (0..LOAD_TOKENS).map(move |index| {
        let id = LOADS_FROM + range * LOAD_TOKENS + index;
        let mut random = Random(number << 50 ^ id);
        let len = match index % 50 {
            7 => 3000,
            _ => random.below(120),
        };
        (id, random.bytes(len as usize))
    })
}

/// Number of loads that a database holds, by its last range.
pub(crate) fn loads(snapshot: &Snapshot) -> u64 {
    let count = snapshot.keys(LOADS_FROM..).count() as u64;
    assert!(count.is_multiple_of(LOAD_TOKENS), "{count} tokens loaded");
    let last = 2 * (count / LOAD_TOKENS);
    let Some(first) = last.checked_sub(1) else {
        return 0;
    };
    // Whole or not, the range is compared by the caller.
    let is_second = load(last).all(|(id, bytes)| snapshot.get(id).unwrap().unwrap() == bytes);
    if is_second { last } else { first }
}

/// Everything that a database with this tag and this many loads holds.
fn expected(tag: u64, loads: u64) -> Model {
    let mut model = chronicle::model(tag);
    let loaded: BTreeMap<_, _> = (1..=loads).flat_map(load).collect();
    model.tokens.extend(loaded);
    model
}

/// Fails when something is missing that was acknowledged, or anything is not as it must be.
pub(crate) fn check(db: &Db, said: &Said) {
    let snapshot = db.snapshot();
    let (tag, loads) = (snapshot.tag(), loads(&snapshot));
    assert!(Some(tag) >= said.durable, "tag {tag}, {said:?}");
    assert!(loads >= said.loads, "{loads} loads, {said:?}");
    let (found, expected) = (Model::read(db).unwrap(), expected(tag, loads));
    if found == expected {
        return;
    }
    let ids = found.tokens.keys().chain(expected.tokens.keys());
    let wrong = ids
        .copied()
        .find(|id| found.tokens.get(id) != expected.tokens.get(id));
    panic!("token {wrong:?} is wrong at tag {tag} with {loads} loads");
}
