//! The text form of a private key: PKCS#8 between `PRIVATE KEY` lines
//! ([RFC 7468 §10](https://www.rfc-editor.org/rfc/rfc7468#section-10)).

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::Secret;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// A P-256 key with its public part is under 300 bytes of text; nothing near this limit is one of ours.
const MAX_LENGTH: usize = 4096;
/// RFC 7468 §2 wraps lines at 64 letters.
const LINE: usize = 64;

pub(crate) fn write(der: &[u8]) -> Secret {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Reserved in one piece, so that growing leaves no copy of the key behind.
    let mut text =
        String::with_capacity(BEGIN.len() + END.len() + body.len() / LINE + 3 + body.len());
    text.push_str(BEGIN);
    text.push('\n');
    for (at, letter) in body.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push('\n');
    text.push_str(END);
    text.push('\n');
    Secret::new(text)
}

/// The DER inside; `None` for anything but exactly one `PRIVATE KEY`.
pub(crate) fn read(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let mut letters = Zeroizing::new(String::with_capacity(body.len()));
    letters.extend(body.chars().filter(|letter| !letter.is_ascii_whitespace()));
    STANDARD.decode(letters.as_bytes()).ok().map(Zeroizing::new)
}
