//! Events for OpenTelemetry: log records, and a span for each call that was permitted and has ended, as OTLP has them in JSON
//! ([OTLP 1.x](https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding)).
//!
//! The names of attributes are those of the semantic conventions for generative AI and for MCP.
//! They are under development there, so they are constants here: they change with a version of ours and not by themselves.

use ledger::Entry;
use model::{Digest, Timestamp};
use serde_json::{Value, json};

use super::{Event, Severity, is_own, method, text};

const AGENT_ID: &str = "gen_ai.agent.id";
const AGENT_VERSION: &str = "gen_ai.agent.version";
const CONVERSATION_ID: &str = "gen_ai.conversation.id";
const ERROR_TYPE: &str = "error.type";
const MCP_METHOD: &str = "mcp.method.name";
const OPERATION: &str = "gen_ai.operation.name";
const TOOL_NAME: &str = "gen_ai.tool.name";
const USER_ID: &str = "user.id";
/// What the conventions call the use of a tool.
const EXECUTE_TOOL: &str = "execute_tool";

/// A call that has ended, with the entry that permitted it.
#[derive(Debug, Clone, Copy)]
pub struct OtlpCall<'a> {
    /// The decision.
    pub permit: &'a Entry,
    /// The outcome.
    pub outcome: Event<'a>,
}

/// The body of a request to `/v1/logs`.
pub fn logs(events: &[Event<'_>], version: &str) -> Value {
    let records: Vec<_> = events.iter().map(log_record).collect();
    exported(events.first(), version, "resourceLogs", "scopeLogs", "logRecords", &records)
}

/// The body of a request to `/v1/traces`.
pub fn spans(calls: &[OtlpCall<'_>], version: &str) -> Value {
    let first = calls.first().map(|call| &call.outcome);
    let spans: Vec<_> = calls.iter().map(span).collect();
    exported(first, version, "resourceSpans", "scopeSpans", "spans", &spans)
}

/// Everything of one request: one resource, the node, and one scope.
fn exported(
    first: Option<&Event<'_>>,
    version: &str,
    resources: &str,
    scopes: &str,
    items: &str,
    all: &[Value],
) -> Value {
    let resource = first.map(|event| {
        let leaf = &event.entry.leaf;
        json!({ "attributes": attributes([
            ("service.name", Some("bailiwick")),
            ("service.version", Some(version)),
            ("service.namespace", Some(leaf.org.as_str())),
            ("service.instance.id", Some(event.origin)),
            ("deployment.environment.name", Some(leaf.environment.as_str())),
        ]) })
    });
    let scope = json!({ "name": "bailiwick.ledger", "version": version });
    json!({ resources: [{ "resource": resource, scopes: [{ "scope": scope, items: all }] }] })
}

fn log_record(event: &Event<'_>) -> Value {
    let Entry { index, hash, leaf, .. } = event.entry;
    let (number, name) = match Severity::of(leaf) {
        Severity::Informational => (9, "INFO"),
        Severity::Low => (10, "INFO2"),
        Severity::Medium => (13, "WARN"),
        Severity::High => (17, "ERROR"),
    };
    let mut said = about_call(event.entry);
    said.extend(attributes([
        ("bailiwick.log.origin", Some(event.origin)),
        ("bailiwick.leaf.hash", Some(&*hash.to_string())),
        ("bailiwick.verdict", leaf.verdict.as_deref()),
        ("bailiwick.code", text(leaf, "code")),
    ]));
    said.push(json!({ "key": "bailiwick.leaf.index", "value": { "intValue": index.to_string() } }));
    let mut record = json!({
        "timeUnixNano": nanos(leaf.at),
        "observedTimeUnixNano": nanos(leaf.at),
        "severityNumber": number,
        "severityText": name,
        "eventName": format!("bailiwick.{}", leaf.kind),
        "body": { "stringValue": event.raw() },
        "attributes": said,
    });
    if let Some(trace) = trace_id(event.entry) {
        record["traceId"] = trace.into();
        // The decision is the call's own entry; what follows from it is said by its parents.
        let call = if leaf.kind == "outcome" { leaf.parents.first() } else { Some(hash) };
        if let Some(call) = call {
            record["spanId"] = span_id(call).into();
        }
    }
    record
}

fn span(call: &OtlpCall<'_>) -> Value {
    let (permit, outcome) = (&call.permit.leaf, &call.outcome.entry.leaf);
    let status = text(outcome, "status").unwrap_or_default();
    let is_well = matches!(status, "completed" | "input_required");
    let (method, tool) = method(permit);
    let mut said = about_call(call.permit);
    said.extend(attributes([
        ("bailiwick.outcome", Some(status)),
        (ERROR_TYPE, Some(status).filter(|_| !is_well)),
        ("bailiwick.leaf.hash", Some(&*call.outcome.entry.hash.to_string())),
    ]));
    json!({
        "traceId": trace_id(call.permit),
        "spanId": span_id(&call.permit.hash),
        "name": tool.map_or(method.to_owned(), |tool| format!("{method} {tool}")),
        "kind": 3, // the client's side of a call
        "startTimeUnixNano": nanos(permit.at),
        "endTimeUnixNano": nanos(outcome.at.max(permit.at)),
        "attributes": said,
        "status": { "code": if is_well { 1 } else { 2 } },
    })
}

/// What the conventions have names for.
fn about_call(entry: &Entry) -> Vec<Value> {
    let leaf = &entry.leaf;
    let is_call = leaf.kind == "decision" && !is_own(leaf);
    let (method, tool) = method(leaf);
    let agent = leaf.agent.as_ref();
    attributes([
        (AGENT_ID, agent.map(|agent| agent.id.to_string()).as_deref()),
        (AGENT_VERSION, agent.and_then(|agent| agent.version).map(|it| it.to_string()).as_deref()),
        (CONVERSATION_ID, leaf.task.map(|task| task.to_string()).as_deref()),
        (USER_ID, leaf.person.as_ref().map(ToString::to_string).as_deref()),
        (MCP_METHOD, Some(method).filter(|_| is_call)),
        (OPERATION, tool.filter(|_| is_call).map(|_| EXECUTE_TOOL)),
        (TOOL_NAME, tool.filter(|_| is_call)),
        ("bailiwick.system", text(leaf, "system")),
    ])
}

fn attributes<const N: usize>(all: [(&str, Option<&str>); N]) -> Vec<Value> {
    let said = all.into_iter().filter_map(|(key, value)| Some((key, value?)));
    said.map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

/// The trace of an attempt is its id, so that it is found by what `bailiwick-action` says.
fn trace_id(entry: &Entry) -> Option<String> {
    Some(entry.leaf.action?.to_string().replace('-', ""))
}

fn span_id(hash: &Digest) -> String {
    hash.to_string()[..16].to_owned()
}

/// OTLP has 64-bit numbers as texts.
fn nanos(at: Timestamp) -> String {
    (i128::from(at.millis().max(0)) * 1_000_000).to_string()
}
