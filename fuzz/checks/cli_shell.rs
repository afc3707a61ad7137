//! Holds the shell's conversation over a database in memory: arbitrary bytes are what a peer sends.
//!
//! * F1 Nothing panics or hangs, and no line ends the conversation but `quit`.
//! * F2 Each line up to the one that says `quit` gets exactly one answer line, of a documented form.
//! * F3 How the bytes arrive, at once or in pieces, changes neither the answers nor the database.
//! * F4 The database that is left is closed and sound, and an answer to `get` that follows is what it holds.
//!
//! Shared by the fuzz target and by the test that replays its seeds.

use std::io::{self, Read};
use std::sync::Arc;

use shroom::storage::MemoryStorage;
use shroom::{Db, Options};

/// Longest line, in bytes: short, so that inputs do go beyond.
const LINE_LEN_MAX: usize = 2_000;

/// Tries an input.
pub(crate) fn examine(input: &[u8]) {
    let (answers, memory) = converse(input, input.len());
    check_answers(input, &answers);
    for piece_len in [1, 7] {
        let (in_pieces, other) = converse(input, piece_len);
        assert!(
            in_pieces == answers,
            "the answers depend on how the input arrives"
        );
        assert!(other.to_bytes() == memory.to_bytes(), "so does the file");
    }
    let db = options()
        .create(false)
        .open_storage(Arc::new(memory.clone()))
        .expect("what the shell closed opens");
    let report = db.verify().expect("verify");
    assert!(report.is_sound(), "{:?}", report.findings);
    check_gets(&db, &memory);
}

fn options() -> Options {
    Options::new().page_size(512).background(false)
}

/// A conversation in which `piece_len` bytes arrive at a time.
fn converse(input: &[u8], piece_len: usize) -> (Vec<u8>, MemoryStorage) {
    let memory = MemoryStorage::new();
    let db = options()
        .open_storage(Arc::new(memory.clone()))
        .expect("a new database");
    let mut answers = Vec::new();
    let pieces = Pieces { input, piece_len };
    shroom_cli::converse(db, pieces, &mut answers, LINE_LEN_MAX).expect("memory does not fail");
    (answers, memory)
}

/// A stream that gives a few bytes at a time.
struct Pieces<'a> {
    input: &'a [u8],
    piece_len: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.piece_len.min(buffer.len()).min(self.input.len());
        let (piece, rest) = self.input.split_at(len);
        buffer[..len].copy_from_slice(piece);
        self.input = rest;
        Ok(len)
    }
}

/// F2. Says what `quit` is on its own, so that the shell's parser is not asked about itself.
fn check_answers(input: &[u8], answers: &[u8]) {
    let lines = input.split_inclusive(|&byte| byte == b'\n');
    let mut expected = 0;
    for line in lines {
        expected += 1;
        let is_quit = line.starts_with(b"quit") && line.len() <= LINE_LEN_MAX && {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let after = &line.strip_suffix(b"\r").unwrap_or(line)[4..];
            after.is_empty() || (after[0] == b' ' && after.trim_ascii().is_empty())
        };
        if is_quit {
            break;
        }
    }
    let answers: Vec<&[u8]> = answers.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(answers.len(), expected, "one answer for each line");
    for answer in answers {
        let answer = answer.strip_suffix(b"\n").expect("an answer has an end");
        let documented = answer == b"ok"
            || answer == b"none"
            || [&b"ok "[..], b"err "]
                .iter()
                .any(|form| answer.starts_with(form) && answer.len() > form.len());
        assert!(documented, "{}", answer.escape_ascii());
        assert!(!answer.contains(&b'\r'), "{}", answer.escape_ascii());
    }
}

/// The second half of F4: what `get` prints is what the library reads.
fn check_gets(db: &Db, memory: &MemoryStorage) {
    let tokens: Vec<(u64, Vec<u8>)> = db
        .iter()
        .map(|token| token.map(|(id, value)| (id, value.to_vec())))
        .collect::<Result<_, _>>()
        .expect("a sound database can be read");
    let mut commands = Vec::new();
    let mut expected = Vec::new();
    for (id, value) in tokens {
        commands.extend_from_slice(format!("get {id}\n").as_bytes());
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        expected.extend_from_slice(format!("ok {digits}").trim_end().as_bytes());
        expected.push(b'\n');
    }
    let db = options()
        .open_storage(Arc::new(MemoryStorage::from_bytes(memory.to_bytes())))
        .expect("open");
    let mut answers = Vec::new();
    shroom_cli::converse(db, &commands[..], &mut answers, LINE_LEN_MAX).expect("converse");
    assert!(answers == expected, "{}", answers.escape_ascii());
}
