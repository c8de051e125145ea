//! People with accounts at a bank, an agent that works for them, and a gateway between.

use std::sync::{Arc, OnceLock};

use decide::{AccountRecord, Allowed, Clock, Engine, ServerRecord};
use futures_util::future::BoxFuture;
use gateway::{
    Broker, Gateway, LinkError, OwnSecrets, Upstreams,
    outbound::{Limits, Outbound},
    router,
};
use govern::{FoundTool, LinkAccount};
use http::{HeaderMap, HeaderValue, Method};
use model::{IdentityId, Name, Timestamp};
use serde_json::{Value, json};
use testkit::world::{Agent, Begun, Linked, Linking, NotLinked, Options, Person, World};
use token::{MasterKey, Secret};

use crate::{bank::Bank, client::Client, house::call};

const START: i64 = 1_800_000_000_000;
const POLICY: &str = r#"@id("bank-use") permit (principal, action, resource in System::"bank");"#;

/// The broker, as the admin API knows it.
struct Links {
    broker: Arc<Broker>,
    upstreams: Arc<Upstreams>,
}

impl Linking for Links {
    fn begin(
        &self,
        allowed: Allowed<LinkAccount>,
        server: ServerRecord,
    ) -> BoxFuture<'_, Result<Begun, NotLinked>> {
        Box::pin(async move {
            let begun = self.broker.begin(allowed, &server).await.map_err(|why| not(&why))?;
            let gateway::Begun { url, issuer, scopes, expires } = begun;
            Ok(Begun { url, issuer, scopes, expires })
        })
    }

    fn confirm(
        &self,
        person: IdentityId,
        server: Name,
        code: String,
    ) -> BoxFuture<'_, Result<Linked, NotLinked>> {
        Box::pin(async move {
            let linked = self.broker.confirm(&person, &server, &code).map_err(|why| not(&why))?;
            let (allowed, account, sealed) = linked;
            Ok(Linked { allowed, account, sealed })
        })
    }

    fn callback(&self, issuer: &str) -> String {
        self.broker.callback(issuer)
    }

    fn give_back(&self, account: AccountRecord, sealed: Option<Vec<u8>>) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.upstreams.give_back(&account, sealed).await })
    }
}

fn not(why: &LinkError) -> NotLinked {
    NotLinked::Conflict(why.to_string())
}

/// Olivia governs; Lena and Max have accounts at the bank, where support-bot works for either.
pub(crate) struct Town {
    pub(crate) world: World,
    pub(crate) bank: Bank,
    upstreams: Arc<Upstreams>,
    /// What lent tokens are sealed under.
    key: Secret,
    client: Client,
    pub(crate) olivia: Person,
    pub(crate) lena: Person,
    pub(crate) max: Person,
    agent: Agent,
}

impl Town {
    /// With a bank that is reached as `oauth` says.
    pub(crate) async fn with(oauth: impl FnOnce(&World, &Bank) -> Value) -> Self {
        let bank = Bank::open().await;
        let held: Arc<OnceLock<Arc<Upstreams>>> = Arc::default();
        let (found, made) = (held.clone(), held.clone());
        let key = MasterKey::generate().unwrap().to_base64();
        let sealing = key.clone();
        let world = World::with(Options {
            clock: Clock::manual(Timestamp::from_millis(START)),
            linking: Some(Box::new(move |engine: &Arc<Engine>| -> Arc<dyn Linking> {
                let (broker, upstreams) = reaching(engine, &sealing);
                assert!(made.set(upstreams.clone()).is_ok());
                Arc::new(Links { broker, upstreams })
            })),
            discover: Arc::new(move |server, account| {
                let upstreams = found.get().unwrap().clone();
                Box::pin(async move {
                    let listing = upstreams.discover(&server, account.as_deref()).await;
                    let listing = listing.map_err(|why| why.to_string())?;
                    let tool = |tool: &gateway::upstream::ToolDefinition| FoundTool {
                        name: tool.name().to_owned(),
                        definition: tool.text().to_owned(),
                    };
                    Ok(listing.tools.iter().map(tool).collect())
                })
            }),
        })
        .await;
        let upstreams = held.get().unwrap().clone();
        world.serve_gateway(router(Gateway::new(world.engine().clone(), upstreams.clone())));
        let olivia = world.first_administrator("olivia").await;
        let lena = olivia.enrol(&olivia, "lena", &[]).await;
        let max = olivia.enrol(&olivia, "max", &[]).await;
        let expires = START + 1_000_000_000;
        let clause = json!({ "verbs": ["read"], "resources": "bank/*/*", "expires": expires });
        let held = json!({ "clauses": [clause], "depth": 4 });
        olivia.blueprint(&olivia, "support", held.clone()).await;
        let agent = olivia.register(&olivia, "support-bot", "support").await;
        for holder in ["lena", "max"] {
            let grant =
                json!({ "name": format!("{holder}-bank"), "holder": holder, "authority": held });
            olivia.post("/v1/grants", grant).await.ok();
        }
        let server = json!({
            "name": "bank", "url": bank.mcp(), "internal": true, "oauth": oauth(&world, &bank),
        });
        olivia.post("/v1/servers", server).await.ok();
        let policies = json!({ "files": [{ "name": "bank.cedar", "text": POLICY }] });
        olivia.call("PUT", "/v1/policies", &policies).await.ok();
        Self { world, bank, upstreams, key, client: Client::new(), olivia, lena, max, agent }
    }

