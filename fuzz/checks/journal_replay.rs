//! Replays forged journals over a sound database.
//!
//! The input describes frames, field by field; they get right checksums unless the input says otherwise, and continue the
//! superblock's chain unless it forges that. So hostile headers reach the scan, and hostile operations the replay.
//!
//! * F1 The database opens, or says that the file is damaged; nothing else, no panic, no hang, no unbounded memory.
//! * F2 A journal without a forgery is replayed in full: the database holds exactly what its operations come to.
//! * F3 What an opened database holds is readable, and stays the same over a flush, a checkpoint, a close and a reopen;
//!   it is sound throughout, and takes writes.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

use std::sync::{Arc, LazyLock};

use shroom::storage::MemoryStorage;
use shroom::{Db, Options};
use shroom_page::{JournalMark, PageStore};
use shroom_sim::forge::{Frame, Image, field};
use shroom_sim::{Choices, Model, assert_sound};

/// Bytes of each journal area.
const AREA_LEN: usize = 32 << 10;
/// The last frame that the pages contain, and its checksum.
const DRAINED: JournalMark = JournalMark {
    sequence: 1_000,
    chain: 0x0123_4567_89ab_cdef,
};
/// Ids that operations use: some are in the database, some are not.
const IDS: [u64; 12] = [
    0,
    1,
    2,
    3,
    39,
    40,
    1_000,
    5_000,
    5_001,
    1 << 40,
    1 << 63,
    u64::MAX,
];

/// A sound database with two empty journal areas.
struct Base {
    image: Image,
    model: Model,
}

static BASES: LazyLock<[Base; 2]> = LazyLock::new(|| [base(512), base(4096)]);

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let shape = choices.byte();
    let base = &BASES[usize::from(shape & 1)];
    let mut forger = Forger::new(base.model.clone(), usize::from(shape >> 1 & 1));
    while !choices.is_empty() && forger.add(&mut choices) {}
    let mut image = base.image.clone();
    for area in 0..2 {
        let range = image.journal_area(area);
        image.set(range.start, &forger.area(area));
    }
    exercise(image.into_bytes(), forger.expected.as_ref());
}

fn base(page_size: u32) -> Base {
    let memory = MemoryStorage::new();
    let options = Options::new().page_size(page_size).background(false);
    let db = options
        .open_storage(Arc::new(memory.clone()))
        .expect("a new database");
    for id in 0..40 {
        db.put(id, &vec![id as u8; id as usize * 3]).expect("put");
    }
    for (id, len) in [(1_000, 300), (5_000, 9_000), (u64::MAX, 3)] {
        db.put(id, &vec![7; len]).expect("put");
    }
    let model = Model::read(&db).expect("read");
    db.close().expect("close");
    let store = PageStore::open(Arc::new(memory.clone())).expect("open");
    let roots = *store.snapshot().roots();
    let mut txn = store.begin().expect("begin");
    for area in 0..2 {
        txn.set_journal_area(area, (AREA_LEN / page_size as usize) as u32);
    }
    txn.set_drained(DRAINED);
    txn.commit(roots).expect("commit");
    store.settle().expect("settle");
    let mut image = Image::new(memory.to_bytes()).expect("an image");
    image.level_slots();
    assert_eq!(image.u64(field::DRAINED), DRAINED.sequence);
    Base { image, model }
}

/// Writes frames, and knows what they come to as long as none is forged.
struct Forger {
    areas: [Vec<u8>; 2],
    /// Frames whose claimed length is not their payload's: area and position.
    mismeasured: Vec<(usize, usize)>,
    area: usize,
    switched: bool,
    mark: JournalMark,
    expected: Option<Model>,
}

impl Forger {
    fn new(model: Model, area: usize) -> Self {
        Self {
            areas: [Vec::new(), Vec::new()],
            mismeasured: Vec::new(),
            area,
            switched: false,
            mark: DRAINED,
            expected: Some(model),
        }
    }

    /// Adds a frame; false when there is no room for it.
    fn add(&mut self, choices: &mut Choices<'_>) -> bool {
        let forged = choices.byte();
        let raw = choices.byte() & 1 == 1;
        let before = self.expected.clone();
        let switch = forged & 32 != 0;
        let payload = if raw {
            self.expected = None;
            let len = choices.short() % 700;
            choices.bytes(usize::from(len)).to_vec()
        } else {
            self.operations(choices)
        };
        let needed = (payload.len() + 40).next_multiple_of(8);
        if switch || self.areas[self.area].len() + needed > AREA_LEN {
            if self.switched {
                self.expected = before;
                return false;
            }
            self.switched = true;
            self.area = 1 - self.area;
        }
        let mut field = |bit: u8, honest: u64| match forged & bit {
            0 => honest,
            _ => {
                self.expected = None;
                forged_number(choices, honest)
            }
        };
        let frame = Frame {
            previous: field(1, self.mark.chain),
            sequence: field(2, self.mark.sequence.wrapping_add(1)),
            synced: field(4, self.mark.sequence),
            epoch: field(8, 5 + u64::from(self.switched)) as u32,
            length: field(16, payload.len() as u64) as u32,
            payload: &payload,
        };
        if payload.is_empty() {
            self.expected = None;
        }
        let mut bytes = frame.encode();
        if forged & 64 != 0 {
            self.expected = None;
            bytes[0] ^= 1;
        }
        let position = self.areas[self.area].len();
        if frame.length as usize != payload.len() {
            self.mismeasured.push((self.area, position));
        }
        self.mark = JournalMark {
            sequence: frame.sequence,
            chain: u64::from_le_bytes(bytes[..8].try_into().expect("a frame has a checksum")),
        };
        self.areas[self.area].extend_from_slice(&bytes);
        true
    }

