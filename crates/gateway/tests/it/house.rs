//! A small organization around one gateway and one upstream server.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use decide::Clock;
use gateway::{
    Gateway, OwnSecrets, Upstreams,
    envelope::Era,
    outbound::{Limits, Outbound},
    router,
};
use govern::FoundTool;
use http::{HeaderMap, HeaderValue, Method};
use model::{Authority, Clause, Conditions, Money, TaskId, Timestamp, Verb, Verbs};
use serde_json::{Value, json};
use testkit::world::{Agent, Options, Person, World};
use tokio::task::JoinHandle;

use crate::{
    client::{Client, Reply},
    desk::Desk,
    soon,
};

/// What the upstream's secret is; it leaves for the upstream and for nobody else.
pub(crate) const SECRET: &str = "desk-secret";
const START: i64 = 1_800_000_000_000;

pub(crate) const POLICIES: &str = r#"
@id("desk-use")
permit (
  principal,
  action in [Action::"read", Action::"list", Action::"pay", Action::"export", Action::"delete"],
  resource in System::"desk"
);

@id("large-refunds-wait") @hold("finance") @reason("refunds above 1,000.00 wait for finance")
forbid (principal, action == Action::"pay", resource is Refund)
when { context has amount && context.amount > 100000 };

@id("no-export") @reason("customers are not exported in bulk") @next("ask for a report instead") @explain("agent")
forbid (principal, action == Action::"export", resource is Customers);
"#;

/// Olivia governs, Lena invokes, Max of finance approves, support-bot works at the desk.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) router: Router,
    pub(crate) clock: Clock,
    pub(crate) desk: Desk,
    pub(crate) client: Client,
    pub(crate) olivia: Person,
    pub(crate) lena: Person,
    pub(crate) max: Person,
    pub(crate) agent: Agent,
    /// The first ledger entry after all this was set up.
    settled: u64,
}

/// Support-bot at work in one task of Lena's.
pub(crate) struct Bot<'h> {
    pub(crate) house: &'h House,
    /// Where at the gateway it is.
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) task: TaskId,
}

impl House {
    /// With an upstream that speaks 2026-07-28.
    pub(crate) async fn new() -> Self {
        Self::with(Era::Modern, Limits::default()).await
    }

