//! Telling clients of the older revisions that a resource changed.

use gateway::envelope::Era;
use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    client::Reply,
    desk::{Step, event, stream, updated},
    house::{Bot, House},
    soon,
};

async fn say(bot: &Bot<'_>, session: &str, method: &str, uri: &str) -> serde_json::Value {
    let body = json!({ "jsonrpc": "2.0", "id": 2, "method": method, "params": { "uri": uri } });
    bot.post_in(session, body.to_string()).await.json().await
}

/// The stream on which the client of a session is told.
async fn listen(bot: &Bot<'_>, session: &str) -> Reply {
    bot.ask(Method::GET, &[("mcp-session-id", session)]).await
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
    let hello = bot.hello().await;
    let session = hello.header("mcp-session-id").unwrap().to_owned();
    let offers = hello.json().await["result"]["capabilities"].take();
    assert_eq!(offers["resources"], json!({ "subscribe": true }));
    let elsewhere = other.open().await;
    let mut told = listen(&bot, &session).await;
    assert_eq!(told.header("content-type"), Some("text/event-stream"));
    let mut others = listen(&other, &elsewhere).await;
    assert_eq!(say(&bot, &session, "resources/subscribe", "file:///a").await["result"], json!({}));
    assert_eq!(
        say(&other, &elsewhere, "resources/subscribe", "file:///b").await["result"],
        json!({})
    );
    assert_eq!(house.recorded().await, ["decision permit", "outcome completed"].repeat(2));
    // Each of the two sessions with the server is told of all three.
    for _ in 0..6 {
        house.desk.go_on();
    }
    assert_eq!(others.event().await.unwrap(), updated("file:///b"));
    for _ in 0..2 {
        assert_eq!(told.event().await.unwrap(), updated("file:///a"));
    }
    // A later stream takes the place of the first one, and ends with the session.
    let mut again = listen(&bot, &session).await;
    assert_eq!(told.event().await, None);
    let ended = bot.ask(Method::DELETE, &[("mcp-session-id", &session)]).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(soon(again.event()).await, None);
}

#[tokio::test]
async fn who_is_stopped_is_told_nothing_any_more() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = bot.open().await;
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
async fn policies_that_forbid_a_resource_end_what_is_told_of_it_and_nothing_else() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = bot.open().await;
    let mut told = listen(&bot, &session).await;
    for uri in ["file:///a", "file:///b"] {
        assert_eq!(say(&bot, &session, "resources/subscribe", uri).await["result"], json!({}));
    }
    house
        .apply(r#"@id("no-a") forbid (principal, action, resource == Document::"desk/file:///a");"#)
        .await;
    for _ in 0..3 {
        house.desk.go_on();
    }
    assert_eq!(soon(told.event()).await.unwrap(), updated("file:///b"));
    // The server has told of `a` once more by the time that its stream is over.
    bot.ask(Method::DELETE, &[("mcp-session-id", &session)]).await;
    assert_eq!(soon(told.event()).await, None);
}

#[tokio::test]
async fn a_subscription_that_nobody_permits_does_not_reach_the_server() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = bot.open().await;
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
    let session = bot.open().await;
    let mut told = listen(&bot, &session).await;
    assert_eq!(say(&bot, &session, "resources/subscribe", "file:///a").await["result"], json!({}));
    assert_eq!(told.event().await.unwrap(), updated("file:///a"));
}

#[tokio::test]
async fn a_server_is_listened_to_only_while_somebody_hears_it() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = bot.open().await;
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
