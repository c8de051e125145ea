//! What calls would do under mappings that nobody has accepted. It records no attempt, and changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use decide::{Code, Pair, Tool};
use model::{Money, Name, Verb, ijson::Json as Arguments};
use serde::{Deserialize, Serialize};

use super::{AcceptedTool, known, wish_of};
use crate::{
    body::{Body, Segment},
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::Shared,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    tools: Vec<AcceptedTool>,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    tool: String,
    arguments: Arguments,
}

#[derive(Serialize)]
pub(super) struct Tried {
    server: Name,
    /// One for each call, in their order.
    calls: Vec<TriedCall>,
}

#[derive(Serialize)]
struct TriedCall {
    tool: String,
    /// By the mapping that is tried.
    proposed: Reading,
    /// By what is in force.
    in_force: Reading,
    differs: bool,
}

/// What a call does, or why it is refused before anybody is asked.
#[derive(Serialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Reading {
    Effects(Vec<Does>),
    Refused { code: &'static str, reason: String },
}

#[derive(Serialize, PartialEq)]
struct Does {
    verb: Verb,
    /// `system/Kind/id`
    resource: String,
    classes: Vec<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Money>,
}

pub(super) async fn run(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(name): Segment,
    Body(trial): Body<Trial>,
) -> Result<Json<Tried>, Problem> {
    let name = names::name(&name)?;
    server.engine.look(&caller, "Tool", name.as_str())?;
    let entry = known(&server, &name)?;
    let wish = wish_of(name.clone(), trial.tools);
    govern::check_acceptance(&server.engine, &wish)?;
    let mut tried: BTreeMap<&str, Tool> = BTreeMap::new();
    for acceptance in &wish.tools {
        let Some(tool) = entry.tools.get(&acceptance.tool) else { continue };
        let classes = &entry.record.default_classes;
        let compiled = decide::compile(&tool.record, &acceptance.mapping, classes);
        let compiled = compiled.map_err(|why| Problem::new(Fault::Invalid, why.to_string()))?;
        tried.insert(&acceptance.tool, compiled);
    }
    let read = |call: Call| {
        let shown = model::Foreign::new(call.tool.as_str());
        let unmapped = || Problem::new(Fault::Invalid, format!("no mapping of `{shown}` is given"));
        let tool = tried.get(call.tool.as_str()).ok_or_else(unmapped)?;
        let proposed = reading(Ok(tool), &call.arguments);
        let in_force = entry.tools.get(&call.tool).map(decide::ToolEntry::in_force);
        let in_force = in_force.unwrap_or_else(|| Err((Code::ToolUnknown, String::new())));
        let in_force = reading(in_force.as_ref().map(Arc::as_ref), &call.arguments);
        let differs = proposed != in_force;
        Ok(TriedCall { tool: call.tool, proposed, in_force, differs })
    };
    let calls = trial.calls.into_iter().map(read).collect::<Result<_, Problem>>()?;
    Ok(Json(Tried { server: name, calls }))
}

fn reading(tool: Result<&Tool, &(Code, String)>, arguments: &Arguments) -> Reading {
    let read = tool.map_err(Clone::clone).and_then(|tool| tool.reading(arguments));
    match read {
        Ok((pairs, _)) => Reading::Effects(pairs.into_iter().map(does).collect()),
        Err((code, reason)) => Reading::Refused { code: code.text(), reason },
    }
}

fn does(pair: Pair) -> Does {
    Does {
        verb: pair.verb,
        resource: pair.resource.to_string(),
        classes: pair.classes.into_iter().collect(),
        amount: pair.amount,
    }
}
