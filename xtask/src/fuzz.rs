//! `cargo xtask fuzz [TARGET]`: runs a fuzz target, with what is installed.
//!
//! With cargo-fuzz and a nightly toolchain that runs it. Without, the target is built here with the compiler's own
//! coverage instrumentation and libFuzzer (a C++ compiler is needed), which finds panics and hangs; only the
//! address sanitizer is missing, and the fuzzed crates forbid `unsafe` but for one module.

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use crate::Result;
use crate::workspace::{self, cargo, works};

/// What libFuzzer needs: counters on every edge, and the table of their places.
const INSTRUMENTATION: [&str; 7] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Longest input, in bytes: several pages of every kind.
const INPUT_LEN_MAX: u32 = 256 * 1024;

/// Run a fuzz target for a while, from fuzz/seeds; its corpus grows in fuzz/corpus
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A file of fuzz/fuzz_targets, without its ending
    #[arg(default_value = "open_image")]
    target: String,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Fuzzes; a crash is a failure, and its input is left in fuzz/artifacts.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let fuzz = workspace::root().join("fuzz");
    let target = &arguments.target;
    let source = fuzz.join("fuzz_targets").join(format!("{target}.rs"));
    if !source.is_file() {
        return Err(format!("there is no fuzz target '{target}'"));
    }
    let [corpus, artifacts, seeds] =
        ["corpus", "artifacts", "seeds"].map(|name| fuzz.join(name).join(target));
    for directory in [&corpus, &artifacts, &seeds] {
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let limits = [
        format!("-max_total_time={}", arguments.seconds),
        format!("-max_len={INPUT_LEN_MAX}"),
    ];

    let nightly = || {
        let mut command = Command::new("cargo");
        command
            .current_dir(workspace::root())
            .args(["+nightly", "fuzz"]);
        command
    };
    if works(nightly().arg("--version")) {
        let mut command = nightly();
        command
            .args(["run", target])
            .args([&corpus, &seeds])
            .arg("--")
            .args(limits);
        return workspace::run(&mut command);
    }
    println!("cargo-fuzz or a nightly toolchain is missing: fuzzing without the address sanitizer");
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(artifacts.join(""));
    let mut command = cargo();
    command
        .current_dir(&fuzz)
        .env("RUSTFLAGS", INSTRUMENTATION.join(" "))
        // With a target triple the flags do not reach build scripts and macros.
        .args([
            "run",
            "--release",
            "--target",
            &host()?,
            "--target-dir",
            "target",
        ])
        .args(["--bin", target, "--"])
        .args(limits)
        .arg(prefix)
        .args([corpus, seeds]);
    workspace::run(&mut command)
}

/// The compiler's own target triple.
fn host() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .map_err(|error| format!("cannot run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc does not name its host".to_owned())
}
