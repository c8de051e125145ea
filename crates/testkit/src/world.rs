//! A whole server in process: engine, ledger on disk, SQLite in memory, real listeners, people and agents with real keys.
//!
//! People and agents get everything through the real endpoints: assertions, proofs of possession, sessions, exchanges.
//! Only the first administrator is enrolled from inside, as the machine's own socket would.

mod agent;
mod http;
mod person;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::Router;
use decide::{Clock, Context, Engine, Issuer, Parts, Stops};
use govern::AddPerson;
use insight::Index;
use ledger::{CheckpointKey, Config, Keys, Log};
use model::{Realm, Timestamp, ijson::Json};
pub use server::Bounds;
use server::{Discover, Server};
use store::{Store, SubjectKeyBook, Target};
use tempfile::TempDir;
use token::{
    Algorithm, Keyring, MasterKey, SigningKey,
    dpop::{self, Nonces, Prover},
};
use tokio::net::TcpListener;

pub use agent::Agent;
pub use http::{Reply, Wire};
pub use person::Person;
pub use server::{Begun, Linked, Linking, NotLinked};

/// How long a nonce is good, in seconds.
const NONCE_SECONDS: u32 = 300;

/// Makes what links accounts, on the engine of the world.
pub type MakeLinking = Box<dyn FnOnce(&Arc<Engine>) -> Arc<dyn Linking> + Send>;

/// What a world is started with.
pub struct Options {
    /// Its time.
    pub clock: Clock,
    /// Asks upstream servers for their tools.
    pub discover: Discover,
    /// Links accounts at upstream servers; made when the engine is there.
    pub linking: Option<MakeLinking>,
}

impl Default for Options {
    /// The machine's clock, and no upstream servers.
    fn default() -> Self {
        let discover: Discover = Arc::new(|server, _| {
            Box::pin(async move { Err(format!("this world has no way to `{}`", server.url)) })
        });
        Self { clock: Clock::system(), discover, linking: None }
    }
}

/// A running server. Clones are the same one; its listeners end with the test's runtime.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    url: String,
    ops_url: String,
    gateway_url: String,
    gateway: Mutex<Option<TcpListener>>,
    wire: Wire,
    nonce: Mutex<Option<String>>,
    drawn: AtomicU64,
    dir: TempDir,
}

impl World {
    /// A world with nobody in it.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A world with nobody in it, started with these.
    pub async fn with(options: Options) -> Self {
        let dir = TempDir::new().expect("a folder for the world");
        let (public, url) = listen().await;
        let (ops, ops_url) = listen().await;
        let (gateway, gateway_url) = listen().await;
        let engine = engine(&dir, options.clock, &url, &gateway_url).await;
        let search = Index::new(
            engine.log().clone(),
            &dir.path().join("ledger"),
            &dir.path().join("search"),
        );
        let router = server::router(Server {
            engine: engine.clone(),
            discover: options.discover,
            linking: options.linking.map(|make| make(&engine)),
            dialable: Arc::new(|_| Ok(())),
            public_url: url.clone(),
            ledger_dir: dir.path().join("ledger"),
            witnessed: None,
            search: search.clone(),
        });
        serve(public, router, roomy());
        serve(ops, server::ops_router(engine.clone(), search, server::Anchors::default()), roomy());
        Self(Arc::new(Inner {
            engine,
            url,
            ops_url,
            gateway_url,
            gateway: Mutex::new(Some(gateway)),
            wire: Wire::new(),
            nonce: Mutex::new(None),
            drawn: AtomicU64::new(0),
            dir,
        }))
    }

    /// The engine inside, for what no endpoint shows.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    /// The origin of the public listener.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The origin of the operators' listener.
    pub fn ops_url(&self) -> &str {
        &self.0.ops_url
    }

    /// The origin of the gateway, behind which agents' tokens are for one system each.
    pub fn gateway_url(&self) -> &str {
        &self.0.gateway_url
    }

    /// Serves the gateway; once.
    ///
    /// # Panics
    /// There is one already.
    pub fn serve_gateway(&self, router: Router) {
        let listener = self.0.gateway.lock().unwrap_or_else(PoisonError::into_inner).take();
        serve(listener.expect("a world has one gateway"), router, roomy());
    }

    /// The folder of the world: `ledger`, `ledger-lock` and `stops` are in it.
    pub fn dir(&self) -> &std::path::Path {
        self.0.dir.path()
    }

    /// Sends requests as they are.
    pub fn wire(&self) -> &Wire {
        &self.0.wire
    }

    /// The moment.
    pub fn now(&self) -> Timestamp {
        self.0.engine.context().now()
    }

