//! Token ids and id ranges as a user writes them.
//!
//! An id is decimal, or hexadecimal after `0x`. A range is `A..B` (B excluded) or `A..=B`; either end may be left out.

use std::ops::Bound;

/// A range of token ids; usable wherever the library takes `impl RangeBounds<u64>`.
pub(crate) type IdRange = (Bound<u64>, Bound<u64>);

/// Every id.
pub(crate) const ALL: IdRange = (Bound::Unbounded, Bound::Unbounded);

/// Reads an id.
pub(crate) fn parse_id(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hexadecimal) => (hexadecimal, 16),
        None => (text, 10),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && !digits.is_empty();
    match u64::from_str_radix(digits, radix) {
        Ok(id) if plain => Ok(id),
        _ => Err(format!(
            "'{text}' is not a token id: expected 0 to {}, or 0x and hexadecimal digits",
            u64::MAX
        )),
    }
}

/// Reads a range of ids; a range that ends before it starts is refused (the library would hold it to be a bug).
pub(crate) fn parse_range(text: &str) -> Result<IdRange, String> {
    let Some((start, end)) = text.split_once("..") else {
        return Err(format!(
            "'{text}' is not a range: expected A..B, A..=B, A.. or ..B"
        ));
    };
    let low = match start {
        "" => Bound::Unbounded,
        _ => Bound::Included(parse_id(start)?),
    };
    let high = match end.strip_prefix('=') {
        Some(last) => Bound::Included(parse_id(last)?),
        None if end.is_empty() => Bound::Unbounded,
        None => Bound::Excluded(parse_id(end)?),
    };
    match (low, high) {
        (Bound::Included(first), Bound::Included(last) | Bound::Excluded(last)) if first > last => {
            Err(format!("the range {text} ends before it starts"))
        }
        _ => Ok((low, high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decimal_or_hexadecimal() {
        assert_eq!(parse_id("42"), Ok(42));
        assert_eq!(parse_id("0x2a"), Ok(42));
        assert_eq!(parse_id("18446744073709551615"), Ok(u64::MAX));
        for bad in [
            "",
            "-1",
            "+1",
            "4 2",
            "18446744073709551616",
            "0x",
            "0x+1",
            "2a",
            "one",
        ] {
            assert!(parse_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ranges_may_leave_either_end_out() {
        assert_eq!(
            parse_range("3..9"),
            Ok((Bound::Included(3), Bound::Excluded(9)))
        );
        assert_eq!(
            parse_range("3..=9"),
            Ok((Bound::Included(3), Bound::Included(9)))
        );
        assert_eq!(
            parse_range("3.."),
            Ok((Bound::Included(3), Bound::Unbounded))
        );
        assert_eq!(
            parse_range("..0x10"),
            Ok((Bound::Unbounded, Bound::Excluded(16)))
        );
        assert_eq!(parse_range(".."), Ok(ALL));
        assert_eq!(
            parse_range("4..4"),
            Ok((Bound::Included(4), Bound::Excluded(4)))
        );
        for bad in ["", "3", "9..3", "..=", "a..b", "3...9"] {
            assert!(parse_range(bad).is_err(), "{bad:?}");
        }
    }
}
