//! What a log gives a witness to cosign: the body of `add-checkpoint` of
//! [C2SP tlog-witness](https://c2sp.org/tlog-witness@v1.1.0).

use model::Digest;

use crate::{
    note::MAX_NOTE,
    receipt::{decimal, hash_line, hash_lines},
};

/// The most hashes that a consistency proof has there.
const MAX_PROOF: usize = 63;

/// The longest body, in bytes: the longest note, and the lines before it.
pub const MAX_SUBMISSION: usize = MAX_NOTE + 4 * 1024;

/// A head for a witness, and what proves that it contains the one which the witness saw last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The size of the head that the witness saw last, zero where it saw none.
    pub old: u64,
    /// The consistency proof from there on.
    pub path: Vec<Digest>,
    /// The signed head.
    pub note: String,
}

/// The bytes are no submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the body of an `add-checkpoint`: {0}")]
pub struct SubmissionError(&'static str);

impl Submission {
    /// Reads a body.
    ///
    /// # Errors
    /// It has another form, or is too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, SubmissionError> {
        if bytes.len() > MAX_SUBMISSION {
            return Err(SubmissionError("it is longer than 68 KiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| SubmissionError("it is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(SubmissionError("no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old = old.ok_or(SubmissionError("its first line is not `old` and a size"))?;
        let path: Option<Vec<Digest>> = lines.take(MAX_PROOF + 1).map(hash_line).collect();
        let path = path.ok_or(SubmissionError("a hash is not base64 of 32 bytes"))?;
        if path.len() > MAX_PROOF {
            return Err(SubmissionError("its proof has more than 63 hashes"));
        }
        Ok(Self { old, path, note: note.to_owned() })
    }
}

impl std::fmt::Display for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "old {}", self.old)?;
        hash_lines(f, &self.path)?;
        write!(f, "\n{}", self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_reads_back_as_it_was_written() {
        for path in [vec![], vec![Digest([7; 32]); MAX_PROOF]] {
            let submission = Submission { old: 41, path, note: "acme\n42\n".to_owned() };
            let read = Submission::parse(submission.to_string().as_bytes());
            assert_eq!(read, Ok(submission));
        }
    }

    #[test]
    fn a_submission_of_any_other_form_is_refused() {
        let path = vec![Digest([7; 32])];
        let text = Submission { old: 41, path, note: "acme\n42\n".to_owned() }.to_string();
        let hash = text.lines().nth(1).unwrap();
        let many = format!("{hash}\n").repeat(MAX_PROOF + 1);
        for (from, to) in [
            ("old 41", "old 041"),
            ("old 41", "old +41"),
            ("old 41", "old -1"),
            ("old 41", "old"),
            ("old 41", "Old 41"),
            ("old 41\n", ""),
            ("old 41\n", "old 41\r\n"),
            (hash, "AAAA"),
            (&format!("{hash}\n"), &many),
            ("\n\n", "\n"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(Submission::parse(changed.as_bytes()).is_err(), "{changed:?} was read");
        }
        let long = text + &"x".repeat(MAX_SUBMISSION);
        assert!(Submission::parse(long.as_bytes()).is_err());
    }
}
