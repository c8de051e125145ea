use serde_json::Value;

use crate::house::{Bot, House};

const LARGE: &str = r#"{"order":"A-2","amount":400000}"#;

async fn refund(bot: &Bot<'_>, arguments: &str) -> Value {
    bot.call("refund", arguments).await.json().await
}

fn facts(body: &Value) -> &Value {
    &body["result"]["_meta"]["bailiwick/refusal"]
}

#[tokio::test]
async fn a_held_call_runs_once_after_somebody_else_said_yes_to_exactly_it() {
    let house = House::new().await;
    let bot = house.bot(1_000_000).await;
    let held = refund(&bot, LARGE).await;
    let facts_of_hold = facts(&held).clone();
    assert_eq!(
        (&facts_of_hold["verdict"], &facts_of_hold["code"]),
        (&"hold".into(), &"held".into())
    );
    assert_eq!(facts_of_hold["retryable"], true);
    let approval = facts_of_hold["approval"].as_str().unwrap();
    let words = held["result"]["content"][0]["text"].as_str().unwrap();
    assert!(words.starts_with("This call waits for approval.\nWhy: "), "{words}");
    assert!(words.ends_with(&format!("\nApproval: {approval}")), "{words}");
    assert!(!words.contains("1,000"), "an agent is not told the threshold: {words}");
    assert_eq!(
        facts(&refund(&bot, LARGE).await)["approval"],
        approval,
        "asking twice is one request"
    );
    assert_eq!(bot.spent(), (0, 0));
    assert!(house.desk.asked().is_empty());

    assert_eq!(house.lena.answer(approval, true).await.status, 403, "not by who asked");
    house.max.answer(approval, true).await.ok();
    let other = refund(&bot, r#"{"order":"A-2","amount":400001}"#).await;
    assert_eq!(facts(&other)["verdict"], "hold", "another amount is another request");
    assert!(house.desk.asked().is_empty());

    // The same call in another spelling is the same call.
    let done = refund(&bot, r#"{ "amount":4e5, "order":"\u0041-2" }"#).await;
    assert!(facts(&done).is_null() && done["result"].is_object(), "{done}");
    assert_eq!(house.desk.calls().len(), 1);
    assert_eq!(bot.spent(), (400_000, 0));
    let again = refund(&bot, LARGE).await;
    assert_eq!(facts(&again)["verdict"], "hold");
    assert_ne!(facts(&again)["approval"], approval, "an approval is used once");
    assert_eq!(house.desk.calls().len(), 1);
    let recorded = house.recorded().await;
    let ran = recorded.iter().position(|line| line == "decision permit").unwrap();
    assert_eq!(recorded[ran + 1], "outcome completed 4000.00 EUR");
    assert_eq!(recorded.iter().filter(|line| *line == "decision hold held").count(), 4);
}

#[tokio::test]
async fn a_no_is_final_for_exactly_this_call() {
    let house = House::new().await;
    let bot = house.bot(1_000_000).await;
    let approval = facts(&refund(&bot, LARGE).await)["approval"].as_str().unwrap().to_owned();
    house.max.answer(&approval, false).await.ok();
    let refused = refund(&bot, LARGE).await;
    assert_eq!(
        (&facts(&refused)["verdict"], &facts(&refused)["code"]),
        (&"deny".into(), &"forbidden".into())
    );
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn what_was_approved_is_free_again_when_it_could_not_be_sent() {
    let house = House::unmet().await;
    let bot = house.bot(1_000_000).await;
    let approval = facts(&refund(&bot, LARGE).await)["approval"].as_str().unwrap().to_owned();
    house.max.answer(&approval, true).await.ok();
    let (secret, away) = (house.secret(), house.secret().with_extension("away"));
    std::fs::rename(&secret, &away).unwrap();
    assert_eq!(refund(&bot, LARGE).await["error"]["code"], 503);
    assert_eq!(bot.spent(), (0, 0));
    assert!(house.recorded().await.ends_with(&["outcome not_sent".to_owned()]));
    std::fs::rename(&away, &secret).unwrap();
    let done = refund(&bot, LARGE).await;
    assert!(facts(&done).is_null(), "{done}");
    assert_eq!(house.desk.calls().len(), 1);
    assert_eq!(facts(&refund(&bot, LARGE).await)["code"], "held", "and it is used now");
}
