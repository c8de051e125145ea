//! Configuration: defaults, then `bailiwick.toml`, then `bailiwick.d/*.toml` beside it, then the environment
//! (`BAILIWICK__SECTION__KEY`), then flags (`--set SECTION.KEY=VALUE`). Secrets are named, never written.

mod programs;
mod settings;
mod value;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use decide::Retention;
use gateway::Program;
use model::{Name, Realm};
use store::Target;

pub(crate) use programs::check as check_programs;
pub(crate) use settings::{Settings, known};
use value::Kept;
pub(crate) use value::{Listen, MasterRef, SecretRef};

use crate::failure::{Failure, Named, Result};

/// Everything that a node needs to know before it starts.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) realm: Realm,
    pub(crate) data: PathBuf,
    pub(crate) database: Target,
    pub(crate) master_key: MasterRef,
    /// The keys of subjects, which seal payloads.
    pub(crate) subject_keys: PathBuf,
    pub(crate) server: Listen,
    pub(crate) gateway: Listen,
    pub(crate) ops: std::net::SocketAddr,
    pub(crate) ledger_head: PathBuf,
    pub(crate) segment_bytes: u64,
    /// Which witnesses cosign the ledger's heads: a C2SP tlog-policy.
    pub(crate) witnesses: Option<PathBuf>,
    /// Who stamps the ledger's heads.
    pub(crate) stamps: Option<Stamps>,
    /// For how many days payloads are kept.
    pub(crate) retention: Retention,
    /// MCP servers that are programs on this machine.
    pub(crate) programs: Vec<(Name, Program)>,
}

/// A timestamping authority (RFC 3161), and how often it is asked at most.
#[derive(Debug)]
pub(crate) struct Stamps {
    pub(crate) url: String,
    pub(crate) every: Duration,
}

/// One setting that there is.
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    /// What it is when nobody says; `None` where somebody has to, or where it follows from others.
    pub(crate) default: Option<&'static str>,
    /// What it follows from when nobody says and there is no default; empty where somebody has to say.
    pub(crate) follows: &'static str,
    pub(crate) about: &'static str,
}

const fn key(
    section: &'static str,
    name: &'static str,
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    Key { section, name, default, follows: "", about }
}

const fn following(
    section: &'static str,
    name: &'static str,
    follows: &'static str,
    about: &'static str,
) -> Key {
    Key { section, name, default: None, follows, about }
}

/// The file of the keys of subjects, in the data folder when nobody says where else.
pub(crate) const SUBJECT_KEYS: &str = "subject-keys.sqlite";

/// The longest time between timestamps: with more of it they would say little.
const MAX_STAMP_MINUTES: u64 = 7 * 24 * 60;

/// Every setting.
pub(crate) static KEYS: &[Key] = &[
    key("realm", "org", None, "the organization; the trust domain of its identities"),
    key("realm", "environment", None, "the environment, for example `prod`"),
    key("realm", "node", Some("1"), "this node's number, unique within the deployment"),
    key("data", "dir", Some("data"), "the folder of ledger, stop journal, keys and database"),
    following(
        "data",
        "database",
        "`sqlite:bailiwick.sqlite` in the data folder",
        "`sqlite:PATH` (in the data folder unless absolute) or `postgres://USER@HOST/NAME`",
    ),
    key(
        "data",
        "master_key",
        None,
        "`file:PATH` or `env:NAME`: where the key is that wraps all others; after `passphrase:`, the passphrase that it is derived from",
    ),
    following(
        "data",
        "subject_keys",
        "`subject-keys.sqlite` in the data folder",
        "the SQLite file of the keys that seal what people and agents said; keep it out of backups of the ledger",
    ),
    key(
        "server",
        "listen",
        Some("127.0.0.1:8180"),
        "address of the token endpoint and the admin API",
    ),
    following(
        "server",
        "public_url",
        "`http://` and `server.listen`",
        "how clients reach it; also the issuer of tokens",
    ),
    key("gateway", "listen", Some("127.0.0.1:8181"), "address of the gateway"),
    following(
        "gateway",
        "public_url",
        "`http://` and `gateway.listen`",
        "how agents reach it; also the audience of their tokens",
    ),
    key("ops", "listen", Some("127.0.0.1:8182"), "address of health and metrics"),
    key("ledger", "segment_mib", Some("16"), "length of a segment of the write-ahead log, in MiB"),
    following(
        "ledger",
        "head",
        "`ledger-head` in the data folder",
        "folder that remembers the last signed head, best on another disk",
    ),
    following(
        "ledger",
        "witnesses",
        "no witness",
        "a C2SP tlog-policy: the witnesses that cosign heads, their URLs, and how many have to",
    ),
    following(
        "ledger",
        "timestamps",
        "no authority",
        "the URL of a timestamping authority (RFC 3161) that stamps heads",
    ),
    key(
        "ledger",
        "timestamp_minutes",
        Some("60"),
        "how often a head is stamped at most, in minutes",
    ),
    // More than the six months that the EU AI Act wants logs of high-risk systems kept (articles 19 and 26), and the twelve of
    // PCI DSS (10.5.1).
    key(
        "retention",
        "calls",
        Some("400"),
        "for how many days the arguments of calls are kept, or `always`",
    ),
    key("retention", "prompts", Some("400"), "the same of intents and prompts of tasks"),
    key(
        "retention",
        "approvals",
        Some("400"),
        "the same of requests for approval, with what approvers saw",
    ),
    key(
        "retention",
        "governance",
        Some("always"),
        "the same of governed objects as they were, of acts of governance and of reasons",
    ),
];

