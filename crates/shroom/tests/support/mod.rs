//! A model of the database, random operations on both, and comparisons: what every integration test drives.

#![expect(dead_code, reason = "each test uses its own part")]
#![expect(
    unreachable_pub,
    reason = "a module of several test binaries has no crate to be private to"
)]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use shroom::{Db, Result};

/// SplitMix64: deterministic, seeded.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// One change of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    Put(u64, Vec<u8>),
    Append(u64, Vec<u8>),
    Delete(u64),
    Tag(u64),
}

/// One call of the database that changes it or makes it durable.
#[derive(Clone, Debug)]
pub enum Op {
    Put(u64, Vec<u8>),
    Append(u64, Vec<u8>),
    Delete(u64),
    Insert(Vec<u8>),
    Batch(Vec<Change>, bool),
    Bulk(Vec<(u64, Vec<u8>)>),
    Flush,
    Checkpoint,
}

impl Op {
    /// Whether everything is durable when the call has returned without an error.
    pub fn acknowledges(&self) -> bool {
        matches!(
            self,
            Self::Batch(_, true) | Self::Bulk(_) | Self::Flush | Self::Checkpoint
        )
    }
}

/// What the database must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    pub tokens: BTreeMap<u64, Vec<u8>>,
    pub tag: u64,
}

impl Model {
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::Put(id, bytes) => _ = self.tokens.insert(*id, bytes.clone()),
            Change::Append(id, bytes) => self.tokens.entry(*id).or_default().extend(bytes),
            Change::Delete(id) => _ = self.tokens.remove(id),
            Change::Tag(tag) => self.tag = *tag,
        }
    }

    pub fn next_id(&self) -> Option<u64> {
        match self.tokens.last_key_value() {
            None => Some(0),
            Some((&highest, _)) => highest.checked_add(1),
        }
    }

    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(id, bytes) => self.change(&Change::Put(*id, bytes.clone())),
            Op::Append(id, bytes) => self.change(&Change::Append(*id, bytes.clone())),
            Op::Delete(id) => self.change(&Change::Delete(*id)),
            Op::Insert(bytes) => {
                if let Some(id) = self.next_id() {
                    self.tokens.insert(id, bytes.clone());
                }
            }
            Op::Batch(changes, _) => changes.iter().for_each(|change| self.change(change)),
            Op::Bulk(tokens) => self.tokens.extend(tokens.iter().cloned()),
            Op::Flush | Op::Checkpoint => {}
        }
    }

    pub fn payload(&self) -> u64 {
        self.tokens.values().map(|bytes| bytes.len() as u64).sum()
    }

    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (id, bytes) in &self.tokens {
            (id, &bytes[..]).hash(&mut hasher);
        }
        self.tag.hash(&mut hasher);
        hasher.finish()
    }

    /// Everything that a database holds.
    pub fn read(db: &Db) -> Result<Self> {
        let snapshot = db.snapshot();
        let tokens = snapshot
            .iter()
            .map(|token| token.map(|(id, bytes)| (id, bytes.to_vec())));
        Ok(Self {
            tokens: tokens.collect::<Result<_>>()?,
            tag: snapshot.tag(),
        })
    }
}

/// As [`Model::fingerprint`], of what a database holds.
pub fn fingerprint(db: &Db) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for token in db.iter() {
        let (id, bytes) = token?;
        (&id, &bytes[..]).hash(&mut hasher);
    }
    db.tag().hash(&mut hasher);
    Ok(hasher.finish())
}

/// Does what an operation says.
pub fn run(db: &Db, op: &Op) -> Result<()> {
    match op {
        Op::Put(id, bytes) => db.put(*id, bytes),
        Op::Append(id, bytes) => db.append(*id, bytes).map(|_| ()),
        Op::Delete(id) => db.delete(*id).map(|_| ()),
        Op::Insert(bytes) => match db.insert(bytes) {
            Ok(_) | Err(shroom::Error::IdsExhausted) => Ok(()),
            Err(error) => Err(error),
        },
        Op::Batch(changes, synced) => {
            let mut batch = db.batch();
            for change in changes {
                match change {
                    Change::Put(id, bytes) => _ = batch.put(*id, bytes),
                    Change::Append(id, bytes) => _ = batch.append(*id, bytes),
                    Change::Delete(id) => _ = batch.delete(*id),
                    Change::Tag(tag) => _ = batch.tag(*tag),
                }
            }
            if *synced {
                batch.commit_synced()
            } else {
                batch.commit()
            }
        }
        Op::Bulk(tokens) => db.bulk_load(tokens.iter().cloned()).map(|_| ()),
        Op::Flush => db.flush(),
        Op::Checkpoint => db.checkpoint(),
    }
}

/// Fails with the findings when the database is not sound.
pub fn assert_sound(db: &Db) {
    let report = db.verify().expect("verify");
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}

/// What random operations are like.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
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
        match random.below(20) {
            0..9 => Op::Put(id, self.value(random)),
            9..12 => Op::Append(id, self.value(random)),
            12..15 => Op::Delete(id),
            15 => Op::Insert(self.value(random)),
            _ => Op::Batch(self.changes(random), false),
        }
    }

    fn changes(&self, random: &mut Random) -> Vec<Change> {
        (0..random.below(10)).map(|_| self.change(random)).collect()
    }
}
