use std::{
    fmt::Write as _,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use ledger::verify::{Class, Report};
use model::{ActionId, Foreign, TaskId};
use serde_json::{Value, json};

use super::{ConfigArgs, DEFAULT_CONFIG, show};
use crate::{
    client::{Client, Context},
    config::{self, Config},
    failure::{Exit, Failure, Result},
    files,
    keys::{self, VERIFIER_FILE},
    output::{Answer, Table, fields, word},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show entries, from the server.
    Show {
        #[command(flatten)]
        context: Context,
        /// The first position; the newest entries when left out.
        #[arg(long)]
        from: Option<u64>,
        /// At most so many.
        #[arg(long)]
        limit: Option<u64>,
        /// Only what belongs to one action.
        #[arg(long)]
        action: Option<ActionId>,
        /// Only what belongs to one task.
        #[arg(long)]
        task: Option<TaskId>,
        /// Open sealed payloads, too. That is recorded.
        #[arg(long)]
        payload: bool,
    },
    /// Check a ledger or a pack, offline; exit status 3 where something is wrong.
    Verify(Verify),
    /// Copy the published ledger into a folder for an auditor, offline.
    Export {
        /// An empty or new folder.
        out: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Print the key that checks the ledger's signatures, offline. Give it to auditors by another way than the pack.
    Key {
        #[command(flatten)]
        place: Place,
    },
}

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
    #[command(flatten)]
    place: Place,
}

/// Which installation.
#[derive(Args)]
pub(crate) struct Place {
    /// Its data folder, instead of the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Command {
    pub(super) async fn run(self) -> Result<Answer> {
        match self {
            Self::Show { context, from, limit, action, task, payload } => {
                let mut query: Vec<String> = Vec::new();
                query.extend(from.map(|from| format!("from={from}")));
                query.extend(limit.map(|limit| format!("limit={limit}")));
                query.extend(action.map(|action| format!("action={action}")));
                query.extend(task.map(|task| format!("task={task}")));
                if payload {
                    query.push("payload=true".to_owned());
                }
                let path = format!("/v1/ledger/entries?{}", query.join("&"));
                let document =
                    Client::sign_in(&context).await?.get(path.trim_end_matches('?')).await?;
                let wanted = (action.map(|id| ("action", id.to_string())))
                    .or(task.map(|id| ("task", id.to_string())));
                let none = show::rows(&document).is_empty() && document["next"].is_null();
                match wanted {
                    Some((kind, id)) if none => Err(nothing_of(kind, &id)),
                    _ => {
                        let text = if none { "no entries".to_owned() } else { entries(&document) };
                        Ok(Answer::new(document, text))
                    }
                }
            }
            Self::Verify(verify) => verify.run(),
            Self::Export { out, place } => place.export(&out),
            Self::Key { place } => {
                let key = place.key()?;
                Ok(Answer::new(json!({ "key": &key }), key))
            }
        }
    }
}

impl Place {
    fn data(&self) -> Result<PathBuf> {
        match &self.data {
            Some(data) => Ok(data.clone()),
            None => Ok(self.load()?.data),
        }
    }

    fn load(&self) -> Result<Config> {
        config::load(&self.config.config, &self.config.set)
    }

    fn ledger(&self) -> Result<PathBuf> {
        let folder = self.data()?.join("ledger");
        if folder.join("checkpoint").is_file() {
            return Ok(folder);
        }
        Err(Failure::new("ledger_missing", format!("`{}` holds no ledger", folder.display()))
            .why("there is no signed head, `checkpoint`, in it")
            .next("name the data folder with `--data DIR`; a new installation has one once `serve` has run")
            .exit(Exit::NotFound))
    }

    /// The public line that `init` wrote.
    fn key(&self) -> Result<String> {
        let text = files::read_text(&self.data()?.join("keys").join(VERIFIER_FILE))?;
        Ok(text.trim().to_owned())
    }

    /// What was said of the place on the command line, to be said again.
    fn said(&self) -> String {
        let Self { data, config: ConfigArgs { config, set } } = self;
        let data = data.iter().map(|data| ("--data", data.display().to_string()));
        let named = Some(config).filter(|config| config.as_path() != Path::new(DEFAULT_CONFIG));
        let config = named.map(|config| ("--config", config.display().to_string()));
        let set = set.iter().map(|set| ("--set", set.clone()));
        let words = data.chain(config).chain(set);
        words.map(|(flag, value)| format!(" {flag} {}", word(&value))).collect()
    }

    fn export(&self, out: &Path) -> Result<Answer> {
        let head = ledger::export(&self.ledger()?, out).map_err(|error| {
            let failure =
                Failure::new("not_exported", "the ledger was not exported").because(&error);
            match error {
                ledger::ExportError::NotEmpty(_) => {
                    failure.next("name a new or an empty folder").exit(Exit::Conflict)
                }
                ledger::ExportError::Checkpoint(_) | ledger::ExportError::Damaged(_) => {
                    failure.next(format!("look with `bailiwick verify{}`", self.said()))
                }
                ledger::ExportError::Io { .. } => {
                    failure.next("see that both folders can be used, and that there is room")
                }
            }
        })?;
        let (out, size) = (out.display().to_string(), head.size);
        let text = format!(
            "{size} entries are in `{out}`\n\nTo check it, with the key by another way:\n  \
             bailiwick verify {} --key \"$(bailiwick ledger key{})\"",
            word(&out),
            self.said()
        );
        let document = json!({ "pack": out, "entries": size, "root": head.root });
        Ok(Answer::new(document, text))
    }
}

impl Verify {
    pub(super) fn run(self) -> Result<Answer> {
        let folder = match &self.pack {
            Some(pack) => found(pack)?,
            None => self.place.ledger()?,
        };
        let key = match (&self.key, &self.pack) {
            (Some(key), _) => given_key(key)?,
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
        let payloads = self.payload_key()?;
        let check = if self.pack.is_some() { ledger::verify::pack } else { ledger::verify::log };
        let report = check(&folder, &key, &older, payloads.as_ref());
        let exit = if report.is_clean() { Exit::Done } else { Exit::No };
        Ok(Answer::new(document(&report), text(&report)).exit(exit))
    }

    /// Whoever checks their own ledger with its configuration at hand has commitments checked, too.
    fn payload_key(&self) -> Result<Option<ledger::PayloadKey>> {
        if self.pack.is_some() || self.place.data.is_some() {
            return Ok(None);
        }
        let config = self.place.load()?;
        let keys = keys::load(&keys::master(&config.master_key)?, &config.keys_dir())?;
        Ok(Some(keys.payload))
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
fn given_key(given: &str) -> Result<String> {
    let file = Path::new(given).is_file();
    let line =
        if file { files::read_text(Path::new(given))?.trim().to_owned() } else { given.to_owned() };
    let parsed = line.parse::<ledger::VerifierKey>();
    parsed.map(|_| line).map_err(|error| {
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
        "uncovered": report.uncovered,
        "integrity": said(report, Class::Integrity),
        "completeness": said(report, Class::Completeness),
        "correctness": said(report, Class::Correctness),
        "open": report.open.iter().map(|open| json!({ "action": open.action, "index": open.index })).collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        "further": report.further,
    })
}

fn nothing_of(kind: &str, id: &str) -> Failure {
    Failure::new("not_found", format!("the ledger has no entry of {kind} `{id}`"))
        .why(format!("this ledger never recorded anything of such a {kind}, at these positions"))
        .next(format!(
            "look for the {kind}'s id with `bailiwick ledger show`, and leave out `--from`"
        ))
        .exit(Exit::NotFound)
}

fn entries(document: &Value) -> String {
    let rows = show::rows(document);
    let opened = rows.iter().any(|row| row.get("payload").is_some());
    let mut headings = vec!["INDEX", "AT", "KIND", "VERDICT", "PERSON", "AGENT", "TASK"];
    if opened {
        headings.push("PAYLOAD");
    }
    let mut table = Table::new(&headings);
    for row in rows {
        let leaf = &row["leaf"];
        let mut cells = vec![
            show::cell(row, "index"),
            show::cell(leaf, "at"),
            show::cell(leaf, "kind"),
            show::cell(leaf, "verdict"),
            show::cell(leaf, "person"),
            show::cell(leaf, "agent.id"),
            show::cell(leaf, "task"),
        ];
        if opened {
            let payload = &row["payload"];
            cells.push(show::text(
                payload.get("content").or_else(|| payload.get("reason")).unwrap_or(&Value::Null),
            ));
        }
        table.row(cells);
    }
    let more = document["next"]
        .as_u64()
        .map(|next| format!("\n\nmore: --from {next}"))
        .unwrap_or_default();
    let table = if rows.is_empty() { "nothing so far".to_owned() } else { table.text() };
    format!("{table}{more}")
}
