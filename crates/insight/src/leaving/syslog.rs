//! Events for syslog: [RFC 5424](https://www.rfc-editor.org/rfc/rfc5424) messages, framed by counting as
//! [RFC 5425](https://www.rfc-editor.org/rfc/rfc5425#section-4.3) wants it over TLS.

use super::{Event, Severity, Shape};

/// The facility "log audit" ([RFC 5424 §6.2.1](https://www.rfc-editor.org/rfc/rfc5424#section-6.2.1)).
const FACILITY: u8 = 13;
/// The longest message id ([RFC 5424 §6](https://www.rfc-editor.org/rfc/rfc5424#section-6)).
const MAX_MESSAGE_ID: usize = 32;

impl Event<'_> {
    /// The event as one frame.
    ///
    /// What is said is JSON of ASCII alone: no byte of it can end a line or move a terminal's cursor, and it needs no mark of
    /// its encoding.
    pub fn syslog(&self, shape: Shape) -> Vec<u8> {
        let leaf = &self.entry.leaf;
        let severity = match Severity::of(leaf) {
            Severity::Informational => 6,
            Severity::Low => 5,
            Severity::Medium => 4,
            Severity::High => 1,
        };
        let message = format!(
            "<{priority}>1 {at} {host} bailiwick - {id} - {said}",
            priority = FACILITY * 8 + severity,
            at = leaf.at,
            host = format_args!("{}.{}.{}", leaf.node, leaf.environment, leaf.org),
            id = leaf.kind.get(..MAX_MESSAGE_ID).unwrap_or(&leaf.kind),
            said = ascii(&self.shaped(shape).to_string()),
        );
        format!("{} {message}", message.len()).into_bytes()
    }
}

/// JSON with all that is not printable ASCII escaped. Outside of its texts there is none.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if matches!(letter, ' '..='~') {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
