use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn text(overlay: &Overlay, id: u64, below: &[u8]) -> Option<Vec<u8>> {
    match overlay.get(id).unwrap() {
        Change::Deleted => None,
        Change::Value(bytes) => Some(bytes.to_vec()),
        Change::Grown(grown) => {
            let mut text = below[..grown.kept as usize].to_vec();
            for piece in grown.pieces() {
                text.extend_from_slice(piece);
            }
            assert_eq!(text.len() as u64, grown.length);
            Some(text)
        }
    }
}

#[test]
fn appends_compose() {
    let mut overlay = Overlay::default();
    let append = |offset, bytes| Operation::Append {
        id: 1,
        offset,
        bytes,
    };
    overlay.apply(append(3, b"de")).unwrap();
    overlay.apply(append(5, b"f")).unwrap();
    assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"abcdef");
    // A replay says where its bytes begin, and replaces what is beyond.
    overlay.apply(append(4, b"XY")).unwrap();
    assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"abcdXY");
    overlay.apply(append(2, b"!")).unwrap();
    assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"ab!");
    assert!(overlay.apply(append(4, b"gap")).is_err());
    overlay.apply(Operation::Delete { id: 1 }).unwrap();
    assert_eq!(text(&overlay, 1, b"abc"), None);
    overlay.apply(append(0, b"new")).unwrap();
    assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"new");
    overlay
        .apply(Operation::Put {
            id: 1,
            bytes: b"put",
        })
        .unwrap();
    overlay.apply(append(3, b"+")).unwrap();
    assert_eq!(text(&overlay, 1, b"abc").unwrap(), b"put+");
}

#[test]
fn a_clone_does_not_change() {
    let mut overlay = Overlay::default();
    overlay
        .apply(Operation::Put {
            id: 1,
            bytes: b"one",
        })
        .unwrap();
    let clone = overlay.clone();
    overlay
        .apply(Operation::Append {
            id: 1,
            offset: 3,
            bytes: b"two",
        })
        .unwrap();
    assert_eq!(text(&clone, 1, b"").unwrap(), b"one");
    assert_eq!(text(&overlay, 1, b"").unwrap(), b"onetwo");
}

/// Ids spread over many nodes of the tree, so that most are shared.
#[test]
fn the_ids_that_differ_are_those_that_were_changed() {
    let mut number = 1_u64;
    let mut random = |limit: u64| {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (number >> 33) % limit
    };
    let put = |overlay: &mut Overlay, id: u64, operation: u64| {
        let bytes = &[operation as u8];
        let operation = match operation % 4 {
            0 => Operation::Delete { id },
            1 => Operation::Append {
                id,
                offset: 0,
                bytes,
            },
            _ => Operation::Put { id, bytes },
        };
        overlay.apply(operation).unwrap();
    };
    for changes in [0, 1, 2, 10, 300, 3000] {
        for _ in 0..10 {
            let mut older = Overlay::default();
            for _ in 0..random(6000) {
                put(&mut older, random(20_000), random(1000));
            }
            let mut newer = older.clone();
            assert!(newer.is_same(&older));
            let first = random(20_000);
            for change in 0..changes {
                let id = if random(2) == 0 {
                    random(20_000)
                } else {
                    first + change
                };
                put(&mut newer, id, random(1000));
            }
            let differs = |id: &u64| older.get(*id) != newer.get(*id);
            let expected: Vec<u64> = (0..30_000).filter(differs).collect();
            assert_eq!(newer.differing_ids(&older), expected);
            assert_eq!(older.differing_ids(&newer), expected);
        }
    }
}

/// What the state below has for every token in the model.
const BELOW: &[u8] = b"0123456789";

/// An overlay, and the values of the tokens that it changes.
#[derive(Clone, Debug, Default)]
struct Version {
    overlay: Overlay,
    model: BTreeMap<u64, Option<Vec<u8>>>,
}

impl Version {
    /// What a kind of operation, of four, does to a token.
    fn apply(&mut self, id: u64, kind: u8, number: u16) {
        let below = || Some(BELOW.to_vec());
        let before = self.model.get(&id).cloned().unwrap_or_else(below);
        let bytes = &vec![number as u8; usize::from(number % 5)][..];
        let (operation, after) = match kind {
            0 => (Operation::Delete { id }, None),
            1 => {
                let mut after = before.unwrap_or_default();
                let offset = usize::from(number) % (after.len() + 1);
                after.truncate(offset);
                after.extend_from_slice(bytes);
                let offset = offset as u64;
                (Operation::Append { id, offset, bytes }, Some(after))
            }
            _ => (Operation::Put { id, bytes }, Some(bytes.to_vec())),
        };
        self.overlay.apply(operation).unwrap();
        self.model.insert(id, after);
    }

    fn check(&self) {
        let expected: Vec<u64> = self.model.keys().copied().collect();
        assert_eq!(self.overlay.len(), expected.len());
        assert_eq!(self.overlay.is_empty(), expected.is_empty());
        for (&id, value) in &self.model {
            assert_eq!(text(&self.overlay, id, BELOW), *value, "{id}");
            for near in [id.wrapping_add(1), id ^ 1 << 40, !id] {
                let is_there = self.model.contains_key(&near);
                assert_eq!(self.overlay.get(near).is_some(), is_there, "{near}");
            }
        }
        let found: Vec<u64> = self.overlay.edits().map(|(id, _)| id.0).collect();
        assert_eq!(found, expected);
    }

