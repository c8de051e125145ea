//! Entries as a busy organization has them: few agents, tools and people do most of it, of many more.

use ledger::{AgentMark, Draft, Entry, Leaf};
use model::{Digest, EntryId, Id, IdentityId, TaskId, Timestamp, ijson::Canonical};
use serde_json::json;

use super::entry_of;

/// How many there are of each.
const AGENTS: u64 = 10_000;
const PEOPLE: u64 = 5_000;
const TOOLS: u64 = 2_000;
const RESOURCES: u64 = 1_000_000;
/// How many entries one task has, and how many stand on one token, on average.
const OF_TASK: u64 = 60;
const OF_TOKEN: u64 = 12;
/// When the first entry was made, and how far they are apart, in milliseconds.
const START: i64 = 1_790_000_000_000;
const APART: i64 = 250;

/// So many entries. The same number is the same entry each time.
pub(super) struct Series {
    pub(super) entries: u64,
    org: model::Name,
    environment: model::Name,
    digest: String,
}

/// What is drawn for one entry, each from bits of its own.
#[derive(Clone, Copy)]
enum Of {
    Kind = 1,
    Agent,
    Person,
    Tool,
    Resource,
    Verdict,
    Place,
    Moment,
}

impl Series {
    pub(super) fn new(entries: u64) -> anyhow::Result<Self> {
        let (org, environment) = ("acme.example".parse()?, "prod".parse()?);
        Ok(Self { entries, org, environment, digest: "5a".repeat(32) })
    }

    /// An agent that many entries have, mostly.
    pub(super) fn agent(&self, number: u64) -> String {
        format!("agent/bot-{}", skewed(number, Of::Agent, AGENTS))
    }

    pub(super) fn person(&self, number: u64) -> String {
        format!("person/p{}", skewed(number, Of::Person, PEOPLE))
    }

    pub(super) fn tool(&self, number: u64) -> String {
        format!("tool_{}", skewed(number, Of::Tool, TOOLS))
    }

    pub(super) fn resource(&self, number: u64) -> String {
        let resource = skewed(number, Of::Resource, RESOURCES);
        format!("{:016x}{:016x}", drawn(resource, Of::Resource), resource)
    }

    pub(super) fn task(&self, number: u64) -> TaskId {
        Id::from_bits(u128::from(START as u64 + number / OF_TASK) << 80)
    }

    /// The leaf hash of the token that an entry stands on.
    pub(super) fn credential(&self, number: u64) -> Digest {
        hash(number / OF_TOKEN * OF_TOKEN)
    }

    pub(super) fn at(&self, number: u64) -> Timestamp {
        let jitter = (drawn(number, Of::Moment) % 1_000) as i64;
        Timestamp::from_millis(START + APART * number as i64 - jitter)
    }

    /// Any entry.
    pub(super) fn some_entry(&self, number: u64) -> u64 {
        drawn(number, Of::Place) % self.entries
    }

    pub(super) fn entry(&self, number: u64) -> anyhow::Result<Entry> {
        let draft = self.draft(number)?;
        let leaf = Leaf {
            action: draft.action,
            agent: draft.agent,
            approval: None,
            at: draft.at,
            body: model::ijson::parse(
                draft.body.as_bytes(),
                model::ijson::Limits { bytes: ledger::MAX_LEAF, depth: 16 },
            )?,
            chain: Vec::new(),
            environment: self.environment.clone(),
            id: draft.id,
            kind: draft.kind,
            node: 1,
            org: self.org.clone(),
            parents: draft.parents,
            payload: None,
            person: draft.person,
            task: draft.task,
            v: 1,
            verdict: draft.verdict,
        };
        Ok(entry_of(number, hash(number), leaf))
    }

    pub(super) fn draft(&self, number: u64) -> anyhow::Result<Draft> {
        let token = number.is_multiple_of(OF_TOKEN);
        let kind = match drawn(number, Of::Kind) % 100 {
            _ if token => "token",
            0..50 => "decision",
            50..97 => "outcome",
            _ => "governance",
        };
        let digest = &self.digest;
        let body = match kind {
            "decision" => json!({
                "call": digest, "catalog": digest, "definition": digest, "policy_epoch": digest,
                "deadline": 1, "labels": ["customer"], "policies": [{ "digest": digest, "id": "support" }],
                "effects": [{ "id": self.resource(number), "kind": "Order", "verb": "read" }],
                "system": format!("system-{}", drawn(number, Of::Tool) % 40), "tool": self.tool(number),
            }),
            "outcome" => json!({ "result": digest, "status": "completed" }),
            "token" => {
                json!({ "audience": "https://gateway.acme.example/mcp", "expires": 1, "token": "t", "use_as": "task" })
            }
            _ => json!({
                "digest": digest, "key": self.agent(number), "object": "agent", "version": 1, "widens": false
            }),
        };
        let id = EntryId::from_bits(u128::from(number) << 64 | 1);
        let mut draft = Draft::new(id, kind, self.at(number));
        draft.body = Canonical::of(&body)?;
        draft.action = Some(Id::from_bits(u128::from(number / 2) << 64 | 2));
        draft.agent = Some(AgentMark {
            id: self.agent(number).parse::<IdentityId>()?,
            instance: Some("x".repeat(43)),
            version: Some(Digest([7; 32])),
        });
        draft.person = Some(self.person(number).parse()?);
        draft.task = Some(self.task(number));
        draft.parents = vec![if token { hash(number + 1) } else { self.credential(number) }];
        draft.verdict = (kind == "decision").then(|| verdict(number).to_owned());
        Ok(draft)
    }
}

fn verdict(number: u64) -> &'static str {
    match drawn(number, Of::Verdict) % 1_000 {
        0..100 => "deny",
        100..105 => "hold",
        _ => "permit",
    }
}

/// The leaf hash that an entry is said to have.
fn hash(number: u64) -> Digest {
    let mut bytes = [0; 32];
    for (at, part) in bytes.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&drawn(number ^ (at as u64) << 56, Of::Place).to_be_bytes());
    }
    Digest(bytes)
}

/// One of so many, of which each is drawn about as often as its rank is low (Zipf's law).
fn skewed(number: u64, of: Of, count: u64) -> u64 {
    let share = drawn(number, of) as f64 / u64::MAX as f64;
    ((count as f64).powf(share) as u64).clamp(1, count) - 1
}

/// Bits that look random (SplitMix64).
fn drawn(number: u64, of: Of) -> u64 {
    let mut mixed =
        number.wrapping_mul(16).wrapping_add(of as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