    /// With a bank that acts for each person, whose tools Olivia has accepted with her own account there.
    pub(crate) async fn personal() -> Self {
        let town = Self::with(|_, _| json!({ "whose": "person" })).await;
        town.link(&town.olivia).await;
        town.accept().await;
        town.bank.books().shown.clear();
        town
    }

    /// Ends the gateway's way to the bank as a node does that stops.
    pub(crate) async fn close(&self) {
        self.upstreams.close().await;
    }

    /// What somebody finds at the bank with their account, after the node has started again.
    pub(crate) async fn found_again(&self, person: &Person) -> Result<(), String> {
        let engine = self.world.engine();
        let (_, upstreams) = reaching(engine, &self.key);
        let server = engine.directory().server(&"bank".parse().unwrap()).unwrap().record;
        let account = engine.account(&server, &person.id).ok_or("there is no account")?;
        let listing = upstreams.discover(&server, Some(&account)).await;
        listing.map(|_| ()).map_err(|why| why.to_string())
    }

    /// Moves the clock, and waits until the engine has noticed.
    pub(crate) async fn later(&self, millis: i64) {
        self.world.engine().context().clock.advance(millis);
        crate::soon(async {
            while !self.world.engine().is_fresh() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(crate) async fn accept(&self) {
        let shown = self.olivia.post("/v1/servers/bank/refresh", json!({})).await.ok();
        let effect = json!({ "verb": "read", "resource": "Account", "id": "'own'" });
        let accepted = shown["tools"].as_array().unwrap().iter().map(|tool| {
            json!({ "tool": tool["name"], "digest": tool["digest"], "mapping": { "effects": [effect] } })
        });
        let accepted: Vec<Value> = accepted.collect();
        assert_eq!(accepted.len(), 2, "{shown}");
        self.olivia.post("/v1/catalog/bank/accept", json!({ "tools": accepted })).await.ok();
    }

    /// Follows where a person is sent, and gives the page to which they come back.
    pub(crate) async fn browse(&self, url: &str) -> testkit::world::Reply {
        let consented = self.world.wire().send("GET", url, &[], "").await;
        let back = consented.header("location").expect("the bank sends them back").to_owned();
        self.world.wire().send("GET", &back, &[], "").await
    }

    /// Begins a link; the page to which the person came back, as `user` of the bank.
    pub(crate) async fn consent(
        &self,
        person: &Person,
        user: &str,
    ) -> (Value, testkit::world::Reply) {
        self.bank.books().user = user.to_owned();
        let begun = person.post("/v1/servers/bank/link", json!({})).await.ok();
        let page = self.browse(begun["url"].as_str().unwrap()).await;
        (begun, page)
    }

    pub(crate) async fn link(&self, person: &Person) {
        let (_, page) = self.consent(person, &person.handle).await;
        let confirmed = self.confirm(person, &code_of(&page.text())).await;
        assert_eq!(confirmed.ok()["state"], "linked");
    }

    pub(crate) async fn confirm(&self, person: &Person, code: &str) -> testkit::world::Reply {
        person.post("/v1/servers/bank/link/confirm", json!({ "code": code })).await
    }

    /// Support-bot calls a tool for somebody.
    pub(crate) async fn call(&self, person: &Person, tool: &str) -> Value {
        let task = json!({ "agent": "support-bot", "purpose": "support", "seconds": 600 });
        let opened = person.post("/v1/tasks", task).await.ok();
        let token = self.agent.on_behalf_of(opened["token"].as_str().unwrap(), "bank").await;
        let url = format!("{}/mcp/bank", self.world.gateway_url());
        let mut headers = HeaderMap::new();
        for (name, value) in self.agent.headers("POST", &url, &token).await {
            headers.insert(name, value.parse().unwrap());
        }
        let fixed = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2025-11-25"),
        ];
        headers.extend(fixed.map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        }));
        self.client.send(Method::POST, &url, headers, call(tool, "{}")).await.json().await
    }

    /// What a call came to: the bank's words, or the code of the refusal.
    pub(crate) async fn said(&self, person: &Person, tool: &str) -> String {
        let answer = self.call(person, tool).await;
        let code = &answer["result"]["_meta"]["bailiwick/refusal"]["code"];
        let text = &answer["result"]["content"][0]["text"];
        let said = [code, text, &answer["error"]["message"]];
        said.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The tokens that the MCP server was shown since the last time.
    pub(crate) fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.bank.books().shown)
    }

    /// The states of the accounts that a person sees.
    pub(crate) async fn accounts(&self, person: &Person) -> Vec<String> {
        let listed = person.get("/v1/accounts").await.ok();
        let states = listed["items"].as_array().unwrap().iter().map(|it| it["state"].clone());
        states.map(|state| state.as_str().unwrap().to_owned()).collect()
    }
}

/// What a node reaches servers by, that seals under this key.
fn reaching(engine: &Arc<Engine>, key: &Secret) -> (Arc<Broker>, Arc<Upstreams>) {
    let outbound = Outbound::new(Limits::default());
    let key = MasterKey::from_base64(key.expose_text().unwrap()).unwrap();
    let own = OwnSecrets::default();
    let broker = Broker::new(engine.clone(), outbound.clone(), own.clone(), key);
    let upstreams = Upstreams::new(outbound, own).with_broker(broker.clone());
    (broker, Arc::new(upstreams))
}

/// The code that a page shows.
pub(crate) fn code_of(page: &str) -> String {
    let (_, after) = page.split_once("--code ").expect("the page shows a code");
    after.chars().take_while(|letter| *letter != '<').collect()
}
