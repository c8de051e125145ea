use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::{Method, header},
    response::{IntoResponse, Response},
    routing::on,
};
use decide::Engine;
use govern::ReadPayloads;
use ledger::{Checkpoint, Entry, Log, PayloadError, ProofError, TlogProof};
use model::{Digest, Name};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Server, Witnessed,
    body::{Params, Segment},
    caller::Caller,
    names,
    problem::{Fault, Problem},
    route::{Route, Shared},
};

mod cursor;
mod past;
mod search;

pub(crate) const ROUTES: &[Route] = &[
    Route::session(Method::GET, "/v1/ledger/entries", |filter| on(filter, search::list)),
    Route::session(Method::GET, "/v1/ledger/entries/{index}", |filter| on(filter, get)),
    Route::session(Method::GET, "/v1/ledger/entries/{index}/proof", |filter| on(filter, proof)),
    Route::session(Method::GET, "/v1/ledger/chain/{id}", |filter| on(filter, past::chain)),
    Route::session(Method::GET, "/v1/ledger/governance", |filter| on(filter, past::governance)),
    Route::session(Method::GET, "/v1/ledger/key", |filter| on(filter, key)),
    Route::session(Method::GET, "/ledger/checkpoint", |filter| on(filter, checkpoint)),
    Route::session(Method::GET, "/ledger/tile/{*path}", |filter| on(filter, tile)),
];

/// The media type of notes and proofs.
const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    #[serde(default)]
    payload: bool,
}

#[derive(Serialize)]
struct Shown {
    index: u64,
    hash: Digest,
    /// The leaf, byte for byte as it is hashed.
    leaf: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    /// The same as of a list, for an entry that is shown alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    people: BTreeMap<String, Name>,
}

/// A payload that was opened.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Payload {
    /// The entry has none.
    None,
    /// What was sealed.
    Open {
        content: Box<RawValue>,
    },
    /// It was erased with its subject's key.
    Erased {
        by: u64,
    },
    Expired {
        by: u64,
    },
    /// It is lost, or cannot be opened.
    Gone {
        reason: &'static str,
    },
}

#[derive(Serialize)]
struct Key {
    /// `name+id+key`: what a verifier needs; compare it with one that came by another way.
    key: String,
    /// How many entries the head covers that `/ledger/checkpoint` shows; absent while none is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Its root.
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<Digest>,
}

async fn get(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(index): Segment,
    Params(opening): Params<Opening>,
) -> Result<Json<Shown>, Problem> {
    let engine = &server.engine;
    let index = position(&index)?;
    engine.look(&caller, "Ledger", "entries")?;
    let log = engine.log().clone();
    let entry = blocking(move || log.entry(index)).await??;
    let unknown = || Problem::not_found("ledger entry", index);
    let entry = entry.ok_or_else(unknown)?;
    if opening.payload {
        engine.allow(&caller, ReadPayloads { first: index, last: index }).await?;
    }
    let shown = show(engine, vec![entry], opening.payload).await?;
    let shown = shown.into_iter().next().ok_or_else(unknown)?;
    Ok(Json(Shown { people: names::handles(engine, &caller, &shown), ..shown }))
}

/// What proves an entry to somebody who has its bytes and the ledger's key: C2SP tlog-proof.
async fn proof(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(index): Segment,
) -> Result<Response, Problem> {
    let index = position(&index)?;
    server.engine.look(&caller, "Ledger", "entries")?;
    let proof = blocking(move || prove(&server, index)).await??;
    Ok(([(header::CONTENT_TYPE, TEXT)], proof.to_string()).into_response())
}

/// Proves an entry under the head that is shown. Blocks.
fn prove(server: &Server, index: u64) -> Result<TlogProof, Problem> {
    let note = shown_head(server)?;
    TlogProof::make(&server.ledger_dir, &note, index).map_err(|why| match why {
        ProofError::NotCovered { .. } => {
            Problem::new(Fault::NotFound, why.to_string()).with_next(match server.witnessed {
                None => "Look at the ledger's size (`bailiwick ledger show`); a new entry comes under a signed head within about a second: ask again.",
                Some(_) => "Look at the ledger's size (`bailiwick ledger show`); a new entry is proven once enough witnesses have cosigned a head over it: ask again, and where that lasts, look at what the node logs of its witnesses.",
            })
        }
        _ => Problem::internal(&why),
    })
}

/// The note of the head that is shown. Blocks.
fn shown_head(server: &Server) -> Result<Vec<u8>, Problem> {
    let Some(head) = Witnessed::shown(server.witnessed.as_deref()) else {
        let why = "no head of the ledger is shown: too few witnesses have cosigned one so far";
        return Err(Problem::new(Fault::NotFound, why).with_next(
            "Ask again in a few seconds; where that lasts, look at what the node logs of its witnesses.",
        ));
    };
    std::fs::read(server.ledger_dir.join(head.name())).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::new(Fault::NotFound, "the ledger has no signed head yet")
                .with_next("Ask again: it has one about a second after its first entry.")
        }
        _ => Problem::internal(&why),
    })
}

fn position(index: &str) -> Result<u64, Problem> {
    index.parse().map_err(|_| Problem::new(Fault::Invalid, "a position is a whole number"))
}

