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
async fn who_may_not_act_or_asks_at_a_stopped_system_is_told_so_instead_of_a_list() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    assert!(!listed(&bot).await.is_empty());
    house.stop("system:desk").await;
    assert_eq!(refused(&bot).await, "stopped");
    assert_eq!(house.recorded().await.last().unwrap(), "decision deny stopped");
    house.resume("system:desk").await;
    assert!(!listed(&bot).await.is_empty());
    for _ in 0..5 {
        bot.call("get_order", "{}").await;
    }
    assert_eq!(refused(&bot).await, "task_parked");
    let other = house.bot(0).await;
    assert!(!listed(&other).await.is_empty(), "another task goes on");
    let task = format!("/v1/tasks/{}", other.task);
    house.lena.call("DELETE", &task, &Value::Null).await.ok();
    assert_eq!(refused(&other).await, "task_over");
    let third = house.bot(0).await;
    apply(&house, "").await;
    assert!(listed(&third).await.is_empty(), "that nothing is permitted is no refusal");
    let reason = json!({ "reason": "it misbehaves" });
    house.olivia.post("/v1/agents/support-bot/suspend", reason).await.ok();
    assert_eq!(refused(&third).await, "identity_not_active");
}

/// The code of the refusal that comes instead of a list.
async fn refused(bot: &Bot<'_>) -> String {
    let reply = bot.post(LIST).await;
    assert_eq!(reply.status, http::StatusCode::OK);
    let answer = reply.json().await;
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(403), &json!(2)), "{answer}");
    let code = &answer["error"]["data"]["bailiwick/refusal"]["code"];
    code.as_str().expect("a code").to_owned()
}
