//! `cargo xtask api`: what users of the library crates can name is listed in `docs/api`, and is the same there as in the code.
//!
//! The list is made from the compiler's own description of the documented items (rustdoc's JSON), by the crate `public-api`. That
//! description has a version, which changes with the compiler: under another than the one that is known the lists are not
//! compared, and that is said.

use std::fs;
use std::path::{Path, PathBuf};

use public_api::Builder;

use crate::Result;
use crate::workspace::{self, cargo};

/// The version of rustdoc's JSON that `public-api` reads, as the manifest pins it: that of Rust 1.95.
const FORMAT: u64 = 57;
/// The crates, and the features that users may choose. What is for tests is not listed.
const CRATES: [(&str, &str); 4] = [
    ("shroom-page", "std"),
    ("shroom-seg", "std"),
    ("shroom-token", "std"),
    ("shroom", "bytes,serde"),
];
/// Names at the root of the facade, at most: what is needed in the first hour, and modules for the rest.
const ROOT_MAX: usize = 30;

/// Compare the public items of the library crates with docs/api
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write the lists instead
    #[arg(long)]
    update: bool,
}

/// Compares or writes the lists.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut changed = Vec::new();
    for (name, features) in CRATES {
        let json = describe(name, features)?;
        let found = format_of(&json)?;
        if found != FORMAT {
            println!(
                "SKIPPED: this compiler describes public items in version {found}, and version {FORMAT} is what is known here. \
                 The lists in docs/api are NOT compared."
            );
            return Ok(());
        }
        let items = items(&json)?;
        if name == "shroom" {
            check_root(&items)?;
        }
        let listed = workspace::root().join(format!("docs/api/{name}.txt"));
        let text = items.join("\n") + "\n";
        if arguments.update {
            let directory = workspace::root().join("docs/api");
            fs::create_dir_all(&directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
            fs::write(&listed, text).map_err(|error| format!("{}: {error}", listed.display()))?;
        } else if let Some(difference) = difference(&listed, &text)? {
            changed.push(difference);
        }
        println!("{name}: {} public items", items.len());
    }
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the public items are not those of docs/api; `cargo xtask api --update` writes the lists, to be looked at like code.\n{}",
        changed.join("\n")
    ))
}

/// Has the compiler describe a crate; returns the file. It lies in a target directory of its own, so that no build discards
/// the work of another.
fn describe(name: &str, features: &str) -> Result<PathBuf> {
    let target = workspace::target_directory("api");
    workspace::run(
        cargo()
            // Its description is not stable yet; this allows it under any compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json")
            .env("CARGO_TARGET_DIR", &target)
            .args(["rustdoc", "--quiet", "--lib", "--package", name])
            .args(["--features", features]),
    )?;
    Ok(target
        .join("doc")
        .join(format!("{}.json", name.replace('-', "_"))))
}

fn format_of(json: &Path) -> Result<u64> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", json.display());
    let text = fs::read(json).map_err(|error| failed(&error))?;
    let described: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    described["format_version"]
        .as_u64()
        .ok_or_else(|| failed(&"no format_version"))
}

/// One line an item, sorted. What each type gets from the compiler or from impls for all types is left out.
fn items(json: &Path) -> Result<Vec<String>> {
    let api = Builder::from_rustdoc_json(json)
        .omit_auto_trait_impls(true)
        .omit_blanket_impls(true)
        .build()
        .map_err(|error| format!("{}: {error}", json.display()))?;
    Ok(api.items().map(ToString::to_string).collect())
}

/// The facade's root has few names.
fn check_root(items: &[String]) -> Result {
    let names: Vec<&str> = items.iter().filter_map(|item| root_name(item)).collect();
    println!(
        "shroom: {} names at the root: {}",
        names.len(),
        names.join(", ")
    );
    if names.len() > ROOT_MAX {
        return Err(format!(
            "{} names at the root of shroom, expected {ROOT_MAX} at most",
            names.len()
        ));
    }
    Ok(())
}

/// The name that an item adds to the root of the facade: `pub struct shroom::Db` adds `Db`, a method adds none.
fn root_name(item: &str) -> Option<&str> {
    let (kind, rest) = item.split_once(" shroom::")?;
    let kinds = [
        "struct", "enum", "union", "mod", "type", "use", "trait", "fn", "macro", "const", "static",
    ];
    let kind = kind.rsplit(' ').next()?;
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
    // What is behind a path's first word is a path still, also where generics come between: `Value<'_>::len`.
    let is_path = behind.split(['(', ' ', '=']).next()?.contains("::");
    (kinds.contains(&kind) && !is_path).then_some(name)
}

/// The lines that only one of the list and the code has.
fn difference(listed: &Path, found: &str) -> Result<Option<String>> {
    let text =
        fs::read_to_string(listed).map_err(|error| format!("{}: {error}", listed.display()))?;
    if text == found {
        return Ok(None);
    }
    let only = |these: &str, others: &str, sign: char| {
        let others: std::collections::BTreeSet<&str> = others.lines().collect();
        let lines = these.lines().filter(|line| !others.contains(line));
        lines
            .map(|line| format!("{sign} {line}\n"))
            .collect::<String>()
    };
    let (gone, new) = (only(&text, found, '-'), only(found, &text, '+'));
    Ok(Some(format!("{}\n{gone}{new}", listed.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_root() {
        for (item, name) in [
            ("pub struct shroom::Db", Some("Db")),
            ("pub mod shroom::delta", Some("delta")),
            ("pub struct shroom::Value<'a>", Some("Value")),
            (
                "pub type shroom::Result<T, E = shroom::Error> = core::result::Result<T, E>",
                Some("Result"),
            ),
            ("pub use shroom::storage", Some("storage")),
            ("pub mod shroom", None),
            ("pub struct shroom::delta::Delta", None),
            (
                "pub fn shroom::Db::get(&self, id: u64) -> shroom::Result<()>",
                None,
            ),
            ("#[non_exhaustive] pub enum shroom::Error", Some("Error")),
            ("pub fn shroom::Value<'_>::deref(&self) -> &[u8]", None),
            (
                "pub const fn shroom::free(self) -> shroom::Db",
                Some("free"),
            ),
            ("impl shroom::Db", None),
            ("impl core::fmt::Debug for shroom::Db", None),
        ] {
            assert_eq!(root_name(item), name, "{item}");
        }
    }
}
