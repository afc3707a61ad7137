//! `cargo xtask dependencies`: under which licences the crates are that users compile with the engine and the command line, and that
//! each may be used with.
//!
//! What each one is for is in `docs/decisions/0001-dependencies.md`. Advisories are not looked up: that takes the network.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Result;
use crate::workspace::cargo;

/// Licences that ask for no more than to be named.
const ALLOWED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// What is built for users.
const ROOTS: [&str; 2] = ["shroom", "shroom-cli"];

/// Checks the licences, and counts the crates.
pub(crate) fn run() -> Result {
    let failed = |error: &dyn std::fmt::Display| format!("cargo metadata: {error}");
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--features", "shroom/bytes,shroom/serde"])
        .output()
        .map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))?;
    let graph = Graph::read(&metadata).ok_or_else(|| failed(&"not of the form that is known"))?;
    let mut refused = Vec::new();
    for root in ROOTS {
        let crates = graph.built_with(root)?;
        let others = crates.len() - 1;
        println!("{root}: {others} other crates, of all systems and features");
        refused.extend(crates.iter().filter_map(|id| graph.refusal(id)));
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(refused.join("\n")),
    }
}

/// The crates, and which are built with which.
#[derive(Debug, Default)]
struct Graph<'m> {
    /// Name and licence by id.
    crates: BTreeMap<&'m str, (&'m str, &'m str)>,
    /// Ids of the dependencies that are built, by id.
    needs: BTreeMap<&'m str, Vec<&'m str>>,
}

impl<'m> Graph<'m> {
    fn read(metadata: &'m Value) -> Option<Self> {
        let mut graph = Self::default();
        for package in metadata["packages"].as_array()? {
            let licence = package["license"].as_str().unwrap_or("none");
            let entry = (package["name"].as_str()?, licence);
            graph.crates.insert(package["id"].as_str()?, entry);
        }
        for node in metadata["resolve"]["nodes"].as_array()? {
            let needs = graph.needs.entry(node["id"].as_str()?).or_default();
            for dependency in node["deps"].as_array()? {
                let kinds = dependency["dep_kinds"].as_array()?;
                // For tests, or for the models of `cargo xtask models`: not what users build.
                let is_built =
                    |kind: &Value| kind["kind"] != "dev" && kind["target"] != "cfg(shuttle)";
                if kinds.iter().any(is_built) {
                    needs.push(dependency["pkg"].as_str()?);
                }
            }
        }
        Some(graph)
    }

    /// A crate and all that it needs.
    fn built_with(&self, name: &str) -> Result<BTreeSet<&'m str>> {
        let found = self.crates.iter().find(|(_, (known, _))| *known == name);
        let (&root, _) = found.ok_or_else(|| format!("there is no crate {name}"))?;
        let (mut reached, mut open) = (BTreeSet::from([root]), vec![root]);
        while let Some(id) = open.pop() {
            for &need in self.needs.get(id).into_iter().flatten() {
                if reached.insert(need) {
                    open.push(need);
                }
            }
        }
        Ok(reached)
    }

    fn refusal(&self, id: &str) -> Option<String> {
        let &(name, licence) = self.crates.get(id)?;
        (!permits(licence)).then(|| format!("{name}: licence {licence}"))
    }
}

/// Whether an expression of licences can be met with those that are allowed: `AND` binds before `OR`, and `/` is an old `OR`.
fn permits(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    // The few with parentheses are `(A OR B) AND C`: each factor on its own.
    split_outside(&expression, " OR ").iter().any(|terms| {
        split_outside(terms, " AND ").iter().all(|factor| {
            let factor = factor.trim();
            match factor
                .strip_prefix('(')
                .and_then(|rest| rest.strip_suffix(')'))
            {
                Some(inner) => permits(inner),
                None => ALLOWED.contains(&factor),
            }
        })
    })
}

/// The parts between a word, outside of parentheses.
fn split_outside<'e>(expression: &'e str, word: &str) -> Vec<&'e str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (index, letter) in expression.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && index >= start && expression[index..].starts_with(word) => {
                parts.push(&expression[start..index]);
                start = index + word.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_licences() {
        for permitted in [
            "MIT",
            "MIT/GPL-3.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "Zlib AND (GPL-3.0 OR (MIT AND BSL-1.0))",
        ] {
            assert!(permits(permitted), "{permitted}");
        }
        for refused in [
            "none",
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Zlib) AND GPL-3.0",
            "MPL-2.0+",
            "LGPL-2.1 OR MIT AND GPL-3.0",
        ] {
            assert!(!permits(refused), "{refused}");
        }
    }

    #[test]
    fn what_is_only_for_tests_is_not_built() {
        let metadata = serde_json::json!({
            "packages": [
                {"id": "a", "name": "a", "license": "MIT"},
                {"id": "b", "name": "b", "license": "GPL-3.0"},
                {"id": "c", "name": "c", "license": null},
            ],
            "resolve": {"nodes": [
                {"id": "a", "deps": [
                    {"pkg": "b", "dep_kinds": [{"kind": "dev"}]},
                    {"pkg": "c", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                ]},
                {"id": "b", "deps": []},
                {"id": "c", "deps": []},
            ]},
        });
        let graph = Graph::read(&metadata).unwrap();
        let crates = graph.built_with("a").unwrap();
        assert_eq!(crates.into_iter().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(graph.refusal("c").unwrap(), "c: licence none");
        assert_eq!(graph.refusal("a"), None);
        assert!(graph.built_with("d").is_err());
    }
}
