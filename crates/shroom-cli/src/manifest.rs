//! Token 0 of an imported directory: what every other token is called (`docs/cli.md`, "The manifest").
//!
//! * M1 The same directory gives the same bytes: entries with content come first and the others after, each
//!   sorted by the bytes of their paths.
//! * M2 The n-th line after the header is token n while it has content, so a reader needs no ids.
//! * M3 A path that was parsed is relative, non-empty, and free of `.`, `..`, empty components and NUL; no path
//!   occurs twice.
//!
//! Absent on purpose: sizes, times, owners. The content is in the tokens; a manifest only names it.

use std::collections::HashSet;

/// First line: the format's name and version.
const HEADER: &[u8] = b"shroom manifest 1";

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file; has content.
    File,
    /// A file that its owner may execute; has content.
    Executable,
    /// A symbolic link to a file in the directory, with that file's content, and the link's target.
    Link(Vec<u8>),
    /// A symbolic link to anything else, or to nothing: its target; no content.
    Symlink(Vec<u8>),
    /// An empty directory; no content.
    Directory,
}

impl Kind {
    /// True when a token holds the entry's content.
    pub(crate) fn has_content(&self) -> bool {
        matches!(self, Self::File | Self::Executable | Self::Link(_))
    }

    fn letter(&self) -> u8 {
        match self {
            Self::File => b'f',
            Self::Executable => b'x',
            Self::Link(_) => b'l',
            Self::Symlink(_) => b's',
            Self::Directory => b'd',
        }
    }

    fn target(&self) -> Option<&[u8]> {
        match self {
            Self::Link(target) | Self::Symlink(target) => Some(target),
            _ => None,
        }
    }
}

/// A named thing in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative path, components separated by `/`; any bytes but NUL.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) kind: Kind,
}

/// The order of entries in a manifest, and so of their tokens (M1).
pub(crate) fn sort(entries: &mut [Entry]) {
    entries.sort_by(|left, right| {
        (!left.kind.has_content(), &left.path).cmp(&(!right.kind.has_content(), &right.path))
    });
}

/// The manifest of sorted `entries`.
pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut text = HEADER.to_vec();
    text.push(b'\n');
    for entry in entries {
        text.push(entry.kind.letter());
        text.push(b'\t');
        escape(&entry.path, &mut text);
        if let Some(target) = entry.kind.target() {
            text.push(b'\t');
            escape(target, &mut text);
        }
        text.push(b'\n');
    }
    text
}

/// Reads a manifest; the message says which line is wrong, and how.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Entry>, String> {
    let body = text
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix(b"\n"))
        .ok_or("token 0 is no manifest: it does not start with 'shroom manifest 1'")?;
    let mut entries = Vec::new();
    let mut paths = HashSet::new();
    let mut content_ended = false;
    for (index, line) in body.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let entry = line
            .strip_suffix(b"\n")
            .ok_or_else(|| "the last line has no end".to_owned())
            .and_then(parse_line)
            .map_err(|message| format!("manifest line {}: {message}", index + 2))?;
        content_ended |= !entry.kind.has_content();
        if content_ended && entry.kind.has_content() {
            return Err(format!(
                "manifest line {}: content after entries without",
                index + 2
            ));
        }
        if !paths.insert(entry.path.clone()) {
            return Err(format!(
                "manifest line {}: {} occurs twice",
                index + 2,
                shown(&entry.path)
            ));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_line(line: &[u8]) -> Result<Entry, String> {
    let mut fields = line.split(|&byte| byte == b'\t');
    let letter = fields.next().unwrap_or_default();
    let path = unescape(fields.next().ok_or("no path")?)?;
    let target = fields.next().map(unescape).transpose()?;
    if fields.next().is_some() {
        return Err("too many fields".to_owned());
    }
    let kind = match (letter, target) {
        (b"f", None) => Kind::File,
        (b"x", None) => Kind::Executable,
        (b"d", None) => Kind::Directory,
        (b"l", Some(target)) => Kind::Link(target),
        (b"s", Some(target)) => Kind::Symlink(target),
        (b"f" | b"x" | b"d", Some(_)) => return Err("a target where none belongs".to_owned()),
        (b"l" | b"s", None) => return Err("a link without a target".to_owned()),
        _ => return Err(format!("unknown kind '{}'", shown(letter))),
    };
    check_path(&path)?;
    if kind
        .target()
        .is_some_and(|target| target.is_empty() || target.contains(&0))
    {
        return Err("a link's target is empty or has a NUL".to_owned());
    }
    Ok(Entry { path, kind })
}

/// Holds M3: a path that could lead out of the directory is refused, not repaired.
fn check_path(path: &[u8]) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("path '{}' {why}: refused", shown(path)));
    if path.first() == Some(&b'/') {
        return refuse("is absolute");
    }
    if path.contains(&0) {
        return refuse("has a NUL");
    }
    // Elsewhere than on Unix these separate components or name drives.
    if cfg!(not(unix)) && path.iter().any(|byte| matches!(byte, b'\\' | b':')) {
        return refuse("has '\\' or ':'");
    }
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" => return refuse("has an empty component"),
            b"." | b".." => return refuse("has a '.' or '..' component"),
            _ => {}
        }
    }
    Ok(())
}

