//! A ledger of calls as agents make them: each action is a decision with what was said and an outcome with what came back, of
//! half a kibibyte each, and twelve actions stand on one token.

use anyhow::{Context as _, ensure};
use decide::{Clock, Context};
use ledger::{AgentMark, Draft, Log};
use model::{ActionId, Digest, LinkId, ijson::Canonical};
use serde_json::json;
use tempfile::TempDir;

use crate::append::{folder, open, realm};

/// How many bytes are sealed with each decision and each outcome.
const PAYLOAD: usize = 512;
/// How many actions stand on one token.
const OF_TOKEN: u64 = 12;

/// The ledger, closed.
pub(crate) struct Actions {
    /// Holds the ledger in its folder `ledger`.
    pub(crate) folder: TempDir,
    /// The key to verify it with.
    pub(crate) key: String,
    pub(crate) actions: u64,
    /// The bytes of all leaves.
    pub(crate) leaves: Vec<Vec<u8>>,
}

impl Actions {
    /// Records at least so many entries.
    pub(crate) fn record(entries: u64) -> anyhow::Result<Self> {
        let folder = folder()?;
        let context = Context::new(realm()?, Clock::system());
        let log = open(&folder, &context)?;
        let actions = entries.div_ceil(2);
        let mut on = (LinkId::from_bits(0), Digest::default());
        for number in 0..actions {
            if number.is_multiple_of(OF_TOKEN) {
                on.0 = context.id();
                on.1 = append(&log, token(&context, on.0)?, true)?;
            }
            let action = context.id();
            let decision = append(&log, decision(&context, action, on)?, false)?;
            append(&log, outcome(&context, action, decision)?, false)?;
        }
        log.close()?;
        let leaves = log.entries(0).map(|entry| Ok(entry?.bytes));
        let leaves = leaves.collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(leaves.len() as u64 >= entries, "what was appended is there");
        Ok(Self { folder, key: log.verifier_key(), actions, leaves })
    }
}

/// Waits for one of a few only: the queue is not to be full, and nobody waits for the disk longer than that takes.
fn append(log: &Log, draft: Draft, wait: bool) -> anyhow::Result<Digest> {
    let sealed = log.seal(draft)?;
    let hash = sealed.hash();
    let appending = log.append(sealed);
    if wait {
        appending.wait().context("the ledger takes no record")?;
    }
    Ok(hash)
}

fn token(context: &Context, link: LinkId) -> anyhow::Result<Draft> {
    let mut draft = by_the_agent(context, "token");
    let audience = "https://gateway.acme.example/mcp";
    let expires = context.now().plus_seconds(3600).millis();
    let body = json!({ "audience": audience, "expires": expires, "link": link.to_string() });
    draft.body = Canonical::of(&body)?;
    draft.chain = vec![link];
    Ok(draft)
}

fn decision(context: &Context, action: ActionId, on: (LinkId, Digest)) -> anyhow::Result<Draft> {
    let mut draft = by_the_agent(context, "decision");
    let (digest, order) = ("5a".repeat(32), "01".repeat(16));
    draft.body = Canonical::of(&json!({
        "call": digest, "catalog": digest, "definition": digest, "policy_epoch": digest,
        "effects": [{ "id": order, "kind": "Order", "verb": "read" }],
        "policies": [{ "digest": digest, "id": "support" }],
        "system": "desk", "tool": "get_order",
    }))?;
    draft.action = Some(action);
    draft.chain = vec![on.0];
    draft.parents = vec![on.1];
    draft.payload = Some(vec![b'p'; PAYLOAD]);
    draft.verdict = Some("permit".to_owned());
    Ok(draft)
}

fn outcome(context: &Context, action: ActionId, decision: Digest) -> anyhow::Result<Draft> {
    let mut draft = by_the_agent(context, "outcome");
    draft.body = Canonical::of(&json!({ "result": "5a".repeat(32), "status": "completed" }))?;
    draft.action = Some(action);
    draft.parents = vec![decision];
    draft.payload = Some(vec![b'r'; PAYLOAD]);
    Ok(draft)
}

fn by_the_agent(context: &Context, kind: &str) -> Draft {
    let mut draft = Draft::new(context.id(), kind, context.now());
    draft.agent = Some(AgentMark {
        id: "agent/support-bot".parse().expect("it is an identity"),
        instance: Some("0123456789abcdef0123456789abcdef0123456789a".to_owned()),
        version: Some(Digest([7; 32])),
    });
    draft
}
