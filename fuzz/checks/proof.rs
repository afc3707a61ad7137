//! Verifies proofs that an input made up, changed, or put together from several; and proves tokens of states that it forged.
//!
//! * O1 Nothing panics, hangs, or takes memory without bound.
//! * O2 Under the page root of a sound state a proof that holds says what the state holds, and one that does not is itself at fault.
//! * O3 Under any page root there is one answer for an id, and whoever can be shown it can be shown it by the state's own proof.
//!
//! Changed proofs are also sealed again, so that whatever they say is reached under a root of their own.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

#[path = "pages.rs"]
mod pages;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use shroom::Options;
use shroom::proof::{Proof, ProofError};
use shroom::storage::MemoryStorage;
use shroom_page::{LogicalPage, PageRead, PageStore};
use shroom_sim::proof::Parts;
use shroom_sim::{Choices, Random};

/// The states that are proven: page size in bytes, and tokens.
const STATES: [(u32, u64); 4] = [(512, 700), (1024, 60), (4096, 300), (512, 3)];
/// Ids of a forged state that are proven.
const IDS: usize = 5;
/// Pages of a forged state that are changed, at most.
const PAGES_MAX: u8 = 6;

/// A closed database, and what it holds.
struct State {
    image: Vec<u8>,
    root: [u8; 32],
    tokens: BTreeMap<u64, Vec<u8>>,
    /// All ids, for choosing one.
    ids: Vec<u64>,
}

static SOUND: LazyLock<[State; 4]> =
    LazyLock::new(|| STATES.map(|(size, count)| state(size, count)));

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let mut choices = Choices::new(input);
    let kind = choices.byte();
    let state = &SOUND[choices.index(SOUND.len())];
    match kind % 4 {
        0 => made_up(state, &mut choices),
        1 => changed(state, &mut choices),
        2 => put_together(state, &mut choices),
        _ => forged(state, &mut choices),
    }
}

fn state(page_size: u32, count: u64) -> State {
    let memory = MemoryStorage::new();
    let options = Options::new().page_size(page_size).background(false);
    let db = options
        .open_storage(Arc::new(memory.clone()))
        .expect("create");
    let mut random = Random(u64::from(page_size));
    let longest = u64::from(page_size) / 6;
    let token = |index: u64| {
        let len = match index % 30 {
            2 => u64::from(page_size) * 3 + 9, // a blob with an extent and a tail
            9 => u64::from(page_size) / 2,     // and one in a segment
            _ => 1 + random.below(longest),
        };
        (index * 3 + ((index / 16) << 20), random.bytes(len as usize))
    };
    let tokens: BTreeMap<u64, Vec<u8>> = (0..count).map(token).collect();
    for (id, value) in &tokens {
        db.put(*id, value).expect("put");
    }
    db.close().expect("close");
    let image = memory.to_bytes();
    let store = PageStore::open(Arc::new(MemoryStorage::from_bytes(image.clone()))).expect("open");
    State {
        root: store.snapshot().page_root(),
        image,
        ids: tokens.keys().copied().collect(),
        tokens,
    }
}

impl State {
    fn open(&self) -> PageStore {
        let memory = MemoryStorage::from_bytes(self.image.clone());
        PageStore::open(Arc::new(memory)).expect("the state opens")
    }

    /// An id that is there, or is near one.
    fn id(&self, choices: &mut Choices<'_>) -> u64 {
        let near = choices.one_of(&[0, 0, 1, 2, u64::MAX]);
        choices.one_of(&self.ids).wrapping_add(near)
    }

    fn prove(&self, id: u64) -> Proof {
        Proof::new(&self.open().snapshot(), id).expect("a sound state can be proven")
    }

    /// O2.
    fn check(&self, proof: &Proof, id: u64) {
        match proof.verify(&self.root, id) {
            Ok(value) => assert_eq!(value.as_ref(), self.tokens.get(&id), "token {id}"),
            Err(ProofError::State(error)) => panic!("the state is sound: token {id}: {error}"),
            Err(_) => {}
        }
    }
}

/// The input is the proof.
fn made_up(state: &State, choices: &mut Choices<'_>) {
    let id = state.id(choices);
    let proof = Proof::from_bytes(choices.bytes(usize::MAX).to_vec());
    state.check(&proof, id);
    // Under the root that it claims, if it says one at all.
    if let Ok(root) = proof.claimed_root() {
        let _ = proof.verify(&root, id);
    }
}

