//! The tools of all systems at one address, under names that are made unique.

use gateway::envelope::Era;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    desk::{Desk, Step, event, stream},
    house::{Bot, House, POLICIES, call},
};

const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
const NOTE: &str = r#"{"inputSchema":{"type":"object","properties":{"order":{"type":"string"}}},"name":"get_order"}"#;

/// Puts a second desk into operation, whose tools may have the names of the first one's.
async fn second_desk(house: &House, tools: &[&str]) -> Desk {
    let desk = Desk::start(Era::Legacy).await;
    desk.shows(tools.iter().map(|tool| (*tool).to_owned()));
    annex(house, desk.url(), |tool| tool != "export").await;
    desk.forget();
    desk
}

/// Puts a second server into operation, as `annex`; of its tools these are accepted.
pub(crate) async fn annex(house: &House, url: &str, accepts: impl Fn(&str) -> bool) {
    let server = json!({ "name": "annex", "url": url, "internal": true });
    let added = house.olivia.post("/v1/servers", server).await.ok();
    let tools = added["tools"].as_array().unwrap().iter();
    let accepted = tools.filter(|tool| accepts(tool["name"].as_str().unwrap())).map(|tool| {
        let effect = json!({ "verb": "read", "resource": "Note", "id": "'all'", "classes": ["pii"] });
        json!({ "tool": tool["name"], "digest": tool["digest"], "mapping": { "effects": [effect] } })
    });
    let accepted: Vec<Value> = accepted.collect();
    house.olivia.post("/v1/catalog/annex/accept", json!({ "tools": accepted })).await.ok();
    let annexed = r#"@id("annex-use") permit (principal, action, resource in System::"annex");"#;
    let policies =
        json!({ "files": [{ "name": "all.cedar", "text": format!("{POLICIES}\n{annexed}") }] });
    house.olivia.call("PUT", "/v1/policies", &policies).await.ok();
}

async fn everywhere(house: &House) -> Bot<'_> {
    let task = json!({ "agent": "support-bot", "purpose": "support", "seconds": 3_600 });
    house.bot_at(house.world.engine().issuer().audience_of_all(), &task).await
}

async fn listed(bot: &Bot<'_>) -> Vec<Value> {
    let list = bot.post(LIST).await.json().await;
    list["result"]["tools"].as_array().unwrap().clone()
}

