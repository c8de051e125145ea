//! A small office: two administrators, a system with tools, a blueprint, an agent.

use std::sync::Arc;

use govern::FoundTool;
use model::Timestamp;
use serde_json::{Value, json};
use testkit::world::{Agent, Options, Person, World};

pub(crate) struct Office {
    pub(crate) world: World,
    pub(crate) olivia: Person,
    pub(crate) omar: Person,
}

impl Office {
    pub(crate) async fn open() -> Self {
        let world = World::with(Options {
            discover: Arc::new(|server, _| Box::pin(async move { found(&server.url) })),
            ..Options::default()
        })
        .await;
        let olivia = world.first_administrator("olivia").await;
        let omar = olivia.enrol(&olivia, "omar", &["administrator"]).await;
        Self { world, olivia, omar }
    }

    /// Somebody who does not govern.
    pub(crate) async fn person(&self, handle: &str, teams: &[&str]) -> Person {
        self.olivia.enrol(&self.omar, handle, teams).await
    }

    /// Adds the system `desk` with its tools and a blueprint, and registers an agent of Olivia's.
    pub(crate) async fn agent(&self) -> Agent {
        let desk = json!({ "name": "desk", "url": "http://desk.example/mcp", "default_classes": ["customer"] });
        self.olivia.post_with(&self.omar, "/v1/servers", desk).await;
        self.olivia.blueprint(&self.omar, "support", all_of_desk(self.world.now())).await;
        self.olivia.register(&self.omar, "support-bot", "support").await
    }

    /// Gives a person everything on `desk`.
    pub(crate) async fn grant(&self, person: &Person) {
        let grant = json!({
            "name": format!("{}-desk", person.handle), "holder": person.handle, "authority": all_of_desk(self.world.now()),
        });
        self.olivia.post_with(&self.omar, "/v1/grants", grant).await;
    }

    /// Opens a task of a person's and gives the token to hand over.
    pub(crate) async fn task(&self, person: &Person) -> Value {
        person.post("/v1/tasks", task()).await.ok()
    }

    /// A token of the agent's for `desk`, through a task of Olivia's.
    pub(crate) async fn token_on_behalf(&self, agent: &Agent) -> String {
        self.grant(&self.olivia).await;
        let task = self.task(&self.olivia).await;
        agent.on_behalf_of(task["token"].as_str().expect("a token"), "desk").await
    }
}

pub(crate) fn task() -> Value {
    json!({ "agent": "support-bot", "purpose": "support", "intent": "answer", "prompt": "please", "seconds": 600 })
}

pub(crate) fn all_of_desk(now: Timestamp) -> Value {
    authority(now, &["read", "list", "pay"], "desk/*/*", 3)
}

pub(crate) fn authority(now: Timestamp, verbs: &[&str], resources: &str, depth: u8) -> Value {
    let expires = now.plus_seconds(3600).millis();
    json!({ "clauses": [{ "verbs": verbs, "resources": resources, "expires": expires }], "depth": depth })
}

/// What the servers of this office show.
fn found(url: &str) -> Result<Vec<FoundTool>, String> {
    if url.contains("silent") {
        return Err("it does not answer".to_owned());
    }
    let definition = r#"{"name":"refund","inputSchema":{"type":"object","properties":{"order":{"type":"string"},"amount":{"type":"integer"}},"required":["order","amount"]}}"#;
    Ok(vec![FoundTool { name: "refund".to_owned(), definition: definition.to_owned() }])
}
