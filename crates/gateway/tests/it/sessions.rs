//! Sessions of the revisions before 2026-07-28: whose they are, and streams that are taken up again in them.

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::Reply,
    desk::{Step, event, stream},
    house::{Bot, House, call},
};

const VERSION: (&str, &str) = ("mcp-protocol-version", "2025-11-25");
const REFUND: &str = r#"{"order":"A-1","amount":4000}"#;

async fn take_up(bot: &Bot<'_>, session: &str, seen: &str) -> Reply {
    bot.ask(Method::GET, &[VERSION, ("mcp-session-id", session), ("last-event-id", seen)]).await
}

/// A refund on its way in a session, whose server has told one progress and says no more; with its client's stream.
async fn begun(bot: &Bot<'_>, session: &str) -> Reply {
    bot.house.desk.answers(|_| vec![stream(), event(&progress(1)), Step::UntilClosed]);
    let mut reply = bot.post_in(session, call("refund", REFUND)).await;
    reply.event().await;
    assert_eq!(reply.event().await.unwrap(), progress(1));
    reply
}

fn progress(number: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progress":{number}}}}}"#
    )
}

#[tokio::test]
async fn a_session_is_there_for_the_client_that_opened_it_alone() {
    let house = House::new().await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let session = bot.open().await;
    assert_ne!(session, bot.open().await);
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    assert_eq!(bot.post_in(&session, ping).await.status, StatusCode::OK);
    assert_eq!(other.post_in(&session, ping).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bot.post_in("1234", ping).await.status, StatusCode::NOT_FOUND);
    let read = call("get_order", r#"{"order":"A-1"}"#);
    assert_eq!(other.post_in(&session, read.clone()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.desk.calls().len(), 0, "nothing is called in a session of somebody else");

    let end =
        async |bot: &Bot<'_>| bot.ask(Method::DELETE, &[("mcp-session-id", &session)]).await.status;
    assert_eq!(end(&other).await, StatusCode::NOT_FOUND);
    assert_eq!(bot.post_in(&session, ping).await.status, StatusCode::OK);
    assert_eq!(end(&bot).await, StatusCode::NO_CONTENT);
    assert_eq!(bot.post_in(&session, ping).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bot.ask(Method::DELETE, &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(bot.ask(Method::GET, &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);

    // A session of its own is no credential, and none is needed to call.
    let mut headers = HeaderMap::new();
    headers.insert("mcp-session-id", session.parse().unwrap());
    let bare = house.client.send(Method::POST, &house.url(), headers, ping).await;
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bot.call("get_order", r#"{"order":"A-1"}"#).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_lost_stream_is_taken_up_where_its_client_was() {
    let house = House::new().await;
    let (bot, other) = (house.bot(10_000).await, house.bot(0).await);
    let session = bot.open().await;
    house.desk.answers(|asked| {
        let head = [stream(), event(&progress(1)), Step::Wait, event(&progress(2)), Step::Wait];
        [&head[..], &asked.last(r#"{"content":[]}"#)].concat()
    });
    let mut reply = bot.post_in(&session, call("refund", REFUND)).await;
    assert_eq!(reply.whole_event().await.unwrap(), "id: 1-0\nretry: 1000\ndata:");
    let first = reply.whole_event().await.unwrap();
    assert_eq!(first, format!("id: 1-1\nevent: message\ndata: {}", progress(1)));
    drop(reply);
    house.desk.go_on();

    let stranger = take_up(&other, &session, "1-1").await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND, "it is not their session");
    assert_eq!(house.recorded().await.last().unwrap(), "decision deny arguments_invalid");
    for unknown in ["2-1", "1-77", "1-18446744073709551615", "1", "x-1", ""] {
        let refused = take_up(&bot, &session, unknown).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{unknown}");
    }
    let mut again = take_up(&bot, &session, "1-1").await;
    assert_eq!(again.header("content-type"), Some("text/event-stream"));
    assert_eq!(again.event().await.unwrap(), progress(2));
    assert_eq!(bot.spent(), (0, 4_000), "the call is still on its way");
    drop(again);
    house.desk.go_on();
    house.comes_to("outcome completed 40.00 EUR").await;

    // What was delivered may have been lost on its way; it comes again, and the call does not.
    let mut again = take_up(&bot, &session, "1-0").await;
    assert_eq!(again.event().await.unwrap(), progress(1));
    assert_eq!(again.event().await.unwrap(), progress(2));
    let last: Value = serde_json::from_str(&again.event().await.unwrap()).unwrap();
    assert_eq!(last, json!({ "jsonrpc": "2.0", "id": "c-1", "result": { "content": [] } }));
    assert_eq!(again.event().await, None);
    let refused = "decision deny arguments_invalid";
    let all = ["decision permit", refused, "outcome completed 40.00 EUR"];
    assert_eq!(house.recorded().await, all);
    assert_eq!(house.desk.calls().len(), 1);
}

#[tokio::test]
async fn in_a_session_a_client_says_that_it_does_not_want_an_answer() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let session = bot.open().await;
    let mut reply = begun(&bot, &session).await;
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c-1"}}"#;
    // Somebody else's word, and one without the session, change nothing.
    let other = house.bot(0).await;
    let elsewhere = other.open().await;
    assert_eq!(other.post_in(&elsewhere, cancelled).await.status, StatusCode::ACCEPTED);
    assert_eq!(bot.post(cancelled).await.status, StatusCode::ACCEPTED);
    assert_eq!(house.world.engine().stops().live_calls(), 1);
    assert_eq!(bot.post_in(&session, cancelled).await.status, StatusCode::ACCEPTED);
    house.desk.closed().await;
    house.comes_to("outcome unknown 40.00 EUR").await;
    assert_eq!(reply.event().await, None);
}

#[tokio::test]
async fn the_end_of_a_session_ends_what_is_on_its_way_in_it() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let session = bot.open().await;
    drop(begun(&bot, &session).await);
    assert_eq!(
        bot.ask(Method::DELETE, &[("mcp-session-id", &session)]).await.status,
        StatusCode::NO_CONTENT
    );
    house.desk.closed().await;
    house.comes_to("outcome unknown 40.00 EUR").await;
}

#[tokio::test]
async fn a_stop_cuts_a_stream_that_nobody_reads_at_the_moment() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let session = bot.open().await;
    drop(begun(&bot, &session).await);
    let report = house.stop("agent:support-bot").await;
    assert!(report["final"].is_i64(), "{report}");
    house.desk.closed().await;
    assert_eq!(house.recorded().await, ["decision permit", "outcome cut 40.00 EUR"]);
    let refused = take_up(&bot, &session, "1-1").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "who is stopped gets nothing any more");
    assert_eq!(house.recorded().await.last().unwrap(), "decision deny stopped");
}

#[tokio::test]
async fn a_client_reads_the_logs_that_it_wants() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let log = |level: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":"x"}}}}"#
        )
    };
    house.desk.answers(move |asked| {
        let logs = ["debug", "warning", "critical", "loud"].map(|level| event(&log(level)));
        [vec![stream()], logs.to_vec(), asked.last("{}")].concat()
    });
    let session = bot.open().await;
    let read = call("get_order", r#"{"order":"A-1"}"#);
    let levels = async |mut reply: Reply| {
        let mut levels = Vec::new();
        while let Some(event) = reply.event().await {
            let event: Value = serde_json::from_str(&event).unwrap_or_default();
            levels.extend(event["params"]["level"].as_str().map(str::to_owned));
        }
        levels.join(" ")
    };
    assert_eq!(
        levels(bot.post_in(&session, read.clone()).await).await,
        "debug warning critical loud"
    );
    let set = |level: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":3,"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
        )
    };
    assert_eq!(bot.post_in(&session, set("error")).await.json().await["result"], json!({}));
    assert_eq!(levels(bot.post_in(&session, read.clone()).await).await, "critical");
    let refused = bot.post_in(&session, set("loud")).await.json().await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");

    // A request of the newer revision reads none unless it says so, and its server hears what it wants.
    let modern = bot.modern_call("get_order", r#"{"order":"A-1"}"#).await;
    assert_eq!(levels(modern).await, "");
    let asked = house.desk.calls().pop().unwrap().json();
    assert_eq!(asked["params"]["_meta"]["io.modelcontextprotocol/logLevel"], Value::Null);
}
