//! Event streams, as far as MCP uses them: the data of `message` events.

use bytes::{Buf as _, Bytes};

/// The longest event, in bytes: a tool's whole result may come as one.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// Reads events out of chunks that end anywhere
/// ([HTML, parsing an event stream](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream)).
pub struct Parser {
    max: usize,
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    other_type: bool,
    after_return: bool,
    begun: bool,
}

/// One event is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct EventTooLong(usize);

impl Default for Parser {
    fn default() -> Self {
        Self::within(MAX_EVENT)
    }
}

impl Parser {
    /// Reads events of at most so many bytes.
    pub fn within(max: usize) -> Self {
        let (line, data, other_type, after_return, begun) = Default::default();
        Self { max, line, data, other_type, after_return, begun }
    }

    /// Takes bytes from `input` until an event with data is whole, which is its data; `None` where more bytes are needed.
    ///
    /// # Errors
    /// The event is too long; nothing further can be read.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, EventTooLong> {
        while !input.is_empty() {
            if std::mem::take(&mut self.after_return) && input[0] == b'\n' {
                input.advance(1);
                continue;
            }
            let end = input.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = input.split_to(end.unwrap_or(input.len()));
            if self.held() + part.len() > self.max {
                return Err(EventTooLong(self.max));
            }
            self.line.extend_from_slice(&part);
            if end.is_none() {
                break;
            }
            self.after_return = input.get_u8() == b'\r';
            let line = std::mem::take(&mut self.line);
            if let Some(data) = self.take_line(&line) {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// How many bytes of an event wait for the rest of it.
    pub(crate) fn held(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, Vec::len)
    }

    /// Takes a whole line; an empty one ends the event.
    fn take_line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(marked) if !self.begun => marked,
            _ => line,
        };
        self.begun = true;
        if line.is_empty() {
            let other_type = std::mem::take(&mut self.other_type);
            return self.data.take().filter(|data| !other_type && !data.is_empty());
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.other_type = !matches!(value, b"" | b"message"),
            // Comments, and `id` and `retry`, which serve streams that are taken up again.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(stream: &[u8], chunk: usize) -> Vec<String> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for chunk in stream.chunks(chunk) {
            let mut input = Bytes::copy_from_slice(chunk);
            while let Some(event) = parser.next(&mut input).unwrap() {
                found.push(String::from_utf8(event).unwrap());
            }
        }
        found
    }

    #[test]
    fn events_are_found_wherever_the_chunks_end() {
        let stream = b"\xef\xbb\xbfid: 1\ndata:\nretry: 3\n\n: comment\n\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\
            event: endpoint\ndata: /x\n\ndata:{}\rid\r\rdata: [\n\nnonsense\ndata: unfinished\n";
        for chunk in 1..stream.len() {
            assert_eq!(events(stream, chunk), ["{\"a\":\n1}", "{}", "["], "{chunk}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        for field in ["data: ", "x"] {
            let long = [field.as_bytes(), &vec![b'a'; MAX_EVENT / 2]].concat();
            let lines = [long.clone(), b"\n".to_vec(), long].concat();
            let refused = parser.next(&mut Bytes::from(lines));
            assert_eq!(refused.is_err(), field == "data: ");
            parser = Parser::default();
        }
        let endless = vec![b'a'; MAX_EVENT + 1];
        assert!(parser.next(&mut Bytes::from(endless)).is_err());
        let refused = Parser::within(8).next(&mut Bytes::from("data: 123\n\n")).unwrap_err();
        assert_eq!(refused.to_string(), "an event is longer than 8 bytes");
    }

    proptest! {
        #[test]
        fn what_is_written_as_an_event_is_read_as_one(text in "[a-z\\PC]{1,40}", chunk in 1_usize..50) {
            let stream = crate::envelope::event(text.as_bytes());
            prop_assert_eq!(events(&stream, chunk), vec![text]);
        }
    }
}
