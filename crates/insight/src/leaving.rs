//! How entries look to other systems: pure functions of a leaf, each pinned by tests. They carry leaves, so pseudonyms and digests;
//! nothing of a payload.
//!
//! Whatever the shape, an event says three things of its entry: the leaf hash, by which two copies are known to be one, its
//! position, by which a gap shows, and the name of the log.

mod hec;
mod ocsf;
mod otlp;
mod syslog;
#[cfg(test)]
mod tests;

use ledger::{Entry, Leaf};
use model::ijson::Json;
use serde_json::{Value, json};

pub use ocsf::OcsfVersion;
pub use otlp::{OtlpCall, logs, spans};

/// An entry on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// The name of its log, as checkpoints say it.
    pub origin: &'a str,
}

/// What an event says, for sinks that take any JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The leaf as it is.
    Leaf,
    /// An event of the Open Cybersecurity Schema Framework.
    Ocsf(OcsfVersion),
}

/// How much an entry matters to whoever watches; each shape has a number of its own for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Informational,
    Low,
    Medium,
    High,
}

impl Event<'_> {
    /// The event in a shape.
    pub fn shaped(&self, shape: Shape) -> Value {
        match shape {
            Shape::Leaf => self.leaf(),
            Shape::Ocsf(version) => self.ocsf(version),
        }
    }

    /// The event as a line of JSON, with its line feed.
    pub fn line(&self, shape: Shape) -> Vec<u8> {
        let mut line = self.shaped(shape).to_string().into_bytes();
        line.push(b'\n');
        line
    }

    /// The leaf, with what it does not say of itself.
    fn leaf(&self) -> Value {
        let Entry { index, hash, bytes, .. } = self.entry;
        let leaf: Value = serde_json::from_slice(bytes).unwrap_or_default();
        json!({ "hash": hash.to_string(), "index": index, "leaf": leaf, "origin": self.origin })
    }

    /// The leaf's bytes as text: the SHA-256 over a zero byte and them is the leaf hash.
    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.entry.bytes).into_owned()
    }
}

impl Severity {
    fn of(leaf: &Leaf) -> Self {
        match (leaf.kind.as_str(), leaf.verdict.as_deref(), text(leaf, "status")) {
            ("stop" | "gap" | "sink_gap" | "truncated", _, _) => Self::High,
            ("parked" | "erasure" | "stop_final" | "checkpoint_key", _, _) => Self::Medium,
            ("lapsed" | "revoked", _, _)
            | ("decision", Some("deny" | "hold" | "step_up"), _)
            | ("outcome", _, Some("failed" | "cut" | "unknown")) => Self::Low,
            _ => Self::Informational,
        }
    }
}

/// A member of a leaf's body that is a text.
fn text<'l>(leaf: &'l Leaf, member: &str) -> Option<&'l str> {
    leaf.body.member(member).and_then(Json::as_str)
}

/// The method of MCP that an entry of a call is about, and its tool where it names one.
fn method(leaf: &Leaf) -> (&str, Option<&str>) {
    match text(leaf, "tool") {
        Some(tool) => match tool.strip_prefix(decide::METHOD) {
            Some(method) => (method, None),
            None => ("tools/call", Some(tool)),
        },
        None => ("tools/call", None),
    }
}

/// Whether an entry is about Bailiwick itself and no server behind it.
fn is_own(leaf: &Leaf) -> bool {
    text(leaf, "system") == Some(OWN_SYSTEM)
}

/// The system that acts of governance are decided on.
const OWN_SYSTEM: &str = "bailiwick";
