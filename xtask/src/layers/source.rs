//! Rust source with comments and literals blanked out, so that words can be looked for.
//!
//! Absent on purpose: no syntax tree; the rules need words and their lines, no more.

/// The code of a source file: comments, strings and characters become spaces; lines stay where they are.
pub(super) fn code(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut index = 0;
    while index < characters.len() {
        let end = literal_end(&characters, index).unwrap_or(index);
        if end == index {
            out.push(characters[index]);
            index += 1;
        } else {
            out.extend(
                characters[index..end]
                    .iter()
                    .map(|&character| if character == '\n' { '\n' } else { ' ' }),
            );
            index = end;
        }
    }
    out
}

/// Where the comment or literal that starts at `start` ends, when one does.
fn literal_end(text: &[char], start: usize) -> Option<usize> {
    let rest = &text[start..];
    let follows_word = start > 0 && is_word(text[start - 1]);
    match rest {
        ['/', '/', ..] => Some(
            start
                + rest
                    .iter()
                    .position(|&character| character == '\n')
                    .unwrap_or(rest.len()),
        ),
        ['/', '*', ..] => Some(start + block_comment_len(rest)),
        ['"', ..] => Some(start + quoted_len(rest, '"')),
        ['r', '"' | '#', ..] if !follows_word => raw_len(&rest[1..]).map(|len| start + 1 + len),
        ['b', 'r', '"' | '#', ..] if !follows_word => {
            raw_len(&rest[2..]).map(|len| start + 2 + len)
        }
        ['\'', '\\', ..] => Some(start + quoted_len(rest, '\'')),
        // `'a'` but not the lifetime `'a`.
        ['\'', _, '\'', ..] => Some(start + 3),
        _ => None,
    }
}

fn quoted_len(text: &[char], quote: char) -> usize {
    let mut index = 1;
    while index < text.len() {
        match text[index] {
            '\\' => index += 2,
            character if character == quote => return index + 1,
            _ => index += 1,
        }
    }
    text.len()
}

/// Length of `#.."..."#..`; none for a raw identifier such as `r#type`.
fn raw_len(text: &[char]) -> Option<usize> {
    let hashes = text
        .iter()
        .take_while(|&&character| character == '#')
        .count();
    if text.get(hashes) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let body = &text[hashes + 1..];
    let end = body
        .windows(closing.len())
        .position(|window| window == closing);
    Some(end.map_or(text.len(), |end| hashes + 1 + end + closing.len()))
}

fn block_comment_len(text: &[char]) -> usize {
    let (mut depth, mut index) = (0, 0);
    while index < text.len() {
        match &text[index..] {
            ['/', '*', ..] => (depth, index) = (depth + 1, index + 2),
            ['*', '/', ..] if depth == 1 => return index + 2,
            ['*', '/', ..] => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    text.len()
}

/// Code before the first inline test module.
pub(super) fn without_tests(code: &str) -> &str {
    code.match_indices("#[cfg(test)]")
        .find(|(start, marker)| {
            let after = code[start + marker.len()..].trim_start();
            after.starts_with("mod ") && has_body(after)
        })
        .map_or(code, |(start, _)| &code[..start])
}

/// Does a module begin with its body, and not name another file?
fn has_body(module: &str) -> bool {
    module
        .find(['{', ';'])
        .is_some_and(|index| module[index..].starts_with('{'))
}

/// The words of the code, each with its line number from 1.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        let words = line
            .split(|character| !is_word(character))
            .filter(|word| !word.is_empty());
        words.map(move |word| (index + 1, word))
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let text = "a /* b /* c */ d */ e // f\n\"g \\\" h\" i 'j' '\\'' k<'l> r#\"m \" n\"# r#o br\"p\" var\"q\"";
        let code = code(text);
        let found: Vec<&str> = words(&code).map(|(_, word)| word).collect();
        assert_eq!(found, ["a", "e", "i", "k", "l", "r", "o", "var"]);
    }
    #[test]
    fn inline_test_modules_are_cut_off() {
        assert_eq!(without_tests("a #[cfg(test)]\nmod tests { b }"), "a ");
        assert_eq!(
            without_tests("a #[cfg(test)] mod tests; b"),
            "a #[cfg(test)] mod tests; b"
        );
    }

    #[test]
    fn words_have_lines() {
        let found: Vec<_> = words("a::b\n c_d").collect();
        assert_eq!(found, [(1, "a"), (1, "b"), (2, "c_d")]);
    }
}
