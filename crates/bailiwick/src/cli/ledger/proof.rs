//! `ledger proof` and `ledger verify-proof`: one entry, proven without the rest of the ledger.

use std::path::{Path, PathBuf};

use clap::Args;
use ledger::{TlogPolicy, TlogProof};
use model::Foreign;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::verify::given_key;
use crate::{
    client::{Client, Context, now},
    failure::{Exit, Failure, Result, chain},
    files,
    output::{Answer, fields, word},
    witness::read_policy,
};

/// Write what proves one entry.
#[derive(Args)]
pub(crate) struct Prove {
    #[command(flatten)]
    context: Context,
    /// The entry's position, which `ledger show` lists.
    index: u64,
    /// A new file for the proof, by custom `*.tlog-proof`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A new file for the entry, too, byte for byte as it is hashed: what the proof is checked with.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
}

/// An entry as the server shows it, as far as it is needed.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    leaf: &'a RawValue,
}

/// What came proves something else.
#[derive(Debug, thiserror::Error)]
#[error("it proves entry {0}")]
struct OtherEntry(u64);

impl Prove {
    pub(super) async fn run(self) -> Result<Answer> {
        let Self { context, index, out, entry } = self;
        let mut client = Client::sign_in(&context).await?;
        let path = format!("/v1/ledger/entries/{index}");
        let proof = client.bytes(&format!("{path}/proof")).await?;
        check(&proof, index)?;
        let mut written: Vec<(&Path, &[u8])> = Vec::new();
        let shown = match &entry {
            Some(_) => Some(client.bytes(&path).await?),
            None => None,
        };
        if let (Some(entry), Some(shown)) = (&entry, &shown) {
            let shown: Shown<'_> =
                serde_json::from_slice(shown).map_err(|error| strange(&error))?;
            written.push((entry, shown.leaf.get().as_bytes()));
        }
        written.push((&out, &proof));
        files::write_all_new(&written)?;
        let (out, entry) = (out.display().to_string(), entry.map(|it| it.display().to_string()));
        let text = format!(
            "`{out}` proves entry {index}\n\nTo check it, with the key by another way:\n  \
             bailiwick ledger verify-proof {} --entry {} --key LINE",
            word(&out),
            entry.as_deref().map_or_else(|| "FILE".to_owned(), word)
        );
        let document = json!({ "proof": out, "entry": entry, "index": index });
        Ok(Answer::new(document, text))
    }
}

/// Whether this is a proof, and of this entry.
fn check(proof: &[u8], index: u64) -> Result<()> {
    match TlogProof::parse(proof).map_err(|error| strange(&error))?.index() {
        proven if proven == index => Ok(()),
        proven => Err(strange(&OtherEntry(proven))),
    }
}

fn strange(error: &dyn std::error::Error) -> Failure {
    Failure::new("answer_not_read", "the server's answer is not the one that was asked for")
        .because(error)
        .next("check that `--server` is a Bailiwick, of this version")
}

/// Check what `ledger proof` wrote.
#[derive(Args)]
pub(crate) struct VerifyProof {
    /// The proof.
    proof: PathBuf,
    /// The entry, byte for byte.
    #[arg(long, value_name = "FILE")]
    entry: PathBuf,
    /// The verifier key, `name+id+key`, or a file with it, by another way than the proof.
    #[arg(long, value_name = "LINE|FILE")]
    key: String,
    /// A C2SP tlog-policy: the witnesses that you trust, and how many must have cosigned the head.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl VerifyProof {
    pub(super) fn run(self) -> Result<Answer> {
        let key = given_key(&self.key)?;
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        let proof = read_proof(&self.proof)?;
        let entry = files::read(&self.entry)?;
        let (index, note) = (proof.index(), proof.note().as_bytes());
        let checked = match (proof.check(&entry, &key), &policy) {
            (Err(why), _) => Err(chain(&why)),
            (Ok(head), None) => Ok((head, Vec::new())),
            (Ok(head), Some(policy)) => match policy.check(&key, note, now()) {
                Ok(witnessed) => {
                    Ok((head, witnessed.by.into_iter().map(|(name, _)| name).collect()))
                }
                Err(why) => Err(chain(&why)),
            },
        };
        let (exit, held) = match &checked {
            Ok(_) => (Exit::Done, checked.as_ref().ok()),
            Err(_) => (Exit::No, None),
        };
        let document = json!({
            "verified": held.is_some(),
            "index": index,
            "size": held.map(|(head, _)| head.size),
            "root": held.map(|(head, _)| head.root),
            "witnesses": held.map(|(_, by)| by),
            "why": checked.as_ref().err(),
        });
        let text = match &checked {
            Ok((head, by)) => {
                let mut lines = vec![
                    ("entry", format!("{index} of `{}`", head.origin)),
                    ("signed head", format!("{} entries, root {}", head.size, head.root)),
                ];
                if policy.as_ref().is_some_and(TlogPolicy::wants_witnesses) {
                    lines.push(("witnessed by", by.join(", ")));
                }
                format!("VERIFIED\n{}", fields(lines))
            }
            Err(why) => format!("NOT VERIFIED\n  {}", Foreign::new(why)),
        };
        Ok(Answer::new(document, text).exit(exit))
    }
}

/// A file that is no proof gets no verdict: nothing was read that could be right or wrong.
fn read_proof(path: &Path) -> Result<TlogProof> {
    TlogProof::parse(&files::read(path)?).map_err(|error| {
        Failure::new("proof_invalid", format!("`{}` holds no proof of an entry", path.display()))
            .because(&error)
            .next("name the file that `bailiwick ledger proof` wrote")
            .exit(Exit::Usage)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_of_another_entry_than_the_one_asked_for_is_refused() {
        let proof = b"c2sp.org/tlog-proof@v1\nindex 7\n\nacme/prod/1\n8\n";
        assert!(check(proof, 7).is_ok());
        assert_eq!(check(proof, 8).unwrap_err().code, "answer_not_read");
        assert_eq!(check(b"nothing", 7).unwrap_err().code, "answer_not_read");
    }
}
