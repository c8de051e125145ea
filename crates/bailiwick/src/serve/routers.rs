//! Which paths each listener serves.

use std::sync::Arc;

use axum::Router;
use decide::{AccountRecord, Allowed, Engine, ServerRecord};
use futures_util::future::BoxFuture;
use gateway::{
    Broker, Gateway, LinkError, OwnSecrets, PROGRAM, UNSEPARATED, Upstreams,
    outbound::{Limits, Outbound, TargetError},
    upstream::ToolDefinition,
};
use govern::{FoundTool, LinkAccount};
use insight::Index;
use model::{IdentityId, Name};
use server::{Anchors, Begun, Discover, Linked, Linking, NotLinked, Server};
use token::MasterKey;

use super::parts::Urls;
use crate::{
    config::{Config, SecretRef},
    failure::chain,
};

/// One for each listener.
pub(super) struct Routers {
    pub(super) server: Router,
    pub(super) gateway: Router,
    pub(super) ops: Router,
    /// What the gateway reaches; programs among it end with the node.
    pub(super) upstreams: Arc<Upstreams>,
}

/// Builds all routers. Server and gateway do not know each other: what one needs of the other meets here.
pub(super) fn routers(
    engine: &Arc<Engine>,
    config: &Config,
    urls: &Urls,
    outbound: Outbound,
    broker_key: MasterKey,
    anchors: Anchors,
) -> Routers {
    let programs = config.programs.iter().map(|(name, it)| (name.to_string(), it.clone()));
    let broker = Broker::new(engine.clone(), outbound.clone(), own_secrets(config), broker_key);
    let upstreams = Upstreams::new(outbound, own_secrets(config)).with_broker(broker.clone());
    let upstreams = Arc::new(upstreams.with_programs(programs));
    let addresses: Vec<String> =
        config.programs.iter().map(|(name, program)| program.address(name.as_str())).collect();
    let search =
        Index::new(engine.log().clone(), &config.ledger_dir(), &config.data.join("search.sqlite"));
    search.keep_current();
    let server = Server {
        engine: engine.clone(),
        discover: discover(upstreams.clone()),
        linking: Some(Arc::new(Links { broker, upstreams: upstreams.clone() })),
        dialable: Arc::new(move |record| dialable(record, &addresses)),
        public_url: urls.server.clone(),
        ledger_dir: config.ledger_dir(),
        witnessed: anchors.witnessed.clone(),
        search: search.clone(),
    };
    Routers {
        server: server::router(server),
        gateway: gateway::router(Gateway::new(engine.clone(), upstreams.clone())),
        ops: server::ops_router(engine.clone(), search, anchors),
        upstreams,
    }
}

/// What no server's credential may be read from: the master key, and everything in the data folder.
fn own_secrets(config: &Config) -> OwnSecrets {
    let mut variables = vec!["BAILIWICK_".to_owned()];
    if let SecretRef::Environment(name) = &config.master_key.place {
        variables.push(name.clone());
    }
    OwnSecrets { files: config.own_files(), variables }
}

/// Asks a server which tools it has. A tool whose definition cannot be used is left out, and said so.
fn discover(upstreams: Arc<Upstreams>) -> Discover {
    Arc::new(move |record: ServerRecord, account: Option<Arc<AccountRecord>>| {
        let upstreams = upstreams.clone();
        Box::pin(async move {
            let name = &record.name;
            let listing = upstreams.discover(&record, account.as_deref()).await;
            let listing = listing.map_err(|error| chain(&error))?;
            for refused in &listing.refused {
                tracing::warn!(code = "BW-1605", server = %name, tool = ?refused.name, why = %refused.error, "a tool is left out");
            }
            listing.tools.iter().map(found).collect()
        })
    })
}

/// The gateway's broker, as the admin API knows it.
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
            let begun =
                self.broker.begin(allowed, &server).await.map_err(|why| not_linked(&why))?;
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
            let linked = self.broker.confirm(&person, &server, &code);
            let (allowed, account, sealed) = linked.map_err(|why| not_linked(&why))?;
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

fn not_linked(why: &LinkError) -> NotLinked {
    match why {
        LinkError::NotPersonal(_) => NotLinked::Invalid(chain(why)),
        LinkError::Discover(_) | LinkError::Seal(_) => NotLinked::Upstream(chain(why)),
        _ => NotLinked::Conflict(chain(why)),
    }
}

/// Whether a server's URL may be dialled, or names a program of this machine, in the words of whoever adds it.
fn dialable(record: &ServerRecord, programs: &[String]) -> Result<(), String> {
    let name = [PROGRAM, UNSEPARATED].iter().find_map(|scheme| record.url.strip_prefix(scheme));
    if let Some(name) = name {
        return runnable(record, name, programs);
    }
    let inside = "say `--internal` (`\"internal\": true` in the API) if it is meant to be reached";
    match Outbound::new(Limits::default()).target(&record.url, record.internal) {
        Ok(_) => Ok(()),
        Err(TargetError::Clear) => Err(format!(
            "`{}` would be spoken to in the clear; use `https`, or {inside}",
            record.name
        )),
        Err(TargetError::Inside { address, kind }) => {
            Err(format!("`{}` is at {address}, a {kind} address; {inside}", record.name))
        }
        Err(other) => Err(format!("the URL of `{}` cannot be used: {other}", record.name)),
    }
}

/// Whether a program is one that this machine's operator configured, under the address that says whether it is separated.
fn runnable(record: &ServerRecord, name: &str, programs: &[String]) -> Result<(), String> {
    if record.credential.is_some() || record.internal || record.oauth.is_some() {
        return Err(format!(
            "`{}` is a program: its secrets stand in [programs.{name}] of the node's configuration, and it has no address to be internal",
            record.name
        ));
    }
    match programs.iter().find(|address| address.split_once(':').is_some_and(|(_, it)| it == name))
    {
        Some(address) if *address == record.url => Ok(()),
        Some(address) => Err(format!(
            "the program `{name}` is `{address}` on this node: say so, that whoever approves it sees it"
        )),
        None => Err(format!(
            "no program `{name}` was configured when this node started; its operator adds [programs.{name}] and restarts it"
        )),
    }
}

fn found(tool: &ToolDefinition) -> Result<FoundTool, String> {
    let definition = String::from_utf8(tool.bytes().to_vec());
    let definition =
        definition.map_err(|_| format!("the definition of `{}` is not UTF-8", tool.name()))?;
    Ok(FoundTool { name: tool.name().to_owned(), definition })
}
