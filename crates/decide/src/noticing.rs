//! What servers show of their tools, held against what people accepted.
//!
//! Noticing only takes away: a tool whose definition is another than the accepted one, or that is no longer shown, is out of
//! force at once, and only a person puts it in force again. So nobody has to allow it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use dashmap::{DashMap, Entry};
use model::{Digest, Name};
use store::{Expect, PutError, Row};

use crate::{
    context::Monotonic,
    directory::ServerEntry,
    engine::Engine,
    governance::NotInForce,
    records::{ServerRecord, ToolRecord},
};

/// How long a server that is in use goes unlooked at.
const LOOK_MILLIS: Monotonic = 60_000;
/// How soon after a look another one follows where something speaks for a change, so that no server makes this node ask it
/// all the time.
const AGAIN_MILLIS: Monotonic = 10_000;

/// A tool as a server describes it.
#[derive(Debug, Clone)]
pub struct FoundTool {
    /// Its name.
    pub name: String,
    /// Its definition, byte for byte.
    pub definition: String,
}

/// What makes this node look at a server's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A call goes there.
    Use,
    /// It says that its tools changed, or answers a call as if they had.
    Sign,
}

/// Leave to look at a server's tools, and what was accepted when it was given. One for each server at a time.
pub struct Look {
    server: Arc<ServerRecord>,
    accepted: BTreeMap<String, Digest>,
    _turn: Arc<()>,
}

/// When servers were looked at last.
#[derive(Default)]
pub(crate) struct Looks(DashMap<Name, (Monotonic, Weak<()>)>);

impl Look {
    /// The server to ask.
    pub fn server(&self) -> &ServerRecord {
        &self.server
    }
}

impl Looks {
    /// A turn to look, where one is due and nobody is looking.
    fn turn(&self, server: &Name, occasion: Occasion, now: Monotonic) -> Option<Arc<()>> {
        let pause = match occasion {
            Occasion::Use => LOOK_MILLIS,
            Occasion::Sign => AGAIN_MILLIS,
        };
        let due = |(last, looking): &(Monotonic, Weak<()>)| {
            looking.strong_count() == 0 && now >= last + pause
        };
        // Every call comes by here, and hardly any has to wait for another.
        if self.0.get(server).is_some_and(|known| !due(&known)) {
            return None;
        }
        let turn = Arc::new(());
        let taken = (now, Arc::downgrade(&turn));
        match self.0.entry(server.clone()) {
            Entry::Occupied(entry) if !due(entry.get()) => return None,
            Entry::Occupied(entry) => drop(entry.replace_entry(taken)),
            Entry::Vacant(entry) => drop(entry.insert(taken)),
        }
        Some(turn)
    }
}

impl Engine {
    /// Leave to look at a server's tools, where it is time to: at the first use after a start, and then at most once in a
    /// minute, or sooner on a sign. Nothing, where nothing of it is accepted.
    pub fn look_at(&self, system: &Name, occasion: Occasion) -> Option<Look> {
        let now = self.context.clock.monotonic();
        let turn = self.looks.turn(system, occasion, now)?;
        let ServerEntry { record: server, tools } = self.directory.server(system)?;
        let held = tools.into_iter().filter(|(_, tool)| tool.record.is_held());
        let accepted: BTreeMap<_, _> =
            held.map(|(name, tool)| (name, tool.record.digest)).collect();
        (!accepted.is_empty()).then_some(Look { server, accepted, _turn: turn })
    }

    /// Notes that a server's tools have just been looked at.
    pub fn looked_at(&self, system: &Name) {
        let now = self.context.clock.monotonic();
        self.looks.0.insert(system.clone(), (now, Weak::new()));
    }

    /// Takes out of force what was accepted when the look began and is shown otherwise now, or not at all. Returns the names
    /// of those tools.
    ///
    /// # Errors
    /// [`NotInForce`]: what narrows is in force all the same, unless the store could not take it.
    pub async fn notice(
        self: &Arc<Self>,
        look: Look,
        shown: &[FoundTool],
    ) -> Result<Vec<String>, NotInForce> {
        let now: BTreeMap<&str, &FoundTool> =
            shown.iter().map(|tool| (tool.name.as_str(), tool)).collect();
        let changed = |name: &String, pin: &Digest| match now.get(name.as_str()) {
            Some(tool) => crate::sha256(&[tool.definition.as_bytes()]) != *pin,
            None => true,
        };
        let differs = look.accepted.iter().filter(|(name, pin)| changed(name, pin));
        let differs: Vec<(String, Digest, Option<String>)> = differs
            .map(|(name, pin)| {
                (name.clone(), *pin, now.get(name.as_str()).map(|tool| tool.definition.clone()))
            })
            .collect();
        if differs.is_empty() {
            return Ok(Vec::new());
        }
        let server = look.server.clone();
        self.change_unasked(move |changes| {
            let known: Option<Row<ServerRecord>> = changes.get(server.name.as_str())?;
            if known.is_none_or(|row| row.value != *server) {
                // It is another server by now, and people have looked at that one.
                return Ok(Vec::new());
            }
            let mut taken = Vec::new();
            for (name, pin, definition) in &differs {
                let row: Option<Row<ToolRecord>> =
                    changes.get(&format!("{}/{name}", server.name))?;
                let held = row.filter(|row| row.value.is_held() && row.value.digest == *pin);
                let next = held.and_then(|row| match definition {
                    Some(definition) => row.value.shown(definition),
                    None => row.value.withdrawn(),
                });
                if let Some(next) = next {
                    match changes.put(&next, Expect::Any, false) {
                        Ok(()) => taken.push(name.clone()),
                        Err(PutError::Exists { .. } | PutError::Stale { .. }) => {}
                        Err(PutError::Store(why)) => return Err(why.into()),
                    }
                }
            }
            Ok(taken)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_looked_at_once_at_a_time_and_no_more_often_than_bounded() {
        let (looks, desk) = (Looks::default(), "desk".parse().unwrap());
        let looked = |occasion, now| looks.turn(&desk, occasion, now).is_some();
        let looking = looks.turn(&desk, Occasion::Use, 0).unwrap();
        assert!(!looked(Occasion::Use, LOOK_MILLIS), "somebody is looking");
        drop(looking);
        assert!(!looked(Occasion::Use, LOOK_MILLIS - 1));
        assert!(!looked(Occasion::Sign, AGAIN_MILLIS - 1));
        assert!(looked(Occasion::Sign, AGAIN_MILLIS));
        assert!(!looked(Occasion::Use, AGAIN_MILLIS + LOOK_MILLIS - 1));
        assert!(looked(Occasion::Use, AGAIN_MILLIS + LOOK_MILLIS));
        assert!(looks.turn(&"other".parse().unwrap(), Occasion::Use, 0).is_some());
    }
}
