//! One file for each engine, each behind the feature of its name.

pub(crate) mod bare;
#[cfg(feature = "fjall")]
pub(crate) mod fjall;
pub(crate) mod hash_map;
#[cfg(feature = "lkv")]
pub(crate) mod lkv;
#[cfg(feature = "lmdb")]
pub(crate) mod lmdb;
#[cfg(feature = "parity-db")]
pub(crate) mod parity_db;
#[cfg(feature = "persy")]
pub(crate) mod persy;
#[cfg(feature = "rawdb")]
pub(crate) mod rawdb;
#[cfg(feature = "redb")]
pub(crate) mod redb;
#[cfg(feature = "rocksdb")]
pub(crate) mod rocksdb;
pub(crate) mod shroom;
#[cfg(feature = "sled")]
pub(crate) mod sled;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

#[cfg(test)]
mod tests;
