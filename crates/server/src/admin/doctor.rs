//! What a person should look at: nothing of it is broken for sure, and all of it is easily forgotten.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::Method, routing::on};
use decide::{Caller as Asker, Engine, UNSEPARATED};
use ledger::Health;
use model::{Authority, Name, Pattern, Sender, Timestamp, Verb, Verbs};
use serde::Serialize;

use crate::{
    caller::Caller,
    problem::Problem,
    route::{Route, Shared},
};

pub(crate) const ROUTES: &[Route] =
    &[Route::session(Method::GET, "/v1/doctor", |filter| on(filter, examine))];

#[derive(Serialize)]
struct Examined {
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    check: &'static str,
    /// `ok`, `warn`, `fail`, or `skip` where the caller may not look at it.
    state: Verdict,
    says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
    Skip,
}

/// Something that was found, and what to do about it.
struct Finding {
    says: String,
    next: String,
}

async fn examine(
    State(server): State<Shared>,
    Caller(caller): Caller,
) -> Result<Json<Examined>, Problem> {
    let engine = &server.engine;
    // Who may not look at the servers is no administrator of any kind, and that is recorded.
    engine.look(&caller, "Server", "servers")?;
    let mut checks = vec![ledger(engine), rows(engine), administrators(engine)];
    type Look = fn(&Engine) -> Vec<Finding>;
    let looks: [(&'static str, &'static str, Look); 5] = [
        ("programs", "Server", programs),
        ("tools", "Tool", tools),
        ("tokens", "Registration", tokens),
        ("tasks", "Task", tasks),
        ("stops", "Stop", stops),
    ];
    for (check, kind, look) in looks {
        checks.extend(looked(engine, &caller, check, kind, look));
    }
    Ok(Json(Examined { checks }))
}

fn looked(
    engine: &Engine,
    caller: &Asker,
    check: &'static str,
    kind: &'static str,
    look: fn(&Engine) -> Vec<Finding>,
) -> Vec<Check> {
    if !engine.sees(caller, kind, check) {
        let says = "you may not look at this".to_owned();
        return vec![Check { check, state: Verdict::Skip, says, next: None }];
    }
    let found = look(engine);
    if found.is_empty() {
        return vec![ok(check)];
    }
    let warn =
        |Finding { says, next }| Check { check, state: Verdict::Warn, says, next: Some(next) };
    found.into_iter().map(warn).collect()
}

fn ok(check: &'static str) -> Check {
    Check { check, state: Verdict::Ok, says: "nothing to look at".to_owned(), next: None }
}

fn fail(check: &'static str, says: String, next: &str) -> Check {
    Check { check, state: Verdict::Fail, says, next: Some(next.to_owned()) }
}

fn ledger(engine: &Engine) -> Check {
    match engine.log().health() {
        Health::Healthy => ok("ledger"),
        Health::NoSpace => fail(
            "ledger",
            "the disk is full, or no file descriptor is left".to_owned(),
            "make room on it, or raise the limit",
        ),
        Health::Failed(why) => fail("ledger", format!("a write failed: {why}"), "restart the node"),
    }
}

fn rows(engine: &Engine) -> Check {
    let tampered = engine.directory().tampered();
    if tampered.is_empty() {
        return ok("rows");
    }
    let names: Vec<String> = tampered.iter().map(|(kind, id)| format!("{kind} `{id}`")).collect();
    let says = format!("differ from their ledger entries and grant nothing: {}", names.join(", "));
    fail("rows", says, "find out who writes to the database, then write them anew over the API")
}

fn administrators(engine: &Engine) -> Check {
    let (check, count) = ("administrators", engine.directory().administrators());
    if count >= 2 {
        return ok(check);
    }
    let says = format!("there are {count}: nobody can be the second person");
    let add =
        "bailiwick person add --handle HANDLE --name NAME --public-key FILE --team administrator";
    let next = Some(format!("enrol another one: {add}"));
    Check { check, state: Verdict::Warn, says, next }
}

fn programs(engine: &Engine) -> Vec<Finding> {
    let servers = engine.directory().servers().into_iter();
    let open = servers.filter(|name| {
        let server = engine.directory().server(name);
        server.is_some_and(|entry| entry.record.url.starts_with(UNSEPARATED))
    });
    let finding = |name| Finding {
        says: format!("`{name}` is a program that is not separated from the node"),
        next: "run it under another uid, or on a kernel with Landlock".to_owned(),
    };
    open.map(finding).collect()
}

fn tools(engine: &Engine) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in engine.directory().servers() {
        let Some(entry) = engine.directory().server(&name) else { continue };
        let mut states: BTreeMap<&'static str, usize> = BTreeMap::new();
        for tool in entry.tools.values().filter(|tool| tool.accepted.is_none()) {
            *states.entry(tool.state().name()).or_default() += 1;
        }
        if !states.is_empty() {
            let counts: Vec<String> = states
                .iter()
                .map(|(state, count)| format!("{count} {}", state.replace('_', " ")))
                .collect();
            let says = format!("`{name}` has tools that cannot be called: {}", counts.join(", "));
            found.push(Finding { says, next: format!("bailiwick catalog diff {name}") });
        }
    }
    found
}

/// Tokens without a key: whose they are, and what they leave out.
fn tokens(engine: &Engine) -> Vec<Finding> {
    let (directory, now) = (engine.directory(), engine.context().now());
    let bearer = directory.blueprints().into_iter().filter(|one| one.sender == Sender::Bearer);
    let finding = |blueprint: std::sync::Arc<model::Blueprint>| {
        let agents = directory.agents_of(&blueprint.name);
        let names: Vec<String> = agents.iter().map(|agent| agent.name().to_string()).collect();
        let mut says = format!(
            "agents of `{}` may have tokens that are bound to no key: {}",
            blueprint.name,
            if names.is_empty() { "none yet".to_owned() } else { names.join(", ") }
        );
        for system in directory.servers() {
            let waiting = engine.verbs_that_wait(&agents, &system);
            let waiting = waiting.intersect(verbs_at(&blueprint.authority, &system, now));
            let verbs: Vec<&str> = waiting.iter().map(Verb::name).collect();
            if !verbs.is_empty() {
                says += &format!("; at `{system}` they leave out {}", verbs.join(", "));
            }
        }
        Finding {
            says,
            next: "say `sender = \"dpop\"` and let them use `bailiwick connect`".to_owned(),
        }
    };
    bearer.map(finding).collect()
}

/// What an authority has of a system at all.
fn verbs_at(authority: &Authority, system: &Name, now: Timestamp) -> Verbs {
    let there = Pattern::system(system.clone());
    let live = authority.clauses.iter().filter(|clause| now < clause.expires);
    let here = live.filter(|clause| clause.resources.intersect(&there).is_some());
    here.fold(Verbs::default(), |verbs, clause| verbs.union(clause.verbs))
}

fn tasks(engine: &Engine) -> Vec<Finding> {
    let parked = engine.tasks().parked();
    let finding = |(id, parking): (model::TaskId, decide::Parking)| Finding {
        says: format!("task {id}: {}", parking.why),
        next: format!("bailiwick task unpark {id}, or task end {id}"),
    };
    parked.into_iter().map(finding).collect()
}

fn stops(engine: &Engine) -> Vec<Finding> {
    let orders = engine.stops().orders().into_iter();
    let finding = |order: decide::Order| Finding {
        says: format!("{} is stopped: {}", order.scope, model::Foreign::new(order.reason)),
        next: format!("bailiwick resume {}", order.scope),
    };
    orders.map(finding).collect()
}
