//! `cargo xtask features`: the features of the library crates are additive: each builds alone, none, and all together, without a warning.
//!
//! The list is cargo's own, so a new feature is checked as soon as it is there.

use std::collections::BTreeSet;

use crate::Result;
use crate::workspace::{self, cargo};

/// The crates that others build with features of their choice.
const CRATES: [&str; 4] = ["shroom-page", "shroom-seg", "shroom-token", "shroom"];

/// Checks every crate with every set of features.
pub(crate) fn run() -> Result {
    let features = features()?;
    let mut checked = 0;
    for name in CRATES {
        let of_crate = features.iter().filter(|(owner, _)| owner == name);
        let of_crate: Vec<&str> = of_crate.map(|(_, feature)| &**feature).collect();
        if of_crate.is_empty() {
            return Err(format!("{name} has no features, or cargo does not know it"));
        }
        let mut sets = BTreeSet::from([String::new(), of_crate.join(",")]);
        sets.extend(of_crate.into_iter().map(str::to_owned));
        for set in sets {
            println!("{name}: [{set}]");
            workspace::run(
                cargo()
                    .args(["clippy", "--quiet", "--lib", "--package", name])
                    .args(["--no-default-features", "--features", &set])
                    .args(["--", "-D", "warnings"]),
            )?;
            checked += 1;
        }
    }
    println!("features: {checked} sets build without a warning");
    Ok(())
}

/// Each crate of the workspace with each of its features but `default`.
fn features() -> Result<Vec<(String, String)>> {
    let failed = |error: &dyn std::fmt::Display| format!("cargo metadata: {error}");
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|error| failed(&error))?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or_else(|| failed(&"no packages"))?;
    let mut found = Vec::new();
    for package in packages {
        let (Some(name), Some(features)) =
            (package["name"].as_str(), package["features"].as_object())
        else {
            return Err(failed(&"a package without name or features"));
        };
        let features = features.keys().filter(|feature| *feature != "default");
        found.extend(features.map(|feature| (name.to_owned(), feature.clone())));
    }
    Ok(found)
}
