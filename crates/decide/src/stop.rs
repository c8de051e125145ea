//! The kill switch: orders in force, live calls, and the points that acknowledge.
//!
//! A stop waits for nothing: it is in memory first, then in its own journal, then in the ledger, then in the store.
//! Only a resume, which needs a second person, ends it.

mod journal;

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use model::{ActionId, EntryId, IdentityId, IdentityKind, LinkId, Name, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use journal::Journal;
pub use journal::{JournalError, MAX_REASON_BYTES};

/// What a stop halts. Written `all`, `agent:support-bot`, `task:ID` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StopScope {
    /// Everything.
    All,
    /// One agent, and all that hangs below it.
    Agent(Name),
    /// Every agent of one blueprint.
    Blueprint(Name),
    /// Every agent of one owner.
    Owner(Name),
    /// Every call to one system.
    System(Name),
    /// Every agent on one model.
    Model(String),
    /// One task.
    Task(TaskId),
    /// One delegation, and all below it.
    Delegation(LinkId),
    /// One action.
    Action(ActionId),
}

/// Why a text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a scope; write `all`, or `agent:`, `blueprint:`, `owner:`, `system:`, `model:`, `task:`, `delegation:` or `action:` and its name"
)]
pub struct NotAScope(String);

impl StopScope {
    /// Whom an order of this scope tells of, as the ledger seals it; `None` for what is nobody's alone.
    pub(crate) fn about(&self) -> Option<String> {
        let id = |kind, name: &Name| IdentityId::new(kind, name.clone()).to_string();
        match self {
            Self::Agent(name) => Some(id(IdentityKind::Agent, name)),
            Self::Owner(name) => Some(id(IdentityKind::Person, name)),
            _ => None,
        }
    }
}

impl fmt::Display for StopScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Blueprint(name) => write!(f, "blueprint:{name}"),
            Self::Owner(name) => write!(f, "owner:{name}"),
            Self::System(name) => write!(f, "system:{name}"),
            Self::Model(name) => write!(f, "model:{name}"),
            Self::Task(id) => write!(f, "task:{id}"),
            Self::Delegation(id) => write!(f, "delegation:{id}"),
            Self::Action(id) => write!(f, "action:{id}"),
        }
    }
}

impl FromStr for StopScope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        let wrong = || NotAScope(text.chars().take(80).collect());
        if text == "all" {
            return Ok(Self::All);
        }
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let plain = || name.parse::<Name>().map_err(|_| wrong());
        Ok(match kind {
            "agent" => Self::Agent(plain()?),
            "blueprint" => Self::Blueprint(plain()?),
            "owner" => Self::Owner(plain()?),
            "system" => Self::System(plain()?),
            "model" if !name.is_empty() && name.len() <= 200 => Self::Model(name.to_owned()),
            "task" => Self::Task(name.parse().map_err(|_| wrong())?),
            "delegation" => Self::Delegation(name.parse().map_err(|_| wrong())?),
            "action" => Self::Action(name.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        })
    }
}

impl Serialize for StopScope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StopScope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One order to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Names the order.
    pub id: EntryId,
    /// What it halts.
    pub scope: StopScope,
    /// Who gave it.
    pub by: IdentityId,
    /// When it was accepted.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Everything about an attempt that a stop can be aimed at.
#[derive(Debug, Clone, Default)]
pub struct Touches {
    /// The attempt.
    pub action: Option<ActionId>,
    /// Whom it is for.
    pub person: Option<IdentityId>,
    /// Its task.
    pub task: Option<TaskId>,
    /// Its delegations, person first.
    pub links: Vec<LinkId>,
    /// Its agents.
    pub agents: Vec<Arc<AgentTouch>>,
    /// The system it goes to.
    pub system: Option<Name>,
    /// The tool of that system. No stop is aimed at one; what takes its acceptance away is.
    pub tool: Option<Arc<str>>,
}

/// What a stop can be aimed at in one agent.
#[derive(Debug, Clone)]
pub struct AgentTouch {
    /// Its name.
    pub name: Name,
    /// Its blueprint.
    pub blueprint: Name,
    /// Its owner's name.
    pub owner: Option<Name>,
    /// Its model.
    pub model: String,
}

