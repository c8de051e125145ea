//! The desk as the gateway sees it, in both revisions of MCP.

use std::{collections::BTreeMap, path::Path, time::Duration};

use gateway::{
    envelope::{Able, Era, Logs, Mirror, RequestId},
    outbound::{Credential, Limits, Outbound},
    upstream::{Answer, Call, Event, Outcome, Protocol, Reply, Upstream, UpstreamError},
};
use model::ijson::{Json, Limits as JsonLimits, parse};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use token::Secret;
use tokio::time::Instant;

use super::{PATH, seed, serve};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

struct Running {
    url: String,
    folder: TempDir,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("desk.db");
        seed(&database).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, database, "s3cret".to_owned()));
        Self { url, folder }
    }

    fn upstream(&self, protocol: Protocol, secret: Option<&str>) -> Upstream {
        let outbound = Outbound::new(Limits::default());
        let target = outbound.target(&self.url, true).unwrap();
        let credential = secret.map(|secret| {
            Credential::bearer(target.origin().clone(), &Secret::new(secret)).unwrap()
        });
        Upstream::new(outbound, target, credential, protocol)
    }

    fn client(&self, era: Era) -> Upstream {
        self.upstream(Protocol::Only(era), Some("s3cret"))
    }

    /// One value of the desk's own file.
    fn value<T: rusqlite::types::FromSql>(&self, query: &str) -> T {
        let file: &Path = &self.folder.path().join("desk.db");
        Connection::open(file).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
    }
}

fn json(text: &str) -> Json {
    parse(text.as_bytes(), JsonLimits { bytes: 10_000, depth: 16 }).unwrap()
}

async fn open(
    upstream: &Upstream,
    tool: &str,
    arguments: &str,
    progress: Option<&RequestId>,
) -> Result<Answer, UpstreamError> {
    let (id, mirror) = (RequestId::Text("client-1".into()), Mirror::default());
    let arguments = json(arguments).canonical();
    let deadline = Instant::now() + Duration::from_secs(100);
    upstream
        .call(Call {
            holder: None,
            room: None,
            id: &id,
            tool,
            arguments: &arguments,
            inputs: None,
            era: Era::Modern,
            able: &Able::default(),
            logs: Logs::Nothing,
            progress,
            mirror: &mirror,
            deadline,
        })
        .await
}

async fn call(upstream: &Upstream, tool: &str, arguments: &str) -> (Outcome, Value) {
    let Reply { bytes, outcome } = match open(upstream, tool, arguments, None).await.unwrap() {
        Answer::Whole(reply, _) => reply,
        Answer::Stream(events) => events.reply().await.unwrap(),
    };
    let response: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(response["id"], "client-1");
    (outcome, response)
}

