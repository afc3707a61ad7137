//! `cargo xtask platforms`: the engine and the command line are checked for other systems, and with the oldest supported compiler.
//!
//! What is not installed is passed over, and that is said: `rustup target add TARGET`, `rustup toolchain install VERSION`. Nothing is
//! run there, and nothing linked, so no linker is needed; nor a C compiler, as BLAKE3 is taken without its assembly.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::workspace::{self, cargo, works};

/// One for each family that the code distinguishes, beside the one this is run on.
const TARGETS: [&str; 2] = ["x86_64-pc-windows-gnu", "aarch64-apple-darwin"];

/// Checks what can be checked here.
pub(crate) fn run() -> Result {
    let (mut checked, mut passed_over) = (0, Vec::new());
    for target in TARGETS {
        if !is_installed(target)? {
            passed_over.push(target.to_owned());
            continue;
        }
        println!("{target}");
        check(
            cargo().args(["clippy", "--target", target]),
            &["--", "-D", "warnings"],
        )?;
        checked += 1;
    }
    let oldest = oldest_compiler()?;
    let toolchain = format!("+{oldest}");
    // Cargo by its name, not the one that runs this: the installer's takes the word that begins with a plus.
    let old = || {
        let mut old = Command::new("cargo");
        old.current_dir(workspace::root()).arg(&toolchain);
        old.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        old
    };
    if works(old().arg("--version")) {
        println!("Rust {oldest}");
        let target = workspace::target_directory("oldest");
        let check_only = ["check", "--locked", "--target-dir"];
        check(old().args(check_only).arg(target), &[])?;
        checked += 1;
    } else {
        passed_over.push(format!("Rust {oldest}"));
    }
    println!("platforms: {checked} of {} checked", TARGETS.len() + 1);
    if !passed_over.is_empty() {
        println!("SKIPPED, not installed: {}", passed_over.join(", "));
    }
    Ok(())
}

/// What users build, with what they may choose.
fn check(command: &mut Command, last: &[&str]) -> Result {
    workspace::run(
        command
            .args(["--quiet", "--package", "shroom", "--package", "shroom-cli"])
            .args(["--features", "bytes,serde,blake3/pure"])
            .args(last),
    )
}

/// Is the standard library for a target there?
fn is_installed(target: &str) -> Result<bool> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|error| format!("cannot run rustc: {error}"))?;
    let directory = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(directory.trim()).is_dir())
}

/// As the workspace's manifest has it.
fn oldest_compiler() -> Result<&'static str> {
    let version = env!("CARGO_PKG_RUST_VERSION");
    match version {
        "" => Err("the manifest names no oldest compiler".to_owned()),
        version => Ok(version),
    }
}
