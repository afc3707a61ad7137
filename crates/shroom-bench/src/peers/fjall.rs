//! fjall: a log-structured merge tree in Rust.

use std::path::Path;

use ::fjall::config::CompressionPolicy;
use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "no compression, cache 1 GiB; sorted loads through its ingestion; SyncData where a row is synced",
    ..Peer::new("fjall", "fjall", open)
};

fn open(directory: &Path, durability: Durability) -> Outcome<Box<dyn Store>> {
    let db = Database::builder(directory.join("db"))
        .cache_size(1 << 30)
        .open()?;
    let tokens = db.keyspace("tokens", || {
        KeyspaceCreateOptions::default()
            .data_block_compression_policy(CompressionPolicy::disabled())
    })?;
    let persist = (durability == Durability::Synced).then_some(PersistMode::SyncData);
    Ok(Box::new(Fjall {
        tokens,
        db,
        persist,
    }))
}

struct Fjall {
    tokens: Keyspace,
    db: Database,
    persist: Option<PersistMode>,
}

impl Store for Fjall {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        let mut ingestion = self.tokens.start_ingestion()?;
        for (id, value) in tokens {
            ingestion.write(id.to_be_bytes(), value)?;
        }
        ingestion.finish()?;
        self.flush()
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let mut batch = self.db.batch().durability(self.persist);
        for change in changes {
            match change.value {
                Some(value) => batch.insert(&self.tokens, change.id.to_be_bytes(), value),
                None => batch.remove(&self.tokens, change.id.to_be_bytes()),
            }
        }
        Ok(batch.commit()?)
    }

    fn put(&mut self, id: u64, value: &[u8]) -> Outcome {
        self.tokens.insert(id.to_be_bytes(), value)?;
        if let Some(mode) = self.persist {
            self.db.persist(mode)?;
        }
        Ok(())
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let view = self.db.snapshot();
        for id in ids {
            tally.add(view.get(&self.tokens, id.to_be_bytes())?.as_deref());
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for id in ids {
            tally.add(self.tokens.get(id.to_be_bytes())?.as_deref());
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        for token in self.tokens.iter() {
            let (key, value) = token.into_inner()?;
            tally.add_token(u64::from_be_bytes(key[..].try_into()?), &value);
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn compact(&mut self) -> Outcome {
        self.tokens.rotate_memtable_and_wait()?;
        Ok(self.tokens.major_compact()?)
    }

    fn close(mut self: Box<Self>) -> Outcome {
        self.flush()
    }
}
