use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    desk::{Asked, Step, TOOLS, stream},
    house::{Bot, House, modern, modern_headers},
};

const REACHABLE: [usize; 3] = [0, 1, 2];

async fn ask(bot: &Bot<'_>, method: &str) -> String {
    let reply = bot.post_with(&modern_headers(method, ""), modern(method, "", "")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.text().await
}

#[tokio::test]
async fn an_agent_of_2025_11_25_shakes_hands_lists_and_calls() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let reply = bot.hello().await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.header("mcp-session-id").is_some());
    let hello = reply.json().await;
    assert_eq!(hello["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(hello["result"]["serverInfo"]["name"], "bailiwick");
    let reply = bot.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!((reply.status, &*reply.text().await), (StatusCode::ACCEPTED, ""));
    let pong = bot.post(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await.json().await;
    assert_eq!(pong, json!({ "jsonrpc": "2.0", "id": "p", "result": {} }));
    let list = bot.post(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).await.json().await;
    assert_eq!(names(&list), ["find", "get_order", "refund"]);
    assert_eq!(house.desk.asked().len(), 0, "a list is answered from what was accepted");
    let done = bot.call("get_order", r#"{"order":"A-1"}"#).await;
    assert_eq!(done.status, StatusCode::OK);
    assert_eq!(
        done.text().await,
        r#"{"jsonrpc":"2.0","id":"c-1","result":{"content":[{"type":"text","text":"done"}]}}"#
    );
    assert_eq!(house.recorded().await, ["decision permit", "outcome completed"]);
}

#[tokio::test]
async fn an_agent_of_2026_07_28_discovers_lists_and_calls_on_the_same_path() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let found: Value = serde_json::from_str(&ask(&bot, "server/discover").await).unwrap();
    let found = &found["result"];
    assert_eq!(found["supportedVersions"][0], "2026-07-28");
    assert_eq!(
        (&found["resultType"], &found["cacheScope"]),
        (&json!("complete"), &json!("private"))
    );
    let list = ask(&bot, "tools/list").await;
    for (at, tool) in TOOLS.iter().enumerate() {
        assert_eq!(list.contains(tool), REACHABLE.contains(&at), "byte for byte: {tool}");
    }
    let list: Value = serde_json::from_str(&list).unwrap();
    let result = &list["result"];
    assert_eq!((&list["id"], &result["resultType"]), (&json!(7), &json!("complete")));
    assert_eq!((&result["cacheScope"], &result["ttlMs"]), (&json!("private"), &json!(5_000)));
    assert_eq!(names(&list), ["find", "get_order", "refund"]);
    let done = bot.modern_call("get_order", r#"{"order":"A-1"}"#).await.json().await;
    assert_eq!((&done["id"], &done["result"]["content"][0]["text"]), (&json!(7), &json!("done")));
}

#[tokio::test]
async fn whoever_is_stopped_is_refused_the_list_in_either_revision() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    house.stop("agent:support-bot").await;
    let list = bot.post(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).await.json().await;
    let modern = ask(&bot, "tools/list").await;
    let modern: Value = serde_json::from_str(&modern).unwrap();
    for (answer, id) in [(list, 2), (modern, 7)] {
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(403), &json!(id)));
        assert_eq!(answer["error"]["data"]["bailiwick/refusal"]["code"], "stopped");
    }
}

#[tokio::test]
async fn a_legacy_server_is_called_for_a_modern_agent_in_its_own_session() {
    let house = House::with(gateway::envelope::Era::Legacy, Default::default()).await;
    let bot = house.bot(0).await;
    let done = bot.modern_call("get_order", r#"{"order":"A-1"}"#).await.json().await;
    assert_eq!(done["result"]["content"][0]["text"], "done");
    assert_eq!(done["result"]["resultType"], "complete", "as its revision has it");
    let methods: Vec<_> = house.desk.asked().iter().map(Asked::method).collect();
    assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call"]);
    let call = house.desk.calls().remove(0);
    assert_eq!(call.session(), "desk-2", "the first one is the gateway's own");
    assert_eq!(
        call.json()["params"],
        json!({ "name": "get_order", "arguments": { "order": "A-1" } })
    );
}

#[tokio::test]
async fn what_a_legacy_server_answers_is_whole_in_the_revision_of_its_client() {
    let house = House::with(gateway::envelope::Era::Legacy, Default::default()).await;
    let bot = house.bot(0).await;
    for (result, modern) in [
        ("{}", json!({ "resultType": "complete" })),
        (r#"{ "content": [] }"#, json!({ "content": [], "resultType": "complete" })),
        (
            r#"{"resultType":"complete","content":[]}"#,
            json!({ "content": [], "resultType": "complete" }),
        ),
    ] {
        house.desk.answers(move |asked| vec![Step::Send(asked.result(result))]);
        let done = bot.modern_call("get_order", r#"{"order":"A-1"}"#).await.json().await;
        assert_eq!(done["result"], modern);
        let done = bot.call("get_order", r#"{"order":"A-1"}"#).await.text().await;
        assert!(done.ends_with(&format!("\"result\":{result}}}")), "{done}");
        house.desk.answers(move |asked| [vec![stream()], asked.last(result)].concat());
        let mut streamed = bot.modern_call("get_order", r#"{"order":"A-1"}"#).await;
        let done: Value = serde_json::from_str(&streamed.event().await.unwrap()).unwrap();
        assert_eq!(done["result"], modern);
    }
    house.desk.answers(|asked| vec![Step::Send(asked.result("[]"))]);
    let refused = bot.modern_call("get_order", r#"{"order":"A-1"}"#).await.json().await;
    assert!(refused["error"].is_object(), "a result is an object: {refused}");
}

fn names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap();
    let mut names: Vec<_> =
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}
