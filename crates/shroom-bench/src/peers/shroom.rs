//! ShroomDB.

use std::fs;
use std::path::{Path, PathBuf};

use ::shroom::{Db, Options};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "4 KiB pages, every page checked at first touch, journal of up to 2 x 128 MiB",
    open_small: Some(|directory, durability| open(directory, durability, 1024)),
    ..Peer::new("shroom", "shroom", |directory, durability| {
        open(directory, durability, 4096)
    })
};

/// Others have write buffers of 64 MiB and more, several of them.
const JOURNAL_LIMIT: u64 = 128 << 20;

fn options(page_size: u32) -> Options {
    Options::new()
        .page_size(page_size)
        .journal_limit(JOURNAL_LIMIT)
}

fn open(directory: &Path, durability: Durability, page_size: u32) -> Outcome<Box<dyn Store>> {
    let path = directory.join("tokens.shroom");
    Ok(Box::new(Shroom {
        db: Some(options(page_size).open(&path)?),
        path,
        durability,
    }))
}

#[derive(Debug)]
struct Shroom {
    /// Absent only after a compaction that failed.
    db: Option<Db>,
    path: PathBuf,
    durability: Durability,
}

impl Shroom {
    fn db(&self) -> Outcome<&Db> {
        self.db.as_ref().ok_or_else(|| "not open".into())
    }
}

impl Store for Shroom {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        self.db()?.bulk_load(tokens)?;
        Ok(())
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let mut batch = self.db()?.batch();
        for change in changes {
            match change.value {
                Some(value) => batch.put(change.id, value),
                None => batch.delete(change.id),
            };
        }
        match self.durability {
            Durability::Visible => batch.commit()?,
            Durability::Synced => batch.commit_synced()?,
        }
        Ok(())
    }

    fn put(&mut self, id: u64, value: &[u8]) -> Outcome {
        let db = self.db()?;
        db.put(id, value)?;
        if self.durability == Durability::Synced {
            db.flush()?;
        }
        Ok(())
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let snapshot = self.db()?.snapshot();
        for &id in ids {
            tally.add(snapshot.get(id)?.as_deref());
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let db = self.db()?;
        for &id in ids {
            tally.add(db.get(id)?.as_deref());
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        let snapshot = self.db()?.snapshot();
        for token in snapshot.iter() {
            let (id, value) = token?;
            tally.add_token(id, &value);
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        Ok(self.db()?.flush()?)
    }

    fn compact(&mut self) -> Outcome {
        let new = self.path.with_extension("new");
        if let Some(db) = self.db.take() {
            let page_size = db.stats()?.page_size;
            db.compact_into(&new)?;
            db.close()?;
            fs::rename(&new, &self.path)?;
            self.db = Some(options(page_size).open(&self.path)?);
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Outcome {
        match self.db.take() {
            Some(db) => Ok(db.close()?),
            None => Ok(()),
        }
    }
}
