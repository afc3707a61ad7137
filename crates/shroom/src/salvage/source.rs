//! The damaged database: its newest provable state, surveyed before anything is written.

use std::ops::RangeInclusive;
use std::sync::Arc;

use shroom_page::storage::Storage;
use shroom_page::{DamagedStore, LogicalPage, PageRead, PhysicalPage, Snapshot};
use shroom_token::{Survivors, TokenId, TokenRoot, survivors};

use super::report::{Loss, SalvageReport};
use crate::core::replay;
use crate::error::Result;
use crate::overlay::{Change, Overlay};
use crate::root::ApplicationRoot;

/// A damaged database.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) pages: Snapshot,
    pub(super) survivors: Survivors,
    pub(super) overlay: Overlay,
    /// As far as it is known before the tokens are read.
    pub(super) report: SalvageReport,
    /// Tokens that the checkpoint counts.
    pub(super) tokens: Option<u64>,
}

impl Source {
    pub(super) fn open(storage: &dyn Storage) -> Result<Self> {
        let store = DamagedStore::open(storage)?;
        let pages = store.snapshot().clone();
        let damage = store.damage().iter().map(ToString::to_string);
        let repaired = store.repaired().iter().map(ToString::to_string);
        let mut report = SalvageReport {
            checkpoint: pages.sequence(),
            damage: damage.chain(repaired).collect(),
            ..SalvageReport::default()
        };
        let overlay = replay_sound(&store, &mut report);
        let tag = ApplicationRoot::decode(&pages.roots().application).map(|root| root.tag);
        if let Err(error) = &tag {
            report.damage.push(error.to_string());
        }
        report.tag = overlay.tag.or(tag.ok());
        let mut source = Self {
            pages,
            survivors: Survivors::default(),
            overlay,
            report,
            tokens: None,
        };
        source.survey()?;
        Ok(source)
    }

    fn survey(&mut self) -> Result<()> {
        let roots = *self.pages.roots();
        let root = match TokenRoot::decode(&roots.token) {
            Ok(root) => root,
            Err(error) => {
                let all = Loss::new((0, u64::MAX), LogicalPage::NONE, &error);
                self.report.lost.push(all);
                return Ok(());
            }
        };
        self.survivors = survivors(&self.pages, &root, &roots.seg)?;
        self.tokens = Some(root.tokens());
        let directory = self.survivors.directory_damage.iter();
        let texts = directory.map(|(page, error)| format!("directory page {page}: {error}"));
        self.report.damage.extend(texts);
        Ok(())
    }

    pub(super) fn page_size(&self) -> u32 {
        self.pages.page_size().bytes() as u32
    }

    /// Whether the checkpoint may have had a token `id` that cannot be proven.
    pub(super) fn may_have_lost(&self, id: u64) -> bool {
        let spans = &self.survivors.spans;
        let after = spans.partition_point(|span| span.ids().0.0 <= id);
        let span = after.checked_sub(1).and_then(|at| spans.get(at));
        self.tokens.is_none() || span.is_some_and(|span| !span.is_proven() && id <= span.ids().1.0)
    }

    /// Adds to `lost` those of the ids that the journal does not say all about.
    pub(super) fn lose(&self, lost: &mut Vec<Loss>, loss: &Loss) {
        let mut next = Some(loss.first);
        let mut add = |ids: RangeInclusive<u64>| {
            let ids = (*ids.start(), *ids.end());
            match lost.last_mut() {
                // Packs of one page that follow each other are lost together.
                Some(before)
                    if !loss.page.is_none()
                        && before.page == loss.page
                        && before.last.checked_add(1) == Some(ids.0) =>
                {
                    before.last = ids.1;
                }
                _ => lost.push(Loss {
                    first: ids.0,
                    last: ids.1,
                    ..loss.clone()
                }),
            }
        };
        for (id, change) in self.overlay.range(loss.first, loss.last) {
            let is_known = match change {
                Change::Deleted | Change::Value(_) => true,
                Change::Grown(grown) => grown.kept == 0,
            };
            if !is_known {
                continue;
            }
            if let Some(first) = next.filter(|&first| first < id) {
                add(first..=id - 1);
            }
            next = id.checked_add(1);
        }
        if let Some(first) = next.filter(|&first| first <= loss.last) {
            add(first..=loss.last);
        }
    }
}

/// Applies the journal's frames as far as they are sound; a frame applies as a whole or not at all.
fn replay_sound(store: &DamagedStore, report: &mut SalvageReport) -> Overlay {
    let mut overlay = Overlay::default();
    for (sequence, payload) in store.frames().iter() {
        let mut next = overlay.clone();
        if let Err(detail) = replay(&mut next, payload) {
            report.damage.push(format!(
                "journal frame {sequence} is malformed: {detail}; neither it nor what follows it is applied"
            ));
            break;
        }
        overlay = next;
        report.journal_frames += 1;
    }
    overlay
}

/// The loss of one token whose journal operation needs earlier bytes.
pub(super) fn misplaced(id: u64, kept: u64, length: Option<u64>) -> Loss {
    let there = match length {
        Some(length) => format!("has {length} bytes"),
        None => "is not there".into(),
    };
    Loss {
        first: id,
        last: id,
        page: LogicalPage::NONE,
        physical: PhysicalPage::NONE,
        reason: format!("an append in the journal begins at byte {kept} of a token that {there}"),
    }
}

/// The loss of a part of the directory.
pub(super) fn span_loss(
    ids: (TokenId, TokenId),
    page: LogicalPage,
    error: &Arc<shroom_token::TokenError>,
) -> Loss {
    Loss::new((ids.0.0, ids.1.0), page, error)
}
