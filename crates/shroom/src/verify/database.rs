//! Checking a database: its pages, the layers above them, and the sum that the file keeps.

use std::sync::Arc;

use shroom_seg::References;

use super::Report;
use crate::content_root::scan;
use crate::core::Core;
use crate::error::Result;
use crate::lattice::LATTICE_LEN;
use crate::overlay::Overlay;
use crate::state::{Base, State};

impl Report {
    pub(crate) fn of(core: &Core) -> Result<Self> {
        let state = core.state.load_full();
        let base = &state.base;
        let mut report = Self::of_pages(core.store.verify()?);
        let roots = base.pages.roots();
        report.check_layers(&base.pages, roots, &base.root, |report, references| {
            report.check_sum(base, references)
        })?;
        Ok(report)
    }

    /// Checks the sum over the tokens, where the file keeps it.
    fn check_sum(&mut self, base: &Arc<Base>, references: &mut References) -> Result<()> {
        let Some(head) = base.lattice else {
            return Ok(());
        };
        references.add_blob(&base.pages, head, LATTICE_LEN as u64)?;
        let kept = base.kept_sum()?;
        let state = State::new(Arc::clone(base), None, Overlay::default());
        let found = scan(&Arc::new(state))?;
        if let Some(kept) = kept {
            self.compare_sums(&kept, &found);
        }
        Ok(())
    }
}
