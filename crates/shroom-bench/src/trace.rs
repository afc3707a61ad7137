//! What durable commits cost, seen from outside: the process runs under strace. It looks at the device's own counter when the
//! measured commits begin and when they end, which shows in the trace; what is between the last two such looks counts.
//!
//! A write to a file that was opened with `O_DSYNC` or `O_SYNC` is a sync, too; `sync_file_range` is none, since it leaves the
//! device's cache as it is.

use std::collections::{HashMap, HashSet};

use crate::process::DEVICES;

/// How strace is to be called: threads too, contents of buffers left out.
pub(crate) const OPTIONS: [&str; 5] = ["-f", "-s", "0", "-e", CALLS];

/// The calls that sync and write, and those that are needed to know where a write goes.
const CALLS: &str =
    "trace=fsync,fdatasync,msync,syncfs,openat,close,lseek,write,pwrite64,writev,pwritev,pwritev2";

/// Blocks of the device and of the page cache, in bytes.
pub(crate) const BLOCK_LEN: u64 = 4096;

/// Syncs, and blocks of files that were written: a block that is written again before its file is synced counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) syncs: u64,
    pub(crate) blocks: u64,
}

/// The cost of what a trace shows between the last two looks at the device's counter; `None` where there are not two.
pub(crate) fn cost(trace: &str) -> Option<Cost> {
    let mut files = Files::default();
    // A call that another thread interrupts is on two lines: what it was given on the first, its result on the second.
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, begun);
        } else if call.starts_with("<...") {
            let rest = call.split_once("resumed>").map(|(_, rest)| rest);
            if let Some((begun, rest)) = unfinished.remove(process).zip(rest) {
                files.take(&format!("{begun}{rest}"));
            }
        } else {
            files.take(call);
        }
    }
    let [.., begin, end] = files.looks[..] else {
        return None;
    };
    Some(Cost {
        syncs: end.syncs - begin.syncs,
        blocks: end.blocks - begin.blocks,
    })
}

/// The open files, by descriptor.
#[derive(Debug, Default)]
struct Files {
    open: HashMap<String, File>,
    cost: Cost,
    /// The cost so far at each look at the device's counter.
    looks: Vec<Cost>,
}

#[derive(Debug, Default)]
struct File {
    /// Each write is a sync.
    is_synced: bool,
    /// Where the next write without a place goes. A file that is appended to is taken to begin empty.
    position: u64,
    /// Blocks written since the last sync.
    dirty: HashSet<u64>,
}

impl Files {
    /// Takes in one call: `name(arguments) = result`. Calls that failed change nothing.
    fn take(&mut self, call: &str) -> Option<()> {
        let (call, result) = call.rsplit_once(" = ")?;
        let result: u64 = result.split(' ').next()?.parse().ok()?;
        let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        let arguments: Vec<&str> = arguments.split(", ").collect();
        let descriptor = *arguments.first()?;
        match name {
            "openat" => {
                let path = arguments.get(1)?.trim_matches('"');
                if path.starts_with(DEVICES) && path.ends_with("/stat") {
                    self.looks.push(self.cost);
                }
                let flags = arguments.get(2)?;
                let file = File {
                    is_synced: flags.contains("O_DSYNC") || flags.contains("O_SYNC"),
                    ..File::default()
                };
                self.open.insert(result.to_string(), file);
            }
            "close" => {
                let file = self.open.remove(descriptor)?;
                self.cost.blocks += file.dirty.len() as u64;
            }
            "lseek" => self.open.get_mut(descriptor)?.position = result,
            "fsync" | "fdatasync" => {
                self.cost.syncs += 1;
                let dirty = std::mem::take(&mut self.open.get_mut(descriptor)?.dirty);
                self.cost.blocks += dirty.len() as u64;
            }
            "syncfs" => self.cost.syncs += 1,
            "msync" => self.cost.syncs += u64::from(arguments.get(2)?.contains("MS_SYNC")),
            _ => {
                let place = match name {
                    "pwrite64" | "pwritev" => Some(arguments.last()?.parse().ok()?),
                    "pwritev2" => Some(arguments.iter().nth_back(1)?.parse().ok()?),
                    _ => None,
                };
                self.write(descriptor, place, result)?;
            }
        }
        Some(())
    }

