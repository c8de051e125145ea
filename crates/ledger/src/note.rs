//! Signed tree heads: [C2SP signed-note](https://c2sp.org/signed-note) with Ed25519 and
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint). The reader takes one form only.

mod cosignature;
mod key;

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::Digest;

use key::Key;
pub use key::{VerifierKey, WitnessKey};

/// The longest note that is read: room for a log's signature and for dozens of witnesses.
pub(crate) const MAX_NOTE: usize = 64 * 1024;

/// The key that signs or cosigns tree heads. It cannot be printed.
#[derive(Clone)]
pub struct CheckpointKey {
    pair: Arc<Ed25519KeyPair>,
    /// The key before it, as long as both sign.
    former: Option<Arc<Self>>,
}

/// A tree head: which log, how many entries, and the root over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name; also the name of the key that signs.
    pub origin: String,
    /// How many entries the root covers.
    pub size: u64,
    /// The root of RFC 6962 over them.
    pub root: Digest,
}

/// Why a note, a checkpoint or a verifier key was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The key is not `name+id+base64`, of another type, or its id is not the one its name and bytes give.
    #[error("not an Ed25519 verifier key of the form `name+id+base64`: {0}")]
    Key(&'static str),
    /// The bytes are not a signed note, or not one of a checkpoint.
    #[error("not a signed checkpoint: {0}")]
    Malformed(&'static str),
    /// Nobody with the expected key has signed it.
    #[error("no signature by the key `{0}`")]
    Unsigned(String),
    /// A signature claims to be of the expected key and is not.
    #[error("the signature by the key `{0}` does not fit the text")]
    BadSignature(String),
    /// A cosignature's time is further ahead than clocks differ, or none that can be written.
    #[error("the time of a cosignature is in the future or out of range; compare the clocks")]
    Time,
    /// It is the checkpoint of another log.
    #[error("the checkpoint is of the log `{0}`, not of the log that the key belongs to")]
    OtherOrigin(String),
}

impl CheckpointKey {
    /// The key of a 32-byte seed ([RFC 8032](https://www.rfc-editor.org/rfc/rfc8032)), which must come from a secret store.
    ///
    /// # Panics
    /// Never: every 32 bytes are a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        let pair = Arc::new(pair.expect("every 32 bytes are an Ed25519 seed"));
        Self { pair, former: None }
    }

    /// The same key, whose signature under a log's head stands beside that of the key before it.
    #[must_use]
    pub fn beside(self, former: Self) -> Self {
        let is_other = self.public() != former.public();
        Self { former: is_other.then(|| Arc::new(former)), ..self }
    }

    /// The key to check this one's signatures with, under the name of the log that it signs for.
    ///
    /// # Errors
    /// The name is empty, or has a space, a plus sign or a control character.
    pub fn verifier(&self, name: &str) -> Result<VerifierKey, NoteError> {
        Key::new(name, self.public()).map(VerifierKey)
    }

    fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair.public_key().as_ref());
        public
    }

    /// Signs a tree head; the name that signs is the log's.
    pub fn sign(&self, checkpoint: &Checkpoint, verifier: &VerifierKey) -> String {
        let text = checkpoint.text();
        let mut note = format!("{text}\n{}", self.line(&text, verifier));
        if let Some(former) = &self.former
            && let Ok(verifier) = former.verifier(verifier.name())
        {
            note += &former.line(&text, &verifier);
        }
        note
    }

    fn line(&self, text: &str, verifier: &VerifierKey) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let bytes = [&verifier.0.id[..], signature.as_ref()].concat();
        format!("\u{2014} {} {}\n", verifier.name(), STANDARD.encode(bytes))
    }
}

impl VerifierKey {
    /// Reads a signed checkpoint of this key's log.
    ///
    /// # Errors
    /// It has another form, another origin, or no good signature by this key.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, NoteError> {
        let (text, signatures) = split(note)?;
        self.check_signatures(text, signatures)?;
        let checkpoint = Checkpoint::parse(text)?;
        if checkpoint.origin != self.name() {
            return Err(NoteError::OtherOrigin(checkpoint.origin));
        }
        Ok(checkpoint)
    }

    /// One signature is ours, and it is good; those of other keys are not ours to judge.
    fn check_signatures(&self, text: &str, signatures: &str) -> Result<(), NoteError> {
        let mut signed = false;
        for line in lines(signatures)? {
            if !line.is_of(&self.0) {
                continue;
            }
            if signed {
                return Err(NoteError::Malformed("two signatures are of one key"));
            }
            UnparsedPublicKey::new(&ED25519, &self.0.public)
                .verify(text.as_bytes(), &line.signature)
                .map_err(|_| NoteError::BadSignature(self.name().to_owned()))?;
            signed = true;
        }
        if signed { Ok(()) } else { Err(NoteError::Unsigned(self.name().to_owned())) }
    }
}

impl Checkpoint {
    /// The text that is signed.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// What a note says, whoever signed it: enough to look for the key that its log's notes are checked with.
    ///
    /// # Errors
    /// It is not a note of a checkpoint.
    pub fn unverified(note: &[u8]) -> Result<Self, NoteError> {
        Self::parse(split(note)?.0)
    }

