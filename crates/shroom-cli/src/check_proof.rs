//! `shroom check-proof ROOT ID [PATH|-]`: verifies a proof, without a database.

use std::io::{Read, Write};
use std::path::PathBuf;

use serde_json::json;
use shroom::PageRoot;
use shroom::proof::Proof;

use crate::error::{CliError, Result};
use crate::ids::parse_id;
use crate::input::open_source;
use crate::output::{self, Format};

/// Verify a proof, and say what it proves; exits with 1 when it does not hold
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The page root, from a source that is trusted: 64 hexadecimal digits
    #[arg(value_parser = parse_root)]
    root: PageRoot,
    /// Token id
    #[arg(value_parser = parse_id)]
    id: u64,
    /// Where the proof is; - is standard input
    #[arg(default_value = "-")]
    path: PathBuf,
    /// Print the token's raw bytes; exit with 1 when it is proven absent
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    format: Format,
}

/// Verifies the proof.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (mut source, read_failed) = open_source(&arguments.path)?;
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).map_err(read_failed)?;
    let proof = Proof::from_bytes(bytes);
    let id = arguments.id;
    let value = proof
        .verify(arguments.root.as_bytes(), id)
        .map_err(|error| CliError::Absent(error.to_string()))?;
    match (&value, arguments.raw) {
        (Some(value), true) => {
            let mut out = output::stdout();
            out.write_all(value)
                .and_then(|()| out.flush())
                .map_err(CliError::output)
        }
        (None, true) => Err(CliError::Absent(format!("token {id} is proven absent"))),
        _ if arguments.format.json => output::print_json(&json!({
            "id": id,
            "present": value.is_some(),
            "length": value.as_ref().map(Vec::len),
        })),
        (Some(value), false) => {
            output::print_text(&format!("token {id} is present: {} bytes", value.len()))
        }
        (None, false) => output::print_text(&format!("token {id} is absent")),
    }
}

/// Reads a page root as `hash` prints it.
fn parse_root(text: &str) -> Result<PageRoot, String> {
    let wrong = || format!("{} characters, expected 64 hexadecimal digits", text.len());
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong());
    }
    let mut root = [0; 32];
    for (byte, pair) in root.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(root.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_read_as_it_is_printed() {
        let root = PageRoot::from(std::array::from_fn(|index| index as u8 * 7));
        assert_eq!(parse_root(&root.to_string()), Ok(root));
        assert_eq!(parse_root(&root.to_string().to_uppercase()), Ok(root));
        let digits = "0".repeat(62);
        for wrong in [
            "",
            &digits,
            &format!("{digits}0"),
            &format!("+1{digits}"),
            &format!("{digits}0g"),
            &format!("{digits}000"),
        ] {
            assert!(parse_root(wrong).is_err(), "{wrong}");
        }
        assert!(parse_root(&"\u{e4}".repeat(32)).is_err());
    }
}
