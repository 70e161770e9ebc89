//! Server-sent events as a blocking reader gets them (WHATWG HTML, 9.2).

use std::io::{self, BufRead};

/// Longest line that is taken; ours are a few hundred bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// The id that a connection made later continues after.
    pub(super) id: Option<String>,
    /// Its kind; `message` where the server said none.
    pub(super) event: String,
    /// What it says.
    pub(super) data: String,
}

/// Reads events until the connection ends.
#[derive(Debug)]
pub(super) struct Messages<R> {
    reader: R,
    last_id: Option<String>,
}

impl<R: BufRead> Messages<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            last_id: None,
        }
    }

    /// The next event; `None` at the end. An event that is cut off by the end is none.
    ///
    /// # Errors
    /// When reading fails, or a line is longer than any of ours.
    pub(super) fn next(&mut self) -> io::Result<Option<Message>> {
        let mut event = String::new();
        let mut data: Vec<String> = Vec::new();
        loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            if line.is_empty() {
                if data.is_empty() {
                    event.clear();
                    continue;
                }
                if event.is_empty() {
                    "message".clone_into(&mut event);
                }
                return Ok(Some(Message {
                    id: self.last_id.clone(),
                    event,
                    data: data.join("\n"),
                }));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event),
                "data" => data.push(value.to_owned()),
                "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
                // A comment, which is a heartbeat, or a field of a later standard.
                _ => {}
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut self.reader, LONGEST_LINE);
        limited.read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return if line.len() as u64 == LONGEST_LINE {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"))
            } else {
                Ok(None)
            };
        }
        line.pop_if(|last| *last == b'\r');
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(Option<String>, String, String)> {
        let mut messages = Messages::new(text.as_bytes());
        std::iter::from_fn(|| messages.next().unwrap())
            .map(|message| (message.id, message.event, message.data))
            .collect()
    }

    fn message(id: Option<&str>, event: &str, data: &str) -> (Option<String>, String, String) {
        (id.map(str::to_owned), event.to_owned(), data.to_owned())
    }

    // The examples of WHATWG HTML, 9.2.6.
    #[test]
    fn the_standards_examples_read_as_it_says() {
        assert_eq!(
            read("data: YHOO\ndata: +2\ndata: 10\n\n"),
            [message(None, "message", "YHOO\n+2\n10")]
        );
        assert_eq!(
            read(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
            ),
            [
                message(Some("1"), "message", "first event"),
                message(Some(""), "message", "second event"),
            ]
        );
        assert_eq!(
            read("event: add\r\ndata: 73857293\r\n\r\nevent: remove\r\ndata: 2153\r\n\r\n"),
            [message(None, "add", "73857293"), message(None, "remove", "2153")]
        );
    }

    #[test]
    fn heartbeats_are_nothing_and_ids_stay() {
        assert_eq!(
            read("id: 7\ndata: a\n\n: beat\n\n: beat\n\ndata: b\n\n"),
            [
                message(Some("7"), "message", "a"),
                message(Some("7"), "message", "b")
            ]
        );
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let text = "x".repeat(2 << 20);
        assert!(Messages::new(text.as_bytes()).next().is_err());
    }
}
