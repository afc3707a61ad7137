//! `shroom shell FILE`: a line protocol on standard input, for people, scripts and other programs.
//!
//! * H1 Answers are written out before the shell waits for input, after a `flush` (whose sync costs far more than the
//!   write), and when there are many; else not. So a peer that works line by line gets each answer at once, and
//!   piped input is not slowed down by small writes.
//! * H2 At the end of input, after `quit`, and at SIGINT or SIGTERM, everything committed is made durable and
//!   the database is closed. An open batch is dropped.
//! * H3 The session is locked for one command at a time, never while a stream is read or written: a signal waits for
//!   a command, but not for a peer.
//!
//! Absent on purpose: the protocol (`command`), what it does (`session`), its answers (`answers`) and the
//! splitting of input (`lines`).

mod answers;
mod command;
mod lines;
mod session;

use std::error::Error;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shroom::Db;

use crate::error::{CliError, Result};
use crate::signals;

use answers::Answers;
use lines::{Line, Lines};
use session::{Next, Session};

/// Longest line: a token of 1 GiB in hexadecimal, and room for the command and the id.
const LINE_LEN_MAX: usize = (2 << 30) + 1024;

/// Answers are written out when there are this many bytes of them, though more input is there.
const ANSWERS_LEN: usize = 64 * 1024;

/// What `--help` says about the protocol.
const PROTOCOL: &str = "\
Commands:
  put ID HEX      store bytes            begin     open a batch
  puts ID TEXT    store text             commit    apply the batch
  append ID HEX   add bytes              abort     drop the batch
  get ID          read a token           flush     make everything durable
  del ID          delete a token         stat [ID] print figures
  ls [A..B]       list ids and lengths   help, quit

Answers, one line each: ok, ok VALUE, none, err MESSAGE.";

/// Read commands from standard input, one a line; each gets one answer line
///
/// Creates the database when it is absent. At the end of input, and at SIGINT or SIGTERM, everything is
/// made durable.
#[derive(Debug, clap::Args)]
#[command(after_help = PROTOCOL)]
pub(crate) struct Arguments {
    /// The database
    file: PathBuf,
}

/// The session, until someone takes it out to close it.
type Shared = Arc<Mutex<Option<Session>>>;

/// Runs the shell to the end of its input.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = CliError::database(&arguments.file);
    let db = Db::open(&arguments.file).map_err(&failed)?;
    let shared: Shared = Arc::new(Mutex::new(Some(Session::new(db))));
    listen(&shared).map_err(CliError::signals)?;

    let prompt = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut output = Output::new(io::stdout());
    let lines = Lines::new(io::stdin(), LINE_LEN_MAX);
    let result = answer_all(&shared, lines, &mut output, prompt);
    let Some(session) = lock(&shared).take() else {
        // A signal came: its thread closes the database and ends the process.
        loop {
            std::thread::park();
        }
    };
    // The answers first: they are true already, and a peer that has gone must not keep the database open.
    let written = output.write_out();
    session.close().map_err(&failed)?;
    result.and(written)
}

/// A whole conversation over any two streams: answers `input` on `output` to its end or to `quit`, then makes everything
/// durable and closes the database. Lines have at most `line_len_max` bytes, line end included.
///
/// # Errors
/// Errors of the streams, and the engine's at the end; those of a command are its answer.
pub fn converse(
    db: Db,
    input: impl Read,
    output: impl Write,
    line_len_max: usize,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let shared: Shared = Arc::new(Mutex::new(Some(Session::new(db))));
    let mut output = Output::new(output);
    let result = answer_all(&shared, Lines::new(input, line_len_max), &mut output, false);
    let written = output.write_out();
    if let Some(session) = lock(&shared).take() {
        session.close()?;
    }
    Ok(result.and(written)?)
}

/// Answers, and the stream that they go to.
struct Output<W> {
    answers: Answers,
    stream: W,
}

impl<W: Write> Output<W> {
    fn new(stream: W) -> Self {
        Self {
            answers: Answers::default(),
            stream,
        }
    }

    fn write_out(&mut self) -> Result<()> {
        self.stream
            .write_all(self.answers.as_bytes())
            .and_then(|()| self.stream.flush())
            .map_err(CliError::output)?;
        self.answers.clear();
        Ok(())
    }
}

/// Answers line after line, until the input ends or the session is gone.
fn answer_all<R: Read, W: Write>(
    shared: &Shared,
    mut lines: Lines<R>,
    output: &mut Output<W>,
    prompt: bool,
) -> Result<()> {
    loop {
        let must_wait = !lines.next_is_buffered();
        if must_wait || output.answers.as_bytes().len() >= ANSWERS_LEN {
            output.write_out()?;
        }
        if must_wait && prompt {
            eprint!("> ");
        }
        let line_len_max = lines.line_len_max();
        let Some(line) = lines.next().map_err(CliError::input)? else {
            return Ok(());
        };
        let next = match (lock(shared).as_mut(), line) {
            (Some(session), Line::Whole(bytes)) => session.execute(bytes, &mut output.answers),
            (Some(_), Line::TooLong) => {
                let message = format_args!("the line has more than {line_len_max} bytes");
                output.answers.err(message);
                Next::Line
            }
            (None, _) => return Ok(()),
        };
        match next {
            Next::Line => {}
            Next::WriteOut => output.write_out()?,
            Next::Leave => return Ok(()),
        }
    }
}

/// Closes the database when a signal asks the process to end (H2).
fn listen(shared: &Shared) -> io::Result<()> {
    let shared = Arc::clone(shared);
    signals::on_signal(move |signal| {
        // Without a session the shell is closing already, and ends by itself.
        let Some(session) = lock(&shared).take() else {
            return;
        };
        let code = match session.close() {
            Ok(()) => CliError::Interrupted(signal).exit_code(),
            Err(error) => {
                eprintln!("shroom: {error}");
                2
            }
        };
        std::process::exit(code.into());
    })
}

/// A panic in a command is a bug, but no reason to lose what was committed before it.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
