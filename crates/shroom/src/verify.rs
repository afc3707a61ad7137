//! Checking everything, over all layers.

#[cfg(feature = "std")]
mod database;

use alloc::vec::Vec;
use core::fmt;

use shroom_page::{PageFinding, PageRead, PageReport, Roots};
use shroom_seg::References;
use shroom_token::TokenRoot;

use crate::digest::ContentRoot;
use crate::error::{Error, Result};
use crate::lattice::Lattice;

/// Something that is not as it must be.
#[derive(Debug)]
#[non_exhaustive]
pub enum Finding {
    /// In the page map, a page's hash, or the account of the file's pages.
    Page(PageFinding),
    /// In a storage page or the free-space index.
    Seg(shroom_seg::Finding),
    /// In a pack or the directory.
    Token(shroom_token::TokenError),
    /// The sum over the tokens that the file keeps is not that of its tokens.
    Content {
        /// The content root that the file keeps.
        kept: ContentRoot,
        /// That of the tokens in its pages.
        found: ContentRoot,
    },
    /// What kept a layer from being checked.
    Blocked(Error),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(finding) => finding.fmt(f),
            Self::Seg(finding) => finding.fmt(f),
            Self::Token(finding) => finding.fmt(f),
            Self::Content { kept, found } => {
                write!(
                    f,
                    "the file keeps the content root {kept}, its tokens have {found}"
                )
            }
            Self::Blocked(error) => write!(f, "not checked further: {error}"),
        }
    }
}

/// What a check of a database, or of an [`Image`](crate::image::Image), found.
#[derive(Debug, Default)]
#[must_use = "what is wrong is in the report, not in the error"]
#[non_exhaustive]
pub struct Report {
    /// Everything that is wrong; empty for a sound database.
    pub findings: Vec<Finding>,
    /// Tokens checked.
    pub tokens: u64,
    /// Sum of their lengths, in bytes.
    pub payload_bytes: u64,
    /// Packs checked.
    pub packs: u64,
    /// Pages whose hash was checked, map pages included.
    pub pages: u64,
    /// Free pages of the file; 0 for an image, which does not look at them.
    pub free_pages: u64,
    /// Named snapshots, whose pages were checked as well; 0 for an image.
    pub snapshots: u64,
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// What the page layer found.
    pub(crate) fn of_pages(pages: PageReport) -> Self {
        Self {
            pages: pages.logical_pages + pages.map_pages + pages.snapshot_pages,
            snapshots: pages.snapshots,
            free_pages: pages.free_pages,
            findings: pages.findings.into_iter().map(Finding::Page).collect(),
            ..Self::default()
        }
    }

    /// Checks the tokens of a state, then the segments that they are in. What else has segments is checked between them by `beside`,
    /// which adds them to the references.
    pub(crate) fn check_layers<R: PageRead>(
        &mut self,
        pages: &R,
        roots: &Roots,
        root: &TokenRoot,
        beside: impl FnOnce(&mut Self, &mut References) -> Result<()>,
    ) -> Result<()> {
        let mut references = References::new();
        match shroom_token::verify(pages, root, &mut references) {
            Ok(tokens) => {
                self.tokens = tokens.tokens;
                self.payload_bytes = tokens.payload;
                self.packs = tokens.packs;
                self.findings
                    .extend(tokens.findings.into_iter().map(Finding::Token));
            }
            Err(error) => self.block(error.into())?,
        }
        if let Err(error) = beside(self, &mut references) {
            self.block(error)?;
        }
        match shroom_seg::verify(pages, &roots.seg, &references) {
            Ok(segments) => self
                .findings
                .extend(segments.findings.into_iter().map(Finding::Seg)),
            Err(error) => self.block(error.into())?,
        }
        Ok(())
    }

    /// Compares the sum that the file keeps with that of its tokens.
    pub(crate) fn compare_sums(&mut self, kept: &Lattice, found: &Lattice) {
        if kept != found {
            let (kept, found) = (kept.root().into(), found.root().into());
            self.findings.push(Finding::Content { kept, found });
        }
    }

    /// Corruption is a finding, anything else an error.
    fn block(&mut self, error: Error) -> Result<()> {
        if !error.is_corruption() {
            return Err(error);
        }
        self.findings.push(Finding::Blocked(error));
        Ok(())
    }
}
