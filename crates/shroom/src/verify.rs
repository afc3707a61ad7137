//! Checking everything, over all layers.

use std::fmt;
use std::sync::Arc;

use shroom_page::PageFinding;
use shroom_seg::References;

use crate::content_root::scan;
use crate::core::Core;
use crate::digest::ContentRoot;
use crate::error::{Error, Result};
use crate::lattice::LATTICE_LEN;
use crate::overlay::Overlay;
use crate::state::{Base, State};

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

/// What [`Db::verify`](crate::Db::verify) found.
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
    /// Free pages of the file.
    pub free_pages: u64,
    /// Named snapshots, whose pages were checked as well.
    pub snapshots: u64,
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn of(core: &Core) -> Result<Self> {
        let state = core.state.load_full();
        let base = &state.base;
        let mut report = Self::default();
        let pages = core.store.verify()?;
        report.pages = pages.logical_pages + pages.map_pages + pages.snapshot_pages;
        report.snapshots = pages.snapshots;
        report.free_pages = pages.free_pages;
        report
            .findings
            .extend(pages.findings.into_iter().map(Finding::Page));
        let mut references = References::new();
        match shroom_token::verify(&base.pages, &base.root, &mut references) {
            Ok(tokens) => {
                report.tokens = tokens.tokens;
                report.payload_bytes = tokens.payload;
                report.packs = tokens.packs;
                report
                    .findings
                    .extend(tokens.findings.into_iter().map(Finding::Token));
            }
            Err(error) => report.block(error.into())?,
        }
        if let Err(error) = report.check_sum(base, &mut references) {
            report.block(error)?;
        }
        match shroom_seg::verify(&base.pages, &base.pages.roots().seg, &references) {
            Ok(segments) => report
                .findings
                .extend(segments.findings.into_iter().map(Finding::Seg)),
            Err(error) => report.block(error.into())?,
        }
        Ok(report)
    }

    /// Checks the sum over the tokens, where the file keeps it.
    fn check_sum(&mut self, base: &Arc<Base>, references: &mut References) -> Result<()> {
        let Some(head) = base.lattice else {
            return Ok(());
        };
        references.add_blob(&base.pages, head, LATTICE_LEN as u64)?;
        let kept = base.kept_sum()?.map(|sum| sum.root().into());
        let state = State::new(Arc::clone(base), None, Overlay::default());
        let found = scan(&Arc::new(state))?.root().into();
        if let Some(kept) = kept.filter(|&kept| kept != found) {
            self.findings.push(Finding::Content { kept, found });
        }
        Ok(())
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
