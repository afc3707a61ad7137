//! What a damaged page of the map may have been: candidates, from what is certain to what is only likely.

use std::collections::BTreeSet;

use super::Node;
use super::facts::Facts;
use crate::map::{self, Entry, NodeBuilder};
use crate::verified::VerifiedPages;

/// Two hashes that have this many bytes in common at the same places are one, damaged: for two others the chance
/// is below 1 in 10^8.
const ALIKE_MIN: usize = 6;
/// Comparisons of damaged hashes with those of pages, at most.
const COMPARED_MAX: usize = 1 << 20;
/// Entries without any evidence of which every arrangement is tried.
const ARRANGED_MAX: usize = 6;
/// Arrangements that are tried, at most.
const ARRANGEMENTS_MAX: u32 = 1 << 12;
/// Entries with contradicting evidence of which every choice is tried.
const CHOICES_MAX: usize = 8;

/// What there is to rebuild one node from.
pub(super) struct Evidence<'e, 'b> {
    pub(super) node: &'e Node,
    pub(super) fanout: usize,
    pub(super) page_len: usize,
    /// As the superblock has them.
    pub(super) physical_pages: u32,
    /// For each entry, whether it is present, where that is known.
    pub(super) is_present: Vec<Option<bool>>,
    pub(super) reached: &'e VerifiedPages,
    pub(super) facts: &'e mut Facts<'b>,
    /// Pages that may still be tried.
    pub(super) attempts: u64,
}

/// An entry whose page is not what its hash says: either may be damaged.
#[derive(Clone, Copy, Debug)]
struct Doubtful {
    digit: usize,
    stored: Entry,
    /// With the hash of the page as it is.
    computed: Entry,
}

/// An entry of which neither column is right.
#[derive(Clone, Copy, Debug)]
struct Lost {
    digit: usize,
    /// Its hash as it was found, which may be right when the page is damaged as well.
    stored: [u8; 32],
}

/// The entries of a node by what is known of them.
#[derive(Clone)]
struct Sorted {
    builder: NodeBuilder,
    doubtful: Vec<Doubtful>,
    lost: Vec<Lost>,
    /// Physical pages that its known entries name.
    claimed: BTreeSet<u32>,
}

impl Evidence<'_, '_> {
    /// The node, when what is left of it says enough.
    pub(super) fn conclude(&mut self) -> Option<Box<[u8]>> {
        let mut sorted = self.sort(true);
        if !sorted.lost.is_empty() {
            return None;
        }
        self.choose(&mut sorted)
    }

    /// The node, by trying what it may have been.
    pub(super) fn guess(&mut self) -> Option<Box<[u8]>> {
        let (level, hash) = (self.node.level, self.node.entry.hash);
        if let Some(bytes) = self.facts.elsewhere(level, &hash) {
            return Some(bytes.into());
        }
        let is_known = !self.is_present.contains(&None);
        for zero_is_absent in [true, false] {
            if zero_is_absent || !is_known {
                let mut sorted = self.sort(zero_is_absent);
                let page = match sorted.lost.is_empty() {
                    true => self.choose(&mut sorted),
                    false => self.place(&mut sorted),
                };
                let page = page
                    .or_else(|| self.flip_hashes(&mut sorted))
                    .or_else(|| self.place_doubtful(&sorted));
                if page.is_some() {
                    return page;
                }
            }
        }
        // Nothing that it says may be its own.
        let digits = (0..self.fanout).filter(|&digit| self.is_present[digit] != Some(false));
        let lost: Vec<Lost> = digits
            .map(|digit| Lost {
                digit,
                stored: [0; 32],
            })
            .collect();
        let pool = self.facts.pool(level, &BTreeSet::new());
        self.place_in_order(&NodeBuilder::new(self.fanout, None), &lost, &pool)
    }