impl Config {
    /// Turns settings into types; `base` is what relative paths are relative to.
    pub(crate) fn of(settings: &Settings, base: &Path) -> Result<Self> {
        let data = base.join(settings.required("data", "dir")?);
        let database = match settings.text("data", "database") {
            None => Target::Sqlite(data.join("bailiwick.sqlite")),
            Some(_) => match settings.parsed::<Target>("data", "database")? {
                Target::Sqlite(path) => Target::Sqlite(data.join(path)),
                other => other,
            },
        };
        let segment_mib: u64 = settings.parsed("ledger", "segment_mib")?;
        if !(2..=256).contains(&segment_mib) {
            return Err(settings.invalid("ledger", "segment_mib", "it is a number from 2 to 256"));
        }
        let minutes: u64 = settings.parsed("ledger", "timestamp_minutes")?;
        if !(1..=MAX_STAMP_MINUTES).contains(&minutes) {
            let why = "it is a number from 1 to 10080, a week";
            return Err(settings.invalid("ledger", "timestamp_minutes", why));
        }
        let stamps = settings
            .text("ledger", "timestamps")
            .map(|url| Stamps { url: url.to_owned(), every: Duration::from_secs(minutes * 60) });
        let head = settings.text("ledger", "head").map(|head| base.join(head));
        Ok(Self {
            realm: Realm {
                org: settings.parsed("realm", "org")?,
                environment: settings.parsed("realm", "environment")?,
                node: settings.parsed("realm", "node")?,
            },
            database,
            subject_keys: data.join(settings.text("data", "subject_keys").unwrap_or(SUBJECT_KEYS)),
            master_key: settings.parsed::<MasterRef>("data", "master_key")?.below(base),
            server: listen(settings, "server")?,
            gateway: listen(settings, "gateway")?,
            ops: settings.parsed("ops", "listen")?,
            ledger_head: head.unwrap_or_else(|| data.join("ledger-head")),
            segment_bytes: segment_mib << 20,
            witnesses: settings.text("ledger", "witnesses").map(|file| base.join(file)),
            stamps,
            retention: Retention {
                calls: kept(settings, "calls")?,
                prompts: kept(settings, "prompts")?,
                approvals: kept(settings, "approvals")?,
                governance: kept(settings, "governance")?,
            },
            programs: settings.programs(base)?,
            data,
        })
    }

    /// What nobody else may read: the data folder, the ledger's last head, the keys of subjects, and the master key where it is
    /// a file.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        let mut own = vec![self.data.clone(), self.ledger_head.clone(), self.subject_keys.clone()];
        own.extend(self.master_key.file().map(Path::to_owned));
        own
    }

    /// Where wrapped keys lie.
    pub(crate) fn keys_dir(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// Where the ledger lies.
    pub(crate) fn ledger_dir(&self) -> PathBuf {
        self.data.join("ledger")
    }

    /// Where the ledger lies and who writes it.
    pub(crate) fn ledger(&self) -> ledger::Config {
        ledger::Config {
            dir: self.ledger_dir(),
            lock: self.ledger_head.clone(),
            realm: self.realm.clone(),
            origin: origin(&self.realm),
            segment_bytes: self.segment_bytes,
            reserve_bytes: ledger::RESERVE,
        }
    }
}

/// The name of a realm's ledger in its checkpoints, before any restore.
pub(crate) fn origin(realm: &Realm) -> String {
    format!("{}/{}/{}", realm.org, realm.environment, realm.node)
}

fn kept(settings: &Settings, class: &'static str) -> Result<Option<u32>> {
    settings.parsed("retention", class).map(|Kept(days)| days)
}

fn listen(settings: &Settings, section: &'static str) -> Result<Listen> {
    let address = settings.parsed(section, "listen")?;
    let public_url = match settings.text(section, "public_url") {
        None => None,
        Some(_) => Some(settings.parsed(section, "public_url")?),
    };
    Ok(Listen { address, public_url })
}

/// Reads the configuration at `file`, with what environment and flags say over it.
pub(crate) fn load(file: &Path, flags: &[String]) -> Result<Config> {
    let base = file.parent().unwrap_or(Path::new(""));
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    // Absolute, so that what is printed can be used from anywhere.
    let base = base.canonicalize().unwrap_or_else(|_| base.to_owned());
    Config::of(&Settings::read(file, std::env::vars_os(), flags)?, &base)
}

/// A failure of the configuration, with the code that all of them share.
pub(crate) fn failure(what: impl Into<String>) -> Named {
    Failure::new("config_invalid", what)
}

#[cfg(test)]
mod tests;
