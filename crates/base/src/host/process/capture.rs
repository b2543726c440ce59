//! What a child prints: kept up to a bound, and cut into lines of a bounded length. Pure.

use std::collections::VecDeque;

/// The bytes of one stream. Past its bound the middle is left out: the beginning says what ran, the end
/// says what went wrong.
#[derive(Debug)]
pub(super) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes that `head` and `tail` may hold, each.
    half: usize,
    left_out: u64,
}

impl Capture {
    pub(super) fn new(bound: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), half: bound / 2, left_out: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = (self.half - self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let rest = &bytes[room..];
        let kept = &rest[rest.len().saturating_sub(self.half)..];
        let over = (self.tail.len() + kept.len()).saturating_sub(self.half);
        self.tail.drain(..over);
        self.tail.extend(kept);
        self.left_out += (over + rest.len() - kept.len()) as u64;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.left_out == 0
    }

    /// All of it, or its two ends with a line between them that says what is not there.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head;
        if self.left_out > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes left out]\n", self.left_out).as_bytes());
        }
        bytes.extend(self.tail);
        bytes
    }
}

/// The longest line that is handed on whole, in bytes.
pub(super) const LINE: usize = 1 << 20;

/// Cuts a stream into lines: without their end, lossily UTF-8, the last state of a line that a carriage
/// return rewrites.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    /// What is left of a line whose first [`LINE`] bytes have been handed on.
    skipping: bool,
}

impl Lines {
    pub(super) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end], sink);
            self.end(sink);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, sink);
    }

    /// The stream has ended: a last line need not have an end.
    pub(super) fn finish(&mut self, sink: &mut dyn FnMut(&str)) {
        if !self.pending.is_empty() {
            self.end(sink);
        }
    }

    fn extend(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&str)) {
        if self.skipping {
            return;
        }
        let room = (LINE - self.pending.len()).min(bytes.len());
        self.pending.extend_from_slice(&bytes[..room]);
        if room < bytes.len() {
            sink(&format!("{} [line cut]", String::from_utf8_lossy(&self.pending)));
            self.pending.clear();
            self.skipping = true;
        }
    }

    fn end(&mut self, sink: &mut dyn FnMut(&str)) {
        if !std::mem::take(&mut self.skipping) {
            let line = self.pending.strip_suffix(b"\r").unwrap_or(&self.pending);
            let start = line.iter().rposition(|byte| *byte == b'\r').map_or(0, |at| at + 1);
            sink(&String::from_utf8_lossy(&line[start..]));
        }
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut out, mut lines) = (Vec::new(), Lines::default());
        let mut sink = |line: &str| out.push(line.to_owned());
        for chunk in chunks {
            lines.push(chunk, &mut sink);
        }
        lines.finish(&mut sink);
        out
    }

    #[test]
    fn lines_are_what_a_terminal_would_show() {
        assert_eq!(lines(&[b"a\r\n\n", b"10%\r20%\r3", b"0%\r\nlast"]), ["a", "", "30%", "last"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn a_huge_line_is_cut_and_the_next_is_whole() {
        let huge = vec![b'x'; 3 * LINE];
        let lines = lines(&[&huge, &huge, b"\nnext"]);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("x [line cut]") && lines[0].len() < LINE + 20);
        assert_eq!(lines[1], "next");
    }

    proptest! {
        #[test]
        fn a_capture_keeps_both_ends(chunks in proptest::collection::vec("[a-z]{0,40}", 0..20), half in 1usize..60) {
            let mut capture = Capture::new(2 * half);
            for chunk in &chunks {
                capture.push(chunk.as_bytes());
            }
            let all = chunks.concat();
            let whole = capture.is_whole();
            let kept = String::from_utf8(capture.into_bytes()).unwrap();
            prop_assert_eq!(whole, all.len() <= 2 * half);
            if whole {
                prop_assert_eq!(kept, all);
            } else {
                prop_assert!(kept.starts_with(&all[..half]) && kept.ends_with(&all[all.len() - half..]));
                let note = format!("[{} bytes left out]", all.len() - 2 * half);
                prop_assert!(kept.contains(&note));
            }
        }
    }
}
