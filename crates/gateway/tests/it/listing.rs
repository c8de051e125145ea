//! Which tools an agent is shown: those that are not denied for all arguments.

use serde_json::{Value, json};

use crate::house::{Bot, House};

const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
const ALL: &str = r#"@id("all") permit (principal, action, resource in System::"desk");"#;

async fn listed(bot: &Bot<'_>) -> Vec<String> {
    let list = bot.post(LIST).await.json().await;
    let tools = list["result"]["tools"].as_array().unwrap();
    let mut names: Vec<String> =
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

async fn apply(house: &House, text: &str) {
    let policies = json!({ "files": [{ "name": "desk.cedar", "text": text }] });
    house.olivia.call("PUT", "/v1/policies", &policies).await.ok();
}

#[tokio::test]
async fn a_tool_is_listed_unless_policy_denies_it_for_all_arguments() {
    let house = House::new().await;
    let bot = house.bot(10_000).await;
    let everything = ["export", "find", "get_order", "refund"];
    for (policy, hidden) in [
        ("", &[][..]),
        (
            r#"@id("no") forbid (principal, action == Action::"export", resource is Customers);"#,
            &["export"],
        ),
        (
            r#"@id("no") @hold("finance") forbid (principal, action == Action::"pay", resource);"#,
            &[],
        ),
        (
            r#"@id("no") forbid (principal, action == Action::"pay", resource) when { context has amount && context.amount > 1 };"#,
            &[],
        ),
        (
            r#"@id("no") forbid (principal is Agent, action, resource is Order) when { context has invoker && !(context.invoker in Team::"finance") };"#,
            &["find", "get_order"],
        ),
        (
            r#"@id("no") forbid (principal is Person, action == Action::"read", resource in System::"desk");"#,
            &["get_order"],
        ),
        (
            r#"@id("no") forbid (principal, action, resource in System::"desk") when { context has tool && context.tool == "find" };"#,
            &["find"],
        ),
        (r#"@id("no") forbid (principal, action, resource == Order::"desk/A-1");"#, &[]),
    ] {
        apply(&house, &format!("{ALL}\n{policy}")).await;
        let seen = everything.iter().filter(|tool| !hidden.contains(tool));
        assert_eq!(listed(&bot).await, seen.copied().collect::<Vec<_>>(), "{policy}");
    }
    apply(&house, r#"@id("one") permit (principal, action == Action::"read", resource == Order::"desk/A-7");"#).await;
    assert_eq!(listed(&bot).await, ["get_order"]);
    assert!(bot.call("get_order", r#"{"order":"A-7"}"#).await.text().await.contains("done"));
    assert!(house.desk.calls().len() == 1);
}

#[tokio::test]
async fn nothing_is_listed_for_an_agent_that_may_not_act_or_at_a_system_that_is_stopped() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    assert!(!listed(&bot).await.is_empty());
    house.stop("system:desk").await;
    assert!(listed(&bot).await.is_empty());
    house.resume("system:desk").await;
    assert!(!listed(&bot).await.is_empty());
    let reason = json!({ "reason": "it misbehaves" });
    house.olivia.post("/v1/agents/support-bot/suspend", reason).await.ok();
    let reply = bot.post(LIST).await;
    assert!(reply.status != http::StatusCode::OK || tools(&reply.json().await).is_empty());
}

fn tools(list: &Value) -> Vec<Value> {
    list["result"]["tools"].as_array().cloned().unwrap_or_default()
}
