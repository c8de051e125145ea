//! What the store keeps for governance: one type a kind, each the whole truth about one object.

use std::collections::BTreeSet;

use model::{
    ActionId, Agent, ApprovalId, Authority, Blueprint, Digest, EntryId, IdentityId, Money, Name,
    Person, TaskId, Timestamp, Version, ijson::Json,
};
use serde::{Deserialize, Serialize};
use store::Governed;

use crate::{
    accounts::{AccountRecord, OauthRecord, account_key},
    inputs::InputMethod,
    stop::Order,
    subject::Subject,
};

/// A person and the keys they enrolled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonRecord {
    /// The person.
    pub person: Person,
    /// Public keys as JWKs; each proves the person in person.
    pub keys: Vec<Json>,
}

/// An agent, the keys of its workloads, and a version that waits to be accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRecord {
    /// The agent.
    pub agent: Agent,
    /// Public keys as JWKs, for `private_key_jwt`.
    pub keys: Vec<Json>,
    /// A version that somebody proposed and nobody has accepted yet.
    pub proposed: Option<Version>,
}

/// A template for agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlueprintRecord(pub Blueprint);

/// A right that a person holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRecord {
    /// Names the grant.
    pub name: Name,
    /// Who holds it.
    pub holder: IdentityId,
    /// What it allows.
    pub authority: Authority,
    /// How it came about: `birthright`, `request`, `just_in_time`.
    pub provenance: Name,
    /// Who gave it.
    pub given_by: IdentityId,
    /// Taken back; kept so that the name is never given again.
    pub revoked: bool,
}

/// A legal hold: while it lasts, nothing that is sealed for its subject is erased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRecord {
    /// Whose payloads are kept.
    pub subject: Subject,
    /// Why, and until when.
    pub reason: String,
    /// Who laid it on, or lifted it.
    pub by: IdentityId,
    /// Lifted; kept so that it shows there was one.
    pub lifted: bool,
}

/// How the address of a program starts that runs behind a fence; its name follows.
pub const PROGRAM: &str = "program:";
/// How the address of one starts that does not.
pub const UNSEPARATED: &str = "program-not-separated:";

/// An MCP server behind the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerRecord {
    /// The system's name.
    pub name: Name,
    /// Its MCP endpoint: an `https` URL, or a program of the node's machine.
    pub url: String,
    /// Whether its address may be special-use (loopback, private).
    pub internal: bool,
    /// Where its secret is: `env:NAME` or `file:PATH`, never the secret itself.
    pub credential: Option<String>,
    /// Data classes of a resource whose classes nobody declared: unknown counts as the most sensitive.
    pub default_classes: Vec<Name>,
    /// How tokens for it are bought, where its secret is not one that was handed over once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OauthRecord>,
}

/// A tool of a server: what the server says it is, and what a person accepted it to mean.
///
/// INVARIANT: a mapping belongs to the definition beside it. A definition that changes takes the mapping to `former`, where
/// nothing stands on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRecord {
    /// The server.
    pub server: Name,
    /// The tool's name as the server writes it.
    pub name: String,
    /// The definition, byte for byte as the server sent it.
    pub definition: String,
    /// SHA-256 over those bytes: the pin.
    pub digest: Digest,
    /// What a call does, once a person has accepted it.
    pub mapping: Option<Mapping>,
    /// Who accepted the mapping.
    pub accepted_by: Option<IdentityId>,
    /// What was accepted last, where the server has changed the definition since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Former>,
    /// Whether the server shows the tool no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// A tool as a person accepted it, before its server changed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Former {
    /// The definition, byte for byte as the server sent it.
    pub definition: String,
    /// SHA-256 over those bytes.
    pub digest: Digest,
    /// What a call did.
    pub mapping: Mapping,
    /// Who had accepted it.
    pub accepted_by: IdentityId,
}

/// What a call of one tool does: every effect must be permitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// 1 to 16 effects.
    pub effects: Vec<Effect>,
    /// Whether arguments that the schema does not name are let through.
    #[serde(default)]
    pub additional_arguments: bool,
    /// What the server may ask of the client in the middle of a call.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub input_requests: BTreeSet<InputMethod>,
}

/// One (verb, resource) pair, with expressions over the call's arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// What is done.
    pub verb: model::Verb,
    /// The resource's type.
    pub resource: String,
    /// Expression: the resource's id.
    pub id: String,
    /// Expression: minor units, where money moves.
    #[serde(default)]
    pub amount: Option<String>,
    /// Expression: the currency of the amount.
    #[serde(default)]
    pub currency: Option<String>,
    /// The data classes of what is touched; `None` falls back to the server's.
    #[serde(default)]
    pub classes: Option<Vec<Name>>,
}

/// The policies in force, all of them: they change together or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySetRecord {
    /// The files.
    pub sources: Vec<PolicyFile>,
    /// The resource types of the catalog when they came into force.
    #[serde(default)]
    pub kinds: BTreeSet<String>,
}

