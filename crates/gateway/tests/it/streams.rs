use gateway::envelope::Era;
use serde_json::{Value, json};

use crate::{
    desk::{Step, event, stream},
    house::{House, call},
};

const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1.50}}"#;

#[tokio::test]
async fn notifications_pass_while_the_server_still_holds_its_answer() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|asked| {
        let head = [stream(), event(PROGRESS), Step::Wait, event(PROGRESS), Step::Wait];
        [&head[..], &asked.last(r#"{"content":[ ]}"#)].concat()
    });
    let mut reply = bot.call("refund", r#"{"order":"A-1","amount":4000}"#).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(reply.header("bailiwick-action").is_some());
    for _ in 0..2 {
        assert_eq!(reply.event().await.unwrap(), PROGRESS);
        assert_eq!(house.acknowledged(), ["decision permit"]);
        assert_eq!(bot.spent(), (0, 4_000));
        house.desk.go_on();
    }
    let last = reply.event().await.unwrap();
    // Whoever has the answer can find its outcome in the ledger.
    assert_eq!(house.acknowledged(), ["decision permit", "outcome completed 40.00 EUR"]);
    assert_eq!(last, r#"{"jsonrpc":"2.0","id":"c-1","result":{"content":[ ]}}"#);
    assert_eq!(reply.event().await, None);
    assert_eq!(bot.spent(), (4_000, 0));
}

#[tokio::test]
async fn an_agent_that_takes_no_stream_gets_the_answer_whole() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    house.desk.answers(|asked| [vec![stream(), event(PROGRESS)], asked.last("{}")].concat());
    let body = call("get_order", r#"{"order":"A-1"}"#);
    let reply = bot.post_with(&[("accept", "application/json")], body).await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.text().await, r#"{"jsonrpc":"2.0","id":"c-1","result":{}}"#);
    assert_eq!(house.recorded().await, ["decision permit", "outcome completed"]);
}

#[tokio::test]
async fn a_client_that_closes_its_stream_closes_the_servers() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    house.desk.answers(|_| vec![stream(), event(PROGRESS), Step::UntilClosed]);
    let mut reply = bot.call("refund", r#"{"order":"A-1","amount":4000}"#).await;
    assert_eq!(reply.event().await.unwrap(), PROGRESS);
    drop(reply);
    house.desk.closed().await;
    house.comes_to("outcome unknown 40.00 EUR").await;
    assert_eq!(house.world.engine().stops().live_calls(), 0);
}

#[tokio::test]
async fn what_a_server_asks_of_the_client_is_refused_and_never_shown() {
    let house = House::with(Era::Legacy, Default::default()).await;
    let bot = house.bot(0).await;
    house.desk.answers(|asked| {
        let ask = r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}"#;
        [vec![stream(), event(ask), event(PROGRESS), Step::Wait], asked.last("{}")].concat()
    });
    let mut reply = bot.call("get_order", r#"{"order":"A-1"}"#).await;
    assert_eq!(reply.event().await.unwrap(), PROGRESS, "the question does not come through");
    let refused = |asked: &crate::desk::Asked| asked.json()["id"] == "q";
    crate::soon(async {
        while !house.desk.asked().iter().any(refused) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = house.desk.asked().into_iter().find(refused).unwrap();
    assert_eq!(answer.json()["error"]["code"], -32601);
    house.desk.go_on();
    let last: Value = serde_json::from_str(&reply.event().await.unwrap()).unwrap();
    assert_eq!(last, json!({ "jsonrpc": "2.0", "id": "c-1", "result": {} }));
}

/// The server hears a token of ours, and the agent its own: in between nothing else of the message changes.
#[tokio::test]
async fn progress_comes_back_under_the_token_that_the_agent_chose() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let progress = |token: &str| {
        let spelling = r#""progress" : 1.50, "progress\u0054oken" : TOKEN ,"message":"h\u00e4lf""#;
        let params = spelling.replace("TOKEN", token);
        format!(r#"{{"jsonrpc":"2.0","params":{{{params}}},"method":"notifications/progress"}}"#)
    };
    for token in [r#""p \"1\"""#, "7", r#""""#] {
        house.desk.answers(move |asked| {
            let body = asked.json();
            let ours = &body["params"]["_meta"]["progressToken"];
            assert_eq!(ours.to_string(), asked.id());
            let other = progress(r#""other""#);
            [vec![stream(), event(&progress(&ours.to_string())), event(&other)], asked.last("{}")]
                .concat()
        });
        let body = call("get_order", r#"{"order":"A-1"}"#).replace(
            r#""params":{"#,
            &format!(r#""params":{{"_meta":{{"progressToken":{token}}},"#),
        );
        let mut reply = bot.post(body).await;
        assert_eq!(reply.event().await.unwrap(), progress(token));
        assert_eq!(reply.event().await.unwrap(), progress(r#""other""#), "not ours to change");
        assert_eq!(reply.event().await.unwrap(), r#"{"jsonrpc":"2.0","id":"c-1","result":{}}"#);
    }
}
