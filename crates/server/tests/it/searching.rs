//! Searches of the ledger over HTTP, compared with what a reader of all leaves finds; what is refused; what is recorded.

use serde_json::{Value, json};
use testkit::world::{Agent, Person};

use crate::office::{Office, task};

const ENTRIES: &str = "/v1/ledger/entries";
/// How long something may take to come to pass.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Every entry, in order.
async fn all(person: &Person) -> Vec<Value> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(next) = from {
        let page = person.get(&format!("{ENTRIES}?from={next}&limit=50")).await.ok();
        all.extend(page["entries"].as_array().expect("entries").iter().cloned());
        from = page["next"].as_u64();
    }
    all
}

/// Where what a query finds stands, over as many pages as it takes.
async fn found(person: &Person, query: &str) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = person.get(&format!("{ENTRIES}?{query}&limit=3{after}")).await.ok();
        assert_eq!(page["indexed"], page["size"], "what was recorded before is found: {page}");
        let entries = page["entries"].as_array().expect("entries");
        found.extend(entries.iter().map(|entry| entry["index"].as_u64().expect("a position")));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

/// Waits for a record that nobody waits for: of a refusal, and of how something ended.
async fn eventually_found(person: &Person, query: &str) {
    let is_recorded = async {
        while found(person, query).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_recorded).await.expect("it is recorded");
}

