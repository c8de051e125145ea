//! The read model: governance as it is in force on this node, fed by the store's change feed.
//!
//! A row is in force when its content is what its ledger entry says; until then it waits, except that what this process
//! itself stored and what narrows is in force at once. A row that differs from its entry grants nothing and is a finding.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use dashmap::{DashMap, DashSet};
use model::{
    Agent, ApprovalId, Authority, Blueprint, Digest, IdentityId, Name, Person, State, Timestamp,
    ijson::Json,
};
use policy::{Policies, Principal, Source};
use serde::de::DeserializeOwned;
use store::{Governed, RawRow};
use token::{Jwk, PublicKey};
use tokio::sync::watch;

use crate::{
    accounts::{AccountRecord, AccountState},
    catalog::ToolEntry,
    records::{
        AgentRecord, ApprovalRecord, BlueprintRecord, GrantRecord, HoldRecord, PersonRecord,
        PolicyFile, PolicySetRecord, ServerRecord, StopRecord, ToolRecord,
    },
    stop::AgentTouch,
};

mod holdings;
mod holds;
mod seals;

use self::holdings::Held;
pub(crate) use self::{
    holdings::Holding,
    seals::{Admission, Seals},
};

/// How long a request for approval is remembered after its end, in seconds.
const FORGET_SECONDS: u32 = 24 * 3600;
/// The team whose members govern Bailiwick itself.
const ADMINISTRATOR: &str = "administrator";

/// A person in force.
pub struct PersonEntry {
    /// The digest of the row, by which its ledger entry is found.
    pub(crate) row: Digest,
    /// The person.
    pub person: Person,
    /// Their keys.
    pub keys: Vec<PublicKey>,
    /// The person as policies see them.
    pub principal: Principal,
}

/// An agent in force.
pub struct AgentEntry {
    /// The digest of the row, by which its ledger entry is found.
    pub(crate) row: Digest,
    /// The agent.
    pub agent: Agent,
    /// Its keys.
    pub keys: Vec<PublicKey>,
    /// The agent as policies see it.
    pub principal: Principal,
    /// What a stop can be aimed at in it.
    pub touch: Arc<AgentTouch>,
}

/// A server in force, with its tools.
pub struct ServerEntry {
    /// The server.
    pub record: Arc<ServerRecord>,
    /// Its tools by name.
    pub tools: BTreeMap<String, ToolEntry>,
}

/// Servers and tools in force. A tool may be known before its server: the feed's order is that of the last changes.
#[derive(Clone, Default)]
struct Catalog {
    servers: HashMap<Name, (Arc<ServerRecord>, Digest)>,
    tools: HashMap<Name, BTreeMap<String, ToolEntry>>,
}

/// Governance in force.
pub struct Directory {
    persons: DashMap<IdentityId, Arc<PersonEntry>>,
    agents: DashMap<IdentityId, Arc<AgentEntry>>,
    /// Those of them that are over for good.
    retired: DashSet<IdentityId>,
    blueprints: DashMap<Name, (Arc<Blueprint>, Holding)>,
    /// The grants of each person, with the digests of their rows.
    grants: DashMap<IdentityId, BTreeMap<Name, (Authority, Digest)>>,
    held: DashMap<IdentityId, Held>,
    administrators: AtomicU32,
    catalog: ArcSwap<Catalog>,
    /// Whether policies or resource types changed since the policies were compiled.
    stale_policies: AtomicBool,
    sources: ArcSwap<Option<PolicySetRecord>>,
    policies: ArcSwap<Policies>,
    /// Tells that others came into force.
    policies_changed: watch::Sender<()>,
    approvals: DashMap<ApprovalId, Arc<ApprovalRecord>>,
    bindings: DashMap<Digest, ApprovalId>,
    /// Legal holds by subject, the lifted ones too.
    holds: DashMap<String, HoldRecord>,
    /// Linked accounts by their keys.
    accounts: DashMap<String, Arc<AccountRecord>>,
    pub(crate) seals: Seals,
    seen: AtomicU64,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            persons: DashMap::new(),
            agents: DashMap::new(),
            retired: DashSet::new(),
            blueprints: DashMap::new(),
            grants: DashMap::new(),
            held: DashMap::new(),
            administrators: AtomicU32::new(0),
            catalog: ArcSwap::default(),
            stale_policies: AtomicBool::new(true),
            sources: ArcSwap::default(),
            policies: ArcSwap::from_pointee(Policies::none()),
            policies_changed: watch::Sender::default(),
            approvals: DashMap::new(),
            bindings: DashMap::new(),
            holds: DashMap::new(),
            accounts: DashMap::new(),
            seals: Seals::default(),
            seen: AtomicU64::new(0),
        }
    }
}