impl Touches {
    /// The scopes that would halt this.
    fn scopes(&self) -> impl Iterator<Item = StopScope> {
        let agents = self.agents.iter().flat_map(|agent| {
            let owner = agent.owner.clone().map(StopScope::Owner);
            let named = [
                StopScope::Agent(agent.name.clone()),
                StopScope::Blueprint(agent.blueprint.clone()),
                StopScope::Model(agent.model.clone()),
            ];
            named.into_iter().chain(owner)
        });
        let links = self.links.iter().copied().map(StopScope::Delegation);
        std::iter::once(StopScope::All)
            .chain(agents)
            .chain(links)
            .chain(self.task.map(StopScope::Task))
            .chain(self.system.clone().map(StopScope::System))
            .chain(self.action.map(StopScope::Action))
    }
}

/// The orders in force at one epoch.
///
/// Orders and resumes commute: journal, ledger and store can be merged in any sequence.
#[derive(Debug, Clone, Default)]
struct InForce {
    epoch: u64,
    orders: HashMap<StopScope, Vec<Order>>,
    resumed: HashSet<EntryId>,
}

impl InForce {
    fn with(&self, order: &Order) -> Self {
        let mut next = self.clone();
        next.add(order);
        next
    }

    /// An order that is known already, as one that comes back from the store is, changes nothing, so there is nothing to
    /// acknowledge.
    fn add(&mut self, order: &Order) {
        if self.resumed.contains(&order.id) {
            return;
        }
        let held = self.orders.entry(order.scope.clone()).or_default();
        if !held.iter().any(|known| known.id == order.id) {
            held.push(order.clone());
            self.epoch += 1;
        }
    }

    fn without(&self, order: EntryId) -> Self {
        let mut next = self.clone();
        next.epoch += 1;
        next.resumed.insert(order);
        next.sweep();
        next
    }

    fn sweep(&mut self) {
        let Self { orders, resumed, .. } = self;
        orders.values_mut().for_each(|held| held.retain(|order| !resumed.contains(&order.id)));
        orders.retain(|_, held| !held.is_empty());
    }
}

/// The stop set of this node, its live calls and its journal.
pub struct Stops {
    in_force: ArcSwap<InForce>,
    live: DashMap<ActionId, (Touches, CancellationToken)>,
    quieter: Notify,
    journal: Mutex<Journal>,
}

/// A call on its way: while it lives, a stop can cut it.
pub struct LiveCall {
    stops: Arc<Stops>,
    action: ActionId,
    cancel: CancellationToken,
}

impl LiveCall {
    /// Resolves when a stop in scope is ordered.
    pub async fn cut(&self) {
        self.cancel.cancelled().await;
    }

    /// Cuts it without an order: it is not permitted any more.
    pub(crate) fn end(&self) {
        self.cancel.cancel();
    }