    /// A batch of operations, applied to what is expected.
    fn operations(&mut self, choices: &mut Choices<'_>) -> Vec<u8> {
        let mut payload = Vec::new();
        for _ in 0..=choices.byte() % 6 {
            let code = choices.byte() % 5;
            if code == 0 {
                // No operation at all.
                payload.extend_from_slice(choices.bytes(3));
                self.expected = None;
                continue;
            }
            payload.push(code);
            match code {
                1 => {
                    let id = choices.one_of(&IDS);
                    put_varint(&mut payload, id);
                    let value = value(choices);
                    put_bytes(&mut payload, &value);
                    self.expect(|model| drop(model.tokens.insert(id, value)));
                }
                2 => {
                    let id = choices.one_of(&IDS);
                    put_varint(&mut payload, id);
                    self.expect(|model| drop(model.tokens.remove(&id)));
                }
                3 => self.append(choices, &mut payload),
                _ => {
                    let tag = u64::from(choices.byte());
                    put_varint(&mut payload, tag);
                    self.expect(|model| model.tag = tag);
                }
            }
        }
        payload
    }

    /// An append; where it begins may be forged. Within the token it replaces what is beyond, as a replay does.
    fn append(&mut self, choices: &mut Choices<'_>, payload: &mut Vec<u8>) {
        let id = choices.one_of(&IDS);
        let length =
            self.expected
                .as_ref()
                .map_or(0, |model| model.tokens.get(&id).map_or(0, Vec::len)) as u64;
        let offset = match choices.byte() {
            0..200 => length,
            _ => forged_number(choices, length),
        };
        put_varint(payload, id);
        put_varint(payload, offset);
        let value = value(choices);
        put_bytes(payload, &value);
        if offset > length {
            self.expected = None;
        }
        self.expect(|model| {
            let token = model.tokens.entry(id).or_default();
            token.truncate(offset as usize);
            token.extend_from_slice(&value);
        });
    }

    fn expect(&mut self, change: impl FnOnce(&mut Model)) {
        if let Some(model) = &mut self.expected {
            change(model);
        }
    }

    /// An area's bytes. A frame that claims another length gets the checksum of what it claims, as far as that is there.
    fn area(&self, area: usize) -> Vec<u8> {
        let mut bytes = self.areas[area].clone();
        bytes.resize(AREA_LEN, 0);
        for &(_, position) in self.mismeasured.iter().filter(|found| found.0 == area) {
            shroom_sim::forge::seal_frame(&mut bytes[position..]);
        }
        bytes
    }
}

/// A value of a length that the input chooses: few bytes, or enough for a blob.
fn value(choices: &mut Choices<'_>) -> Vec<u8> {
    let (len, fill) = (usize::from(choices.byte()), choices.byte());
    let len = if len < 128 { len } else { (len - 127) * 37 };
    vec![fill; len]
}

/// A number near the honest one, or one that is likely to be trouble.
fn forged_number(choices: &mut Choices<'_>, honest: u64) -> u64 {
    match choices.byte() {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << 63,
        3 => (1 << 63) - 1,
        4 => choices.long(),
        5 => u64::from(choices.word()),
        6 => honest | 1 << 32,
        near => honest.wrapping_add(i64::from(near as i8) as u64),
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put_bytes(payload: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(payload, bytes.len() as u64);
    payload.extend_from_slice(bytes);
}

fn exercise(image: Vec<u8>, expected: Option<&Model>) {
    let options = Options::new().create(false).background(false);
    let read_only = options.clone().read_only(true);
    let memory = MemoryStorage::from_bytes(image);
    let open = |options: &Options| options.open_storage(Arc::new(memory.clone()));
    let db = match open(&read_only) {
        Ok(db) => db,
        Err(error) => {
            assert!(expected.is_none() && error.is_corruption(), "{error:?}");
            let writable = open(&options).map(drop);
            assert!(writable.is_err_and(|error| error.is_corruption()));
            return;
        }
    };
    let model = read(&db);
    assert!(expected.is_none_or(|expected| *expected == model));
    drop(db);

    let db = open(&options).expect("what opens read-only opens for writing");
    assert!(read(&db) == model, "both see the same");
    db.flush().expect("flush");
    db.checkpoint()
        .expect("the replayed operations reach the pages");
    assert_sound(&db);
    assert!(read(&db) == model, "a checkpoint changes nothing");
    db.put(7, b"after").expect("put");
    db.close().expect("close");

    let db = open(&read_only).expect("a closed database opens");
    let mut after = model;
    after.tokens.insert(7, b"after".to_vec());
    assert!(read(&db) == after, "a reopened database is the same");
    assert_sound(&db);
}

fn read(db: &Db) -> Model {
    Model::read(db).expect("over sound pages every replayed operation can be read")
}