impl Directory {
    /// How far the feed has been read.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// The agents that are over for good.
    pub(crate) fn retired(&self) -> Vec<IdentityId> {
        self.retired.iter().map(|agent| agent.clone()).collect()
    }

    /// Takes a row of the feed into account.
    pub(crate) fn admit(&self, row: &RawRow) -> Admission {
        self.seen.fetch_max(row.changed, Ordering::AcqRel);
        self.take(row, self.seals.judge(row))
    }

    /// Takes a row into account that this process just stored and that narrows. The feed is not believed so far: a row
    /// could say of itself that it narrows.
    pub(crate) fn admit_own(&self, row: &RawRow) -> Admission {
        self.take(row, if row.intact { Admission::InForce } else { Admission::Tampered })
    }

    fn take(&self, row: &RawRow, admission: Admission) -> Admission {
        match admission {
            Admission::InForce if self.apply(row).is_ok() => {
                self.seals.applied(row);
                Admission::InForce
            }
            Admission::Pending => Admission::Pending,
            Admission::InForce | Admission::Tampered => {
                self.withdraw(row);
                self.seals.differs(row);
                Admission::Tampered
            }
        }
    }

    /// Puts a row in force, whatever it is worth.
    pub(crate) fn apply(&self, row: &RawRow) -> Result<(), serde_json::Error> {
        match row.kind.as_str() {
            PersonRecord::KIND => self.apply_person(parse(row)?, row.digest),
            AgentRecord::KIND => self.apply_agent(parse(row)?, row.digest),
            BlueprintRecord::KIND => {
                let BlueprintRecord(blueprint) = parse(row)?;
                let authority = Arc::new(blueprint.authority.clone());
                let holding = Holding { authority, rows: Arc::new([row.digest]) };
                self.blueprints.insert(blueprint.name.clone(), (Arc::new(blueprint), holding));
            }
            GrantRecord::KIND => self.apply_grant(parse(row)?, row.digest),
            ServerRecord::KIND => self.apply_server(parse(row)?, row.digest),
            ToolRecord::KIND => self.apply_tool(parse(row)?, row.digest),
            PolicySetRecord::KIND => self.apply_policies(parse(row)?),
            ApprovalRecord::KIND => self.apply_approval(parse(row)?),
            AccountRecord::KIND => self.apply_account(parse(row)?),
            HoldRecord::KIND => drop(self.holds.insert(row.key.clone(), parse(row)?)),
            // The engine merges it into the stop set.
            StopRecord::KIND => {}
            _ => tracing::warn!(
                code = "BW-1002",
                kind = row.kind,
                "a row of an unknown kind was left alone"
            ),
        }
        Ok(())
    }

