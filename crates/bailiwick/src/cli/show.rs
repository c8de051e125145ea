//! Answers of the server as people read them: every foreign text passes the escape.

use model::Timestamp;
use serde_json::Value;

use crate::{
    moment,
    output::{Table, fields},
};

/// The rows of a listing: the one list in the answer, whatever it is called.
pub(super) fn rows(document: &Value) -> &[Value] {
    let list = match document {
        Value::Object(members) => members.values().find_map(Value::as_array),
        other => other.as_array(),
    };
    list.map_or(&[], Vec::as_slice)
}

/// A table of a listing: for each column its heading and the way to the cell (`state.name`).
pub(super) fn table(document: &Value, columns: &[(&str, &str)]) -> String {
    let rows = rows(document);
    if rows.is_empty() {
        return "none".to_owned();
    }
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut table = Table::new(&headings);
    for row in rows {
        table.row(columns.iter().map(|(_, way)| cell(row, way)));
    }
    table.text()
}

/// The members of one object, below each other.
pub(super) fn members(document: &Value) -> String {
    let Value::Object(members) = document else { return text(document) };
    let shown = members.iter().map(|(name, value)| (name.as_str(), named(name, value)));
    fields(shown.filter(|(_, text)| !text.is_empty()))
}

/// The value at the end of a way through objects.
pub(super) fn cell(row: &Value, way: &str) -> String {
    let value = way.split('.').try_fold(row, |value, member| value.get(member));
    let last = way.rsplit('.').next().unwrap_or(way);
    value.map(|value| named(last, value)).unwrap_or_default()
}

/// A value as text; moments are told by the name of their member.
fn named(name: &str, value: &Value) -> String {
    const MOMENTS: [&str; 7] =
        ["asked", "at", "expires", "final", "ordered", "session_expires", "since"];
    match value.as_i64() {
        Some(millis) if MOMENTS.contains(&name) => moment(millis),
        _ => text(value),
    }
}

/// A moment in milliseconds since the epoch.
pub(super) fn moment(millis: i64) -> String {
    if millis >= i64::from(u32::MAX) * 100_000 {
        "never".to_owned()
    } else {
        moment::text(Timestamp::from_millis(millis))
    }
}

/// A value in one line.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(text).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}
