//! What a node is built from, opened from disk.

use std::sync::Arc;

use arc_swap::ArcSwap;
use decide::{Clock, Context, Engine, Issuer, Parts, Stops};
use ledger::{Log, OpenError};
use store::{Store, SubjectKeyBook};
use token::{Keyring, MasterKey, dpop::Nonces};

use crate::{
    config::Config,
    failure::{Failure, Result, TELL_US},
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

/// Opens stop journal, ledger and store, and starts the engine on them; returns with it the key that is not its own.
pub(super) async fn start_engine(
    config: &Config,
    keys: Keys,
    subjects: SubjectKeyBook,
    urls: &Urls,
) -> Result<(Arc<Engine>, MasterKey)> {
    files::make_private_dir(&config.data)?;
    let stops = Stops::open(&config.data.join("stops")).map_err(|error| {
        Failure::new("stops_not_opened", "the stops in force are not known")
            .because(&error)
            .next("see that nobody else writes into the data folder; a damaged journal comes from a backup")
    })?;
    let context = Context::new(config.realm.clone(), Clock::system());
    let issuer = issuer(keys.token, urls);
    let ledger_keys = ledger::Keys { checkpoint: keys.checkpoint, subjects: Arc::new(subjects) };
    let log = open_log(config, ledger_keys)?;
    let store = Store::open(&config.database).await.map_err(|error| {
        Failure::new(
            "database_not_opened",
            format!("the database `{}` cannot be opened", config.database),
        )
        .because(match &error {
            store::OpenError::Database(error) => error, // the headline has said what it would add
            other => other,
        })
        .next("see that the database runs and that this user may use it; `data.database` says which it is")
    })?;
    // Drawing comes last, so that the generator has had time to wake.
    let nonces = Nonces::new(&keys.nonce, config.realm.node, context.random(), NONCE_SECONDS);
    let nonces = nonces.map_err(|error| {
        Failure::new("nonces_not_made", "nonces cannot be sealed").because(&error).next(TELL_US)
    })?;
    let (index_key, retention) = (keys.index, config.retention);
    let parts = Parts { context, issuer, log, store, stops, index_key, nonces, retention };
    let engine = Engine::start(parts).await.map_err(|error| {
        Failure::new(
            "node_not_started",
            "the node does not start: it would not know what is in force",
        )
        .because(&error)
        .next("see that the database answers and is the one that belongs to this ledger; `docs/operations.md` has what can fail")
    })?;
    Ok((engine, keys.broker))
}

fn open_log(config: &Config, keys: ledger::Keys) -> Result<Log> {
    let place = config.ledger_dir().display().to_string();
    Log::open(config.ledger(), keys).map_err(|error| {
        Failure::new("ledger_not_opened", format!("the ledger in `{place}` cannot be opened"))
            .because(&error)
            .next(match error {
                OpenError::Behind { .. } | OpenError::Restoring => {
                    "bring back the newest copy; where there is none, `bailiwick restore` records what is lost and goes on"
                }
                _ => "see that no other node uses this data folder, and that folder, keys and `ledger.head` belong together",
            })
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
