//! LMDB, through heed: a copy-on-write B-tree read through a memory map.
#![expect(
    unsafe_code,
    reason = "heed's calls to open a map, and to open it without syncs, are unsafe; the peer has no other"
)]

use std::fs;
use std::path::{Path, PathBuf};

use heed::byteorder::NativeEndian;
use heed::types::{Bytes, U64};
use heed::{
    CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator,
    PutFlags,
};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "integer keys, map of 256 GiB; NO_SYNC where a row is not synced; appends when loading sorted",
    ..Peer::new("LMDB", "heed", open)
};

/// Address space, in bytes; what is not written takes nothing.
const MAP_LEN: usize = 256 << 30;

type Tokens = Database<'static, U64<NativeEndian>, Bytes, IntegerComparator>;

fn open(directory: &Path, durability: Durability) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Lmdb {
        opened: Some(Opened::new(directory, durability)?),
        directory: directory.to_owned(),
        durability,
    }))
}

struct Opened {
    env: Env,
    tokens: Tokens,
}

impl Opened {
    fn new(directory: &Path, durability: Durability) -> Outcome<Self> {
        // Opening what is there must not cost a commit.
        let is_new = !directory.join("data.mdb").exists();
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_LEN);
        if durability == Durability::Visible {
            // SAFETY: without syncs a crash of the system may leave a damaged file; no measurement outlives one.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the files are in a directory of this process's own; nothing else changes them while they are mapped.
        let env = unsafe { options.open(directory)? };
        let tokens = if is_new {
            env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
                let options = opener
                    .database_options()
                    .types::<U64<NativeEndian>, Bytes>();
                let options = options.key_comparator::<IntegerComparator>();
                options
                    .create(transaction)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit()
        } else {
            env.open_databases_and_commit(env.read_txn()?, |opener, transaction| {
                let options = opener
                    .database_options()
                    .types::<U64<NativeEndian>, Bytes>();
                let options = options.key_comparator::<IntegerComparator>();
                options
                    .open(transaction)
                    .map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit()
            .ok_or("the unnamed database is missing")?
        };
        Ok(Self { env, tokens })
    }

    fn close(self) -> Outcome {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct Lmdb {
    /// Absent only after a compaction that failed.
    opened: Option<Opened>,
    directory: PathBuf,
    durability: Durability,
}

impl Lmdb {
    fn opened(&self) -> Outcome<&Opened> {
        self.opened.as_ref().ok_or_else(|| "not open".into())
    }
}

impl Store for Lmdb {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        let opened = self.opened()?;
        let mut transaction = opened.env.write_txn()?;
        for (id, value) in tokens {
            opened
                .tokens
                .put_with_flags(&mut transaction, PutFlags::APPEND, &id, value)?;
        }
        transaction.commit()?;
        Ok(opened.env.force_sync()?)
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let opened = self.opened()?;
        let mut transaction = opened.env.write_txn()?;
        for change in changes {
            match change.value {
                Some(value) => opened.tokens.put(&mut transaction, &change.id, value)?,
                None => {
                    opened.tokens.delete(&mut transaction, &change.id)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let opened = self.opened()?;
        let transaction = opened.env.read_txn()?;
        for id in ids {
            tally.add(opened.tokens.get(&transaction, id)?);
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let opened = self.opened()?;
        for id in ids {
            let transaction = opened.env.read_txn()?;
            tally.add(opened.tokens.get(&transaction, id)?);
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        let opened = self.opened()?;
        let transaction = opened.env.read_txn()?;
        for token in opened.tokens.iter(&transaction)? {
            let (id, value) = token?;
            tally.add_token(id, value);
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        Ok(self.opened()?.env.force_sync()?)
    }

    fn compact(&mut self) -> Outcome {
        if let Some(opened) = self.opened.take() {
            let new = self.directory.join("compacted");
            opened
                .env
                .copy_to_path(&new, CompactionOption::Enabled)?
                .sync_all()?;
            opened.close()?;
            fs::rename(&new, self.directory.join("data.mdb"))?;
            self.opened = Some(Opened::new(&self.directory, self.durability)?);
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Outcome {
        self.opened.take().map_or(Ok(()), Opened::close)
    }
}
