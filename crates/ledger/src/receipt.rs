//! The proof of one entry as a file of its own: C2SP
//! [tlog-proof](https://github.com/C2SP/C2SP/blob/0065ea5b716154a2dd48508e3f905012a16ce5e9/tlog-proof.md), which is not tagged
//! yet; here is all that knows its form. Whoever has the entry, the proof and the log's key needs nothing else.

use std::{fmt::Write, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use model::Digest;

use crate::{
    log::Head,
    merkle::leaf_hash,
    note::{Checkpoint, MAX_NOTE, NoteError, VerifierKey},
    proof::{MAX_PATH, ProofError, Tiles, includes},
};

/// The first line.
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The longest proof that is read, in bytes: the longest note twice, so that a stranger's extra data has room.
pub const MAX_TLOG_PROOF: usize = 2 * MAX_NOTE;

/// That an entry is under a signed head of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    index: u64,
    path: Vec<Digest>,
    note: String,
}

/// Why a proof was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// The bytes are no proof.
    #[error("not a tlog-proof: {0}")]
    Malformed(&'static str),
    /// Its checkpoint is not one of the log, or is not signed by the log's key.
    #[error("its checkpoint is not accepted")]
    Checkpoint(#[source] NoteError),
    /// These bytes are not the entry at this position of the log.
    #[error(
        "it proves another entry than this one, or none: nothing says that entry {0} is these bytes"
    )]
    OtherEntry(u64),
}

impl TlogProof {
    /// Proves an entry of the log in `dir` under one of its signed heads, which need not be the newest.
    ///
    /// # Errors
    /// The head does not cover the entry, or the log's tiles are damaged; a proof that would not hold is not given away.
    pub fn make(dir: &Path, note: &[u8], index: u64) -> Result<Self, ProofError> {
        let checkpoint = Checkpoint::unverified(note).map_err(ProofError::Checkpoint)?;
        let Checkpoint { size, root, .. } = checkpoint;
        let mut tiles = Tiles::new(dir, size);
        let path = tiles.inclusion(index)?;
        let leaf = tiles.leaf(index)?;
        if !includes(Head { size, root }, index, leaf, &path) {
            return Err(ProofError::Damaged("tile".to_owned()));
        }
        // What was read as a checkpoint is UTF-8.
        Ok(Self { index, path, note: String::from_utf8_lossy(note).into_owned() })
    }

    /// Reads a proof. Extra data is allowed and left aside: nothing vouches for it.
    ///
    /// # Errors
    /// It has another form, or is too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        const fn wrong(what: &'static str) -> TlogProofError {
            TlogProofError::Malformed(what)
        }
        if bytes.len() > MAX_TLOG_PROOF {
            return Err(wrong("it is longer than 128 KiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(wrong("it has no blank line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong("its first line is not `c2sp.org/tlog-proof@v1`"));
        }
        if let Some(extra) = lines.next_if(|line| line.starts_with("extra ")) {
            let extra = extra.strip_prefix("extra ").map(|extra| STANDARD.decode(extra));
            if !matches!(extra, Some(Ok(_))) {
                return Err(wrong("its extra data is not base64"));
            }
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(decimal).ok_or(wrong("it names no index"))?;
        let path: Option<Vec<Digest>> = lines.take(MAX_PATH + 1).map(hash_line).collect();
        let path = path.ok_or(wrong("a hash is not base64 of 32 bytes"))?;
        if path.len() > MAX_PATH {
            return Err(wrong("it has more than 64 hashes"));
        }
        Ok(Self { index, path, note: note.to_owned() })
    }

    /// Which entry it is about, counted from zero.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The signed head that it leads to, as a note with all its signatures.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Checks that these bytes are the entry at the proof's position, under a head that the log's key has signed.
    ///
    /// # Errors
    /// They are not, or the head is not the log's.
    pub fn check(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, TlogProofError> {
        let checkpoint = key.open(self.note.as_bytes()).map_err(TlogProofError::Checkpoint)?;
        let head = Head { size: checkpoint.size, root: checkpoint.root };
        if !includes(head, self.index, leaf_hash(entry), &self.path) {
            return Err(TlogProofError::OtherEntry(self.index));
        }
        Ok(checkpoint)
    }
}

impl std::fmt::Display for TlogProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{FIRST_LINE}\nindex {}", self.index)?;
        hash_lines(f, &self.path)?;
        write!(f, "\n{}", self.note)
    }
}

