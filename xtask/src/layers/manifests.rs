//! R1: who depends on whom, as the manifests say.
//!
//! The reader knows the few lines of TOML that dependencies are written in; anything cleverer in a manifest would
//! show as an unknown crate, not pass unseen.

use std::fs;
use std::path::Path;

use crate::Result;

/// The workspace's crates and what of the workspace each may use. A new crate must be entered here.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("shroom-page", &[]),
    ("shroom-seg", &["shroom-page"]),
    ("shroom-token", &["shroom-page", "shroom-seg"]),
    ("shroom", &["shroom-page", "shroom-seg", "shroom-token"]),
    ("shroom-cli", &["shroom"]),
    // The simulation tests the facade, and is a dependency of its tests only.
    ("shroom-sim", &["shroom-page", "shroom"]),
    // The comparison sees what a user sees.
    ("shroom-bench", &["shroom"]),
];

/// Every violation.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let directory = root.join("crates");
    let mut violations = Vec::new();
    let listing =
        fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut found: Vec<_> = listing
        .flatten()
        .filter_map(|child| child.file_name().into_string().ok())
        .collect();
    found.sort();
    for name in found {
        let path = directory.join(&name).join("Cargo.toml");
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        violations.extend(check_manifest(&name, &text));
    }
    Ok(violations)
}

fn check_manifest(name: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "crates/{name}: unknown to the layer rules (xtask/src/layers/manifests.rs)"
        )];
    };
    let own = |dependency: &Dependency| {
        dependency.for_tests && (dependency.name == name || dependency.name == "shroom-sim")
    };
    dependencies(text)
        .into_iter()
        .filter(|dependency| dependency.name.starts_with("shroom") || dependency.name == "xtask")
        .filter(|dependency| !allowed.contains(&&*dependency.name) && !own(dependency))
        .map(|dependency| {
            format!(
                "crates/{name}/Cargo.toml: {name} may not depend on {}",
                dependency.name
            )
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Dependency {
    name: String,
    for_tests: bool,
}

/// The names in every dependency table: `[dependencies]`, `[target.'..'.dependencies]`, `[dependencies.name]`, ...
fn dependencies(text: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut table: Option<bool> = None;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            let for_tests = header.contains("dev-dependencies");
            let (before, after) = match header.rsplit_once("dependencies") {
                Some(parts) => parts,
                None => {
                    table = None;
                    continue;
                }
            };
            table = (after.is_empty() && !before.starts_with("workspace")).then_some(for_tests);
            if let Some(name) = after.strip_prefix('.') {
                found.push(Dependency {
                    name: unquoted(name),
                    for_tests,
                });
            }
        } else if let (Some(for_tests), Some((key, value))) = (table, line.split_once('=')) {
            if line.starts_with('#') {
                continue;
            }
            let name = key.split('.').next().unwrap_or(key);
            found.push(Dependency {
                name: unquoted(name),
                for_tests,
            });
            // `alias = { package = "name" }`: what counts is the package.
            if let Some((_, package)) = value.split_once("package") {
                found.extend(package.split('"').nth(1).map(|name| Dependency {
                    name: name.to_owned(),
                    for_tests,
                }));
            }
        }
    }
    found
}

fn unquoted(name: &str) -> String {
    name.trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upward_dependency_is_found_however_it_is_written() {
        for manifest in [
            "[dependencies]\nshroom-token.workspace = true",
            "[dependencies]\nshroom-token = { path = \"../shroom-token\" }",
            "[dependencies.shroom-token]\nworkspace = true",
            "[target.'cfg(unix)'.dependencies]\n\"shroom-token\" = \"1\"",
            "[build-dependencies]\nshroom-token = \"1\"",
            "[dev-dependencies]\nshroom-token = \"1\"",
            "[dependencies]\nother = { package = \"shroom-token\", version = \"1\" }",
        ] {
            assert_eq!(
                check_manifest("shroom-seg", manifest).len(),
                1,
                "{manifest}"
            );
            assert!(check_manifest("shroom", manifest).is_empty(), "{manifest}");
        }
    }

    #[test]
    fn a_crate_may_test_itself_with_its_features_but_not_depend_on_itself() {
        let tests = "[dev-dependencies]\nshroom-page = { path = \".\", features = [\"faulty\"] }";
        assert!(check_manifest("shroom-page", tests).is_empty());
        assert_eq!(
            check_manifest("shroom-page", "[dependencies]\nshroom-page = \"1\"").len(),
            1
        );
    }

    #[test]
    fn other_tables_and_unknown_crates() {
        let features =
            "[features]\nfaulty = [\"shroom-token/faulty\"]\n[package]\nname = \"shroom-token\"";
        assert!(check_manifest("shroom-seg", features).is_empty());
        assert_eq!(check_manifest("shroom-new", "").len(), 1);
    }
}