    /// Enrols the first administrator, as the machine's own socket does.
    ///
    /// # Panics
    /// There is a person already.
    pub async fn first_administrator(&self, handle: &str) -> Person {
        let key = SigningKey::generate(Algorithm::EdDSA).expect("a key");
        let person = AddPerson {
            id: self.engine().pseudonym(),
            handle: handle.parse().expect("a handle is a name"),
            display_name: handle.to_owned(),
            manager: None,
            teams: Vec::new(),
            key: key.public().to_jwk(),
        };
        let id = govern::enrol_first(self.engine(), person).await.expect("nobody is enrolled yet");
        Person::new(self.clone(), id, handle, key)
    }

    /// A proof of possession for one request, with this node's latest nonce.
    pub async fn prove(
        &self,
        prover: &Prover,
        method: &str,
        url: &str,
        access_token: Option<&str>,
    ) -> String {
        let nonce = self.nonce().await;
        let access_token = access_token.map(Into::into);
        let request = dpop::Request { method, url, access_token };
        prover.prove(&request, Some(&nonce), self.now(), &self.fresh()).expect("the key signs")
    }

    /// A nonce of this node.
    pub async fn nonce(&self) -> String {
        let known = self.0.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(nonce) = known {
            return nonce;
        }
        let reply = self.wire().send("GET", &format!("{}/oauth/jwks", self.url()), &[], "").await;
        let nonce = reply.header("dpop-nonce").expect("every answer brings a nonce").to_owned();
        *self.0.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.clone());
        nonce
    }

    /// A name that was not used before.
    pub fn fresh(&self) -> String {
        format!("n{}", self.0.drawn.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a form to the token endpoint with a proof.
    pub async fn token(&self, prover: &Prover, form: &[(&str, &str)]) -> Reply {
        let url = format!("{}/oauth/token", self.url());
        let proof = self.prove(prover, "POST", &url, None).await;
        let headers =
            [("content-type", "application/x-www-form-urlencoded"), ("dpop", proof.as_str())];
        self.wire().send("POST", &url, &headers, http::form(form)).await
    }

    /// Sends a form to the token endpoint without a proof.
    pub async fn token_unproved(&self, form: &[(&str, &str)]) -> Reply {
        let url = format!("{}/oauth/token", self.url());
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.wire().send("POST", &url, &headers, http::form(form)).await
    }
}

async fn engine(dir: &TempDir, clock: Clock, url: &str, gateway_url: &str) -> Arc<Engine> {
    let realm = Realm {
        org: "acme.example".parse().expect("a name"),
        environment: "test".parse().expect("a name"),
        node: 1,
    };
    let context = Context::new(realm.clone(), clock);
    let config = Config {
        dir: dir.path().join("ledger"),
        lock: dir.path().join("ledger-lock"),
        realm: realm.clone(),
        origin: realm.org.to_string(),
        segment_bytes: 2 * 1024 * 1024,
        reserve_bytes: 0,
    };
    let master = || MasterKey::generate().expect("a master key");
    let book = SubjectKeyBook::create(&dir.path().join("subject-keys.sqlite"), master());
    let keys = Keys {
        checkpoint: CheckpointKey::from_seed(&[1; 32]),
        subjects: Arc::new(book.expect("a new file")),
    };
    let signing = SigningKey::generate(Algorithm::EdDSA).expect("a key");
    let parts = Parts {
        issuer: Issuer {
            url: url.to_owned(),
            token_endpoint: format!("{url}/oauth/token"),
            admin_audience: format!("{url}/v1"),
            gateway_url: gateway_url.to_owned(),
            keys: Arc::new(Keyring::new(signing)).into(),
        },
        log: Log::open(config, keys).expect("an empty folder opens as a new log"),
        store: Store::open(&Target::Memory).await.expect("a database in memory"),
        stops: Stops::open(&dir.path().join("stops")).expect("an empty journal"),
        index_key: [3; 32],
        retention: decide::Retention::default(),
        nonces: Nonces::new(&master(), realm.node, context.random(), NONCE_SECONDS)
            .expect("a nonce key"),
        context,
    };
    Engine::start(parts).await.expect("an empty world starts")
}

/// Room for tests with a thousand clients.
fn roomy() -> Bounds {
    Bounds { connections: 4096, ..Bounds::default() }
}

/// A listener on a free port, and its origin.
async fn listen() -> (TcpListener, String) {
    let listener =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    (listener, format!("http://{address}"))
}

/// Serves a router at a place of its own, within these bounds; its origin.
pub async fn serve_within(router: Router, bounds: Bounds) -> String {
    let (listener, origin) = listen().await;
    serve(listener, router, bounds);
    origin
}

fn serve(listener: TcpListener, router: Router, bounds: Bounds) {
    tokio::spawn(server::serve(listener, router, bounds, std::future::pending()));
}

/// A JWK as JSON for a body.
fn jwk(key: &Json) -> serde_json::Value {
    key.to_value()
}
