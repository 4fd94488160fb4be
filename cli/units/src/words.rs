//! Words of a value, and a value of words, as systemd takes command lines apart (`systemd.syntax(7)`,
//! `systemd.service(5)`).

use std::fmt::Write as _;
use std::str::Chars;

const UNKNOWN: &str = "an escape that systemd does not know";

/// Takes a value apart at blanks; quotes keep them together, escapes are those of C.
///
/// # Errors
/// What is wrong with it.
pub fn split(value: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, '\\') => word.get_or_insert_default().push(escaped(&mut rest)?),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// What a backslash and the letters behind it stand for.
fn escaped(rest: &mut Chars<'_>) -> Result<char, &'static str> {
    let before = rest.clone();
    let letter = rest.next().ok_or("it ends in a backslash")?;
    Ok(match letter {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        's' => ' ',
        '\\' | '"' | '\'' | ';' => letter,
        'x' => return code(rest, 2, 16),
        'u' => return code(rest, 4, 16),
        'U' => return code(rest, 8, 16),
        '0'..='7' => {
            *rest = before;
            return code(rest, 3, 8);
        }
        _ => return Err(UNKNOWN),
    })
}

/// A letter by its number; two and three digits are a byte, which alone is text only where it is ASCII.
fn code(rest: &mut Chars<'_>, digits: usize, base: u32) -> Result<char, &'static str> {
    let text: String = rest.by_ref().take(digits).collect();
    let whole = text.len() == digits && text.chars().all(|c| c.is_digit(base));
    let most = if digits < 4 { 127 } else { u32::MAX };
    let number = u32::from_str_radix(&text, base).ok();
    // A NUL ends what it is in.
    let number = number.filter(|number| whole && (1..=most).contains(number));
    number.and_then(char::from_u32).ok_or(UNKNOWN)
}

/// Writes words so that systemd takes them apart into the same. `%` and `$` keep the meaning they have for it.
pub(crate) fn join<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let words = words.into_iter().map(|word| quoted(word.as_ref()));
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\' | ';');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut text = String::with_capacity(word.len() + 2);
    text.push('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            // A string takes whatever is written to it.
            c if c.is_control() => write!(text, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_and_escapes_are_systemds() {
        let words = split(r#"a "b c" 'd "e' f\x20g "" \t h\u00e9\101"#).unwrap();
        assert_eq!(words, ["a", "b c", "d \"e", "f g", "", "\t", "héA"]);
        for bad in ["\"a", "'", "a\\", "\\q", "\\x2", "\\x00", "\\9"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_joined_is_split_into_the_same(words in prop::collection::vec("[^\\x00]{0,8}", 0..6)) {
            prop_assert_eq!(split(&join(&words)).unwrap(), words);
        }

        #[test]
        fn no_value_makes_it_fail(value in "[ab\\\\\"' x0-9u%$]{0,12}") {
            split(&value).unwrap_or_default();
        }
    }
}
