//! Proofs of tokens: complete for every id, never wrong whatever is done to them, and refused for what they do not say.

use std::collections::BTreeMap;
use std::sync::Arc;

use shroom::proof::{Proof, ProofError, ProofFlaw};
use shroom::storage::MemoryStorage;
use shroom::{Db, Error, Options};
use shroom_page::{LogicalPage, PageRead, PageSize, PageStore, Roots};
use shroom_seg::SegmentTxn;
use shroom_sim::Random;
use shroom_sim::proof::{CHUNK_LEN, HEIGHT_AT, Parts, TOKEN_ROOT_AT};
use shroom_token::{TokenId, TokenRoot, bulk_append};

type Tokens = BTreeMap<u64, Vec<u8>>;
/// An id, its proof, and what it proves.
type Sample = (u64, Proof, Option<Vec<u8>>);

fn in_memory(page_size: u32) -> Db {
    let options = Options::new().page_size(page_size).background(false);
    options
        .open_storage(Arc::new(MemoryStorage::new()))
        .unwrap()
}

/// Tokens of many lengths, blobs of each kind among them.
fn tokens(count: u64, page_size: u32, seed: u64) -> Tokens {
    let mut random = Random(seed);
    let page = u64::from(page_size);
    let token = |index: u64| {
        let len = match index % 40 {
            7 => page / 4 + random.below(page),
            19 => page * 3 + random.below(page),
            29 => page * 33, // one extent
            _ => random.below(page / 6),
        };
        // Runs of ids, and gaps.
        let id = index * 2 + (index / 100) * 1000 + 5;
        (id, random.bytes(len as usize))
    };
    (0..count).map(token).collect()
}

fn filled(page_size: u32, tokens: &Tokens) -> Db {
    let db = in_memory(page_size);
    // Parts one after the other, so that packs and pages are cut and filled anew.
    for part in 0..3 {
        for (id, value) in tokens.iter().filter(|(id, _)| *id % 3 == part) {
            db.put(*id, value).unwrap();
        }
        db.checkpoint().unwrap();
    }
    db
}

fn verify(db: &Db, proof: &Proof, id: u64) -> Result<Option<Vec<u8>>, ProofError> {
    proof.verify(db.page_root().as_bytes(), id)
}

#[test]
fn every_id_is_proven_present_or_absent() {
    for (page_size, count) in [(512, 500), (1024, 400), (4096, 1000), (65_536, 300)] {
        let tokens = tokens(count, page_size, 1);
        let db = filled(page_size, &tokens);
        let mut before: Option<Proof> = None;
        let near = tokens.keys().flat_map(|id| [*id, id + 1, id + 2]);
        for id in near.chain([0, 4, u64::MAX]) {
            let proof = db.prove(id).unwrap();
            let value = tokens.get(&id).cloned();
            assert_eq!(verify(&db, &proof, id).unwrap(), value, "{page_size} {id}");
            assert_eq!(proof.claimed_root().unwrap(), *db.page_root().as_bytes());
            let bytes = proof.as_bytes();
            let parts = Parts::parse(bytes).unwrap();
            assert_eq!(parts.encode(), bytes);
            let mut sealed = parts.clone();
            assert_eq!(sealed.seal(), *db.page_root().as_bytes());
            assert_eq!(sealed, parts);
            // A proof may serve another id as well, but never says something wrong of it.
            if let Some(found) = before.and_then(|before| verify(&db, &before, id).ok()) {
                assert_eq!(found, value);
            }
            before = Some(proof);
        }
    }
}

#[test]
fn a_database_without_tokens_proves_that() {
    let db = in_memory(4096);
    let proof = db.prove(7).unwrap();
    assert_eq!(verify(&db, &proof, 7).unwrap(), None);
    assert!(proof.as_bytes().len() < 300);
    db.put(7, b"").unwrap();
    assert_eq!(verify(&db, &db.prove(7).unwrap(), 7).unwrap(), Some(vec![]));
    assert!(matches!(
        verify(&db, &proof, 7),
        Err(ProofError::Proof(ProofFlaw::Root))
    ));
}

