//! Room for what one agent could take all of: memory for long messages, each of which takes megabytes until somebody has read it,
//! and ways to servers. So many are taken at a time, and of one agent a quarter of them.

use std::{fmt, sync::Arc, time::Duration};

use dashmap::DashMap;
use model::IdentityId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Above how many bytes a message is long. A connection holds about as much anyway.
pub(crate) const LONG: usize = 64 * 1024;
/// How many long messages there are at once in one direction.
const ALL: usize = 32;
/// How long one that is whole is held for whom it is meant: 16 MiB come through half a megabit a second by then.
pub(crate) const HELD: Duration = Duration::from_secs(240);

/// From how many agents on those are forgotten that have taken nothing.
const MANY: usize = 10_000;

/// Room on a node.
pub(crate) struct Rooms {
    all: Arc<Semaphore>,
    of_one: usize,
    agents: DashMap<IdentityId, Arc<Semaphore>>,
}

/// Where one agent finds room.
#[derive(Clone)]
pub struct Room {
    all: Arc<Semaphore>,
    of_agent: Arc<Semaphore>,
}

/// Room for one, until this is dropped.
pub struct Taken {
    _all: Option<OwnedSemaphorePermit>,
    _of_agent: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self::new(ALL)
    }
}

impl Rooms {
    /// Room for so many, and a quarter of them of one agent.
    pub(crate) fn new(all: usize) -> Self {
        let all = all.min(Semaphore::MAX_PERMITS);
        let of_one = all.div_ceil(4);
        Self { all: Arc::new(Semaphore::new(all)), of_one, agents: DashMap::new() }
    }

    /// Where this agent finds room.
    pub(crate) fn of(&self, agent: &IdentityId) -> Room {
        let all = self.all.clone();
        if let Some(of_agent) = self.agents.get(agent) {
            return Room { all, of_agent: of_agent.clone() };
        }
        if self.agents.len() >= MANY {
            self.agents.retain(|_, held| Arc::strong_count(held) > 1);
        }
        let fresh = || Arc::new(Semaphore::new(self.of_one));
        let of_agent = self.agents.entry(agent.clone()).or_insert_with(fresh).clone();
        Room { all, of_agent }
    }
}

impl Room {
    /// Room for one more, where there is some now.
    pub(crate) fn try_take(&self) -> Option<Taken> {
        let of_agent = self.of_agent.clone().try_acquire_owned().ok()?;
        let all = self.all.clone().try_acquire_owned().ok()?;
        Some(Taken { _all: Some(all), _of_agent: Some(of_agent) })
    }

    /// Resolves when there is room for one more. The agent's share comes first, so that nobody waits in line for two.
    pub(crate) async fn take(&self) -> Taken {
        // Nobody closes these semaphores.
        let _of_agent = self.of_agent.clone().acquire_owned().await.ok();
        let _all = self.all.clone().acquire_owned().await.ok();
        Taken { _all, _of_agent }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn agent(name: &str) -> IdentityId {
        format!("agent/{name}").parse().unwrap()
    }

    #[test]
    fn one_agent_takes_its_share_and_all_together_no_more_than_there_is() {
        let rooms = Rooms::default();
        let take = |name: &str| rooms.of(&agent(name)).take().now_or_never();
        let of_one = rooms.of_one;
        let greedy: Vec<_> = (0..of_one).map(|_| take("greedy").unwrap()).collect();
        assert!(take("greedy").is_none());
        let others: Vec<_> = (of_one..ALL).map(|at| take(&format!("a{at}")).unwrap()).collect();
        assert!(take("one-more").is_none());
        drop(others);
        assert!(take("one-more").is_some());
        assert!(take("greedy").is_none());
        drop(greedy);
        assert!(take("greedy").is_some());
    }

    #[test]
    fn of_many_agents_only_those_are_forgotten_that_have_taken_nothing() {
        let rooms = Rooms::new(2 * MANY);
        let kept = rooms.of(&agent("kept")).take().now_or_never().unwrap();
        (0..2 * MANY).for_each(|at| drop(rooms.of(&agent(&format!("a{at}")))));
        assert!(rooms.agents.len() <= MANY);
        assert!(rooms.agents.contains_key(&agent("kept")));
        drop(kept);
    }
}
