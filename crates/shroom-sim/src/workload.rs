//! Random operations.

use std::collections::BTreeMap;

use crate::{Change, Op, Random};

/// What random operations are like.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// In bytes: decides which lengths are at a limit.
    pub page_size: u32,
    /// Ids are mostly below this.
    pub ids: u64,
    /// Longest value, in bytes.
    pub value_len_max: usize,
    /// How many operations of a hundred make everything durable.
    pub acknowledged: u64,
}

impl Workload {
    fn id(&self, random: &mut Random) -> u64 {
        match random.below(40) {
            0 => u64::MAX - 1 - random.below(3),
            1 => random.below(64) << 40,
            _ => random.below(self.ids),
        }
    }

    fn value(&self, random: &mut Random) -> Vec<u8> {
        let quarter = u64::from(self.page_size) / 4;
        let len = match random.below(12) {
            0 => 0,
            1 => quarter - 2 + random.below(5),
            2 => random.below(4 * quarter + 8),
            3 => random.below(self.value_len_max as u64 + 1),
            _ => random.below(40),
        };
        let len = (len as usize).min(self.value_len_max);
        random.bytes(len)
    }

    fn change(&self, random: &mut Random) -> Change {
        let id = self.id(random);
        match random.below(10) {
            0..5 => Change::Put(id, self.value(random)),
            5..7 => Change::Append(id, self.value(random)),
            7..9 => Change::Delete(id),
            _ => Change::Tag(random.next() >> random.below(64)),
        }
    }

    /// A random operation.
    pub fn op(&self, random: &mut Random) -> Op {
        if random.below(100) < self.acknowledged {
            return match random.below(8) {
                0 => Op::Checkpoint,
                1 => {
                    let mut tokens = BTreeMap::new();
                    for _ in 0..random.below(12) {
                        tokens.insert(self.id(random), self.value(random));
                    }
                    Op::Bulk(tokens.into_iter().collect())
                }
                2..5 => Op::Flush,
                _ => Op::Batch(self.changes(random), true),
            };
        }
        let id = self.id(random);
        match random.below(24) {
            20 | 21 => Op::Stream {
                id,
                bytes: self.value(random),
                append: random.below(2) == 0,
            },
            22 => Op::WriteAt(id, random.next(), self.value(random)),
            23 => Op::Truncate(id, random.next()),
            0..9 => Op::Put(id, self.value(random)),
            9..12 => Op::Append(id, self.value(random)),
            12..15 => Op::Delete(id),
            15 => Op::Insert(self.value(random)),
            _ => Op::Batch(self.changes(random), false),
        }
    }

    /// A random operation on named snapshots, of which there are few, or on the file's free pages.
    pub fn snapshot_op(&self, random: &mut Random) -> Op {
        let number = random.below(4) as u8;
        match random.below(12) {
            0..5 => Op::Save(number),
            5..7 => Op::Restore(number),
            7..11 => Op::Unsave(number),
            _ => Op::PunchHoles,
        }
    }

    fn changes(&self, random: &mut Random) -> Vec<Change> {
        (0..random.below(10)).map(|_| self.change(random)).collect()
    }
}