    /// Sorts the entries. `zero_is_absent`: where it is not known, an entry of zeros is an absent one.
    fn sort(&mut self, zero_is_absent: bool) -> Sorted {
        let mut sorted = Sorted {
            builder: NodeBuilder::new(self.fanout, None),
            doubtful: Vec::new(),
            lost: Vec::new(),
            claimed: BTreeSet::new(),
        };
        let bytes = self.facts.bytes(self.node.entry.physical);
        let entries = bytes.and_then(|bytes| map::node_entries(bytes, self.fanout));
        let entry = |digit| entries.map_or(Entry::ABSENT, |entries| entries.get(digit));
        let digits = (0..self.fanout).filter(|&digit| match self.is_present[digit] {
            Some(is_present) => is_present,
            None => !zero_is_absent || entry(digit) != Entry::ABSENT,
        });
        let mut stored: Vec<(usize, Entry)> = digits.map(|digit| (digit, entry(digit))).collect();
        stored.retain(|&(digit, entry)| !self.is_whole(digit, entry, &mut sorted));
        stored.retain(|&(digit, entry)| !self.is_found(digit, entry, &mut sorted));
        for (digit, entry) in stored {
            self.doubt(digit, entry, &mut sorted);
        }
        self.match_damaged_hashes(&mut sorted);
        sorted
    }

    /// Takes an entry whose page is there.
    fn is_whole(&mut self, digit: usize, entry: Entry, sorted: &mut Sorted) -> bool {
        let is_whole = !self.reached.contains(entry.physical)
            && !sorted.claimed.contains(&entry.physical)
            && self.facts.hash(entry.physical) == Some(entry.hash);
        if is_whole {
            sorted.take(digit, entry);
        }
        is_whole
    }

    /// Takes an entry whose page is found by its hash.
    fn is_found(&mut self, digit: usize, entry: Entry, sorted: &mut Sorted) -> bool {
        // The same page may be there many times: then the one behind that of the entry before is likely.
        let before = digit
            .checked_sub(1)
            .map_or(0, |at| sorted.builder.physical(at));
        let place = self
            .facts
            .place_of(&entry.hash, before.saturating_add(1), &sorted.claimed);
        let Some(physical) = place else { return false };
        let hash = entry.hash;
        sorted.take(digit, Entry { physical, hash });
        true
    }

    fn doubt(&mut self, digit: usize, stored: Entry, sorted: &mut Sorted) {
        let physical = stored.physical;
        let is_possible = (2..self.physical_pages).contains(&physical)
            && !self.reached.contains(physical)
            && !sorted.claimed.contains(&physical);
        if !is_possible {
            let stored = stored.hash;
            sorted.lost.push(Lost { digit, stored });
            return;
        }
        match self.facts.hash(physical) {
            None => sorted.take(digit, stored), // the file is cut off before it
            Some(hash) if are_alike(&hash, &stored.hash) => {
                sorted.take(digit, Entry { physical, hash });
            }
            Some(hash) => {
                let computed = Entry { physical, hash };
                sorted.take(digit, computed);
                sorted.doubtful.push(Doubtful {
                    digit,
                    stored,
                    computed,
                });
            }
        }
    }

    /// Takes the entries that a page was not found for by their hash, and is by what is left of it.
    fn match_damaged_hashes(&mut self, sorted: &mut Sorted) {
        if sorted.lost.is_empty() {
            return;
        }
        let pool = self.facts.pool(self.node.level, &sorted.claimed);
        if pool.len().saturating_mul(sorted.lost.len()) > COMPARED_MAX {
            return;
        }
        let mut lost = std::mem::take(&mut sorted.lost);
        lost.retain(|lost| {
            let mut open = pool
                .iter()
                .filter(|(page, _)| !sorted.claimed.contains(page));
            let found = open.find(|(_, hash)| are_alike(hash, &lost.stored));
            if let Some(&(physical, hash)) = found {
                sorted.take(lost.digit, Entry { physical, hash });
            }
            found.is_none()
        });
        sorted.lost = lost;
    }

