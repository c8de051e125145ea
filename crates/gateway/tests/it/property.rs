//! Whatever an agent sends: what the upstream receives is, byte for byte, the frozen call of a permitted, recorded attempt.

mod requests;

use bytes::Bytes;
use gateway::envelope::Era;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ledger::Entry;
use proptest::test_runner::{Config, TestRunner};
use serde::Deserialize;
use serde_json::value::RawValue;

use self::requests::{Request, Whose, request};
use crate::{
    desk::Asked,
    house::{Bot, House},
};

/// How many requests one run sends.
const REQUESTS: u32 = 200;
/// The call on the wire, whoever asked for it: only tool and arguments are the agent's.
const FROZEN: [&str; 5] = [
    r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"#,
    r#","arguments":"#,
    r#","_meta":{"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bailiwick","version":"VERSION"}"#,
    r#","io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
    r#"}}}"#,
];

/// An agent with a session of its own, and the session of another.
struct Stage<'h> {
    bot: Bot<'h>,
    own: String,
    foreign: String,
}

/// What one request led to.
#[derive(Debug, Default)]
struct Traces {
    permits: Vec<Entry>,
    refusals: usize,
    outcomes: usize,
}

#[test]
fn what_the_upstream_received_is_the_frozen_call_of_a_permitted_recorded_attempt() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let house = runtime.block_on(House::new());
    let stage = runtime.block_on(stage(&house));
    let config = Config { cases: REQUESTS, failure_persistence: None, ..Config::default() };
    let (called, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let ran = TestRunner::new(config).run(&request(), |request| {
        let count = if runtime.block_on(check(&stage, &request)) { &called } else { &refused };
        count.set(count.get() + 1);
        Ok(())
    });
    ran.unwrap();
    // Otherwise the property would hold of nothing.
    assert!(
        called.get() > REQUESTS / 10 && refused.get() > REQUESTS / 10,
        "{called:?} {refused:?}"
    );
}

async fn stage(house: &House) -> Stage<'_> {
    let (bot, other) = (house.bot(10_000_000).await, house.bot(0).await);
    let (own, foreign) = (session(&bot).await, session(&other).await);
    Stage { bot, own, foreign }
}

async fn session(bot: &Bot<'_>) -> String {
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    bot.post_with(&[], hello).await.header("mcp-session-id").unwrap().to_owned()
}

/// Sends one request and holds what arrived against what was recorded; whether something arrived.
async fn check(stage: &Stage<'_>, request: &Request) -> bool {
    let house = stage.bot.house;
    house.desk.forget();
    house.mark().await;
    let before = house.world.engine().log().acknowledged();
    let headers = headers(stage, request).await;
    let body = Bytes::from(request.body.clone());
    house.client.send(Method::POST, &house.url(), headers, body).await.text().await;
    house.mark().await;

    let traces = traces(house, before);
    let calls = house.desk.calls();
    // Beside the call the gateway says hello and looks at the tools, in words of its own.
    for asked in house.desk.asked() {
        let known = ["initialize", "server/discover", "tools/call", "tools/list"];
        assert!(known.contains(&&*asked.method()), "{asked:?}");
    }
    assert_eq!((traces.permits.len(), traces.outcomes), (calls.len(), calls.len()), "{traces:?}");
    assert_eq!(calls.len(), usize::from(request.sound), "{traces:?}");
    match (&traces.permits[..], &calls[..]) {
        ([permit], [call]) => is_frozen(house, permit, call, request),
        _ => assert_eq!(traces.refusals, 1, "{traces:?}"),
    }
    request.sound
}

/// The one call is the recorded one, byte for byte, and it is what the client's own words say to any reader.
fn is_frozen(house: &House, permit: &Entry, call: &Asked, request: &Request) {
    let arguments = house.world.engine().log().open_payload(permit).unwrap().unwrap();
    let arguments = String::from_utf8(arguments).unwrap();
    let tool = permit.leaf.body.member("tool").unwrap().as_str().unwrap();
    let name = serde_json::to_string(tool).unwrap();
    let progress = format!(r#","progressToken":{}"#, call.id());
    let progress = if request.progress { &*progress } else { "" };
    // Clients of the older revisions read logs unless they say otherwise.
    let logs = r#","io.modelcontextprotocol/logLevel":"info""#;
    let logs = if request.era == Era::Legacy { logs } else { "" };
    let [head, between, meta, version, end] = FROZEN;
    let frozen = [head, &name, between, &arguments, meta, logs, version, progress, end].concat();
    let frozen =
        frozen.replacen("ID", &call.id(), 1).replacen("VERSION", env!("CARGO_PKG_VERSION"), 1);
    assert_eq!(call.body, frozen);

    let sent: Wire<'_> = serde_json::from_str(&call.body).unwrap();
    assert_eq!(sent.params.arguments.get(), arguments);
    let theirs: serde_json::Value = serde_json::from_str(request.body.trim()).unwrap();
    assert_eq!(theirs["params"]["name"], tool);
    let meant = model::ijson::parse(
        theirs["params"]["arguments"].to_string().as_bytes(),
        model::ijson::Limits { bytes: 1 << 20, depth: 64 },
    );
    assert_eq!(meant.unwrap().canonical(), arguments.as_bytes());
}

#[derive(Deserialize)]
struct Wire<'b> {
    #[serde(borrow)]
    params: Params<'b>,
}

#[derive(Deserialize)]
struct Params<'b> {
    #[serde(borrow)]
    arguments: &'b RawValue,
}

async fn headers(stage: &Stage<'_>, request: &Request) -> HeaderMap {
    let mut headers = stage.bot.headers("POST").await;
    for (name, value) in &request.headers {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let session = match request.session {
        Whose::Nobodys => None,
        Whose::Own => Some(&*stage.own),
        Whose::Others => Some(&*stage.foreign),
        Whose::Unknown => Some("2f8e"),
    };
    if let Some(session) = session {
        headers.insert("mcp-session-id", session.parse().unwrap());
    }
    headers
}

/// What the ledger says of the agent's attempts since this entry.
fn traces(house: &House, from: u64) -> Traces {
    let mut traces = Traces::default();
    for entry in house.world.engine().log().entries(from).map(Result::unwrap) {
        let kind = entry.leaf.kind.clone();
        match (&*kind, entry.leaf.verdict.as_deref()) {
            ("decision", Some("permit")) if entry.leaf.agent.is_some() => {
                traces.permits.push(entry)
            }
            ("decision", _) if entry.leaf.agent.is_some() => traces.refusals += 1,
            ("outcome", _) => traces.outcomes += 1,
            _ => {}
        }
    }
    traces
}
