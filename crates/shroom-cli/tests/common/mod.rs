//! What the end-to-end tests share: running the binary, and talking to a shell.

#![expect(dead_code, reason = "each test file uses its own part")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};

/// The binary under test.
pub(crate) fn shroom() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shroom"))
}

/// Runs the binary to its end.
pub(crate) fn run<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Output {
    shroom()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs the binary with `input` on standard input.
pub(crate) fn run_with_input<I: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = I>,
    input: &[u8],
) -> Output {
    let mut child = shroom()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

/// Runs the binary, expects success, and gives what it printed.
pub(crate) fn succeed<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Vec<u8> {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output.stdout
}

/// Runs the binary, expects an exit code, and gives its message.
pub(crate) fn fail<I: AsRef<OsStr>>(code: i32, arguments: impl IntoIterator<Item = I>) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    stderr(&output)
}

/// The output as JSON.
pub(crate) fn json(output: &[u8]) -> serde_json::Value {
    serde_json::from_slice(output).unwrap()
}

/// What went to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running `shroom shell`, spoken to line by line.
pub(crate) struct Shell {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    /// Starts a shell on `file`.
    pub(crate) fn start(file: &Path) -> Self {
        let mut child = shroom()
            .arg("shell")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout,
        }
    }

    /// Sends a line and waits for its answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\n"));
        self.answer()
    }

    /// Sends bytes, and waits for nothing.
    pub(crate) fn send(&mut self, text: &str) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// The next answer, without its line end; empty when the shell has gone.
    pub(crate) fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        answer.trim_end_matches('\n').to_owned()
    }

    /// The shell's input, for a thread of its own.
    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Sends SIGKILL, and counts the whole answers that were on their way.
    pub(crate) fn kill_and_count_answers(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.stdout.split(b'\n').count() as u64
    }

    /// Sends SIGKILL, which nothing can catch.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name, through the system's `kill`, and waits for the end.
    pub(crate) fn signal(mut self, name: &str) -> ExitStatus {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        self.child.wait().unwrap()
    }

    /// Ends the input, and waits for the end.
    pub(crate) fn finish(mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.child.wait().unwrap()
    }
}
