//! `cargo xtask fuzz [TARGET|all]`: runs fuzz targets, with what is installed, and sums up what they did.
//!
//! With cargo-fuzz and a nightly toolchain that builds them. Without, they are built here with the compiler's own
//! coverage instrumentation and libFuzzer (a C++ compiler is needed), which finds panics and hangs; only the
//! address sanitizer is missing, and the fuzzed crates forbid `unsafe` but for one module.
//!
//! What a target prints goes to `fuzz/artifacts/TARGET/log`, and an input that it finds beside it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Result;
use crate::workspace::{self, cargo, grouped, works};

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
/// Longest time that an input may take, in seconds: more is a hang. By the clock, so that a run beside other work needs room:
/// inputs of 40 ms were once called hangs of 10 s.
const INPUT_SECONDS_MAX: u32 = 60;
/// Most memory that a target may take, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;

/// Run fuzz targets for a while, from fuzz/seeds; their corpora grow in fuzz/corpus
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A file of fuzz/fuzz_targets, without its ending, or 'all'
    #[arg(default_value = "all")]
    target: String,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// How many targets run at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
}

/// Fuzzes; a crash, a hang or too much memory is a failure, and its input is left in fuzz/artifacts.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let fuzz = workspace::root().join("fuzz");
    let known = targets(&fuzz)?;
    let chosen: Vec<String> = match &arguments.target[..] {
        "all" => known,
        one if known.iter().any(|target| target == one) => vec![one.to_owned()],
        other => {
            let known = known.join(", ");
            return Err(format!("there is no fuzz target '{other}', only: {known}"));
        }
    };
    let programs = Programs::build(&fuzz, &chosen)?;
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = fuzz_one(&fuzz, &programs, target, arguments.seconds);
                    // A panic in another thread takes nothing from what it noted.
                    let mut outcomes = outcomes.lock().unwrap_or_else(|lock| lock.into_inner());
                    outcomes.push((target, outcome));
                }
            });
        }
    });
    let outcomes = outcomes
        .into_inner()
        .unwrap_or_else(|lock| lock.into_inner());
    let mut failures = Vec::new();
    println!("target            executions  seconds   edges");
    for (target, outcome) in outcomes {
        match outcome {
            Ok(figures) => println!("{target:16} {figures}"),
            Err(failure) => failures.push(format!("{target}: {failure}")),
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}

/// Names of the targets, in order.
fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let directory = fuzz.join("fuzz_targets");
    let failed = |error| format!("{}: {error}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Some(name) = path.file_stem().filter(|_| path.extension().is_some()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The built targets.
enum Programs {
    /// cargo-fuzz builds them as it runs them.
    CargoFuzz,
    /// Where they are.
    Built(PathBuf),
}

impl Programs {
    fn build(fuzz: &Path, targets: &[String]) -> Result<Self> {
        if works(cargo_fuzz().arg("--version")) {
            for target in targets {
                workspace::run(cargo_fuzz().args(["build", target]))?;
            }
            return Ok(Self::CargoFuzz);
        }
        println!(
            "cargo-fuzz or a nightly toolchain is missing: fuzzing without the address sanitizer"
        );
        let host = host()?;
        let directory = fuzz.join("target");
        let mut command = cargo();
        command
            .current_dir(fuzz)
            .env("RUSTFLAGS", INSTRUMENTATION.join(" "))
            .args(["build", "--release", "--target-dir"])
            .arg(&directory)
            // With a target triple the flags do not reach build scripts and macros.
            .args(["--target", &host]);
        for target in targets {
            command.args(["--bin", target]);
        }
        workspace::run(&mut command)?;
        Ok(Self::Built(directory.join(host).join("release")))
    }

    fn command(&self, target: &str) -> Command {
        match self {
            Self::CargoFuzz => {
                let mut command = cargo_fuzz();
                command.args(["run", target]);
                command
            }
            Self::Built(directory) => {
                Command::new(directory.join(format!("{target}{}", std::env::consts::EXE_SUFFIX)))
            }
        }
    }
}

fn cargo_fuzz() -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(workspace::root())
        .args(["+nightly", "fuzz"]);
    command
}

/// Runs a target to its end. Its figures, or why it failed.
fn fuzz_one(fuzz: &Path, programs: &Programs, target: &str, seconds: u32) -> Result<Figures> {
    let [corpus, artifacts, seeds] =
        ["corpus", "artifacts", "seeds"].map(|name| fuzz.join(name).join(target));
    for directory in [&corpus, &artifacts, &seeds] {
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let log = artifacts.join("log");
    let failed = |error| format!("{}: {error}", log.display());
    let output = File::create(&log).map_err(failed)?;
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(artifacts.join(""));
    let mut command = programs.command(target);
    command.args([&corpus, &seeds]);
    if matches!(programs, Programs::CargoFuzz) {
        command.arg("--");
    }
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_LEN_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg("-print_final_stats=1")
        .arg(prefix)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output);
    println!("fuzzing {target}");
    workspace::run(&mut command).map_err(|error| format!("{error}; see {}", log.display()))?;
    let text = fs::read(&log).map_err(failed)?;
    Figures::read(&String::from_utf8_lossy(&text))
        .ok_or_else(|| format!("{} has no figures", log.display()))
}

/// What a run of libFuzzer came to.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    executions: u64,
    seconds: u64,
    /// Edges of the program that some input took.
    edges: u64,
}

impl Figures {
    /// Reads what libFuzzer prints in the end.
    fn read(log: &str) -> Option<Self> {
        let number = |line: &str, name: &str| -> Option<u64> {
            let (_, after) = line.split_once(name)?;
            after.split_whitespace().next()?.parse().ok()
        };
        let last = |name: &str| log.lines().rev().find_map(|line| number(line, name));
        Some(Self {
            executions: last("stat::number_of_executed_units:")?,
            seconds: last(" runs in ")?,
            edges: last(" cov: ")?,
        })
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [executions, seconds, edges] = [self.executions, self.seconds, self.edges].map(grouped);
        write!(f, "{executions:>11} {seconds:>8} {edges:>7}")
    }
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

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn figures_are_those_of_the_end() {
        let log = "#2\tINITED cov: 10 ft: 12 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #4096\tpulse  cov: 1234 ft: 20 corp: 3/9b lim: 4 exec/s: 2048 rss: 31Mb\n\
            #5000\tDONE   cov: 1240 ft: 21 corp: 3/9b lim: 4 exec/s: 2500 rss: 31Mb\n\
            Done 5000 runs in 2 second(s)\n\
            stat::number_of_executed_units: 5000\nstat::average_exec_per_sec:     2500\n";
        let figures = Figures {
            executions: 5000,
            seconds: 2,
            edges: 1240,
        };
        assert_eq!(Figures::read(log), Some(figures));
        assert_eq!(Figures::read("Done 5000 runs in 2 second(s)\n"), None);
    }
}
