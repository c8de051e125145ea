//! Events of the [Open Cybersecurity Schema Framework](https://schema.ocsf.io), made as 1.9 has them; what 1.8 does not know is
//! taken out again for it.

use decide::sha256;
use ledger::{Entry, Leaf};
use model::ijson::{Canonical, Json};
use serde_json::{Map, Value, json};

use super::{Event, Severity, is_own, method, text};

/// A version of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcsfVersion {
    /// 1.8.0
    V1_8,
    /// 1.9.0
    V1_9,
}

/// A class of the schema, with the number and name of its category.
#[derive(Clone, Copy)]
struct Class {
    uid: u32,
    name: &'static str,
    category: &'static str,
}

const BASE: Class = Class { uid: 0, name: "Base Event", category: "Uncategorized" };
const FINDING: Class = Class { uid: 2004, name: "Detection Finding", category: "Findings" };
const AUTHENTICATION: Class = iam(3002, "Authentication");
const ENTITY: Class = iam(3004, "Entity Management");
const LIFECYCLE: Class = application(6002, "Application Lifecycle");
const API: Class = application(6003, "API Activity");

const fn iam(uid: u32, name: &'static str) -> Class {
    Class { uid, name, category: "Identity & Access Management" }
}

const fn application(uid: u32, name: &'static str) -> Class {
    Class { uid, name, category: "Application Activity" }
}

/// What an event says beside what all of them do.
struct Said {
    class: Class,
    /// The activity's number in the class, and its name there; what the class has no number for is 99.
    activity: (u32, &'static str),
    more: Value,
}

impl Event<'_> {
    /// The event as the schema has it.
    ///
    /// `raw_data` is the leaf, and the SHA-256 over a zero byte and it is `metadata.uid`.
    pub(super) fn ocsf(&self, version: OcsfVersion) -> Value {
        let said = self.said(version);
        let mut event = self.common(&said, version);
        if let Value::Object(more) = said.more {
            event.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
        }
        if version == OcsfVersion::V1_9 {
            self.attest(&mut event);
        }
        Value::Object(event)
    }

    fn common(&self, said: &Said, version: OcsfVersion) -> Map<String, Value> {
        let Entry { index, hash, leaf, .. } = self.entry;
        let (severity_id, severity) = match Severity::of(leaf) {
            Severity::Informational => (1, "Informational"),
            Severity::Low => (2, "Low"),
            Severity::Medium => (3, "Medium"),
            Severity::High => (4, "High"),
        };
        let Said { class, activity, .. } = said;
        let with_agent = has_agent(class, leaf);
        let profiles = [
            ("security_control", class.uid == API.uid && leaf.kind == "decision"),
            ("ai_operation", with_agent && version == OcsfVersion::V1_9),
            ("record_integrity", version == OcsfVersion::V1_9),
        ];
        let profiles: Vec<_> =
            profiles.into_iter().filter_map(|(name, is_used)| is_used.then_some(name)).collect();
        let mut metadata = json!({
            "version": match version {
                OcsfVersion::V1_8 => "1.8.0",
                OcsfVersion::V1_9 => "1.9.0",
            },
            "product": { "name": "Bailiwick", "vendor_name": "Bailiwick" },
            "profiles": profiles,
            "uid": hash.to_string(),
            "sequence": index,
            "event_code": leaf.kind,
            "log_name": self.origin,
            "log_version": leaf.v.to_string(),
            "tenant_uid": leaf.org.as_str(),
        });
        if let Some(action) = leaf.action {
            metadata["correlation_uid"] = action.to_string().into();
        }
        let mut event = Map::new();
        let mut put = |name: &str, value: Value| event.insert(name.to_owned(), value);
        put("activity_id", activity.0.into());
        put("activity_name", activity.1.into());
        put("category_uid", (class.uid / 1000).into());
        put("category_name", class.category.into());
        put("class_uid", class.uid.into());
        put("class_name", class.name.into());
        put("type_uid", (class.uid * 100 + activity.0).into());
        put("severity_id", severity_id.into());
        put("severity", severity.into());
        put("time", leaf.at.millis().into());
        put("metadata", metadata);
        put("raw_data", self.raw().into());
        put("unmapped", self.unmapped(class, version));
        if with_agent && version == OcsfVersion::V1_9 {
            put("ai_agent", agent(leaf));
        }
        event
    }