    fn write(&mut self, descriptor: &str, place: Option<u64>, len: u64) -> Option<()> {
        let file = self.open.get_mut(descriptor)?;
        let start = place.unwrap_or(file.position);
        if place.is_none() {
            file.position = start + len;
        }
        let blocks = start / BLOCK_LEN..(start + len).div_ceil(BLOCK_LEN);
        if file.is_synced {
            self.cost.syncs += 1;
            self.cost.blocks += blocks.end - blocks.start;
        } else {
            file.dirty.extend(blocks);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cost of the whole trace.
    fn whole(trace: &str) -> Option<Cost> {
        const LOOK: &str =
            "1 openat(AT_FDCWD, \"/sys/dev/block/8:0/stat\", O_RDONLY|O_CLOEXEC) = 77\n";
        cost(&format!("{LOOK}{trace}{LOOK}"))
    }

    #[test]
    fn what_is_not_between_the_last_two_looks_does_not_count() {
        let look = "1 openat(AT_FDCWD, \"/sys/dev/block/8:0/stat\", O_RDONLY|O_CLOEXEC) = 7\n";
        let commit = "1 pwrite64(3, \"\"..., 96, 0) = 96\n1 fdatasync(3) = 0\n";
        let trace = format!(
            "1 openat(AT_FDCWD, \"a\", O_RDWR) = 3\n{look}{commit}{look}{commit}{commit}{look}{commit}"
        );
        assert_eq!(
            cost(&trace),
            Some(Cost {
                syncs: 2,
                blocks: 2
            })
        );
        assert_eq!(cost(&format!("{look}{commit}")), None);
    }

    #[test]
    fn syncs_and_blocks_count() {
        let trace = "12 openat(AT_FDCWD, \"a\", O_RDWR|O_CREAT, 0644) = 3\n\
            12 openat(AT_FDCWD, \"b\", O_WRONLY|O_DSYNC) = 4\n\
            12 pwrite64(3, \"\"..., 96, 0) = 96\n\
            12 pwrite64(3, \"\"..., 96, 96) = 96\n\
            12 pwrite64(3, \"\"..., 10, 4090) = 10\n\
            12 fdatasync(3 <unfinished ...>\n\
            13 pwrite64(4, \"\"..., 1, 0) = 1\n\
            12 <... fdatasync resumed>) = 0\n\
            12 msync(0x7f, 4096, MS_ASYNC) = 0\n\
            12 msync(0x7f, 4096, MS_SYNC) = 0\n\
            12 close(4) = 0\n\
            12 openat(AT_FDCWD, \"c\", O_RDWR) = 4\n\
            12 write(4, \"\"..., 1) = 1\n\
            12 write(1, \"\"..., 100) = 100\n\
            12 fdatasync(99) = -1 EBADF (Bad file descriptor)\n\
            12 +++ exited with 0 +++\n";
        // Two blocks of the first file, one of the second; none of the third, which nobody synced.
        assert_eq!(
            whole(trace),
            Some(Cost {
                syncs: 3,
                blocks: 3
            })
        );
    }

    #[test]
    fn writes_without_a_place_go_on_where_the_last_one_ended() {
        let trace = "1 openat(AT_FDCWD, \"log\", O_WRONLY|O_APPEND) = 5\n\
            1 write(5, \"\"..., 4000) = 4000\n\
            1 fsync(5) = 0\n\
            1 writev(5, [{iov_base=\"\"..., iov_len=100}, {iov_base=\"\"..., iov_len=100}], 2) = 200\n\
            1 fsync(5) = 0\n\
            1 lseek(5, 0, SEEK_SET) = 0\n\
            1 write(5, \"\"..., 8) = 8\n\
            1 pwritev2(5, [{iov_base=\"\"..., iov_len=8}], 1, 8192, 0) = 8\n\
            1 fsync(5) = 0\n";
        assert_eq!(
            whole(trace),
            Some(Cost {
                syncs: 3,
                blocks: 1 + 2 + 2
            })
        );
    }
}