    /// Reads a checkpoint's text. Extension lines are refused: this log writes none, so one is not its own.
    fn parse(text: &str) -> Result<Self, NoteError> {
        let lines: Vec<&str> = text.split('\n').collect();
        let [origin, size, root, ""] = lines[..] else {
            return Err(NoteError::Malformed("it is not origin, size and root alone"));
        };
        let size: u64 = size.parse().map_err(|_| NoteError::Malformed("its size is no number"))?;
        let root = STANDARD
            .decode(root)
            .ok()
            .and_then(|root| <[u8; 32]>::try_from(root).ok())
            .ok_or(NoteError::Malformed("its root is not base64 of 32 bytes"))?;
        let checkpoint = Self { origin: origin.to_owned(), size, root: Digest(root) };
        // `007` and `+7` are numbers too: whatever does not read back the same has another form.
        if checkpoint.text() != text {
            return Err(NoteError::Malformed("its size or root has another form"));
        }
        Ok(checkpoint)
    }
}

/// The text of a note and its signature lines.
fn split(note: &[u8]) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::Malformed("it is longer than 64 KiB"));
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed("not UTF-8"))?;
    if note.chars().any(|c| c.is_control() && c != '\n') {
        return Err(NoteError::Malformed("it has control characters"));
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line"))?;
    Ok((&note[..=at], &note[at + 2..]))
}

/// A signature line: who says to have signed, with which key, and what.
struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Line<'a> {
    /// Reads a line `— name base64`.
    fn parse(line: &'a str) -> Result<Self, NoteError> {
        let parts = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
        let plain = |name: &str| {
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
        };
        let (name, bytes) = parts
            .filter(|(name, _)| plain(name))
            .and_then(|(name, text)| Some((name, STANDARD.decode(text).ok()?)))
            .ok_or(NoteError::Malformed("a signature line has another form"))?;
        let (id, signature) = bytes
            .split_first_chunk::<4>()
            .ok_or(NoteError::Malformed("a signature is too short"))?;
        Ok(Self { name, id: *id, signature: signature.to_vec() })
    }

    fn is_of<const TYPE: u8>(&self, key: &Key<TYPE>) -> bool {
        self.name == key.name && self.id == key.id
    }
}

/// The signature lines of a note.
fn lines(signatures: &str) -> Result<Vec<Line<'_>>, NoteError> {
    let signatures =
        signatures.strip_suffix('\n').ok_or(NoteError::Malformed("no newline at its end"))?;
    signatures.split('\n').map(Line::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> (VerifierKey, String) {
        let key = CheckpointKey::from_seed(&[7; 32]);
        let verifier = key.verifier("acme.example/audit").unwrap();
        let origin = verifier.name().to_owned();
        let checkpoint = Checkpoint { origin, size: 42, root: Digest([9; 32]) };
        let note = key.sign(&checkpoint, &verifier);
        (verifier, note)
    }

    #[test]
    fn a_signed_checkpoint_reads_back() {
        let (verifier, note) = signed();
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        assert_eq!(verifier.open(note.as_bytes()).map(|checkpoint| checkpoint.size), Ok(42));
    }

    #[test]
    fn the_signature_of_a_witness_beside_ours_is_left_to_others() {
        let (verifier, note) = signed();
        let witness = format!("{note}\u{2014} witness.example/w1 AAAAAAAAAAA=\n");
        assert!(verifier.open(witness.as_bytes()).is_ok());
    }

    #[test]
    fn a_second_signature_of_the_same_key_refuses_the_note() {
        let (verifier, note) = signed();
        let line = note.lines().last().unwrap();
        let twice = format!("{note}{line}\n");
        assert!(matches!(verifier.open(twice.as_bytes()), Err(NoteError::Malformed(_))));
    }

    #[test]
    fn a_checkpoint_of_any_other_form_is_refused() {
        let (verifier, note) = signed();
        let other = CheckpointKey::from_seed(&[8; 32]).verifier("acme.example/audit").unwrap();
        assert!(matches!(other.open(note.as_bytes()), Err(NoteError::Unsigned(_))));
        for (from, to) in [
            ("\n42\n", "\n43\n"),
            ("\n42\n", "\n042\n"),
            ("\n42\n", "\n+42\n"),
            ("\n42\n", "\n42\nextension\n"),
            ("\n42\n", "\n42\r\n"),
            ("\n\n", "\n"),
            ("acme.example/audit\n", "acme.example/other\n"),
            ("\u{2014} ", "- "),
            ("\u{2014} acme", "\u{2014}  acme"),
            ("=\n\n", "\n\n"),
        ] {
            let changed = note.replacen(from, to, 1);
            assert_ne!(changed, note);
            assert!(verifier.open(changed.as_bytes()).is_err(), "{changed:?} was accepted");
        }
        assert!(verifier.open(note.trim_end().as_bytes()).is_err());
        assert!(verifier.open(&[note.as_bytes(), &vec![b'x'; MAX_NOTE]].concat()).is_err());
    }

    #[test]
    fn flipping_any_bit_of_a_checkpoint_is_noticed() {
        let (verifier, note) = signed();
        for at in 0..note.len() * 8 {
            let mut changed = note.clone().into_bytes();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(verifier.open(&changed).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_verifier_key_whose_id_belongs_to_another_name_is_refused() {
        let (verifier, _) = signed();
        let text = verifier.to_string();
        for wrong in [
            text.replacen("audit", "other", 1),
            format!("{}+00000000+{}", verifier.name(), text.rsplit('+').next().unwrap()),
            text.replacen('+', "", 1),
            text.replacen("acme", "ac me", 1),
            format!("{text}AAAA"),
        ] {
            assert_ne!(wrong, text);
            assert!(matches!(wrong.parse::<VerifierKey>(), Err(NoteError::Key(_))), "{wrong}");
        }
    }
}
