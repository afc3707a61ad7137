//! D1, the other way round: no struct of the code that lies in a file is left out of what is compared.
//!
//! What has a fixed layout is `#[repr(C)]` here; such a struct is said by `format_fields!` in its own file.

use std::fs;
use std::path::Path;

use crate::Result;
use crate::layers;
use crate::workspace;

/// The crates whose structs lie in files.
const CRATES: [&str; 4] = ["shroom-page", "shroom-seg", "shroom-token", "shroom"];

/// Every struct that is left out.
pub(super) fn differences() -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let (root, mut count) = (workspace::root(), 0);
    for path in layers::list(&root)? {
        let is_source = |name| path.starts_with(Path::new("crates").join(name).join("src"));
        if !CRATES.iter().any(is_source) {
            continue;
        }
        let text = fs::read_to_string(root.join(&path))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let structs = structs_of(&text);
        count += structs.len();
        let left_out = structs
            .iter()
            .filter(|found| !text.contains(&format!("format_fields!({found} {{")));
        differences.extend(left_out.map(|found| {
            let path = path.display();
            format!("{path}: struct {found} has a fixed layout and is not compared")
        }));
    }
    println!("code: {count} structs of a fixed layout");
    Ok(differences)
}

/// Names of the structs with a fixed layout.
fn structs_of(text: &str) -> Vec<&str> {
    let layouts = text.match_indices("#[repr(C");
    let name = |(at, _): (usize, &str)| {
        let (_, rest) = text[at..].split_once("struct ")?;
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
        Some(&rest[..end])
    };
    layouts.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_found_by_their_layout() {
        let text = "#[repr(C)]\npub struct One {\n}\nstruct Two;\n#[derive(A)]\n#[repr(C, packed)]\nstruct Three(u8);\n";
        assert_eq!(structs_of(text), ["One", "Three"]);
        assert!(differences().unwrap().is_empty());
    }
}
