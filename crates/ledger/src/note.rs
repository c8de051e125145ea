//! Signed tree heads: [C2SP signed-note](https://c2sp.org/signed-note) with Ed25519 and
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint). The reader takes one form only.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::Digest;

use crate::merkle::sha256;

/// The longest note that is read: room for a log's signature and for dozens of witnesses.
const MAX_NOTE: usize = 64 * 1024;
/// The signature type of Ed25519 over the note's text.
const ED25519_TYPE: u8 = 1;

/// The key that signs tree heads. It cannot be printed.
pub struct CheckpointKey {
    pair: Ed25519KeyPair,
}

/// The key that tree heads are checked with, with the name it signs under: what an auditor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
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
        Self { pair: pair.expect("every 32 bytes are an Ed25519 seed") }
    }

    /// The key to check this one's signatures with, under the name of the log that it signs for.
    ///
    /// # Errors
    /// The name is empty, or has a space, a plus sign or a control character.
    pub fn verifier(&self, name: &str) -> Result<VerifierKey, NoteError> {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair.public_key().as_ref());
        VerifierKey::new(name, public)
    }

    /// Signs a tree head; the name that signs is the log's.
    pub(crate) fn sign(&self, checkpoint: &Checkpoint, verifier: &VerifierKey) -> String {
        let text = checkpoint.text();
        let mut signature = verifier.id.to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n\u{2014} {} {}\n", verifier.name, STANDARD.encode(signature))
    }
}

impl VerifierKey {
    fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(NoteError::Key("its name is empty or has a space or a plus sign"));
        }
        let hash = sha256(&[name.as_bytes(), b"\n", &[ED25519_TYPE], &public]);
        let mut id = [0; 4];
        id.copy_from_slice(&hash.0[..4]);
        Ok(Self { name: name.to_owned(), id, public })
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a signed checkpoint of this key's log.
    ///
    /// # Errors
    /// It has another form, another origin, or no good signature by this key.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, NoteError> {
        let (text, signatures) = split(note)?;
        self.check_signatures(text, signatures)?;
        let checkpoint = Checkpoint::parse(text)?;
        if checkpoint.origin != self.name {
            return Err(NoteError::OtherOrigin(checkpoint.origin));
        }
        Ok(checkpoint)
    }

    /// At least one signature is ours, and every one that says so is good; those of other keys are not ours to judge.
    fn check_signatures(&self, text: &str, signatures: &str) -> Result<(), NoteError> {
        let signatures =
            signatures.strip_suffix('\n').ok_or(NoteError::Malformed("no newline at its end"))?;
        let mut signed = false;
        for line in signatures.split('\n') {
            let (name, signature) = signature_line(line)
                .ok_or(NoteError::Malformed("a signature line has another form"))?;
            let (id, signature) = signature
                .split_first_chunk::<4>()
                .ok_or(NoteError::Malformed("a signature is too short"))?;
            if name == self.name && *id == self.id {
                UnparsedPublicKey::new(&ED25519, &self.public)
                    .verify(text.as_bytes(), signature)
                    .map_err(|_| NoteError::BadSignature(self.name.clone()))?;
                signed = true;
            }
        }
        if signed { Ok(()) } else { Err(NoteError::Unsigned(self.name.clone())) }
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        let id = u32::from_be_bytes(self.id);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("it does not have three parts"));
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key("its bytes are not base64"))?;
        let Some((&ED25519_TYPE, public)) = key.split_first() else {
            return Err(NoteError::Key("it is of another type"));
        };
        let public = public.try_into().map_err(|_| NoteError::Key("it is not 32 bytes long"))?;
        let key = Self::new(name, public)?;
        if id != format!("{:08x}", u32::from_be_bytes(key.id)) {
            return Err(NoteError::Key("its id belongs to another key or name"));
        }
        Ok(key)
    }
}

impl Checkpoint {
    /// The text that is signed.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// What a note says, whoever signed it.
    pub(crate) fn unverified(note: &[u8]) -> Result<Self, NoteError> {
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

/// Name and decoded bytes of a line `— name base64`.
fn signature_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let plain = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
    plain.then(|| STANDARD.decode(signature).ok().map(|bytes| (name, bytes)))?
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
