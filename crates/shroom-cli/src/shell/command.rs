//! The shell's line protocol: one line to one command.
//!
//! * P1 Parsing never fails in a way that ends the shell: whatever a line holds, it is a command or a message.
//! * P2 A command's bytes are exactly what the line said: hexadecimal decoded, or the text after the id and one
//!   space.
//!
//! Absent on purpose: knows no database and no stream.

use crate::ids::{self, IdRange, parse_id, parse_range};
use crate::manifest::hex_digit;

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Store a token.
    Put(u64, &'a [u8]),
    /// Add bytes to a token's end.
    Append(u64, &'a [u8]),
    /// Read a token.
    Get(u64),
    /// Delete a token.
    Del(u64),
    /// List ids and lengths.
    Ls(IdRange),
    /// Figures of a token, or of the database.
    Stat(Option<u64>),
    /// Open a batch.
    Begin,
    /// Apply the batch.
    Commit,
    /// Drop the batch.
    Abort,
    /// Make everything durable.
    Flush,
    /// Say what there is.
    Help,
    /// Leave.
    Quit,
}

/// Answer to `help`.
pub(crate) const HELP: &str = "put ID HEX | puts ID TEXT | get ID | del ID | append ID HEX | begin | commit | abort \
    | flush | ls [A..B] | stat [ID] | help | quit";

/// Reads a line, without its end. Bytes that need decoding go to `scratch`.
pub(crate) fn parse<'a>(line: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Command<'a>, String> {
    let (verb, rest) = split_word(line);
    let command = match verb {
        b"put" => {
            let (id, digits) = id_and_rest(rest)?;
            Command::Put(id, decode_hex(digits, scratch)?)
        }
        b"puts" => {
            let (id, text) = id_and_rest(rest)?;
            Command::Put(id, text)
        }
        b"append" => {
            let (id, digits) = id_and_rest(rest)?;
            Command::Append(id, decode_hex(digits, scratch)?)
        }
        b"get" => Command::Get(only_id(rest)?),
        b"del" => Command::Del(only_id(rest)?),
        b"ls" => match text(trim(rest))? {
            "" => Command::Ls(ids::ALL),
            range => Command::Ls(parse_range(range)?),
        },
        b"stat" if trim(rest).is_empty() => Command::Stat(None),
        b"stat" => Command::Stat(Some(only_id(rest)?)),
        b"begin" => alone(rest, Command::Begin)?,
        b"commit" => alone(rest, Command::Commit)?,
        b"abort" => alone(rest, Command::Abort)?,
        b"flush" => alone(rest, Command::Flush)?,
        b"help" => alone(rest, Command::Help)?,
        b"quit" => alone(rest, Command::Quit)?,
        b"" => return Err("empty line; 'help' lists the commands".to_owned()),
        _ => {
            return Err(format!(
                "unknown command '{}'; 'help' lists the commands",
                excerpt(verb)
            ));
        }
    };
    Ok(command)
}

/// The first word, and what follows one space after it.
fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&byte| byte == b' ') {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, &[]),
    }
}

fn id_and_rest(rest: &[u8]) -> Result<(u64, &[u8]), String> {
    let (id, rest) = split_word(rest);
    Ok((read_id(id)?, rest))
}

fn only_id(rest: &[u8]) -> Result<u64, String> {
    read_id(trim(rest))
}

fn read_id(word: &[u8]) -> Result<u64, String> {
    // Decimal at once, because piped loads are mostly this; the rest, and every message, is the general reader's.
    if (1..=19).contains(&word.len()) && word.iter().all(u8::is_ascii_digit) {
        return Ok(word
            .iter()
            .fold(0, |id, digit| id * 10 + u64::from(digit - b'0')));
    }
    if word.is_empty() {
        return Err("a token id is missing".to_owned());
    }
    parse_id(text(word)?)
}

fn alone<'a>(rest: &[u8], command: Command<'a>) -> Result<Command<'a>, String> {
    if trim(rest).is_empty() {
        Ok(command)
    } else {
        Err("nothing may follow this command".to_owned())
    }
}

