//! `cargo xtask mutations`: deliberate bugs, and which test notices each.
//!
//! A file of xtask/mutations describes one bug: what it does, the source file, text in it, and the text instead. Each is put
//! into a copy of the workspace and the tests are run until one fails. A bug that no test notices fails the task.
//!
//! * M1 The text to replace occurs exactly once, so a mutation that no longer applies is an error, never a pass.
//! * M2 A mutation that does not compile is an error too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::workspace;

/// A test run that takes longer hangs: that counts as noticed.
const RUN_TIME_MAX: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(200);

/// Put deliberate bugs into a copy of the workspace, one at a time, and see that a test fails
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only mutations whose names contain this
    #[arg(default_value = "")]
    filter: String,
}

/// One deliberate bug.
#[derive(Debug, PartialEq, Eq)]
struct Mutation {
    name: String,
    what: String,
    file: PathBuf,
    /// Packages whose tests are run, in this order.
    packages: Vec<String>,
    find: String,
    replace: String,
}

/// Runs all; the error lists those that nothing noticed.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let mutations = read_all(&workspace::root().join("xtask/mutations"))?;
    let chosen: Vec<_> = mutations
        .into_iter()
        .filter(|mutation| mutation.name.contains(&arguments.filter))
        .collect();
    if chosen.is_empty() {
        return Err(format!(
            "no mutation's name contains '{}'",
            arguments.filter
        ));
    }
    let copy = workspace::root().join("target/mutations");
    copy_workspace(&copy)?;
    let mut unnoticed = Vec::new();
    for mutation in &chosen {
        let start = Instant::now();
        let noticed = try_one(&copy, mutation)?;
        let seconds = start.elapsed().as_secs();
        let Mutation { name, what, .. } = mutation;
        match noticed {
            Some(test) => println!("caught    {name}: {what}\n          by {test} ({seconds} s)"),
            None => {
                println!("UNNOTICED {name}: {what} ({seconds} s)");
                unnoticed.push(name.clone());
            }
        }
    }
    if unnoticed.is_empty() {
        println!("all {} mutations are caught", chosen.len());
        return Ok(());
    }
    Err(format!("not caught by any test: {}", unnoticed.join(", ")))
}

/// The mutations of a directory, by name.
fn read_all(directory: &Path) -> Result<Vec<Mutation>> {
    let listing =
        fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = listing.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text =
                fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            parse(&name, &text).map_err(|error| format!("{}: {error}", path.display()))
        })
        .collect()
}

/// Reads `what: ..`, `file: ..`, `tests: ..`, then the text after a line `--- find` and that after `--- replace`.
fn parse(name: &str, text: &str) -> Result<Mutation> {
    let (head, rest) = text.split_once("--- find\n").ok_or("no line '--- find'")?;
    let (find, replace) = rest
        .split_once("--- replace\n")
        .ok_or("no line '--- replace'")?;
    let field = |key: &str| {
        let lines = head.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        values.next().ok_or(format!("no line '{key}: '"))
    };
    Ok(Mutation {
        name: name.to_owned(),
        what: field("what")?.to_owned(),
        file: field("file")?.into(),
        packages: field("tests")?.split(' ').map(str::to_owned).collect(),
        find: find.to_owned(),
        replace: replace.to_owned(),
    })
}