    /// Whether a stop in scope has been ordered.
    pub fn is_cut(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

impl Drop for LiveCall {
    fn drop(&mut self) {
        self.stops.live.remove(&self.action);
        self.stops.quieter.notify_waiters();
    }
}

impl Stops {
    /// Loads the journal, and writes it anew where it holds what is of no use any more.
    ///
    /// # Errors
    /// The file cannot be read, or a whole line of it is damaged. A last line without its end was never acknowledged
    /// and is cut off.
    pub fn open(path: &Path) -> Result<Arc<Self>, JournalError> {
        let journal = Journal::open(path)?;
        let mut in_force = InForce { resumed: journal.resumed().collect(), ..InForce::default() };
        for order in journal.orders() {
            in_force.add(order);
        }
        Ok(Arc::new(Self {
            in_force: ArcSwap::from_pointee(in_force),
            live: DashMap::new(),
            quieter: Notify::new(),
            journal: Mutex::new(journal),
        }))
    }

    /// The epoch of the stop set; it grows with every order and resume.
    pub fn epoch(&self) -> u64 {
        self.in_force.load().epoch
    }

    /// The order that halts this, if one does.
    pub fn halts(&self, touches: &Touches) -> Option<Order> {
        let in_force = self.in_force.load();
        if in_force.orders.is_empty() {
            return None;
        }
        touches.scopes().find_map(|scope| in_force.orders.get(&scope)?.first().cloned())
    }

    /// The orders in force.
    pub fn orders(&self) -> Vec<Order> {
        let mut orders: Vec<Order> =
            self.in_force.load().orders.values().flatten().cloned().collect();
        orders.sort_by_key(|order| order.id);
        orders
    }

    /// Puts an order in force in memory and cuts the live calls in its scope. Returns how many were cut.
    ///
    /// An order that was resumed stays resumed, wherever it is heard of again.
    pub fn order(&self, order: &Order) -> usize {
        self.in_force.rcu(|held| held.with(order));
        if !self.in_force.load().orders.contains_key(&order.scope) {
            return 0;
        }
        // The order is visible before the live calls are read, and a call registers before it reads the orders
        // (`register`): whichever comes second sees the other.
        self.cut(&order.scope)
    }

    /// Cuts the live calls in a scope without an order: what they belong to has ended. Returns how many were cut.
    pub fn cut(&self, scope: &StopScope) -> usize {
        self.cut_where(|touches| touches.scopes().any(|touched| touched == *scope))
    }

    /// Cuts the live calls that a condition picks. Returns how many.
    pub(crate) fn cut_where(&self, picks: impl Fn(&Touches) -> bool) -> usize {
        let hit = self.live.iter().filter(|live| picks(&live.0));
        hit.map(|live| live.1.cancel()).count()
    }

    /// The orders of one scope.
    pub fn of_scope(&self, scope: &StopScope) -> Vec<Order> {
        self.in_force.load().orders.get(scope).cloned().unwrap_or_default()
    }

    /// Ends an order in memory.
    pub fn resume(&self, order: EntryId) {
        self.in_force.rcu(|held| held.without(order));
    }

    /// Makes an order durable in the journal, with at most [`MAX_REASON_BYTES`] of its reason. Blocks for one sync, and once
    /// in a long time for as long as it takes to write the journal anew.
    ///
    /// # Errors
    /// The journal cannot be written, or is full of orders in force; the order is in force all the same.
    pub fn journal_order(&self, order: &Order) -> io::Result<()> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).order(order)
    }

    /// Makes a resume durable in the journal. Blocks as [`Self::journal_order`] does; a full journal takes it.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn journal_resume(&self, order: EntryId) -> io::Result<()> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).resume(order)
    }

    /// Registers a call that is about to leave, so that a stop can cut it.
    pub fn register(self: &Arc<Self>, action: ActionId, touches: Touches) -> LiveCall {
        let cancel = CancellationToken::new();
        self.live.insert(action, (touches, cancel.clone()));
        LiveCall { stops: self.clone(), action, cancel }
    }

    /// Resolves when no live call in the scope is left: this enforcement point dispatches nothing in scope any more.
    pub async fn quiet(&self, scope: &StopScope) {
        loop {
            let notified = self.quieter.notified();
            let mut notified = std::pin::pin!(notified);
            // Registered before looking, so that a call that ends in between is not missed.
            notified.as_mut().enable();
            if self.is_quiet(scope) {
                return;
            }
            notified.await;
        }
    }

    /// Whether no live call in the scope is left.
    pub(crate) fn is_quiet(&self, scope: &StopScope) -> bool {
        !self.live.iter().any(|live| live.0.scopes().any(|touched| touched == *scope))
    }

    /// How many calls are on their way.
    pub fn live_calls(&self) -> usize {
        self.live.len()
    }
}

/// How a stop went: its three times. Only *final* is done.
#[derive(Debug, Clone, Serialize)]
pub struct StopReport {
    /// The order.
    pub order: EntryId,
    /// What it halts.
    pub scope: StopScope,
    /// When it was accepted.
    pub ordered: Timestamp,
    /// When each enforcement point acknowledged: it dispatches nothing in scope, and live calls are cut.
    pub in_force: Vec<Acknowledgement>,
    /// When all had acknowledged or their leases had ended; `None` while some are open.
    pub is_final: Option<Timestamp>,
    /// How many calls were on their way and were cut.
    pub cut: usize,
    /// Whether the order survives this process; `false` needs a person at once.
    pub durable: bool,
}

/// One enforcement point's word that a stop is in force there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The enforcement point.
    pub point: String,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests;
