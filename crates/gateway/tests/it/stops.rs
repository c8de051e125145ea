use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway::envelope::Era;
use serde_json::Value;

use crate::{
    desk::{Step, event, stream},
    house::House,
    soon,
};

const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;
const REFUND: (&str, &str) = ("refund", r#"{"order":"A-1","amount":4000}"#);

fn facts(body: &Value) -> &Value {
    &body["result"]["_meta"]["bailiwick/refusal"]
}

/// The last delegation of a token's chain.
fn last_link(token: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: token::Claims = serde_json::from_slice(&payload).unwrap();
    claims.links.last().unwrap().id.to_string()
}

#[tokio::test]
async fn a_stop_cuts_a_call_at_both_sides_and_refuses_the_next() {
    let house = House::new().await;
    let owner = format!("owner:{}", house.olivia.id.name());
    for kind in [
        "agent:support-bot",
        "system:desk",
        "all",
        "blueprint:support",
        &owner,
        "model:model-1",
        "task",
        "delegation",
        "action",
    ] {
        let bot = house.bot(10_000).await;
        house.desk.forget();
        house.desk.answers(|_| vec![Step::UntilClosed]);
        let call = bot.begin(REFUND.0, REFUND.1).await;
        house.desk.called(1).await;
        let scope = match kind {
            "task" => format!("task:{}", bot.task),
            "delegation" => format!("delegation:{}", last_link(&bot.token)),
            "action" => format!("action:{}", house.actions().await.last().unwrap()),
            named => named.to_owned(),
        };
        let scope = scope.as_str();
        let report = house.stop(scope).await;
        assert_eq!((&report["cut"], &report["durable"]), (&1.into(), &true.into()), "{scope}");
        assert_eq!(report["in_force"].as_array().unwrap().len(), 1, "{scope}");
        let moment = |name: &str| report[name].as_i64().unwrap();
        assert!(moment("final") >= moment("ordered"), "{report}");
        assert_eq!(house.world.engine().stops().live_calls(), 0);
        house.desk.closed().await;
        let reply = soon(call).await.unwrap();
        let action = reply.header("bailiwick-action").unwrap().to_owned();
        let body = reply.json().await;
        assert_eq!(facts(&body)["code"], "stopped");
        assert_eq!(facts(&body)["action"], action);
        assert_eq!(bot.spent(), (4_000, 0), "what was done by then is not known");
        house.desk.forget();
        let recorded = house.recorded().await;
        let told = ["decision permit", "outcome cut 40.00 EUR"];
        assert_eq!(recorded[recorded.len() - 2..], told, "{scope}");
        // The next call is another action.
        if kind != "action" {
            let next = bot.call(REFUND.0, REFUND.1).await.json().await;
            assert_eq!(facts(&next)["code"], "stopped", "{scope}");
            assert!(house.desk.asked().is_empty());
            assert_eq!(house.recorded().await.last().unwrap(), "decision deny stopped", "{scope}");
        }
        house.resume(scope).await;
        house.desk.answers(|asked| vec![Step::Send(asked.result("{}"))]);
        let again = bot.call(REFUND.0, REFUND.1).await.json().await;
        assert!(again["result"].is_object() && facts(&again).is_null(), "{scope}: {again}");
    }
}

#[tokio::test]
async fn a_stop_cuts_a_stream_at_both_sides() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|_| vec![stream(), event(PROGRESS), Step::UntilClosed]);
    let mut reply = bot.call(REFUND.0, REFUND.1).await;
    assert_eq!(reply.event().await.unwrap(), PROGRESS);
    let report = house.stop("agent:support-bot").await;
    assert_eq!((report["cut"].as_i64(), report["final"].is_i64()), (Some(1), true));
    house.desk.closed().await;
    let last: Value = serde_json::from_str(&reply.event().await.unwrap()).unwrap();
    assert_eq!((&last["id"], &facts(&last)["code"]), (&"c-1".into(), &"stopped".into()));
    assert_eq!(facts(&last)["action"], reply.header("bailiwick-action").unwrap());
    assert_eq!(reply.event().await, None);
    assert_eq!(house.recorded().await, ["decision permit", "outcome cut 40.00 EUR"]);
}

