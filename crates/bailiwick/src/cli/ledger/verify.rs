//! `ledger verify`, which is `verify`, too.

use std::{
    fmt::Write as _,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use ledger::{
    VerifierKey, Witnessed,
    verify::{Class, Report},
};
use model::Foreign;
use serde_json::{Value, json};

use super::Place;
use crate::{
    client::now,
    failure::{Exit, Failure, Result},
    files, keys, moment,
    output::{Answer, fields},
    witness::read_policy,
};

/// Check a ledger or a pack.
#[derive(Args)]
pub(crate) struct Verify {
    /// An exported pack; the installation's own ledger when left out.
    pack: Option<PathBuf>,
    /// The verifier key, `name+id+key`, or a file with it. Never take it from the pack.
    #[arg(long, value_name = "LINE|FILE")]
    key: Option<String>,
    /// A signed checkpoint that you have kept from before; may be repeated.
    #[arg(long = "older", value_name = "FILE")]
    older: Vec<PathBuf>,
    /// A C2SP tlog-policy: the witnesses that you trust, and how many must have cosigned a head.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Verify {
    pub(crate) fn run(self) -> Result<Answer> {
        let folder = match &self.pack {
            Some(pack) => found(pack)?,
            None => self.place.ledger()?,
        };
        let key = match (&self.key, &self.pack) {
            (Some(key), _) => given_key(key)?.to_string(),
            (None, None) => self.place.key()?,
            (None, Some(_)) => {
                return Err(Failure::new("key_not_given", "a pack is checked with a key that you already hold")
                    .why("a key from inside the pack would fit whatever is in it")
                    .next("say `--key LINE`; whoever runs the ledger prints it with `bailiwick ledger key`")
                    .exit(Exit::Usage));
            }
        };
        let older = self.older.iter().map(|file| files::read(file)).collect::<Result<Vec<_>>>()?;
        let older: Vec<&[u8]> = older.iter().map(Vec::as_slice).collect();
        let keys = self.subject_keys()?;
        let check = if self.pack.is_some() { ledger::verify::pack } else { ledger::verify::log };
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        let mut report = check(&folder, &key, &older, keys.as_ref());
        if let (Some(policy), Ok(key)) = (&policy, key.parse()) {
            report.ask_for_witnesses(&key, policy, now());
        }
        let exit = if report.is_clean() { Exit::Done } else { Exit::No };
        Ok(Answer::new(document(&report), text(&report)).exit(exit))
    }

    /// Whoever checks their own ledger with its configuration at hand has commitments checked, too.
    fn subject_keys(&self) -> Result<Option<ledger::SubjectKeys>> {
        if self.pack.is_some() || self.place.data.is_some() {
            return Ok(None);
        }
        let config = self.place.load()?;
        let master = keys::master(&config.master_key, &config.keys_dir())?;
        let book = keys::subjects(&config.subject_keys, master)?;
        Ok(Some(ledger::SubjectKeys::new(Arc::new(book))))
    }
}

/// The folder of a pack. What is no pack gets no verdict: nothing was read that could be right or wrong.
fn found(pack: &Path) -> Result<PathBuf> {
    let missing = |why: &str| {
        Failure::new("pack_missing", format!("there is no pack in `{}`", pack.display()))
            .why(why)
            .next("name the folder that `bailiwick ledger export` made")
            .exit(Exit::NotFound)
    };
    if pack.is_file() {
        return Err(missing("it is a file, and a pack is a folder"));
    }
    if !pack.is_dir() {
        return Err(missing("there is no such folder"));
    }
    match pack.join("checkpoint").metadata() {
        Ok(_) => Ok(pack.to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(missing(
            "it has no signed head, `checkpoint`, without which nothing can be checked",
        )),
        Err(error) => Err(files::unreadable(&pack.join("checkpoint"), &error)),
    }
}

/// A verifier key that was given as a line or as a file with one.
pub(in crate::cli) fn given_key(given: &str) -> Result<VerifierKey> {
    let file = Path::new(given).is_file();
    let line =
        if file { files::read_text(Path::new(given))?.trim().to_owned() } else { given.to_owned() };
    line.parse::<VerifierKey>().map_err(|error| {
        let what = if file { "the file holds no verifier key" } else { "this is no verifier key, and no file with one" };
        Failure::new("key_invalid", format!("{what}: `{}`", Foreign::new(shortened(given))))
            .because(&error)
            .next("say `--key LINE` or `--key FILE`; whoever runs the ledger prints the line with `bailiwick ledger key`")
            .exit(Exit::Usage)
    })
}

/// As much of a text as fits into a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn text(report: &Report) -> String {
    let word = |class| match said(report, class) {
        Some(true) => "holds",
        Some(false) => "FAILS",
        None => "not checked: without a signed head there is nothing to check against",
    };
    let head = report.checkpoint.as_ref();
    let head = head.map_or("not accepted".to_owned(), |head| {
        format!("{} entries, root {}", head.size, head.root)
    });
    let mut text = format!(
        "{}\n{}",
        if report.is_clean() { "VERIFIED" } else { "NOT VERIFIED" },
        fields([
            ("signed head", head),
            ("entries", report.entries.to_string()),
            ("tiles", report.tiles.to_string()),
            (
                "payloads",
                format!("{} sealed, {} commitments opened", report.payloads, report.commitments)
            ),
            ("integrity", word(Class::Integrity).to_owned()),
            ("completeness", word(Class::Completeness).to_owned()),
            ("correctness", word(Class::Correctness).to_owned()),
        ])
    );
    for erasure in &report.erasures {
        let _ =
            write!(text, "\n  erased by entry {}: {} payloads", erasure.index, erasure.payloads);
    }
    if let Some(Witnessed { checkpoint, by }) = &report.witnessed {
        let who: Vec<String> =
            by.iter().map(|(name, at)| format!("`{name}` at {}", moment::text(*at))).collect();
        let _ = write!(text, "\n  witnessed: {} entries, by {}", checkpoint.size, who.join(", "));
        let last = report.checkpoint.as_ref().map_or(0, |head| head.size);
        if last > checkpoint.size {
            let _ = write!(text, "\n  not witnessed: entries {} to {}", checkpoint.size, last - 1);
        }
    }
    if report.uncovered > 0 {
        let _ = write!(text, "\n  beside: {} files that no signed head covers", report.uncovered);
    }
    for open in &report.open {
        let _ = write!(
            text,
            "\n  open: entry {} permitted {}, and no outcome is recorded",
            open.index, open.action
        );
    }
    for finding in &report.findings {
        let _ = write!(text, "\n  {}", Foreign::new(finding.to_string()));
    }
    if report.further > 0 {
        let _ = write!(text, "\n  and {} more", report.further);
    }
    text
}

/// Whether a question is answered with yes; `None` where it was never asked, because no head could be accepted.
fn said(report: &Report, class: Class) -> Option<bool> {
    let asked = report.checkpoint.is_some() || !report.holds(class);
    asked.then(|| report.holds(class))
}

fn document(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "class": finding.class.to_string(),
            "place": finding.place.to_string(),
            "what": finding.what,
        })
    });
    json!({
        "verified": report.is_clean(),
        "size": report.checkpoint.as_ref().map(|head| head.size),
        "root": report.checkpoint.as_ref().map(|head| head.root),
        "entries": report.entries,
        "tiles": report.tiles,
        "payloads": report.payloads,
        "commitments": report.commitments,
        "erased": report.erased,
        "erasures": report.erasures.iter().map(|erasure| json!({ "entry": erasure.index, "payloads": erasure.payloads })).collect::<Vec<_>>(),
        "uncovered": report.uncovered,
        "witnessed": report.witnessed.as_ref().map(|witnessed| json!({
            "size": witnessed.checkpoint.size,
            "by": witnessed.by.iter().map(|(name, at)| json!({ "name": name, "at": at.millis() })).collect::<Vec<_>>(),
        })),
        "integrity": said(report, Class::Integrity),
        "completeness": said(report, Class::Completeness),
        "correctness": said(report, Class::Correctness),
        "open": report.open.iter().map(|open| json!({ "action": open.action, "index": open.index })).collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        "further": report.further,
    })
}
