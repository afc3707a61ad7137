//! Syncs a commit, counted from outside: the process runs under strace with few and with many commits, and the difference counts.
//!
//! A write to a file that was opened with `O_DSYNC` or `O_SYNC` is a sync, too; `sync_file_range` is none, since it leaves the device's cache
//! as it is.

use std::collections::HashSet;

/// The calls that sync, and those that are needed to know which writes do.
pub(crate) const CALLS: &str =
    "fsync,fdatasync,msync,syncfs,openat,close,write,pwrite64,writev,pwritev,pwritev2";

/// Number of syncs in a trace of `strace -f`.
pub(crate) fn count(trace: &str) -> u64 {
    let mut synced_files = HashSet::new();
    let mut count = 0;
    for line in trace.lines() {
        let line = line
            .trim_start_matches(|character: char| character.is_ascii_digit() || character == ' ');
        // A call that another thread interrupts is on two lines: what it was given on the first, its result on the second.
        if line.starts_with("<...") {
            continue;
        }
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        let first: &str = rest.split([',', ')']).next().unwrap_or_default();
        match name {
            "fsync" | "fdatasync" | "syncfs" => count += 1,
            "msync" => count += u64::from(rest.contains("MS_SYNC")),
            "openat" => {
                let Some((_, file)) = rest.rsplit_once(" = ") else {
                    continue;
                };
                let file = file.trim().to_owned();
                if rest.contains("O_DSYNC") || rest.contains("O_SYNC") {
                    synced_files.insert(file);
                } else {
                    synced_files.remove(&file);
                }
            }
            "close" => {
                synced_files.remove(first);
            }
            _ => count += u64::from(synced_files.contains(first)),
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_and_synced_writes_count() {
        let trace = "12 openat(AT_FDCWD, \"a\", O_RDWR|O_CREAT, 0644) = 3\n\
            12 openat(AT_FDCWD, \"b\", O_WRONLY|O_DSYNC) = 4\n\
            12 pwrite64(3, \"(4, \"..., 96, 0) = 96\n\
            12 fdatasync(3 <unfinished ...>\n\
            13 pwrite64(4, \"x\", 1, 0) = 1\n\
            12 <... fdatasync resumed>) = 0\n\
            12 msync(0x7f, 4096, MS_ASYNC) = 0\n\
            12 msync(0x7f, 4096, MS_SYNC) = 0\n\
            12 close(4) = 0\n\
            12 openat(AT_FDCWD, \"c\", O_RDWR) = 4\n\
            12 write(4, \"x\", 1) = 1\n\
            12 +++ exited with 0 +++\n";
        assert_eq!(count(trace), 3);
    }
}
