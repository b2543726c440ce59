//! What a job's thread sends to the coordinator.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::event::{Event, Unit};
use crate::plan::JobId;
use crate::progress::Progress;
use crate::stage::Finish;

/// Between two counts of one job: more often no eye can follow.
const OFTEN: Duration = Duration::from_millis(100);

pub(super) enum Message {
    Event(Event),
    /// A job by its place in the plan, and how it ended.
    Ended(usize, anyhow::Result<Finish>),
}

/// One job's way to the coordinator.
#[derive(Debug)]
pub(super) struct Sender {
    index: usize,
    job: JobId,
    channel: SyncSender<Message>,
    started: Instant,
    /// Milliseconds since `started` of the last count sent, plus one; 0 before the first.
    counted: AtomicU64,
}

impl Sender {
    pub(super) fn new(index: usize, job: JobId, channel: SyncSender<Message>) -> Self {
        Self { index, job, channel, started: Instant::now(), counted: AtomicU64::new(0) }
    }

    pub(super) fn ended(&self, result: anyhow::Result<Finish>) {
        self.send(Message::Ended(self.index, result));
    }

    fn event(&self, event: Event) {
        self.send(Message::Event(event));
    }

    fn send(&self, message: Message) {
        // The coordinator listens until every job has ended.
        let _ = self.channel.send(message);
    }
}

impl Progress for Sender {
    fn status(&self, status: &str) {
        self.event(Event::JobStatus { job: self.job.clone(), status: status.to_owned() });
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        let now = super::millis_since(self.started) + 1;
        let last = self.counted.load(Ordering::Relaxed);
        let due = last == 0 || Duration::from_millis(now.saturating_sub(last)) >= OFTEN;
        if (due || total == Some(done))
            && self.counted.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.event(Event::JobProgress { job: self.job.clone(), done, total, unit: Unit::Bytes });
        }
    }

    fn line(&self, line: &str) {
        self.event(Event::JobOutput { job: self.job.clone(), line: line.to_owned() });
    }

    fn warning(&self, message: &str, hint: Option<&str>) {
        self.event(Event::Warning {
            job: Some(self.job.clone()),
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        });
    }
}

/// `text` without escape sequences (ECMA-48) and control characters, but for line ends and tabs.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => match rest.next() {
                Some('[') => {
                    rest.by_ref().find(|c| ('@'..='~').contains(c));
                }
                // A string for the terminal (a title, a link), up to BEL or ESC \.
                Some(']' | 'P' | '^' | '_') => {
                    while let Some(c) = rest.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            c if harmless(c) => out.push(c),
            _ => {}
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_moves_a_cursor_is_taken_out() {
        for (given, shown) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}", "link"),
            ("a\u{8}b\u{1b}[2Jc\u{9b}", "abc"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(printable(given), shown);
        }
    }
}