/// An office in which something of everything happened; the agent, and a task as it was opened.
async fn busy() -> (Office, Agent, Value) {
    let office = Office::open().await;
    let agent = office.agent().await;
    office.grant(&office.olivia).await;
    let opened = office.task(&office.olivia).await;
    agent.on_behalf_of(opened["token"].as_str().expect("a text"), "desk").await;
    let other = office.task(&office.olivia).await;
    agent.on_behalf_of(other["token"].as_str().expect("a text"), "desk").await;
    let end = format!("/v1/tasks/{}", opened["task"].as_str().expect("a text"));
    assert_eq!(office.olivia.call("DELETE", &end, &Value::Null).await.status, 200);
    let suspend = json!({ "reason": "looks odd" });
    office.olivia.post("/v1/agents/support-bot/suspend", suspend).await.ok();
    (office, agent, opened)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_parameter_finds_what_a_reader_of_all_leaves_finds() {
    let (office, _, opened) = busy().await;
    let olivia = &office.olivia;
    let all = all(olivia).await;
    let token = all.iter().find(|entry| {
        entry["leaf"]["kind"] == "token" && entry["leaf"]["body"]["use_as"] == "on_behalf_of"
    });
    let token = token.expect("the agent got one");
    let registered = all.iter().rfind(|entry| entry["leaf"]["kind"] == "governance").unwrap();
    let key = registered["leaf"]["body"]["key"].as_str().unwrap();
    let at = token["leaf"]["at"].as_i64().unwrap();
    let action = registered["leaf"]["action"].as_str().unwrap();
    let (id, hash, task) = (&token["leaf"]["id"], &token["hash"], &opened["task"]);
    let parents = |leaf: &Value, hash: &Value| leaf["parents"].as_array().unwrap().contains(hash);
    let pseudonym = olivia.id.to_string();
    let of_person = |leaf: &Value, _: &Value| leaf["person"] == pseudonym.as_str();
    let of_agent = |leaf: &Value, _: &Value| {
        leaf["agent"]["id"] == "agent/support-bot" || leaf["body"]["agent"] == "agent/support-bot"
    };
    let of_credential = |leaf: &Value, own: &Value| own == hash || parents(leaf, hash);
    type Fits<'f> = Box<dyn Fn(&Value, &Value) -> bool + 'f>;
    let texts = |text: &Value| text.as_str().unwrap().to_owned();
    let questions: Vec<(String, Fits<'_>)> = vec![
        ("kind=token".to_owned(), Box::new(|leaf, _| leaf["kind"] == "token")),
        ("verdict=hold".to_owned(), Box::new(|leaf, _| leaf["verdict"] == "hold")),
        ("agent=support-bot".to_owned(), Box::new(of_agent)),
        ("agent=agent/support-bot".to_owned(), Box::new(of_agent)),
        ("person=olivia".to_owned(), Box::new(of_person)),
        (format!("person={pseudonym}"), Box::new(of_person)),
        (format!("task={}", texts(task)), Box::new(|leaf, _| leaf["task"] == *task)),
        (format!("action={action}"), Box::new(|leaf, _| leaf["action"] == action)),
        (format!("credential={}", texts(id)), Box::new(of_credential)),
        (format!("credential={}", texts(hash)), Box::new(of_credential)),
        ("object=agent".to_owned(), Box::new(|leaf, _| leaf["body"]["object"] == "agent")),
        (format!("object=agent&key={key}"), Box::new(|leaf, _| leaf["body"]["key"] == key)),
        (
            "system=bailiwick&verdict=permit".to_owned(),
            Box::new(|leaf, _| {
                leaf["body"]["system"] == "bailiwick" && leaf["verdict"] == "permit"
            }),
        ),
        (format!("since={at}"), Box::new(|leaf, _| leaf["at"].as_i64().unwrap() >= at)),
        (format!("until={at}"), Box::new(|leaf, _| leaf["at"].as_i64().unwrap() < at)),
        (
            format!("kind=token&person=olivia&since={at}"),
            Box::new(|leaf, own| {
                leaf["kind"] == "token"
                    && of_person(leaf, own)
                    && leaf["at"].as_i64().unwrap() >= at
            }),
        ),
    ];
    for (query, fits) in questions {
        let mut expected: Vec<_> = all
            .iter()
            .filter(|entry| fits(&entry["leaf"], &entry["hash"]))
            .map(|entry| entry["index"].as_u64().unwrap())
            .collect();
        expected.reverse();
        assert!(!expected.is_empty(), "{query} asks for something that occurs");
        assert_eq!(found(olivia, &query).await, expected, "{query}");
    }
    let governed =
        all.iter().filter_map(|entry| entry["leaf"]["body"]["effects"][0]["id"].as_str());
    let expected =
        governed.filter(|id| *id == blind(&office, "bailiwick/Registration/agent/support-bot"));
    let named = found(olivia, "resource=bailiwick/Registration/agent/support-bot").await;
    assert_eq!(named.len(), expected.count());
    assert!(!named.is_empty(), "it was registered and suspended");
    for nothing in
        ["agent=nobody", "tool=nothing", "kind=nothing", "system=nowhere", "resource=desk/Order/1"]
    {
        assert!(found(olivia, nothing).await.is_empty(), "{nothing}");
    }
}

fn blind(office: &Office, resource: &str) -> String {
    let mut parts = resource.splitn(3, '/');
    let mut next = || parts.next().expect("three parts");
    let resource =
        model::Resource::new(next().parse().expect("a name"), next(), next()).expect("a resource");
    office.world.engine().blind_index(&resource)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused() {
    let (office, ..) = busy().await;
    let olivia = &office.olivia;
    let page = olivia.get(&format!("{ENTRIES}?kind=token&limit=1")).await.ok();
    let next = page["next"].as_str().unwrap();
    let forged = format!("{}0", &next[..next.len() - 1]);
    let long = "x".repeat(513);
    for (query, status) in [
        ("colour=blue".to_owned(), 400),
        ("kind=token&kind=task".to_owned(), 400),
        ("limit=-1".to_owned(), 400),
        ("since=yesterday".to_owned(), 400),
        ("task=7".to_owned(), 400),
        ("payload=yes".to_owned(), 400),
        ("verdict=maybe".to_owned(), 422),
        ("agent=UPPER".to_owned(), 422),
        ("tool=".to_owned(), 422),
        (format!("tool={long}"), 422),
        ("kind=a%0Ab".to_owned(), 422),
        ("resource=desk".to_owned(), 422),
        ("resource=desk/order/7".to_owned(), 422),
        ("resource=desk/Order/../7".to_owned(), 422),
        ("credential=letmein".to_owned(), 422),
        ("credential=0199f3a2-7c11-8001-8a2b-3c4d5e6f7081".to_owned(), 404),
        ("person=nobody".to_owned(), 404),
        ("text=".to_owned(), 422),
        (format!("text={}", "x".repeat(257)), 422),
        ("from=0&kind=token".to_owned(), 422),
        ("from=0&text=odd".to_owned(), 422),
        (format!("from=0&after={next}"), 422),
        // The next page of another question, and one that nobody was given.
        (format!("kind=task&after={next}"), 422),
        (format!("after={next}"), 422),
        (format!("kind=token&text=odd&after={next}"), 422),
        (format!("kind=token&after={forged}"), 422),
        ("kind=token&after=7".to_owned(), 422),
        ("kind=token&after=7-00".to_owned(), 422),
    ] {
        let reply = olivia.get(&format!("{ENTRIES}?{query}")).await;
        assert_eq!(reply.status, status, "{query}: {}", reply.text());
    }
    assert_eq!(olivia.get(&format!("{ENTRIES}?kind=token&after={next}")).await.status, 200);
    let asked = "/v1/ledger/governance";
    for (query, status) in
        [("at=then", 400), ("kind=agent", 400), ("object=", 422), (&format!("after={next}"), 422)]
    {
        assert_eq!(olivia.get(&format!("{asked}?{query}")).await.status, status, "{query}");
    }
    let unknown = "/v1/ledger/chain/0199f3a2-7c11-8001-8a2b-3c4d5e6f7081";
    assert_eq!(olivia.get(unknown).await.status, 404);
    assert_eq!(olivia.get("/v1/ledger/chain/7").await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_payloads_is_an_act_whose_record_tells_what_but_not_in_the_leaf() {
    let office = Office::open().await;
    let olivia = &office.olivia;
    office.agent().await;
    office.grant(olivia).await;
    for _ in 0..2 {
        office.task(olivia).await;
    }
    let mut opening = task();
    opening["prompt"] = json!("find Mara's yellow lamp");
    olivia.post("/v1/tasks", opening).await.ok();
    let page = olivia.get(&format!("{ENTRIES}?text=YELLOW%20mara&kind=task")).await.ok();
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["entries"][0]["leaf"]["kind"], "task");
    assert!(page["entries"][0].get("payload").is_none(), "it is found, and not shown");
    let (opened, gone) = (page["opened"].as_u64().unwrap(), page["gone"].as_u64().unwrap());
    assert_eq!((opened, gone), (3, 0), "one for each task");

    eventually_found(olivia, "kind=searched").await;
    let all = all(olivia).await;
    assert!(!json!(all).to_string().to_lowercase().contains("yellow"), "not in any leaf");
    let end = all.iter().rfind(|entry| entry["leaf"]["kind"] == "searched").unwrap();
    assert_eq!(end["leaf"]["body"], json!({ "found": 1, "gone": 0, "opened": 3 }));
    assert_eq!(end["leaf"]["person"], olivia.id.to_string());
    let decision = &end["leaf"]["parents"][0];
    let decision = all.iter().find(|entry| entry["hash"] == *decision).unwrap();
    assert_eq!(decision["leaf"]["verdict"], "permit");
    assert_eq!(decision["leaf"]["action"], end["leaf"]["action"]);
    let shown = format!("{ENTRIES}/{}?payload=true", decision["index"]);
    let shown = olivia.get(&shown).await.ok();
    let content = json!({ "among": { "kind": "task" }, "text": "YELLOW mara" });
    assert_eq!(shown["payload"]["content"]["act"], content);

    // Whoever may look at entries may be kept from searching what is sealed.
    let policy =
        r#"@id("sealed-stays") forbid(principal, action, resource == Ledger::"bailiwick/text");"#;
    let files = json!({ "files": [{ "name": "sealed.cedar", "text": policy }] });
    olivia.call_with(&office.omar, "PUT", "/v1/policies", &files).await;
    let refused = olivia.get(&format!("{ENTRIES}?text=yellow")).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    eventually_found(olivia, "verdict=deny").await;
    assert_eq!(olivia.get(&format!("{ENTRIES}?kind=task")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn governance_now_is_what_the_store_holds_and_before_what_it_held_then() {
    let office = Office::open().await;
    let olivia = &office.olivia;
    let then = |at: Option<i64>, query: &str| {
        let at = at.map(|at| format!("&at={at}")).unwrap_or_default();
        let path = format!("/v1/ledger/governance?limit=1000{at}{query}");
        async move { olivia.get(&path).await.ok() }
    };
    // Each step is over in the millisecond before the next one begins.
    let moment = || {
        let now = office.world.now().millis();
        while office.world.now().millis() == now {}
        now
    };
    let nothing = moment();
    office.agent().await;
    office.grant(olivia).await;
    let registered = moment();
    let why = json!({ "reason": "looks odd" });
    olivia.post("/v1/agents/support-bot/suspend", why).await.ok();
    let suspended = moment();
    olivia.post_with(&office.omar, "/v1/agents/support-bot/reinstate", json!({})).await;
    let policy =
        r#"@id("reads") permit(principal, action == Action::"read", resource in System::"desk");"#;
    let files = json!({ "files": [{ "name": "reads.cedar", "text": policy }] });
    olivia.call_with(&office.omar, "PUT", "/v1/policies", &files).await;
    let reinstated = moment();
    olivia.post("/v1/agents/support-bot/retire", json!({})).await.ok();
    let stop = json!({ "scope": "agent:support-bot", "reason": "a drill" });
    olivia.post("/v1/stops", stop).await.ok();
    olivia.call("DELETE", "/v1/grants/olivia-desk", &Value::Null).await.ok();

    let agent = async |at| {
        let page = then(Some(at), "&object=agent&key=agent/support-bot").await;
        page["items"][0]["content"]["agent"]["state"].clone()
    };
    assert_eq!(agent(nothing).await, Value::Null);
    let state = |state: &Value| state.to_string();
    assert!(state(&agent(registered).await).to_lowercase().contains("active"));
    let odd = agent(suspended).await;
    assert!(state(&odd).to_lowercase().contains("suspended") && state(&odd).contains("looks odd"));
    assert!(state(&agent(reinstated).await).to_lowercase().contains("active"));
    assert!(state(&agent(office.world.now().millis()).await).to_lowercase().contains("retired"));
    let before = then(Some(suspended), "&object=policy_set").await;
    assert_eq!(before["items"], json!([]), "no policies of its own yet");
    let held = then(Some(reinstated), "&object=policy_set").await;
    assert_eq!(held["items"][0]["content"]["sources"][0]["text"], policy);
    let grant = then(Some(reinstated), "&object=grant&key=olivia-desk").await;
    assert_eq!(grant["items"][0]["content"]["revoked"], false);

    // The stop goes to the store last, and nobody waits for it.
    let is_stored = async {
        let read = |view: &mut store::View<'_>| {
            Ok::<_, store::Error>((view.count("stop")?, view.outbox(1)?.is_empty()))
        };
        while office.world.engine().store().read(read).await.expect("the store answers")
            != (1, true)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, is_stored).await.expect("everything is recorded");
    // What the store holds now, row by row; the search itself changes none of it.
    let now = then(None, "").await;
    let items = now["items"].as_array().unwrap().clone();
    assert!(now.get("next").is_none() && items.len() > 8, "{}", items.len());
    let mut kinds = std::collections::BTreeMap::<String, u64>::new();
    for item in &items {
        let (kind, key) = (item["object"].as_str().unwrap(), item["key"].as_str().unwrap());
        let (wanted, named) = (kind.to_owned(), key.to_owned());
        let store = office.world.engine().store();
        let row = store.read(move |view| view.object(&wanted, &named)).await.unwrap().unwrap();
        assert_eq!(item["version"], row.version, "{kind} {key}");
        assert_eq!(item["digest"], row.digest.to_string(), "{kind} {key}");
        let body: Value = serde_json::from_str(&row.body).unwrap();
        assert_eq!(item["content"], body, "{kind} {key}");
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    for kind in [
        "account",
        "agent",
        "approval",
        "blueprint",
        "grant",
        "person",
        "policy_set",
        "server",
        "stop",
        "tool",
    ] {
        let store = office.world.engine().store();
        let count = store.read(move |view| view.count(kind)).await.unwrap();
        assert_eq!(kinds.get(kind).copied().unwrap_or_default(), count, "{kind}");
    }

    // In pages it is the same.
    let (mut paged, mut after) = (Vec::new(), String::new());
    let at = now["at"].as_i64();
    loop {
        let page = olivia
            .get(&format!("/v1/ledger/governance?limit=2&at={}{after}", at.unwrap()))
            .await
            .ok();
        paged.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(paged, items);
    let una = office.person("una", &[]).await;
    assert_eq!(una.get("/v1/ledger/governance").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_all_of_its_task_and_hangs_together() {
    let (office, _, opened) = busy().await;
    let task = opened["task"].as_str().unwrap();
    let chain = office.olivia.get(&format!("/v1/ledger/chain/{task}")).await.ok();
    let entries = chain["entries"].as_array().unwrap();
    let expected = all(&office.olivia).await;
    let opening = expected.iter().find(|entry| entry["leaf"]["task"] == task).unwrap();
    let is_of_it = |entry: &&Value| {
        entry["leaf"]["task"] == task || entry["hash"] == opening["leaf"]["parents"][0]
    };
    let expected: Vec<_> = expected.iter().filter(is_of_it).cloned().collect();
    assert_eq!(*entries, expected);
    let kinds: Vec<_> =
        entries.iter().map(|entry| entry["leaf"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["decision", "task"]);
    assert_eq!(kinds.last(), Some(&"task_end"));
    let named = |hash: &Value| entries.iter().any(|entry| entry["hash"] == *hash);
    for entry in &entries[1..] {
        let parents = entry["leaf"]["parents"].as_array().unwrap();
        assert!(parents.iter().any(named), "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_the_index_is_a_metric() {
    let (office, ..) = busy().await;
    let metric = |name: &'static str| {
        let office = &office;
        async move {
            let url = format!("{}/metrics", office.world.ops_url());
            let text = office.world.wire().send("GET", &url, &[], "").await.text();
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap().parse::<u64>().unwrap()
        }
    };
    let all = metric("bailiwick_ledger_acknowledged_entries").await;
    assert!(all > 0);
    assert_eq!(metric("bailiwick_search_lag_entries").await, all, "nobody has searched yet");
    let page = office.olivia.get(&format!("{ENTRIES}?kind=task")).await.ok();
    assert_eq!(page["indexed"], page["size"]);
    assert_eq!(metric("bailiwick_search_indexed_entries").await, page["indexed"]);
}