    /// What the class has no place for and people look for; the rest is in `raw_data`.
    fn unmapped(&self, class: &Class, version: OcsfVersion) -> Value {
        let leaf = &self.entry.leaf;
        let mut unmapped = json!({ "kind": leaf.kind, "entry_id": leaf.id.to_string() });
        let known = [
            ("task", leaf.task.map(|task| task.to_string())),
            ("approval", leaf.approval.map(|approval| approval.to_string())),
            ("verdict", leaf.verdict.clone()),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                unmapped[name] = value.into();
            }
        }
        if version == OcsfVersion::V1_8 {
            // What 1.9 says in its profile: to which chain the event belongs, and as what.
            unmapped["attestation"] =
                json!({ "uid": self.entry.hash.to_string(), "chain_uid": self.origin });
            if has_agent(class, leaf) {
                unmapped["ai_agent"] = agent(leaf);
            }
        }
        unmapped
    }

    /// Says what 1.9's profile of record integrity wants: the digest of the event itself, in the form of RFC 8785, without the
    /// digest. That the *leaf* is in the log is proven by the log alone.
    fn attest(&self, event: &mut Map<String, Value>) {
        let mut attestation = json!({
            "uid": self.entry.hash.to_string(),
            "chain_uid": self.origin,
            "authority_uid": self.origin,
        });
        event.insert("attestation_list".to_owned(), json!([attestation]));
        let Ok(canonical) = Canonical::of(event) else { return };
        attestation["fingerprint"] = json!({
            "algorithm_id": 3,
            "algorithm": "SHA-256",
            "encoding_id": 1,
            "encoding": "Hex",
            "serialization_id": 2,
            "serialization": "JCS",
            "value": sha256(&[canonical.as_bytes()]).to_string(),
        });
        event.insert("attestation_list".to_owned(), json!([attestation]));
    }

    /// Which class a kind of entry is, and what that class wants.
    fn said(&self, version: OcsfVersion) -> Said {
        let leaf = &self.entry.leaf;
        let entity = |activity, entity| Said {
            class: ENTITY,
            activity,
            more: json!({ "entity": entity, "actor": actor(leaf) }),
        };
        let call = |activity, status: Option<(u32, &str)>| {
            let mut more = self.api();
            if let Some((id, status)) = status {
                (more["status_id"], more["status"]) = (id.into(), status.into());
            }
            more["status_detail"] = text(leaf, "status").into();
            more["status_code"] = text(leaf, "code").into();
            Said { class: API, activity, more }
        };
        match leaf.kind.as_str() {
            "decision" => Said { class: API, activity: INVOKE, more: self.decided() },
            "outcome" => call(INVOKE, Some(ended(text(leaf, "status")))),
            "lapsed" => call((99, "Lapse"), Some((2, "Failure"))),
            "input" => call((99, "Answer"), None),
            "searched" => call((2, "Read"), Some((1, "Success"))),
            "token" => Said { class: AUTHENTICATION, activity: issued(leaf), more: self.token() },
            "revoked" => entity((11, "Deactivate"), self.of_node("delegations", None)),
            "governance" => {
                let is_first = leaf.body.member("version").and_then(Json::as_integer) == Some(1);
                let activity = if is_first { (1, "Create") } else { (3, "Update") };
                entity(activity, governed(leaf))
            }
            "task" => entity((1, "Create"), self.task()),
            "task_end" => entity((11, "Deactivate"), self.task()),
            "parked" => entity((12, "Suspend"), self.task()),
            "unparked" => entity((13, "Resume"), self.task()),
            "stop" => entity((12, "Suspend"), self.of_node("stop", leaf.body.member("scope"))),
            "stop_final" => entity((99, "Stop is final"), self.of_node("stop", None)),
            "resume" => entity((13, "Resume"), self.of_node("stop", None)),
            "start" => self.started(version),
            "agent_end" => entity((11, "Deactivate"), named_agent(leaf)),
            "checkpoint_key" => entity((3, "Update"), self.of_node("checkpoint key", None)),
            "truncated" => {
                self.finding("The ledger was brought back from an older copy, and entries are lost")
            }
            "expiry" => self.finding("Payloads were past their time and went with their keys"),
            "erasure" => self.finding("Payloads were erased with their keys"),
            "gap" => self.finding("Entries could not be recorded"),
            "sink_gap" => self.finding("Entries were not sent to a sink that was too far behind"),
            kind => Said {
                class: BASE,
                activity: (99, "Other"),
                more: json!({ "message": format!("entry of kind `{kind}`") }),
            },
        }
    }

    /// What a class about calls wants.
    fn api(&self) -> Value {
        let leaf = &self.entry.leaf;
        let is_own = is_own(leaf);
        let (method, tool) = method(leaf);
        let operation = if is_own { tool.unwrap_or(method) } else { method };
        let operation = if leaf.kind == "searched" { "ledger.search" } else { operation };
        let service = text(leaf, "system").map(|name| json!({ "name": name }));
        let mut api = json!({ "operation": operation });
        if let Some(service) = service {
            api["service"] = service;
        }
        let asked_by = leaf.agent.as_ref().map_or_else(
            || json!({ "name": self.origin }),
            |agent| {
                let mut end = json!({ "name": agent.id.to_string() });
                if let Some(instance) = &agent.instance {
                    end["instance_uid"] = instance.as_str().into();
                }
                end
            },
        );
        json!({
            "api": api,
            "actor": actor(leaf),
            "src_endpoint": asked_by,
            "resources": resources(leaf, tool.filter(|_| !is_own)),
        })
    }

    fn decided(&self) -> Value {
        let leaf = &self.entry.leaf;
        let verdict = leaf.verdict.as_deref().unwrap_or("deny");
        let (action, disposition, status) = match verdict {
            "permit" => ((1, "Allowed"), (1, "Allowed"), (1, "Success")),
            "hold" => ((2, "Denied"), (14, "Delayed"), (2, "Failure")),
            "step_up" => ((2, "Denied"), (23, "Challenge"), (2, "Failure")),
            _ => ((2, "Denied"), (2, "Blocked"), (2, "Failure")),
        };
        let mut more = self.api();
        for (id, name, (number, caption)) in [
            ("action_id", "action", action),
            ("disposition_id", "disposition", disposition),
            ("status_id", "status", status),
        ] {
            (more[id], more[name]) = (number.into(), caption.into());
        }
        more["status_code"] = text(leaf, "code").into();
        if let Some(Json::Array(policies)) = leaf.body.member("policies") {
            let policies = policies.iter().filter_map(|policy| {
                let member = |name| policy.member(name).and_then(Json::as_str);
                let policy = json!({ "uid": member("id")?, "name": member("id")?, "version": member("digest")? });
                Some(json!({ "decision": verdict, "policy": policy }))
            });
            more["authorizations"] = policies.collect();
        }
        more
    }

    fn token(&self) -> Value {
        let leaf = &self.entry.leaf;
        let mut session = json!({
            "uid": text(leaf, "token"),
            "created_time": leaf.at.millis(),
            "issuer": self.origin,
        });
        if let Some(end) = leaf.body.member("expires").and_then(Json::as_integer) {
            session["expiration_time"] = end.into();
        }
        if let Some(key) = text(leaf, "key") {
            session["credential_uid"] = key.into();
        }
        json!({
            "actor": actor(leaf),
            "user": user(leaf),
            "service": { "name": text(leaf, "audience").unwrap_or(self.origin) },
            "session": session,
            "status_id": 1,
            "status": "Success",
        })
    }

    fn task(&self) -> Value {
        let leaf = &self.entry.leaf;
        let task = leaf.task.map_or_else(|| leaf.id.to_string(), |task| task.to_string());
        json!({ "uid": task, "type": "task", "type_id": 99 })
    }

    /// Something that this entry itself names.
    fn of_node(&self, kind: &str, data: Option<&Json>) -> Value {
        let leaf = &self.entry.leaf;
        let uid = text(leaf, "order").map_or_else(|| leaf.id.to_string(), ToOwned::to_owned);
        let mut entity = json!({ "uid": uid, "type": kind, "type_id": 99 });
        if let Some(data) = data {
            entity["data"] = data.to_value();
        }
        entity
    }

    fn started(&self, version: OcsfVersion) -> Said {
        let program = text(&self.entry.leaf, "program");
        let product =
            json!({ "name": "Bailiwick", "vendor_name": "Bailiwick", "version": program });
        // 1.9 has another name for what is no product; both are in it.
        let more = match version {
            OcsfVersion::V1_8 => json!({ "app": product }),
            OcsfVersion::V1_9 => {
                json!({ "app": product, "application": { "name": "Bailiwick", "version": program } })
            }
        };
        Said { class: LIFECYCLE, activity: (3, "Start"), more }
    }

    fn finding(&self, title: &str) -> Said {
        let info = json!({ "uid": self.entry.hash.to_string(), "title": title });
        Said { class: FINDING, activity: (1, "Create"), more: json!({ "finding_info": info }) }
    }
}

