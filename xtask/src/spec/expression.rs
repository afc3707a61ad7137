//! The arithmetic of the document's tables: whole numbers, names, `+ - * /`, parentheses, powers, `floor`, `ceil`, `min`, `log2` of
//! exact fractions.

use crate::Result;

/// An exact fraction, its denominator positive.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    above: i128,
    below: i128,
}

/// The value of an expression, which must be a whole number, with these values of names.
pub(super) fn evaluate(text: &str, given: &[(&str, u64)]) -> Result<u64> {
    let mut parser = Parser { rest: text, given };
    let value = parser.sum().map_err(|flaw| format!("{text:?}: {flaw}"))?;
    parser.skip();
    if !parser.rest.is_empty() {
        return Err(format!("{text:?}: {:?} is left over", parser.rest));
    }
    match value.above % value.below {
        0 => u64::try_from(value.above / value.below).map_err(|_| format!("{text:?} is negative")),
        _ => Err(format!("{text:?} is no whole number for {given:?}")),
    }
}

struct Parser<'t> {
    rest: &'t str,
    given: &'t [(&'t str, u64)],
}

impl<'t> Parser<'t> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, sign: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Result<Fraction> {
        let mut value = self.product()?;
        loop {
            let sign = if self.takes('+') {
                1
            } else if self.takes('-') {
                -1
            } else {
                return Ok(value);
            };
            let other = self.product()?;
            value = Fraction {
                above: value.above * other.below + sign * other.above * value.below,
                below: value.below * other.below,
            };
        }
    }

    fn product(&mut self) -> Result<Fraction> {
        let mut value = self.power()?;
        loop {
            let (above, below) = if self.takes('*') {
                let other = self.power()?;
                (other.above, other.below)
            } else if self.takes('/') {
                let other = self.power()?;
                if other.above <= 0 {
                    return Err("division by nothing".into());
                }
                (other.below, other.above)
            } else {
                return Ok(value);
            };
            value = Fraction {
                above: value.above * above,
                below: value.below * below,
            };
        }
    }

    fn power(&mut self) -> Result<Fraction> {
        let base = self.term()?;
        if !self.takes('^') {
            return Ok(base);
        }
        let exponent = self.term()?;
        let exponent = u32::try_from(exponent.above / exponent.below)
            .map_err(|_| "a power that is no whole number".to_owned())?;
        let above = base.above.checked_pow(exponent).ok_or("too large")?;
        let below = base.below.checked_pow(exponent).ok_or("too large")?;
        Ok(Fraction { above, below })
    }

    fn term(&mut self) -> Result<Fraction> {
        if self.takes('(') {
            let value = self.sum()?;
            return self.closed(value);
        }
        let end = |is_part: fn(char) -> bool| {
            let rest = self.rest;
            rest.find(|c| !is_part(c)).unwrap_or(rest.len())
        };
        let digits = end(|c| c.is_ascii_digit() || c == ',');
        if digits > 0 && self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            // A comma is part of a number only between digits.
            let word = self.rest[..digits].trim_end_matches(',');
            self.rest = &self.rest[word.len()..];
            let above = word.replace(',', "").parse();
            let above = above.map_err(|_| format!("{word} is no number"))?;
            return Ok(Fraction { above, below: 1 });
        }
        let word = end(|c| c.is_ascii_alphanumeric() || c == '_');
        let (word, rest) = self.rest.split_at(word);
        self.rest = rest;
        match word {
            "floor" | "ceil" | "min" => self.function(word),
            _ => match self.given.iter().find(|(name, _)| *name == word) {
                Some(&(_, value)) => Ok(Fraction {
                    above: value.into(),
                    below: 1,
                }),
                None => Err(format!("{word:?} is not known")),
            },
        }
    }

    fn function(&mut self, name: &str) -> Result<Fraction> {
        if !self.takes('(') {
            return Err(format!("{name} without parentheses"));
        }
        let Fraction { above, below } = self.sum()?;
        let value = match name {
            "floor" => above.div_euclid(below),
            "ceil" => -(-above).div_euclid(below),
            _ => {
                if !self.takes(',') {
                    return Err("min of one number".into());
                }
                let other = self.sum()?;
                let first_is_less = above * other.below < other.above * below;
                let least = match first_is_less {
                    true => Fraction { above, below },
                    false => other,
                };
                return self.closed(least);
            }
        };
        let (above, below) = (value, 1);
        self.closed(Fraction { above, below })
    }

    fn closed(&mut self, value: Fraction) -> Result<Fraction> {
        match self.takes(')') {
            true => Ok(value),
            false => Err(format!("no ) before {:?}", self.rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    #[test]
    fn values() {
        let given = [("P", 512), ("n", 3)];
        for (text, expected) in [
            ("272", 272),
            ("65,536", 65_536),
            ("floor((P - 272) / 36)", 6),
            ("ceil(n / 8) + 2 * (n - 1)", 5),
            ("min(P, 4096)", 512),
            ("min(P, n)", 3),
            ("P / 256", 2),
            ("2^63 - 1", (1 << 63) - 1),
            ("0 * n", 0),
        ] {
            assert_eq!(evaluate(text, &given), Ok(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "", "m", "P /", "(P", "n / 2", "n - P", "P P", "1 / 0", "floor n", "min(P)",
        ] {
            assert!(evaluate(text, &[("P", 512), ("n", 3)]).is_err(), "{text}");
        }
    }
}
