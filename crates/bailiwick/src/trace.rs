//! Events for operators, on stderr: text at a terminal, JSON lines elsewhere.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Log {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts writing events; `RUST_LOG` chooses which, and warnings are the default.
pub(crate) fn start(log: Option<Log>) {
    let terminal = io::stderr().is_terminal();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.unwrap_or(if terminal { Log::Text } else { Log::Json }) {
        Log::Text => builder.with_ansi(terminal).init(),
        Log::Json => builder.json().init(),
    }
}
