//! parity-db: hash-indexed tables behind a write-ahead log, made for blockchain state.

use std::path::Path;

use ::parity_db::{Db, Options};

use crate::peer::{Peer, Scan};
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "one hash-indexed column, no statistics, WAL and data synced by its own threads; a commit returns before it is durable, and there is no way to wait, so it is in no synced row",
    can_sync: false,
    can_compact: false,
    scan: Scan::Missing,
    ..Peer::new("parity-db", "parity-db", open)
};

fn open(directory: &Path, _: Durability) -> Outcome<Box<dyn Store>> {
    let mut options = Options::with_columns(&directory.join("db"), 1);
    options.stats = false;
    Ok(Box::new(ParityDb(Db::open_or_create(&options)?)))
}

struct ParityDb(Db);

impl Store for ParityDb {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        let mut tokens = tokens.peekable();
        while tokens.peek().is_some() {
            let batch = tokens.by_ref().take(10_000);
            self.0
                .commit(batch.map(|(id, value)| (0, id.to_be_bytes(), Some(value.to_vec()))))?;
        }
        Ok(())
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let changes = changes
            .iter()
            .map(|change| (0, change.id.to_be_bytes(), change.value.map(<[u8]>::to_vec)));
        Ok(self.0.commit(changes)?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        self.get_fresh(ids, tally)
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for id in ids {
            tally.add(self.0.get(0, &id.to_be_bytes())?.as_deref());
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(())
    }
}
