//! Timestamps of signed heads by an authority: [RFC 3161](https://www.rfc-editor.org/rfc/rfc3161), as far as a log needs it.
//!
//! A request asks for a time over the SHA-256 of a head's bytes; a response is held against the request. Whether the
//! authority's own signature holds is not judged here: that takes its certificates, and programs that everybody has do it
//! (`openssl ts -verify`).

mod der;
#[cfg(test)]
mod tests;

use model::{Digest, Timestamp};

use self::der::{Der, element};
use crate::merkle::sha256_of;

/// The longest response that is read, in bytes: a token with a chain of certificates has a tenth of it.
pub const MAX_TIMESTAMP: usize = 64 * 1024;

const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT: u8 = 0x06;
const TEXT: u8 = 0x0c;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, with something inside.
const TAGGED_0: u8 = 0xa0;

/// 2.16.840.1.101.3.4.2.1
const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.2.840.113549.1.9.16.1.4
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];

/// What an authority is asked: a time over a signed head.
pub struct TimestampRequest {
    imprint: Digest,
    nonce: [u8; 8],
}

/// Why a response is no timestamp of a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// It is not a response of RFC 3161 in DER.
    #[error("it is no timestamp response: {0}")]
    Malformed(&'static str),
    /// The authority gave none.
    #[error("the authority gave no timestamp: status {status}{}", .says.as_ref().map(|says| format!(", {says}")).unwrap_or_default())]
    Rejected {
        /// RFC 3161, section 2.4.2.
        status: u64,
        /// What it says of it.
        says: Option<String>,
    },
    /// It is over other bytes.
    #[error("it is a timestamp of something else")]
    OtherImprint,
    /// It answers another request.
    #[error("it answers another request: its nonce is not the one that was sent")]
    OtherNonce,
}

impl TimestampRequest {
    /// Asks for a time over a head's file. `random` makes the answer one to this request alone.
    pub fn of(note: &[u8], random: [u8; 8]) -> Self {
        let mut nonce = random;
        // A positive number of eight bytes has one form in DER.
        nonce[0] = nonce[0] & 0x7f | 0x40;
        Self { imprint: sha256_of(note), nonce }
    }

    /// As it is sent (section 2.4.1): version, imprint, nonce, and that the authority's certificate be in the answer.
    pub fn to_der(&self) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[&element(OBJECT, &[SHA_256]), &element(NULL, &[])]);
        let imprint = element(SEQUENCE, &[&algorithm, &element(OCTETS, &[&self.imprint.0])]);
        let [version, nonce] = [&[1][..], &self.nonce].map(|number| element(INTEGER, &[number]));
        element(SEQUENCE, &[&version, &imprint, &nonce, &element(BOOLEAN, &[&[0xff]])])
    }

    /// The time that a response to this request gives.
    ///
    /// # Errors
    /// It gives none, or answers something else.
    pub fn check(&self, response: &[u8]) -> Result<Timestamp, TimestampError> {
        let info = Info::read(response)?;
        info.is_over(&self.imprint)?;
        if info.nonce != Some(&self.nonce) {
            return Err(TimestampError::OtherNonce);
        }
        Ok(info.at)
    }
}

/// The time that a kept response gives a head.
pub(crate) fn of_head(note: &[u8], response: &[u8]) -> Result<Timestamp, TimestampError> {
    let info = Info::read(response)?;
    info.is_over(&sha256_of(note)).map(|()| info.at)
}

/// What a token says (section 2.4.2), as far as it is looked at.
struct Info<'a> {
    imprint: &'a [u8],
    at: Timestamp,
    nonce: Option<&'a [u8]>,
}

