//! What people and agents hold, and which rows say so.

use std::{collections::BTreeMap, sync::Arc};

use model::{Agent, Authority, Digest, IdentityId, MAX_DEPTH, Name};

use super::Directory;
use crate::records::GrantRecord;

/// What somebody of a chain may do, and the digests of the rows that say so.
#[derive(Clone)]
pub(crate) struct Holding {
    pub(crate) authority: Arc<Authority>,
    pub(crate) rows: Arc<[Digest]>,
}

/// What all grants of a person come to.
pub(super) struct Held {
    /// Of those that may be passed on so many times, from none to [`MAX_DEPTH`].
    by_hops: Vec<Arc<Authority>>,
    rows: Arc<[Digest]>,
}

impl Directory {
    pub(super) fn apply_grant(&self, record: GrantRecord, row: Digest) {
        let mut held = self.grants.entry(record.holder.clone()).or_default();
        if record.revoked {
            held.remove(&record.name);
        } else {
            held.insert(record.name, (record.authority, row));
        }
        self.hold(record.holder, &held);
    }

    /// Notes what all grants of a person come to.
    pub(super) fn hold(&self, holder: IdentityId, grants: &BTreeMap<Name, (Authority, Digest)>) {
        let rows = grants.values().map(|(_, row)| *row).collect();
        self.held.insert(holder, Held { by_hops: by_hops(grants), rows });
    }

    /// What a person holds by those grants that may be passed on at least `hops` times: with 0 all that they hold, with 1
    /// what they may hand to an agent.
    pub fn held_by_person(&self, id: &IdentityId, hops: usize) -> Arc<Authority> {
        self.person_holds(id, hops).authority
    }

    /// The same, with the rows that say so.
    pub(crate) fn person_holds(&self, id: &IdentityId, hops: usize) -> Holding {
        let held = self.held.get(id);
        let holding = held.and_then(|held| {
            let authority = held.by_hops.get(hops)?.clone();
            Some(Holding { authority, rows: held.rows.clone() })
        });
        holding.unwrap_or_else(Holding::nothing)
    }

    /// All that an agent may do: its blueprint's authority.
    pub fn held_by_agent(&self, agent: &Agent) -> Arc<Authority> {
        self.agent_holds(agent).authority
    }

    /// The same, with the row that says so.
    pub(crate) fn agent_holds(&self, agent: &Agent) -> Holding {
        let blueprint = self.blueprints.get(&agent.blueprint);
        blueprint.map_or_else(Holding::nothing, |entry| entry.1.clone())
    }
}

impl Holding {
    fn nothing() -> Self {
        Self { authority: Arc::new(Authority::nothing()), rows: Arc::default() }
    }
}

/// What the grants come to that may be passed on at least so many times, for each number of times. Most grants of a person
/// have the same depth, so most of these are one and the same.
fn by_hops(grants: &BTreeMap<Name, (Authority, Digest)>) -> Vec<Arc<Authority>> {
    let deep = |hops| grants.values().map(|(one, _)| one).filter(move |one| one.depth >= hops);
    let mut held: Vec<Arc<Authority>> = vec![Arc::new(union(deep(0), 0))];
    for hops in 1..=MAX_DEPTH {
        let same = hops > 1 && deep(hops).count() == deep(hops - 1).count();
        let shared = held.last().filter(|_| same).cloned();
        held.push(shared.unwrap_or_else(|| {
            let strictest = deep(hops).map(|one| one.depth).min().unwrap_or(0);
            Arc::new(union(deep(hops), strictest.min(MAX_DEPTH)))
        }));
    }
    held
}

fn union<'a>(grants: impl Iterator<Item = &'a Authority>, depth: u8) -> Authority {
    Authority { clauses: grants.flat_map(|one| one.clauses.iter().cloned()).collect(), depth }
}
