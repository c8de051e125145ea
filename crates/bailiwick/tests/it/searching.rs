//! A node's ledger, searched from the command line while it serves and after its index is lost.

use serde_json::{Value, json};

use crate::{
    connecting::{Client, call},
    office::Office,
};

/// Every entry in order, opened where it is sealed.
fn all(office: &Office) -> Vec<Value> {
    let show = ["ledger", "show", "--from", "0", "--limit", "1000", "-o", "json"];
    let shown = office.olivia().run(&[&show[..], &["--payload"]].concat()).ends(0).json();
    shown["entries"].as_array().unwrap().clone()
}

/// Where what is asked for stands, two at a time.
fn found(office: &Office, filter: &[&str]) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut show = vec!["ledger", "show", "--limit", "2", "-o", "json"];
        show.extend(filter);
        if let Some(after) = &after {
            show.extend(["--after", after]);
        }
        let page = office.olivia().run(&show).ends(0).json();
        let entries = page["entries"].as_array().unwrap();
        found.extend(entries.iter().map(|entry| entry["index"].as_u64().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return found,
        }
    }
}

fn places(entries: &[Value], fits: impl Fn(&Value) -> bool) -> Vec<u64> {
    let fitting = entries.iter().rev().filter(|entry| fits(entry));
    fitting.map(|entry| entry["index"].as_u64().unwrap()).collect()
}

#[test]
fn what_an_agent_did_is_found_drawn_and_still_there_when_the_index_is_lost() {
    let office = Office::new();
    let task = office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    for order in ["A-1001", "A-1002", "A-1001"] {
        client.ask(1, "tools/call", &call("get_order", &json!({ "order_id": order })));
    }
    client.ask(2, "tools/call", &call("export_customers", &json!({})));
    office.place.eventually("the refusal is recorded", || {
        !found(&office, &["--verdict", "deny", "--tool", "export_customers"]).is_empty()
    });
    drop(client);

    let entries = all(&office);
    let last = entries.last().unwrap()["index"].as_u64().unwrap();
    let asked = |filter: &[&str]| {
        let mut found = found(&office, filter);
        found.retain(|index| *index <= last);
        found
    };
    let body = |entry: &Value, member: &str| entry["leaf"]["body"][member].clone();
    let of_order =
        |entry: &Value, order: &str| entry["payload"]["content"]["order_id"] == json!(order);
    let orders = asked(&["--resource", "support-desk/Order/A-1001"]);
    assert_eq!(orders, places(&entries, |entry| of_order(entry, "A-1001")));
    assert_eq!(orders.len(), 2);
    assert_eq!(
        asked(&["--tool", "get_order", "--agent", "support-bot"]),
        places(&entries, |entry| body(entry, "tool") == "get_order")
    );
    assert_eq!(
        asked(&["--system", "support-desk", "--verdict", "deny"]),
        places(&entries, |entry| {
            body(entry, "system") == "support-desk" && entry["leaf"]["verdict"] == "deny"
        })
    );
    let token = entries.iter().rfind(|entry| body(entry, "use_as") == "on_behalf_of").unwrap();
    let of_token = |entry: &Value| {
        let parents = entry["leaf"]["parents"].as_array().unwrap();
        entry["hash"] == token["hash"] || parents.contains(&token["hash"])
    };
    let id = token["leaf"]["id"].as_str().unwrap();
    assert_eq!(asked(&["--credential", id]), places(&entries, of_token));
    assert!(places(&entries, of_token).len() > 4, "the token and its four calls");
    office.olivia().run(&["ledger", "show", "--tool", "nothing"]).ends(0).says("no entries");
    office.olivia().run(&["ledger", "show", "--since", "yesterday"]).ends(2).says("2027-01-31");
    office.olivia().run(&["ledger", "show", "--from", "0", "--task", &task]).ends(1).says("from");

    // Words in what is sealed.
    let page = office.olivia().run(&["ledger", "show", "--text", "a-1002", "--kind", "decision"]);
    page.ends(0).says("get_order").says("payloads searched: ");

    drawn_and_looked_back_at(&office, &task);

    // The index is lost while the node is away.
    let filters: [&[&str]; 3] =
        [&["--resource", "support-desk/Order/A-1001"], &["--task", &task], &["--person", "olivia"]];
    let before = filters.map(asked);
    let Office { place, node, .. } = office;
    let identity = place.known("olivia").run(&["whoami", "-o", "json"]).ends(0).json();
    assert_eq!(node.stop(), 0);
    let verify = ["ledger", "verify", "--config", "acme/bailiwick.toml"];
    place.run(verify).ends(0).says("VERIFIED");
    for file in ["search.sqlite", "search.sqlite-wal", "search.sqlite-shm"] {
        let gone = std::fs::remove_file(place.path(&format!("acme/data/{file}")));
        assert!(gone.is_ok() || file != "search.sqlite", "{file} was there");
    }
    let node = place.serve();
    place.known("olivia").remember(node.server(), identity["uri"].as_str().unwrap());
    for (filter, before) in filters.iter().zip(before) {
        let mut show = vec!["ledger", "show", "--limit", "1000", "-o", "json"];
        show.extend(*filter);
        let page = place.known("olivia").run(&show).ends(0).json();
        let mut after = places(page["entries"].as_array().unwrap(), |_| true);
        after.reverse();
        after.retain(|index| *index <= last);
        assert_eq!(after, before, "{filter:?}");
    }
}