    /// Decides between the two columns where they contradict each other. Damage to the node hits neighbours, so of the
    /// doubtful entries those of one range have their hash damaged, and the pages of the others are damaged.
    fn choose(&mut self, sorted: &mut Sorted) -> Option<Box<[u8]>> {
        let count = sorted.doubtful.len();
        let all_or_none = [0..count, 0..0].into_iter();
        let neighbours =
            (1..count).flat_map(|len| (0..=count - len).map(move |start| start..start + len));
        for range in all_or_none.chain(neighbours) {
            sorted.decide(|at| range.contains(&at));
            let page = self.attempt(&sorted.builder);
            if page.is_some() || self.attempts == 0 {
                return page;
            }
        }
        if count > CHOICES_MAX {
            return None;
        }
        (0..1_u32 << count).find_map(|choice| {
            sorted.decide(|at| choice >> at & 1 != 0);
            self.attempt(&sorted.builder)
        })
    }

    /// Gives the lost entries pages that nothing else claims.
    fn place(&mut self, sorted: &mut Sorted) -> Option<Box<[u8]>> {
        let pool = self.facts.pool(self.node.level, &sorted.claimed);
        for is_damaged in [true, false] {
            if !is_damaged && sorted.doubtful.is_empty() {
                break;
            }
            sorted.decide(|_| is_damaged);
            let page = self
                .place_beside(sorted, &pool)
                .or_else(|| self.place_in_order(&sorted.builder, &sorted.lost, &pool));
            if page.is_some() {
                return page;
            }
            if sorted.lost.len() <= ARRANGED_MAX {
                let mut arranging = Arranging {
                    lost: &sorted.lost,
                    pool: &pool,
                    used: vec![false; pool.len()],
                    left: ARRANGEMENTS_MAX,
                };
                for with_stored in [false, true] {
                    arranging.left = ARRANGEMENTS_MAX;
                    let page = self.arrange(&mut sorted.builder, &mut arranging, 0, with_stored);
                    if page.is_some() {
                        return page;
                    }
                }
            }
        }
        None
    }

    /// A doubtful entry's hash may have one bit damaged, and its page be damaged as well.
    fn flip_hashes(&mut self, sorted: &mut Sorted) -> Option<Box<[u8]>> {
        if !sorted.lost.is_empty() || sorted.doubtful.len() > CHOICES_MAX {
            return None;
        }
        for is_damaged in [true, false] {
            for doubtful in sorted.doubtful.clone() {
                sorted.decide(|_| is_damaged);
                for bit in 0..256 {
                    let mut entry = doubtful.stored;
                    entry.hash[bit / 8] ^= 1 << (bit % 8);
                    sorted.builder.set(doubtful.digit, entry);
                    let page = self.attempt(&sorted.builder);
                    if page.is_some() {
                        return page;
                    }
                }
            }
        }
        None
    }

    /// A doubtful entry may name a page of another one, and its own page be damaged as well.
    fn place_doubtful(&mut self, sorted: &Sorted) -> Option<Box<[u8]>> {
        if sorted.doubtful.len() > CHOICES_MAX {
            return None;
        }
        (0..sorted.doubtful.len()).find_map(|at| {
            let mut sorted = sorted.clone();
            let Doubtful { digit, stored, .. } = sorted.doubtful.remove(at);
            sorted.claimed.remove(&stored.physical);
            let stored = stored.hash;
            sorted.lost.push(Lost { digit, stored });
            sorted.lost.sort_by_key(|lost| lost.digit);
            self.place(&mut sorted)
        })
    }