/// True when `target`, followed from the link at `path`, names something inside the directory. Lexical: links on
/// the way are not looked at.
pub(crate) fn stays_inside(path: &[u8], target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return false;
    }
    let mut depth = path.iter().filter(|&&byte| byte == b'/').count();
    for component in target.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

/// A name as a message shows it: the manifest's own escapes.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut text = Vec::new();
    escape(name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Appends `name` with backslashes, control characters and whatever is not UTF-8 as `\xHH`: always valid UTF-8 on
/// one line, without tabs.
fn escape(name: &[u8], text: &mut Vec<u8>) {
    let byte_escape = |byte: u8| format!("\\x{byte:02x}").into_bytes();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let encoded = character.encode_utf8(&mut buffer).as_bytes();
            if character == '\\' || character.is_control() {
                encoded
                    .iter()
                    .for_each(|&byte| text.extend(byte_escape(byte)));
            } else {
                text.extend_from_slice(encoded);
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|&byte| text.extend(byte_escape(byte)));
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        let value = match tail {
            [b'x', high, low, ..] => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        let (high, low) = value.ok_or("a backslash that starts no \\xHH")?;
        name.push(high << 4 | low);
        rest = &tail[3..];
    }
    Ok(name)
}

/// The value of a hexadecimal digit, of either case.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        Entry {
            path: path.to_vec(),
            kind,
        }
    }

    #[test]
    fn every_kind_and_every_byte_survives() {
        let every_byte: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
        let mut entries = vec![
            entry(b"empty", Kind::Directory),
            entry(b"b/run me", Kind::Executable),
            entry(&every_byte, Kind::File),
            entry(
                "b/\u{e9}\u{1f344}".as_bytes(),
                Kind::Link(b"../a\tb".to_vec()),
            ),
            entry(b"gone", Kind::Symlink(b"/nowhere\n".to_vec())),
        ];
        sort(&mut entries);
        let text = encode(&entries);
        assert!(std::str::from_utf8(&text).is_ok());
        assert_eq!(parse(&text), Ok(entries));
    }

    #[test]
    fn content_comes_first_and_in_byte_order() {
        let mut entries = vec![
            entry(b"a", Kind::Directory),
            entry(b"b.txt", Kind::File),
            entry(b"b/c", Kind::File),
            entry(b"B", Kind::File),
        ];
        sort(&mut entries);
        assert_eq!(
            encode(&entries),
            b"shroom manifest 1\nf\tB\nf\tb.txt\nf\tb/c\nd\ta\n"
        );
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in [
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "",
            "a\\x00b",
        ] {
            let text = format!("shroom manifest 1\nf\t{path}\n");
            assert!(parse(text.as_bytes()).is_err(), "{path:?}");
        }
        // An escape cannot smuggle in what the plain text may not say.
        assert!(parse(b"shroom manifest 1\nf\t\\x2e\\x2e/x\n").is_err());
        assert!(parse(b"shroom manifest 1\nf\t\\x2fx\n").is_err());
    }

    #[test]
    fn malformed_manifests_are_refused() {
        let bodies: [&[u8]; 11] = [
            b"f\ta",
            b"f\n",
            b"q\ta\n",
            b"\n",
            b"f\ta\tb\n",
            b"l\ta\n",
            b"s\ta\t\n",
            b"l\ta\tb\tc\n",
            b"f\ta\\x0\n",
            b"f\ta\nf\ta\n",
            b"d\ta\nf\tb\n",
        ];
        for body in bodies {
            let text = [b"shroom manifest 1\n", body].concat();
            assert!(parse(&text).is_err(), "{:?}", shown(body));
        }
        assert!(parse(b"").is_err());
        assert!(parse(b"shroom manifest 2\n").is_err());
        assert_eq!(parse(b"shroom manifest 1\n"), Ok(Vec::new()));
    }

    #[test]
    fn targets_are_followed_by_name() {
        for (path, target) in [
            ("a", "b"),
            ("a/b", "../c"),
            ("a/b", ".././c/d"),
            ("a", "b/../c"),
        ] {
            assert!(
                stays_inside(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
        for (path, target) in [
            ("a", "/b"),
            ("a", ".."),
            ("a/b", "../../c"),
            ("a", "b/../../c"),
        ] {
            assert!(
                !stays_inside(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
    }
}
