use model::{Digest, IdentityId};
use serde_json::{Value, json};
use token::{
    Algorithm, SigningKey,
    approval::{self, Approval, Verdict},
    assertion,
    dpop::Prover,
};
use tokio::sync::Mutex;

use super::{Agent, Reply, World, http::recorded, jwk};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Somebody with a key of their own, who signs in when they first need to.
pub struct Person {
    world: World,
    /// Their pseudonym.
    pub id: IdentityId,
    /// What people type.
    pub handle: String,
    /// Their key.
    pub prover: Prover,
    session: Mutex<Option<String>>,
}

impl Person {
    pub(super) fn new(world: World, id: IdentityId, handle: &str, key: SigningKey) -> Self {
        Self {
            world,
            id,
            handle: handle.to_owned(),
            prover: Prover::new(key),
            session: Mutex::new(None),
        }
    }

    /// Their URI.
    pub fn uri(&self) -> String {
        self.world.engine().context().realm.uri(&self.id)
    }

    /// A fresh signed assertion.
    pub fn assertion(&self) -> String {
        let uri = self.uri();
        let draft = assertion::Draft {
            client: &uri,
            audience: &self.world.engine().issuer().url,
            now: self.world.now(),
            life_seconds: 60,
            jti: &self.world.fresh(),
            version: None,
        };
        assertion::create(self.prover.key(), &draft).expect("the key signs")
    }

    /// Their session's access token.
    pub async fn session(&self) -> String {
        let mut session = self.session.lock().await;
        if let Some(token) = &*session {
            return token.clone();
        }
        let opened = recorded(async || {
            let form = [("grant_type", JWT_BEARER), ("assertion", &self.assertion())];
            self.world.token(&self.prover, &form).await
        });
        let token = opened.await.ok();
        let token = token["access_token"].as_str().expect("a token").to_owned();
        *session = Some(token.clone());
        token
    }

    /// Signs out: the next call opens another session.
    pub async fn sign_out(&self) {
        *self.session.lock().await = None;
    }

    /// Calls the admin API in their own session. `Null` sends no body.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        let token = self.session().await;
        let url = format!("{}{path}", self.world.url());
        let bare = url.split('?').next().unwrap_or_default();
        let authorization = format!("DPoP {token}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        recorded(async || {
            let proof = self.world.prove(&self.prover, method, bare, Some(&token)).await;
            let mut headers =
                vec![("authorization", authorization.as_str()), ("dpop", proof.as_str())];
            if !body.is_empty() {
                headers.push(("content-type", "application/json"));
            }
            self.world.wire().send(method, &url, &headers, body.clone()).await
        })
        .await
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &Value::Null).await
    }

    /// `POST`
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, &body).await
    }

    /// Does something that a second person has to approve first, where one has to.
    ///
    /// # Panics
    /// It is refused even so.
    pub async fn post_with(&self, second: &Self, path: &str, body: Value) -> Value {
        self.call_with(second, "POST", path, &body).await
    }

    /// As [`Person::post_with`], with another method.
    ///
    /// # Panics
    /// It is refused even so.
    pub async fn call_with(&self, second: &Self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.call(method, path, body).await;
        if reply.code() != "held" {
            return reply.ok();
        }
        let approval =
            reply.json()["approval"].as_str().expect("a held act names its approval").to_owned();
        second.answer(&approval, true).await.ok();
        self.call(method, path, body).await.ok()
    }

    /// Answers a request for approval, signed with their own key.
    pub async fn answer(&self, approval: &str, yes: bool) -> Reply {
        let request = self.get(&format!("/v1/approvals/{approval}")).await;
        if request.status != 200 {
            return request;
        }
        let proof = self.signed_answer(&request.json(), yes);
        self.post(&format!("/v1/approvals/{approval}/answer"), json!({ "proof": proof })).await
    }

    /// The signature over an answer to a request as it was shown.
    pub fn signed_answer(&self, request: &Value, yes: bool) -> String {
        let text = |name: &str| request[name].as_str().expect("the request has it");
        let now = self.world.now();
        let statement = Approval {
            reason: None,
            iss: self.uri(),
            aud: text("issuer").to_owned(),
            approval: text("id").parse().expect("an id"),
            digest: text("binding").parse().expect("a digest"),
            nonce: text("nonce").to_owned(),
            verdict: if yes { Verdict::Approve } else { Verdict::Deny },
            iat: now,
            exp: now.plus_seconds(60),
        };
        approval::create(self.prover.key(), &statement).expect("the key signs")
    }

    /// Enrols another person.
    ///
    /// # Panics
    /// It is refused.
    pub async fn enrol(&self, second: &Self, handle: &str, teams: &[&str]) -> Self {
        let key = SigningKey::generate(Algorithm::EdDSA).expect("a key");
        let body = json!({
            "handle": handle, "display_name": handle, "teams": teams, "key": jwk(&key.public().to_jwk()),
        });
        let made = self.post_with(second, "/v1/persons", body).await;
        let id = made["id"].as_str().and_then(|id| id.parse().ok()).expect("an identity");
        Self::new(self.world.clone(), id, handle, key)
    }

    /// Adds a blueprint that they own.
    ///
    /// # Panics
    /// It is refused.
    pub async fn blueprint(&self, second: &Self, name: &str, authority: Value) {
        let body = json!({
            "name": name, "purpose": "tests", "owner": self.handle, "authority": authority, "token_ttl_seconds": 300,
        });
        self.post_with(second, "/v1/blueprints", body).await;
    }

    /// Registers an agent that they own.
    ///
    /// # Panics
    /// It is refused.
    pub async fn register(&self, second: &Self, name: &str, blueprint: &str) -> Agent {
        let key = SigningKey::generate(Algorithm::EdDSA).expect("a key");
        let part = Digest([7; 32]);
        let body = json!({
            "name": name, "blueprint": blueprint, "owner": self.handle, "purpose": "tests",
            "version": { "model": "model-1", "prompt": part, "tools": part, "image": part },
            "key": jwk(&key.public().to_jwk()),
        });
        let made = self.post_with(second, "/v1/agents", body).await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let id = text(&made["id"]).parse().expect("an identity");
        let version = text(&made["version"]["digest"]).parse().expect("a digest");
        Agent::new(self.world.clone(), id, version, key)
    }
}