fn names(tools: &[Value]) -> Vec<&str> {
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// The code of a refusal.
async fn refused(bot: &Bot<'_>, tool: &str) -> String {
    let arguments = if tool.ends_with("export") { "{}" } else { r#"{"order":"A-1"}"# };
    let reply = bot.call(tool, arguments).await.json().await;
    let code = &reply["result"]["_meta"]["bailiwick/refusal"]["code"];
    assert!(code.is_string(), "{reply}");
    code.as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn tools_of_all_systems_have_names_of_their_own_at_one_address() {
    let house = House::new().await;
    let annex = second_desk(&house, &[NOTE]).await;
    let bot = everywhere(&house).await;
    let tools = listed(&bot).await;
    let unique = ["annex__get_order", "desk__find", "desk__get_order", "desk__refund"];
    assert_eq!(names(&tools), unique);
    assert_eq!(tools[2]["x-vendor"]["b"], 1.5, "the rest is as the server says it");

    annex.answers(|asked| vec![Step::Send(asked.result(r#"{"content":[],"from":"annex"}"#))]);
    let reply = bot.call("annex__get_order", r#"{"order":"A-1"}"#).await.json().await;
    assert_eq!(reply["result"]["from"], "annex");
    assert_eq!(annex.calls()[0].json()["params"]["name"], "get_order");
    let reply = bot.modern_call("desk__get_order", r#"{"order":"A-1"}"#).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(house.desk.calls()[0].json()["params"]["name"], "get_order");
    assert_eq!((annex.calls().len(), house.desk.calls().len()), (1, 1));
}

#[tokio::test]
async fn what_is_refused_at_a_system_is_refused_at_the_address_of_all() {
    let house = House::new().await;
    let annex = second_desk(&house, &[NOTE]).await;
    let bot = everywhere(&house).await;
    assert_eq!(refused(&bot, "get_order").await, "tool_unknown", "no system is meant");
    assert_eq!(refused(&bot, "nowhere__get_order").await, "tool_unknown");
    assert_eq!(refused(&bot, "desk__erase").await, "beyond_authority");
    assert_eq!(refused(&bot, "desk__export").await, "forbidden");
    assert_eq!(house.recorded().await.last().unwrap(), "decision deny forbidden");
    let reply = bot.call("desk__get_ordr", "{}").await.json().await;
    let facts = &reply["result"]["_meta"]["bailiwick/refusal"];
    assert_eq!(
        (&facts["code"], &facts["nearest"]),
        (&json!("tool_unknown"), &json!(["desk__get_order"]))
    );

    house.stop("system:annex").await;
    assert_eq!(refused(&bot, "annex__get_order").await, "stopped");
    assert_eq!(names(&listed(&bot).await), ["desk__find", "desk__get_order", "desk__refund"]);
    assert!(annex.asked().is_empty() && house.desk.asked().is_empty());
}

#[tokio::test]
async fn a_name_that_two_systems_mean_is_nobodys() {
    let house = House::new().await;
    let annex =
        second_desk(&house, &[NOTE, r#"{"name":"x__get_order","inputSchema":{"type":"object"}}"#])
            .await;
    let second = Desk::start(Era::Modern).await;
    second.shows([NOTE.to_owned()]);
    let server = json!({ "name": "annex__x", "url": second.url(), "internal": true });
    let added = house.olivia.post("/v1/servers", server).await.ok();
    let effect = json!({ "verb": "read", "resource": "Note", "id": "'all'", "classes": ["pii"] });
    let tool = &added["tools"][0];
    let accepted = json!({ "tool": tool["name"], "digest": tool["digest"], "mapping": { "effects": [effect] } });
    house.olivia.post("/v1/catalog/annex__x/accept", json!({ "tools": [accepted] })).await.ok();
    second.forget();
    let bot = everywhere(&house).await;
    assert_eq!(refused(&bot, "annex__x__get_order").await, "tool_unknown");
    assert!(!names(&listed(&bot).await).contains(&"annex__x__get_order"));
    assert!(names(&listed(&bot).await).contains(&"annex__get_order"));
    assert!(annex.asked().is_empty() && second.asked().is_empty());
}

#[tokio::test]
async fn a_token_for_one_system_is_not_good_at_the_address_of_all_nor_the_reverse() {
    let house = House::new().await;
    let (of_desk, of_all) = (house.bot(0).await, everywhere(&house).await);
    let read = |bot: &Bot<'_>, url: String| Bot {
        house: &house,
        url,
        token: bot.token.clone(),
        task: bot.task,
    };
    for bot in [read(&of_desk, of_all.url.clone()), read(&of_all, of_desk.url.clone())] {
        let tool = if bot.url.ends_with("desk") { "get_order" } else { "desk__get_order" };
        let reply = bot.call(tool, r#"{"order":"A-1"}"#).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        let challenge = reply.header("www-authenticate").unwrap();
        let metadata = bot.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp");
        assert!(challenge.contains(&metadata), "{challenge}");
    }
    assert!(house.desk.calls().is_empty());
    // A token without a key is for one system alone.
    house.sender("bearer").await;
    let task = json!({ "agent": "support-bot", "purpose": "support", "seconds": 3_600 });
    let opened = house.lena.post("/v1/tasks", task).await.ok();
    let audience = [("audience", &*of_all.url)];
    let refused = house.agent.exchange_unproved(opened["token"].as_str().unwrap(), &audience).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn a_session_at_the_address_of_all_is_no_session_at_a_system() {
    let house = House::new().await;
    let bot = everywhere(&house).await;
    let reply = bot.hello().await;
    let session = reply.header("mcp-session-id").unwrap().to_owned();
    let offers = reply.json().await["result"]["capabilities"].clone();
    assert_eq!(offers, json!({ "tools": {}, "logging": {} }));
    let of_desk = house.bot(0).await;
    let read = call("get_order", r#"{"order":"A-1"}"#);
    let riding = of_desk.post_with(&[("mcp-session-id", &session)], read).await;
    assert_eq!(riding.status, StatusCode::NOT_FOUND);
    // Resources, prompts and the rest have no system here.
    let resources =
        r#"{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"file:///a"}}"#;
    let reply = bot.post_with(&[("mcp-session-id", &session)], resources).await.json().await;
    assert_eq!(reply["error"]["code"], -32601, "{reply}");
    assert_eq!(house.recorded().await.last().unwrap(), "decision deny method_not_mapped");
}

#[tokio::test]
async fn a_stream_of_a_stopped_system_is_not_taken_up_at_the_address_of_all() {
    let house = House::new().await;
    let bot = everywhere(&house).await;
    let session = bot.open().await;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
    house.desk.answers(move |asked| {
        [vec![stream(), event(progress)], asked.last(r#"{"content":[]}"#)].concat()
    });
    drop(bot.post_in(&session, call("desk__get_order", r#"{"order":"A-1"}"#)).await);
    house.comes_to("outcome completed").await;
    house.stop("system:desk").await;
    let seen = [("mcp-session-id", &*session), ("last-event-id", "1-0")];
    let taken = bot.ask(Method::GET, &seen).await;
    assert_eq!(taken.status, StatusCode::FORBIDDEN);
}
