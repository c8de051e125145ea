//! A protected MCP server and its authorization server, on one origin: it proves codes and refresh tokens as it should,
//! keeps what it was shown, and misbehaves as told. Whoever opens its authorization page consents as `user`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Form = HashMap<String, String>;

/// The bank. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Bank(Arc<Inner>);

struct Inner {
    url: String,
    books: Mutex<Books>,
}

/// What the bank knows, and how it behaves.
pub(crate) struct Books {
    /// Who sits at the browser.
    pub(crate) user: String,
    /// How long its access tokens live, in seconds.
    pub(crate) life: u32,
    /// What every request to the MCP server was shown as its authorization.
    pub(crate) shown: Vec<String>,
    /// Tokens that were given back.
    pub(crate) revoked: Vec<String>,
    /// The scopes that people were asked for, in order.
    pub(crate) asked: Vec<String>,
    /// How often a refresh token was presented.
    pub(crate) refreshed: usize,
    codes: HashMap<String, Code>,
    access: HashMap<String, Holder>,
    refresh: HashMap<String, Holder>,
    drawn: usize,
}

struct Code {
    challenge: String,
    redirect: String,
    holder: Holder,
}

#[derive(Clone)]
struct Holder {
    user: String,
    scope: String,
}

impl Bank {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let books = Books {
            user: "nobody".to_owned(),
            life: 3_600,
            shown: Vec::new(),
            revoked: Vec::new(),
            asked: Vec::new(),
            refreshed: 0,
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            drawn: 0,
        };
        let bank = Self(Arc::new(Inner { url, books: Mutex::new(books) }));
        let router = Router::new()
            .route("/.well-known/oauth-protected-resource/mcp", get(resource))
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/register", post(register))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/revoke", post(revoke))
            .route("/mcp", post(mcp))
            .with_state(bank.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        bank
    }

    /// Its MCP endpoint.
    pub(crate) fn mcp(&self) -> String {
        format!("{}/mcp", self.0.url)
    }

    /// Its authorization server.
    pub(crate) fn issuer(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap()
    }
}

impl Books {
    /// Takes back everything that it ever gave.
    pub(crate) fn forget_everybody(&mut self) {
        self.access.clear();
        self.refresh.clear();
    }

    /// Takes back the access tokens alone.
    pub(crate) fn forget_access(&mut self) {
        self.access.clear();
    }

    fn draw(&mut self, what: &str) -> String {
        self.drawn += 1;
        format!("{what}-{}", self.drawn)
    }

    fn issue(&mut self, holder: Holder, renewable: bool) -> Value {
        let access = self.draw("access");
        self.access.insert(access.clone(), holder.clone());
        let mut answer = json!({
            "access_token": access, "token_type": "bearer", "expires_in": self.life, "scope": holder.scope,
        });
        if renewable {
            let refresh = self.draw("refresh");
            self.refresh.insert(refresh.clone(), holder);
            answer["refresh_token"] = refresh.into();
        }
        answer
    }
}

async fn resource(State(bank): State<Bank>) -> Json<Value> {
    Json(json!({ "resource": bank.mcp(), "authorization_servers": [bank.issuer()] }))
}

async fn metadata(State(bank): State<Bank>) -> Json<Value> {
    let url = bank.issuer();
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "registration_endpoint": format!("{url}/register"),
        "revocation_endpoint": format!("{url}/revoke"),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
    }))
}

async fn register(Json(wish): Json<Value>) -> Response {
    let basic = wish["token_endpoint_auth_method"] == "client_secret_basic";
    let secret = basic.then_some("registered-secret");
    let client = json!({ "client_id": "registered", "client_secret": secret, "redirect_uris": wish["redirect_uris"] });
    (StatusCode::CREATED, Json(client)).into_response()
}

