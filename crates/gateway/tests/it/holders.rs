//! Sessions with servers of the older revisions: what a server keeps in one is one client's alone.

use gateway::envelope::Era;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    client::Reply,
    desk::{Asked, Step, event, response, stream, updated},
    house::{Bot, House, call},
    soon,
};

const READ: &str = r#"{"order":"A-1"}"#;

async fn house() -> House {
    House::with(Era::Legacy, Default::default()).await
}

/// Reads an order in a session.
async fn read(bot: &Bot<'_>, session: &str) -> Reply {
    bot.post_in(session, call("get_order", READ)).await
}

/// The sessions in which the server was called, in order.
fn called_in(house: &House) -> Vec<String> {
    house.desk.calls().iter().map(Asked::session).collect()
}

/// What the server was told that its clients can be asked, handshake by handshake.
fn capabilities(house: &House) -> Vec<Value> {
    let asked = house.desk.asked().into_iter().filter(|asked| asked.method() == "initialize");
    asked.map(|asked| asked.json()["params"]["capabilities"].take()).collect()
}

async fn end(bot: &Bot<'_>, session: &str) {
    let ended = bot.ask(Method::DELETE, &[("mcp-session-id", session)]).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
}

/// Waits until the server was told that these sessions are over.
async fn told_of_the_end_of(house: &House, sessions: &[&str]) {
    soon(async {
        while house.desk.ended().len() < sessions.len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(house.desk.ended(), sessions);
}

#[tokio::test]
async fn each_session_of_each_client_has_a_session_with_the_server() {
    let house = house().await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let (one, two, third) = (bot.open().await, bot.open().await, other.open().await);
    for (client, session) in [(&bot, &one), (&bot, &two), (&other, &third), (&bot, &one)] {
        assert_eq!(read(client, session).await.status, StatusCode::OK);
    }
    // The first one is the gateway's own, in which it has looked at the tools.
    assert_eq!(called_in(&house), ["desk-2", "desk-3", "desk-4", "desk-2"]);
}

#[tokio::test]
async fn a_client_without_a_session_has_one_with_the_server_for_each_task() {
    let house = house().await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    for client in [&bot, &other, &bot] {
        assert_eq!(client.modern_call("get_order", READ).await.status, StatusCode::OK);
    }
    assert_eq!(called_in(&house), ["desk-2", "desk-3", "desk-2"]);
    assert_eq!(capabilities(&house), [json!({}), json!({})], "it cannot be asked from here");
}

#[tokio::test]
async fn questions_calls_and_subscriptions_of_a_session_are_in_one_session_with_the_server() {
    let house = house().await;
    let bot = house.bot(0).await;
    let session = bot.open().await;
    read(&bot, &session).await;
    house.desk.answers(|asked| {
        let ask =
            r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;
        [vec![stream(), event(ask), Step::Wait], asked.last(r#"{"content":[]}"#)].concat()
    });
    let mut reply = bot.post_in(&session, call("find", "{}")).await;
    // What a client may come back for begins with an event that says so.
    reply.event().await;
    let question: Value = serde_json::from_str(&reply.event().await.unwrap()).unwrap();
    let answer =
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
    let taken = bot.post_in(&session, answer.to_string()).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    house.desk.go_on();
    assert!(reply.event().await.unwrap().contains("content"));

    house.desk.tells(|_| vec![stream(), Step::Update("file:///a"), Step::UntilClosed]);
    let mut told = bot.ask(Method::GET, &[("mcp-session-id", &session)]).await;
    let subscribe = json!({ "jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": { "uri": "file:///a" } });
    bot.post_in(&session, subscribe.to_string()).await;
    assert_eq!(told.event().await.unwrap(), updated("file:///a"));

    let accepted = json!({ "elicitation": {}, "sampling": {} });
    assert_eq!(capabilities(&house), [accepted], "what somebody has accepted for any tool");
    let asked = house.desk.asked();
    assert!(asked.iter().any(|asked| asked.json()["id"] == "q"), "the answer came");
    let opened = asked.iter().position(|asked| asked.method() == "initialize").unwrap();
    assert!(asked[opened + 1..].iter().all(|asked| asked.session() == "desk-2"), "{asked:#?}");
}

#[tokio::test]
async fn a_client_is_told_of_a_resource_that_another_does_not_want_any_more() {
    let house = house().await;
    house.desk.tells(|_| vec![stream(), Step::Wait, Step::Update("file:///a"), Step::UntilClosed]);
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let (session, elsewhere) = (bot.open().await, other.open().await);
    let say = |method: &str| {
        json!({ "jsonrpc": "2.0", "id": 2, "method": method, "params": { "uri": "file:///a" } })
            .to_string()
    };
    let mut told = bot.ask(Method::GET, &[("mcp-session-id", &session)]).await;
    for (client, session, method) in [
        (&bot, &session, "resources/subscribe"),
        (&other, &elsewhere, "resources/subscribe"),
        (&other, &elsewhere, "resources/unsubscribe"),
    ] {
        let done = client.post_in(session, say(method)).await.json().await;
        assert_eq!(done["result"], json!({}), "{done}");
    }
    house.desk.go_on();
    assert_eq!(told.event().await.unwrap(), updated("file:///a"));
}

#[tokio::test]
async fn the_end_of_a_session_ends_what_it_has_with_the_server() {
    let house = house().await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let (session, stays, third) = (bot.open().await, bot.open().await, other.open().await);
    for (client, session) in [(&bot, &session), (&bot, &stays), (&other, &third)] {
        read(client, session).await;
    }
    end(&bot, &session).await;
    told_of_the_end_of(&house, &["desk-2"]).await;
    // One that makes room for another ends in the same way.
    for _ in 0..16 {
        bot.open().await;
    }
    told_of_the_end_of(&house, &["desk-2", "desk-3"]).await;
    read(&other, &third).await;
    assert_eq!(called_in(&house).last().unwrap(), "desk-4", "others keep theirs");
}

#[tokio::test]
async fn a_session_that_the_server_has_forgotten_is_forgotten_for_its_holder_alone() {
    let house = house().await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let (session, elsewhere) = (bot.open().await, other.open().await);
    house.desk.answers(|asked| {
        let is_lost = asked.session() == "desk-2";
        let lost = response(404, "text/plain", "");
        vec![Step::Send(if is_lost { lost } else { asked.result(r#"{"content":[]}"#) })]
    });
    for (client, session, is_done) in [
        (&bot, &session, false),
        (&other, &elsewhere, true),
        (&bot, &session, true),
        (&other, &elsewhere, true),
    ] {
        let reply = read(client, session).await.json().await;
        assert_eq!(reply["result"].is_object(), is_done, "{reply}");
    }
    assert_eq!(called_in(&house), ["desk-2", "desk-3", "desk-4", "desk-3"]);
    let probed = house.desk.asked().iter().any(|asked| asked.method() == "server/discover");
    assert!(!probed, "it still speaks what it spoke");
}
