//! `ledger export`.

use std::path::Path;

use ledger::HeadFile;
use serde_json::json;

use super::Place;
use crate::{
    failure::{Exit, Failure, Result},
    output::{Answer, word},
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
    let text = format!(
        "{size} entries are in `{out}`{}\n\nTo check it, with the key by another way:\n  \
         bailiwick verify {} --key \"$(bailiwick ledger key{})\"",
        if which == HeadFile::Witnessed { ", as far as they are witnessed" } else { "" },
        word(&out),
        place.said()
    );
    let document = json!({ "pack": out, "entries": size, "root": head.root, "witnessed": which == HeadFile::Witnessed });
    Ok(Answer::new(document, text))
}

/// Where witnesses are configured, or have cosigned already, the head that they have cosigned.
fn which(place: &Place, ledger: &Path, unwitnessed: bool) -> Result<HeadFile> {
    if unwitnessed {
        return Ok(HeadFile::Newest);
    }
    if ledger.join(HeadFile::Witnessed.name()).is_file() {
        return Ok(HeadFile::Witnessed);
    }
    if place.data.is_none() && place.load()?.witnesses.is_some() {
        return Err(Failure::new("not_witnessed", "no head of the ledger is witnessed yet")
            .why("witnesses are configured (`ledger.witnesses`), and too few of them have cosigned a head")
            .next("see that they can be reached, or say `--unwitnessed` to export the newest head all the same"));
    }
    Ok(HeadFile::Newest)
}