#[tokio::test]
async fn both_revisions_list_the_same_five_tools() {
    let desk = Running::start();
    let mut digests = Vec::new();
    for era in ERAS {
        let listing = desk.client(era).list_tools().await.unwrap();
        assert_eq!(listing.refused.len(), 0);
        for tool in &listing.tools {
            let closed = tool.input_schema().member("additionalProperties");
            assert_eq!(closed, Some(&Json::Bool(false)), "{}", tool.name());
        }
        let found: BTreeMap<_, _> = listing
            .tools
            .iter()
            .map(|tool| (tool.name().to_owned(), tool.digest().to_string()))
            .collect();
        digests.push(found);
    }
    let names: Vec<_> = digests[0].keys().map(String::as_str).collect();
    let expected =
        ["export_customers", "get_order", "list_orders", "refund_order", "reindex_search"];
    assert_eq!(names, expected);
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn the_newer_revision_is_found_by_asking() {
    let desk = Running::start();
    let upstream = desk.upstream(Protocol::Probe, Some("s3cret"));
    assert_eq!(upstream.era().await.unwrap(), Era::Modern);
}

#[tokio::test]
async fn whoever_lacks_the_secret_is_refused() {
    let desk = Running::start();
    for secret in [None, Some("s3cre"), Some("s3cretx"), Some("S3cret")] {
        for protocol in [Protocol::Probe, Protocol::Only(Era::Legacy)] {
            let error = desk.upstream(protocol, secret).list_tools().await.unwrap_err();
            let UpstreamError::Handshake(error) = error else { panic!("{error:?}") };
            assert!(error.challenge().is_some(), "{error:?}");
        }
    }
    assert_eq!(desk.value::<i64>("SELECT COUNT(*) FROM calls"), 0);
}

#[tokio::test]
async fn orders_can_be_looked_up() {
    let desk = Running::start();
    for era in ERAS {
        let client = desk.client(era);
        let (outcome, found) = call(&client, "get_order", r#"{"order_id":"A-1002"}"#).await;
        assert_eq!(outcome, Outcome::Done);
        let order = &found["result"]["structuredContent"];
        assert_eq!((&order["total"], &order["currency"]), (&650_000.into(), &"EUR".into()));
        let (_, found) = call(&client, "list_orders", r#"{"customer_id":"C-1"}"#).await;
        let orders = found["result"]["structuredContent"]["orders"].as_array().unwrap().clone();
        assert_eq!(orders.len(), 2);
        for (tool, arguments) in
            [("get_order", r#"{"order_id":"A-9"}"#), ("list_orders", r#"{"customer_id":"C-9"}"#)]
        {
            assert_eq!(call(&client, tool, arguments).await.0, Outcome::ToolError);
        }
    }
}

#[tokio::test]
async fn a_refund_moves_money_once_and_never_more_than_is_left() {
    for era in ERAS {
        let desk = Running::start();
        let client = desk.client(era);
        let part = r#"{"order_id":"A-1001","amount":5000,"currency":"EUR"}"#;
        let (outcome, refund) = call(&client, "refund_order", part).await;
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(refund["result"]["structuredContent"]["rest"], 7000);
        for refused in [
            r#"{"order_id":"A-1001","amount":7001,"currency":"EUR"}"#,
            r#"{"order_id":"A-1001","amount":1,"currency":"USD"}"#,
            r#"{"order_id":"A-1001","amount":0,"currency":"EUR"}"#,
            r#"{"order_id":"A-1001","amount":-5,"currency":"EUR"}"#,
            r#"{"order_id":"A-1001","amount":"5","currency":"EUR"}"#,
            r#"{"order_id":"A-1001","amount":1.5,"currency":"EUR"}"#,
            r#"{"order_id":"A-1001","amount":5,"currency":"EUR","to":"me"}"#,
            r#"{"order_id":"A-1001","currency":"EUR"}"#,
            r#"{"order_id":"A-9999","amount":5,"currency":"EUR"}"#,
        ] {
            let (outcome, _) = call(&client, "refund_order", refused).await;
            assert_eq!(outcome, Outcome::ToolError, "{refused}");
        }
        assert_eq!(desk.value::<i64>("SELECT SUM(amount) FROM refunds"), 5000);
        let count = |outcome: &str| {
            desk.value::<i64>(&format!("SELECT COUNT(*) FROM calls WHERE outcome = '{outcome}'"))
        };
        assert_eq!((count("finished"), count("failed"), count("started")), (1, 9, 0));
        let arguments: String = desk.value("SELECT arguments FROM calls WHERE id = 1");
        assert_eq!(json(&arguments), json(part));
    }
}

#[tokio::test]
async fn an_export_holds_every_customer_and_is_noted() {
    let desk = Running::start();
    let (outcome, exported) = call(&desk.client(Era::Modern), "export_customers", "{}").await;
    assert_eq!(outcome, Outcome::Done);
    let csv = exported["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.contains("\"C-2\",\"Tomás Iglesias\",\"tomas.iglesias@example.com\""), "{csv}");
    assert_eq!(desk.value::<i64>("SELECT customers FROM exports"), 3);
}

#[tokio::test]
async fn a_tool_that_there_is_not_is_an_error() {
    let desk = Running::start();
    for era in ERAS {
        let (outcome, _) = call(&desk.client(era), "drop_tables", "{}").await;
        assert_eq!(outcome, Outcome::Error(-32602));
    }
}

#[tokio::test]
async fn long_work_reports_its_progress_and_ends() {
    let desk = Running::start();
    let token = RequestId::Text("p-1".into());
    for era in ERAS {
        let client = desk.client(era);
        let answer = open(&client, "reindex_search", r#"{"seconds":1}"#, Some(&token)).await;
        let Answer::Stream(mut events) = answer.unwrap() else { panic!("no stream") };
        let mut steps = 0;
        loop {
            match events.next().await.unwrap().unwrap() {
                Event::Notification(bytes) => {
                    let progress: Value = serde_json::from_slice(&bytes).unwrap();
                    assert_eq!(progress["method"], "notifications/progress");
                    assert_eq!(progress["params"]["progressToken"], "p-1");
                    steps += 1;
                }
                Event::Reply(reply) => {
                    assert_eq!(reply.outcome, Outcome::Done);
                    break;
                }
                Event::Refused { method } => panic!("{method}"),
                Event::Request { kind, .. } => panic!("{kind:?}"),
            }
        }
        assert_eq!(steps, 4);
    }
    assert_eq!(desk.value::<i64>("SELECT COUNT(*) FROM reindexes"), 2);
}

#[tokio::test]
async fn a_cut_call_is_cut_at_the_desk_too() {
    let token = RequestId::Number(1);
    for era in ERAS {
        for reports in [true, false] {
            let desk = Running::start();
            let client = desk.client(era);
            client.era().await.unwrap();
            let token = token.clone();
            let running = tokio::spawn(async move {
                let token = reports.then_some(&token);
                let answer = open(&client, "reindex_search", r#"{"seconds":60}"#, token).await;
                match answer.unwrap() {
                    Answer::Whole(reply, _) => Ok(reply),
                    Answer::Stream(events) => events.reply().await,
                }
            });
            let outcome = || desk.value::<Option<String>>("SELECT MAX(outcome) FROM calls");
            while outcome().as_deref() != Some("started") {
                tokio::task::yield_now().await;
            }
            running.abort();
            while outcome().as_deref() == Some("started") {
                tokio::task::yield_now().await;
            }
            assert_eq!(outcome().as_deref(), Some("cut"), "{era:?} {reports}");
            assert_eq!(desk.value::<i64>("SELECT COUNT(*) FROM reindexes"), 0);
            assert!(desk.value::<Option<i64>>("SELECT ended_ms FROM calls").is_some());
        }
    }
}

#[test]
fn seeding_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.db");
    seed(&file).unwrap();
    let change = "UPDATE customers SET city = 'Uppsala' WHERE id = 'C-1'";
    Connection::open(&file).unwrap().execute(change, []).unwrap();
    seed(&file).unwrap();
    let connection = Connection::open(&file).unwrap();
    let count = |table: &str| -> i64 {
        connection
            .query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!((count("customers"), count("orders"), count("refunds")), (3, 5, 0));
    let city: String = connection
        .query_row("SELECT city FROM customers WHERE id = 'C-1'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(city, "Uppsala");
}
