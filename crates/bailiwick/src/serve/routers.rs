//! Which paths each listener serves.

use std::sync::Arc;

use axum::Router;
use decide::{Engine, ServerRecord};
use gateway::{
    Gateway, OwnSecrets, Upstreams,
    outbound::{Limits, Outbound, TargetError},
    upstream::ToolDefinition,
};
use govern::FoundTool;
use server::{Discover, Server};

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
}

/// Builds all routers. Server and gateway do not know each other: what one needs of the other meets here.
pub(super) fn routers(engine: &Arc<Engine>, config: &Config, urls: &Urls) -> Routers {
    let upstreams = Arc::new(Upstreams::new(Outbound::new(Limits::default()), own_secrets(config)));
    let server = Server {
        engine: engine.clone(),
        discover: discover(upstreams.clone()),
        dialable: Arc::new(dialable),
        public_url: urls.server.clone(),
        ledger_dir: config.ledger_dir(),
    };
    Routers {
        server: server::router(server),
        gateway: gateway::router(Gateway::new(engine.clone(), upstreams)),
        ops: server::ops_router(engine.clone()),
    }
}

/// What no server's credential may be read from: the master key, and everything in the data folder.
fn own_secrets(config: &Config) -> OwnSecrets {
    let mut own = OwnSecrets {
        files: vec![config.data.clone(), config.ledger_head.clone()],
        variables: vec!["BAILIWICK_".to_owned()],
    };
    match &config.master_key {
        SecretRef::File(path) => own.files.push(path.clone()),
        SecretRef::Environment(name) => own.variables.push(name.clone()),
    }
    own
}

/// Asks a server which tools it has. A tool whose definition cannot be used is left out, and said so.
fn discover(upstreams: Arc<Upstreams>) -> Discover {
    Arc::new(move |record: ServerRecord| {
        let upstreams = upstreams.clone();
        Box::pin(async move {
            let ServerRecord { name, url, internal, credential, .. } = record;
            let listing = upstreams.discover(&url, internal, credential.as_deref()).await;
            let listing = listing.map_err(|error| chain(&error))?;
            for refused in &listing.refused {
                tracing::warn!(code = "BW-1605", server = %name, tool = ?refused.name, why = %refused.error, "a tool is left out");
            }
            listing.tools.iter().map(found).collect()
        })
    })
}

/// Whether a server's URL may be dialled, in the words of whoever adds it.
fn dialable(record: &ServerRecord) -> Result<(), String> {
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

fn found(tool: &ToolDefinition) -> Result<FoundTool, String> {
    let definition = String::from_utf8(tool.bytes().to_vec());
    let definition =
        definition.map_err(|_| format!("the definition of `{}` is not UTF-8", tool.name()))?;
    Ok(FoundTool { name: tool.name().to_owned(), definition })
}
