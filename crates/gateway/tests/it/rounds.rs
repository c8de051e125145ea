//! Servers that ask the client something in the middle of a call, in both revisions.

use gateway::{envelope::Era, outbound::Limits};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::Reply,
    desk::{Step, event, stream},
    house::{Bot, House, call, modern_headers},
    soon,
};

const QUESTION: &str = r#"{"jsonrpc":"2.0","id":"q-9","method":"elicitation/create","params":{"message":"Which region?"}}"#;

/// A call of 2026-07-28 whose client can be asked by a form, with more parameters.
async fn ask(bot: &Bot<'_>, tool: &str, more: &Value) -> Value {
    let mut params = json!({ "name": tool, "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "bot", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {}, "x": {} }, "roots": {} },
    } });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": &params });
    let mut headers = modern_headers("tools/call", tool);
    headers
        .extend(params["arguments"]["region"].as_str().map(|region| ("mcp-param-region", region)));
    bot.post_with(&headers, body.to_string()).await.json().await
}

/// The server wants to know the region first, and its state back.
fn wants_a_region(house: &House) {
    house.desk.answers(|asked| {
        let params = &asked.json()["params"];
        let result = match params.get("inputResponses") {
            Some(_) => json!({ "resultType": "complete", "content": [], "seen": params }),
            None => json!({
                "resultType": "input_required", "requestState": "round 1",
                "inputRequests": { "region": {
                    "method": "elicitation/create", "params": { "message": "Which region?" },
                } },
            }),
        };
        vec![Step::Send(asked.result(&result.to_string()))]
    });
}

fn answers(state: &Value) -> Value {
    let answer = json!({ "action": "accept", "content": { "region": "north" } });
    json!({ "inputResponses": { "region": answer }, "requestState": state })
}

#[tokio::test]
async fn a_call_goes_into_a_second_round_with_the_answers_that_its_server_wanted() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    wants_a_region(&house);
    let first = ask(&bot, "find", &json!({})).await;
    let wanted = &first["result"];
    assert_eq!(wanted["resultType"], "input_required", "{first}");
    assert_eq!(wanted["inputRequests"]["region"]["params"]["message"], "Which region?");
    let asked = house.desk.calls().remove(0).json();
    assert_eq!(
        asked["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json!({ "elicitation": { "form": {} } }),
        "what the client can and somebody has accepted"
    );
    assert!(!wanted["requestState"].as_str().unwrap().contains("round 1"));

    let answers = answers(&wanted["requestState"]);
    let second = ask(&bot, "find", &answers).await;
    let seen = &second["result"]["seen"];
    assert_eq!(seen["inputResponses"], answers["inputResponses"], "{second}");
    assert_eq!(seen["requestState"], "round 1", "the server gets its own state back");
    assert_eq!(
        house.recorded().await,
        ["decision permit", "outcome input_required", "decision permit", "outcome completed"]
    );
}

#[tokio::test]
async fn a_state_counts_for_the_client_and_the_call_that_got_it_alone() {
    let house = House::new().await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    wants_a_region(&house);
    let first = ask(&bot, "find", &json!({})).await;
    let state = &first["result"]["requestState"];
    let changed = json!(state.as_str().unwrap().replacen('A', "B", 1));
    let mut elsewhere = answers(state);
    elsewhere["arguments"] = json!({ "region": "south" });
    for (who, what, reason) in [
        (&other, answers(state), "another task"),
        (&bot, elsewhere, "other arguments"),
        (&bot, answers(&changed), "a changed state"),
        (&bot, answers(&json!("round 1")), "the server's own form"),
        (&bot, answers(&json!(7)), "no text"),
        (&bot, json!({ "inputResponses": null }), "no answers"),
        (&bot, json!({ "inputResponses": { "region": 12345 } }), "no answer"),
        (
            &bot,
            json!({ "inputResponses": { "region": { "text": "north" } } }),
            "an answer to nothing",
        ),
    ] {
        house.desk.forget();
        let refused = ask(who, "find", &what).await;
        assert_eq!(refused["error"]["code"], -32602, "{reason}: {refused}");
        assert_eq!(house.desk.calls().len(), 0, "{reason}");
        assert_eq!(house.recorded().await.last().unwrap(), "decision deny arguments_invalid");
    }
}

#[tokio::test]
async fn a_server_asks_for_nothing_that_was_not_accepted_or_that_the_client_does_not_answer() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    wants_a_region(&house);
    let refused = ask(&bot, "get_order", &json!({ "arguments": { "order": "A-1" } })).await;
    let facts = &refused["result"]["_meta"]["bailiwick/refusal"];
    assert_eq!(facts["code"], "method_not_mapped", "{refused}");
    assert!(facts["next"].as_str().unwrap().contains("input_requests"), "{refused}");
    assert!(!refused.to_string().contains("Which region?"), "{refused}");
    assert_eq!(house.recorded().await, ["decision permit", "outcome unknown"]);

    // Accepted, but this client has not said that it can.
    let refused = bot.modern_call("find", "{}").await.json().await;
    let facts = &refused["result"]["_meta"]["bailiwick/refusal"];
    assert_eq!(facts["code"], "method_not_mapped", "{refused}");

    // An answer that nobody may ask for does not leave.
    house.desk.forget();
    let roots = json!({ "inputResponses": { "r": { "roots": [] } } });
    let refused = ask(&bot, "find", &roots).await;
    let facts = &refused["result"]["_meta"]["bailiwick/refusal"];
    assert_eq!((&facts["code"], &facts["verdict"]), (&json!("method_not_mapped"), &json!("deny")));
    assert_eq!(house.desk.calls().len(), 0);
    assert_eq!(house.recorded().await.last().unwrap(), "decision deny method_not_mapped");
}

