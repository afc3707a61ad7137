//! What the file still says apart from the damaged pages of the map: which pages nothing sound reaches, and what they hash to.
//!
//! * E1 Each page of the file is hashed at most once.

use std::collections::{BTreeSet, HashMap};

use crate::map;
use crate::recovery::FreeRecord;
use crate::snapshot::Base;
use crate::superblock::Run;
use crate::verified::VerifiedPages;
use crate::{PageHeader, PageType};

/// Where pages lie that the damaged part of the map may name. Hash maps are only asked, never walked over.
pub(super) struct Facts<'b> {
    base: &'b Base,
    /// Pages in use that nothing sound reaches, ascending.
    unreached: BTreeSet<u32>,
    hashes: HashMap<u32, [u8; 32]>,
    /// The unreached pages by what they hash to.
    places: HashMap<[u8; 32], BTreeSet<u32>>,
    /// Pages anywhere in the file that look like pages of the map, by what they hash to; once they were looked for.
    map_like: Option<HashMap<[u8; 32], u32>>,
}

impl<'b> Facts<'b> {
    /// `journal` are the journal's areas; without a free record every page may be in use.
    pub(super) fn new(
        base: &'b Base,
        record: Option<&FreeRecord>,
        journal: [Run; 2],
        reached: &VerifiedPages,
    ) -> Self {
        let mut facts = Self {
            base,
            unreached: BTreeSet::new(),
            hashes: HashMap::new(),
            places: HashMap::new(),
            map_like: None,
        };
        let mut other: Vec<Run> = journal.to_vec();
        if let Some(record) = record {
            other.push(record.run);
            other.extend(record.named.iter().map(|named| named.run()));
            let free = record.physical.iter();
            other.extend(free.map(|(first, pages)| Run { first, pages }));
        }
        other.sort_by_key(|run| run.first);
        let mut other = other.into_iter().peekable();
        for page in 2..base.physical_pages {
            while other.next_if(|run| run.end() <= u64::from(page)).is_some() {}
            let is_other = other.peek().is_some_and(|run| run.first <= page);
            if is_other || reached.contains(page) {
                continue;
            }
            if let Some(hash) = facts.hash(page) {
                facts.unreached.insert(page);
                facts.places.entry(hash).or_default().insert(page);
            }
        }
        facts
    }

    /// The bytes of a page; `None` when the file has none there.
    pub(super) fn bytes(&self, page: u32) -> Option<&'b [u8]> {
        let base = self.base;
        let offset = u64::from(page) << base.page_size.shift();
        let bytes = base.view.slice(offset, base.page_size.bytes());
        bytes.filter(|_| (2..base.physical_pages).contains(&page))
    }

    /// What a page hashes to as it is; `None` when the file has none there.
    pub(super) fn hash(&mut self, page: u32) -> Option<[u8; 32]> {
        if let Some(&hash) = self.hashes.get(&page) {
            return Some(hash);
        }
        let hash = *blake3::hash(self.bytes(page)?).as_bytes();
        self.hashes.insert(page, hash);
        Some(hash)
    }

    /// Notes that something sound reaches a page.
    pub(super) fn reach(&mut self, page: u32) {
        if self.unreached.remove(&page)
            && let Some(hash) = self.hashes.get(&page)
            && let Some(places) = self.places.get_mut(hash)
        {
            places.remove(&page);
        }
    }

    /// An unreached page with this hash that is not in `claimed`: `like` when that is one, else the lowest.
    pub(super) fn place_of(
        &self,
        hash: &[u8; 32],
        like: u32,
        claimed: &BTreeSet<u32>,
    ) -> Option<u32> {
        let places = self.places.get(hash)?;
        let is_open = |page: &u32| !claimed.contains(page);
        if places.contains(&like) && is_open(&like) {
            return Some(like);
        }
        places.iter().copied().find(is_open)
    }

    /// The unreached pages not in `claimed` that may be entries of a node of this level, ascending, with their hashes.
    pub(super) fn pool(&self, level: u8, claimed: &BTreeSet<u32>) -> Vec<(u32, [u8; 32])> {
        let is_possible = |page: &u32| {
            !claimed.contains(page)
                && (level == 0
                    || self
                        .bytes(*page)
                        .is_some_and(|bytes| is_map_page(bytes, level - 1)))
        };
        let pages = self.unreached.iter().copied().filter(is_possible);
        pages
            .filter_map(|page| Some((page, *self.hashes.get(&page)?)))
            .collect()
    }

    /// Pages in use that nothing sound reaches.
    pub(super) fn unreached_len(&self) -> u64 {
        self.unreached.len() as u64
    }

    /// A whole page of the map of this level and hash, wherever in the file it lies: what was written to a wrong place, or
    /// moved, may be there.
    pub(super) fn elsewhere(&mut self, level: u8, hash: &[u8; 32]) -> Option<&'b [u8]> {
        if self.map_like.is_none() {
            let mut found = HashMap::new();
            for page in 2..self.base.physical_pages {
                let is_map = self
                    .bytes(page)
                    .and_then(PageHeader::read)
                    .is_some_and(|header| header.page_type == PageType::Map);
                if let Some(hash) = is_map.then(|| self.hash(page)).flatten() {
                    found.entry(hash).or_insert(page);
                }
            }
            self.map_like = Some(found);
        }
        let page = *self.map_like.as_ref()?.get(hash)?;
        let bytes = self.bytes(page)?;
        map::check_node(bytes, level, self.base.fanout)
            .is_ok()
            .then_some(bytes)
    }
}

fn is_map_page(bytes: &[u8], level: u8) -> bool {
    PageHeader::read(bytes)
        .is_some_and(|header| header.page_type == PageType::Map && header.kind == level)
}
