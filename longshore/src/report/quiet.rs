//! Nothing but failures, at the end.

use crate::event::{Event, Summary};

use super::{Reporter, Writer, summary, tell};
use crate::style::Colour;

pub(super) struct Quiet {
    writer: Writer,
    colour: Colour,
}

impl Quiet {
    pub(super) fn new(writer: Writer, colour: Colour) -> Self {
        Self { writer, colour }
    }
}

impl Reporter for Quiet {
    fn event(&mut self, _event: &Event) {}

    fn finish(&mut self, summary: &Summary) {
        tell(&mut self.writer, summary::failures(summary, self.colour).trim_start());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn only_failures_are_told() {
        let page = fixture::Page::default();
        fixture::show(&mut Quiet::new(page.writer(), Colour::Off));
        assert!(page.text().starts_with("failed: test orders\n  error: tests failed\n"));
        assert!(!page.text().contains("done"));
        let page = fixture::Page::default();
        Quiet::new(page.writer(), Colour::Off).finish(&Summary::default());
        assert_eq!(page.text(), "");
    }
}
