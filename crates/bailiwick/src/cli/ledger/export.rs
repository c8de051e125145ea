//! `ledger export`.

use std::path::Path;

use ledger::{Checkpoint, HeadFile};
use serde_json::json;

use super::{Place, given_key};
use crate::{
    failure::{Exit, Failure, Result},
    output::{Answer, word},
    witness::{kept_head, read_policy},
};

/// Copies what is published into a folder.
pub(super) fn export(place: &Place, out: &Path, unwitnessed: bool) -> Result<Answer> {
    let ledger = place.ledger()?;
    let which = which(place, &ledger, unwitnessed)?;
    let head = ledger::export(&ledger, out, which).map_err(|error| {
        let failure = Failure::new("not_exported", "the ledger was not exported").because(&error);
        match error {
            ledger::ExportError::NotEmpty(_) => {
                failure.next("name a new or an empty folder").exit(Exit::Conflict)
            }
            ledger::ExportError::Checkpoint(_) | ledger::ExportError::Damaged(_) => {
                failure.next(format!("look with `bailiwick verify{}`", place.said()))
            }
            ledger::ExportError::Erased(_) => failure.next(
                "remove the folder and export again in a moment; where witnesses have not cosigned the newest head, with `--unwitnessed`",
            ),
            ledger::ExportError::Io { .. } => {
                failure.next("see that both folders can be used, and that there is room")
            }
        }
    })?;
    let (out, size) = (out.display().to_string(), head.size);
    let mut text = format!("{size} entries are in `{out}`");
    let mut left_out = 0;
    if which == HeadFile::Witnessed {
        text += ", as far as they are witnessed";
        left_out = newest(&ledger).saturating_sub(size);
        if left_out > 0 {
            text +=
                &format!("; {left_out} newer ones are left out (`--unwitnessed` takes them, too)");
        }
    }
    text += &format!(
        "\n\nTo check it, with the key by another way:\n  bailiwick verify {} --key \"$(bailiwick ledger key{})\"",
        word(&out),
        place.said()
    );
    let document = json!({
        "pack": out,
        "entries": size,
        "root": head.root,
        "witnessed": which == HeadFile::Witnessed,
        "left_out": left_out,
    });
    Ok(Answer::new(document, text))
}

/// How many entries the newest head covers.
fn newest(ledger: &Path) -> u64 {
    let note = std::fs::read(ledger.join(HeadFile::Newest.name())).unwrap_or_default();
    Checkpoint::unverified(&note).map_or(0, |head| head.size)
}

/// Where witnesses are configured, the head that they have cosigned. Where only the data folder is known, one that it keeps
/// for them.
fn which(place: &Place, ledger: &Path, unwitnessed: bool) -> Result<HeadFile> {
    if unwitnessed {
        return Ok(HeadFile::Newest);
    }
    if place.data.is_some() {
        let kept = ledger.join(HeadFile::Witnessed.name()).is_file();
        return Ok(if kept { HeadFile::Witnessed } else { HeadFile::Newest });
    }
    let Some(file) = place.load()?.witnesses else { return Ok(HeadFile::Newest) };
    let (policy, key) = (read_policy(&file)?, given_key(&place.key()?)?);
    kept_head(ledger, &key, &policy).map(|_| HeadFile::Witnessed).map_err(|why| {
        Failure::new("not_witnessed", "no head of the ledger is witnessed as its policy wants it")
            .why(why)
            .next("see that the witnesses can be reached (`ledger.witnesses` names them), or say `--unwitnessed` to export the newest head all the same")
    })
}
