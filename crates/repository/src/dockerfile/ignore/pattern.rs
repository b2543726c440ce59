//! One pattern: what `*`, `?`, `**`, `[a-z]` and `\` mean, with the shortcuts and the edges of moby's own.

use std::fmt;

/// A cleaned pattern, ready to match.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    /// Written with `!`: it takes back.
    pub(super) exception: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Exact,
    /// `name/**`, without the stars.
    Prefix(String),
    /// `**/name`, without the stars.
    Suffix(String),
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Character(char),
    /// `?`: one that is no slash.
    One,
    /// `*`: any that are no slash.
    Star,
    /// `**/`: any folders, or none.
    Folders,
    /// `**` at the end.
    All,
    /// `[a-z]`, `[^a]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `^` outside of a class, or an escaped letter, which the original passes on to regular expressions.
    Never,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.exception {
            true => "!",
            // A name that begins with `!` would be read as one that takes back.
            false if self.text.starts_with('!') => "/",
            false => "",
        };
        write!(f, "{sign}{}", self.text)
    }
}

impl Pattern {
    /// # Errors
    /// Why no engine takes it.
    pub(super) fn new(text: &str, exception: bool) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), exception, kind: compile(text)? })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => path == self.text,
            Kind::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Kind::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path),
            Kind::Tokens(tokens) => matches(tokens, &path.chars().collect::<Vec<char>>()),
        }
    }
}

fn compile(text: &str) -> Result<Kind, String> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut prefix, mut suffix, mut special) = (false, false, false);
    let mut at = 0;
    while let Some(c) = characters.get(at) {
        let first = at == 0;
        at += 1;
        match c {
            '*' if characters.get(at) == Some(&'*') => {
                at += 1;
                if characters.get(at) == Some(&'/') {
                    at += 1;
                }
                let last = at == characters.len();
                tokens.push(if last { Token::All } else { Token::Folders });
                if first {
                    suffix = true;
                } else if last && !special && !suffix {
                    prefix = true;
                } else {
                    special = true;
                }
            }
            '*' | '?' => {
                tokens.push(if *c == '*' { Token::Star } else { Token::One });
                special = true;
            }
            '[' => {
                let (class, next) = class(&characters, at).ok_or_else(|| bad(text))?;
                tokens.push(class);
                at = next;
                special = true;
            }
            '\\' => {
                let escaped = characters.get(at).ok_or_else(|| bad(text))?;
                // Passed on as it is: an escaped letter is no letter in a regular expression.
                let letter = escaped.is_ascii_alphanumeric();
                tokens.push(if letter { Token::Never } else { Token::Character(*escaped) });
                at += 1;
                special = true;
            }
            '^' => tokens.push(Token::Never),
            c => tokens.push(Token::Character(*c)),
        }
    }
    let plain = |text: &str| text.to_owned();
    Ok(match (special, suffix, prefix) {
        (true, ..) => Kind::Tokens(tokens),
        (_, true, _) => Kind::Suffix(plain(&text[2..])),
        (_, _, true) => Kind::Prefix(plain(&text[..text.len() - 2])),
        _ => Kind::Exact,
    })
}

fn bad(text: &str) -> String {
    format!("`{text}` is no pattern: a `[` that is not closed, or a `\\` with nothing behind it")
}

/// The class whose `[` stands before `at`, and where it ends.
fn class(characters: &[char], mut at: usize) -> Option<(Token, usize)> {
    let negated = characters.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        if characters.get(at) == Some(&']') && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        let low = one(characters, &mut at)?;
        let high = if characters.get(at) == Some(&'-') {
            at += 1;
            one(characters, &mut at)?
        } else {
            low
        };
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
}

/// A character of a class, which may be escaped; `]` and `-` must be.
fn one(characters: &[char], at: &mut usize) -> Option<char> {
    let mut c = *characters.get(*at)?;
    if matches!(c, ']' | '-') {
        return None;
    }
    if c == '\\' {
        *at += 1;
        c = *characters.get(*at)?;
    }
    *at += 1;
    Some(c)
}

/// Every place of `path` that the tokens so far can have reached, a token at a time.
fn matches(tokens: &[Token], path: &[char]) -> bool {
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for token in tokens {
        let mut next = vec![false; path.len() + 1];
        match token {
            Token::Star | Token::All => {
                let mut open = false;
                for at in 0..=path.len() {
                    open |= reached[at];
                    next[at] = open;
                    let stops = |c: &char| if *token == Token::Star { *c == '/' } else { *c == '\n' };
                    open &= !path.get(at).is_some_and(stops);
                }
            }
            Token::Folders => {
                let mut open = false;
                for at in 0..=path.len() {
                    next[at] = reached[at] || (open && at > 0 && path[at - 1] == '/');
                    open |= reached[at];
                    open &= path.get(at) != Some(&'\n');
                }
            }
            single => {
                for at in 0..path.len() {
                    next[at + 1] = reached[at] && accepts(single, path[at]);
                }
            }
        }
        reached = next;
    }
    reached[path.len()]
}

fn accepts(token: &Token, c: char) -> bool {
    match token {
        Token::Character(wanted) => *wanted == c,
        Token::One => c != '/',
        Token::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
        Token::Star | Token::Folders | Token::All | Token::Never => false,
    }
}
