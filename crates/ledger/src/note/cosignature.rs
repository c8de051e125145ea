//! What a witness says of a log's head: that at a time it had seen no larger one, and that it contains all that it had seen
//! before ([C2SP tlog-cosignature](https://c2sp.org/tlog-cosignature), Ed25519).

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::Timestamp;

use super::{CheckpointKey, Key, NoteError, WitnessKey, lines, split};

/// How far a witness's clock may be ahead of the one that a cosignature is checked by, in seconds.
const MAX_AHEAD_SECONDS: u64 = 30;

impl CheckpointKey {
    /// The key to check this one's cosignatures with. A key that signs for a log must not cosign.
    ///
    /// # Errors
    /// The name is empty or too long, or has a space, a plus sign or a control character.
    pub fn witness(&self, name: &str) -> Result<WitnessKey, NoteError> {
        Key::new(name, self.public()).map(WitnessKey)
    }

    /// Cosigns a head, whoever signed it: the line to put below the note, with its newline. To check before that the log
    /// signed it and that it contains every head cosigned before is the caller's duty.
    ///
    /// # Errors
    /// It is not a note, or the moment lies before 1970.
    pub fn cosign(
        &self,
        note: &[u8],
        witness: &WitnessKey,
        at: Timestamp,
    ) -> Result<String, NoteError> {
        let (text, _) = split(note)?;
        let seconds = u64::try_from(at.seconds()).map_err(|_| NoteError::Time)?;
        let signature = self.pair.sign(message(text, seconds).as_bytes());
        let bytes = [&witness.0.id[..], &seconds.to_be_bytes(), signature.as_ref()].concat();
        Ok(format!("\u{2014} {} {}\n", witness.name(), STANDARD.encode(bytes)))
    }
}

impl WitnessKey {
    /// When this witness cosigned the head of a note; `None` where it did not.
    ///
    /// # Errors
    /// It is not a note, or has a line of this witness that does not fit, is from the future, or is one of two.
    pub fn cosigned(&self, note: &[u8], now: Timestamp) -> Result<Option<Timestamp>, NoteError> {
        let (text, signatures) = split(note)?;
        let all = lines(signatures)?;
        let mut own = all.iter().filter(|line| line.is_of(&self.0));
        let first = own.next();
        if own.next().is_some() {
            return Err(NoteError::Malformed("two signatures are of one key"));
        }
        first.map(|line| self.check(text, &line.signature, now)).transpose()
    }

    /// The line of this witness among those that it answered with, if it fits the head of a note.
    ///
    /// # Errors
    /// As [`WitnessKey::cosigned`]; lines of other keys are left aside.
    pub fn line_for(
        &self,
        note: &[u8],
        answer: &str,
        now: Timestamp,
    ) -> Result<Option<String>, NoteError> {
        let (text, _) = split(note)?;
        // First: an answer with a text of its own would make another note of it.
        let all = lines(answer)?;
        let cosigned = format!("{text}\n{answer}");
        if self.cosigned(cosigned.as_bytes(), now)?.is_none() {
            return Ok(None);
        }
        let own = all.iter().zip(answer.lines()).find(|(line, _)| line.is_of(&self.0));
        Ok(own.map(|(_, line)| format!("{line}\n")))
    }

    fn check(&self, text: &str, signature: &[u8], now: Timestamp) -> Result<Timestamp, NoteError> {
        let bad = || NoteError::BadSignature(self.name().to_owned());
        let (seconds, signature) = signature.split_first_chunk::<8>().ok_or_else(bad)?;
        let seconds = u64::from_be_bytes(*seconds);
        UnparsedPublicKey::new(&ED25519, &self.0.public)
            .verify(message(text, seconds).as_bytes(), signature)
            .map_err(|_| bad())?;
        let latest = u64::try_from(now.seconds()).unwrap_or(0) + MAX_AHEAD_SECONDS;
        match i64::try_from(seconds) {
            Ok(at) if seconds <= latest => Ok(Timestamp::from_seconds(at)),
            _ => Err(NoteError::Time),
        }
    }
}

/// What is signed: a time, then the whole text of the note.
fn message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

#[cfg(test)]
mod tests {
    use model::Digest;

    use super::*;
    use crate::Checkpoint;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn note() -> String {
        let key = CheckpointKey::from_seed(&[7; 32]);
        let verifier = key.verifier("acme.example/audit").unwrap();
        let origin = verifier.name().to_owned();
        key.sign(&Checkpoint { origin, size: 42, root: Digest([9; 32]) }, &verifier)
    }

    fn witness() -> (CheckpointKey, WitnessKey) {
        let key = CheckpointKey::from_seed(&[8; 32]);
        let public = key.witness("witness.example/w1").unwrap();
        (key, public)
    }

