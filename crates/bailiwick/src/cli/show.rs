//! Answers of the server as people read them: every foreign text passes the escape.

use model::{Money, Timestamp};
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

/// A table of a listing: for each column its heading and the way to the cell (`state.name`). Where a row is not what the
/// ledger says of it, one more column says so.
pub(super) fn table(document: &Value, columns: &[(&str, &str)]) -> String {
    let rows = rows(document);
    if rows.is_empty() {
        return "none".to_owned();
    }
    let tampered = rows.iter().any(is_tampered);
    let headings = columns.iter().map(|(heading, _)| *heading);
    let headings: Vec<&str> = headings.chain(tampered.then_some("TAMPERED")).collect();
    let mut table = Table::new(&headings);
    for row in rows {
        let mark = if is_tampered(row) { "grants nothing" } else { "" };
        let cells = columns.iter().map(|(_, way)| cell(row, way));
        table.row(cells.chain(tampered.then(|| mark.to_owned())));
    }
    table.text()
}

fn is_tampered(row: &Value) -> bool {
    row["tampered"] == true
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

/// A value as text; moments are told by the name of their member, money by its own members.
fn named(name: &str, value: &Value) -> String {
    const MOMENTS: [&str; 7] =
        ["asked", "at", "expires", "final", "ordered", "session_expires", "since"];
    match value {
        Value::Number(millis) if MOMENTS.contains(&name) => {
            millis.as_i64().map_or_else(|| text(value), moment)
        }
        Value::Object(members) if members.contains_key("currency") => {
            serde_json::from_value::<Money>(value.clone())
                .map_or_else(|_| text(value), |money| money.to_string())
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[(&str, &str)] = &[("NAME", "name"), ("STATE", "state")];

    #[test]
    fn a_row_that_was_tampered_with_is_marked_in_the_table() {
        let sound = json!({ "name": "a", "state": "active" });
        let tampered = json!({ "name": "b", "state": "active", "tampered": true });
        assert_eq!(table(&json!({ "items": [sound] }), COLUMNS), "NAME  STATE\na     active");
        assert_eq!(
            table(&json!({ "items": [sound, tampered] }), COLUMNS),
            "NAME  STATE   TAMPERED\na     active\nb     active  grants nothing"
        );
    }

    #[test]
    fn money_is_shown_with_its_currency() {
        let ended = json!({ "calls": 2, "spent": { "amount": 404_000, "currency": "EUR" } });
        assert_eq!(members(&ended), "  calls  2\n  spent  4040.00 EUR");
        let more = json!({ "spent": { "amount": 1, "currency": "EUR", "to": "me" } });
        assert!(members(&more).contains("\"to\""), "what is more than money is shown whole");
    }
}
