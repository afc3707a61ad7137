//! persy: records and B-tree indexes in one file.

use std::path::Path;

use ::persy::{ByteVec, Config, Persy, TransactionConfig, ValueMode};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "an index from u64 to bytes, cache 1 GiB; synced in the background where a row is not synced",
    can_compact: false,
    ..Peer::new("persy", "persy", open)
};

const TOKENS: &str = "tokens";

fn open(directory: &Path, durability: Durability) -> Outcome<Box<dyn Store>> {
    let mut config = Config::new();
    config.change_cache_size(1 << 30);
    let db = Persy::open_or_create_with(directory.join("tokens.persy"), config, |db| {
        let mut transaction = db.begin()?;
        transaction.create_index::<u64, ByteVec>(TOKENS, ValueMode::Replace)?;
        transaction.commit()?;
        Ok(())
    })?;
    Ok(Box::new(Opened { db, durability }))
}

struct Opened {
    db: Persy,
    durability: Durability,
}

impl Store for Opened {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        let mut tokens = tokens.peekable();
        while tokens.peek().is_some() {
            let mut transaction = self.db.begin()?;
            for (id, value) in tokens.by_ref().take(10_000) {
                transaction.put(TOKENS, id, ByteVec::from(value))?;
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let background = self.durability == Durability::Visible;
        let config = TransactionConfig::new().set_background_sync(background);
        let mut transaction = self.db.begin_with(config)?;
        for change in changes {
            match change.value {
                Some(value) => transaction.put(TOKENS, change.id, ByteVec::from(value))?,
                None => transaction.remove::<u64, ByteVec>(TOKENS, change.id, None)?,
            }
        }
        Ok(transaction.commit()?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let view = self.db.snapshot()?;
        for id in ids {
            tally.add(view.one::<u64, ByteVec>(TOKENS, id)?.as_deref());
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for id in ids {
            tally.add(self.db.one::<u64, ByteVec>(TOKENS, id)?.as_deref());
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        for (id, values) in self.db.range::<u64, ByteVec, _>(TOKENS, ..)? {
            for value in values {
                tally.add_token(id, &value);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        // A synced transaction comes after those before it.
        Ok(self.db.begin()?.commit()?)
    }

    fn close(mut self: Box<Self>) -> Outcome {
        self.flush()
    }
}