impl<'a> Info<'a> {
    fn read(response: &'a [u8]) -> Result<Self, TimestampError> {
        if response.len() > MAX_TIMESTAMP {
            return Err(TimestampError::Malformed("it is longer than 64 KiB"));
        }
        let not_der = TimestampError::Malformed("it is not DER, or not of its form");
        let mut outer = Der::new(response);
        let mut parts = outer.inside(SEQUENCE).ok_or(not_der.clone())?;
        if !outer.is_empty() {
            return Err(TimestampError::Malformed("it has bytes behind its end"));
        }
        let status = parts.inside(SEQUENCE).ok_or(not_der.clone())?;
        granted(status).ok_or(not_der.clone())??;
        let info = parts.inside(SEQUENCE).and_then(content).ok_or(not_der.clone())?;
        Self::of(info).ok_or(not_der)
    }

    /// `TSTInfo`. What follows the nonce is not looked at.
    fn of(info: &'a [u8]) -> Option<Self> {
        let mut whole = Der::new(info);
        let mut parts = whole.inside(SEQUENCE).filter(|_| whole.is_empty())?;
        (parts.take(INTEGER)? == [1]).then_some(())?;
        parts.take(OBJECT)?;
        let mut imprint = parts.inside(SEQUENCE)?;
        let mut algorithm = imprint.inside(SEQUENCE)?;
        (algorithm.take(OBJECT)? == SHA_256).then_some(())?;
        let imprint = imprint.take(OCTETS)?;
        parts.take(INTEGER)?;
        let at = moment(parts.take(TIME)?)?;
        parts.take(SEQUENCE); // how exact it is
        parts.take(BOOLEAN); // whether its tokens are in order
        Some(Self { imprint, at, nonce: parts.take(INTEGER) })
    }

    fn is_over(&self, imprint: &Digest) -> Result<(), TimestampError> {
        (self.imprint == imprint.0).then_some(()).ok_or(TimestampError::OtherImprint)
    }
}

/// Whether `PKIStatusInfo` grants a token; `None` where it has another form.
fn granted(mut status: Der<'_>) -> Option<Result<(), TimestampError>> {
    let number = status.take(INTEGER)?;
    let number =
        number.iter().fold(0_u64, |number, byte| number.saturating_mul(256) + u64::from(*byte));
    // `granted`, and `grantedWithMods`.
    if number <= 1 {
        return Some(Ok(()));
    }
    let says = status.inside(SEQUENCE).and_then(|mut texts| texts.take(TEXT));
    let says = says.map(|text| String::from_utf8_lossy(text).into_owned());
    Some(Err(TimestampError::Rejected { status: number, says }))
}

/// What the token signs: `ContentInfo`, in it `SignedData`, in it the encapsulated `TSTInfo`
/// ([RFC 5652](https://www.rfc-editor.org/rfc/rfc5652), sections 3 and 5).
fn content(mut token: Der<'_>) -> Option<&[u8]> {
    (token.take(OBJECT)? == SIGNED_DATA).then_some(())?;
    let mut signed = token.inside(TAGGED_0)?.inside(SEQUENCE)?;
    signed.take(INTEGER)?;
    signed.take(SET)?;
    let mut content = signed.inside(SEQUENCE)?;
    (content.take(OBJECT)? == TST_INFO).then_some(())?;
    content.inside(TAGGED_0)?.take(OCTETS)
}

/// `GeneralizedTime` as RFC 3161 has it: `20261123050203Z`, or with a fraction of a second, which is left out.
fn moment(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let (whole, fraction) = text.strip_suffix('Z')?.split_at_checked(14)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_fraction =
        |text: &str| text.strip_prefix('.').is_some_and(|it| !it.is_empty() && digits(it));
    if !digits(whole) || !(fraction.is_empty() || is_fraction(fraction)) {
        return None;
    }
    let part = |from: usize, to: usize| &whole[from..to];
    let (date, time) =
        ([part(0, 4), part(4, 6), part(6, 8)], [part(8, 10), part(10, 12), part(12, 14)]);
    Timestamp::parse(&format!("{}T{}Z", date.join("-"), time.join(":")))
}
