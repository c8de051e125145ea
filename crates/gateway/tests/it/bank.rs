//! A protected MCP server and its authorization server, on one origin: it proves codes and refresh tokens as it should,
//! keeps what it was shown, and misbehaves as told. Whoever opens its authorization page consents as `user`.

use std::{
    collections::{HashMap, HashSet},
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
use tokio::{net::TcpListener, sync::Semaphore};

/// What clients that register themselves prove themselves by.
const REGISTERED: &str = "registered-secret";

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
    /// What the client `gateway` proves itself by.
    pub(crate) secret: String,
    /// Scopes that nobody is given.
    pub(crate) denied: Vec<String>,
    /// The scope that `close` needs.
    pub(crate) needs: String,
    /// Whether people's tokens can be renewed.
    pub(crate) renewable: bool,
    /// Whether its answers say who it is.
    pub(crate) names_itself: bool,
    /// Whether its token endpoint is out of order.
    pub(crate) failing: bool,
    /// Where its token and revocation endpoints send whoever asks.
    pub(crate) moved: Option<String>,
    /// Where people had to come back to, in order.
    pub(crate) redirects: Vec<String>,
    /// How often its token endpoint was asked.
    pub(crate) tokens_asked: usize,
    /// One permit for each answer of the token endpoint, where it is slow: what was asked is done before it waits.
    slow: Option<Arc<Semaphore>>,
    /// How often a client registered itself.
    pub(crate) registered: usize,
    clients: HashSet<String>,
    codes: HashMap<String, Code>,
    pub(crate) access: HashMap<String, Holder>,
    refresh: HashMap<String, Holder>,
    drawn: usize,
}

struct Code {
    challenge: String,
    redirect: String,
    holder: Holder,
}

#[derive(Clone)]
pub(crate) struct Holder {
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
            secret: "s&cret".to_owned(),
            denied: Vec::new(),
            needs: "close".to_owned(),
            renewable: true,
            names_itself: true,
            failing: false,
            moved: None,
            redirects: Vec::new(),
            tokens_asked: 0,
            slow: None,
            registered: 0,
            clients: HashSet::from(["gateway".to_owned()]),
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

    /// Forgets every client that registered itself.
    pub(crate) fn forget_clients(&mut self) {
        self.clients.retain(|client| client == "gateway");
    }

    /// Lets the token endpoint answer only when it is told to, from now on. What it is asked is done all the same.
    pub(crate) fn slow_down(&mut self) -> Arc<Semaphore> {
        let slow = Arc::new(Semaphore::new(0));
        self.slow = Some(slow.clone());
        slow
    }

    /// Whether a token is good here.
    pub(crate) fn knows(&self, token: &str) -> bool {
        self.access.contains_key(token) || self.refresh.contains_key(token)
    }

    /// How many tokens that renew others are good.
    pub(crate) fn renewing(&self) -> usize {
        self.refresh.len()
    }

    /// Whether all of these scopes are given.
    fn gives(&self, scope: &str) -> bool {
        scope.split(' ').all(|scope| !self.denied.iter().any(|denied| denied == scope))
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
        if renewable && self.renewable {
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
        "authorization_response_iss_parameter_supported": bank.books().names_itself,
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
    }))
}

async fn register(State(bank): State<Bank>, Json(wish): Json<Value>) -> Response {
    let basic = wish["token_endpoint_auth_method"] == "client_secret_basic";
    let secret = basic.then_some(REGISTERED);
    let mut books = bank.books();
    let id = books.draw("registered");
    books.registered += 1;
    books.clients.insert(id.clone());
    let client =
        json!({ "client_id": id, "client_secret": secret, "redirect_uris": wish["redirect_uris"] });
    (StatusCode::CREATED, Json(client)).into_response()
}

async fn authorize(State(bank): State<Bank>, Query(form): Query<Form>) -> Response {
    assert_eq!(form["code_challenge_method"], "S256");
    assert_eq!(form["resource"], bank.mcp());
    let scope = form.get("scope").cloned().unwrap_or_default();
    let mut books = bank.books();
    books.asked.push(scope.clone());
    let issuer = bank.issuer().replace(':', "%3A").replace('/', "%2F");
    let issuer = if books.names_itself { format!("&iss={issuer}") } else { String::new() };
    books.redirects.push(form["redirect_uri"].clone());
    if !books.gives(&scope) {
        let location =
            format!("{}?error=invalid_scope&state={}{issuer}", form["redirect_uri"], form["state"]);
        return (StatusCode::FOUND, [(header::LOCATION, location)]).into_response();
    }
    let code = books.draw("code");
    let holder = Holder { user: books.user.clone(), scope };
    let redirect = form["redirect_uri"].clone();
    let challenge = form["code_challenge"].clone();
    books.codes.insert(code.clone(), Code { challenge, redirect: redirect.clone(), holder });
    let location = format!("{redirect}?code={code}&state={}{issuer}", form["state"]);
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

async fn token(State(bank): State<Bank>, headers: HeaderMap, body: String) -> Response {
    let answer = answered(&bank, &headers, &pairs(&body));
    let slow = bank.books().slow.clone();
    if let Some(slow) = slow {
        slow.acquire().await.unwrap().forget();
    }
    answer
}

/// Does what a request wants, and says so.
fn answered(bank: &Bank, headers: &HeaderMap, form: &Form) -> Response {
    let mut books = bank.books();
    books.tokens_asked += 1;
    if let Some(moved) = &books.moved {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, moved.clone())])
            .into_response();
    }
    if books.failing {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let refused =
        |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
    let known = match (shown, form.get("client_id")) {
        (Some(shown), _) => books.clients.iter().any(|id| {
            let secret = if id == "gateway" { &books.secret } else { REGISTERED };
            shown == basic(id, secret)
        }),
        (None, Some(id)) => books.clients.contains(id),
        (None, None) => false,
    };
    if !known {
        return refused("invalid_client");
    }
    let resource = form.get("resource").cloned();
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
            let scope = form.get("scope").cloned().unwrap_or_default();
            books.asked.push(scope.clone());
            if !books.gives(&scope) {
                return refused("invalid_scope");
            }
            Some(books.issue(Holder { user: "gateway".to_owned(), scope }, false))
        }
        other => unreachable!("nobody asks for `{other}`"),
    };
    answer.map_or_else(|| refused("invalid_grant"), |answer| Json(answer).into_response())
}

async fn revoke(State(bank): State<Bank>, body: String) -> Response {
    let form = pairs(&body);
    let mut books = bank.books();
    if let Some(moved) = &books.moved {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, moved.clone())])
            .into_response();
    }
    books.refresh.remove(&form["token"]);
    books.revoked.push(form["token"].clone());
    StatusCode::OK.into_response()
}

/// `whoami` says whose account a call is made with; `close` needs a scope of its own.
async fn mcp(State(bank): State<Bank>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let mut books = bank.books();
    books.shown.extend(shown.clone());
    let books = &*books;
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
        _ if asked["params"]["name"] == "close" && !holder.scope.contains(&books.needs) => {
            let needs = &books.needs;
            let challenge =
                format!(r#"Bearer error="insufficient_scope", scope="{needs}", {metadata}"#);
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
