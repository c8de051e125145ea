//! Entries as they are asked for: by position, or by what they are about.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use decide::Engine;
use govern::{ReadPayloads, SearchPayloads};
use insight::{Field, Found, Page, Query, Words};
use ledger::Entry;
use model::{ActionId, Digest, EntryId, IdentityId, Name, Resource, TaskId, Timestamp, ijson};
use serde::{Deserialize, Serialize};

use super::{Shown, blocking, cursor, show};
use crate::{
    Server,
    body::Params,
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::Shared,
};

/// How many entries an answer has when nobody says, and at most.
const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1_000;
/// The most bytes of opened payloads in one answer, before they are sealed.
const MAX_OPENED: u64 = 16 * 1024 * 1024;
/// The longest text that entries are found by, in bytes: keys and names of tools are no longer.
const MAX_TEXT: usize = 512;
/// What a decision can be.
const VERDICTS: [&str; 4] = ["permit", "hold", "step_up", "deny"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Reads all entries in order from this position on; goes with `limit` and `payload` alone.
    from: Option<u64>,
    /// The `next` of the page before.
    after: Option<String>,
    limit: Option<u64>,
    #[serde(default)]
    payload: bool,
    /// Words that have to occur in payloads.
    text: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    action: Option<ActionId>,
    agent: Option<String>,
    /// A token's id, or the leaf hash of its entry.
    credential: Option<String>,
    key: Option<String>,
    kind: Option<String>,
    object: Option<String>,
    person: Option<String>,
    resource: Option<String>,
    system: Option<Name>,
    task: Option<TaskId>,
    tool: Option<String>,
    verdict: Option<String>,
}

#[derive(Default, Serialize)]
pub(super) struct Entries {
    entries: Vec<Shown>,
    /// Where to go on; absent when everything was looked through.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
    /// How many entries the ledger has.
    size: u64,
    /// How many of them searches find.
    indexed: u64,
    /// How many payloads were searched, and how many could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<u64>,
    /// The handles of the people who occur in the entries, by identity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    people: BTreeMap<String, Name>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Next {
    /// For `from`.
    Position(u64),
    /// For `after`.
    Cursor(String),
}

/// `GET /v1/ledger/entries`
pub(super) async fn list(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Params(mut wanted): Params<Wanted>,
) -> Result<Json<Entries>, Problem> {
    let engine = &server.engine;
    engine.look(&caller, "Ledger", "entries")?;
    let (open, from, text) = (wanted.payload, wanted.from.take(), wanted.text.take());
    let (after, limit) = (wanted.after.take(), limit(wanted.limit));
    let query = wanted.query(&server).await?;
    let (found, answer) = match (from, text) {
        (Some(_), text) if text.is_some() || after.is_some() || query != Query::default() => {
            let what =
                "`from` reads all entries in order; it goes with `limit` and `payload` alone";
            return Err(Problem::new(Fault::Invalid, what));
        }
        (Some(from), _) => in_order(&server, from, limit).await?,
        (None, None) => by_query(&server, query, after, limit).await?,
        (None, Some(text)) => by_text(&server, &caller, query, text, after, limit).await?,
    };
    if open {
        all_fit(&found)?;
    }
    let places = found.iter().map(|entry| entry.index);
    if open && let (Some(first), Some(last)) = (places.clone().min(), places.max()) {
        engine.allow(&caller, ReadPayloads { first, last }).await?;
    }
    let entries = show(engine, found, open).await?;
    let people = names::handles(engine, &caller, &entries);
    Ok(Json(Entries { entries, people, ..answer }))
}

/// Whether the payloads of these entries fit one answer. Agents determine how long they are, so that a page of the longest is
/// not to take the node's memory.
fn all_fit(found: &[Entry]) -> Result<(), Problem> {
    let sizes = found.iter().filter_map(|entry| entry.leaf.payload.as_ref());
    let size: u64 = sizes.map(|payload| u64::from(payload.size)).sum();
    if size <= MAX_OPENED {
        return Ok(());
    }
    let what = format!(
        "the payloads of these {} entries have {size} bytes, and an answer at most {MAX_OPENED}; say a lower `limit`",
        found.len()
    );
    Err(Problem::new(Fault::Invalid, what))
}

