//! One layer of encoding taken off a text, wherever it has one, with the way back to what stood there.

use std::ops::Range;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The shortest run of letters that is taken for an encoded text: 12 bytes in base64. Shorter ones hold no secret that the
/// rules know.
const MIN_RUN: usize = 16;
/// The shortest one in hex.
const MIN_HEX: usize = 24;

/// Reads base64 with or without padding. What comes from elsewhere may leave bits over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A text with one layer less.
pub(crate) struct Decoded {
    pub(crate) bytes: Vec<u8>,
    /// What was decoded, in order: where it is now, and where it came from. All else was copied.
    pieces: Vec<Piece>,
}

struct Piece {
    now: Range<usize>,
    source: Range<usize>,
}

impl Decoded {
    /// Where a part of the decoded text came from. What holds any of a piece holds all of its source.
    pub(crate) fn source(&self, part: &Range<usize>) -> Range<usize> {
        self.place(part.start).start..self.place(part.end - 1).end
    }

    /// Where one byte came from.
    fn place(&self, at: usize) -> Range<usize> {
        let after = self.pieces.partition_point(|piece| piece.now.start <= at);
        match after.checked_sub(1).map(|last| &self.pieces[last]) {
            Some(piece) if at < piece.now.end => piece.source.clone(),
            Some(piece) => {
                let source = piece.source.end + (at - piece.now.end);
                source..source + 1
            }
            None => at..at + 1,
        }
    }

    fn push(&mut self, decoded: &[u8], source: Range<usize>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(decoded);
        self.pieces.push(Piece { now: start..self.bytes.len(), source });
    }
}

/// Whether anything in a text looks encoded.
pub(crate) fn is_encoded(text: &[u8]) -> bool {
    text.contains(&b'\\') || text.contains(&b'%') || has_encoded_run(text)
}

/// Looks at every sixteenth byte: no run is overlooked, and little else is read.
fn has_encoded_run(text: &[u8]) -> bool {
    let mut at = MIN_RUN - 1;
    while at < text.len() {
        if is_letter(text[at]) {
            let start =
                text[..at].iter().rposition(|byte| !is_letter(*byte)).map_or(0, |it| it + 1);
            let end = start + run_length(&text[start..]);
            if decoded_run(&text[start..end]).is_some() {
                return true;
            }
            at = end;
        }
        at += MIN_RUN;
    }
    false
}

/// Takes one layer off: percent-encoding, JSON's escapes, and runs of base64 or hex that hold text.
pub(crate) fn once(text: &[u8]) -> Option<Decoded> {
    let mut out = Decoded { bytes: Vec::with_capacity(text.len()), pieces: Vec::new() };
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let step = match rest[0] {
            b'%' => percent(rest).map(|byte| (3, vec![byte])),
            b'\\' => escape(rest),
            first if is_letter(first) => {
                let length = run_length(rest);
                match decoded_run(&rest[..length]) {
                    Some(decoded) => Some((length + padding(&rest[length..]), decoded)),
                    None => {
                        out.bytes.extend_from_slice(&rest[..length]);
                        at += length;
                        continue;
                    }
                }
            }
            _ => None,
        };
        match step {
            Some((length, decoded)) => {
                out.push(&decoded, at..at + length);
                at += length;
            }
            None => {
                out.bytes.push(rest[0]);
                at += 1;
            }
        }
    }
    (!out.pieces.is_empty()).then_some(out)
}

/// A letter of base64 or base64url, so also of hex.
const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn run_length(text: &[u8]) -> usize {
    text.iter().position(|byte| !is_letter(*byte)).unwrap_or(text.len())
}

/// How many signs of padding follow a run.
fn padding(behind: &[u8]) -> usize {
    behind.iter().take(2).take_while(|byte| **byte == b'=').count()
}

/// What a run of letters says in hex or base64, where that is a text.
fn decoded_run(run: &[u8]) -> Option<Vec<u8>> {
    hex(run).or_else(|| base64(run))
}

fn hex(run: &[u8]) -> Option<Vec<u8>> {
    if run.len() < MIN_HEX || !run.len().is_multiple_of(2) {
        return None;
    }
    let decoded: Option<Vec<u8>> =
        run.chunks_exact(2).map(|pair| hex_byte(pair[0], pair[1])).collect();
    decoded.filter(|decoded| is_text(decoded))
}

fn base64(run: &[u8]) -> Option<Vec<u8>> {
    if run.len() < MIN_RUN {
        return None;
    }
    let plain = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    // Hardly anything that is no text begins like one, so most runs cost no more than this.
    let first: Vec<u8> = run[..MIN_RUN].iter().map(plain).collect();
    BASE64.decode(first).ok().filter(|decoded| !decoded.iter().any(|byte| is_control(*byte)))?;
    let run: Vec<u8> = run.iter().map(plain).collect();
    BASE64.decode(run).ok().filter(|decoded| is_text(decoded))
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| is_control(*byte)) && str::from_utf8(bytes).is_ok()
}

const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r')
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// `%41` ([RFC 3986 §2.1](https://www.rfc-editor.org/rfc/rfc3986#section-2.1)).
fn percent(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => hex_byte(*high, *low),
        _ => None,
    }
}

/// An escape of JSON ([RFC 8259 §7](https://www.rfc-editor.org/rfc/rfc8259#section-7)): its length and what it says.
fn escape(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let plain = match text.get(1)? {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        byte @ (b'"' | b'\\' | b'/') => *byte,
        b'u' => return unit_escape(text),
        _ => return None,
    };
    Some((2, vec![plain]))
}

/// One or two units of UTF-16.
fn unit_escape(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let unit = |text: &[u8]| match text {
        [b'\\', b'u', a, b, c, d, ..] => {
            Some(u16::from_be_bytes([hex_byte(*a, *b)?, hex_byte(*c, *d)?]))
        }
        _ => None,
    };
    let first = unit(text)?;
    let units: Vec<u16> = [first].into_iter().chain(unit(&text[6..])).collect();
    let letter = char::decode_utf16(units).next()?.ok()?;
    Some((6 * letter.len_utf16(), letter.to_string().into_bytes()))
}
