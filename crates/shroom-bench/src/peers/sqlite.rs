//! SQLite, bundled: a B-tree with a write-ahead log.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "WAL, INTEGER PRIMARY KEY, mmap 16 GiB, cache 64 MiB, prepared statements; synchronous NORMAL where a row is not synced, FULL otherwise",
    ..Peer::new("SQLite", "rusqlite", open)
};

const GET: &str = "SELECT value FROM tokens WHERE id = ?1";
const PUT: &str = "INSERT OR REPLACE INTO tokens (id, value) VALUES (?1, ?2)";
const DELETE: &str = "DELETE FROM tokens WHERE id = ?1";

fn open(directory: &Path, durability: Durability) -> Outcome<Box<dyn Store>> {
    let db = Connection::open(directory.join("tokens.sqlite"))?;
    let level = match durability {
        Durability::Visible => "NORMAL",
        Durability::Synced => "FULL",
    };
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {level}; PRAGMA mmap_size = {}; PRAGMA cache_size = -65536;
         CREATE TABLE IF NOT EXISTS tokens (id INTEGER PRIMARY KEY, value BLOB NOT NULL);",
        16_u64 << 30
    ))?;
    Ok(Box::new(Sqlite(db)))
}

#[derive(Debug)]
struct Sqlite(Connection);

/// SQLite's integers are signed; the order of the ids is kept.
fn key(id: u64) -> i64 {
    (id ^ 1 << 63).cast_signed()
}

fn id(key: i64) -> u64 {
    key.cast_unsigned() ^ 1 << 63
}

impl Sqlite {
    fn get(&self, id: u64, tally: &mut Tally) -> Outcome {
        let mut statement = self.0.prepare_cached(GET)?;
        let found = statement
            .query_row([key(id)], |row| {
                tally.add(Some(row.get_ref(0)?.as_blob()?));
                Ok(())
            })
            .optional()?;
        if found.is_none() {
            tally.add(None);
        }
        Ok(())
    }
}

impl Store for Sqlite {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        let transaction = self.0.transaction()?;
        let mut put = transaction.prepare_cached(PUT)?;
        for (id, value) in tokens {
            put.execute(params![key(id), value])?;
        }
        drop(put);
        transaction.commit()?;
        self.flush()
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let transaction = self.0.transaction()?;
        let mut put = transaction.prepare_cached(PUT)?;
        let mut delete = transaction.prepare_cached(DELETE)?;
        for change in changes {
            match change.value {
                Some(value) => put.execute(params![key(change.id), value])?,
                None => delete.execute([key(change.id)])?,
            };
        }
        drop((put, delete));
        Ok(transaction.commit()?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let transaction = self.0.unchecked_transaction()?;
        for &id in ids {
            self.get(id, tally)?;
        }
        Ok(transaction.finish()?)
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for &id in ids {
            self.get(id, tally)?;
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        let mut statement = self
            .0
            .prepare_cached("SELECT id, value FROM tokens ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            tally.add_token(id(row.get(0)?), row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        // Moves the log into the file, and syncs both.
        Ok(self
            .0
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn compact(&mut self) -> Outcome {
        self.0.execute_batch("VACUUM")?;
        self.flush()
    }

    fn close(mut self: Box<Self>) -> Outcome {
        self.flush()?;
        Ok(self.0.close().map_err(|(_, error)| error)?)
    }
}