async fn key(State(server): State<Shared>, Caller(caller): Caller) -> Result<Json<Key>, Problem> {
    server.engine.look(&caller, "Ledger", "key")?;
    let key = server.engine.log().verifier_key();
    let note = blocking(move || shown_head(&server)).await?;
    let head = note.ok().and_then(|note| Checkpoint::unverified(&note).ok());
    let (size, root) = head.map(|head| (head.size, head.root)).unzip();
    Ok(Json(Key { key, size, root }))
}

async fn checkpoint(
    State(server): State<Shared>,
    Caller(caller): Caller,
) -> Result<Response, Problem> {
    server.engine.look(&caller, "Ledger", "checkpoint")?;
    let note = blocking(move || shown_head(&server)).await??;
    Ok(([(header::CONTENT_TYPE, TEXT)], note).into_response())
}

async fn tile(
    State(server): State<Shared>,
    Caller(caller): Caller,
    Segment(path): Segment,
) -> Result<Response, Problem> {
    server.engine.look(&caller, "Ledger", "tiles")?;
    if !is_tile(&path) {
        return Err(Problem::not_found("tile", model::Foreign::new(path)));
    }
    file(&server, &format!("tile/{path}"), "application/octet-stream").await
}

async fn show(engine: &Engine, entries: Vec<Entry>, open: bool) -> Result<Vec<Shown>, Problem> {
    let log = engine.log().clone();
    blocking(move || entries.into_iter().map(|entry| shown(&log, entry, open)).collect()).await?
}

fn shown(log: &Log, entry: Entry, open: bool) -> Result<Shown, Problem> {
    let payload = open.then(|| opened(log, &entry));
    let leaf = String::from_utf8(entry.bytes).map_err(|why| Problem::internal(&why))?;
    let leaf = RawValue::from_string(leaf).map_err(|why| Problem::internal(&why))?;
    Ok(Shown { index: entry.index, hash: entry.hash, leaf, payload, people: BTreeMap::new() })
}

fn opened(log: &Log, entry: &Entry) -> Payload {
    match log.open_payload(entry) {
        Ok(None) => Payload::None,
        Ok(Some(bytes)) => Payload::Open { content: json(&bytes) },
        Err(PayloadError::Erased(by)) => Payload::Erased { by },
        Err(PayloadError::Expired(by)) => Payload::Expired { by },
        Err(why) => {
            tracing::error!(code = "BW-1502", index = entry.index, %why, "a payload cannot be opened");
            Payload::Gone { reason: "it cannot be opened; the log of this node says why" }
        }
    }
}

/// Our payloads are JSON; another one is shown as a text.
fn json(bytes: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(bytes);
    RawValue::from_string(text.clone().into_owned())
        .or_else(|_| serde_json::value::to_raw_value(&text))
        .unwrap_or_default()
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(read).await.map_err(|why| Problem::internal(&why))
}

async fn file(server: &Server, name: &str, media_type: &'static str) -> Result<Response, Problem> {
    match tokio::fs::read(server.ledger_dir.join(name)).await {
        Ok(bytes) => Ok(([(header::CONTENT_TYPE, media_type)], bytes).into_response()),
        Err(why) => Err(unread(&why, name)),
    }
}

fn unread(why: &std::io::Error, name: &str) -> Problem {
    match why.kind() {
        std::io::ErrorKind::NotFound => Problem::not_found("published file", name),
        _ => Problem::internal(why),
    }
}

/// Whether a path below `tile/` is one that [C2SP tlog-tiles](https://c2sp.org/tlog-tiles) knows: `L/N` or `entries/N`,
/// `N` in groups of three digits, with `.p/W` where the tile is not full. Nothing else reaches the file system.
fn is_tile(path: &str) -> bool {
    let Some((level, rest)) = path.split_once('/') else { return false };
    let (index, width) =
        rest.split_once(".p/").map_or((rest, None), |(index, width)| (index, Some(width)));
    let level = level == "entries" || is_number(level, 0..=63);
    let width = width.is_none_or(|width| is_number(width, 1..=255));
    let mut groups = index.split('/').rev();
    let digits = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let last = groups.next().is_some_and(digits);
    let others: Vec<&str> = groups.collect();
    let marked = others.iter().all(|group| group.strip_prefix('x').is_some_and(digits));
    level && width && last && marked && others.len() < 7 && others.last() != Some(&"x000")
}

/// Whether a text is a number in this range, written in the one plain form.
fn is_number(text: &str, range: std::ops::RangeInclusive<u8>) -> bool {
    text.parse::<u8>().is_ok_and(|number| range.contains(&number) && number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::is_tile;

    #[test]
    fn only_the_paths_of_tiles_reach_the_file_system() {
        for path in
            ["0/000", "63/x001/x234/067", "entries/273", "entries/x001/000.p/255", "2/000.p/1"]
        {
            assert!(is_tile(path), "{path}");
        }
        for path in [
            "",
            "0",
            "0/",
            "0/00",
            "0/0000",
            "00/000",
            "64/000",
            "-1/000",
            "entries",
            "entries/../000",
            "../wal/000",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p/1/2",
            "0/x001/../../../wal/1",
            "0//000",
            "/0/000",
            "0/%2e%2e/000",
            "0/\u{661}\u{661}\u{661}",
            "payload/000",
        ] {
            assert!(!is_tile(path), "{path}");
        }
    }
}