    /// Each lost entry's page lies behind that of the entry before, or before that of the entry behind.
    fn place_beside(&mut self, sorted: &Sorted, pool: &[(u32, [u8; 32])]) -> Option<Box<[u8]>> {
        let find = |physical: u32| pool.binary_search_by_key(&physical, |&(page, _)| page);
        let mut forward = sorted.builder.clone();
        for lost in &sorted.lost {
            let before = lost
                .digit
                .checked_sub(1)
                .map_or(0, |at| forward.physical(at));
            if let Ok(at) = find(before.saturating_add(1)) {
                forward.set(lost.digit, entry_of(pool[at]));
            }
        }
        let mut backward = sorted.builder.clone();
        for lost in sorted.lost.iter().rev() {
            let is_inside = lost.digit + 1 < self.fanout;
            let behind = if is_inside {
                backward.physical(lost.digit + 1)
            } else {
                0
            };
            if let Ok(at) = find(behind.saturating_sub(1)) {
                backward.set(lost.digit, entry_of(pool[at]));
            }
        }
        self.attempt(&forward).or_else(|| self.attempt(&backward))
    }

    /// The lost entries' pages lie in their order, without another one between.
    fn place_in_order(
        &mut self,
        known: &NodeBuilder,
        lost: &[Lost],
        pool: &[(u32, [u8; 32])],
    ) -> Option<Box<[u8]>> {
        let mut builder = known.clone();
        for pages in pool.windows(lost.len().max(1)) {
            for (lost, &page) in lost.iter().zip(pages) {
                builder.set(lost.digit, entry_of(page));
            }
            let page = self.attempt(&builder);
            if page.is_some() || self.attempts == 0 {
                return page;
            }
        }
        None
    }

    /// Tries every arrangement of pages for the lost entries from `at` on. `with_stored`: their hashes are right as they are.
    fn arrange(
        &mut self,
        builder: &mut NodeBuilder,
        arranging: &mut Arranging<'_>,
        at: usize,
        with_stored: bool,
    ) -> Option<Box<[u8]>> {
        let Some(&lost) = arranging.lost.get(at) else {
            arranging.left -= 1;
            return self.attempt(builder);
        };
        for place in 0..arranging.pool.len() {
            if arranging.left == 0 || self.attempts == 0 {
                return None;
            }
            if arranging.used[place] {
                continue;
            }
            let mut entry = entry_of(arranging.pool[place]);
            if with_stored {
                entry.hash = lost.stored;
            }
            builder.set(lost.digit, entry);
            arranging.used[place] = true;
            let page = self.arrange(builder, arranging, at + 1, with_stored);
            if page.is_some() {
                return page;
            }
            arranging.used[place] = false;
        }
        None
    }

    /// The page, when it has the node's hash.
    fn attempt(&mut self, builder: &NodeBuilder) -> Option<Box<[u8]>> {
        self.attempts = self.attempts.checked_sub(1)?;
        let mut page = vec![0; self.page_len];
        let is_present = builder.build(self.node.level, &mut page);
        let is_right = is_present && *blake3::hash(&page).as_bytes() == self.node.entry.hash;
        is_right.then(|| page.into())
    }
}

/// A search through the arrangements of pages.
struct Arranging<'p> {
    lost: &'p [Lost],
    pool: &'p [(u32, [u8; 32])],
    used: Vec<bool>,
    left: u32,
}

impl Sorted {
    fn take(&mut self, digit: usize, entry: Entry) {
        self.builder.set(digit, entry);
        self.claimed.insert(entry.physical);
    }

    /// Gives each doubtful entry the hash of its page, when its own is said to be damaged, or leaves it as it was found.
    fn decide(&mut self, is_damaged: impl Fn(usize) -> bool) {
        for (at, doubtful) in self.doubtful.iter().enumerate() {
            let entry = match is_damaged(at) {
                true => doubtful.computed,
                false => doubtful.stored,
            };
            self.builder.set(doubtful.digit, entry);
        }
    }
}

fn entry_of((physical, hash): (u32, [u8; 32])) -> Entry {
    Entry { physical, hash }
}

fn are_alike(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let equal = one.iter().zip(other).filter(|(one, other)| one == other);
    equal.count() >= ALIKE_MIN
}