#[test]
fn what_is_only_in_the_journal_is_checkpointed_first() {
    let storage = Arc::new(MemoryStorage::new());
    let options = Options::new().background(false);
    let db = options
        .open_storage(Arc::clone(&storage) as Arc<_>)
        .unwrap();
    db.put(1, b"one").unwrap();
    db.put(2, b"two").unwrap();
    db.checkpoint().unwrap();
    let old = db.page_root();
    db.put(2, b"more").unwrap();
    db.flush().unwrap();
    let held = db.snapshot();
    let image = storage.to_bytes();

    // Nothing was written to token 1: the last checkpoint says what it is.
    let proof = db.prove(1).unwrap();
    assert_eq!(db.page_root(), old);
    assert_eq!(proof.verify(old.as_bytes(), 1).unwrap().unwrap(), b"one");
    assert_eq!(held.prove(1).unwrap(), proof);
    assert!(matches!(held.prove(2), Err(Error::OnlyInJournal { id: 2 })));
    let proof = db.prove(2).unwrap();
    assert_ne!(db.page_root(), old);
    assert_eq!(verify(&db, &proof, 2).unwrap().unwrap(), b"more");
    assert!(proof.verify(old.as_bytes(), 2).is_err());

    let crashed = Arc::new(MemoryStorage::from_bytes(image));
    let reader = options.read_only(true).open_storage(crashed).unwrap();
    assert_eq!(reader.get(2).unwrap().unwrap(), b"more");
    assert!(matches!(
        reader.prove(2),
        Err(Error::OnlyInJournal { id: 2 })
    ));
    assert!(reader.prove(1).is_ok());
}

#[test]
fn a_named_snapshot_is_proven_by_its_own_root() {
    let db = in_memory(1024);
    db.put(1, b"before").unwrap();
    db.save_snapshot("then").unwrap();
    db.put(1, b"after").unwrap();
    db.delete(1).unwrap();
    let then = db.open_snapshot("then").unwrap();
    let (proof, root) = (then.prove(1).unwrap(), then.page_root());
    assert_eq!(
        proof.verify(root.as_bytes(), 1).unwrap().unwrap(),
        b"before"
    );
    let absent = db.prove(1).unwrap();
    assert_eq!(verify(&db, &absent, 1).unwrap(), None);
    assert!(absent.verify(root.as_bytes(), 1).is_err());
    assert!(verify(&db, &proof, 1).is_err());
}

/// Proofs of several shapes over a map of two levels, with their ids and answers.
fn samples() -> (Db, Vec<Sample>) {
    let tokens = tokens(1200, 512, 3);
    let db = filled(512, &tokens);
    let long = |least: usize| {
        *tokens
            .iter()
            .find(|(_, value)| value.len() >= least)
            .unwrap()
            .0
    };
    let ids = [5, 6, 1205, 1206, 0, u64::MAX, long(200), long(1600)];
    let sample = |id| (id, db.prove(id).unwrap(), tokens.get(&id).cloned());
    let samples = ids.map(sample).to_vec();
    assert!(samples.iter().any(|(_, _, value)| value.is_none()));
    (db, samples)
}

#[test]
fn a_flipped_bit_is_always_noticed() {
    let (db, samples) = samples();
    let root = *db.page_root().as_bytes();
    for (id, proof, _) in &samples {
        let bytes = proof.as_bytes();
        let step = if bytes.len() > 6000 { 7 } else { 1 };
        for bit in (0..bytes.len() * 8).step_by(step) {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let verified = Proof::from_bytes(damaged).verify(&root, *id);
            assert!(verified.is_err(), "bit {bit} of the proof of {id}");
        }
        for bit in 0..256 {
            let mut other = root;
            other[bit / 8] ^= 1 << (bit % 8);
            let verified = proof.verify(&other, *id);
            assert!(matches!(verified, Err(ProofError::Proof(ProofFlaw::Root))));
        }
    }
}

#[test]
fn a_proof_that_is_cut_or_goes_on_is_refused() {
    let (db, samples) = samples();
    for (id, proof, _) in &samples {
        let bytes = proof.as_bytes();
        for len in 0..bytes.len() {
            let cut = Proof::from_bytes(bytes[..len].to_vec());
            assert!(verify(&db, &cut, *id).is_err(), "{id} cut to {len}");
        }
        for more in [1, 5, 6, 600] {
            let mut longer = bytes.to_vec();
            longer.resize(bytes.len() + more, 0);
            assert!(verify(&db, &Proof::from_bytes(longer), *id).is_err());
        }
    }
}

