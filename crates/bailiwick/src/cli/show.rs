//! Answers of the server as people read them: every foreign text passes the escape.

use std::collections::BTreeMap;

use model::{Digest, Foreign, Money, Timestamp};
use serde_json::{Map, Value};

use crate::output::{Table, fields};

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
    let people = People::of(document);
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let line = |row: &Value| columns.iter().map(|(_, way)| people.handle(cell(row, way))).collect();
    table_of(document, &headings, |row| vec![line(row)])
}

/// The same where a row may take several lines of cells.
pub(super) fn table_of(
    document: &Value,
    headings: &[&str],
    lines: impl Fn(&Value) -> Vec<Vec<String>>,
) -> String {
    let rows = rows(document);
    if rows.is_empty() {
        return "none".to_owned();
    }
    let tampered = rows.iter().any(is_tampered);
    let headings: Vec<&str> =
        headings.iter().copied().chain(tampered.then_some("TAMPERED")).collect();
    let mut table = Table::new(&headings);
    for row in rows {
        let mark = if is_tampered(row) { "grants nothing" } else { "" };
        for line in lines(row) {
            table.row(line.into_iter().chain(tampered.then(|| mark.to_owned())));
        }
    }
    table.text()
}

/// An authority in words: for each clause what it lets somebody do, and until when.
pub(super) fn rights(authority: &Value) -> Vec<(String, String)> {
    let clause = |clause: &Value| {
        let verbs = clause["verbs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let verbs = verbs.iter().map(text).collect::<Vec<_>>().join(", ");
        let mut right = format!("{verbs} on {}", cell(clause, "resources"));
        for (name, value) in clause["conditions"].as_object().into_iter().flatten() {
            right += &format!(", {} {}", name.replace('_', " "), named(name, value));
        }
        (right, cell(clause, "expires"))
    };
    authority["clauses"].as_array().into_iter().flatten().map(clause).collect()
}

/// The lines of somebody's rights between other cells, which stand in the first line alone.
pub(super) fn with_rights(
    before: &[String],
    authority: &Value,
    after: &[String],
) -> Vec<Vec<String>> {
    let mut rights = rights(authority);
    if rights.is_empty() {
        rights.push(("nothing".to_owned(), String::new()));
    }
    let cells = |at: usize, cells: &[String]| match at {
        0 => cells.to_vec(),
        _ => vec![String::new(); cells.len()],
    };
    let line = |(at, (right, until)): (usize, (String, String))| {
        [cells(at, before), vec![right, until], cells(at, after)].concat()
    };
    rights.into_iter().enumerate().map(line).collect()
}

fn is_tampered(row: &Value) -> bool {
    row["tampered"] == true
}

/// The members of one object, below each other.
pub(super) fn members(document: &Value) -> String {
    let Value::Object(members) = document else { return text(document) };
    let people = People::of(document);
    let shown = members.iter().filter(|(name, _)| *name != "people");
    let shown = shown.map(|(name, value)| (name.as_str(), people.name(&named(name, value))));
    fields(shown.filter(|(_, text)| !text.is_empty()))
}

/// The value at the end of a way through objects.
pub(super) fn cell(row: &Value, way: &str) -> String {
    let value = way.split('.').try_fold(row, |value, member| value.get(member));
    let last = way.rsplit('.').next().unwrap_or(way);
    value.map(|value| named(last, value)).unwrap_or_default()
}

/// The handles of people, for those whom a person should recognize.
pub(super) struct People(BTreeMap<String, String>);

impl People {
    /// Nobody is known by name.
    pub(super) fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Those whom an answer names in its member `people`.
    pub(super) fn of(document: &Value) -> Self {
        let members = document["people"].as_object().into_iter().flatten();
        let handle =
            |(id, handle): (&String, &Value)| Some((id.clone(), handle.as_str()?.to_owned()));
        Self(members.filter_map(handle).collect())
    }

    /// An identity, with its handle before it where it is known: `lena (person/p68…)`.
    pub(super) fn name(&self, id: &str) -> String {
        self.0.get(id).map_or_else(|| id.to_owned(), |handle| format!("{handle} ({id})"))
    }

    /// The handle of an identity where it is known; any other text as it is.
    pub(super) fn handle(&self, id: String) -> String {
        self.0.get(&id).cloned().unwrap_or(id)
    }

    /// All identities in a list.
    pub(super) fn names(&self, list: &Value) -> Vec<String> {
        list.as_array().into_iter().flatten().map(|id| self.name(&text(id))).collect()
    }
}

/// A whole value over as many lines as it takes, for somebody who has to understand it: moments, money, people and digests
/// as such, texts of several lines as they were written. Every line is escaped and set in.
pub(super) fn readable(value: &Value, people: &People) -> String {
    let mut lines = Vec::new();
    match value {
        Value::Object(members) => write_members(members, people, 1, &mut lines),
        other => write("", other, people, 1, &mut lines),
    }
    lines.join("\n")
}

fn write_members(
    members: &Map<String, Value>,
    people: &People,
    depth: usize,
    lines: &mut Vec<String>,
) {
    let simple =
        |name: &str, value: &Value| line_of(name, value, people).map(|_| name.chars().count());
    let width = members.iter().filter_map(|(name, value)| simple(name, value)).max().unwrap_or(0);
    // What fits into a line comes first, so that it is not lost behind what takes many.
    for (name, value) in members {
        if let Some(line) = line_of(name, value, people).filter(|line| !line.is_empty()) {
            push(lines, depth, &format!("{name:width$}  {line}"));
        }
    }
    for (name, value) in members {
        if line_of(name, value, people).is_none() {
            write(name, value, people, depth, lines);
        }
    }
}

/// What takes more than one line, under its name.
fn write(name: &str, value: &Value, people: &People, depth: usize, lines: &mut Vec<String>) {
    let below = if name.is_empty() { depth } else { depth + 1 };
    if !name.is_empty() {
        push(lines, depth, name);
    }
    match value {
        // A program within a value (a tool's definition) is read as what it is; whatever else has lines keeps them.
        Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => {
                for line in format!("{inner:#}").lines() {
                    push(lines, below, line);
                }
            }
            _ => text.lines().for_each(|line| push(lines, below, line)),
        },
        Value::Object(members) => write_members(members, people, below, lines),
        Value::Array(items) => {
            for item in items {
                let mut inner = Vec::new();
                match item {
                    Value::Object(members) => write_members(members, people, 0, &mut inner),
                    other => inner.push(
                        Foreign::new(
                            line_of("", other, people).unwrap_or_else(|| other.to_string()),
                        )
                        .to_string(),
                    ),
                }
                for (at, line) in inner.iter().enumerate() {
                    let mark = if at == 0 { "- " } else { "  " };
                    lines.push(format!("{}{mark}{line}", "  ".repeat(below)));
                }
            }
        }
        other => push(lines, below, &text(other)),
    }
}

