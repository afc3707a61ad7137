//! A history that is known in advance: what batch `stamp` changes follows from its number, and the batch sets the tag to
//! it. So what a database holds follows from its tag, for every process and thread that looks.
//!
//! Over any [`IDS`] batches in a row each id is put four times, appended to once and deleted once.

use shroom_sim::{Change, Model, Random};

/// Ids are below this.
pub(crate) const IDS: u64 = 300;
/// Ids that a batch changes.
const PER_BATCH: u64 = 6;
/// Steps from batch to batch, and from one change of a batch to the next. The first has an inverse modulo `IDS`.
const BATCH_STEP: u64 = 37;
const BATCH_STEP_INVERSE: u64 = 73;
const CHANGE_STEP: u64 = 53;
const _: () = assert!(BATCH_STEP * BATCH_STEP_INVERSE % IDS == 1);

/// The place in a batch of the append and of the delete; elsewhere are puts.
const APPEND: u64 = 4;
const DELETE: u64 = 5;

/// Every so many batches there is one whose first value is too long for a journal area of 64 KiB.
const LARGE_EVERY: u64 = 40;

/// The bytes that batch `stamp` writes to token `id`.
fn value(stamp: u64, id: u64) -> Vec<u8> {
    let mut random = Random(stamp << 20 | id);
    let first = (stamp * BATCH_STEP) % IDS == id;
    let len = match random.below(20) {
        _ if first && stamp.is_multiple_of(LARGE_EVERY) => 70_000,
        0 => 0,
        1 => random.below(6000),
        2..8 => random.below(40),
        _ => random.below(900),
    };
    random.bytes(len as usize)
}

fn change(stamp: u64, place: u64, id: u64) -> Change {
    match place {
        APPEND => Change::Append(id, value(stamp, id)),
        DELETE => Change::Delete(id),
        _ => Change::Put(id, value(stamp, id)),
    }
}

/// What batch `stamp`, from 1, changes.
pub(crate) fn batch(stamp: u64) -> Vec<Change> {
    let changes = (0..PER_BATCH).map(|place| {
        let id = (stamp * BATCH_STEP + place * CHANGE_STEP) % IDS;
        change(stamp, place, id)
    });
    changes.chain([Change::Tag(stamp)]).collect()
}

/// The value of a token after batch `tag`.
pub(crate) fn token(tag: u64, id: u64) -> Option<Vec<u8>> {
    // The last batch that has the id at each place; what counts is the last put or delete, and an append after it.
    let mut last: Vec<(u64, u64)> = (0..PER_BATCH)
        .filter_map(|place| {
            let steps = (id + IDS * CHANGE_STEP - place * CHANGE_STEP) % IDS;
            let first = steps * BATCH_STEP_INVERSE % IDS;
            let stamp = tag.checked_sub((tag + IDS - first) % IDS)?;
            (stamp > 0).then_some((stamp, place))
        })
        .collect();
    last.sort_unstable();
    let set = last.iter().rposition(|&(_, place)| place != APPEND);
    let mut model = Model::default();
    for &(stamp, place) in &last[set.unwrap_or(0)..] {
        model.change(&change(stamp, place, id));
    }
    model.tokens.remove(&id)
}

/// Everything after batch `tag`.
pub(crate) fn model(tag: u64) -> Model {
    let tokens = (0..IDS).filter_map(|id| Some((id, token(tag, id)?)));
    Model {
        tokens: tokens.collect(),
        tag,
        ..Model::default()
    }
}

/// The short way to a token and a model gives what all batches in a row give.
#[test]
fn the_chronicle_agrees_with_its_batches() {
    let mut all = Model::default();
    for stamp in 1..2 * IDS + 50 {
        batch(stamp).iter().for_each(|change| all.change(change));
        if stamp < 20 || stamp % 7 == 0 {
            assert!(model(stamp) == all, "stamp {stamp}");
        }
    }
}