/// How many entries an answer has.
pub(super) fn limit(wanted: Option<u64>) -> usize {
    let limit = wanted.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

async fn in_order(
    server: &Server,
    from: u64,
    limit: usize,
) -> Result<(Vec<Entry>, Entries), Problem> {
    let (log, indexed) = (server.engine.log().clone(), server.search.indexed());
    let read = move || {
        let (size, entries) = (log.acknowledged(), log.entries(from).take(limit));
        entries.collect::<Result<Vec<_>, _>>().map(|entries| (size, entries))
    };
    let (size, entries) = blocking(read).await??;
    let next = entries.last().map(|last| last.index + 1).filter(|next| *next < size);
    let next = next.map(Next::Position);
    Ok((entries, Entries { next, size, indexed, ..Entries::default() }))
}

async fn by_query(
    server: &Server,
    query: Query,
    after: Option<String>,
    limit: usize,
) -> Result<(Vec<Entry>, Entries), Problem> {
    let question = query.to_json();
    let at_most = at_most(&server.engine, &question, after)?;
    let search = move |index: &insight::Index| index.search(&query, at_most, limit);
    let page = server.search.run(search).await?;
    Ok(answer(&server.engine, &question, page))
}

/// Searches what is sealed: an act of its own, which is recorded before the first payload is opened, and its end behind it.
async fn by_text(
    server: &Server,
    caller: &std::sync::Arc<decide::Caller>,
    query: Query,
    text: String,
    after: Option<String>,
    limit: usize,
) -> Result<(Vec<Entry>, Entries), Problem> {
    let engine = &server.engine;
    let words = Words::parse(&text).map_err(|why| invalid(why.to_string()))?;
    let among = query.to_json();
    let question = ijson::Json::object([
        ("among", among.clone()),
        ("text", ijson::Json::String(text.clone())),
    ]);
    let at_most = at_most(engine, &question, after)?;
    let allowed = engine.allow(caller, SearchPayloads { among, text }).await?;
    let search = move |index: &insight::Index| index.search_text(&query, &words, at_most, limit);
    let searched = server.search.run(search).await?;
    let insight::TextFound { page, opened, gone } = searched;
    engine.note_searched(&allowed, opened, gone, page.found.entries.len() as u64);
    let (entries, answer) = answer(engine, &question, page);
    Ok((entries, Entries { opened: Some(opened), gone: Some(gone), ..answer }))
}

fn at_most(
    engine: &Engine,
    question: &ijson::Json,
    after: Option<String>,
) -> Result<Option<u64>, Problem> {
    after.map(|text| cursor::read(engine, question, &text)).transpose()
}

fn answer(engine: &Engine, question: &ijson::Json, page: Page) -> (Vec<Entry>, Entries) {
    let Page { found: Found { entries, rest }, indexed, size } = page;
    let next = rest.map(|rest| Next::Cursor(cursor::write(engine, question, rest)));
    (entries, Entries { next, size, indexed, ..Entries::default() })
}

impl Wanted {
    /// What is asked for, everything in it checked.
    async fn query(self, server: &Server) -> Result<Query, Problem> {
        let engine = &server.engine;
        let mut query = Query::default().within(self.since, self.until);
        if let Some(text) = &self.agent {
            query = query.with(Field::Agent, &names::agent(text)?);
        }
        if let Some(text) = &self.person {
            query = query.with(Field::Person, &person(engine, text).await?);
        }
        if let Some(text) = &self.resource {
            query = query.with(Field::Resource, &engine.blind_index(&resource(text)?));
        }
        if let Some(text) = &self.credential {
            query = query.with(Field::Credential, &credential(server, text).await?);
        }
        if let Some(verdict) = &self.verdict
            && !VERDICTS.contains(&verdict.as_str())
        {
            return Err(invalid(format!("a verdict is one of `{}`", VERDICTS.join("`, `"))));
        }
        for (field, text) in [
            (Field::Key, self.key),
            (Field::Kind, self.kind),
            (Field::Object, self.object),
            (Field::Tool, self.tool),
            (Field::Verdict, self.verdict),
        ] {
            if let Some(text) = text {
                query = query.with(field, &said(text)?);
            }
        }
        if let Some(system) = self.system {
            query = query.with(Field::System, &system);
        }
        if let Some(task) = self.task {
            query = query.with(Field::Task, &task);
        }
        if let Some(action) = self.action {
            query = query.with(Field::Action, &action);
        }
        Ok(query)
    }
}

/// A text that entries may be found by.
pub(super) fn said(text: String) -> Result<String, Problem> {
    if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        let what = "entries are found by texts of 1 to 512 bytes without control characters";
        return Err(invalid(what));
    }
    Ok(text)
}

/// A person who may have been forgotten by the directory: the ledger forgets nobody.
async fn person(engine: &Engine, text: &str) -> Result<IdentityId, Problem> {
    match text.parse::<IdentityId>() {
        Ok(identity) if identity.is_person() => Ok(identity),
        _ => names::person(engine, text).await,
    }
}

fn resource(text: &str) -> Result<Resource, Problem> {
    let shape = || invalid("a resource is `system/Kind/id`, for example `support-desk/Order/4711`");
    let mut parts = text.splitn(3, '/');
    let (Some(system), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(shape());
    };
    let system = system.parse::<Name>().map_err(|_| shape())?;
    Resource::new(system, kind, id).map_err(|why| invalid(why.to_string()))
}

/// The leaf hash of the entry that issued a token.
async fn credential(server: &Server, text: &str) -> Result<Digest, Problem> {
    if let Ok(hash) = text.parse() {
        return Ok(hash);
    }
    let token: EntryId = text
        .parse()
        .map_err(|_| invalid("a credential is a token's id or its entry's leaf hash"))?;
    let query = Query::default().with(Field::Token, &token);
    let page = server.search.run(move |index| index.search(&query, None, 1)).await?;
    let issued = page.found.entries.first().map(|entry| entry.hash);
    issued.ok_or_else(|| nothing_found("token", token, page.indexed, page.size))
}

/// Nothing was found; as long as the index is being made, that says nothing.
pub(super) fn nothing_found(
    kind: &'static str,
    id: impl std::fmt::Display,
    indexed: u64,
    size: u64,
) -> Problem {
    if indexed < size {
        let what = format!(
            "{indexed} of {size} entries are indexed, and none of them is of {kind} `{id}`"
        );
        return Problem::new(Fault::Search, what);
    }
    Problem::not_found(kind, id).with_next("Look for its id with `bailiwick ledger show`.")
}

fn invalid(what: impl Into<String>) -> Problem {
    Problem::new(Fault::Invalid, what)
}
