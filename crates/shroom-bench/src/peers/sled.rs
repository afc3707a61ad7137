//! sled: a B-tree over a log-structured page store.

use std::path::Path;

use ::sled::{Batch, Db, Mode};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "cache 1 GiB, mode HighThroughput, flushed at the end; its views are the tree itself. On Linux its flush is sync_file_range, which leaves the device's cache as it is, so it is in no synced row",
    can_sync: false,
    can_compact: false,
    ..Peer::new("sled", "sled", open)
};

fn open(directory: &Path, _: Durability) -> Outcome<Box<dyn Store>> {
    let db = ::sled::Config::new()
        .path(directory.join("db"))
        .cache_capacity(1 << 30)
        .mode(Mode::HighThroughput)
        .flush_every_ms(None)
        .open()?;
    Ok(Box::new(Sled(db)))
}

#[derive(Debug)]
struct Sled(Db);

impl Store for Sled {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        for (id, value) in tokens {
            self.0.insert(id.to_be_bytes(), value)?;
        }
        self.flush()
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let mut batch = Batch::default();
        for change in changes {
            match change.value {
                Some(value) => batch.insert(&change.id.to_be_bytes(), value),
                None => batch.remove(&change.id.to_be_bytes()),
            }
        }
        Ok(self.0.apply_batch(batch)?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        self.get_fresh(ids, tally)
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for id in ids {
            tally.add(self.0.get(id.to_be_bytes())?.as_deref());
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        for token in self.0.iter() {
            let (key, value) = token?;
            tally.add_token(u64::from_be_bytes(key[..].try_into()?), &value);
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        self.0.flush()?;
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Outcome {
        self.flush()
    }
}