fn decode_hex<'a>(digits: &[u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], String> {
    let digits = trim(digits);
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(format!(
            "{} hexadecimal digits: expected an even number",
            digits.len()
        ));
    }
    scratch.clear();
    scratch.reserve(pairs.len());
    for &[high, low] in pairs {
        match hex_digit(high).zip(hex_digit(low)) {
            Some((high, low)) => scratch.push(high << 4 | low),
            None => return Err(format!("'{}' is not hexadecimal", excerpt(&[high, low]))),
        }
    }
    Ok(scratch)
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

/// A short, printable piece of what was sent, for a message.
fn excerpt(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(24)
        .flat_map(|&byte| std::ascii::escape_default(byte))
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    fn read(line: &str) -> Result<String, String> {
        parse(line.as_bytes(), &mut Vec::new()).map(|command| format!("{command:?}"))
    }

    #[test]
    fn bytes_are_hexadecimal_or_text() {
        let mut scratch = Vec::new();
        assert_eq!(
            parse(b"put 7 00fFa0", &mut scratch),
            Ok(Command::Put(7, &[0, 0xff, 0xa0]))
        );
        assert_eq!(parse(b"put 7", &mut scratch), Ok(Command::Put(7, b"")));
        assert_eq!(parse(b"put 7 ", &mut scratch), Ok(Command::Put(7, b"")));
        assert_eq!(
            parse(b"puts 0x10 two  spaces ", &mut scratch),
            Ok(Command::Put(16, b"two  spaces "))
        );
        assert_eq!(
            parse(b"puts 1  x", &mut scratch),
            Ok(Command::Put(1, b" x"))
        );
        assert_eq!(
            parse(b"puts 1 \xff\x00", &mut scratch),
            Ok(Command::Put(1, b"\xff\x00"))
        );
        assert_eq!(parse(b"puts 1", &mut scratch), Ok(Command::Put(1, b"")));
        assert_eq!(
            parse(b"append 2 61", &mut scratch),
            Ok(Command::Append(2, b"a"))
        );
    }

    #[test]
    fn every_other_command_is_known() {
        let mut scratch = Vec::new();
        assert_eq!(
            parse(b"get 18446744073709551615", &mut scratch),
            Ok(Command::Get(u64::MAX))
        );
        assert_eq!(
            parse(b"get 9999999999999999999", &mut scratch),
            Ok(Command::Get(9_999_999_999_999_999_999))
        );
        assert_eq!(parse(b"del  5 ", &mut scratch), Ok(Command::Del(5)));
        assert_eq!(parse(b"ls", &mut scratch), Ok(Command::Ls(ids::ALL)));
        let range = (Bound::Included(1), Bound::Excluded(3));
        assert_eq!(parse(b"ls 1..3", &mut scratch), Ok(Command::Ls(range)));
        assert_eq!(parse(b"stat", &mut scratch), Ok(Command::Stat(None)));
        assert_eq!(parse(b"stat 3", &mut scratch), Ok(Command::Stat(Some(3))));
        for (line, command) in [
            ("begin", Command::Begin),
            ("commit", Command::Commit),
            ("abort ", Command::Abort),
            ("flush", Command::Flush),
            ("help", Command::Help),
            ("quit", Command::Quit),
        ] {
            assert_eq!(parse(line.as_bytes(), &mut scratch), Ok(command));
        }
    }

    #[test]
    fn malformed_lines_give_a_message_of_one_line() {
        for line in [
            "",
            " ",
            "PUT 1 00",
            "put",
            "put x 00",
            "put 1 0",
            "put 1 0g",
            "put 1 00 00",
            "put 18446744073709551616 00",
            "put -1 00",
            "get",
            "get 1 2",
            "get one",
            "del",
            "append 1 zz",
            "begin now",
            "quit 1",
            "ls 3",
            "ls 9..1",
            "stat x",
            "puts",
            "puts x y",
            "\u{1f344}",
            "put\t1\t00",
        ] {
            let message = read(line).expect_err(line);
            assert!(
                !message.is_empty() && !message.contains('\n'),
                "{line:?}: {message}"
            );
        }
        assert!(parse(b"get \xff", &mut Vec::new()).is_err());
        assert!(parse(b"\xff\xfe", &mut Vec::new()).is_err());
    }
}