/// A number in the one plain form: decimal, without a sign or leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Hashes as lines of base64, each with its newline.
pub(crate) fn hash_lines(out: &mut impl Write, hashes: &[Digest]) -> std::fmt::Result {
    hashes.iter().try_for_each(|hash| writeln!(out, "{}", STANDARD.encode(hash.0)))
}

/// The hash of such a line.
pub(crate) fn hash_line(line: &str) -> Option<Digest> {
    STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok()).map(Digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckpointKey, merkle::node_hash};

    /// A tree of two entries under a signed head, and the proof of the second.
    fn proof() -> (VerifierKey, TlogProof) {
        let key = CheckpointKey::from_seed(&[7; 32]);
        let verifier = key.verifier("acme.example/audit").unwrap();
        let (first, second) = (leaf_hash(b"first"), leaf_hash(b"second"));
        let origin = verifier.name().to_owned();
        let root = node_hash(&first, &second);
        let note = key.sign(&Checkpoint { origin, size: 2, root }, &verifier);
        (verifier, TlogProof { index: 1, path: vec![first], note })
    }

    #[test]
    fn a_proof_reads_back_and_holds_for_its_entry_and_no_other() {
        let (key, proof) = proof();
        let again = TlogProof::parse(proof.to_string().as_bytes()).unwrap();
        assert_eq!(again, proof);
        assert_eq!(again.check(b"second", &key).map(|head| head.size), Ok(2));
        assert_eq!(again.check(b"first", &key), Err(TlogProofError::OtherEntry(1)));
        let other = CheckpointKey::from_seed(&[8; 32]).verifier("acme.example/audit").unwrap();
        assert!(matches!(again.check(b"second", &other), Err(TlogProofError::Checkpoint(_))));
    }

    #[test]
    fn extra_data_of_others_is_left_aside() {
        let (key, proof) = proof();
        let extra = proof.to_string().replacen("\nindex", "\nextra AAAA\nindex", 1);
        assert!(TlogProof::parse(extra.as_bytes()).unwrap().check(b"second", &key).is_ok());
    }

    #[test]
    fn a_proof_of_any_other_form_is_refused() {
        let (_, proof) = proof();
        let text = proof.to_string();
        let hash = text.split('\n').nth(2).unwrap();
        let many = format!("{hash}\n").repeat(MAX_PATH + 1);
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 1", "index 01"),
            ("index 1", "index +1"),
            ("index 1", "index"),
            ("index 1\n", ""),
            ("\nindex", "\nextra !\nindex"),
            ("\nindex", "\nextra AAAA\nextra AAAA\nindex"),
            ("\nindex", "\nunknown AAAA\nindex"),
            (hash, "AAAA"),
            (hash, &hash[1..]),
            (&format!("{hash}\n"), &many),
            ("\n\n", "\n"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            let read = TlogProof::parse(changed.as_bytes());
            // Without the first blank line the next one, before the signatures, is taken for it.
            assert!(matches!(read, Err(TlogProofError::Malformed(_))), "{changed:?} was read");
        }
        let long = text + &"x".repeat(MAX_TLOG_PROOF);
        assert!(TlogProof::parse(long.as_bytes()).is_err());
    }

    #[test]
    fn flipping_any_bit_of_a_proof_is_noticed() {
        let (key, proof) = proof();
        let text = proof.to_string().into_bytes();
        for at in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let holds =
                TlogProof::parse(&changed).is_ok_and(|it| it.check(b"second", &key).is_ok());
            assert!(!holds, "bit {at}");
        }
    }
}
