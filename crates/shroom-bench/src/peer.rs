//! The peers: what each is called, which version and settings, and what it can do.

use crate::peers;
use crate::store::Open;

/// In which order a scan visits tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    Ordered,
    Unordered,
    Missing,
}

/// One engine with its settings.
#[derive(Debug)]
pub(crate) struct Peer {
    /// On the command line, in the tables and in the results.
    pub(crate) name: &'static str,
    /// The crate whose version counts; empty: the standard library.
    pub(crate) package: &'static str,
    /// What was chosen, beside the defaults.
    pub(crate) settings: &'static str,
    /// A limit, to be shown but not to be beaten.
    pub(crate) is_limit: bool,
    /// Keeps files that a later process can open.
    pub(crate) has_files: bool,
    /// Can make a commit durable before it returns.
    pub(crate) can_sync: bool,
    /// Can commit without a sync; otherwise it takes no part in rows of many small commits that are not synced.
    pub(crate) can_skip_sync: bool,
    /// Is to be compacted after a load, before it is read from.
    pub(crate) wants_compaction: bool,
    pub(crate) can_compact: bool,
    /// Can be read from; otherwise it takes part in durable writes only.
    pub(crate) can_read: bool,
    pub(crate) scan: Scan,
    /// Takes part in no workload with more tokens: time and space would be absurd.
    pub(crate) tokens_max: u64,
    /// Takes part only in workloads about size.
    pub(crate) size_only: bool,
    pub(crate) open: Open,
    /// With the smallest pages, where the peer can be told.
    pub(crate) open_small: Option<Open>,
}

impl Peer {
    /// What most peers have in common.
    pub(crate) const fn new(name: &'static str, package: &'static str, open: Open) -> Self {
        Self {
            name,
            package,
            settings: "",
            is_limit: false,
            has_files: true,
            can_sync: true,
            can_skip_sync: true,
            wants_compaction: false,
            can_compact: true,
            can_read: true,
            scan: Scan::Ordered,
            tokens_max: u64::MAX,
            size_only: false,
            open,
            open_small: None,
        }
    }

    /// The version that was built in, from the lock file.
    pub(crate) fn version(&self) -> String {
        if self.package.is_empty() {
            return String::new();
        }
        version_in(include_str!("../../../Cargo.lock"), self.package).unwrap_or_default()
    }
}

/// The newest version of a package that a lock file names. (Dependencies of peers may need older ones.)
fn version_in(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let versions = lock.split("[[package]]").filter_map(|entry| {
        let mut lines = entry.lines().skip_while(|line| *line != name);
        lines.next()?;
        lines
            .next()?
            .strip_prefix("version = \"")?
            .strip_suffix('"')
    });
    versions.last().map(str::to_owned)
}

/// All peers that were built in: ours first, then the limits, then the others.
pub(crate) fn all() -> Vec<Peer> {
    let mut peers = Vec::new();
    peers.extend([
        peers::shroom::PEER,
        peers::hash_map::PEER,
        peers::bare::PEER,
    ]);
    #[cfg(feature = "redb")]
    peers.push(peers::redb::PEER);
    #[cfg(feature = "lmdb")]
    peers.push(peers::lmdb::PEER);
    #[cfg(feature = "sqlite")]
    peers.push(peers::sqlite::PEER);
    #[cfg(feature = "rocksdb")]
    peers.extend([peers::rocksdb::PEER, peers::rocksdb::ZSTD]);
    #[cfg(feature = "fjall")]
    peers.push(peers::fjall::PEER);
    #[cfg(feature = "lkv")]
    peers.push(peers::lkv::PEER);
    #[cfg(feature = "sled")]
    peers.push(peers::sled::PEER);
    #[cfg(feature = "parity-db")]
    peers.push(peers::parity_db::PEER);
    #[cfg(feature = "persy")]
    peers.push(peers::persy::PEER);
    #[cfg(feature = "rawdb")]
    peers.push(peers::rawdb::PEER);
    peers
}

/// The peer of a name.
pub(crate) fn named(name: &str) -> Option<Peer> {
    all().into_iter().find(|peer| peer.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_versions_are_known() {
        let peers = all();
        for (index, peer) in peers.iter().enumerate() {
            assert!(peers[..index].iter().all(|other| other.name != peer.name));
            assert_eq!(
                peer.version().is_empty(),
                peer.package.is_empty(),
                "{}",
                peer.name
            );
            assert!(!peer.settings.is_empty(), "{}", peer.name);
        }
    }

    #[test]
    fn the_newest_of_several_versions_counts() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0\"\n\n[[package]]\nname = \"a\"\nversion = \"2.0\"\n\n[[package]]\nname = \"ab\"\nversion = \"3.0\"\n";
        assert_eq!(version_in(lock, "a").as_deref(), Some("2.0"));
        assert_eq!(version_in(lock, "b"), None);
    }
}