    /// Walks from both ends at once; a bit of `sides` says from which next.
    fn check_range(&self, first: u64, last: u64, sides: u64) {
        let expected = self.model.range(first..=last.max(first));
        let expected = expected.map(|(&id, _)| id).filter(|id| *id <= last);
        let mut expected = expected.collect::<Vec<u64>>().into_iter();
        let mut found = self.overlay.range(first, last);
        for step in 0..self.model.len() + 2 {
            let (expected, found) = if sides.rotate_right(step as u32) & 1 == 0 {
                (expected.next(), found.next())
            } else {
                (expected.next_back(), found.next_back())
            };
            assert_eq!(found.map(|(id, _)| id), expected);
            let change = expected.and_then(|id| self.overlay.get(id));
            assert_eq!(found.map(|(_, change)| change), change);
        }
    }

    fn check_differing(&self, other: &Self) {
        let differs = |id: &u64| self.overlay.get(*id) != other.overlay.get(*id);
        let ids = self.model.keys().chain(other.model.keys()).copied();
        let mut expected: Vec<u64> = ids.filter(differs).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(self.overlay.differing_ids(&other.overlay), expected);
        assert!(!self.overlay.is_same(&other.overlay) || expected.is_empty());
    }
}

/// Ids that come again, and that agree in many, in few or in no digits.
fn ids() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..40_u64,
        any::<u64>(),
        any::<u64>().prop_map(|id| id & 0xf000_0000_00f0_0003),
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..64_u32).prop_map(|bit| u64::MAX >> bit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Mostly the newest version is changed, as the engine does; sometimes an older one.
    #[test]
    fn versions_are_maps_that_never_change(
        changes in prop::collection::vec((ids(), 0..4_u8, any::<u16>()), 0..300),
        branches in prop::collection::vec((any::<Index>(), any::<Index>()), 0..3),
        ranges in prop::collection::vec((ids(), ids(), any::<u64>()), 1..8),
        pairs in prop::collection::vec((any::<Index>(), any::<Index>()), 1..8),
    ) {
        let mut versions = vec![Version::default()];
        let mut from: BTreeMap<usize, Index> = BTreeMap::new();
        for (at, version) in branches {
            from.insert(at.index(changes.len() + 1), version);
        }
        for (at, (id, kind, number)) in changes.into_iter().enumerate() {
            let newest = versions.len() - 1;
            let base = from.get(&at).map_or(newest, |base| base.index(newest + 1));
            let mut version = versions[base].clone();
            version.apply(id, kind, number);
            versions.push(version);
        }
        for version in versions.iter().step_by(29).chain(versions.last()) {
            version.check();
            for &(first, last, sides) in &ranges {
                version.check_range(first, last, sides);
            }
        }
        for (one, other) in pairs {
            one.get(&versions).check_differing(other.get(&versions));
        }
    }
}

#[test]
fn a_clone_that_was_left_behind_goes_its_own_way() {
    let mut one = Version::default();
    (0..100).for_each(|id| one.apply(id, 2, 4));
    let mut other = one.clone();
    assert!(one.overlay.is_same(&other.overlay));
    one.apply(1000, 2, 1);
    other.apply(2000, 2, 2);
    other.apply(7, 0, 0);
    assert!(!one.overlay.is_same(&other.overlay));
    one.check();
    other.check();
    assert_eq!(one.overlay.differing_ids(&other.overlay), [7, 1000, 2000]);
}

/// Each put has its number as its bytes, and the id of a number can be told: so a reader knows what a clone must hold.
#[test]
fn clones_are_read_while_the_newest_is_added_to() {
    let puts: u32 = if cfg!(miri) { 200 } else { 20_000 };
    let id_of = |number: u32| {
        let id = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        // Some side by side, some far apart.
        if id % 2 == 0 { id } else { id << 50 | id }
    };
    let mut numbers: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    (0..puts).for_each(|number| numbers.entry(id_of(number)).or_default().push(number));
    let expected = |id: u64, seen: u32| {
        let numbers = &numbers[&id];
        let before = numbers.partition_point(|&number| number < seen);
        before.checked_sub(1).map(|at| numbers[at])
    };
    let number_of = |change: &Change| match change {
        Change::Value(bytes) => u32::from_le_bytes(bytes[..].try_into().unwrap()),
        other => panic!("{other:?}"),
    };
    let newest = Mutex::new(Overlay::default());
    let read = |mut random: u64| {
        for _ in 0..1000 {
            let overlay = newest.lock().unwrap().clone();
            for _ in 0..50 {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let id = id_of((random >> 33) as u32 % puts);
                let got = overlay.get(id).map(number_of);
                assert_eq!(got, expected(id, overlay.seen), "{id} of {}", overlay.seen);
            }
            let first = random >> 20;
            let mut range = overlay.range(first, u64::MAX);
            let mut due = numbers.range(first..).filter_map(|(&id, _)| {
                let number = expected(id, overlay.seen)?;
                Some((id, number))
            });
            for _ in 0..50 {
                let got = range.next().map(|(id, change)| (id, number_of(change)));
                assert_eq!(got, due.next(), "from {first} of {}", overlay.seen);
            }
            if overlay.seen == puts {
                break;
            }
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(|| read(1));
        threads.spawn(|| read(2));
        let mut overlay = Overlay::default();
        for number in 0..puts {
            let (id, bytes) = (id_of(number), &number.to_le_bytes());
            overlay.apply(Operation::Put { id, bytes }).unwrap();
            *newest.lock().unwrap() = overlay.clone();
        }
    });
}