/// What an agent does; the schema's own activities are those of files.
const INVOKE: (u32, &str) = (99, "Invoke");

fn issued(leaf: &Leaf) -> (u32, &'static str) {
    match text(leaf, "use_as") {
        Some("session") => (1, "Logon"),
        _ => (4, "Service Ticket Request"),
    }
}

fn ended(status: Option<&str>) -> (u32, &'static str) {
    match status {
        Some("completed") => (1, "Success"),
        Some("input_required") => (99, "Other"),
        Some("unknown") | None => (0, "Unknown"),
        Some(_) => (2, "Failure"),
    }
}

/// Who acted: the person by pseudonym, the agent, the task as the session.
fn actor(leaf: &Leaf) -> Value {
    let mut actor = json!({});
    if leaf.person.is_some() {
        actor["user"] = user(leaf);
    }
    if let Some(agent) = &leaf.agent {
        actor["app_uid"] = agent.id.to_string().into();
        actor["app_name"] = agent.id.name().as_str().into();
    }
    if let Some(task) = leaf.task {
        actor["session"] = json!({ "uid": task.to_string() });
    }
    if leaf.person.is_none() && leaf.agent.is_none() {
        actor["app_name"] = "bailiwick".into();
    }
    actor
}

/// Whom it was done for, or who did it where that is nobody else.
fn user(leaf: &Leaf) -> Value {
    let who = leaf.person.as_ref().or_else(|| leaf.agent.as_ref().map(|agent| &agent.id));
    let (type_id, kind) = if leaf.person.is_some() { (1, "User") } else { (4, "Service") };
    let uid = who.map_or_else(|| "unknown".to_owned(), ToString::to_string);
    json!({ "uid": uid, "type_id": type_id, "type": kind })
}

