//! Leaf v1: the one form of an entry that is hashed, signed for and shown to strangers.

use std::io::Write as _;

use model::{
    ActionId, ApprovalId, Digest, EntryId, Id, IdentityId, LinkId, Name, Realm, TaskId, Timestamp,
    ijson::{Canonical, Json},
};
use serde::{Deserialize, Serialize};

use crate::keys::{ORGANIZATION, PayloadClass, SealedFor};

#[cfg(test)]
mod tests;

/// The longest leaf, in bytes: what the length field of an entry bundle can say.
pub const MAX_LEAF: usize = 65_535;
/// The longest kind or verdict, in bytes.
const MAX_WORD: usize = 64;
/// The deepest nesting of a leaf's body.
const MAX_BODY_DEPTH: u8 = 16;
/// The largest whole number that every JSON reader keeps exact.
const MAX_EXACT: i64 = 1 << 53;

/// One entry of the log: UTF-8 JSON in the form of [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785), at most
/// [`MAX_LEAF`] bytes. Members stand in the order below, which is the sorted one; what is `None` is left out.
///
/// It holds pseudonyms, enums, digests and numbers only. What a person said or what a tool answered is payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// The attempt that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionId>,
    /// Who acted, down to the version and the running copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentMark>,
    /// The approval that it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// When.
    pub at: Timestamp,
    /// What else this kind of entry says; always an object.
    pub body: Json,
    /// The delegation edges it was done under, the person's first.
    pub chain: Vec<LinkId>,
    /// The environment.
    pub environment: Name,
    /// The entry's own id.
    pub id: EntryId,
    /// What kind of entry it is, for example `decision`.
    pub kind: String,
    /// The node that wrote it.
    pub node: u16,
    /// The organization.
    pub org: Name,
    /// Leaf hashes of the entries it follows from.
    pub parents: Vec<Digest>,
    /// The sealed payload that belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadMark>,
    /// The person at the root of the chain, by pseudonym.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<IdentityId>,
    /// The task that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The version of this form: 1.
    pub v: u8,
    /// How it was decided, for example `permit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

/// Who acted: an agent, its running copy, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentMark {
    /// Its name.
    pub id: IdentityId,
    /// The thumbprint of the running copy's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The digest of its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Digest>,
}

/// What a leaf says of its payload, which lies sealed outside the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadMark {
    /// SHA-256 of the sealed bytes.
    pub ciphertext: Digest,
    /// SHA-256 over `payload/v1`, a salt that is sealed with the payload, and the payload.
    pub commit: Digest,
    /// The name of its subject's key, which tells nothing of the subject.
    pub key: String,
    /// How long the payload is before sealing, in bytes.
    pub size: u32,
}

/// A leaf to be: what the log does not know by itself. The payload is in the clear, so a draft cannot be printed.
pub struct Draft {
    /// The attempt that this is about.
    pub action: Option<ActionId>,
    /// Who acted.
    pub agent: Option<AgentMark>,
    /// The approval that it used.
    pub approval: Option<ApprovalId>,
    /// When.
    pub at: Timestamp,
    /// What else this kind of entry says; an object.
    pub body: Canonical,
    /// The delegation edges it was done under, the person's first.
    pub chain: Vec<LinkId>,
    /// The entry's own id.
    pub id: EntryId,
    /// What kind of entry it is: lower-case letters, digits, `_`, `-` and `.`, at most 64 bytes.
    pub kind: String,
    /// Leaf hashes of the entries it follows from.
    pub parents: Vec<Digest>,
    /// What is to be sealed beside the leaf, at most [`crate::MAX_PAYLOAD`] bytes.
    pub payload: Option<Vec<u8>>,
    /// The person at the root of the chain, by pseudonym.
    pub person: Option<IdentityId>,
    /// Under whose key the payload is sealed, where that is not the person or else the agent above.
    pub subject: Option<String>,
    /// The task that it belongs to.
    pub task: Option<TaskId>,
    /// How it was decided; the same form as `kind`.
    pub verdict: Option<String>,
    /// How long the payload is worth keeping is a question of this.
    pub class: PayloadClass,
}

/// Why a leaf cannot be written, or bytes are not a leaf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Longer than a bundle can hold.
    #[error("a leaf of {0} bytes; at most 65,535 fit, so put what is long into the payload")]
    TooLong(usize),
    /// A kind or verdict that is not a word.
    #[error(
        "`{0}` is no word: 1 to 64 lower-case letters, digits, `_`, `-` and `.` name a kind or verdict"
    )]
    Word(String),
    /// A body that is no object, is too deep or holds what JSON readers understand differently.
    #[error(
        "the body is not an object of I-JSON with sorted members, at most 16 deep, with exact numbers"
    )]
    Body,
    /// A moment that JSON readers would round.
    #[error("the moment {0} is beyond 2^53 milliseconds")]
    Moment(i64),
    /// Another version of the form.
    #[error("version {0} of the leaf is not known; this program reads version 1")]
    Version(u8),
    /// Not JSON of this form.
    #[error("not a leaf: {0}")]
    Malformed(String),
    /// The same content, written differently from the one canonical form.
    #[error("the leaf is not in the canonical form of RFC 8785")]
    NotCanonical,
}

