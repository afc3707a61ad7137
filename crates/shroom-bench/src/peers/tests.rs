//! Every peer that is built in, held against a `BTreeMap`: a peer that answers wrongly measures nothing.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::{Data, Ids, Sizes};
use crate::peer::{Peer, Scan, all};
use crate::random::Random;
use crate::store::{Change, Durability, Store, Tally};

type Model = BTreeMap<u64, Vec<u8>>;

const TOKENS: u64 = 400;

fn data() -> Data {
    Data {
        count: TOKENS,
        ids: Ids::Random,
        sizes: Sizes::Mixed,
    }
}

/// Each id alone, present or absent, through both kinds of view; then all in a scan.
fn assert_holds(peer: &Peer, store: &dyn Store, model: &Model) {
    let data = data();
    for index in 0..2 * TOKENS {
        let id = data.id(index);
        let mut expected = Tally::default();
        expected.add(model.get(&id).map(Vec::as_slice));
        let (mut reused, mut fresh) = (Tally::default(), Tally::default());
        store.get_reused(&[id], &mut reused).unwrap();
        store.get_fresh(&[id], &mut fresh).unwrap();
        assert_eq!(
            (reused, fresh),
            (expected, expected),
            "{}, token {index}",
            peer.name
        );
    }
    if peer.scan != Scan::Missing {
        let (mut expected, mut found) = (Tally::default(), Tally::default());
        for (&id, value) in model {
            expected.add_token(id, value);
        }
        store.scan(&mut found).unwrap();
        assert_eq!(found, expected, "{}", peer.name);
    }
}

fn load_half(store: &mut dyn Store, model: &mut Model) {
    let data = data();
    let half = Data {
        count: TOKENS / 2,
        ..data
    };
    let tokens = data.tokens(&half.sorted(), 0);
    store.load_sorted(&mut tokens.iter()).unwrap();
    model.extend(tokens.iter().map(|(id, value)| (id, value.to_vec())));
}

/// Batches of overwrites, new tokens and deletions, absent ones too; then a value by itself.
fn change(store: &mut dyn Store, model: &mut Model, seed: u64) {
    let data = data();
    let mut random = Random::new(seed);
    for version in 1..6 {
        let mut changed: BTreeMap<u64, Option<Vec<u8>>> = BTreeMap::new();
        for _ in 0..60 {
            let index = random.below(TOKENS);
            let value = (random.below(3) > 0).then(|| {
                let mut value = Vec::new();
                data.value(index, seed * 10 + version, &mut value);
                value
            });
            changed.insert(data.id(index), value);
        }
        let changes: Vec<Change<'_>> = changed
            .iter()
            .map(|(&id, value)| Change {
                id,
                value: value.as_deref(),
            })
            .collect();
        store.write(&changes).unwrap();
        for (id, value) in changed {
            match value {
                Some(value) => model.insert(id, value),
                None => model.remove(&id),
            };
        }
    }
    let id = data.id(random.below(TOKENS));
    store.put(id, b"alone").unwrap();
    model.insert(id, b"alone".to_vec());
}

fn holds_what_was_written(peer: &Peer, directory: &Path, durability: Durability) {
    println!("{}, {durability:?}", peer.name);
    let mut model = Model::new();
    let mut store = (peer.open)(directory, durability).unwrap();
    load_half(&mut *store, &mut model);
    assert_holds(peer, &*store, &model);
    change(&mut *store, &mut model, 1);
    assert_holds(peer, &*store, &model);
    if peer.has_files {
        store.close().unwrap();
        store = (peer.open)(directory, durability).unwrap();
        assert_holds(peer, &*store, &model);
    }
    change(&mut *store, &mut model, 2);
    if peer.can_compact {
        store.compact().unwrap();
    }
    assert_holds(peer, &*store, &model);
    change(&mut *store, &mut model, 3);
    store.flush().unwrap();
    assert_holds(peer, &*store, &model);
    store.close().unwrap();
}

#[test]
fn every_peer_holds_what_was_written() {
    for peer in all().iter().filter(|peer| peer.can_read) {
        for durability in [Durability::Visible, Durability::Synced] {
            if durability == Durability::Visible || peer.can_sync {
                let directory = tempfile::tempdir().unwrap();
                holds_what_was_written(peer, directory.path(), durability);
            }
        }
        if let Some(open) = peer.open_small {
            let directory = tempfile::tempdir().unwrap();
            let small = Peer {
                open,
                ..Peer::new(peer.name, peer.package, open)
            };
            holds_what_was_written(&small, directory.path(), Durability::Visible);
        }
    }
}

#[test]
fn the_bare_file_takes_commits() {
    let peer = super::bare::PEER;
    let directory = tempfile::tempdir().unwrap();
    let mut store = (peer.open)(directory.path(), Durability::Synced).unwrap();
    store.put(1, b"one").unwrap();
    store.put(2, b"two").unwrap();
    store.close().unwrap();
    let bytes = std::fs::read(directory.path().join("bare")).unwrap();
    let expected = [
        &1_u64.to_le_bytes()[..],
        b"one",
        &2_u64.to_le_bytes(),
        b"two",
    ]
    .concat();
    assert_eq!(bytes[..expected.len()], expected);
}