/// The task as a tree, the agent's history, and governance as it was.
fn drawn_and_looked_back_at(office: &Office, task: &str) {
    let olivia = office.olivia();
    let drawn = olivia.run(&["ledger", "chain", task, "--payload"]).ends(0);
    drawn
        .says("└─ permit    olivia: delegate Task")
        .says("   └─ task      olivia asks support-bot for help, purpose support")
        .says("token     olivia hands the task over")
        .says("exchange  support-bot acts for olivia")
        .says("permit    support-bot: get_order")
        .says("outcome   completed")
        .says("deny      support-bot: export_customers (not_permitted)");
    let chain = olivia.run(&["ledger", "chain", task, "-o", "json"]).ends(0).json();
    assert_eq!(chain["tree"].as_array().unwrap().len(), 1, "it all follows from one: {chain}");
    assert_eq!(chain["tree"][0]["leaf"]["kind"], "decision");
    let task = &chain["tree"][0]["below"][0];
    assert_eq!(
        (&task["leaf"]["kind"], &task["below"][0]["leaf"]["kind"]),
        (&json!("task"), &json!("token"))
    );
    let unknown = "0199f3a2-7c11-8001-8a2b-3c4d5e6f7081";
    olivia.run(&["ledger", "chain", unknown]).ends(6);

    let then = olivia.run(&["ledger", "at", "now", "--object", "agent", "-o", "json"]).ends(0);
    let then = then.json();
    let present = olivia.run(&["agent", "show", "support-bot", "-o", "json"]).ends(0).json();
    let agent = &then["items"][0]["content"]["agent"];
    assert_eq!(agent["id"], present["id"]);
    assert_eq!(agent["version"]["digest"], present["version"]["digest"]);
    let suspend = ["agent", "suspend", "support-bot", "--reason", "looks odd"];
    olivia.run(&suspend).ends(0);
    let table = olivia.run(&["ledger", "at", "now"]).ends(0);
    table.says("  suspended  ").says("why looks odd").says("files support.cedar");
    let history = olivia.run(&["agent", "history", "support-bot", "--payload"]).ends(0);
    history.says("suspended").says("active").says("olivia");
    olivia.run(&["agent", "history", "nobody"]).ends(6);
    olivia.run(&["ledger", "at", "2020-01-01"]).ends(0).says("none");
    olivia.run(&["ledger", "at", "soon"]).ends(2);
}