/// Posts a response as a client of 2025-11-25 does.
async fn respond(bot: &Bot<'_>, id: &Value, outcome: &Value) -> Reply {
    let mut response = json!({ "jsonrpc": "2.0", "id": id });
    response.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
    bot.post(response.to_string()).await
}

/// What the server heard for its question.
async fn heard(house: &House) -> Value {
    let answers = || house.desk.asked().into_iter().find(|asked| asked.json()["id"] == "q-9");
    soon(async {
        while answers().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    answers().unwrap().json()
}

/// A legacy house whose server asks before it goes on, the stream of the call, and the id under which the client was asked.
async fn asked(house: &House, bot: &Bot<'_>) -> (Reply, Value) {
    house.desk.answers(|asked| {
        let (ask, rest) = (event(QUESTION), asked.last(r#"{"content":[]}"#));
        [vec![stream(), ask, Step::Wait], rest].concat()
    });
    let mut reply = bot.post(call("find", "{}")).await;
    let question: Value = serde_json::from_str(&reply.event().await.unwrap()).unwrap();
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"], json!({ "message": "Which region?" }));
    assert_ne!(question["id"], "q-9", "ids of servers mean nothing outside of their call");
    (reply, question["id"].clone())
}

#[tokio::test]
async fn an_answer_to_a_legacy_server_is_recorded_before_it_leaves() {
    let house = House::with(Era::Legacy, Default::default()).await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let (mut reply, id) = asked(&house, &bot).await;
    let result = json!({ "result": { "action": "accept", "content": { "region": "north" } } });

    let stranger = respond(&other, &id, &result).await;
    assert_eq!(stranger.status, StatusCode::BAD_REQUEST, "only who was asked can answer");
    assert_eq!(respond(&bot, &json!("ask-1"), &result).await.status, StatusCode::BAD_REQUEST);
    let taken = respond(&bot, &id, &result).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    assert_eq!(
        heard(&house).await,
        json!({ "jsonrpc": "2.0", "id": "q-9", "result": result["result"] })
    );
    assert_eq!(respond(&bot, &id, &result).await.status, StatusCode::BAD_REQUEST, "once");
    house.desk.go_on();
    assert!(reply.event().await.unwrap().contains("content"));
    let refused = "decision deny arguments_invalid";
    assert_eq!(
        house.recorded().await,
        [
            "decision permit",
            refused,
            refused,
            "input elicitation/create",
            refused,
            "outcome completed"
        ]
    );
}

#[tokio::test]
async fn of_a_client_that_gives_no_answer_the_server_hears_nothing_of_its_own() {
    let house = House::with(Era::Legacy, Default::default()).await;
    let bot = house.bot(0).await;
    let (_reply, id) = asked(&house, &bot).await;
    let number = 123_456_789_012_345_i64;
    let error =
        json!({ "error": { "code": number, "message": "the user is called Jo", "data": 1 } });
    assert_eq!(respond(&bot, &id, &error).await.status, StatusCode::ACCEPTED);
    let error = json!({ "code": -32603, "message": "the client gave no answer" });
    assert_eq!(heard(&house).await["error"], error);
}

#[tokio::test]
async fn what_is_no_answer_to_the_question_does_not_leave() {
    let house = House::with(Era::Legacy, Default::default()).await;
    let bot = house.bot(0).await;
    let (_reply, id) = asked(&house, &bot).await;
    let roots = json!({ "result": { "roots": [{ "uri": "file:///home" }] } });
    assert_eq!(respond(&bot, &id, &roots).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(heard(&house).await["error"]["code"], -32601);
}

#[tokio::test]
async fn a_stop_comes_before_an_answer() {
    let house = House::with(Era::Legacy, Default::default()).await;
    let bot = house.bot(0).await;
    let (mut reply, id) = asked(&house, &bot).await;
    house.stop("system:desk").await;
    assert!(reply.event().await.unwrap().contains("stop"), "the call is cut");
    let result = json!({ "result": { "action": "accept" } });
    assert_ne!(respond(&bot, &id, &result).await.status, StatusCode::ACCEPTED);
    assert!(!house.desk.asked().iter().any(|asked| asked.json()["id"] == "q-9"));
}

#[tokio::test]
async fn an_answer_that_waits_for_its_server_does_not_leave_after_a_stop() {
    let one = Limits { connections: 1, ..Limits::default() };
    let house = House::with(Era::Legacy, one).await;
    let (bot, other) = (house.bot(0).await, house.bot(0).await);
    let (mut reply, id) = asked(&house, &bot).await;
    // The call has the one connection, so the answer has to wait.
    let result = json!({ "result": { "action": "accept" } });
    assert_eq!(respond(&bot, &id, &result).await.status, StatusCode::ACCEPTED);
    let report = house.stop(&format!("task:{}", bot.task)).await;
    assert!(report["final"].is_i64(), "{report}");
    assert!(reply.event().await.unwrap().contains("stop"), "the call is cut");
    house.desk.go_on();
    house.desk.answers(|asked| vec![Step::Send(asked.result(r#"{"content":[]}"#))]);
    assert_eq!(other.call("get_order", r#"{"order":"A-1"}"#).await.status, StatusCode::OK);
    assert!(!house.desk.asked().iter().any(|asked| asked.json()["id"] == "q-9"));
}
