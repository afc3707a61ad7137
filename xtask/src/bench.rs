//! `cargo xtask bench`: the comparison with the peers, and with `--counts` the instructions of hot operations beside a baseline.
//!
//! Times of a shared machine vary by tens of per cent; instructions repeat, so a regression shows anywhere. The baseline holds
//! for the compiler that it names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::workspace::{self, Scratch, works};

/// More than so many times the baseline's instructions is a failure.
const RATIO_MAX: f64 = 1.03;

/// The function that callgrind counts inside.
const MEASURED: &str = "shroom_bench::counts::measured*";

/// Compare with the peers, or count instructions of hot operations (--counts)
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Count instructions under callgrind and compare with the baseline (needs valgrind; skipped without)
    #[arg(long)]
    counts: bool,
    /// Count, and make the result the new baseline
    #[arg(long, requires = "counts")]
    update: bool,
    /// With --counts: these operations only
    #[arg(long, value_delimiter = ',', requires = "counts")]
    operations: Vec<String>,
    /// For shroom-bench itself, after `--`; see its `--help`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the comparison, or the counts.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !arguments.counts {
        return workspace::run(
            workspace::cargo()
                .args(["run", "--release", "--package", "shroom-bench", "--"])
                .args(&arguments.rest),
        );
    }
    if !works(Command::new("valgrind").arg("--version")) {
        println!("bench --counts: skipped, because valgrind is not installed");
        return Ok(());
    }
    let binary =
        workspace::build_binary("shroom-bench", "shroom-bench", &["--no-default-features"])?;
    let baseline = Baseline::read(&baseline_path())?;
    let compiler = compiler()?;
    if baseline.compiler != compiler && !arguments.update {
        println!(
            "the baseline was counted with {}, this is {compiler}: ratios may differ by that alone",
            baseline.compiler
        );
    }
    let mut counts = BTreeMap::new();
    for operation in operations(&binary)? {
        if arguments.operations.is_empty() || arguments.operations.contains(&operation) {
            let count = count(&binary, &operation)?;
            println!(
                "{}",
                line(&operation, baseline.counts.get(&operation), count)
            );
            counts.insert(operation, count);
        }
    }
    if counts.is_empty() {
        return Err("no operation has that name".to_owned());
    }
    if arguments.update {
        let mut all = baseline.counts;
        all.extend(counts);
        return Baseline {
            compiler,
            counts: all,
        }
        .write(&baseline_path());
    }
    judge(&baseline.counts, &counts)
}

fn baseline_path() -> PathBuf {
    workspace::root().join("crates/shroom-bench/counts.txt")
}

/// The names of all operations.
fn operations(binary: &Path) -> Result<Vec<String>> {
    let text = output(Command::new(binary).arg("count"))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Instructions an operation.
fn count(binary: &Path, operation: &str) -> Result<f64> {
    let scratch = Scratch::new("counts")?;
    let file = scratch.join("callgrind.out");
    let text = output(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
            .arg(format!("--toggle-collect={MEASURED}"))
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(binary)
            .args(["count", operation]),
    )?;
    let times: f64 = text
        .trim()
        .parse()
        .map_err(|_| format!("{operation}: '{}' is no number of operations", text.trim()))?;
    let profile =
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    match instructions(&profile) {
        Some(total) if total > 0 => Ok(total as f64 / times),
        _ => Err(format!("{operation}: nothing was counted")),
    }
}

/// The sum in a profile.
fn instructions(profile: &str) -> Option<u64> {
    let total = |name: &str| profile.lines().find_map(|line| line.strip_prefix(name));
    total("totals: ")
        .or_else(|| total("summary: "))?
        .trim()
        .parse()
        .ok()
}

fn output(command: &mut Command) -> Result<String> {
    let shown = workspace::shown(command);
    let output = command
        .output()
        .map_err(|error| format!("cannot run {shown}: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{shown} ended with {}: {}",
            output.status,
            text.trim()
        ));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{shown}: {error}"))
}

/// The compiler and what it compiles for, in a line.
fn compiler() -> Result<String> {
    let text = output(Command::new("rustc").arg("--version"))?;
    Ok(format!("{}, {}", text.trim(), std::env::consts::ARCH))
}

fn line(operation: &str, before: Option<&f64>, count: f64) -> String {
    match before {
        Some(before) => {
            let ratio = count / before;
            let mark = if ratio > RATIO_MAX {
                "  <- too many"
            } else {
                ""
            };
            format!("{operation:<12} {count:>12.1}   baseline {before:>12.1}   {ratio:.3} x{mark}")
        }
        None => format!("{operation:<12} {count:>12.1}   not in the baseline"),
    }
}

fn judge(before: &BTreeMap<String, f64>, counts: &BTreeMap<String, f64>) -> Result {
    let failed: Vec<_> = counts
        .iter()
        .filter(|(name, count)| {
            before
                .get(*name)
                .is_none_or(|before| *count / before > RATIO_MAX)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    match failed.len() {
        0 => Ok(()),
        _ => Err(format!(
            "more than {RATIO_MAX} x the instructions of the baseline, or not in it: {}",
            failed.join(", ")
        )),
    }
}

/// The committed counts.
#[derive(Debug, Default, PartialEq)]
struct Baseline {
    compiler: String,
    counts: BTreeMap<String, f64>,
}

impl Baseline {
    const HEADER: &str = "# Instructions an operation; cargo xtask bench --counts --update writes this file. Compiler: ";

    /// Empty when there is no file.
    fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).ok_or_else(|| format!("{}: cannot be understood", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let compiler = lines.next()?.strip_prefix(Self::HEADER)?.to_owned();
        let counts = lines
            .map(|line| {
                let (name, count) = line.split_once(' ')?;
                Some((name.to_owned(), count.trim().parse().ok()?))
            })
            .collect::<Option<_>>()?;
        Some(Self { compiler, counts })
    }

    fn text(&self) -> String {
        let mut text = format!("{}{}\n", Self::HEADER, self.compiler);
        for (name, count) in &self.counts {
            let _ = writeln!(text, "{name} {count:.1}");
        }
        text
    }

    fn write(&self, path: &Path) -> Result {
        fs::write(path, self.text()).map_err(|error| format!("{}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        let owned = pairs.iter().map(|&(name, count)| (name.to_owned(), count));
        owned.collect()
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let baseline = Baseline {
            compiler: "rustc 9, z80".to_owned(),
            counts: counts(&[("get", 511.5), ("put", 2000.0)]),
        };
        assert_eq!(Baseline::parse(&baseline.text()), Some(baseline));
        assert_eq!(Baseline::parse("get 1\n"), None);
        assert_eq!(
            Baseline::parse(&format!("{}x\nget one\n", Baseline::HEADER)),
            None
        );
    }

    #[test]
    fn more_instructions_and_new_operations_fail() {
        let before = counts(&[("get", 100.0), ("put", 100.0)]);
        assert!(judge(&before, &counts(&[("get", 103.0), ("put", 50.0)])).is_ok());
        assert!(judge(&before, &counts(&[("get", 103.1)])).is_err());
        assert!(judge(&before, &counts(&[("scan", 1.0)])).is_err());
        assert!(line("get", Some(&100.0), 104.0).ends_with("1.040 x  <- too many"));
    }

    #[test]
    fn the_sum_of_a_profile_is_found() {
        assert_eq!(
            instructions("events: Ir\nfn=(1) x\n0 5\n\ntotals: 1234\n"),
            Some(1234)
        );
        assert_eq!(instructions("events: Ir\nsummary: 77\n"), Some(77));
        assert_eq!(instructions("events: Ir\n"), None);
    }
}
