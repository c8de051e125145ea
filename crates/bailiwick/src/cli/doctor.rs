//! `doctor`: everything that can be looked at from here, and what to do about it.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use clap::Args;
use gateway::{
    can_fence,
    outbound::{Limits, Outbound},
};
use http::{HeaderMap, Method};
use ledger::{Checkpoint, HeadFile, Witnessed, stamped_at, stamped_sizes};
use model::Foreign;
use rustix::{
    fs::statvfs,
    process::{Resource, getrlimit},
};
use serde_json::{Value, json};

use super::{ConfigArgs, ledger::given_key, show};
use crate::{
    agent,
    client::{Client, Context, now},
    config::{self, Config, Stamps},
    failure::{Exit, Failure, Result},
    keys,
    output::Answer,
    proving::Ask,
    witness::{kept_head, read_policy},
};

/// How long a node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer of it that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How much of a disk should be free, in hundredths.
const FREE_PERCENT: u64 = 5;
/// When a witnessed head is old, in seconds: a node that runs has it cosigned again each minute.
const STALE_SECONDS: i64 = 600;
/// How many file descriptors a node should have: most of them are connections.
const DESCRIPTORS: u64 = 4_096;

/// Whether a ledger has signed for more entries than this.
fn is_ahead_of(ledger: &Path, size: u64) -> bool {
    let note = std::fs::read(ledger.join(HeadFile::Newest.name())).unwrap_or_default();
    Checkpoint::unverified(&note).is_ok_and(|head| head.size > size)
}

/// Look for what is wrong, or easily forgotten.
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    config: ConfigArgs,
}

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
    Skip,
}

/// What was found, in the order in which it was looked at.
#[derive(Default)]
struct Found(Vec<Value>);

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let mut found = Found::default();
        match config::load(&self.config.config, &self.config.set) {
            Ok(config) => {
                found.add("configuration", State::Ok, "it can be read", None);
                found.node_here(&config);
                found.ready(&config).await;
            }
            Err(failure) if failure.exit == Exit::NotFound => {
                let file = self.config.config.display();
                let next = "name the node's configuration: --config FILE";
                found.add(
                    "configuration",
                    State::Skip,
                    format!("`{file}` is not there"),
                    Some(next),
                );
            }
            Err(failure) => found.failed("configuration", &failure),
        }
        found.server(context).await;
        Ok(found.answer())
    }
}

impl Found {
    fn add(&mut self, check: &str, state: State, says: impl Into<String>, next: Option<&str>) {
        let mut row = json!({ "check": check, "state": state.name(), "says": says.into() });
        if let Some(next) = next {
            row["next"] = json!(next);
        }
        self.0.push(row);
    }

    fn failed(&mut self, check: &str, failure: &Failure) {
        let next = failure.data();
        let next = next.member("next").and_then(model::ijson::Json::as_str);
        self.add(check, State::Fail, failure.line(), next);
    }

    fn checked(&mut self, check: &str, result: Result<()>, fine: &str) {
        match result {
            Ok(()) => self.add(check, State::Ok, fine, None),
            Err(failure) => self.failed(check, &failure),
        }
    }

    /// What a node needs of this machine.
    fn node_here(&mut self, config: &Config) {
        self.checked("keys", keys::check(config), "each is where it should be");
        let programs = config::check_programs(&config.programs, &config.own_files());
        self.checked("programs", programs, "none reaches what is the node's own");
        for (name, program) in &config.programs {
            if !program.is_separated() {
                let says =
                    format!("`{name}` says `unsafe_same_user`: it is not separated from the node");
                self.add(
                    "programs",
                    State::Warn,
                    says,
                    Some("leave that out, and let it run behind the fence"),
                );
            }
        }
        match can_fence() {
            Ok(()) => self.add("fence", State::Ok, "programs can be separated from the node", None),
            Err(error) => {
                let next = "use a kernel with Landlock, or reach servers by URL";
                self.add("fence", State::Warn, error.to_string(), Some(next));
            }
        }
        if let Some(file) = &config.witnesses {
            self.witnesses(config, file);
        }
        if let Some(stamps) = &config.stamps {
            self.timestamps(config, stamps);
        }
        self.disk(&config.data);
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let says = format!("a node may open {most} files and connections");
        if most < DESCRIPTORS {
            self.add(
                "descriptors",
                State::Warn,
                says,
                Some("raise the limit: `ulimit -Hn`, `LimitNOFILE=`"),
            );
        } else {
            self.add("descriptors", State::Ok, says, None);
        }
    }