fn push(lines: &mut Vec<String>, depth: usize, line: &str) {
    lines.push(format!("{}{}", "  ".repeat(depth), Foreign::new(line)).trim_end().to_owned());
}

/// A value that fits into one line; `None` for one that takes more.
fn line_of(name: &str, value: &Value, people: &People) -> Option<String> {
    match value {
        Value::String(text) if text.contains('\n') || is_program(text) => None,
        Value::String(text) if text.parse::<Digest>().is_ok() => Some(format!("SHA-256 {text}")),
        Value::String(text) => Some(people.name(text)),
        Value::Object(members) if members.is_empty() => Some(String::new()),
        Value::Object(_) => {
            let line = named(name, value);
            (!line.starts_with('{')).then_some(line)
        }
        Value::Array(items) => {
            let each = items.iter().map(|item| line_of("", item, people));
            let plain = items.iter().all(|item| !item.is_object() && !item.is_array());
            if plain { Some(each.collect::<Option<Vec<_>>>()?.join(", ")) } else { None }
        }
        other => Some(named(name, other)),
    }
}

fn is_program(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<Map<String, Value>>(text).is_ok()
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
        Timestamp::from_millis(millis).to_string()
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
    fn what_somebody_has_to_understand_is_written_in_lines_and_words() {
        let people = People::of(&json!({ "people": { "person/p1": "lena" } }));
        let act = json!({
            "digest": "ab".repeat(32),
            "files": [{ "name": "desk.cedar", "text": "permit (\n  principal\n);\u{1b}[2J" }],
            "holder": "person/p1",
            "clauses": [{ "amount_at_most": { "amount": 4000, "currency": "EUR" }, "expires": 1_790_000_000_000_i64 }],
            "verbs": ["read", "pay"],
        });
        let shown = readable(&act, &people);
        let digest = "ab".repeat(32);
        for part in [
            "  clauses\n    - amount_at_most  40.00 EUR\n      expires         2026-09-21T14:13:20.000Z",
            &format!("  digest  SHA-256 {digest}"),
            "  files\n    - name  desk.cedar\n      text\n        permit (\n          principal\n        );\\u{1b}[2J",
            "  holder  lena (person/p1)",
            "  verbs   read, pay",
        ] {
            assert!(shown.contains(part), "{part}\n\n{shown}");
        }
    }

    #[test]
    fn money_is_shown_with_its_currency() {
        let ended = json!({ "calls": 2, "spent": { "amount": 404_000, "currency": "EUR" } });
        assert_eq!(members(&ended), "  calls  2\n  spent  4040.00 EUR");
        let more = json!({ "spent": { "amount": 1, "currency": "EUR", "to": "me" } });
        assert!(members(&more).contains("\"to\""), "what is more than money is shown whole");
    }
}
