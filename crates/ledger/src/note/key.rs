//! Keys that notes are checked with ([C2SP signed-note](https://c2sp.org/signed-note#verifier-keys)): of logs, type 0x01, and
//! of witnesses, type 0x04 ([tlog-cosignature](https://c2sp.org/tlog-cosignature)). They are types of their own here, so that
//! what a witness signed is never taken for a log's signature.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Checkpoint, NoteError};
use crate::{merkle::sha256, restore};

/// The longest name: what a cosignature can say of one.
const MAX_NAME: usize = 255;

/// The prime of Curve25519, little end first: a canonical coordinate is below it.
const PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// The y-coordinates of the eight points of small order, little end first. Under such a key a signature can be made that fits
/// every text, without any private key.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = PRIME;
        minus_one[0] -= 1;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// The key that tree heads of a log are checked with, with the name it signs under: what an auditor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey(pub(super) Key<1>);

/// The key that cosignatures of a witness are checked with, with the name it signs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey(pub(super) Key<4>);

/// A named Ed25519 key for one type of signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key<const TYPE: u8> {
    pub(super) name: String,
    pub(super) id: [u8; 4],
    pub(super) public: [u8; 32],
}

impl VerifierKey {
    /// The log's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The Ed25519 key, by which two lines are known to be one key's under whatever names.
    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.0.public
    }

    /// The same key under another name of its log.
    pub(crate) fn renamed(&self, name: &str) -> Result<Self, NoteError> {
        Key::new(name, self.0.public).map(Self)
    }

    /// The key that checks a note of this key's log, under whichever name the log had when it was signed: the name
    /// changes when a log is restored. Of a note of anything else it is this key, which has not signed it.
    pub(crate) fn of_log(&self, note: &[u8]) -> Self {
        self.under(note, |_, _| true)
    }

    /// The same of notes under an earlier name than this key's.
    pub(crate) fn of_earlier(&self, note: &[u8]) -> Self {
        self.under(note, |theirs, own| theirs < own)
    }

    fn under(&self, note: &[u8], fits: impl Fn(u32, u32) -> bool) -> Self {
        let origin = Checkpoint::unverified(note).map(|head| head.origin);
        let (base, own) = (restore::base(self.name()), restore::generation(self.name()));
        let other = origin.ok().filter(|origin| {
            restore::base(origin) == base && fits(restore::generation(origin), own)
        });
        other.and_then(|origin| self.renamed(&origin).ok()).unwrap_or_else(|| self.clone())
    }
}

impl WitnessKey {
    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The Ed25519 key, by which two lines are known to be one key's under whatever names.
    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.0.public
    }
}

impl<const TYPE: u8> Key<TYPE> {
    pub(super) fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            let why = "its name is empty, longer than 255 bytes, or has a space or a plus sign";
            return Err(NoteError::Key(why));
        }
        check_point(&public)?;
        let hash = sha256(&[name.as_bytes(), b"\n", &[TYPE], &public]);
        let mut id = [0; 4];
        id.copy_from_slice(&hash.0[..4]);
        Ok(Self { name: name.to_owned(), id, public })
    }
}

/// Refuses a key that anybody can sign for, and a second way to write a key.
fn check_point(public: &[u8; 32]) -> Result<(), NoteError> {
    let mut y = *public;
    y[31] &= 0x7f;
    if !y.iter().rev().lt(PRIME.iter().rev()) {
        return Err(NoteError::Key("its bytes are not the canonical form of a point"));
    }
    if SMALL_ORDER.contains(&y) {
        return Err(NoteError::Key("it is a point of small order, for which anybody can sign"));
    }
    Ok(())
}

impl<const TYPE: u8> std::fmt::Display for Key<TYPE> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![TYPE];
        key.extend_from_slice(&self.public);
        let id = u32::from_be_bytes(self.id);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl<const TYPE: u8> std::str::FromStr for Key<TYPE> {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("it does not have three parts"));
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key("its bytes are not base64"))?;
        let Some((kind, public)) = key.split_first() else {
            return Err(NoteError::Key("it has no bytes"));
        };
        if *kind != TYPE {
            return Err(NoteError::Key(match *kind {
                1 => "it is a log's (type 01), and a witness's (type 04) is wanted",
                4 => "it is a witness's (type 04), and a log's (type 01) is wanted",
                _ => "it is of another type",
            }));
        }
        let public = public.try_into().map_err(|_| NoteError::Key("it is not 32 bytes long"))?;
        let key = Self::new(name, public)?;
        if id != format!("{:08x}", u32::from_be_bytes(key.id)) {
            return Err(NoteError::Key("its id belongs to another key or name"));
        }
        Ok(key)
    }
}

/// Both kinds are written and read as the key in them.
macro_rules! written_as_a_key {
    ($($kind:ident)*) => { $(
        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $kind {
            type Err = NoteError;

            fn from_str(text: &str) -> Result<Self, NoteError> {
                text.parse().map(Self)
            }
        }
    )* };
}

written_as_a_key!(VerifierKey WitnessKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: u8, public: [u8; 32]) -> String {
        let hash = sha256(&[b"acme", b"\n", &[kind], &public]);
        let id = u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]]);
        format!("acme+{id:08x}+{}", STANDARD.encode([&[kind][..], &public].concat()))
    }

    #[test]
    fn a_key_of_one_kind_is_not_one_of_the_other() {
        let [log, witness, other] = [1, 4, 6].map(|kind| line(kind, [9; 32]));
        assert_eq!(log.parse::<VerifierKey>().map(|key| key.to_string()), Ok(log.clone()));
        assert_eq!(witness.parse::<WitnessKey>().map(|key| key.to_string()), Ok(witness.clone()));
        for line in [&witness, &other] {
            assert!(matches!(line.parse::<VerifierKey>(), Err(NoteError::Key(_))), "{line}");
        }
        for line in [&log, &other] {
            assert!(matches!(line.parse::<WitnessKey>(), Err(NoteError::Key(_))), "{line}");
        }
    }

    #[test]
    fn a_key_that_anybody_can_sign_for_is_refused_and_so_is_a_second_way_to_write_one() {
        let mut above = PRIME;
        above[0] += 2;
        let points = SMALL_ORDER.into_iter().chain([PRIME, above, [0xff; 32]]);
        for point in points {
            for sign in [0, 0x80] {
                let mut public = point;
                public[31] |= sign;
                for refused in [
                    line(1, public).parse::<VerifierKey>().err(),
                    line(4, public).parse::<WitnessKey>().err(),
                ] {
                    assert!(matches!(refused, Some(NoteError::Key(_))), "{public:?}");
                }
            }
        }
    }

    #[test]
    fn a_name_is_no_longer_than_a_cosignature_can_say() {
        assert!(Key::<4>::new(&"x".repeat(MAX_NAME), [9; 32]).is_ok());
        assert!(Key::<4>::new(&"x".repeat(MAX_NAME + 1), [9; 32]).is_err());
    }
}
