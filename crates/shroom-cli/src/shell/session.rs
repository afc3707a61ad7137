//! A shell's state, and what its commands do to it.
//!
//! * S1 Every command gets exactly one answer.
//! * S2 `flush` answers `ok` only when everything committed before it is durable.
//! * S3 Reads see what is committed, never an open batch.
//!
//! Absent on purpose: knows no stream and no signal.

use std::fmt::Write;

use shroom::{Db, Result};

use super::answers::Answers;
use super::command::{self, Command, HELP};
use crate::ids::IdRange;

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read another line.
    Line,
    /// Write the answers out, though there is more input: one of them says that something is durable.
    WriteOut,
    /// `quit` was answered.
    Leave,
}

/// An operation that waits for its batch's commit.
#[derive(Debug)]
enum Staged {
    Put(u64, Box<[u8]>),
    Append(u64, Box<[u8]>),
    Delete(u64),
}

/// An open database, and perhaps an open batch.
#[derive(Debug)]
pub(crate) struct Session {
    db: Db,
    batch: Option<Vec<Staged>>,
    scratch: Vec<u8>,
}

impl Session {
    /// A session without a batch.
    pub(crate) fn new(db: Db) -> Self {
        Self {
            db,
            batch: None,
            scratch: Vec::new(),
        }
    }

    /// Executes a line and answers it.
    pub(crate) fn execute(&mut self, line: &[u8], answers: &mut Answers) -> Next {
        let mut scratch = std::mem::take(&mut self.scratch);
        let next = match command::parse(line, &mut scratch) {
            Ok(command) => self.answer(command, answers),
            Err(message) => {
                answers.err(message);
                Next::Line
            }
        };
        self.scratch = scratch;
        next
    }

    fn answer(&mut self, command: Command<'_>, answers: &mut Answers) -> Next {
        match command {
            Command::Put(id, bytes) => match &mut self.batch {
                Some(batch) => stage(answers, batch, Staged::Put(id, bytes.into())),
                None => done(answers, self.db.put(id, bytes)),
            },
            Command::Append(id, bytes) => match &mut self.batch {
                Some(batch) => stage(answers, batch, Staged::Append(id, bytes.into())),
                None => done(answers, self.db.append(id, bytes)),
            },
            Command::Del(id) => match &mut self.batch {
                // Whether there is such a token shows at the commit only.
                Some(batch) => stage(answers, batch, Staged::Delete(id)),
                None => match self.db.delete(id) {
                    Ok(true) => answers.ok(),
                    Ok(false) => answers.none(),
                    Err(error) => answers.err(error),
                },
            },
            Command::Get(id) => found(answers, self.db.get(id), |answers, value| {
                answers.ok_with_bytes(&value)
            }),
            Command::Ls(range) => match self.list(range) {
                Ok(list) if list.is_empty() => answers.ok(),
                Ok(list) => answers.ok_with(list.trim_ascii_end()),
                Err(error) => answers.err(error),
            },
            Command::Stat(Some(id)) => found(answers, self.db.stat(id), |answers, info| {
                answers.ok_with(format_args!(
                    "id={} length={} page={} offset={} pages={}",
                    info.id.0, info.length, info.page.0, info.offset, info.pages
                ));
            }),
            Command::Stat(None) => match self.db.stats() {
                Ok(stats) => answers.ok_with(format_args!(
                    "tokens={} payload={} file={} free={} journal={} overlay={} page_size={}",
                    stats.tokens,
                    stats.payload_bytes,
                    stats.file_bytes,
                    stats.free_bytes,
                    stats.journal_bytes,
                    stats.overlay_bytes,
                    stats.page_size
                )),
                Err(error) => answers.err(error),
            },
            Command::Begin if self.batch.is_some() => answers.err("a batch is open already"),
            Command::Begin => {
                self.batch = Some(Vec::new());
                answers.ok();
            }
            Command::Commit => match self.batch.take() {
                Some(batch) => done(answers, self.commit(&batch)),
                None => answers.err("no batch is open"),
            },
            Command::Abort => match self.batch.take() {
                Some(_) => answers.ok(),
                None => answers.err("no batch is open"),
            },
            Command::Flush => {
                done(answers, self.db.flush());
                return Next::WriteOut;
            }
            Command::Help => answers.ok_with(HELP),
            Command::Quit => {
                answers.ok();
                return Next::Leave;
            }
        }
        Next::Line
    }

    fn commit(&self, operations: &[Staged]) -> Result<()> {
        let mut batch = self.db.batch();
        for operation in operations {
            match operation {
                Staged::Put(id, bytes) => batch.put(*id, bytes),
                Staged::Append(id, bytes) => batch.append(*id, bytes),
                Staged::Delete(id) => batch.delete(*id),
            };
        }
        batch.commit()
    }

    /// `ID LENGTH ID LENGTH ...`, in id order.
    fn list(&self, range: IdRange) -> Result<String> {
        let snapshot = self.db.snapshot();
        let mut list = String::new();
        for id in snapshot.keys(range) {
            if let Some(info) = snapshot.stat(id?)? {
                // Writing to memory does not fail.
                let _ = write!(list, "{} {} ", info.id.0, info.length);
            }
        }
        Ok(list)
    }

    /// Drops an open batch, makes everything durable and closes.
    pub(crate) fn close(self) -> Result<()> {
        self.db.flush()?;
        self.db.close()
    }
}

/// Takes an operation into a batch.
fn stage(answers: &mut Answers, batch: &mut Vec<Staged>, operation: Staged) {
    batch.push(operation);
    answers.ok();
}

/// Answers for an operation.
fn done<T>(answers: &mut Answers, result: Result<T>) {
    match result {
        Ok(_) => answers.ok(),
        Err(error) => answers.err(error),
    }
}

/// Answers for something that may be absent.
fn found<T>(
    answers: &mut Answers,
    result: Result<Option<T>>,
    answer: impl FnOnce(&mut Answers, T),
) {
    match result {
        Ok(Some(thing)) => answer(answers, thing),
        Ok(None) => answers.none(),
        Err(error) => answers.err(error),
    }
}
