//! Where at the gateway a client is: at one system, or at all of them under one address. There the names of tools are made unique by
//! the system in front of them.

use std::sync::Arc;

use decide::{Caller, Engine, Issuer, METHOD, Refusal, Tool};
use model::Name;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::envelope::spliced;

/// What stands between a system and its tool.
const BETWEEN: &str = "__";

/// One address of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Every system, for tools alone.
    All,
    /// One system.
    System(Name),
}

impl Place {
    /// The system that it is.
    pub(crate) fn system(&self) -> Option<&Name> {
        match self {
            Self::All => None,
            Self::System(system) => Some(system),
        }
    }

    /// Whom tokens are for that count here: the address itself.
    pub(crate) fn audience(&self, issuer: &Issuer) -> String {
        match self {
            Self::All => issuer.audience_of_all(),
            Self::System(system) => issuer.audience_of(system),
        }
    }

    /// The tools that a list shows here, as their servers define them but for the name.
    pub(crate) fn listed(&self, engine: &Engine, caller: &Arc<Caller>) -> Vec<Vec<u8>> {
        match self {
            Self::System(system) => {
                let tools = tools(engine, caller, system);
                tools.map(|tool| tool.text.as_bytes().to_vec()).collect()
            }
            Self::All => {
                let systems = engine.directory().servers();
                let of = |system| {
                    tools(engine, caller, system).filter_map(|tool| {
                        let name = unique(&tool.server, &tool.name);
                        let is_meant = meant(engine, &name)? == (tool.server.clone(), &*tool.name);
                        is_meant.then(|| renamed(&tool.text, &name))?
                    })
                };
                systems.iter().flat_map(of).collect()
            }
        }
    }

    /// The system and the tool that a name means here; `None` where it means none or several.
    pub(crate) fn meant<'n>(&self, engine: &Engine, name: &'n str) -> Option<(Name, &'n str)> {
        let Self::System(system) = self else { return meant(engine, name) };
        Some((system.clone(), name))
    }

    /// A refusal with the names of tools as they are here.
    pub(crate) fn named(&self, system: &Name, mut refusal: Refusal) -> Refusal {
        if *self == Self::All {
            for name in &mut refusal.help.nearest {
                *name = unique(system, name);
            }
        }
        refusal
    }
}

fn meant<'n>(engine: &Engine, name: &'n str) -> Option<(Name, &'n str)> {
    let directory = engine.directory();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    // As often as a system's name can end in it, however many systems there are.
    for (at, _) in name.char_indices().take_while(|(at, _)| *at <= Name::MAX_BYTES) {
        let Some(tool) = name[at..].strip_prefix(BETWEEN) else { continue };
        let Ok(system) = name[..at].parse::<Name>() else { continue };
        match directory.tool(&system, tool) {
            Some((_, Some(_))) => known.push((system, tool)),
            Some((_, None)) => unknown.push((system, tool)),
            None => {}
        }
    }
    match known.len() {
        1 => known.pop(),
        // That the system has no such tool is its decision to say.
        0 => unknown.into_iter().next(),
        _ => None,
    }
}

fn tools(
    engine: &Engine,
    caller: &Arc<Caller>,
    system: &Name,
) -> impl Iterator<Item = Arc<Tool>> + use<> {
    engine.listable(caller, system).into_iter().filter(|tool| !tool.name.starts_with(METHOD))
}

fn unique(system: &Name, tool: &str) -> String {
    format!("{system}{BETWEEN}{tool}")
}

/// A definition with another name; all other bytes stay.
fn renamed(definition: &str, name: &str) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Named<'d> {
        #[serde(borrow)]
        name: &'d RawValue,
    }
    let Named { name: former } = serde_json::from_str(definition).ok()?;
    let name = serde_json::to_vec(name).ok()?;
    Some(spliced(definition.as_bytes(), former.get(), &name))
}