impl Draft {
    /// A draft with an empty body and nothing else said.
    pub fn new(id: EntryId, kind: impl Into<String>, at: Timestamp) -> Self {
        Self {
            action: None,
            agent: None,
            approval: None,
            at,
            body: Canonical::empty(),
            chain: Vec::new(),
            id,
            kind: kind.into(),
            parents: Vec::new(),
            payload: None,
            person: None,
            subject: None,
            task: None,
            verdict: None,
            class: PayloadClass::Governance,
        }
    }

    /// Under which key the payload is sealed.
    pub fn whose(&self) -> SealedFor {
        let agent = || self.agent.as_ref().map(|agent| &agent.id);
        let acting = || self.person.as_ref().or_else(agent).map(ToString::to_string);
        let subject = self.subject.clone().or_else(acting);
        SealedFor::new(subject.unwrap_or_else(|| ORGANIZATION.to_owned()), self.class, self.at)
    }

    /// Writes the leaf that this becomes at its place, with what its payload became, behind what `out` holds.
    ///
    /// # Errors
    /// The draft says something that the form does not allow.
    pub(crate) fn write(
        &self,
        realm: &Realm,
        payload: Option<&PayloadMark>,
        out: &mut Vec<u8>,
    ) -> Result<(), LeafError> {
        if !self.body.is_object() || self.body.depth() > MAX_BODY_DEPTH {
            return Err(LeafError::Body);
        }
        let said = Said {
            action: self.action,
            agent: self.agent.as_ref(),
            approval: self.approval,
            at: self.at,
            body: self.body.as_bytes(),
            chain: &self.chain,
            environment: &realm.environment,
            id: self.id,
            kind: &self.kind,
            node: realm.node,
            org: &realm.org,
            parents: &self.parents,
            payload,
            person: self.person.as_ref(),
            task: self.task,
            v: 1,
            verdict: self.verdict.as_deref(),
        };
        said.write(out)
    }
}

impl Leaf {
    /// Reads a leaf in its one canonical form.
    ///
    /// # Errors
    /// The bytes are too long, of another form or version, or have an unknown member.
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > MAX_LEAF {
            return Err(LeafError::TooLong(bytes.len()));
        }
        let leaf = Self::parse_sealed(bytes)?;
        if leaf.to_bytes()? == bytes { Ok(leaf) } else { Err(LeafError::NotCanonical) }
    }

    /// Reads bytes that are known to be as [`Leaf::to_bytes`] wrote them, for example because their hash is.
    pub(crate) fn parse_sealed(bytes: &[u8]) -> Result<Self, LeafError> {
        serde_json::from_slice(bytes).map_err(|error| LeafError::Malformed(error.to_string()))
    }

    /// The bytes that are hashed and stored: every leaf that this writes, [`Leaf::parse`] reads.
    ///
    /// # Errors
    /// The leaf says something that the form does not allow.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LeafError> {
        let object = matches!(self.body, Json::Object(_));
        if !object || !is_exact(&self.body, MAX_BODY_DEPTH) {
            return Err(LeafError::Body);
        }
        let said = Said {
            action: self.action,
            agent: self.agent.as_ref(),
            approval: self.approval,
            at: self.at,
            body: &self.body.canonical(),
            chain: &self.chain,
            environment: &self.environment,
            id: self.id,
            kind: &self.kind,
            node: self.node,
            org: &self.org,
            parents: &self.parents,
            payload: self.payload.as_ref(),
            person: self.person.as_ref(),
            task: self.task,
            v: self.v,
            verdict: self.verdict.as_deref(),
        };
        let mut out = Vec::with_capacity(1024);
        said.write(&mut out)?;
        Ok(out)
    }
}

/// What a leaf says, wherever it is kept: so that a draft is written without becoming a [`Leaf`] first.
struct Said<'a> {
    action: Option<ActionId>,
    agent: Option<&'a AgentMark>,
    approval: Option<ApprovalId>,
    at: Timestamp,
    /// An object in canonical form.
    body: &'a [u8],
    chain: &'a [LinkId],
    environment: &'a Name,
    id: EntryId,
    kind: &'a str,
    node: u16,
    org: &'a Name,
    parents: &'a [Digest],
    payload: Option<&'a PayloadMark>,
    person: Option<&'a IdentityId>,
    task: Option<TaskId>,
    v: u8,
    verdict: Option<&'a str>,
}

