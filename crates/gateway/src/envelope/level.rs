//! How much of servers' logs a client wants to read.

use model::ijson::Json;
use serde::Deserialize;

use super::{EnvelopeError, Message};

pub(crate) const META_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// How grave a log message is ([RFC 5424 §6.2.1](https://www.rfc-editor.org/rfc/rfc5424#section-6.2.1)), the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the RFC's own words")]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    /// The level as MCP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// What `logging/setLevel` asks for.
    ///
    /// # Errors
    /// It is none of the eight.
    pub fn wanted(message: &Message) -> Result<Self, EnvelopeError> {
        message.param("level").and_then(Self::of).ok_or(EnvelopeError::Level)
    }

    /// What a request of 2026-07-28 asks for in its `_meta`; `None` where it wants no logs.
    ///
    /// # Errors
    /// It is none of the eight.
    pub fn of_request(message: &Message) -> Result<Option<Self>, EnvelopeError> {
        let level = message.meta().and_then(|meta| meta.member(META_LEVEL));
        level.map(|level| Self::of(level).ok_or(EnvelopeError::Level)).transpose()
    }

    fn of(level: &Json) -> Option<Self> {
        serde_json::from_value(level.to_value()).ok()
    }
}

/// Which of a server's log messages a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// None: a request of 2026-07-28 that does not ask for any.
    Nothing,
    /// What the server chooses to say: a client of an older revision that has not said what it wants.
    All,
    /// Those of a level and the graver ones.
    From(Level),
}

impl Logs {
    /// The level that a server of 2026-07-28 is asked for.
    pub fn level(self) -> Option<Level> {
        match self {
            Self::Nothing => None,
            Self::All => Some(Level::Info),
            Self::From(level) => Some(level),
        }
    }

    /// Whether a notification is for this client: each that is no log message, and those that it wants.
    pub(crate) fn want(self, notification: &[u8]) -> bool {
        if !notification.windows(LOG.len()).any(|part| part == LOG.as_bytes()) {
            return true;
        }
        let Ok(Notification { method, level }) = serde_json::from_slice(notification) else {
            return self == Self::All;
        };
        match self {
            _ if method != LOG => true,
            Self::Nothing => false,
            Self::All => true,
            Self::From(wanted) => level.is_some_and(|Params { level }| level >= wanted),
        }
    }
}

const LOG: &str = "notifications/message";

#[derive(Deserialize)]
struct Notification {
    method: String,
    #[serde(default, rename = "params")]
    level: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    level: Level,
}
