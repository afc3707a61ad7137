//! RocksDB: a log-structured merge tree in C++.

use std::fs;
use std::path::{Path, PathBuf};

use ::rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType,
    DataBlockIndexType, IngestExternalFileOptions, Options, SstFileWriter, WriteBatch,
    WriteOptions,
};

use crate::peer::Peer;
use crate::store::{Change, Durability, Outcome, Store, Tally};

pub(crate) const PEER: Peer = Peer {
    settings: "no compression, block cache 1 GiB, bloom filter of 10 bits, hash index in data blocks, 2 background jobs; sorted loads as ingested table files",
    ..Peer::new("RocksDB", "rocksdb", |directory, durability| {
        open(directory, durability, DBCompressionType::None)
    })
};

/// The smallest that it gets: for the workloads about size.
pub(crate) const ZSTD: Peer = Peer {
    settings: "as RocksDB, with Zstandard",
    size_only: true,
    ..Peer::new("RocksDB-zstd", "rocksdb", |directory, durability| {
        open(directory, durability, DBCompressionType::Zstd)
    })
};

fn options(compression: DBCompressionType) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(1 << 30));
    table.set_bloom_filter(10.0, false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(compression);
    options.set_bottommost_compression_type(compression);
    options.set_max_background_jobs(2);
    options.set_block_based_table_factory(&table);
    options
}

fn open(
    directory: &Path,
    durability: Durability,
    compression: DBCompressionType,
) -> Outcome<Box<dyn Store>> {
    let options = options(compression);
    let mut writes = WriteOptions::default();
    writes.set_sync(durability == Durability::Synced);
    Ok(Box::new(Rocks {
        db: DB::open(&options, directory.join("db"))?,
        options,
        writes,
        table_path: directory.join("load.sst"),
    }))
}

struct Rocks {
    db: DB,
    options: Options,
    writes: WriteOptions,
    table_path: PathBuf,
}

impl Store for Rocks {
    fn load_sorted(&mut self, tokens: &mut dyn Iterator<Item = (u64, &[u8])>) -> Outcome {
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&self.table_path)?;
        for (id, value) in tokens {
            writer.put(id.to_be_bytes(), value)?;
        }
        writer.finish()?;
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        self.db
            .ingest_external_file_opts(&ingest, vec![&self.table_path])?;
        if self.table_path.exists() {
            fs::remove_file(&self.table_path)?;
        }
        Ok(())
    }

    fn write(&mut self, changes: &[Change<'_>]) -> Outcome {
        let mut batch = WriteBatch::default();
        for change in changes {
            match change.value {
                Some(value) => batch.put(change.id.to_be_bytes(), value),
                None => batch.delete(change.id.to_be_bytes()),
            }
        }
        Ok(self.db.write_opt(batch, &self.writes)?)
    }

    fn put(&mut self, id: u64, value: &[u8]) -> Outcome {
        Ok(self.db.put_opt(id.to_be_bytes(), value, &self.writes)?)
    }

    fn get_reused(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        let view = self.db.snapshot();
        for id in ids {
            tally.add(view.get_pinned(id.to_be_bytes())?.as_deref());
        }
        Ok(())
    }

    fn get_fresh(&self, ids: &[u64], tally: &mut Tally) -> Outcome {
        for id in ids {
            tally.add(self.db.get_pinned(id.to_be_bytes())?.as_deref());
        }
        Ok(())
    }

    fn scan(&self, tally: &mut Tally) -> Outcome {
        let mut cursor = self.db.raw_iterator();
        cursor.seek_to_first();
        while let Some((key, value)) = cursor.item() {
            tally.add_token(u64::from_be_bytes(key.try_into()?), value);
            cursor.next();
        }
        Ok(cursor.status()?)
    }

    fn flush(&mut self) -> Outcome {
        Ok(self.db.flush_wal(true)?)
    }

    fn compact(&mut self) -> Outcome {
        self.db.flush()?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db
            .compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome {
        // Writes out what is in memory, so that the log is empty at the next start.
        self.db.flush()?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}