impl Said<'_> {
    fn check(&self) -> Result<(), LeafError> {
        if self.v != 1 {
            return Err(LeafError::Version(self.v));
        }
        if !(-MAX_EXACT..=MAX_EXACT).contains(&self.at.millis()) {
            return Err(LeafError::Moment(self.at.millis()));
        }
        for word in std::iter::once(self.kind).chain(self.verdict) {
            if !is_word(word) {
                return Err(LeafError::Word(word.chars().take(MAX_WORD).collect()));
            }
        }
        Ok(())
    }

    /// Written by hand, in a tenth of the time that a detour over a tree of values takes.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), LeafError> {
        self.check()?;
        let start = out.len();
        Writer(out).object(|out| {
            out.optional("action", self.action, Writer::id);
            out.optional("agent", self.agent, Writer::agent);
            out.optional("approval", self.approval, Writer::id);
            out.member("at", self.at.millis(), Writer::number);
            out.member("body", self.body, |out, body| out.0.extend_from_slice(body));
            out.member("chain", self.chain, |out, chain| out.list(chain, |out, id| out.id(*id)));
            out.member("environment", self.environment.as_str(), Writer::text);
            out.member("id", self.id, Writer::id);
            out.member("kind", self.kind, Writer::text);
            out.member("node", i64::from(self.node), Writer::number);
            out.member("org", self.org.as_str(), Writer::text);
            out.member("parents", self.parents, |out, parents| out.list(parents, Writer::digest));
            out.optional("payload", self.payload, Writer::payload);
            out.optional("person", self.person, Writer::identity);
            out.optional("task", self.task, Writer::id);
            out.member("v", i64::from(self.v), Writer::number);
            out.optional("verdict", self.verdict, Writer::text);
        });
        let length = out.len() - start;
        if length > MAX_LEAF { Err(LeafError::TooLong(length)) } else { Ok(()) }
    }
}

/// Whether a kind or verdict is one plain word.
fn is_word(text: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.')
    };
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether what is written reads back the same. A value made by hand may break what `Json` promises; a leaf that could
/// not be read again would keep the log from opening.
fn is_exact(json: &Json, depth: u8) -> bool {
    match json {
        Json::Null | Json::Bool(_) | Json::String(_) => true,
        Json::Integer(number) => (-MAX_EXACT..=MAX_EXACT).contains(number),
        Json::Float(number) => {
            number.is_finite() && (number.fract() != 0.0 || number.abs() <= MAX_EXACT as f64)
        }
        Json::Array(values) => depth > 0 && values.iter().all(|value| is_exact(value, depth - 1)),
        Json::Object(members) => {
            let sorted = members
                .is_sorted_by(|(one, _), (next, _)| one.encode_utf16().lt(next.encode_utf16()));
            sorted && depth > 0 && members.iter().all(|(_, value)| is_exact(value, depth - 1))
        }
    }
}

/// Writes members one after the other, each with a comma before it; the first comma becomes the brace.
struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn member<T>(&mut self, name: &str, value: T, write: impl FnOnce(&mut Self, T)) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        write(self, value);
    }

    fn optional<T>(&mut self, name: &str, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        if let Some(value) = value {
            self.member(name, value, write);
        }
    }

    /// An object of at least one member.
    fn object(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        write(self);
        self.0[start] = b'{';
        self.0.push(b'}');
    }

    fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.0.push(b'[');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.0.push(b',');
            }
            write(self, value);
        }
        self.0.push(b']');
    }

    fn agent(&mut self, agent: &AgentMark) {
        self.object(|out| {
            out.member("id", &agent.id, Self::identity);
            out.optional("instance", agent.instance.as_deref(), Self::text);
            out.optional("version", agent.version.as_ref(), Self::digest);
        });
    }

    fn payload(&mut self, payload: &PayloadMark) {
        self.object(|out| {
            out.member("ciphertext", &payload.ciphertext, Self::digest);
            out.member("commit", &payload.commit, Self::digest);
            out.member("key", &payload.key, |out, key| out.text(key));
            out.member("size", i64::from(payload.size), Self::number);
        });
    }

    fn text(&mut self, text: &str) {
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if text.bytes().all(plain) {
            self.plain(text.as_bytes());
        } else {
            serde_json::to_writer(&mut *self.0, text).expect("writing text to memory cannot fail");
        }
    }

    /// A text that needs no escapes.
    fn plain(&mut self, text: &[u8]) {
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    fn number(&mut self, number: i64) {
        write!(self.0, "{number}").expect("writing to memory cannot fail");
    }

    /// Kind and name of an identity need no escapes.
    fn identity(&mut self, identity: &IdentityId) {
        self.0.push(b'"');
        self.0.extend_from_slice(identity.kind().name().as_bytes());
        self.0.push(b'/');
        self.0.extend_from_slice(identity.name().as_str().as_bytes());
        self.0.push(b'"');
    }

    fn digest(&mut self, digest: &Digest) {
        self.plain(&digest.ascii());
    }

    fn id<Of>(&mut self, id: Id<Of>) {
        self.plain(&id.ascii());
    }
}
