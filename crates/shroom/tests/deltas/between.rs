//! Deltas between any two of the source's snapshots, for copies that go back, have states of their own, and keep what the source has
//! deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, PageRoot};
use shroom_sim::{Model, Random, Workload, assert_sound, run};

use super::{export, options, read};

fn open(page_size: u32, storage: &Arc<MemoryStorage>) -> Db {
    options(page_size).open_storage(storage.clone()).unwrap()
}

fn names(db: &Db) -> Vec<String> {
    let saved = db.snapshots().unwrap().into_iter();
    saved.map(|saved| saved.name).collect()
}

fn one_of<'n>(random: &mut Random, names: &'n [String]) -> &'n str {
    &names[random.below(names.len() as u64) as usize]
}

/// A source and a copy of it, each with a life of its own.
struct Pair {
    page_size: u32,
    workload: Workload,
    random: Random,
    copy: Arc<MemoryStorage>,
    /// What the source has saved so far; names are used once.
    known: BTreeMap<String, (PageRoot, Model)>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    applied: u64,
    in_the_way: u64,
    found: u64,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let page_size = [512, 1024, 4096][seed as usize % 3];
        Self {
            page_size,
            workload: Workload {
                page_size,
                ids: [30, 300][seed as usize / 3 % 2],
                value_len_max: [300, 10_000][seed as usize / 6 % 2],
                acknowledged: 5,
            },
            random: Random(seed),
            copy: Arc::new(MemoryStorage::new()),
            known: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    fn write(&mut self, db: &Db, limit: u64) {
        for _ in 0..self.random.below(limit) {
            run(db, &self.workload.op(&mut self.random)).unwrap();
        }
    }

    /// The source goes back or not, deletes a snapshot or not, is written to, and saves its state.
    fn go_on(&mut self, source: &Db, round: u32) {
        let all = names(source);
        match self.random.below(6) {
            0 if all.len() > 1 => source.restore(one_of(&mut self.random, &all)).unwrap(),
            1 if all.len() > 2 => {
                let deleted = one_of(&mut self.random, &all);
                source.delete_snapshot(deleted).unwrap();
            }
            _ => {}
        }
        self.write(source, 40);
        let name = format!("s{round:02}");
        source.save_snapshot(&name).unwrap();
        let saved = source.open_snapshot(&name).unwrap();
        self.known.insert(name, (saved.page_root(), read(&saved)));
    }

    /// The copy is written to, saves a state of its own, and goes back to one that the source has, too.
    fn stray(&mut self, source: &Db, round: u32) {
        let copy = open(self.page_size, &self.copy);
        if self.random.below(3) == 0 {
            self.write(&copy, 20);
            if self.random.below(2) == 0 {
                copy.save_snapshot(&format!("own{round}")).unwrap();
            }
        }
        let (mut both, there) = (names(&copy), names(source));
        both.retain(|name| there.contains(name));
        if !both.is_empty() {
            copy.restore(one_of(&mut self.random, &both)).unwrap();
        }
        copy.close().unwrap();
    }

    /// Applies the delta from the state of the copy to one that it does not have.
    fn follow(&mut self, source: &Db) {
        let there = names(source);
        let (mut from, mut has) = (None, Vec::new());
        if !self.copy.to_bytes().is_empty() {
            let copy = open(self.page_size, &self.copy);
            has = names(&copy);
            let root = copy.page_root();
            from = there.iter().find(|name| self.known[*name].0 == root);
            if from.is_none() {
                return;
            }
        }
        let mut new = there.clone();
        new.retain(|name| !has.contains(name));
        if new.is_empty() {
            return;
        }
        let to = one_of(&mut self.random, &new);
        let delta = export(source, from.map(String::as_str), to);
        let apply = || Db::apply_delta_storage(self.copy.clone(), &delta[..]);
        let done = apply().or_else(|error| {
            assert!(error.to_string().contains("which a named"), "{error}");
            self.tally.in_the_way += 1;
            let copy = open(self.page_size, &self.copy);
            assert_sound(&copy);
            for name in has.iter().filter(|name| !there.contains(name)) {
                copy.delete_snapshot(name).unwrap();
            }
            copy.close().unwrap();
            apply()
        });
        self.tally.applied += 1;
        self.tally.found += done.unwrap().pages_found;
        let copy = open(self.page_size, &self.copy);
        assert_sound(&copy);
        assert_eq!(copy.page_root(), self.known[to].0);
        for name in names(&copy) {
            if let Some((root, model)) = self.known.get(&name) {
                let saved = copy.open_snapshot(&name).unwrap();
                assert_eq!((saved.page_root(), &read(&saved)), (*root, model));
            }
        }
    }
}

/// What lies in the way is said; once it is gone the delta is taken; and no page is lost or used twice.
#[test]
fn a_copy_goes_from_any_state_to_any_other() {
    let mut sum = Tally::default();
    for seed in 0..18 {
        let mut pair = Pair::new(seed);
        let source = open(pair.page_size, &Arc::new(MemoryStorage::new()));
        for round in 0..25 {
            pair.go_on(&source, round);
            if round > 0 {
                pair.stray(&source, round);
            }
            pair.follow(&source);
        }
        assert_sound(&source);
        // What is left when all is deleted is free.
        let copy = open(pair.page_size, &pair.copy);
        for name in names(&copy) {
            copy.delete_snapshot(&name).unwrap();
            assert_sound(&copy);
        }
        sum.applied += pair.tally.applied;
        sum.in_the_way += pair.tally.in_the_way;
        sum.found += pair.tally.found;
    }
    println!("{sum:?}");
    assert!(sum.applied > 200 && sum.in_the_way > 20 && sum.found > 500);
}