/// Puts together what is changed, and verifies it.
fn attack(root: &[u8; 32], id: u64, parts: &Parts) -> Result<Option<Vec<u8>>, ProofFlaw> {
    match Proof::from_bytes(parts.encode()).verify(root, id) {
        Ok(value) => Ok(value),
        Err(ProofError::Proof(flaw)) => Err(flaw),
        Err(error) => panic!("the state is sound: {error}"),
    }
}

#[test]
fn records_are_all_there_in_order_and_needed() {
    let (db, samples) = samples();
    let root = *db.page_root().as_bytes();
    for (id, proof, _) in &samples {
        let parts = Parts::parse(proof.as_bytes()).unwrap();
        for at in 0..parts.records.len() {
            let mut without = parts.clone();
            without.records.remove(at);
            let refused = attack(&root, *id, &without);
            assert!(
                matches!(refused, Err(ProofFlaw::Missing { .. })),
                "{refused:?}"
            );

            let mut twice = parts.clone();
            twice.records.insert(at, parts.records[at].clone());
            let refused = attack(&root, *id, &twice);
            assert!(
                matches!(refused, Err(ProofFlaw::Order { .. })),
                "{refused:?}"
            );

            let mut elsewhere = parts.clone();
            elsewhere.records[at].index += 1;
            assert!(attack(&root, *id, &elsewhere).is_err());
            let mut higher = parts.clone();
            higher.records[at].level += 1;
            assert!(attack(&root, *id, &higher).is_err());
        }
        for at in 1..parts.records.len() {
            let mut swapped = parts.clone();
            swapped.records.swap(at - 1, at);
            let refused = attack(&root, *id, &swapped);
            assert!(
                matches!(refused, Err(ProofFlaw::Order { .. })),
                "{refused:?}"
            );
        }
    }
    // What another proof needs is too much for this one.
    for (id, proof, value) in &samples {
        for (_, other, _) in &samples {
            let mut parts = Parts::parse(proof.as_bytes()).unwrap();
            for record in Parts::parse(other.as_bytes()).unwrap().records {
                let key = (record.level, record.index);
                let at = parts
                    .records
                    .partition_point(|has| (has.level, has.index) < key);
                match parts.records.get(at) {
                    Some(has) if (has.level, has.index) == key => {}
                    _ => parts.records.insert(at, record),
                }
            }
            match attack(&root, *id, &parts) {
                Ok(found) => {
                    assert_eq!((&found, parts.encode()), (value, proof.as_bytes().to_vec()))
                }
                Err(flaw) => assert!(matches!(flaw, ProofFlaw::Unused { .. }), "{flaw:?}"),
            }
        }
    }
}

#[test]
fn a_proof_that_lacks_pages_of_a_blob_does_not_accuse_the_state() {
    for page_size in [512, 1024, 4096] {
        let db = in_memory(page_size);
        let value = Random(1).bytes(page_size as usize * 40);
        db.put(2, b"small").unwrap();
        db.put(3, &value).unwrap();
        db.checkpoint().unwrap();
        // That of another token of the same pack.
        let small = db.prove(2).unwrap();
        let root = *db.page_root().as_bytes();
        let refused = attack(&root, 3, &Parts::parse(small.as_bytes()).unwrap());
        assert!(refused.is_err(), "{page_size}");
        // One without some of the pages.
        let parts = Parts::parse(db.prove(3).unwrap().as_bytes()).unwrap();
        for left in 0..parts.records.len() {
            let mut begin = parts.clone();
            begin.records.truncate(left);
            assert!(attack(&root, 3, &begin).is_err());
            let mut end = parts.clone();
            end.records.drain(..parts.records.len() - left);
            assert!(attack(&root, 3, &end).is_err());
        }
    }
}

