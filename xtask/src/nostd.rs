//! `cargo xtask nostd`: what needs no standard library is built without one.
//!
//! For a processor without an operating system where Rust has one of those targets installed: there is no `std` there, so whatever
//! names it does not build. Else for this machine without the features that need `std`, which finds most of the same.

use std::collections::BTreeSet;
use std::process::Command;

use crate::Result;
use crate::workspace::{self, cargo};

/// The crates that have something to build without their feature `std`.
const CRATES: [&str; 4] = ["shroom-page", "shroom-seg", "shroom-token", "shroom"];

/// Targets without an operating system, the first that is installed is taken.
const BARE_METAL: [&str; 6] = [
    "thumbv7em-none-eabihf",
    "thumbv7em-none-eabi",
    "thumbv7m-none-eabi",
    "riscv32imac-unknown-none-elf",
    "riscv64gc-unknown-none-elf",
    "x86_64-unknown-none",
];

/// Build what needs no standard library without one, for bare metal where that target is installed
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Fail where no bare-metal target is installed, rather than build for this machine
    #[arg(long)]
    bare_metal: bool,
}

/// Lints each crate without its feature `std`, warnings denied.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let installed = installed_targets();
    let target = BARE_METAL
        .into_iter()
        .find(|target| installed.contains(*target));
    if target.is_none() && arguments.bare_metal {
        return Err(format!(
            "no bare-metal target is installed: rustup target add {}",
            BARE_METAL[0]
        ));
    }
    for name in CRATES {
        let mut command = cargo();
        command.args(["clippy", "--no-default-features", "--locked", "--package"]);
        command.arg(name);
        if let Some(target) = target {
            command.args(["--target", target]);
        }
        workspace::run(command.args(["--", "-D", "warnings"]))?;
    }
    match target {
        Some(target) => println!("nostd: {} build for {target}", CRATES.join(", ")),
        None => {
            println!(
                "nostd: {} build without their feature `std`",
                CRATES.join(", ")
            );
            println!(
                "NOT BUILT FOR BARE METAL: no such target is installed, and this machine's has a standard library"
            );
            println!("to install one: rustup target add {}", BARE_METAL[0]);
        }
    }
    Ok(())
}

/// The targets that the toolchain at hand can build for; none where that is not known.
fn installed_targets() -> BTreeSet<String> {
    let sysroot = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .current_dir(workspace::root())
        .args(["--print", "sysroot"])
        .output();
    let Some(sysroot) = sysroot
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
    else {
        return BTreeSet::new();
    };
    let libraries = std::path::Path::new(sysroot.trim()).join("lib/rustlib");
    let Ok(listing) = std::fs::read_dir(libraries) else {
        return BTreeSet::new();
    };
    listing
        .flatten()
        .filter(|target| target.path().join("lib").is_dir())
        .filter_map(|target| target.file_name().into_string().ok())
        .collect()
}