    pub(crate) async fn with(era: Era, limits: Limits) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(START));
        let desk = Desk::start(era).await;
        let upstreams = Arc::new(Upstreams::new(Outbound::new(limits), OwnSecrets::default()));
        Self::around(clock, desk, upstreams.clone(), upstreams).await
    }

    /// With a gateway that has not met its upstream yet.
    pub(crate) async fn unmet() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(START));
        let desk = Desk::start(Era::Modern).await;
        let upstreams =
            || Arc::new(Upstreams::new(Outbound::new(Limits::default()), OwnSecrets::default()));
        Self::around(clock, desk, upstreams(), upstreams()).await
    }

    async fn around(
        clock: Clock,
        desk: Desk,
        found: Arc<Upstreams>,
        upstreams: Arc<Upstreams>,
    ) -> Self {
        let options = Options {
            clock: clock.clone(),
            linking: None,
            discover: Arc::new(move |server, account| {
                let upstreams = found.clone();
                Box::pin(async move {
                    let listing = upstreams.discover(&server, account.as_deref()).await;
                    let listing = listing.map_err(|why| why.to_string())?;
                    let tool = |tool: &gateway::upstream::ToolDefinition| FoundTool {
                        name: tool.name().to_owned(),
                        definition: String::from_utf8(tool.bytes().to_vec()).unwrap(),
                    };
                    Ok(listing.tools.iter().map(tool).collect())
                })
            }),
        };
        let world = World::with(options).await;
        let router = router(Gateway::new(world.engine().clone(), upstreams));
        world.serve_gateway(router.clone());
        let olivia = world.first_administrator("olivia").await;
        let lena = olivia.enrol(&olivia, "lena", &["support"]).await;
        let max = olivia.enrol(&olivia, "max", &["finance"]).await;
        let agent = found_desk(&world, &olivia, &desk).await;
        desk.forget();
        let settled = world.engine().log().acknowledged();
        let client = Client::new();
        Self { world, router, clock, desk, client, olivia, lena, max, agent, settled }
    }

    /// The URL of the desk at the gateway.
    pub(crate) fn url(&self) -> String {
        format!("{}/mcp/desk", self.world.gateway_url())
    }

    /// Support-bot in a new task with a budget in cents.
    pub(crate) async fn bot(&self, budget: i64) -> Bot<'_> {
        self.bot_for(budget, 3_600).await
    }

    /// Support-bot in a new task that takes so many seconds.
    pub(crate) async fn bot_for(&self, budget: i64, seconds: u32) -> Bot<'_> {
        let budget = Money::new(budget, "EUR".parse().unwrap()).unwrap();
        let task = json!({
            "agent": "support-bot", "purpose": "support", "budget": budget, "seconds": seconds,
        });
        self.bot_at(self.url(), &task).await
    }

    /// Support-bot in a new task, with a token for this address of the gateway.
    pub(crate) async fn bot_at(&self, url: String, task: &Value) -> Bot<'_> {
        let opened = self.lena.post("/v1/tasks", task.clone()).await.ok();
        let handed = opened["token"].as_str().unwrap();
        let issued = self.agent.exchange(handed, &[("audience", &url)]).await.ok();
        let token = issued["access_token"].as_str().unwrap().to_owned();
        Bot { house: self, url, token, task: opened["task"].as_str().unwrap().parse().unwrap() }
    }

    /// What has to come with the tokens of agents like support-bot, from now on.
    pub(crate) async fn sender(&self, sender: &str) {
        let mut blueprint = support();
        blueprint["sender"] = json!(sender);
        self.olivia.post("/v1/blueprints", blueprint).await.ok();
    }

    /// A token of support-bot's without a key, in a task of Lena's.
    pub(crate) async fn bearer(&self) -> String {
        let task = json!({ "agent": "support-bot", "purpose": "support", "seconds": 3_600 });
        let opened = self.lena.post("/v1/tasks", task).await.ok();
        let handed = opened["token"].as_str().unwrap();
        let reply = self.agent.exchange_unproved(handed, &[("audience", &self.url())]).await;
        let issued = reply.ok();
        assert_eq!(issued["token_type"], "Bearer");
        issued["access_token"].as_str().unwrap().to_owned()
    }

    /// Olivia stops a scope.
    pub(crate) async fn stop(&self, scope: &str) -> Value {
        let wish = json!({ "scope": scope, "reason": "it misbehaves" });
        soon(self.olivia.post("/v1/stops", wish)).await.ok()
    }

    /// Olivia ends the stops of a scope.
    pub(crate) async fn resume(&self, scope: &str) {
        let wish = json!({ "scope": scope, "reason": "it is well again" });
        self.olivia.post("/v1/stops/resume", wish).await.ok();
    }

    /// Has these policies in force beside those of the house.
    pub(crate) async fn apply(&self, more: &str) {
        apply(&self.olivia, &format!("{POLICIES}\n{more}")).await;
    }

    /// Where the upstream's secret is.
    pub(crate) fn secret(&self) -> PathBuf {
        secret(&self.world)
    }

    /// What the ledger says of the agent's attempts, one line each: kind, verdict or status, code, money spent.
    pub(crate) async fn recorded(&self) -> Vec<String> {
        self.mark().await;
        self.acknowledged()
    }

    /// Waits until all that was recorded so far is on the disk. Notes do not wait for it; an entry behind them does.
    pub(crate) async fn mark(&self) {
        let context = self.world.engine().context();
        let marker = ledger::Draft::new(context.id(), "marker", context.now());
        let log = self.world.engine().log();
        log.append(log.seal(marker).unwrap()).await.unwrap();
    }

    /// The same, without waiting for what is on its way to the disk.
    pub(crate) fn acknowledged(&self) -> Vec<String> {
        self.about_attempts().map(|leaf| line(&leaf)).collect()
    }

    /// The attempts that the ledger names, in order.
    pub(crate) async fn actions(&self) -> Vec<String> {
        self.recorded().await;
        self.about_attempts().map(|leaf| leaf.action.unwrap().to_string()).collect()
    }

    fn about_attempts(&self) -> impl Iterator<Item = ledger::Leaf> {
        let leaves =
            self.world.engine().log().entries(self.settled).map(|entry| entry.unwrap().leaf);
        leaves.filter(|leaf| match &*leaf.kind {
            "decision" | "outcome" | "input" => leaf.agent.is_some(),
            kind => kind == "lapsed",
        })
    }

    /// Waits until the ledger's last word about the agent's attempts is this.
    pub(crate) async fn comes_to(&self, last: &str) {
        soon(async {
            while self.recorded().await.last().is_none_or(|line| line != last) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Puts the desk into operation: blueprint, agent, grant, server, accepted tools, policies.
async fn found_desk(world: &World, olivia: &Person, desk: &Desk) -> Agent {
    let held = held();
    olivia.post("/v1/blueprints", support()).await.ok();
    let agent = olivia.register(olivia, "support-bot", "support").await;
    let grant = json!({ "name": "lena-desk", "holder": "lena", "authority": held });
    olivia.post("/v1/grants", grant).await.ok();
    let secret = secret(world);
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let server = json!({
        "name": "desk", "url": desk.url(), "internal": true, "credential": format!("file:{}", secret.display()),
    });
    let added = olivia.post("/v1/servers", server).await.ok();
    let tools = added["tools"].as_array().unwrap();
    let accepted: Vec<Value> = tools.iter().filter_map(acceptance).collect();
    olivia.post("/v1/catalog/desk/accept", json!({ "tools": accepted })).await.ok();
    apply(olivia, POLICIES).await;
    agent
}

async fn apply(olivia: &Person, policies: &str) {
    let policies = json!({ "files": [{ "name": "desk.cedar", "text": policies }] });
    olivia.call("PUT", "/v1/policies", &policies).await.ok();
}

fn held() -> Authority {
    authority(&[Verb::Read, Verb::List, Verb::Pay, Verb::Export])
}

fn support() -> Value {
    json!({
        "name": "support", "purpose": "support", "owner": "olivia", "authority": held(), "token_ttl_seconds": 900,
    })
}

/// What people accept that a tool does; `None` for the one that nobody has accepted.
fn acceptance(tool: &Value) -> Option<Value> {
    let effect = match tool["name"].as_str()? {
        "get_order" => {
            json!({ "verb": "read", "resource": "Order", "id": "args.order", "classes": ["pii"] })
        }
        "refund" => json!({
            "verb": "pay", "resource": "Refund", "id": "args.order", "amount": "args.amount", "currency": "'EUR'",
        }),
        "find" => json!({ "verb": "list", "resource": "Order", "id": "'all'" }),
        "export" => json!({ "verb": "export", "resource": "Customers", "id": "'all'" }),
        "mcp:resources/subscribe" | "mcp:resources/unsubscribe" => {
            json!({ "verb": "read", "resource": "Document", "id": "args.uri" })
        }
        "erase" => json!({ "verb": "delete", "resource": "Order", "id": "args.order" }),
        _ => return None,
    };
    // The server may ask the client something where somebody looks for orders, and nowhere else.
    let asks = match tool["name"].as_str()? {
        "find" => json!(["elicitation/create", "sampling/createMessage"]),
        _ => json!([]),
    };
    let mapping = json!({ "effects": [effect], "input_requests": asks });
    Some(json!({ "tool": tool["name"], "digest": tool["digest"], "mapping": mapping }))
}

fn secret(world: &World) -> PathBuf {
    world.dir().join("secret")
}

fn authority(verbs: &[Verb]) -> Authority {
    let clause = |resources: &str| Clause {
        verbs: Verbs::of(verbs),
        resources: resources.parse().unwrap(),
        conditions: Conditions::default(),
        expires: Timestamp::from_millis(START + 1_000_000_000),
    };
    Authority { clauses: vec![clause("desk/*/*"), clause("annex/*/*")], depth: 4 }
}

fn line(leaf: &ledger::Leaf) -> String {
    let text = |name: &str| leaf.body.member(name).and_then(model::ijson::Json::as_str);
    let spent = leaf.body.member("spent").map(|spent| {
        let spent: Money = serde_json::from_value(spent.to_value()).unwrap();
        spent.to_string()
    });
    let words = [
        Some(leaf.kind.clone()),
        leaf.verdict.clone(),
        text("method").map(str::to_owned),
        text("status").map(str::to_owned),
        text("code").map(str::to_owned),
        spent,
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

impl Bot<'_> {
    /// The headers of an ordinary request, with a fresh proof.
    pub(crate) async fn headers(&self, method: &str) -> HeaderMap {
        let house = self.house;
        let mut headers = HeaderMap::new();
        for (name, value) in house.agent.headers(method, &self.url, &self.token).await {
            headers.insert(name, value.parse().unwrap());
        }
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert("accept", both);
        headers
    }

    /// Sends a body as an agent of 2025-11-25 does.
    pub(crate) async fn post(&self, body: impl Into<bytes::Bytes>) -> Reply {
        self.post_with(&[("mcp-protocol-version", "2025-11-25")], body).await
    }

    /// Sends a body with further headers; one without a value is taken away.
    pub(crate) async fn post_with(
        &self,
        more: &[(&'static str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Reply {
        let mut headers = self.headers("POST").await;
        for (name, value) in more {
            if value.is_empty() {
                headers.remove(*name);
            } else {
                headers.insert(*name, value.parse().unwrap());
            }
        }
        self.house.client.send(Method::POST, &self.url, headers, body).await
    }

    /// Shakes hands as an agent of 2025-11-25 does.
    pub(crate) async fn hello(&self) -> Reply {
        let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bot","version":"1"}}}"#;
        self.post_with(&[], hello).await
    }

    /// Opens a session.
    pub(crate) async fn open(&self) -> String {
        self.hello().await.header("mcp-session-id").expect("there is room for it").to_owned()
    }

    /// Sends a body in a session.
    pub(crate) async fn post_in(&self, session: &str, body: impl Into<bytes::Bytes>) -> Reply {
        let version = ("mcp-protocol-version", "2025-11-25");
        self.post_with(&[version, ("mcp-session-id", session)], body).await
    }

    /// Asks without a body, as `GET` and `DELETE` do.
    pub(crate) async fn ask(&self, method: Method, more: &[(&'static str, &str)]) -> Reply {
        let mut headers = self.headers(method.as_str()).await;
        headers.remove("content-type");
        for (name, value) in more {
            headers.insert(*name, value.parse().unwrap());
        }
        self.house.client.send(method, &self.url, headers, "").await
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, tool: &str, arguments: &str) -> Reply {
        self.post(call(tool, arguments)).await
    }

    /// Begins to call a tool, and goes on beside the test.
    pub(crate) async fn begin(&self, tool: &str, arguments: &str) -> JoinHandle<Reply> {
        let (client, url) = (self.house.client.clone(), self.url.clone());
        let (headers, body) = (self.headers("POST").await, call(tool, arguments));
        tokio::spawn(async move { client.send(Method::POST, &url, headers, body).await })
    }

    /// Calls a tool as an agent of 2026-07-28 does.
    pub(crate) async fn modern_call(&self, tool: &str, arguments: &str) -> Reply {
        let headers = modern_headers("tools/call", tool);
        self.post_with(&headers, modern("tools/call", tool, arguments)).await
    }

    /// What the task has spent and reserved, in cents.
    pub(crate) fn spent(&self) -> (u64, u64) {
        let task = self.house.world.engine().tasks().task(self.task).unwrap();
        (task.spent, task.reserved)
    }
}

/// A call of a tool with the id `"c-1"`.
pub(crate) fn call(tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":"c-1","method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}

/// What 2026-07-28 wants in `_meta`.
pub(crate) const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bot","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A request of 2026-07-28 with the id 7.
pub(crate) fn modern(method: &str, tool: &str, arguments: &str) -> String {
    let params = match method {
        "tools/call" => format!(r#""name":"{tool}","arguments":{arguments},"_meta":{META}"#),
        _ => format!(r#""_meta":{META}"#),
    };
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}"#)
}

/// The headers that go with it.
pub(crate) fn modern_headers<'t>(method: &'t str, tool: &'t str) -> Vec<(&'static str, &'t str)> {
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    if method == "tools/call" {
        headers.push(("mcp-name", tool));
    }
    headers
}

/// Fewer connections than callers, and patience for whoever has to wait.
pub(crate) fn few_connections() -> Limits {
    Limits { connections: 16, connect: Duration::from_secs(60), ..Limits::default() }
}