/// Whether the class has a place for the agent in 1.9, and there is one.
fn has_agent(class: &Class, leaf: &Leaf) -> bool {
    matches!(class.uid / 1000, 3 | 6) && leaf.agent.is_some()
}

fn agent(leaf: &Leaf) -> Value {
    let Some(mark) = &leaf.agent else { return Value::Null };
    let mut agent = json!({ "uid": mark.id.to_string(), "name": mark.id.name().as_str() });
    if let Some(instance) = &mark.instance {
        agent["instance_uid"] = instance.as_str().into();
    }
    if let Some(version) = &mark.version {
        agent["version"] = version.to_string().into();
    }
    agent
}

/// The tool, and what the call does something to: ids are blind indexes.
fn resources(leaf: &Leaf, tool: Option<&str>) -> Value {
    let system = text(leaf, "system");
    let place = |mut resource: Value| {
        if let Some(system) = system {
            resource["namespace"] = system.into();
        }
        resource
    };
    let tool = tool.map(|tool| place(json!({ "name": tool, "type": "tool" })));
    let effects = match leaf.body.member("effects") {
        Some(Json::Array(effects)) => effects.as_slice(),
        _ => &[],
    };
    let effects = effects.iter().filter_map(|effect| {
        let member = |name| effect.member(name).and_then(Json::as_str);
        let labels = json!([member("verb")?]);
        Some(place(json!({ "uid": member("id")?, "type": member("kind")?, "labels": labels })))
    });
    let all: Vec<_> = tool.into_iter().chain(effects).collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

/// A governed object.
/// The agent that the body of an entry names.
fn named_agent(leaf: &Leaf) -> Value {
    json!({ "uid": text(leaf, "agent").unwrap_or("unknown"), "type": "agent", "type_id": 99 })
}

fn governed(leaf: &Leaf) -> Value {
    let mut entity = json!({
        "uid": text(leaf, "key").unwrap_or("unknown"),
        "type": text(leaf, "object").unwrap_or("unknown"),
        "type_id": 99,
    });
    if let Some(version) = leaf.body.member("version").and_then(Json::as_integer) {
        entity["version"] = version.to_string().into();
    }
    entity
}