/// Bytes of a proof are others.
fn changed(state: &State, choices: &mut Choices<'_>) {
    let id = state.id(choices);
    let mut bytes = state.prove(id).into_bytes();
    for _ in 0..choices.byte() % 8 {
        let at = choices.index(bytes.len());
        match choices.byte() % 4 {
            0 => bytes[at] ^= 1 << (choices.byte() % 8),
            1 => bytes[at] = choices.byte(),
            2 => bytes.truncate(at.max(1)),
            _ => drop(bytes.splice(at..at, choices.bytes(40).iter().copied())),
        }
    }
    let proof = Proof::from_bytes(bytes);
    state.check(&proof, id);
    state.check(&proof, state.id(choices));
}

/// Records of several proofs, at other places, in other order, with other bytes.
fn put_together(state: &State, choices: &mut Choices<'_>) {
    let id = state.id(choices);
    let mut parts = parts(&state.prove(id));
    let others = parts_of_another(choices);
    for _ in 0..choices.byte() % 8 {
        let (to, from) = (choices.byte(), choices.one_of(&[0, 1, 2, 3, 4, 5]));
        let of_another = others.records.get(from % others.records.len().max(1));
        if choices.byte().is_multiple_of(8) {
            let at = choices.index(parts.head.len);
            parts.head.set(at, choices.bytes(4));
            continue;
        }
        let count = parts.records.len();
        let Some(record) = parts.records.get_mut(usize::from(to) % count.max(1)) else {
            continue;
        };
        match choices.byte() % 8 {
            0 => {
                record.index = record
                    .index
                    .wrapping_add(choices.one_of(&[1, u32::MAX, 14]))
            }
            1 => record.level = choices.byte() % 4,
            2 => {
                if let Some(other) = of_another.filter(|other| other.page.len == record.page.len) {
                    record.page = other.page.clone();
                }
            }
            3 => drop(parts.records.remove(usize::from(to) % count)),
            4 => parts.records.extend(of_another.cloned()),
            5 => parts
                .records
                .sort_by_key(|record| (record.level, record.index)),
            // Near the start are the headers of pages, segments and packs.
            6 => {
                let at = choices.index(64.min(record.page.len));
                record.page.set(at, choices.bytes(2));
            }
            _ => {
                let at = choices.index(record.page.len);
                let len = usize::from(choices.byte() % 16);
                record.page.set(at, choices.bytes(len));
            }
        }
    }
    state.check(&Proof::from_bytes(parts.encode()), id);
    let root = parts.seal();
    let proof = Proof::from_bytes(parts.encode());
    state.check(&proof, id);
    let _ = proof.verify(&root, id);
    let _ = proof.verify(&root, state.id(choices));
}

fn parts(proof: &Proof) -> Parts {
    Parts::parse(proof.as_bytes()).expect("what the engine wrote can be taken apart")
}

fn parts_of_another(choices: &mut Choices<'_>) -> Parts {
    let state = &SOUND[choices.index(SOUND.len())];
    parts(&state.prove(state.id(choices)))
}

/// O3, in a state whose pages the input changed.
fn forged(state: &State, choices: &mut Choices<'_>) {
    let store = state.open();
    let numbers = store.snapshot().logical_pages() as usize;
    let mut txn = store.begin().expect("begin");
    for _ in 0..choices.byte() % PAGES_MAX {
        let page = LogicalPage(choices.index(numbers) as u32);
        if let Ok(bytes) = txn.page_mut(page) {
            pages::forge(bytes, choices);
        }
    }
    let mut roots = *store.snapshot().roots();
    if choices.byte().is_multiple_of(8) {
        roots.token[choices.index(32)] = choices.byte();
    }
    txn.commit(roots).expect("commit");
    let snapshot = store.snapshot();
    let root = snapshot.page_root();
    let ids: Vec<u64> = (0..IDS).map(|_| state.id(choices)).collect();
    let proofs: Vec<_> = ids.iter().map(|id| Proof::new(&snapshot, *id)).collect();
    for (id, own) in ids.iter().zip(&proofs) {
        let own = match own {
            Ok(own) => Some(own.verify(&root, *id).expect("a proof that was made holds")),
            Err(error) => {
                assert!(error.is_corruption(), "{error:?}");
                None
            }
        };
        for proof in proofs.iter().flatten() {
            if let Ok(value) = proof.verify(&root, *id) {
                assert_eq!(Some(value), own, "token {id}");
            }
        }
    }
}