#[test]
fn an_id_below_all_others_is_absent_without_a_search() {
    let tokens: Tokens = (1..60_000_u64)
        .map(|index| (index << 40, index.to_le_bytes().repeat(2)))
        .collect();
    let db = in_memory(4096);
    db.bulk_load(tokens.iter().map(|(id, value)| (*id, value)))
        .unwrap();
    let known = |id| {
        let proof = db.prove(id).unwrap();
        assert_eq!(verify(&db, &proof, id).unwrap(), tokens.get(&id).cloned());
        let parts = Parts::parse(proof.as_bytes()).unwrap();
        let pages = parts.records.iter().filter(|record| record.level == 0);
        pages.map(|record| record.page.known).collect::<Vec<_>>()
    };
    assert!(known(1 << 40).iter().any(|known| *known != 1));
    // The header and the first id of the root page alone.
    assert_eq!(known((1 << 40) - 1), [1]);
    assert_eq!(known(0), [1]);
}

#[test]
fn absence_cannot_be_forged_with_pages_of_other_places() {
    // A page at the place of another: a neighbour leaf or pack in which the token is not, or a map page.
    let (db, samples) = samples();
    let root = *db.page_root().as_bytes();
    let all: Vec<_> = samples
        .iter()
        .flat_map(|(_, proof, _)| Parts::parse(proof.as_bytes()).unwrap().records)
        .collect();
    for (id, proof, _) in &samples {
        let parts = Parts::parse(proof.as_bytes()).unwrap();
        for at in 0..parts.records.len() {
            for other in all
                .iter()
                .filter(|other| other.page != parts.records[at].page)
            {
                let mut forged = parts.clone();
                forged.records[at].page = other.page.clone();
                let refused = attack(&root, *id, &forged);
                assert!(
                    matches!(refused, Err(ProofFlaw::Hash { .. })),
                    "{refused:?}"
                );
            }
        }
    }
}

#[test]
fn what_the_page_root_says_of_the_map_cannot_be_changed() {
    let (db, samples) = samples();
    let root = *db.page_root().as_bytes();
    for (id, proof, _) in &samples {
        let parts = Parts::parse(proof.as_bytes()).unwrap();
        // Height, logical pages, root entries, and the token root: height 0 would be a database without tokens.
        for at in [HEIGHT_AT, 19, 20, 23, TOKEN_ROOT_AT, TOKEN_ROOT_AT + 4] {
            for change in [0, 1, 2, 0xff] {
                let mut forged = parts.clone();
                let old = forged.head.u32(at) as u8;
                if old == change {
                    continue;
                }
                forged.head.set(at, &[change]);
                let refused = attack(&root, *id, &forged);
                let expected = [ProofFlaw::Root];
                let shape = matches!(
                    refused,
                    Err(ProofFlaw::Shape { .. } | ProofFlaw::Short { .. })
                );
                assert!(
                    shape || refused == Err(expected[0]),
                    "{at} {change}: {refused:?}"
                );
            }
        }
        let mut empty = parts.clone();
        empty.head.set(TOKEN_ROOT_AT, &[0; 32]);
        empty.records.clear();
        assert_eq!(attack(&root, *id, &empty), Err(ProofFlaw::Root));
        for shift in (9..=16).filter(|shift| *shift != parts.page_shift) {
            let mut other = proof.as_bytes().to_vec();
            other[9] = shift;
            assert!(verify(&db, &Proof::from_bytes(other), *id).is_err());
        }
    }
}