    #[test]
    fn a_cosignature_says_who_and_when_and_the_log_is_still_read() {
        let ((key, witness), note) = (witness(), note());
        assert_eq!(witness.cosigned(note.as_bytes(), at(100)), Ok(None));
        let line = key.cosign(note.as_bytes(), &witness, at(100)).unwrap();
        let cosigned = format!("{note}{line}");
        assert_eq!(witness.cosigned(cosigned.as_bytes(), at(100)), Ok(Some(at(100))));
        let log = CheckpointKey::from_seed(&[7; 32]).verifier("acme.example/audit").unwrap();
        assert!(log.open(cosigned.as_bytes()).is_ok());
        let stranger = CheckpointKey::from_seed(&[9; 32]).witness(witness.name()).unwrap();
        assert_eq!(stranger.cosigned(cosigned.as_bytes(), at(100)), Ok(None));
    }

    #[test]
    fn a_cosignature_of_the_example_in_the_specification_has_this_form() {
        let line = {
            let ((key, witness), note) = (witness(), note());
            key.cosign(note.as_bytes(), &witness, at(1_679_315_147)).unwrap()
        };
        let bytes = line.trim_end().rsplit(' ').next().unwrap();
        let bytes = STANDARD.decode(bytes).unwrap();
        assert_eq!(bytes.len(), 4 + 8 + 64);
        assert_eq!(bytes[4..12], 1_679_315_147_u64.to_be_bytes());
    }

    #[test]
    fn a_cosignature_from_the_future_does_not_count() {
        let ((key, witness), note) = (witness(), note());
        let line = key.cosign(note.as_bytes(), &witness, at(131)).unwrap();
        let cosigned = format!("{note}{line}");
        assert_eq!(witness.cosigned(cosigned.as_bytes(), at(100)), Err(NoteError::Time));
        assert_eq!(witness.cosigned(cosigned.as_bytes(), at(101)), Ok(Some(at(131))));
        assert_eq!(key.cosign(note.as_bytes(), &witness, at(-1)), Err(NoteError::Time));
    }

    #[test]
    fn a_second_line_of_one_witness_refuses_the_note() {
        let ((key, witness), note) = (witness(), note());
        let line = |seconds| key.cosign(note.as_bytes(), &witness, at(seconds)).unwrap();
        let twice = format!("{note}{}{}", line(100), line(101));
        // Whatever their times are.
        for now in [101, 0] {
            let refused = witness.cosigned(twice.as_bytes(), at(now));
            assert!(matches!(refused, Err(NoteError::Malformed(_))), "{refused:?}");
        }
    }

    #[test]
    fn flipping_any_bit_of_a_cosigned_head_leaves_no_cosignature() {
        let ((key, witness), note) = (witness(), note());
        let line = key.cosign(note.as_bytes(), &witness, at(100)).unwrap();
        let (whole, kept) = (format!("{note}{line}"), note.split("\n\n").next().unwrap().len());
        // The log's own line is the log's key to judge.
        let bits = (0..kept * 8).chain(note.len() * 8..whole.len() * 8);
        for bit in bits {
            let mut changed = whole.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            let cosigned = witness.cosigned(&changed, at(100));
            assert!(matches!(cosigned, Err(_) | Ok(None)), "bit {bit}");
        }
    }

    #[test]
    fn of_an_answer_only_the_witnesses_own_line_is_taken_and_only_if_it_fits() {
        let ((key, witness), note) = (witness(), note());
        let line = key.cosign(note.as_bytes(), &witness, at(100)).unwrap();
        let other = CheckpointKey::from_seed(&[9; 32]);
        let theirs = other.witness("witness.example/w2").unwrap();
        let theirs = other.cosign(note.as_bytes(), &theirs, at(100)).unwrap();
        let answer = format!("{theirs}{line}");
        let taken = witness.line_for(note.as_bytes(), &answer, at(100));
        assert_eq!(taken, Ok(Some(line.clone())));
        assert_eq!(witness.line_for(note.as_bytes(), &theirs, at(100)), Ok(None));
        let another = note.replacen("\n42\n", "\n43\n", 1);
        assert!(witness.line_for(another.as_bytes(), &line, at(100)).is_err());
        let longer = note.replacen("\n\n", "\n\nmore\n\n", 1);
        let longer = key.cosign(longer.as_bytes(), &witness, at(100)).unwrap();
        let more = format!("more\n\n{longer}");
        for wrong in ["", "\n", "no line\n", &more, line.trim_end()] {
            assert!(witness.line_for(note.as_bytes(), wrong, at(100)).is_err(), "{wrong:?}");
        }
    }
}