    /// Takes a tampered object out of force.
    fn withdraw(&self, row: &RawRow) {
        let identity = row.key.parse::<IdentityId>();
        match (row.kind.as_str(), identity) {
            (PersonRecord::KIND, Ok(id)) => {
                self.persons.remove(&id);
                self.count_administrators();
            }
            (AgentRecord::KIND, Ok(id)) => drop(self.agents.remove(&id)),
            (BlueprintRecord::KIND, _) => {
                drop(row.key.parse().map(|name: Name| self.blueprints.remove(&name)))
            }
            (GrantRecord::KIND, _) => {
                if let Ok(name) = row.key.parse::<Name>() {
                    for mut held in self.grants.iter_mut() {
                        if held.remove(&name).is_some() {
                            self.hold(held.key().clone(), &held);
                        }
                    }
                }
            }
            (ServerRecord::KIND, _) => self.change_catalog(|catalog| {
                catalog.servers.retain(|name, _| name.as_str() != row.key);
            }),
            (ToolRecord::KIND, _) => self.change_catalog(|catalog| {
                if let Some((server, tool)) = row.key.split_once('/') {
                    let server = catalog.tools.iter_mut().find(|(name, _)| name.as_str() == server);
                    server.map(|(_, tools)| tools.remove(tool));
                }
            }),
            (AccountRecord::KIND, _) => drop(self.accounts.remove(&row.key)),
            // What the ledger tells of and no row does is in force.
            (HoldRecord::KIND, _) => drop(self.holds.remove(&row.key)),
            (PolicySetRecord::KIND, _) => {
                self.sources.store(Arc::new(None));
                self.stale_policies.store(true, Ordering::Release);
            }
            (ApprovalRecord::KIND, _) => {
                if let Some((_, record)) =
                    row.key.parse().ok().and_then(|id| self.approvals.remove(&id))
                {
                    self.bindings.remove(&record.binding);
                }
            }
            _ => {}
        }
    }

    fn apply_person(&self, record: PersonRecord, row: Digest) {
        let PersonRecord { person, keys: held, .. } = record;
        let principal = Principal::person(person.id.clone(), person.teams.clone());
        let principal = Principal { manager: person.manager.clone(), ..principal };
        let entry = PersonEntry { row, keys: keys(&held), principal, person };
        self.persons.insert(entry.person.id.clone(), Arc::new(entry));
        self.count_administrators();
    }

    fn apply_agent(&self, record: AgentRecord, row: Digest) {
        let AgentRecord { agent, keys: held, .. } = record;
        let entry = AgentEntry {
            row,
            keys: keys(&held),
            principal: principal(&agent),
            touch: Arc::new(touch(&agent)),
            agent,
        };
        if matches!(entry.agent.state, State::Retired { .. }) {
            self.retired.insert(entry.agent.id.clone());
        }
        self.agents.insert(entry.agent.id.clone(), Arc::new(entry));
    }

    fn apply_server(&self, record: ServerRecord, row: Digest) {
        let record = Arc::new(record);
        self.change_catalog(|catalog| {
            // The server's default classes stand in its tools' effects, so these are compiled again.
            if let Some(tools) = catalog.tools.get_mut(&record.name) {
                tools.values_mut().for_each(|tool| *tool = tool.of_server(&record));
            }
            catalog.servers.insert(record.name.clone(), (record.clone(), row));
        });
    }

    fn apply_tool(&self, record: ToolRecord, row: Digest) {
        let record = Arc::new(record);
        self.change_catalog(|catalog| {
            let server = catalog.servers.get(&record.server).map(|(server, _)| &**server);
            let tool = ToolEntry::of(record.clone(), row, server);
            catalog
                .tools
                .entry(record.server.clone())
                .or_default()
                .insert(record.name.clone(), tool);
        });
    }

    fn change_catalog(&self, change: impl Fn(&mut Catalog)) {
        self.catalog.rcu(|catalog| {
            let mut next = Catalog::clone(catalog);
            change(&mut next);
            next
        });
        self.stale_policies.store(true, Ordering::Release);
    }

    fn apply_policies(&self, record: PolicySetRecord) {
        self.sources.store(Arc::new(Some(record)));
        self.stale_policies.store(true, Ordering::Release);
    }

    /// The policies in force as text, and the resource types that they may name: those of the catalog, and those that
    /// were there when the policies came into force, so that a tool that loses its mapping takes no policy with it.
    pub(crate) fn policy_input(&self) -> (Vec<Source>, BTreeSet<String>) {
        let held = self.sources.load();
        let Some(record) = &**held else { return (Vec::new(), self.kinds()) };
        let source =
            |file: &PolicyFile| Source { name: file.name.clone(), text: file.text.clone() };
        let kinds = self.kinds().union(&record.kinds).cloned().collect();
        (record.sources.iter().map(source).collect(), kinds)
    }

