//! redb: a copy-on-write B-tree in one file.

use std::path::Path;

use ::redb::{
    Database, Durability as Level, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition,
};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "cache 1 GiB; Durability::None where a row is not synced, Immediate otherwise",
    ..Peer::new("redb", "redb", open)
};

const TOKENS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tokens");

fn open(directory: &Path, durability: Durability) -> Outcome<Box<dyn Store>> {
    let path = directory.join("tokens.redb");
    let is_new = !path.exists();
    let db = Database::builder().set_cache_size(1 << 30).create(path)?;
    let level = match durability {
        Durability::Visible => Level::None,
        Durability::Synced => Level::Immediate,
    };
    if is_new {
        // The table must be there before anybody reads.
        let transaction = db.begin_write()?;
        transaction.open_table(TOKENS)?;
        transaction.commit()?;
    }
    Ok(Box::new(Redb { db, level }))
}

#[derive(Debug)]
struct Redb {
    db: Database,
    level: Level,
}

impl Redb {
    fn table(&self) -> Outcome<ReadOnlyTable<u64, &'static [u8]>> {
        Ok(self.db.begin_read()?.open_table(TOKENS)?)
    }
}

impl Store for Redb {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        let transaction = self.db.begin_write()?;
        let mut table = transaction.open_table(TOKENS)?;
        for (id, value) in tokens {
            table.insert(id, value)?;
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.level)?;
        let mut table = transaction.open_table(TOKENS)?;
        for change in changes {
            match change.value {
                Some(value) => table.insert(change.id, value)?,
                None => table.remove(change.id)?,
            };
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let table = self.table()?;
        for &id in ids {
            tally.add(table.get(id)?.as_ref().map(|value| value.value()));
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for &id in ids {
            tally.add(self.table()?.get(id)?.as_ref().map(|value| value.value()));
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        for token in self.table()?.iter()? {
            let (id, value) = token?;
            tally.add_token(id.value(), value.value());
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        // A durable commit makes those before it durable, too.
        Ok(self.db.begin_write()?.commit()?)
    }

    fn compact(&mut self) -> Outcome {
        self.flush()?;
        while self.db.compact()? {}
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Outcome {
        self.flush()?;
        Ok(self.db.close()?)
    }
}
