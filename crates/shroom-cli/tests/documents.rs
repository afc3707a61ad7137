//! The commands in the documents do what the documents say.
//!
//! Of each `console` block every line that begins with `$ ` is run, in the order of the document, by one shell in a directory of its
//! own. Each command must succeed; where the block shows what one prints, it must print exactly that. Commands that cannot be run
//! here are listed below with the reason; one that is listed and in no document is a failure, too.

#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Where documents may show commands.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/cli.md",
    "docs/faq.md",
    "docs/tuning.md",
    "docs/architecture.md",
];

/// Beginnings of commands that are not run, and why.
const NOT_RUN: [(&str, &str); 4] = [
    ("cargo install ", "builds everything once more, for minutes"),
    (
        "cargo xtask ",
        "tasks of the workspace: minutes each, and continuous integration runs them",
    ),
    ("cargo test ", "is what runs this test"),
    (".ci/run", "runs this test among all else"),
];

/// What a document's examples import, and a system may lack.
const ZONEINFO: &str = "/usr/share/zoneinfo";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A command of a document.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    command: String,
    /// What the document says that it prints, if it does.
    prints: Option<String>,
    line: usize,
}

/// The commands of the `console` blocks of a text.
fn commands(text: &str) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    let mut is_console = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            is_console = !is_console && language == "console";
        } else if !is_console {
        } else if let Some(command) = line.strip_prefix("$ ") {
            commands.push(Shown {
                command: command.to_owned(),
                prints: None,
                line: index + 1,
            });
        } else {
            let last = commands.last_mut().expect("a block begins with a command");
            let prints = last.prints.get_or_insert_default();
            prints.push_str(line);
            prints.push('\n');
        }
    }
    commands
}

fn reason_not_to_run(command: &str) -> Option<&'static str> {
    NOT_RUN
        .iter()
        .find(|(start, _)| command.starts_with(start))
        .map(|(start, _)| *start)
}

/// Runs commands in one shell; what each printed, and its exit code.
fn run(commands: &[&Shown], directory: &Path) -> Vec<(String, i32)> {
    const MARK: &str = "=== end of command";
    let mut script = String::new();
    for shown in commands {
        script += &shown.command;
        script += &format!("\nprintf '%s %d\\n' '{MARK}' $?\n");
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_shroom"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", binary.parent().unwrap().display());
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .current_dir(directory)
        .env("PATH", path)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let mut results = Vec::new();
    let mut printed = String::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // What is printed last may have no line end.
        match line.split_once(MARK) {
            Some((last, code)) => {
                printed.push_str(last);
                printed.push_str(if last.is_empty() { "" } else { "\n" });
                let code = code.trim().parse().unwrap();
                results.push((std::mem::take(&mut printed), code));
            }
            None => {
                printed.push_str(line);
                printed.push('\n');
            }
        }
    }
    results
}

/// A directory with some files, for systems without time zones.
fn zones(temporary: &TempDir) -> String {
    if Path::new(ZONEINFO).is_dir() {
        return ZONEINFO.to_owned();
    }
    let zones = temporary.path().join("zoneinfo");
    fs::create_dir(&zones).unwrap();
    for zone in 0..60 {
        fs::write(zones.join(format!("zone-{zone}")), vec![zone; 700]).unwrap();
    }
    zones.to_str().unwrap().to_owned()
}

/// What is wrong with a document's commands.
fn check(text: &str) -> Vec<String> {
    let temporary = TempDir::new().unwrap();
    let zones = zones(&temporary);
    let directory = temporary.path().join("work");
    fs::create_dir(&directory).unwrap();
    let mut shown = commands(text);
    shown.retain(|shown| reason_not_to_run(&shown.command).is_none());
    for shown in &mut shown {
        shown.command = shown.command.replace(ZONEINFO, &zones);
    }
    let shown: Vec<_> = shown.iter().collect();
    let results = run(&shown, &directory);
    let mut wrong = Vec::new();
    for (shown, (printed, code)) in shown.iter().zip(&results) {
        let place = format!("line {}, `{}`", shown.line, shown.command);
        if *code != 0 {
            wrong.push(format!("{place}: exit code {code}"));
        }
        if let Some(prints) = shown.prints.as_ref().filter(|prints| *prints != printed) {
            wrong.push(format!("{place}: printed\n{printed}instead of\n{prints}"));
        }
    }
    if results.len() < shown.len() {
        wrong.push(format!(
            "the shell ended after {} of {} commands",
            results.len(),
            shown.len()
        ));
    }
    wrong
}

#[test]
fn every_command_in_the_documents_does_what_they_say() {
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap();
        wrong.extend(
            check(&text)
                .into_iter()
                .map(|flaw| format!("{document}: {flaw}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_run_is_listed_for_a_reason() {
    let mut left_out = BTreeSet::new();
    let mut elsewhere = Vec::new();
    let mut documents: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    documents.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)));
    for document in documents {
        let name = document
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let shown = commands(&fs::read_to_string(&document).unwrap());
        left_out.extend(
            shown
                .iter()
                .filter_map(|shown| reason_not_to_run(&shown.command)),
        );
        let is_run = DOCUMENTS.contains(&&*name);
        let is_plain = |shown: &Shown| !is_run && !shown.command.starts_with("cargo ");
        elsewhere.extend(
            shown
                .into_iter()
                .filter(is_plain)
                .map(|shown| (name.clone(), shown)),
        );
    }
    assert!(
        elsewhere.is_empty(),
        "in documents that are not run: {elsewhere:?}"
    );
    let listed: BTreeSet<_> = NOT_RUN.iter().map(|(start, _)| *start).collect();
    assert_eq!(left_out, listed);
    assert!(NOT_RUN.iter().all(|(_, reason)| !reason.is_empty()));
}

#[test]
fn a_wrong_document_is_noticed() {
    let document =
        |lines: &str| format!("text\n```console\n{lines}```\n$ false\n```rust\n$ false\n```\n");
    let flaws = check(&document("$ echo a\n$ printf 'b\\nc'\nb\nd\n"));
    assert_eq!(
        flaws,
        ["line 4, `printf 'b\\nc'`: printed\nb\nc\ninstead of\nb\nd\n"]
    );
    assert_eq!(
        check(&document(
            "$ echo a > file && cat file\na\n$ x=3\n$ echo $x  # a comment\n3\n"
        )),
        [""; 0]
    );
    assert_eq!(
        check(&document("$ shroom get absent.shroom 1 2> message\n")),
        ["line 3, `shroom get absent.shroom 1 2> message`: exit code 2"]
    );
    assert_eq!(check(&document("$ echo b\na\n")).len(), 1);
    assert_eq!(
        check(&document("$ exit 0\n$ true\n")),
        ["the shell ended after 0 of 2 commands"]
    );
}
