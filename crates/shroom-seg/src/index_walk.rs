//! A full, read-only walk of the free-space index: for checks and statistics.
//!
//! * K1 Each index page is visited once: a page named twice is a finding, and is not entered again; and no more pages are
//!   visited than the file has places for.
//!
//! Absent on purpose: does not look at storage pages.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use shroom_page::{LogicalPage, PageRead};

use crate::index_page::{Block, Geometry};
use crate::root::SegRoot;
use crate::{Finding, Result, SegError};

/// What the walk found.
#[derive(Default)]
pub(crate) struct IndexWalk {
    /// The index pages, ascending.
    pub(crate) pages: BTreeSet<LogicalPage>,
    /// Classes of the leaves that are there, by position.
    leaves: BTreeMap<u64, Vec<u8>>,
    leaf_pages: u64,
    pub(crate) findings: Vec<Finding>,
}

impl IndexWalk {
    /// Walks the index that `root` names. Damage becomes findings; only errors of the system are returned.
    pub(crate) fn new<R: PageRead>(pages: &R, root: &SegRoot) -> Result<Self> {
        let geometry = Geometry::new(pages.page_size());
        let mut walk = Self {
            leaf_pages: geometry.leaf_pages().into(),
            ..Self::default()
        };
        match root.height {
            0 => {
                walk.leaves.insert(0, root.classes.to_vec());
            }
            height => {
                walk.enter(pages, geometry, root.index, usize::from(height) - 1, 0)?;
            }
        }
        Ok(walk)
    }

    /// Class of a page; 0 where the index has no leaf.
    pub(crate) fn class(&self, page: LogicalPage) -> u8 {
        let number = u64::from(page.0);
        let leaf = self.leaves.get(&(number / self.leaf_pages));
        leaf.and_then(|leaf| leaf.get((number % self.leaf_pages) as usize))
            .copied()
            .unwrap_or(0)
    }

    /// The pages with a class above 0, ascending, and their classes.
    pub(crate) fn classed(&self) -> impl Iterator<Item = (u64, u8)> {
        self.leaves.iter().flat_map(move |(position, leaf)| {
            let set = leaf.iter().enumerate().filter(|&(_, &class)| class != 0);
            set.map(move |(at, &class)| (position * self.leaf_pages + at as u64, class))
        })
    }

    /// Enters a block and returns its highest class; `None` when it cannot be read.
    fn enter<R: PageRead>(
        &mut self,
        pages: &R,
        geometry: Geometry,
        page: LogicalPage,
        level: usize,
        position: u64,
    ) -> Result<Option<u8>> {
        if self.pages.len() as u64 >= u64::from(pages.allocated_pages_max()) {
            self.find(page, "more index pages than the file has places for".into());
            return Ok(None);
        }
        if !self.pages.insert(page) {
            self.find(page, "index page is linked twice".into());
            return Ok(None);
        }
        let parsed = match pages.page(page) {
            Ok(bytes) => Block::parse(bytes, level, geometry).map_err(str::to_owned),
            Err(error) => match SegError::from(error) {
                error if error.is_corruption() => Err(error.to_string()),
                error => return Err(error),
            },
        };
        let block = match parsed {
            Ok(block) => block,
            Err(detail) => {
                self.find(page, detail);
                return Ok(None);
            }
        };
        let max = block.max();
        if max == 0 {
            self.find(page, "index page without a class".into());
        }
        if level == 0 {
            self.leaves.insert(position, block.maxima);
            return Ok(Some(max));
        }
        for (at, (&child, &class)) in block.children.iter().zip(&block.maxima).enumerate() {
            if child == 0 {
                continue;
            }
            let child_position = position * u64::from(geometry.fan_out()) + at as u64;
            let found = self.enter(
                pages,
                geometry,
                LogicalPage(child),
                level - 1,
                child_position,
            )?;
            if let Some(found) = found.filter(|&found| found != class) {
                self.find(
                    page,
                    format!(
                        "entry {at} says class {class}, the highest in page {child} is {found}"
                    ),
                );
            }
        }
        Ok(Some(max))
    }

    fn find(&mut self, page: LogicalPage, detail: String) {
        self.findings.push(Finding {
            page,
            offset: None,
            text: format!("free-space index: {detail}"),
        });
    }
}
