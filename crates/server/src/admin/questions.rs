use std::collections::BTreeSet;

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{Code, Engine, Pair};
use model::{Currency, IdentityId, Money, Name, Resource, Verb};
use serde::{Deserialize, Serialize};

use crate::{
    body::Body,
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] =
    &[Route::session(Method::POST, "/v1/can-i", |filter| on(filter, ask))];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// For whom; the asker when left out.
    person: Option<String>,
    /// Through which agent; none for the person alone.
    agent: Option<String>,
    verb: Verb,
    /// `system/Kind/id`
    resource: String,
    /// In minor units, with a currency.
    amount: Option<i64>,
    currency: Option<Currency>,
}

#[derive(Serialize)]
struct Answer {
    verdict: &'static str,
    person: IdentityId,
    agent: Option<IdentityId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    policies: Vec<String>,
}

/// People ask about themselves and about agents that they answer for; who may look at others asks about them, too.
async fn ask(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Body(question): Body<Question>,
) -> Result<Json<Answer>, Problem> {
    let engine = &server.engine;
    let pair = pair(engine, &question)?;
    let person = match &question.person {
        None => caller.person.clone(),
        Some(text) => names::person(engine, text).await?,
    };
    let agent = question.agent.as_deref().map(names::agent).transpose()?;
    let owns = agent
        .as_ref()
        .is_some_and(|agent| engine.sees(&caller, "Registration", &agent.to_string()));
    if !owns {
        engine.look(&caller, "Registration", &person.to_string())?;
    }
    let answer = engine.can(&person, agent.as_ref(), &pair);
    // Nobody of that name is no answer about anybody.
    if let (Some(agent), Some(Code::IdentityUnknown)) =
        (&agent, answer.refusal.as_ref().map(|refusal| refusal.code))
    {
        return Err(Problem::not_found("agent", agent.name()));
    }
    let (code, reason, next) = match answer.refusal {
        None => (None, None, None),
        Some(refusal) => (Some(refusal.code.text()), Some(refusal.reason), Some(refusal.next)),
    };
    Ok(Json(Answer {
        verdict: answer.verdict,
        person,
        agent,
        code,
        reason,
        next,
        policies: answer.policies,
    }))
}

fn pair(engine: &Engine, question: &Question) -> Result<Pair, Problem> {
    let invalid = |why: &dyn std::fmt::Display| Problem::new(Fault::Invalid, why.to_string());
    let mut parts = question.resource.splitn(3, '/');
    let (Some(system), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid(
            &"a resource is written `system/Kind/id`, for example `support-desk/Refund/4711`",
        ));
    };
    let system = names::name(system)?;
    let resource = Resource::new(system, kind, id).map_err(|why| invalid(&why))?;
    let amount = match (question.amount, question.currency) {
        (None, None) => None,
        (Some(amount), Some(currency)) => {
            Some(Money::new(amount, currency).map_err(|why| invalid(&why))?)
        }
        _ => return Err(invalid(&"an amount and its currency come together")),
    };
    let classes = classes(engine, &resource, question.verb);
    Ok(Pair { verb: question.verb, resource, classes, amount })
}

/// The data classes that the catalog gives such a thing; unknown ones are the server's most sensitive.
fn classes(engine: &Engine, resource: &Resource, verb: Verb) -> BTreeSet<Name> {
    let Some(server) = engine.directory().server(resource.system()) else { return BTreeSet::new() };
    let tools: Vec<_> = server.tools.values().filter_map(|entry| entry.accepted.clone()).collect();
    let mut effects = tools.iter().flat_map(|tool| tool.verbs());
    let mapped = effects.find(|(does, kind, _)| *does == verb && *kind == resource.kind());
    match mapped {
        Some((_, _, classes)) => classes.clone(),
        None => server.record.default_classes.iter().cloned().collect(),
    }
}
