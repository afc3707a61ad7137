//! lkv: a hash table in one file, with an overlay of what was appended since the last compaction.

use std::path::Path;

use ::lkv::{Database, DatabaseOptions};

use crate::peer::{Peer, Scan};
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "overlay of up to 8 GiB in memory; compacted after a load, as it asks for; every commit syncs, it knows no other",
    can_skip_sync: false,
    wants_compaction: true,
    scan: Scan::Unordered,
    ..Peer::new("lkv", "lkv", open)
};

fn open(directory: &Path, _: Durability) -> Outcome<Box<dyn Store>> {
    let options = DatabaseOptions::default().with_overlay_memory_limit(8 << 30);
    let path = directory.join("tokens.lkv");
    Ok(Box::new(Lkv(match path.exists() {
        true => Database::open_with_options(path, options)?,
        false => Database::create_with_options(path, options)?,
    })))
}

struct Lkv(Database);

impl Store for Lkv {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        // A transaction is one record of the log, whose length is limited.
        let mut tokens = tokens.peekable();
        while tokens.peek().is_some() {
            let mut transaction = self.0.begin_write()?;
            for (id, value) in tokens.by_ref().take(100_000) {
                transaction.put(id.to_be_bytes(), value)?;
            }
            transaction.commit()?;
        }
        self.compact()
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let mut transaction = self.0.begin_write()?;
        for change in changes {
            match change.value {
                Some(value) => transaction.put(change.id.to_be_bytes(), value)?,
                None => transaction.delete(change.id.to_be_bytes())?,
            }
        }
        Ok(transaction.commit()?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let view = self.0.begin_read()?;
        for id in ids {
            tally.add(view.get(id.to_be_bytes())?);
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for id in ids {
            tally.add(self.0.get(id.to_be_bytes())?);
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        for token in self.0.iter()? {
            let (key, value) = token?;
            tally.add_token(u64::from_be_bytes(key.try_into()?), value);
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        Ok(self.0.sync()?)
    }

    fn compact(&mut self) -> Outcome {
        Ok(self.0.compact()?)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.0.sync()?)
    }
}