/// Brings a copy of the tracked and new files up to date, so that what has not changed is not compiled again.
fn copy_workspace(copy: &Path) -> Result {
    let output = Command::new("git")
        .current_dir(workspace::root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|error| format!("cannot run git: {error}"))?;
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        let (from, to) = (workspace::root().join(name), copy.join(name));
        let Ok(bytes) = fs::read(&from) else {
            continue; // deleted, not yet committed
        };
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        write(&to, &bytes)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Applies a mutation, runs the tests and takes it back. The first test that failed, if one did.
fn try_one(copy: &Path, mutation: &Mutation) -> Result<Option<String>> {
    let path = copy.join(&mutation.file);
    let original =
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found = original.matches(&mutation.find).count();
    if found != 1 {
        let Mutation { name, file, .. } = mutation;
        return Err(format!(
            "{name}: its text occurs {found} times in {}, expected once",
            file.display()
        ));
    }
    write(
        &path,
        original
            .replace(&mutation.find, &mutation.replace)
            .as_bytes(),
    )?;
    let noticed = run_tests(copy, mutation);
    write(&path, original.as_bytes())?;
    noticed
}

fn run_tests(copy: &Path, mutation: &Mutation) -> Result<Option<String>> {
    for package in &mutation.packages {
        let mut tests = workspace::cargo();
        tests
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", copy.join("target"))
            .args(["test", "--quiet", "--package", package, "--tests"]);
        let built = tests_command(&tests, &["--no-run"]).output();
        let built = built.map_err(|error| format!("cannot run cargo: {error}"))?;
        if !built.status.success() {
            let message = String::from_utf8_lossy(&built.stderr);
            return Err(format!("{} does not compile: {message}", mutation.name));
        }
        if let Some(test) = run_package(copy, &tests, package)? {
            return Ok(Some(test));
        }
    }
    Ok(None)
}

/// The same command with more arguments.
fn tests_command(base: &Command, more: &[&str]) -> Command {
    let mut command = Command::new(base.get_program());
    command.args(base.get_args()).args(more);
    if let Some(directory) = base.get_current_dir() {
        command.current_dir(directory);
    }
    for (key, value) in base.get_envs() {
        if let Some(value) = value {
            command.env(key, value);
        }
    }
    command
}

fn run_package(copy: &Path, tests: &Command, package: &str) -> Result<Option<String>> {
    let log_path = copy.join("target/mutation.log");
    let log = fs::File::create(&log_path).map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let mut child = tests_command(tests, &[])
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        .spawn()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if start.elapsed() > RUN_TIME_MAX => {
                child.kill().map_err(|error| error.to_string())?;
                child.wait().map_err(|error| error.to_string())?;
                return Ok(Some(format!("{package}: a test that does not end")));
            }
            None => std::thread::sleep(POLL),
        }
    };
    if status.success() {
        return Ok(None);
    }
    let log = fs::read_to_string(&log_path).unwrap_or_default();
    let failed = failed_tests(&log);
    Ok(Some(format!("{package}: {failed}")))
}

/// Names of the failed tests in the output of a test run, and the binary that they are in.
fn failed_tests(log: &str) -> String {
    let named = log.lines().filter_map(|line| {
        let name = line.strip_prefix("---- ")?;
        name.strip_suffix(" stdout ----")
    });
    let names: Vec<_> = named.collect();
    let binary = log.lines().find_map(|line| {
        let (_, rerun) = line.split_once("to rerun pass `")?;
        rerun.strip_suffix('`')
    });
    let (first, more) = match names.as_slice() {
        [] => ("a test process that died".to_owned(), 0),
        [first, rest @ ..] => ((*first).to_owned(), rest.len()),
    };
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let binary = binary.map(|binary| format!(" ({binary})"));
    format!("{first}{more}{}", binary.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_still_applies() {
        let mutations = read_all(&workspace::root().join("xtask/mutations")).unwrap();
        assert!(mutations.len() >= 10);
        for mutation in mutations {
            let text = fs::read_to_string(workspace::root().join(&mutation.file)).unwrap();
            let found = text.matches(&mutation.find).count();
            assert_eq!(found, 1, "{}: its text occurs {found} times", mutation.name);
        }
    }

    #[test]
    fn failed_tests_are_named() {
        let log = "\n---- one::two stdout ----\npanicked\n\n---- three stdout ----\nno\n\
                   error: test failed, to rerun pass `-p shroom --test crash`\n";
        assert_eq!(
            failed_tests(log),
            "one::two and 1 more (-p shroom --test crash)"
        );
        assert_eq!(failed_tests(""), "a test process that died");
    }
}