    /// Who is named as a witness, and what they have cosigned. A witness that falls together with the ledger witnesses
    /// nothing.
    fn witnesses(&mut self, config: &Config, file: &Path) {
        let read = read_policy(file)
            .and_then(|policy| Ok((policy, given_key(&keys::verifier_line(&config.keys_dir())?)?)));
        let (policy, key) = match read {
            Ok(read) => read,
            Err(failure) => return self.failed("witnesses", &failure),
        };
        let outbound = Outbound::new(Limits::default());
        let here = |url: &str| {
            outbound.target(url, true).is_ok_and(|target| target.origin().is_loopback())
        };
        for witness in policy.witnesses() {
            if witness.url.as_deref().is_some_and(here) {
                let says =
                    format!("`{}` is asked at an address of this machine", witness.key.name());
                let next = "let somebody else run it, elsewhere: in the same hands as the ledger it is worth nothing";
                self.add("witnesses", State::Warn, says, Some(next));
            }
        }
        let named = policy.witnesses().len();
        let next =
            "look at what the node logs of its witnesses; `docs/operations.md` has the codes";
        match kept_head(&config.ledger_dir(), &key, &policy) {
            Err(why) => {
                let says = format!("{named} are named, and no head counts as witnessed: {why}");
                self.add("witnesses", State::Warn, says, Some(next));
            }
            Ok(Witnessed { checkpoint, by }) => {
                let newest = by.iter().map(|(_, at)| at.seconds()).max().unwrap_or_default();
                let ago = (now().seconds() - newest).max(0);
                let says = format!(
                    "{named} are named; {} of them have cosigned the head of {} entries, the last {ago} s ago",
                    by.len(),
                    checkpoint.size
                );
                if ago > STALE_SECONDS {
                    self.add("witnesses", State::Warn, says, Some(next));
                } else {
                    self.add("witnesses", State::Ok, says, None);
                }
            }
        }
    }

    /// Which head was stamped last. An authority that is away is not missed by anybody else.
    fn timestamps(&mut self, config: &Config, stamps: &Stamps) {
        let dir = config.ledger_dir();
        let newest = stamped_sizes(&dir).map(|sizes| sizes.last().copied());
        let newest = newest
            .and_then(|size| size.map(|size| Ok((size, stamped_at(&dir, size)?))).transpose());
        let next = "look at what the node logs of its timestamps, which says why; `docs/operations.md` has the codes";
        match newest {
            Err(error) => self.add("timestamps", State::Warn, error.to_string(), Some(next)),
            Ok(None) => {
                let says = format!("`{}` is named, and no head is stamped", stamps.url);
                self.add("timestamps", State::Warn, says, Some(next));
            }
            Ok(Some((size, at))) => {
                let ago = (now().seconds() - at.seconds()).max(0);
                let says = format!("the head of {size} entries is stamped, {ago} s ago");
                let late = ago as u64 > 2 * stamps.every.as_secs() && is_ahead_of(&dir, size);
                let (state, next) =
                    if late { (State::Warn, Some(next)) } else { (State::Ok, None) };
                self.add("timestamps", state, says, next);
            }
        }
    }

    fn disk(&mut self, data: &Path) {
        let Ok(disk) = statvfs(data) else {
            let says = format!("`{}` cannot be looked at", data.display());
            return self.add("disk", State::Fail, says, Some("look at its owner and mode"));
        };
        let percent = disk.f_bavail.saturating_mul(100) / disk.f_blocks.max(1);
        let says = format!("{percent} % of it is free");
        if percent < FREE_PERCENT {
            let next = "make room: a ledger that cannot be written permits nothing";
            self.add("disk", State::Warn, says, Some(next));
        } else {
            self.add("disk", State::Ok, says, None);
        }
    }

    /// What the node says of itself on the operators' listener.
    async fn ready(&mut self, config: &Config) {
        if config.ops.port() == 0 {
            let says = "the operators' listener has another port at every start";
            return self.add("node", State::Skip, says, Some("give `ops.listen` a port"));
        }
        let url = format!("http://{}", config.ops);
        let asked = async {
            let place = agent::place(&url, PATIENCE)?;
            let ask = Ask {
                method: Method::GET,
                path: "/readyz?verbose",
                headers: HeaderMap::new(),
                body: Bytes::new(),
                token: None,
            };
            let reply = place.send_plain(ask).await;
            let reply = reply.map_err(|error| agent::unanswered(&url, error))?;
            let is_ready = reply.status.is_success();
            let said = reply.collect(MAX_ANSWER).await.unwrap_or_default();
            Ok((is_ready, String::from_utf8_lossy(&said).into_owned()))
        };
        match asked.await {
            Ok((true, _)) => self.add("node", State::Ok, "it is ready", None),
            Ok((false, said)) => {
                let says = said.trim().replace('\n', "; ");
                self.add("node", State::Fail, says, Some("look at what it logs"));
            }
            Err(failure) => self.failed("node", &failure),
        }
    }

    /// What the server shows to who is signed in.
    async fn server(&mut self, context: &Context) {
        let examined = async { Client::sign_in(context).await?.get("/v1/doctor").await };
        match examined.await {
            Ok(document) => {
                self.add("session", State::Ok, "the server believes who you are", None);
                self.0.extend(document["checks"].as_array().into_iter().flatten().cloned());
            }
            Err(failure) if failure.exit == Exit::SignIn => {
                let next = "remember who you are: bailiwick profile set";
                self.add("session", State::Skip, failure.line(), Some(next));
            }
            Err(failure) => self.failed("session", &failure),
        }
    }

    fn answer(self) -> Answer {
        let mut lines = Vec::new();
        for check in &self.0 {
            let cell = |column| Foreign::new(show::cell(check, column)).to_string();
            lines.push(format!("{:4}  {:14}  {}", cell("state"), cell("check"), cell("says")));
            if check.get("next").is_some() {
                lines.push(format!("{:22}next: {}", "", cell("next")));
            }
        }
        let fails = self.0.iter().any(|check| check["state"] == State::Fail.name());
        let text = lines.join("\n");
        Answer::new(json!({ "checks": self.0 }), text).exit(if fails {
            Exit::No
        } else {
            Exit::Done
        })
    }
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}
