//! A task whose agent makes the same refused call again and again.

use serde_json::json;

use crate::{
    connecting::{Client, call},
    office::Office,
};

#[test]
fn a_parked_task_goes_on_when_its_person_says_so() {
    let office = Office::new();
    let task = office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let mut code = |tool: &str, arguments| {
        let answer = client.ask(1, "tools/call", &call(tool, &arguments));
        answer["result"]["_meta"]["bailiwick/refusal"]["code"].as_str().map(str::to_owned)
    };
    let order =
        |code: &mut dyn FnMut(&str, _) -> _| code("get_order", json!({ "order_id": "A-1001" }));
    assert_eq!(order(&mut code), None);
    for _ in 0..5 {
        assert_eq!(code("export_customers", json!({})).as_deref(), Some("not_permitted"));
    }
    assert_eq!(order(&mut code).as_deref(), Some("task_parked"));
    office.olivia().run(&["doctor"]).says(&format!("bailiwick task unpark {task}"));
    let ledger = ["ledger", "show", "--task", &task];
    let entries = office.olivia().run(&[&ledger[..], &["-o", "json"]].concat()).ends(0).json();
    let action = entries["entries"][0]["leaf"]["action"].clone();
    let shown = office.olivia().run(&ledger).ends(0).says(action.as_str().unwrap());
    shown
        .says("olivia  agent/support-bot  support-desk/export_customers export Customer not_permitted")
        .says("support-desk/get_order read Order");
    let other = office.open_task("other.token");
    let parked = office.olivia().run(&["task", "list", "--parked"]).ends(0).says(&task);
    assert!(!parked.stdout.contains(&other), "{}", parked.stdout);
    let all = office.olivia().run(&["task", "list", "--agent", "support-bot"]).ends(0);
    all.says("agent/support-bot  olivia  parked  ").says("agent/support-bot  olivia  open    ");
    office.olivia().run(&["task", "list", "--agent", "nobody"]).ends(0).says("none");
    office.olivia().run(&["task", "unpark", &task]).ends(0).says("goes on");
    assert_eq!(order(&mut code), None);
    office.olivia().run(&["task", "unpark", &task]).ends(0).says("is not parked");
    assert_eq!(office.calls("get_order"), ["finished", "finished"]);
    office.olivia().run(&["task", "end", &task]).ends(0);
    office.olivia().run(&["task", "unpark", &task]).ends(7).says("has ended").says("task open");
    office.olivia().run(&["task", "list"]).ends(0).says("olivia  ended");
}
