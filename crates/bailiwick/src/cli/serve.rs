use std::{future::Future, path::PathBuf};

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::ConfigArgs;
use crate::{
    config,
    failure::{Failure, Result, TELL_US},
    files,
    output::{self, Answer, fields},
    serve::{Addresses, Node},
};

/// Run a node.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one line of JSON with the addresses on stdout once the node is ready.
    #[arg(long)]
    print_addresses: bool,
    /// Write the same JSON into this file once the node is ready.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub(super) async fn run(self) -> Result<Answer> {
        let config = config::load(&self.config.config, &self.config.set)?;
        // Before anything is ready, so that a signal right after is not lost.
        let signalled = signalled()?;
        let mut node = Node::start(&config).await?;
        self.announce(&node.addresses)?;
        if let Some(notice) = &node.notice {
            output::talk(notice);
        }
        let failed = tokio::select! {
            () = signalled => None,
            failure = node.failed() => Some(failure),
        };
        if let Some(file) = &self.ready_file {
            // It says that the node is ready, which it is no longer.
            let _ = std::fs::remove_file(file);
        }
        let stopped = node.stop().await;
        match failed {
            Some(failure) => Err(failure),
            None => stopped.map(|()| Answer::new(Value::Null, "")),
        }
    }

    fn announce(&self, addresses: &Addresses) -> Result<()> {
        let line = serde_json::to_string(addresses).expect("addresses are texts");
        if let Some(file) = &self.ready_file {
            files::replace(file, format!("{line}\n").as_bytes())?;
        }
        if self.print_addresses {
            output::data(&line)?;
        }
        output::talk(&format!(
            "bailiwick {} is ready\n{}",
            env!("CARGO_PKG_VERSION"),
            fields([
                ("server", addresses.server.clone()),
                ("gateway", addresses.gateway.clone()),
                ("ops", addresses.ops.clone()),
            ])
        ));
        Ok(())
    }
}

/// Resolves at SIGTERM or SIGINT.
pub(super) fn signalled() -> Result<impl Future<Output = ()>> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::new("no_signals", "signals cannot be received").because(&error).next(TELL_US)
        })
    };
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
