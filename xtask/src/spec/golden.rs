//! D3: the golden files beside the listing that is committed with them. Every file there is one that some version of the format wrote.

use std::fs;
use std::path::PathBuf;

use super::describe::{describe, first_difference};
use crate::Result;
use crate::workspace;

/// Where golden files and their listing are.
const DIRECTORY: &str = "crates/shroom/tests/golden";
/// The listing.
const LISTING: &str = "listing.txt";

/// The golden files by name, in order.
pub(super) fn files() -> Result<Vec<(String, Vec<u8>)>> {
    let directory = workspace::root().join(DIRECTORY);
    let failed = |error| format!("{DIRECTORY}: {error}");
    let mut files = Vec::new();
    for child in fs::read_dir(&directory).map_err(failed)? {
        let path = child.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "shroom") {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push((name.into_owned(), fs::read(&path).map_err(failed)?));
        }
    }
    files.sort();
    Ok(files)
}

fn listing_path() -> PathBuf {
    workspace::root().join(DIRECTORY).join(LISTING)
}

/// What the engine says of all golden files.
fn listing() -> Result<String> {
    let mut text = String::new();
    for (name, bytes) in files()? {
        let described = describe(&bytes).map_err(|error| format!("{name}: {error}"))?;
        text += &format!(
            "file {name}\nbytes {} blake3:{}\n",
            bytes.len(),
            blake3::hash(&bytes)
        );
        text += &described;
    }
    Ok(text)
}

/// The part of the listing that is of one file, as the independent reader prints it.
pub(super) fn described(name: &str) -> Result<String> {
    let text = fs::read_to_string(listing_path()).map_err(|error| format!("{LISTING}: {error}"))?;
    let head = format!("file {name}\n");
    let part = text
        .split("file ")
        .find(|part| part.starts_with(&head["file ".len()..]));
    let part = part.ok_or_else(|| format!("{name} is not in the listing"))?;
    // Its name, and its bytes.
    Ok(part.splitn(3, '\n').nth(2).unwrap_or_default().to_owned())
}

/// Every difference between the files and the listing.
pub(super) fn differences() -> Result<Vec<String>> {
    let listed =
        fs::read_to_string(listing_path()).map_err(|error| format!("{LISTING}: {error}"))?;
    let found = listing()?;
    println!(
        "golden files: {} with {} lines",
        files()?.len(),
        found.lines().count()
    );
    let difference = first_difference(&listed, &found);
    let version = shroom::format::numbers()
        .into_iter()
        .flat_map(|numbers| numbers.cases)
        .flat_map(|(_, values)| values)
        .find_map(|(name, value)| (name == "version").then_some(value));
    let current = format!("file format-{}", version.unwrap_or_default());
    let sizes = [512, 4096].map(|size| format!("page_size {size}"));
    let missing = sizes
        .iter()
        .chain([&current])
        .filter(|line| !found.lines().any(|found| found.starts_with(&**line)))
        .map(|line| format!("no golden file with {line:?}"));
    Ok(missing
        .chain(difference.map(|flaw| format!("golden files, {flaw}")))
        .collect())
}

/// Writes the listing anew.
pub(super) fn update() -> Result {
    fs::write(listing_path(), listing()?).map_err(|error| format!("{LISTING}: {error}"))
}
