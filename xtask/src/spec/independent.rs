//! D4: the reader in another language. Its parser is made from docs/format.ksy; what goes beyond structures (hashes, the journal's
//! chain, the canonical image, proofs) it does by docs/format.md alone, in xtask/independent.
//!
//! What it needs is installed below the target directory. Where that cannot be had, the check is skipped, loudly.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::describe::{describe, first_difference};
use super::{fresh, golden};
use crate::Result;
use crate::workspace::{root, run as run_command, target_directory, works};

/// The description for machines.
const KSY: &str = "docs/format.ksy";
/// Compiler and parser of YAML, by the versions that were tried.
const NODE_PACKAGES: [&str; 2] = ["kaitai-struct-compiler@0.11.0", "js-yaml@5.5.0"];
/// Kaitai's runtime and the two hashes.
const PYTHON_PACKAGES: [&str; 3] = ["kaitaistruct==0.11", "blake3==1.0.11", "xxhash==4.1.0"];

/// What is expected of a file that is not sound; the reader adds what is wrong.
const DAMAGED: &str = "damaged";

/// A file to be read, with what the engine says of it.
struct Job {
    name: String,
    expected: String,
    history: String,
}

/// Reads golden files and this many random files with both readers.
pub(super) fn run(files: u64, seed: u64) -> Result {
    let target = target_directory("spec");
    fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    let Some(python) = prepare(&target)? else {
        return Ok(());
    };
    let directory = target.join("files");
    if directory.exists() {
        let cleared = fs::remove_dir_all(&directory);
        cleared.map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut jobs = Vec::new();
    for (name, bytes) in golden::files()? {
        let expected = golden::described(&name)?;
        jobs.push(write_job(
            &directory,
            &name,
            &bytes,
            &[],
            expected,
            "golden",
        )?);
    }
    for seed in seed..seed + files {
        let fresh = fresh::write(seed).map_err(|error| format!("seed {seed}: {error}"))?;
        let expected = describe(&fresh.bytes).map_err(|error| format!("seed {seed}: {error}"))?;
        let name = format!("seed-{seed}.shroom");
        let expected = expected + &fresh.beside_described()?;
        let (history, beside) = (&fresh.history, fresh.beside());
        jobs.push(write_job(
            &directory,
            &name,
            &fresh.bytes,
            &beside,
            expected,
            history,
        )?);
        let expected = describe(&fresh.changed).unwrap_or_else(|_| DAMAGED.into());
        let name = format!("seed-{seed}-changed.shroom");
        jobs.push(write_job(
            &directory,
            &name,
            &fresh.changed,
            &[],
            expected,
            history,
        )?);
    }
    let names = jobs.iter().map(|job| directory.join(&job.name));
    run_command(
        Command::new(python)
            .arg(root().join("xtask/independent/reader.py"))
            .arg(&target)
            .args(names)
            .env("PYTHONPATH", target.join("python")),
    )?;
    compare(&directory, &jobs)
}

fn write_job(
    directory: &Path,
    name: &str,
    bytes: &[u8],
    beside: &[(String, &[u8])],
    expected: String,
    history: &str,
) -> Result<Job> {
    let write = |name: &str, bytes: &[u8]| {
        fs::write(directory.join(name), bytes).map_err(|error| format!("{name}: {error}"))
    };
    write(name, bytes)?;
    for (rest, bytes) in beside {
        write(&format!("{name}.{rest}"), bytes)?;
    }
    Ok(Job {
        name: name.to_owned(),
        expected,
        history: history.to_owned(),
    })
}

/// The reader has left its description beside each file.
fn compare(directory: &Path, jobs: &[Job]) -> Result {
    let (mut different, mut damaged, mut tokens, mut snapshots) = (0, 0, 0, 0);
    let (mut deltas, mut proofs) = (0, 0);
    for job in jobs {
        let path = directory.join(format!("{}.txt", job.name));
        let got = fs::read_to_string(&path);
        let got = got.map_err(|error| format!("{}: {error}", path.display()))?;
        for line in job.expected.lines() {
            tokens += u64::from(line.starts_with("token "));
            snapshots += u64::from(line.starts_with("snapshot "));
            deltas += u64::from(line.starts_with("delta "));
            proofs += u64::from(line.starts_with("proof "));
        }
        damaged += u64::from(job.expected == DAMAGED);
        if let Some(difference) = difference(&job.expected, &got) {
            different += 1;
            eprintln!("{} ({}), {difference}", job.name, job.history);
        }
    }
    if different > 0 {
        return Err(format!(
            "the independent reader and the engine differ on {different} of {} files",
            jobs.len()
        ));
    }
    println!(
        "spec: an independent reader agrees on {} files, {damaged} of them damaged: {tokens} tokens, {snapshots} named snapshots, \
         {deltas} deltas, {proofs} proofs, all page hashes, page roots, content roots and file hashes",
        jobs.len()
    );
    Ok(())
}

/// How the reader's description differs from the engine's. Of a damaged file both say that it is, each in its words.
fn difference(expected: &str, got: &str) -> Option<String> {
    let says_so = got.lines().any(|line| line.starts_with("damaged: "));
    match expected {
        DAMAGED if says_so => None,
        _ => first_difference(expected, got),
    }
}

/// Installs and generates what the reader needs; the Python to run it with, or `None` when something cannot be had here.
fn prepare(target: &Path) -> Result<Option<&'static OsStr>> {
    let python = OsStr::new("python3");
    for (program, argument) in [
        ("node", "--version"),
        ("npm", "--version"),
        ("python3", "--version"),
    ] {
        if !works(Command::new(program).arg(argument)) {
            return Ok(skipped(&format!("{program} is not installed")));
        }
    }
    let node = target.join("node");
    let installed = [
        ("node", &node, NODE_PACKAGES.join(" ")),
        ("python", &target.join("python"), PYTHON_PACKAGES.join(" ")),
    ];
    for (kind, directory, wanted) in installed {
        // What is there is there as a whole: the note is written last.
        let note = directory.join("installed.txt");
        if fs::read_to_string(&note).is_ok_and(|found| found == wanted) {
            continue;
        }
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let mut command = match kind {
            "node" => Command::new("npm"),
            _ => Command::new(python),
        };
        let words = wanted.split(' ');
        match kind {
            "node" => command
                .args([
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--no-save",
                    "--prefix",
                ])
                .arg(directory)
                .args(words),
            _ => command
                .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
                .arg(directory)
                .args(words),
        };
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
                return Ok(skipped(&format!("{wanted} could not be installed")));
            }
            Err(error) => return Ok(skipped(&format!("{kind} packages: {error}"))),
        }
        fs::write(&note, wanted).map_err(|error| format!("{}: {error}", note.display()))?;
    }
    let generated = target.join("generated");
    fs::create_dir_all(&generated).map_err(|error| format!("{}: {error}", generated.display()))?;
    run_command(
        Command::new("node")
            .arg(root().join("xtask/independent/compile.js"))
            .arg(root().join(KSY))
            .arg(&generated)
            .env("NODE_PATH", node.join("node_modules")),
    )?;
    Ok(Some(python))
}

fn skipped<T>(reason: &str) -> Option<T> {
    println!("spec --independent: SKIPPED. {reason}.");
    println!(
        "spec --independent: nothing was read by the independent reader; everything else was checked."
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_damage_is_no_agreement_by_silence() {
        let sound = "page_size 512\ntag 0\n";
        assert_eq!(difference(sound, sound), None);
        assert_eq!(
            difference(DAMAGED, "page_size 512\ndamaged: a hash\n"),
            None
        );
        for (expected, got) in [
            (sound, "page_size 512\ntag 1\n"),
            (sound, "page_size 512\ndamaged: a hash\n"),
            (sound, ""),
            (DAMAGED, sound),
            (DAMAGED, ""),
        ] {
            assert!(difference(expected, got).is_some(), "{expected} {got}");
        }
    }

    #[test]
    fn fresh_files_are_of_many_kinds_and_sound() {
        for seed in 0..8 {
            let fresh = fresh::write(seed).unwrap();
            let described = describe(&fresh.bytes).unwrap();
            assert!(described.starts_with(&format!("page_size {}\n", 512 << seed)));
            assert!(
                !fresh.beside_described().unwrap().is_empty(),
                "{}",
                fresh.history
            );
        }
    }
}