#[test]
fn chunks_are_those_that_are_needed() {
    let tokens: Tokens = (0..60_000)
        .map(|id: u64| (id * 3, id.to_le_bytes().repeat(2)))
        .collect();
    let db = in_memory(16_384);
    db.bulk_load(tokens.iter().map(|(id, value)| (*id, value)))
        .unwrap();
    let root = *db.page_root().as_bytes();
    for id in [0, 3, 90_000, 90_001, 179_997, 200_000] {
        let proof = db.prove(id).unwrap();
        let parts = Parts::parse(proof.as_bytes()).unwrap();
        let few = parts
            .records
            .iter()
            .map(|record| record.page.chunks.len())
            .sum::<usize>();
        assert!(few < parts.records.len() * 10 * CHUNK_LEN, "{few}");
        for at in 0..parts.records.len() {
            let page = &parts.records[at].page;
            for chunk in (0..16).filter(|chunk| page.known >> chunk & 1 != 0) {
                let mut less = parts.clone();
                less.records[at].page = page.without(chunk);
                // A page without any chunk is no record.
                if page.known.count_ones() == 1 {
                    less.records.remove(at);
                } else {
                    assert_eq!(less.seal(), root, "the hash is right still");
                }
                let refused = attack(&root, id, &less);
                assert!(
                    matches!(refused, Err(ProofFlaw::Missing { .. })),
                    "{refused:?}"
                );
            }
        }
        // The proofs of two ids, joined, hold more than each needs.
        let far = if id < 100_000 { 150_000 } else { 3 };
        let mut other = Parts::parse(db.prove(far).unwrap().as_bytes()).unwrap();
        other.records.retain(|record| {
            let key = (record.level, record.index);
            parts
                .records
                .iter()
                .all(|has| (has.level, has.index) != key)
        });
        let mut joined = parts.clone();
        joined.records.append(&mut other.records);
        joined
            .records
            .sort_by_key(|record| (record.level, record.index));
        let refused = attack(&root, id, &joined);
        assert!(
            matches!(refused, Err(ProofFlaw::Unused { .. })),
            "{refused:?}"
        );
    }
}

/// A store under a root that its owner made up: whatever its pages say, there is one answer, or none.
struct Forged {
    store: PageStore,
    numbers: u32,
}

impl Forged {
    fn new(page_size: u32, random: &mut Random) -> Self {
        let store = PageStore::in_memory(PageSize::new(page_size).unwrap()).unwrap();
        let mut txn = store.begin().unwrap();
        let mut segments = SegmentTxn::open(&mut txn, &[0; 64]).unwrap();
        let longest = u64::from(page_size);
        let tokens = (0..400).map(|id| {
            let len = match id % 20 {
                3 => longest * 3 + 100,
                _ => 1 + random.below(longest / 6),
            };
            (TokenId(id * 5), random.bytes(len as usize))
        });
        let tokens: Vec<_> = tokens.collect();
        let root = bulk_append(&mut segments, &TokenRoot::EMPTY, tokens).unwrap();
        let seg = segments.finish().unwrap();
        let token = root.encode();
        txn.commit(Roots {
            seg,
            token,
            ..Roots::default()
        })
        .unwrap();
        let numbers = store.snapshot().logical_pages();
        Self { store, numbers }
    }

    fn damage(&self, random: &mut Random) {
        let mut txn = self.store.begin().unwrap();
        for _ in 0..1 + random.below(6) {
            let page = LogicalPage(random.below(u64::from(self.numbers)) as u32);
            let Ok(bytes) = txn.page_mut(page) else {
                continue;
            };
            let near = bytes.len().min(256) as u64;
            for _ in 0..1 + random.below(4) {
                let limit = [near, bytes.len() as u64][random.below(2) as usize];
                let at = random.below(limit);
                bytes[at as usize] = random.next() as u8;
            }
        }
        let roots = *self.store.snapshot().roots();
        txn.commit(roots).unwrap();
    }
}

#[test]
fn a_forged_state_has_one_answer_at_most() {
    let mut random = Random(9);
    let (mut answers, mut refused) = (0, 0);
    for round in 0..60 {
        let page_size = [512, 1024, 4096][round % 3];
        let forged = Forged::new(page_size, &mut random);
        forged.damage(&mut random);
        let snapshot = forged.store.snapshot();
        let root = snapshot.page_root();
        let ids: Vec<u64> = (0..60).map(|_| random.below(2100)).collect();
        let proofs = ids.iter().map(|id| Proof::new(&snapshot, *id));
        let proofs: Vec<_> = proofs.filter_map(|proof| proof.ok()).collect();
        for id in &ids {
            let own = Proof::new(&snapshot, *id).map(|proof| proof.verify(&root, *id).unwrap());
            for proof in &proofs {
                match (proof.verify(&root, *id), &own) {
                    (Ok(found), Ok(own)) => assert_eq!(found, *own),
                    (Ok(found), Err(error)) => panic!("{id} is {found:?}, but {error}"),
                    (Err(_), _) => refused += 1,
                }
            }
            answers += usize::from(own.is_ok());
        }
    }
    assert!(answers > 1000 && refused > 1000, "{answers} {refused}");
}

