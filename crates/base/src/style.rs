//! Colour: only where a person sees it, and nothing is said by colour alone.

use crate::host::environment::Environment;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    On,
    Off,
}

/// What colours mean here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Good,
    Bad,
    Warning,
    Calm,
    Strong,
}

impl Colour {
    /// What was `asked` for first, then `NO_COLOR` (<https://no-color.org>), then whether it is a terminal.
    pub fn choose(asked: Option<bool>, environment: &Environment, terminal: bool) -> Self {
        let on = asked.unwrap_or_else(|| {
            terminal && environment.get("NO_COLOR").is_none() && environment.get("TERM") != Some("dumb")
        });
        if on { Self::On } else { Self::Off }
    }

    /// `text` in the escape sequences of `paint` (ECMA-48, SGR), or as it is.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "1;31",
            Paint::Warning => "33",
            Paint::Calm => "2",
            Paint::Strong => "1",
        };
        match self {
            Self::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_beats_the_variable_which_beats_the_terminal() {
        let none: Environment = [("NO_COLOR".to_owned(), "1".to_owned())].into_iter().collect();
        let empty = Environment::default();
        assert_eq!(Colour::choose(None, &empty, true), Colour::On);
        assert_eq!(Colour::choose(None, &empty, false), Colour::Off);
        assert_eq!(Colour::choose(None, &none, true), Colour::Off);
        assert_eq!(Colour::choose(Some(true), &none, false), Colour::On);
        assert_eq!(Colour::choose(Some(false), &empty, true), Colour::Off);
    }
}