    /// Compiles guard pack and policies against the resource types of the catalog, if either changed. A set that does not
    /// load leaves the running one in place.
    pub(crate) fn settle(&self) {
        if !self.stale_policies.swap(false, Ordering::AcqRel) {
            return;
        }
        if self.sources.load().is_none() && self.seals.ever_held(PolicySetRecord::KIND) {
            tracing::error!(
                code = "BW-1005",
                "the ledger tells of policies that the database does not have: nothing is permitted"
            );
            self.enforce(Policies::none());
            return;
        }
        let (sources, kinds) = self.policy_input();
        match Policies::load(&with_guards(&sources), &kinds) {
            Ok(policies) => self.enforce(policies),
            Err(why) => {
                tracing::error!(code = "BW-1003", %why, "the policies do not load; those before stay in force")
            }
        }
    }

    /// Puts policies in force, and tells whoever acts by others.
    fn enforce(&self, policies: Policies) {
        let is_same = self.policies.load().digest() == policies.digest();
        self.policies.store(Arc::new(policies));
        if !is_same {
            self.policies_changed.send_replace(());
        }
    }

    fn apply_approval(&self, record: ApprovalRecord) {
        let newer = self.bindings.get(&record.binding).is_none_or(|held| *held <= record.id);
        if newer {
            self.bindings.insert(record.binding, record.id);
        }
        self.approvals.insert(record.id, Arc::new(record));
    }

    fn apply_account(&self, record: AccountRecord) {
        if record.state == AccountState::Linked {
            self.accounts.insert(record.key(), Arc::new(record));
        } else {
            self.accounts.remove(&record.key());
        }
    }

    /// A linked account, by its key.
    pub(crate) fn account(&self, key: &str) -> Option<Arc<AccountRecord>> {
        self.accounts.get(key).map(|account| account.clone())
    }

