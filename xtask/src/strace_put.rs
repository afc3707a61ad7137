//! `cargo xtask strace-put`: what one durable put costs in system calls.
//!
//! A shell runs under strace and is spoken to line by line. Its answers are writes to standard output, so they mark
//! in the trace where the calls of one `put` and one `flush` begin and end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::workspace::{self, Scratch, works};

/// Bytes that a put may write beyond its payload, before rounding to whole blocks.
const OVERHEAD_MAX: u64 = 256;

/// Block of the file system and of the default page size, in bytes.
const BLOCK_LEN: u64 = 4096;

/// Puts before the measured ones: the first ones make the journal.
const WARM_UP: u64 = 8;

/// The calls that write or sync.
const CALLS: &str = "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,msync,fallocate,ftruncate";

/// Count the syncs and written bytes of one durable put (needs strace; skipped without)
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Payload of the put, in bytes
    #[arg(long, default_value_t = 32)]
    length: u64,
    /// Puts to measure
    #[arg(long, default_value_t = 5)]
    count: u64,
}

/// Measures, prints, and fails when a put costs more than it may.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !works(Command::new("strace").arg("-V")) {
        println!("strace-put: skipped, because strace is not installed");
        return Ok(());
    }
    let shroom = workspace::build_release()?;
    let scratch = Scratch::new("strace")?;
    let trace = scratch.join("trace");
    converse(arguments, &shroom, &scratch.join("db.shroom"), &trace)?;
    let text =
        fs::read_to_string(&trace).map_err(|error| format!("{}: {error}", trace.display()))?;
    let costs = costs(&text);
    // Two answers a put: to `put` and to `flush`. What follows the last answer is the close.
    let wanted = (WARM_UP + arguments.count) as usize * 2;
    if costs.len() <= wanted {
        return Err(format!(
            "the trace has {} answers, expected {wanted}",
            costs.len()
        ));
    }
    let mut failures = 0;
    println!(
        "durable put of {} bytes, {} times:",
        arguments.length, arguments.count
    );
    for pair in costs[WARM_UP as usize * 2..wanted].chunks(2) {
        let cost = pair[0].plus(&pair[1]);
        let allowed = cost.syncs == 1
            && cost.others == 0
            && cost.written <= bytes_max(arguments.length, &cost);
        println!(
            "  {} sync, {} bytes in {} writes, {} other calls{}",
            cost.syncs,
            cost.written,
            cost.writes,
            cost.others,
            if allowed { "" } else { "   <- too much" }
        );
        failures += usize::from(!allowed);
    }
    match failures {
        0 => Ok(()),
        _ => Err(format!(
            "{failures} puts cost more than one fdatasync and {OVERHEAD_MAX} bytes beyond whole blocks"
        )),
    }
}

/// Whole blocks: those that payload and overhead touch, one more where they lie across a boundary.
fn bytes_max(length: u64, cost: &Cost) -> u64 {
    match cost.whole_blocks {
        true => (length + OVERHEAD_MAX).next_multiple_of(BLOCK_LEN) + BLOCK_LEN,
        false => length + OVERHEAD_MAX,
    }
}

/// Puts and flushes, each waiting for its answer.
fn converse(arguments: &Arguments, shroom: &Path, database: &Path, trace: &Path) -> Result {
    let failed = |error: std::io::Error| format!("the traced shell: {error}");
    let mut child = Command::new("strace")
        .args(["-f", "-e", &format!("trace={CALLS}"), "-o"])
        .arg(trace)
        .arg(shroom)
        .arg("shell")
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().ok_or("no pipe to the shell")?;
    let mut stdout = BufReader::new(child.stdout.take().ok_or("no pipe from the shell")?);
    for id in 0..WARM_UP + arguments.count {
        let digits = "a5".repeat(arguments.length as usize);
        for line in [format!("put {id} {digits}\n"), "flush\n".to_owned()] {
            stdin.write_all(line.as_bytes()).map_err(failed)?;
            let mut answer = String::new();
            stdout.read_line(&mut answer).map_err(failed)?;
            if answer != "ok\n" {
                return Err(format!("the shell answered '{}'", answer.trim_end()));
            }
        }
    }
    drop(stdin);
    let status = child.wait().map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the traced shell ended with {status}"))
    }
}

/// What the calls between two answers did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    syncs: u64,
    writes: u64,
    written: u64,
    /// Calls that change the file's length or blocks.
    others: u64,
    /// Every write was of whole blocks.
    whole_blocks: bool,
}

impl Cost {
    fn new() -> Self {
        Self {
            whole_blocks: true,
            ..Self::default()
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            syncs: self.syncs + other.syncs,
            writes: self.writes + other.writes,
            written: self.written + other.written,
            others: self.others + other.others,
            whole_blocks: self.whole_blocks && other.whole_blocks,
        }
    }
}

/// The cost before each answer, in order, and after the last.
fn costs(trace: &str) -> Vec<Cost> {
    let mut costs = Vec::new();
    let mut cost = Cost::new();
    for line in trace.lines() {
        // "PID name(arguments) = result"; a call that another thread interrupts is resumed on a later line, with its
        // result, and counts there.
        let line = line
            .trim_start_matches(|character: char| character.is_ascii_digit() || character == ' ');
        let Some((call, result)) = line.rsplit_once(" = ") else {
            continue;
        };
        let name = match call.strip_prefix("<... ") {
            Some(resumed) => resumed.split(' ').next().unwrap_or_default(),
            None => call.split('(').next().unwrap_or_default(),
        };
        if call.starts_with("write(1,") {
            costs.push(std::mem::replace(&mut cost, Cost::new()));
            continue;
        }
        match name {
            "fsync" | "fdatasync" | "sync_file_range" | "msync" => cost.syncs += 1,
            "fallocate" | "ftruncate" => cost.others += 1,
            _ => {
                let bytes: u64 = result.trim().parse().unwrap_or(0);
                cost.writes += 1;
                cost.written += bytes;
                cost.whole_blocks &= bytes.is_multiple_of(BLOCK_LEN);
            }
        }
    }
    costs.push(cost);
    costs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_cut_at_the_answers() {
        let trace = "12 write(1, \"ok\\n\", 3) = 3\n\
            12 pwrite64(3, \"\\0 = \"..., 96, 8192) = 96\n\
            13 fdatasync(3 <unfinished ...>\n\
            13 <... fdatasync resumed>) = 0\n\
            12 write(1, \"ok\\n\", 3) = 3\n\
            12 fallocate(3, 0, 0, 65536) = 0\n\
            12 +++ exited with 0 +++\n";
        let costs = costs(trace);
        assert_eq!(costs.len(), 3);
        assert_eq!(costs[0], Cost::new());
        assert_eq!(
            costs[1],
            Cost {
                syncs: 1,
                writes: 1,
                written: 96,
                others: 0,
                whole_blocks: false
            }
        );
        assert_eq!(costs[2].others, 1);
    }
}
