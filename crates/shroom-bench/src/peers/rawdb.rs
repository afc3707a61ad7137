//! rawdb: named regions of a memory-mapped file.

use std::path::Path;

use ::rawdb::Database;

use crate::peer::{Peer, Scan};
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "a region for each token, at most 100,000; it never syncs, so it is in no synced row",
    can_sync: false,
    scan: Scan::Ordered,
    // A region takes a page of 4 KiB, and another for its entry.
    tokens_max: 100_000,
    ..Peer::new("rawdb", "rawdb", open)
};

fn open(directory: &Path, _: Durability) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(RawDb(Database::open(&directory.join("db"))?)))
}

struct RawDb(Database);

/// The order of the names is the order of the ids.
fn name(id: u64) -> String {
    format!("{id:016x}")
}

impl Store for RawDb {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        for (id, value) in tokens {
            self.put(id, value)?;
        }
        self.flush()
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        for change in changes {
            match change.value {
                Some(value) => self.put(change.id, value)?,
                None => self.0.remove_region_if_exists(&name(change.id))?,
            }
        }
        Ok(())
    }

    fn put(&mut self, id: u64, value: &[u8]) -> Outcome {
        let region = self.0.create_region_if_needed(&name(id))?;
        Ok(region.truncate_write(0, value)?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        self.get_fresh(ids, tally)
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for &id in ids {
            match self.0.region(&name(id)) {
                Some(region) => tally.add(Some(region.create_reader().read_all())),
                None => tally.add(None),
            }
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        for name in self.0.region_ids() {
            let region = self.0.region(&name).ok_or("a region is gone")?;
            let id = u64::from_str_radix(&name, 16)?;
            tally.add_token(id, region.create_reader().read_all());
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        self.0.flush();
        Ok(())
    }

    fn compact(&mut self) -> Outcome {
        Ok(self.0.compact()?)
    }

    fn close(mut self: Box<Self>) -> Outcome {
        self.flush()
    }
}