/// One file of policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A stop, as every node of a deployment sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopRecord {
    /// The order.
    pub order: Order,
    /// Whether it was ended.
    pub resumed: bool,
}

/// One exact action that waits for people, and what they said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRecord {
    /// Names the request.
    pub id: ApprovalId,
    /// Under whose key it is sealed, where that is not the asker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The attempt that was held first.
    pub action: ActionId,
    /// SHA-256 over everything that can move: what an approval binds.
    pub binding: Digest,
    /// Who asked, person first, then each agent of the chain.
    pub chain: Vec<IdentityId>,
    /// People who are one party with the asker and cannot approve: invoker, owners, deputies' principals.
    pub party: Vec<IdentityId>,
    /// The task, where there is one.
    pub task: Option<TaskId>,
    /// What must be met, each by another person.
    pub demands: Vec<DemandRecord>,
    /// What the approver sees, built from canonical arguments and accepted texts.
    pub shown: Json,
    /// For how much, where money moves.
    pub amount: Option<Money>,
    /// Random; part of what the approver signs.
    pub nonce: String,
    /// When the request was made.
    pub asked: Timestamp,
    /// No answer by then is no.
    pub expires: Timestamp,
    /// What people said, in order.
    pub answers: Vec<Answer>,
}

/// A number of people of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemandRecord {
    /// The policy that demands it.
    pub policy: String,
    /// The group.
    pub group: Name,
    /// How many of them.
    pub quorum: u8,
}

/// One person's answer, signed with their own key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Who.
    pub by: IdentityId,
    /// Whether they said yes.
    pub approve: bool,
    /// Why, as they signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The signed statement (`bailiwick-approval+jwt`).
    pub proof: String,
    /// The person's teams when they answered.
    pub teams: Vec<Name>,
    /// When.
    pub at: Timestamp,
    /// The ledger entry of this answer.
    pub entry: EntryId,
}

/// How a request for approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody said no, and not enough people said yes.
    Waiting,
    /// Every demand is met.
    Approved,
    /// Somebody said no.
    Denied,
    /// No answer in time.
    Expired,
}

impl ApprovalRecord {
    /// How the request stands at `now`. One person meets one demand; a single no ends it.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.answers.iter().any(|answer| !answer.approve) {
            return Standing::Denied;
        }
        if self.expires <= now {
            return Standing::Expired;
        }
        if self.all_met() { Standing::Approved } else { Standing::Waiting }
    }

    /// The group that somebody in these teams answers for; where they are in none that is asked, the first.
    pub fn group_for(&self, teams: &[Name]) -> Option<&Name> {
        let groups = || self.demands.iter().map(|demand| &demand.group);
        groups().find(|group| teams.contains(group)).or_else(|| groups().next())
    }

    /// Assigns people to places: a demand of `finance:2` has two places, each taken by a different person of finance
    /// who takes no other place. Augmenting paths find an assignment wherever one exists.
    fn all_met(&self) -> bool {
        let places: Vec<&Name> = self
            .demands
            .iter()
            .flat_map(|demand| (0..demand.quorum).map(|_| &demand.group))
            .collect();
        let mut taken: Vec<Option<usize>> = vec![None; self.answers.len()];
        (0..places.len()).all(|place| {
            let mut seen = vec![false; self.answers.len()];
            self.seat(place, &places, &mut taken, &mut seen)
        })
    }

    fn seat(
        &self,
        place: usize,
        places: &[&Name],
        taken: &mut [Option<usize>],
        seen: &mut [bool],
    ) -> bool {
        for (at, answer) in self.answers.iter().enumerate() {
            if seen[at] || !answer.approve || !answer.teams.contains(places[place]) {
                continue;
            }
            seen[at] = true;
            let free = match taken[at] {
                None => true,
                Some(other) => self.seat(other, places, taken, seen),
            };
            if free {
                taken[at] = Some(place);
                return true;
            }
        }
        false
    }
}

macro_rules! governed {
    ($($type:ty, $kind:literal, |$self:ident| $key:expr;)*) => {$(
        impl Governed for $type {
            const KIND: &'static str = $kind;

            fn key(&self) -> String {
                let $self = self;
                $key
            }
        }
    )*};
}

governed! {
    PersonRecord, "person", |it| it.person.id.to_string();
    AgentRecord, "agent", |it| it.agent.id.to_string();
    BlueprintRecord, "blueprint", |it| it.0.name.to_string();
    GrantRecord, "grant", |it| it.name.to_string();
    HoldRecord, "hold", |it| it.subject.to_string();
    ServerRecord, "server", |it| it.name.to_string();
    ToolRecord, "tool", |it| format!("{}/{}", it.server, it.name);
    PolicySetRecord, "policy_set", |_it| "current".to_owned();
    StopRecord, "stop", |it| it.order.id.to_string();
    ApprovalRecord, "approval", |it| it.id.to_string();
    AccountRecord, "account", |it| account_key(&it.server, &it.person);
}