#[tokio::test]
async fn an_agent_that_does_not_read_cannot_keep_its_stream_from_a_stop() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|_| vec![stream(), flood()]);
    let reply = bot.call(REFUND.0, REFUND.1).await;
    house.desk.full().await;
    let report = house.stop("agent:support-bot").await;
    assert!(report["final"].is_i64(), "in force while the agent still does not read: {report}");
    house.desk.closed().await;
    assert_eq!(house.recorded().await, ["decision permit", "outcome cut 40.00 EUR"]);
    drop(reply);
}

#[tokio::test]
async fn an_agent_that_does_not_read_cannot_keep_its_stream_past_the_deadline() {
    let house = House::new().await;
    let bot = house.bot_for(10_000, 1).await; // long enough for every buffer on the way to fill up
    house.desk.answers(|_| vec![stream(), flood()]);
    let reply = bot.call(REFUND.0, REFUND.1).await;
    house.desk.closed().await;
    house.comes_to("outcome unknown 40.00 EUR").await;
    soon(async {
        while house.world.engine().stops().live_calls() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(reply);
}

/// Events without end, each a quarter of a mebibyte.
fn flood() -> Step {
    let filling = "x".repeat(1 << 18);
    match event(&format!(r#"{{"jsonrpc":"2.0","method":"a","params":{{"x":"{filling}"}}}}"#)) {
        Step::Send(event) => Step::Flood(event),
        other => other,
    }
}

#[tokio::test]
async fn a_stop_tells_a_legacy_server_to_give_up() {
    let house = House::with(Era::Legacy, Default::default()).await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|_| vec![Step::UntilClosed]);
    let call = bot.begin(REFUND.0, REFUND.1).await;
    house.desk.called(1).await;
    house.stop("agent:support-bot").await;
    house.desk.closed().await;
    soon(call).await.unwrap();
    let cancelled = || {
        let asked = house.desk.asked();
        asked.into_iter().find(|asked| asked.method() == "notifications/cancelled")
    };
    soon(async {
        while cancelled().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let call = house.desk.calls().remove(0);
    assert_eq!(cancelled().unwrap().json()["params"]["requestId"], call.json()["id"]);
}

#[tokio::test]
async fn the_end_of_a_task_cuts_its_calls_and_no_others() {
    let house = House::new().await;
    let (ended, other) = (house.bot(10_000).await, house.bot(10_000).await);
    house.desk.answers(|asked| vec![Step::Wait, Step::Send(asked.result("{}"))]);
    let cut = ended.begin(REFUND.0, REFUND.1).await;
    house.desk.called(1).await;
    let spared = other.begin(REFUND.0, REFUND.1).await;
    house.desk.called(2).await;
    let path = format!("/v1/tasks/{}", ended.task);
    house.lena.call("DELETE", &path, &Value::Null).await.ok();
    let body = soon(cut).await.unwrap().json().await;
    assert_eq!(facts(&body)["code"], "stopped");
    house.desk.go_on();
    house.desk.go_on();
    let body = soon(spared).await.unwrap().json().await;
    assert!(body["result"].is_object() && facts(&body).is_null());
    let next = ended.call(REFUND.0, REFUND.1).await.json().await;
    assert_eq!(facts(&next)["code"], "task_over");
}

#[tokio::test]
async fn a_stop_cuts_what_a_client_has_not_read_of_an_answer() {
    /// More than the sockets on the way hold.
    const LONG: usize = 12 * 1024 * 1024;
    let house = House::new().await;
    let bot = house.bot(0).await;
    let result = format!(r#"{{"content":[],"text":"{}"}}"#, "x".repeat(LONG));
    for is_stream in [false, true] {
        let result = result.clone();
        house.desk.answers(move |asked| match is_stream {
            true => [vec![stream()], asked.last(&result)].concat(),
            false => vec![Step::Send(asked.result(&result))],
        });
        let whole = bot.call("get_order", r#"{"order":"A-1"}"#).await.length().await;
        assert!(whole > LONG);
        let unread = bot.call("get_order", r#"{"order":"A-1"}"#).await;
        house.comes_to("outcome completed").await;
        let report = house.stop("agent:support-bot").await;
        assert!(report["final"].is_i64(), "{report}");
        assert!(unread.length().await < LONG, "stream: {is_stream}");
        house.resume("agent:support-bot").await;
    }
}
