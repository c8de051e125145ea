use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use gateway::envelope::Era;
use http::Method;

use crate::house::{House, call, few_connections};

/// How many requests are on their way at once.
const AT_ONCE: usize = 128;

#[tokio::test]
async fn a_thousand_calls_at_once_get_a_thousand_decisions_and_go_out_once_each() {
    let house = House::with(Era::Modern, few_connections()).await;
    let bot = house.bot(100_000).await;
    let url: Arc<str> = house.url().into();
    let mut requests = Vec::new();
    for order in 0..1_000 {
        let arguments = format!(r#"{{"order":"A-{order}","amount":100}}"#);
        requests.push((bot.headers("POST").await, call("refund", &arguments)));
    }
    let answers = stream::iter(requests).map(|(headers, body)| {
        let (client, url) = (house.client.clone(), url.clone());
        tokio::spawn(
            async move { client.send(Method::POST, &url, headers, body).await.text().await },
        )
    });
    let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
    let done =
        r#"{"jsonrpc":"2.0","id":"c-1","result":{"content":[{"type":"text","text":"done"}]}}"#;
    for answer in answers {
        assert_eq!(answer.unwrap(), done);
    }
    let mut recorded = house.recorded().await;
    recorded.sort();
    let expected = [vec!["decision permit"; 1_000], vec!["outcome completed 1.00 EUR"; 1_000]];
    assert_eq!(recorded, expected.concat());
    let mut orders: Vec<String> = house
        .desk
        .calls()
        .iter()
        .map(|call| call.json()["params"]["arguments"]["order"].to_string())
        .collect();
    orders.sort();
    orders.dedup();
    assert_eq!((orders.len(), house.desk.calls().len()), (1_000, 1_000));
    assert_eq!(bot.spent(), (100_000, 0));
    assert!(house.desk.connections() <= 16 + 1, "{} connections", house.desk.connections());
    let over = bot.call("refund", r#"{"order":"A-1","amount":1}"#).await.json().await;
    assert_eq!(over["result"]["_meta"]["bailiwick/refusal"]["code"], "budget_exceeded");
}
