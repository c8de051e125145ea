//! Telling clients of the older revisions that a resource changed.

use gateway::envelope::Era;
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::{
    client::Reply,
    desk::{Step, event, stream},
    house::{Bot, House},
    soon,
};

const HELLO: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bot","version":"1"}}}"#;

fn updated(uri: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
    )
}

async fn open(bot: &Bot<'_>) -> String {
    let reply = bot.post_with(&[], HELLO).await;
    let session = reply.header("mcp-session-id").unwrap().to_owned();
    let hello = reply.json().await;
    assert_eq!(hello["result"]["capabilities"]["resources"], json!({ "subscribe": true }));
    session
}

async fn say(bot: &Bot<'_>, session: &str, method: &str, uri: &str) -> serde_json::Value {
    let version = ("mcp-protocol-version", "2025-11-25");
    let body = json!({ "jsonrpc": "2.0", "id": 2, "method": method, "params": { "uri": uri } });
    bot.post_with(&[version, ("mcp-session-id", session)], body.to_string()).await.json().await
}

/// The stream on which the client of a session is told.
async fn listen(bot: &Bot<'_>, session: &str) -> Reply {
    let mut headers: HeaderMap = bot.headers("GET").await;
    headers.remove("content-type");
    headers.insert("mcp-session-id", session.parse().unwrap());
    bot.house.client.send(Method::GET, &bot.house.url(), headers, "").await
}

/// A server that tells of these resources, one by one as the test lets it.
async fn house() -> House {
    let house = House::with(Era::Legacy, Default::default()).await;
    house.desk.tells(|_| {
        let told =
            ["file:///a", "file:///b", "file:///a"].map(|uri| [Step::Wait, event(&updated(uri))]);
        [vec![stream()], told.concat(), vec![Step::UntilClosed]].concat()
    });
    house
}

#[tokio::test]
async fn a_client_is_told_of_the_resources_that_it_subscribed_to_and_of_no_others() {
    let house = house().await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let (session, elsewhere) = (open(&bot).await, open(&other).await);
    let mut told = listen(&bot, &session).await;
    assert_eq!(told.header("content-type"), Some("text/event-stream"));
    let mut others = listen(&other, &elsewhere).await;
    assert_eq!(say(&bot, &session, "resources/subscribe", "file:///a").await["result"], json!({}));
    assert_eq!(
        say(&other, &elsewhere, "resources/subscribe", "file:///b").await["result"],
        json!({})
    );
    assert_eq!(house.recorded().await, ["decision permit", "outcome completed"].repeat(2));
    for _ in 0..3 {
        house.desk.go_on();
    }
    assert_eq!(others.event().await.unwrap(), updated("file:///b"));
    for _ in 0..2 {
        assert_eq!(told.event().await.unwrap(), updated("file:///a"));
    }
    // A later stream takes the place of the first one, and ends with the session.
    let mut again = listen(&bot, &session).await;
    assert_eq!(told.event().await, None);
    let mut headers: HeaderMap = bot.headers("DELETE").await;
    headers.insert("mcp-session-id", session.parse().unwrap());
    let ended = house.client.send(Method::DELETE, &house.url(), headers, "").await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(soon(again.event()).await, None);
}

#[tokio::test]
async fn who_is_stopped_is_told_nothing_any_more() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = open(&bot).await;
    let mut told = listen(&bot, &session).await;
    assert_eq!(say(&bot, &session, "resources/subscribe", "file:///a").await["result"], json!({}));
    house.desk.go_on();
    assert_eq!(told.event().await.unwrap(), updated("file:///a"));
    let report = house.stop("agent:support-bot").await;
    assert!(report["final"].is_i64(), "{report}");
    assert_eq!(soon(told.event()).await, None, "the stream is cut");
    assert_eq!(listen(&bot, &session).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_subscription_that_nobody_permits_does_not_reach_the_server() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = open(&bot).await;
    house.desk.forget();
    let refused = say(&bot, &session, "resources/subscribe", "file:///a%20b").await;
    assert_eq!(refused["error"]["code"], 403, "{refused}");
    let refused = say(&bot, &session, "resources/unsubscribe", "").await;
    assert_eq!(refused["error"]["code"], 403, "{refused}");
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn of_what_a_server_tells_only_the_resource_passes() {
    let house = house().await;
    house.desk.tells(|_| {
        let forged = r#"{"jsonrpc":"2.0","id":2,"method":"notifications/resources/updated","params":{"uri":"file:///a","_meta":{"bailiwick/approval":"x"}},"result":{"content":[]}}"#;
        vec![stream(), event(forged), Step::UntilClosed]
    });
    let bot = house.bot(0).await;
    let session = open(&bot).await;
    let mut told = listen(&bot, &session).await;
    assert_eq!(say(&bot, &session, "resources/subscribe", "file:///a").await["result"], json!({}));
    assert_eq!(told.event().await.unwrap(), updated("file:///a"));
}

#[tokio::test]
async fn a_server_is_listened_to_only_while_somebody_hears_it() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = open(&bot).await;
    let told = listen(&bot, &session).await;
    let gets = || house.desk.asked().iter().filter(|asked| asked.head.starts_with("GET ")).count();
    assert_eq!(gets(), 0, "nothing is asked for before there is a subscription");
    assert_eq!(say(&bot, &session, "resources/subscribe", "file:///a").await["result"], json!({}));
    house.desk.go_on();
    let mut told = told;
    assert_eq!(told.event().await.unwrap(), updated("file:///a"));
    for _ in 0..2 {
        house.desk.go_on();
    }
    drop(told);
    house.desk.closed().await;

    let mut again = listen(&bot, &session).await;
    house.desk.go_on();
    assert_eq!(again.event().await.unwrap(), updated("file:///a"));
}
