use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use gateway::envelope::Era;
use http::Method;

use crate::house::{Bot, House, call, few_connections};

/// How many requests are on their way at once.
const AT_ONCE: usize = 128;

/// Half of a thousand calls have room in the budget, on as many threads as there are.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_calls_at_once_exactly_as_many_get_through_as_the_budget_has_room_for() {
    let house = House::with(Era::Modern, few_connections()).await;
    let bot = house.bot(50_000).await;
    let answers = thousand(&bot).await;
    let done = answers.iter().filter(|answer| answer.contains(r#""text":"done""#)).count();
    let over = answers.iter().filter(|answer| answer.contains(r#""budget_"#)).count();
    assert_eq!((done, over), (500, 500));
    assert_eq!(house.desk.calls().len(), 500);
    assert_eq!(bot.spent(), (50_000, 0));
    let mut recorded = house.recorded().await;
    // Those that came while the last of the budget was on its way might have waited.
    for entry in &mut recorded {
        *entry = entry.replace("budget_reserved", "budget_exceeded");
    }
    recorded.sort();
    let expected = [
        vec!["decision deny budget_exceeded"; 500],
        vec!["decision permit"; 500],
        vec!["outcome completed 1.00 EUR"; 500],
    ];
    assert_eq!(recorded, expected.concat());
}

/// A thousand refunds of 1.00, each of another order, many at once.
async fn thousand(bot: &Bot<'_>) -> Vec<String> {
    let house = bot.house;
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
    answers.buffer_unordered(AT_ONCE).map(Result::unwrap).collect().await
}

#[tokio::test]
async fn a_thousand_calls_at_once_get_a_thousand_decisions_and_go_out_once_each() {
    let house = House::with(Era::Modern, few_connections()).await;
    let bot = house.bot(100_000).await;
    let answers = thousand(&bot).await;
    let done =
        r#"{"jsonrpc":"2.0","id":"c-1","result":{"content":[{"type":"text","text":"done"}]}}"#;
    for answer in answers {
        assert_eq!(answer, done);
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
