//! Salvage: what can be proven of a damaged database becomes a new one.
//!
//! * S1 The damaged file is only read, under a shared lock.
//! * S2 A token is recovered when its bytes are those that the newest sound superblock, or a journal frame that continues it, names.
//!   Nothing older is looked for: pages that no superblock reaches may be whole, but nothing says whether they are current.
//! * S3 What cannot be proven is reported, as exactly as is known, and never mixed in silently.
//! * S4 Tokens pass in order of ids, one at a time; memory grows with the number of packs, not with the tokens.
//!
//! How it can be proven that a pack without its directory page holds tokens, see `shroom_token::survivors`.

mod report;
mod source;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use shroom_page::storage::{FileStorage, OpenMode, Storage};
use shroom_page::{PageError, PhysicalPage};

pub use self::report::{Loss, SalvageReport};
use self::source::Source;
use self::tokens::Tokens;
use crate::db::Db;
use crate::error::Result;
use crate::options::Options;

/// How to salvage a damaged database.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let (damaged, new) = (dir.path().join("damaged"), dir.path().join("new"));
/// # let db = shroom::Db::open(&damaged)?;
/// # db.put(1, b"one")?;
/// # db.close()?;
/// let report = shroom::salvage::Salvage::new().run(&damaged, &new)?;
/// println!("{} tokens recovered", report.tokens);
/// for loss in &report.lost {
///     println!("lost: {loss}");
/// }
/// # assert_eq!((report.tokens, report.lost.len()), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is salvaged before `run`"]
pub struct Salvage {
    unproven: bool,
}

impl Salvage {
    /// Recovers what is proven, and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to recover, beside what is proven, packs of current pages whose directory page is lost while other pages
    /// are lost too, so that they might be bytes of a value that looks like a pack. They never replace a proven token, and are
    /// listed in [`SalvageReport::unproven`]. Off by default.
    pub fn unproven(mut self, unproven: bool) -> Self {
        self.unproven = unproven;
        self
    }

    /// Writes what is left of the database at `damaged` to a new one at `new`, which must not exist, and verifies that.
    ///
    /// # Errors
    /// Corruption, when the file has no sound superblock: then nothing can be proven, and `new` is not made. Locked, when
    /// another process has the file open for writing. I/O errors; a database at `new` is then incomplete.
    pub fn run(&self, damaged: impl AsRef<Path>, new: impl AsRef<Path>) -> Result<SalvageReport> {
        let damaged = FileStorage::open(damaged.as_ref(), OpenMode::ReadOnly)?;
        let source = Source::open(&damaged)?;
        let options = new_options(&source).create_new(true);
        self.copy(source, &options.open(new)?)
    }

    /// [`run`](Self::run) over any storages; `new` is blank.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_storage(
        &self,
        damaged: &dyn Storage,
        new: Arc<dyn Storage>,
    ) -> Result<SalvageReport> {
        let source = Source::open(damaged)?;
        let options = new_options(&source);
        self.copy(source, &options.open_storage(new)?)
    }

    fn copy(&self, source: Source, db: &Db) -> Result<SalvageReport> {
        let mut tokens = Tokens::new(&source, self.unproven);
        db.bulk_load(&mut tokens)?;
        let report = tokens.finish()?;
        if let Some(tag) = report.tag.filter(|&tag| tag != 0) {
            let mut batch = db.batch();
            batch.tag(tag);
            batch.commit()?;
        }
        db.checkpoint()?;
        let check = db.verify()?;
        let detail = match check.findings.first() {
            Some(finding) => finding.to_string(),
            None if db.len()? == report.tokens => {
                db.clone().close()?;
                return Ok(report);
            }
            None => format!("{} tokens, expected {}", db.len()?, report.tokens),
        };
        let (what, physical) = ("salvaged database", PhysicalPage::NONE);
        Err(PageError::Corrupt {
            what,
            physical,
            detail,
        }
        .into())
    }
}

fn new_options(source: &Source) -> Options {
    Options::new()
        .page_size(source.page_size())
        .background(false)
}
