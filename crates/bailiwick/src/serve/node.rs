//! Listeners, and their end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use decide::Engine;
use gateway::{
    Upstreams,
    outbound::{Limits, Outbound},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use server::{Anchors, Bounds};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    parts::{self, Urls},
    stamping::Stamping,
    witnesses::Witnesses,
};
use crate::{
    config::{self, Config, Listen},
    enroll::Door,
    failure::{Failure, Result, TELL_US},
    keys,
};

/// How long live requests may take to end once the node stops; then their connections are closed.
const GRACE: Duration = Duration::from_secs(5);

/// A running node. Dropped without [`Node::stop`] it ends without waiting for live requests.
pub(crate) struct Node {
    pub(crate) engine: Arc<Engine>,
    pub(crate) addresses: Addresses,
    /// What the terminal shows while nobody is enrolled.
    pub(crate) notice: Option<String>,
    upstreams: Arc<Upstreams>,
    stopping: CancellationToken,
    listeners: JoinSet<()>,
    /// What nobody waits for: it has no part in whether the node is up.
    aside: JoinSet<()>,
}

/// Where a running node is reached.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Addresses {
    /// The public URL of token endpoint and admin API.
    pub(crate) server: String,
    /// The public URL of the gateway.
    pub(crate) gateway: String,
    /// The URL of health and metrics.
    pub(crate) ops: String,
    /// Where the first administrator is enrolled, while there is none.
    pub(crate) enroll_socket: Option<String>,
}

impl Node {
    /// Starts a node. When it returns, the node is ready and every listener accepts.
    pub(crate) async fn start(config: &Config) -> Result<Self> {
        config::check_programs(&config.programs, &config.own_files())?;
        let descriptors = descriptors();
        // Keys first: without them nothing listens.
        let master = keys::master(&config.master_key, &config.keys_dir())?;
        let keys = keys::load(&master, &config.keys_dir())?;
        let subjects = keys::subjects(&config.subject_keys, master)?;
        let server = bind("server", &config.server.address).await?;
        let gateway = bind("gateway", &config.gateway.address).await?;
        let ops = bind("ops", &config.ops).await?;
        let urls = Urls {
            server: url(&config.server, &server)?,
            gateway: url(&config.gateway, &gateway)?,
        };
        let ops_url = format!("http://{}", local(&ops)?);
        let (engine, broker_key) = parts::start_engine(config, keys, subjects, &urls).await?;
        let socket = config.data.join("enroll.sock");
        let door = Door::open(&engine, &socket, &urls.server).await?;
        let addresses = Addresses {
            server: urls.server.clone(),
            gateway: urls.gateway.clone(),
            ops: ops_url,
            enroll_socket: door.as_ref().map(|_| socket.display().to_string()),
        };
        let outbound = Outbound::new(Limits { at_once: descriptors / 4, ..Limits::default() });
        let witnesses = Witnesses::of(config, engine.log())?;
        let stamping = Stamping::of(config, engine.log())?;
        let anchors = Anchors {
            witnessed: witnesses.as_ref().map(|witnesses| witnesses.state.clone()),
            stamped: stamping.as_ref().map(|stamping| stamping.entries.clone()),
        };
        let routers =
            super::routers::routers(&engine, config, &urls, outbound, broker_key, anchors);
        let mut node = Self {
            notice: door.as_ref().map(Door::notice),
            engine: engine.clone(),
            addresses,
            upstreams: routers.upstreams,
            stopping: CancellationToken::new(),
            listeners: JoinSet::new(),
            aside: JoinSet::new(),
        };
        // Whatever clients of one listener do, and servers behind the gateway, the others and the ledger have descriptors left.
        node.listen(server, routers.server, descriptors / 8);
        node.listen(gateway, routers.gateway, descriptors / 8 * 3);
        node.listen(ops, routers.ops, descriptors / 16);
        if let Some(witnesses) = witnesses {
            let stopping = node.stopping.clone();
            node.aside.spawn(witnesses.run(stopping));
        }
        if let Some(stamping) = stamping {
            let stopping = node.stopping.clone();
            node.aside.spawn(stamping.run(stopping));
        }
        if let Some(door) = door {
            let stopping = node.stopping.clone();
            node.listeners.spawn(door.keep(engine, stopping));
        }
        Ok(node)
    }

    /// Waits until a listener fails, which none ever should.
    pub(crate) async fn failed(&mut self) -> Failure {
        loop {
            match self.listeners.join_next().await {
                Some(Err(panicked)) => {
                    return Failure::new("listener_failed", "a listener ended")
                        .because(&panicked)
                        .next(TELL_US);
                }
                // The enrolment socket ends in order.
                Some(Ok(())) => {}
                None => {
                    return Failure::new("listener_failed", "no listener is left")
                        .why("each of them has ended, though nobody asked them to")
                        .next(TELL_US);
                }
            }
        }
    }

    /// Ends live requests and programs, then publishes and closes the ledger.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stopping.cancel();
        let ended = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!(
                code = "BW-1604",
                "requests were still live after the grace period and are cut"
            );
            self.listeners.shutdown().await;
        }
        self.aside.shutdown().await;
        self.upstreams.close().await;
        let log = self.engine.log().clone();
        let closed = tokio::task::spawn_blocking(move || log.close()).await;
        let unclosed = |error: &dyn std::error::Error| {
            Failure::new("ledger_not_closed", "the ledger did not close in order")
                .because(error)
                .next("look for a full or failing disk, then start the node again: it repairs what it can")
        };
        match closed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unclosed(&error)),
            Err(error) => Err(unclosed(&error)),
        }
    }

    fn listen(&mut self, listener: TcpListener, router: Router, connections: usize) {
        let stopping = self.stopping.clone().cancelled_owned();
        let bounds = Bounds { connections, ..Bounds::default() };
        self.listeners.spawn(server::serve(listener, router, bounds, stopping));
    }
}

/// How many file descriptors this process may have, once it has taken all that it was left.
fn descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, what it has is what counts.
    let _ = setrlimit(Resource::Nofile, limit);
    let now = getrlimit(Resource::Nofile).current;
    now.map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(usize::MAX))
}

/// Binds the listener of one section of the configuration.
async fn bind(section: &str, address: &SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("`{address}` cannot be listened on, the address of `{section}.listen`");
        Failure::new("address_not_bound", what).because(&error).next(format!(
            "stop whatever listens there (another node, perhaps), or set another `listen` below [{section}]"
        ))
    })
}

fn local(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| {
        Failure::new("address_not_bound", "a listener has no address").because(&error).next(TELL_US)
    })
}

fn url(listen: &Listen, listener: &TcpListener) -> Result<String> {
    Ok(listen.url(local(listener)?))
}
