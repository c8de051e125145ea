//! What a node is built from, opened from disk.

use std::sync::Arc;

use arc_swap::ArcSwap;
use decide::{Clock, Context, Engine, Issuer, Parts, Stops};
use ledger::Log;
use store::Store;
use token::{Keyring, dpop::Nonces};

use crate::{
    config::Config,
    failure::{Failure, Result},
    files,
    keys::Keys,
};

/// How long a nonce for proofs of possession is good, in seconds.
const NONCE_SECONDS: u32 = 300;

/// Where a node is reached.
pub(super) struct Urls {
    pub(super) server: String,
    pub(super) gateway: String,
}

/// Opens stop journal, ledger and store, and starts the engine on them.
pub(super) async fn start_engine(config: &Config, keys: Keys, urls: &Urls) -> Result<Arc<Engine>> {
    files::make_private_dir(&config.data)?;
    let stops = Stops::open(&config.data.join("stops")).map_err(|error| {
        Failure::new("stops_not_opened", "the stop journal cannot be opened").because(&error)
    })?;
    let context = Context::new(config.realm.clone(), Clock::system());
    let issuer = issuer(keys.token, urls);
    let ledger_keys = ledger::Keys { checkpoint: keys.checkpoint, payload: keys.payload };
    let log = open_log(config, ledger_keys)?;
    let store = Store::open(&config.database).await.map_err(|error| {
        Failure::new(
            "database_not_opened",
            format!("the database `{}` cannot be opened", config.database),
        )
        .because(&error)
    })?;
    // Drawing comes last, so that the generator has had time to wake.
    let nonces = Nonces::new(&keys.nonce, config.realm.node, context.random(), NONCE_SECONDS);
    let nonces = nonces.map_err(|error| {
        Failure::new("nonces_not_made", "nonces cannot be sealed").because(&error)
    })?;
    let parts = Parts { context, issuer, log, store, stops, index_key: keys.index, nonces };
    Engine::start(parts).await.map_err(|error| {
        Failure::new(
            "node_not_started",
            "the node does not start: it would not know what is in force",
        )
        .because(&error)
    })
}

fn open_log(config: &Config, keys: ledger::Keys) -> Result<Log> {
    let wish = ledger::Config {
        dir: config.ledger_dir(),
        lock: config.ledger_head.clone(),
        realm: config.realm.clone(),
        origin: config.origin(),
        segment_bytes: config.segment_bytes,
    };
    Log::open(wish, keys).map_err(|error| {
        Failure::new("ledger_not_opened", "the ledger cannot be opened").because(&error)
    })
}

fn issuer(key: token::SigningKey, urls: &Urls) -> Issuer {
    Issuer {
        url: urls.server.clone(),
        token_endpoint: format!("{}/oauth/token", urls.server),
        admin_audience: format!("{}/v1", urls.server),
        gateway_url: urls.gateway.clone(),
        keys: ArcSwap::from_pointee(Keyring::new(key)),
    }
}