async fn authorize(State(bank): State<Bank>, Query(form): Query<Form>) -> Response {
    assert_eq!(form["code_challenge_method"], "S256");
    assert_eq!(form["resource"], bank.mcp());
    let scope = form.get("scope").cloned().unwrap_or_default();
    let mut books = bank.books();
    books.asked.push(scope.clone());
    let code = books.draw("code");
    let holder = Holder { user: books.user.clone(), scope };
    let redirect = form["redirect_uri"].clone();
    let challenge = form["code_challenge"].clone();
    books.codes.insert(code.clone(), Code { challenge, redirect: redirect.clone(), holder });
    let issuer = bank.issuer().replace(':', "%3A").replace('/', "%2F");
    let location = format!("{redirect}?code={code}&state={}&iss={issuer}", form["state"]);
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

async fn token(State(bank): State<Bank>, headers: HeaderMap, body: String) -> Response {
    let form = pairs(&body);
    let resource = form.get("resource").cloned();
    let mut books = bank.books();
    let answer = match form["grant_type"].as_str() {
        "authorization_code" => {
            assert_eq!(resource, Some(bank.mcp()));
            let code = books.codes.remove(&form["code"]);
            let proof = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
            let code = code
                .filter(|code| code.challenge == proof && code.redirect == form["redirect_uri"]);
            code.map(|code| books.issue(code.holder, true))
        }
        "refresh_token" => {
            books.refreshed += 1;
            // It is good once.
            let holder = books.refresh.remove(&form["refresh_token"]);
            holder.map(|holder| books.issue(holder, true))
        }
        "client_credentials" => {
            assert_eq!(headers[header::AUTHORIZATION], basic("gateway", "s&cret"));
            let scope = form.get("scope").cloned().unwrap_or_default();
            books.asked.push(scope.clone());
            Some(books.issue(Holder { user: "gateway".to_owned(), scope }, false))
        }
        other => unreachable!("nobody asks for `{other}`"),
    };
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => {
            let refused = Json(json!({ "error": "invalid_grant" }));
            (StatusCode::BAD_REQUEST, refused).into_response()
        }
    }
}

async fn revoke(State(bank): State<Bank>, body: String) -> StatusCode {
    let form = pairs(&body);
    let mut books = bank.books();
    books.refresh.remove(&form["token"]);
    books.revoked.push(form["token"].clone());
    StatusCode::OK
}

/// `whoami` says whose account a call is made with; `close` needs the scope `close`.
async fn mcp(State(bank): State<Bank>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let mut books = bank.books();
    books.shown.extend(shown.clone());
    let token = shown.as_deref().and_then(|shown| shown.strip_prefix("Bearer "));
    let metadata = format!(
        r#"resource_metadata="{}/.well-known/oauth-protected-resource/mcp""#,
        bank.issuer()
    );
    let Some(holder) = token.and_then(|token| books.access.get(token)) else {
        let challenge = format!(r#"Bearer scope="look", {metadata}"#);
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    };
    let result = match asked["method"].as_str().unwrap() {
        "server/discover" => json!({ "supportedVersions": ["2026-07-28"], "capabilities": {} }),
        "tools/list" => json!({ "tools": [tool("whoami"), tool("close")] }),
        _ if asked["params"]["name"] == "close" && !holder.scope.contains("close") => {
            let challenge =
                format!(r#"Bearer error="insufficient_scope", scope="close", {metadata}"#);
            return (StatusCode::FORBIDDEN, [(header::WWW_AUTHENTICATE, challenge)])
                .into_response();
        }
        _ => json!({ "content": [{ "type": "text", "text": format!("you are {}", holder.user) }] }),
    };
    Json(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result })).into_response()
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

fn basic(id: &str, secret: &str) -> String {
    let secret = secret.replace('&', "%26");
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn pairs(body: &str) -> Form {
    let plain = |text: &str| {
        text.replace("%3A", ":").replace("%2F", "/").replace("%20", " ").replace("%26", "&")
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        (plain(name), plain(value))
    };
    body.split('&').map(pair).collect()
}
