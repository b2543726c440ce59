//! The words of an `ARG`, `ENV` or `LABEL`: `NAME=VALUE`, quoted or not.

use std::ops::Range;

/// The words of `text`, unquoted, each with its bytes there. Quotes hold white space together, a backslash
/// takes the next character as it is (outside of single quotes).
pub(super) fn split(text: &str) -> Vec<(String, Range<usize>)> {
    let mut words = Vec::new();
    let mut word: Option<(String, usize)> = None;
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        if quote.is_none() && c.is_whitespace() {
            if let Some((text, start)) = word.take() {
                words.push((text, start..at));
            }
            continue;
        }
        let (text, _) = word.get_or_insert_with(|| (String::new(), at));
        match (c, quote) {
            ('\\', None | Some('"')) => text.extend(characters.next().map(|(_, next)| next)),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, _) => text.push(c),
        }
    }
    if let Some((rest, start)) = word {
        words.push((rest, start..text.len()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        let words = |text: &str| split(text).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!(words("A=1 B"), ["A=1", "B"]);
        assert_eq!(words(r#"A="x y" B='a "b"' C=a\ b"#), ["A=x y", "B=a \"b\"", "C=a b"]);
        assert_eq!(words("  "), Vec::<String>::new());
        assert_eq!(words("A=\"open"), ["A=open"]);
        assert_eq!(split("A=1  B=é").last().unwrap().1, 5..9);
    }
}
