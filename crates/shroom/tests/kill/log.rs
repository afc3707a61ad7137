//! What the processes of a world have said: one file, the standard output of them all.
//!
//! A line is one write at the file's end, so it is there whole, and in order, whatever happens to its writer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use shroom::{Error, ErrorKind};

/// The file.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
}

/// What is in it.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Highest batch acknowledged as durable, once a database was opened for writing.
    pub(crate) durable: Option<u64>,
    /// Highest bulk load acknowledged.
    pub(crate) loads: u64,
    /// Files made, filled and flushed, and not yet removed.
    pub(crate) created: BTreeSet<String>,
    /// How often a process found the database locked when it came.
    pub(crate) locked: u64,
    /// The phase that each process is in, or was when it died; by process.
    phases: BTreeMap<String, Vec<String>>,
}

impl Log {
    /// Begins an empty log.
    pub(crate) fn new(path: PathBuf) -> Self {
        File::create(&path).unwrap();
        Self { path }
    }

    /// The log that is there.
    pub(crate) fn existing(path: PathBuf) -> Self {
        Self { path }
    }

    /// For a process's standard output.
    pub(crate) fn append(&self) -> File {
        OpenOptions::new().append(true).open(&self.path).unwrap()
    }

    /// Adds a line from outside.
    pub(crate) fn note(&self, what: &str, of: &str) {
        self.append().write_all(line(what, of).as_bytes()).unwrap();
    }

    /// Everything said so far.
    pub(crate) fn read(&self) -> Said {
        let mut said = Said::default();
        for line in fs::read_to_string(&self.path).unwrap().lines() {
            // Other lines are the test program's own.
            if let Some((what, of)) = line.strip_prefix("# ").and_then(|it| it.split_once(' ')) {
                said.add(what, of);
            }
        }
        said
    }
}

impl Said {
    fn add(&mut self, what: &str, of: &str) {
        match what {
            "durable" => self.durable = self.durable.max(Some(of.parse().unwrap())),
            "loads" => self.loads = self.loads.max(of.parse().unwrap()),
            "created" => assert!(self.created.insert(of.to_owned()), "{of} twice"),
            "removed" => _ = self.created.remove(of),
            "locked" => self.locked += 1,
            "enter" => {
                let (process, phase) = of.split_once(' ').unwrap();
                let phases = self.phases.entry(process.to_owned()).or_default();
                phases.push(phase.to_owned());
            }
            "leave" => _ = self.phases.get_mut(of).unwrap().pop(),
            other => panic!("{other}?"),
        }
    }

    /// Whether a read-only open may fail like this: a creation was killed before anybody could have written.
    pub(crate) fn may_be_blank(&self, error: &Error) -> bool {
        self.durable.is_none() && error.kind() == ErrorKind::NotADatabase
    }

    /// The phases that processes were in at their deaths, when all are dead.
    pub(crate) fn died_in(self) -> impl Iterator<Item = String> {
        self.phases.into_values().flatten()
    }
}

fn line(what: &str, of: &str) -> String {
    // The test program may have left a line unfinished.
    format!("\n# {what} {of}\n")
}

/// Says something on standard output, by one write.
pub(crate) fn say(what: &str, of: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line(what, of).as_bytes()).unwrap();
    out.flush().unwrap();
}
