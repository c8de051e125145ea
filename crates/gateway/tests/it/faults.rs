use gateway::envelope::Era;
use serde_json::{Value, json};

use crate::{
    desk::{Asked, Step, chunk, event, response, stream},
    house::{Bot, House},
};

/// How a server answers a call.
type How = Box<dyn Fn(&Asked) -> Vec<Step> + Send + Sync>;

/// A refund of 40.00 at a server that answers like this: the last word to the agent, the outcome, the task's budget.
async fn refund(
    bot: &Bot<'_>,
    how: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
) -> (Value, String, (u64, u64)) {
    bot.house.desk.answers(how);
    let mut reply = bot.call("refund", r#"{"order":"A-1","amount":4000}"#).await;
    assert_eq!(reply.status, http::StatusCode::OK);
    let body = if reply.header("content-type") == Some("text/event-stream") {
        serde_json::from_str(&reply.event().await.unwrap()).unwrap()
    } else {
        reply.json().await
    };
    let recorded = bot.house.recorded().await;
    assert_eq!(recorded[recorded.len() - 2], "decision permit");
    (body, recorded.last().unwrap().clone(), bot.spent())
}

fn send(text: String) -> Vec<Step> {
    vec![Step::Send(text)]
}

#[tokio::test]
async fn a_server_that_gives_no_usable_answer_may_have_acted_so_the_money_counts_as_spent() {
    let house = House::new().await;
    let says = |how: fn(&Asked) -> Vec<Step>| -> How { Box::new(how) };
    let foreign = r#"{"jsonrpc":"2.0","id":999,"result":{}}"#;
    let sampling = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#;
    let cases: Vec<(&str, How)> = vec![
        ("dies at once", says(|_| vec![Step::Close])),
        (
            "dies in the head",
            says(|_| vec![Step::Send("HTTP/1.1 200 OK\r\ncont".into()), Step::Close]),
        ),
        (
            "dies in the body",
            says(|asked| {
                let whole = asked.result("{}");
                vec![Step::Send(whole[..whole.len() - 4].into()), Step::Close]
            }),
        ),
        (
            "says more than it declared",
            says(|asked| send(asked.result("{}").replace("length: 3", "length: 2"))),
        ),
        (
            "says less than it declared",
            says(|asked| {
                let lie = asked.result("{}").replace("content-length: ", "content-length: 9");
                vec![Step::Send(lie), Step::Close]
            }),
        ),
        (
            "declares two lengths",
            says(|asked| send(asked.result("{}").replacen("\r\n", "\r\ncontent-length: 1\r\n", 1))),
        ),
        (
            "declares too much",
            says(|_| {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17000000\r\n\r\n{";
                send(head.into())
            }),
        ),
        (
            "answers another request",
            Box::new(move |_| send(response(200, "application/json", foreign))),
        ),
        ("answers another request in a stream", Box::new(move |_| vec![stream(), event(foreign)])),
        (
            "redirects",
            says(|_| {
                send(
                    "HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                        .into(),
                )
            }),
        ),
        ("fails", says(|_| send(response(500, "text/plain", "stack trace")))),
        ("forbids", says(|_| send(response(403, "text/html", "<html>")))),
        ("answers a page", says(|_| send(response(200, "text/html", "<html>")))),
        ("answers nonsense", says(|_| send(response(200, "application/json", "{]")))),
        (
            "answers a batch",
            says(|asked| {
                send(response(200, "application/json", &format!("[{}]", asked.message("{}"))))
            }),
        ),
        ("answers nothing", says(|_| send(response(202, "text/plain", "")))),
        ("wants something itself", Box::new(move |_| vec![stream(), event(sampling)])),
        ("ends its stream early", says(|_| vec![stream(), Step::Send("0\r\n\r\n".into())])),
        (
            "dies in its stream",
            says(|_| {
                vec![stream(), Step::Send(chunk("event: message\ndata: {\"json")), Step::Close]
            }),
        ),
        (
            "compresses",
            says(|asked| {
                send(asked.result("{}").replacen("\r\n", "\r\ncontent-encoding: gzip\r\n", 1))
            }),
        ),
    ];
    for (name, how) in cases {
        house.desk.forget();
        let bot = house.bot(10_000).await;
        let (body, outcome, spent) = refund(&bot, how).await;
        let error = &body["error"];
        assert_eq!((&body["id"], &error["code"]), (&json!("c-1"), &json!(503)), "{name}: {body}");
        assert_eq!(
            error["message"],
            "the upstream server gave no usable answer; whether it acted is not known",
            "{name}"
        );
        assert_eq!((&*outcome, spent), ("outcome unknown 40.00 EUR", (4_000, 0)), "{name}");
        assert_eq!(
            house.desk.calls().len(),
            1,
            "{name}: a call that may have arrived is not repeated"
        );
    }
}

#[tokio::test]
async fn what_the_server_says_it_did_not_do_is_given_back() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let (body, outcome, spent) = refund(&bot, |asked| {
        send(asked.result(r#"{"content":[{"type":"text","text":"no such order"}],"isError":true}"#))
    })
    .await;
    assert_eq!(body["result"]["content"][0]["text"], "no such order");
    assert_eq!((&*outcome, spent), ("outcome failed", (0, 0)));
    let (body, outcome, spent) = refund(&bot, |asked| {
        let error = r#"{"code":-32602,"message":"bad order","data":{"x":1.50}}"#;
        let body = asked.message("0").replace(r#""result":0"#, &format!(r#""error":{error}"#));
        send(response(200, "application/json", &body))
    })
    .await;
    assert_eq!(
        body["error"],
        json!({ "code": -32602, "message": "bad order", "data": { "x": 1.5 } })
    );
    assert_eq!((&*outcome, spent), ("outcome failed", (0, 0)));
    let (_, outcome, spent) = refund(&bot, |asked| send(asked.result("{}"))).await;
    assert_eq!((&*outcome, spent), ("outcome completed 40.00 EUR", (4_000, 0)));
}

/// One permit is one call: a server that has forgotten its session gets no second one. By its word it did nothing.
#[tokio::test]
async fn one_permit_reaches_the_upstream_once() {
    let house = House::with(Era::Legacy, Default::default()).await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|_| send(response(404, "text/plain", "")));
    let reply = bot.call("refund", r#"{"order":"A-1","amount":4000}"#).await.json().await;
    let words = reply["error"]["message"].as_str().unwrap();
    assert!(words.contains("did nothing; call again"), "{reply}");
    assert_eq!((house.desk.calls().len(), bot.spent()), (1, (0, 0)));
    assert_eq!(house.recorded().await, ["decision permit", "outcome failed"]);
    house.desk.answers(|asked| send(asked.result("{}")));
    let reply = bot.call("refund", r#"{"order":"A-1","amount":4000}"#).await.json().await;
    assert!(reply["result"].is_object(), "{reply}");
    assert_eq!((house.desk.calls().len(), bot.spent()), (2, (4_000, 0)));
}

/// What is accepted is loaded with the policies from then on.
#[tokio::test]
async fn a_mapping_that_no_policy_can_be_loaded_with_is_not_accepted() {
    let house = House::new().await;
    let shown = house.olivia.get("/v1/catalog/desk").await;
    let tools: Value = serde_json::from_str(&shown.text()).unwrap();
    let list = tools["tools"].as_array().or(tools["items"].as_array()).unwrap();
    let draft = list.iter().find(|tool| tool["name"] == "draft").unwrap();
    for kind in ["System", "Team", "Person", "Agent", "Action", "Long", "String"] {
        let effect = json!({ "verb": "read", "resource": kind, "id": "'all'" });
        let mapping = json!({ "effects": [effect] });
        let wish = json!({ "tools": [{ "tool": "draft", "digest": draft["digest"], "mapping": mapping }] });
        let refused = house.olivia.post("/v1/catalog/desk/accept", wish).await;
        assert!(refused.status >= 400 && refused.status < 500, "{kind}: {}", refused.status);
        assert!(refused.text().contains("means something else in policies"), "{}", refused.text());
    }
    let nothing = json!({ "files": [{ "name": "desk.cedar", "text": "" }] });
    house.olivia.call("PUT", "/v1/policies", &nothing).await.ok();
}

#[tokio::test]
async fn an_answer_passes_through_byte_for_byte() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let result = r#"{ "content":[ ],"structuredContent":{"n":1.50,"big":12345678901234567890,"n2":1e400},"x":"\u00e9" }"#;
    house.desk.answers(move |asked| send(asked.result(result)));
    let body = bot.call("get_order", r#"{"order":"A-1"}"#).await.text().await;
    assert_eq!(body, format!(r#"{{"jsonrpc":"2.0","id":"c-1","result":{result}}}"#));
}

/// A refund that did not leave: what the agent is told of it and what the ledger says.
async fn not_sent(bot: &Bot<'_>) {
    let reply = bot.call("refund", r#"{"order":"A-1","amount":4000}"#).await;
    assert!(reply.header("bailiwick-action").is_some());
    let body = reply.json().await;
    assert_eq!(body["error"]["code"], 503);
    assert!(body["error"]["message"].as_str().unwrap().ends_with("; nothing was sent"), "{body}");
    assert!(!body.to_string().contains("secret"), "what is wrong with a secret stays inside");
    assert_eq!(bot.house.recorded().await, ["decision permit", "outcome not_sent"]);
    assert_eq!(bot.spent(), (0, 0));
    assert!(bot.house.desk.calls().is_empty());
}

#[tokio::test]
async fn a_call_to_a_dead_server_was_not_sent_and_costs_nothing() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    house.desk.dies();
    not_sent(&bot).await;
}

#[tokio::test]
async fn a_call_to_a_server_that_never_says_hello_was_not_sent() {
    let house = House::unmet().await;
    house.desk.falls_silent();
    let bot = house.bot_for(10_000, 2).await;
    house.clock.advance(1_900); // a tenth of a second is left
    not_sent(&bot).await;
}

#[tokio::test]
async fn a_call_whose_secret_is_gone_was_not_sent() {
    let house = House::unmet().await;
    let bot = house.bot(10_000).await;
    std::fs::remove_file(house.secret()).unwrap();
    not_sent(&bot).await;
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_hangs_is_cut_at_the_tasks_deadline() {
    for streams in [false, true] {
        let house = House::new().await;
        let bot = house.bot_for(10_000, 2).await;
        house.clock.advance(1_900); // a tenth of a second is left
        let hangs = move |_: &Asked| match streams {
            true => vec![stream(), Step::UntilClosed],
            false => vec![Step::UntilClosed],
        };
        let (body, outcome, spent) = refund(&bot, hangs).await;
        assert_eq!(body["error"]["code"], 503);
        assert_eq!((&*outcome, spent), ("outcome unknown 40.00 EUR", (4_000, 0)));
        house.desk.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_call_along() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|_| vec![Step::UntilClosed]);
    let call = bot.begin("refund", r#"{"order":"A-1","amount":4000}"#).await;
    house.desk.called(1).await;
    call.abort();
    house.desk.closed().await;
    house.comes_to("outcome unknown 40.00 EUR").await;
    assert_eq!(bot.spent(), (4_000, 0));
    assert_eq!(house.world.engine().stops().live_calls(), 0);
}

#[tokio::test]
async fn a_result_whose_outcome_cannot_be_recorded_is_withheld() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|asked| vec![Step::Wait, Step::Send(asked.result("{}"))]);
    let call = bot.begin("refund", r#"{"order":"A-1","amount":4000}"#).await;
    house.desk.called(1).await;
    house.world.engine().log().close().unwrap();
    house.desk.go_on();
    let body = call.await.unwrap().json().await;
    let facts = &body["result"]["_meta"]["bailiwick/refusal"];
    assert_eq!(facts["code"], "ledger_unavailable");
    let reason = facts["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the call was made, but its outcome could not be recorded"),
        "{reason}"
    );
    assert_eq!(facts["next"], "Do not repeat the call before its effect was looked at.");
    assert_eq!(facts["retryable"], false, "a program must not repeat it either");
    assert_eq!(bot.spent(), (4_000, 0));
    house.desk.forget();
    let refused = bot.call("refund", r#"{"order":"A-1","amount":4000}"#).await.json().await;
    assert_eq!(refused["result"]["_meta"]["bailiwick/refusal"]["code"], "ledger_unavailable");
    assert_eq!(bot.spent(), (4_000, 0));
    assert!(house.desk.asked().is_empty());
}
