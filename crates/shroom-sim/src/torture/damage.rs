//! Damaged files: an error of kind corruption that names a place, or the right data; never anything else.

use std::ops::Range;
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Error, ErrorKind};
use shroom_page::{PageSize, PageStore};

use super::life::Ended;
use super::world::World;
use super::{Failure, FailureKind};
use crate::Model;

/// Whether an error says where the damage is; of a file that is no database, it is at its beginning.
pub(super) fn names_a_place(error: &Error) -> bool {
    let text = error.to_string();
    let words = [
        "page",
        "byte",
        "frame",
        "superblock",
        "segment",
        "token",
        "free record at",
    ];
    error.kind() == ErrorKind::NotADatabase
        || words.iter().any(|word| text.contains(word))
            && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// The states that agree with all that could be read.
struct Candidates {
    models: Vec<Model>,
    /// Something could not be read.
    refused: bool,
}

impl Candidates {
    fn retain(&mut self, agrees: impl Fn(&Model) -> bool, what: &str) -> Result<(), Failure> {
        self.models.retain(agrees);
        if self.models.is_empty() {
            return Err(Failure::new(FailureKind::WrongDamaged, what));
        }
        Ok(())
    }

    fn refuse(&mut self, error: &Error) -> Result<(), Failure> {
        if !error.is_corruption() || !names_a_place(error) {
            return Err(Failure::new(FailureKind::WrongError, error));
        }
        self.refused = true;
        Ok(())
    }

    /// Reads everything that can be read.
    fn read(&mut self, db: &Db) -> Result<(), Failure> {
        let tag = db.tag();
        self.retain(|model| model.tag == tag, "the tag")?;
        let mut ids: Vec<u64> = self
            .models
            .iter()
            .flat_map(|model| model.tokens.keys().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            match db.get(id) {
                Ok(found) => {
                    let agrees = |model: &Model| {
                        model.tokens.get(&id).map(|bytes| &bytes[..]) == found.as_deref()
                    };
                    self.retain(agrees, &format!("token {id}"))?;
                }
                Err(error) => self.refuse(&error)?,
            }
        }
        self.read_in_order(db.iter(), "a scan", &|model| Some(model))?;
        self.read_in_order(db.iter().rev(), "a scan backward", &|model| Some(model))?;
        self.read_named(db)
    }

    /// Reads all named snapshots.
    fn read_named(&mut self, db: &Db) -> Result<(), Failure> {
        let names = match db.snapshots() {
            Ok(listed) => listed.into_iter().map(|saved| saved.name),
            Err(error) => return self.refuse(&error),
        };
        let names: Vec<String> = names.collect();
        self.retain(
            |model| model.named.keys().eq(&names),
            &format!("the names {names:?}"),
        )?;
        for name in names {
            let saved = match db.open_snapshot(&name) {
                Ok(saved) => saved,
                Err(error) => {
                    self.refuse(&error)?;
                    continue;
                }
            };
            let what = format!("snapshot {name:?}");
            let tag = |model: &Model| model.named[&name].tag == saved.tag();
            self.retain(tag, &format!("the tag of {what}"))?;
            self.read_in_order(saved.iter(), &what, &|model| {
                model.named.get(&name).map(|saved| &**saved)
            })?;
        }
        Ok(())
    }

    /// Reads tokens in order, which must be those of a part of the model.
    fn read_in_order<'v>(
        &mut self,
        tokens: impl Iterator<Item = shroom::Result<(u64, shroom::Value<'v>)>>,
        what: &str,
        part: &dyn for<'m> Fn(&'m Model) -> Option<&'m Model>,
    ) -> Result<(), Failure> {
        let mut count = 0;
        for token in tokens {
            match token {
                Ok((id, bytes)) => {
                    let agrees = |model: &Model| {
                        let expected = part(model).and_then(|model| model.tokens.get(&id));
                        expected.is_some_and(|is| bytes == is[..])
                    };
                    self.retain(agrees, &format!("token {id} in {what}"))?;
                }
                Err(error) => return self.refuse(&error),
            }
            count += 1;
        }
        self.retain(
            |model| part(model).is_some_and(|model| model.tokens.len() == count),
            &format!("{count} tokens in {what}"),
        )
    }
}

impl World<'_> {
    /// Judges a damaged image that may hold any of the states of a range.
    pub(super) fn judge_damaged(
        &mut self,
        image: &[u8],
        ended: &Ended,
        range: Range<usize>,
    ) -> Result<(), Failure> {
        let mut candidates = Candidates {
            models: ended.history.models(range),
            refused: false,
        };
        let storage = Arc::new(MemoryStorage::from_bytes(image.to_vec()));
        let io = |error: shroom_page::PageError| Failure::new(FailureKind::WrongError, error);
        let page_size = PageSize::new(self.settings.workload.page_size);
        let page_size = page_size.unwrap_or_else(|| unreachable!("worlds have a page size"));
        if PageStore::is_blank(&*storage, page_size).map_err(io)? {
            candidates.retain(|model| *model == Model::default(), "a blank file")?;
        }
        let page_size = self.settings.workload.page_size;
        let options = ended.opening.options(page_size);
        let read_only = self.random.below(4) != 0;
        match options.read_only(read_only).open_storage(storage) {
            Ok(db) => candidates.read(&db)?,
            Err(error) => {
                self.tally.error(&error);
                candidates.refuse(&error)?;
                self.tally.add("damaged files refused at opening", 1);
                return Ok(());
            }
        }
        let outcome = if candidates.refused {
            "damaged files refused in part"
        } else {
            "damaged files read in full"
        };
        self.tally.add(outcome, 1);
        Ok(())
    }
}