/// Changes a proof of a blob, seals it, and verifies it under the root that it then has.
fn forge_blob(change: impl FnOnce(&mut Parts, usize)) -> Result<Option<Vec<u8>>, ProofError> {
    let db = in_memory(512);
    let value = Random(1).bytes(512 * 40);
    db.put(3, &value).unwrap();
    let proof = db.prove(3).unwrap();
    let mut parts = Parts::parse(proof.as_bytes()).unwrap();
    assert_eq!(parts.seal(), *db.page_root().as_bytes());
    // The reference in the pack: page, offset, length.
    let length = (value.len() as u64).to_le_bytes();
    let found = parts.records.iter().position(|record| {
        let chunks = &record.page.chunks;
        record.level == 0 && chunks.windows(8).any(|bytes| bytes == length)
    });
    change(&mut parts, found.unwrap());
    let root = parts.seal();
    Proof::from_bytes(parts.encode()).verify(&root, 3)
}

fn find(bytes: &[u8], needle: &[u8]) -> usize {
    let found = bytes
        .windows(needle.len())
        .position(|window| window == needle);
    found.expect("it is there")
}

#[test]
fn lengths_and_extents_of_a_forged_blob_cost_no_more_than_the_proof_is_long() {
    let length = (512_u64 * 40).to_le_bytes();
    for claimed in [1_u64 << 62, u64::MAX, 1 << 40, 512 * 41, 512 * 39 - 1] {
        let verified = forge_blob(|parts, pack| {
            let page = &mut parts.records[pack].page;
            let at = find(&page.chunks, &length);
            page.set(at, &claimed.to_le_bytes());
        });
        assert!(verified.is_err(), "{claimed}");
    }
    // An extent of all pages there could be; two that overlap; many.
    let extent = |parts: &Parts, pack: usize| {
        let page = &parts.records[pack].page;
        let forty = 40_u32.to_le_bytes();
        let count = 1_u16.to_le_bytes();
        let at = (0..page.len - 10).find(|at| {
            page.chunks[*at..].starts_with(&count) && page.chunks[at + 6..].starts_with(&forty)
        });
        at.expect("the descriptor is in the same page")
    };
    for (count, pages) in [
        (1_u16, u32::MAX),
        (2, 20),
        (u16::MAX, 1),
        (0, 0),
        (1, 0),
        (1, 39),
    ] {
        let verified = forge_blob(|parts, pack| {
            let at = extent(parts, pack);
            let page = &mut parts.records[pack].page;
            page.set(at, &count.to_le_bytes());
            page.set(at + 6, &pages.to_le_bytes());
        });
        assert!(verified.is_err(), "{count} {pages}");
    }
}

#[test]
fn a_forged_chain_that_loops_ends() {
    let db = in_memory(512);
    let value = Random(1).bytes(2000);
    db.put(3, &value).unwrap();
    db.checkpoint().unwrap();
    // Appended to, so that the tail outgrows its segment.
    for _ in 0..6 {
        db.append(3, &[7; 90]).unwrap();
        db.checkpoint().unwrap();
    }
    let proof = db.prove(3).unwrap();
    let parts = Parts::parse(proof.as_bytes()).unwrap();
    assert!(verify(&db, &proof, 3).unwrap().is_some());
    let mut loops = 0;
    for (at, record) in parts.records.iter().enumerate() {
        let page = &record.page.chunks;
        if record.level > 0 || page.first() != Some(&1) {
            continue;
        }
        // Every field of two bytes becomes a link to each offset.
        for field in 8..page.len() - 1 {
            for target in (8..page.len() as u16).step_by(3) {
                let mut forged = parts.clone();
                forged.records[at].page.set(field, &target.to_le_bytes());
                let root = forged.seal();
                let verified = Proof::from_bytes(forged.encode()).verify(&root, 3);
                loops += usize::from(verified.is_err());
            }
        }
    }
    assert!(loops > 1000);
}