    /// The resource types that accepted mappings name.
    pub fn kinds(&self) -> BTreeSet<String> {
        let catalog = self.catalog.load();
        let accepted = catalog
            .tools
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|tool| tool.accepted.as_ref());
        accepted.flat_map(|tool| tool.verbs().map(|(_, kind, _)| kind.to_owned())).collect()
    }

    /// The person.
    pub fn person(&self, id: &IdentityId) -> Option<Arc<PersonEntry>> {
        self.persons.get(id).map(|entry| entry.clone())
    }

    /// The person whom people call by this handle.
    pub fn person_by_handle(&self, handle: &Name) -> Option<Arc<PersonEntry>> {
        let found = self.persons.iter().find(|entry| entry.person.handle == *handle);
        found.map(|entry| entry.clone())
    }

    /// The agent.
    pub fn agent(&self, id: &IdentityId) -> Option<Arc<AgentEntry>> {
        self.agents.get(id).map(|entry| entry.clone())
    }

    /// The blueprint.
    pub fn blueprint(&self, name: &Name) -> Option<Arc<Blueprint>> {
        self.blueprints.get(name).map(|entry| entry.0.clone())
    }

    /// All blueprints, by name.
    pub fn blueprints(&self) -> Vec<Arc<Blueprint>> {
        let mut all: Vec<_> = self.blueprints.iter().map(|entry| entry.0.clone()).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The agents of a blueprint, by name.
    pub fn agents_of(&self, blueprint: &Name) -> Vec<IdentityId> {
        let of = self.agents.iter().filter(|entry| entry.agent.blueprint == *blueprint);
        let mut agents: Vec<IdentityId> = of.map(|entry| entry.agent.id.clone()).collect();
        agents.sort();
        agents
    }

    /// The server with its tools.
    pub fn server(&self, name: &Name) -> Option<ServerEntry> {
        let catalog = self.catalog.load();
        let (record, _) = catalog.servers.get(name)?.clone();
        Some(ServerEntry { record, tools: catalog.tools.get(name).cloned().unwrap_or_default() })
    }

    /// The names of all servers.
    pub fn servers(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.catalog.load().servers.keys().cloned().collect();
        names.sort();
        names
    }

    /// A server, and one tool of it.
    pub fn tool(
        &self,
        server: &Name,
        tool: &str,
    ) -> Option<(Arc<ServerRecord>, Option<ToolEntry>)> {
        self.tool_with_row(server, tool).map(|(server, _, tool)| (server, tool))
    }

    /// The same, with the digest of the server's row.
    pub(crate) fn tool_with_row(
        &self,
        server: &Name,
        tool: &str,
    ) -> Option<(Arc<ServerRecord>, Digest, Option<ToolEntry>)> {
        let catalog = self.catalog.load();
        let (record, row) = catalog.servers.get(server)?.clone();
        let tool = catalog.tools.get(server).and_then(|tools| tools.get(tool)).cloned();
        Some((record, row, tool))
    }

    /// Tells when other policies come into force from now on.
    pub(crate) fn policy_changes(&self) -> watch::Receiver<()> {
        self.policies_changed.subscribe()
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// The request for approval that binds exactly this.
    pub fn approval_for(&self, binding: &Digest) -> Option<Arc<ApprovalRecord>> {
        let id = *self.bindings.get(binding)?;
        self.approval(id)
    }

    /// The request for approval.
    pub fn approval(&self, id: ApprovalId) -> Option<Arc<ApprovalRecord>> {
        self.approvals.get(&id).map(|record| record.clone())
    }

    /// All requests for approval, the oldest first.
    pub fn approvals(&self) -> Vec<Arc<ApprovalRecord>> {
        let mut records: Vec<_> = self.approvals.iter().map(|record| record.clone()).collect();
        records.sort_by_key(|record| record.id);
        records
    }

    /// The rows that grant nothing because they differ from their ledger entries.
    pub fn tampered(&self) -> Vec<(String, String)> {
        self.seals.tampered()
    }

    /// Whether the ledger has ever told of an object of this kind.
    pub fn ever_held(&self, kind: &str) -> bool {
        self.seals.ever_held(kind)
    }

    /// How many active people govern Bailiwick itself.
    ///
    /// While the record of any person is missing or was tampered with, there may be one more: the rules that ask for a
    /// second person stay on.
    pub fn administrators(&self) -> u32 {
        let known = self.administrators.load(Ordering::Relaxed);
        let all_known = self.seals.persons() <= self.persons.len();
        if all_known { known } else { known.max(2) }
    }

    fn count_administrators(&self) {
        let governs = |entry: &PersonEntry| {
            entry.person.active
                && entry.person.teams.iter().any(|team| team.as_str() == ADMINISTRATOR)
        };
        let count = self.persons.iter().filter(|entry| governs(entry)).count();
        self.administrators.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Forgets requests for approval that ended a day before.
    pub(crate) fn forget(&self, now: Timestamp) {
        self.approvals.retain(|_, record| now < record.expires.plus_seconds(FORGET_SECONDS));
        self.bindings.retain(|_, id| self.approvals.contains_key(id));
    }
}

/// An agent as policies see it.
fn principal(agent: &Agent) -> Principal {
    Principal {
        id: agent.id.clone(),
        teams: Vec::new(),
        blueprint: Some(agent.blueprint.clone()),
        owner: agent.state.owner().cloned(),
        manager: None,
        attested: agent.version.attested_by.is_some(),
    }
}

/// What a stop can be aimed at in an agent.
fn touch(agent: &Agent) -> AgentTouch {
    AgentTouch {
        name: agent.id.name().clone(),
        blueprint: agent.blueprint.clone(),
        owner: agent.state.owner().map(|owner| owner.name().clone()),
        model: agent.version.model.clone(),
    }
}

/// The guard pack, then what people wrote.
pub fn with_guards(sources: &[Source]) -> Vec<Source> {
    policy::guard().into_iter().chain(sources.iter().cloned()).collect()
}

fn parse<T: DeserializeOwned>(row: &RawRow) -> Result<T, serde_json::Error> {
    serde_json::from_str(&row.body)
}

/// The keys that can be read; one that cannot proves nobody.
fn keys(jwks: &[Json]) -> Vec<PublicKey> {
    jwks.iter().filter_map(|jwk| Jwk::from_json(jwk).ok()).map(Jwk::into_key).collect()
}
