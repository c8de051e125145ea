use model::Foreign;
use serde_json::Value;

use crate::cli::show;

/// What is not as it was accepted, tool by tool. Descriptions are where poison hides, so every text of the server is
/// escaped, and shown whole where it changed.
pub(super) fn text(document: &Value, server: &str) -> String {
    let tools = show::rows(document);
    if tools.is_empty() {
        return "every tool is as it was accepted".to_owned();
    }
    let mut lines = told(tools);
    if tools.iter().any(|tool| !tool["shown"].is_null()) {
        lines.push(format!(
            "If you agree with what is shown: bailiwick catalog propose {server} > FILE, read it, then bailiwick catalog accept FILE"
        ));
    } else {
        lines.pop();
    }
    lines.join("\n")
}

/// The same, each tool behind the other with an empty line behind it.
pub(in crate::cli) fn told(tools: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for tool in tools {
        write(tool, &mut lines);
        lines.push(String::new());
    }
    lines
}

fn write(tool: &Value, lines: &mut Vec<String>) {
    let words = match tool["state"].as_str().unwrap_or_default() {
        "quarantined" => "QUARANTINED: its server has changed it since it was accepted",
        "gone" => "GONE: its server shows it no longer",
        _ if tool["accepted"].is_null() => "NOT ACCEPTED: nobody has said what it does",
        _ => "NOT ACCEPTED: what was accepted cannot be applied",
    };
    lines.push(format!("{}  {words}", Foreign::new(show::cell(tool, "name"))));
    for (heading, way) in [("accepted", "accepted"), ("shown   ", "shown")] {
        if let Some(digest) = tool[way]["digest"].as_str() {
            let by = show::cell(tool, &format!("{way}.accepted_by"));
            let by = if by.is_empty() { by } else { format!("  by {by}") };
            lines.push(format!(
                "  {heading}  SHA-256 {}{}",
                Foreign::new(digest),
                Foreign::new(by)
            ));
        }
    }
    let differences = tool["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
    if differences.is_empty() && tool["state"] == "quarantined" {
        lines.push("  it means the same; only its bytes differ".to_owned());
    }
    for difference in differences {
        let at = Foreign::new(show::cell(difference, "at"));
        let (before, after) = (difference.get("before"), difference.get("after"));
        let what = match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        lines.push(format!("  {what:8}  {at}"));
        let (before, after) = (split(before), split(after));
        let (before, after) = changed(&before, &after);
        lines.extend(before.iter().map(|line| format!("    - {}", Foreign::new(line))));
        lines.extend(after.iter().map(|line| format!("    + {}", Foreign::new(line))));
    }
}

/// A value in lines: a text as it was written, anything else as JSON.
fn split(value: Option<&Value>) -> Vec<String> {
    match value {
        None => Vec::new(),
        Some(Value::String(text)) => text.split('\n').map(str::to_owned).collect(),
        Some(value) => format!("{value:#}").lines().map(str::to_owned).collect(),
    }
}

/// The lines of both without those that they have in common at their beginning and end.
fn changed<'l>(before: &'l [String], after: &'l [String]) -> (&'l [String], &'l [String]) {
    let same = |(one, other): &(&String, &String)| one == other;
    let start = before.iter().zip(after).take_while(same).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before.iter().rev().zip(after.iter().rev()).take_while(same).count();
    (&before[..before.len() - end], &after[..after.len() - end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_is_told_in_lines_and_nothing_in_them_is_hidden() {
        let tools = json!({ "server": "desk", "tools": [
            {
                "name": "get_order", "state": "quarantined",
                "accepted": { "digest": "aa", "accepted_by": "person/p1" },
                "shown": { "digest": "bb" },
                "differences": [
                    { "at": "/annotations", "after": { "readOnlyHint": true } },
                    { "at": "/description", "before": "one\ntwo\nend", "after": "one\n2\u{200b}\u{1b}[2J\nend" },
                    { "at": "/title\n", "before": "Look" },
                ],
            },
            { "name": "erase", "state": "gone", "accepted": { "digest": "cc", "accepted_by": "person/p1" }, "shown": null, "differences": [] },
            { "name": "find", "state": "quarantined", "accepted": { "digest": "dd", "accepted_by": "person/p1" }, "shown": { "digest": "ee" }, "differences": [] },
        ] });
        assert_eq!(
            text(&tools, "desk"),
            r#"get_order  QUARANTINED: its server has changed it since it was accepted
  accepted  SHA-256 aa  by person/p1
  shown     SHA-256 bb
  added     /annotations
    + {
    +   "readOnlyHint": true
    + }
  changed   /description
    - two
    + 2\u{200b}\u{1b}[2J
  removed   /title\u{a}
    - Look

erase  GONE: its server shows it no longer
  accepted  SHA-256 cc  by person/p1

find  QUARANTINED: its server has changed it since it was accepted
  accepted  SHA-256 dd  by person/p1
  shown     SHA-256 ee
  it means the same; only its bytes differ

If you agree with what is shown: bailiwick catalog propose desk > FILE, read it, then bailiwick catalog accept FILE"#
        );
        assert_eq!(text(&json!({ "tools": [] }), "desk"), "every tool is as it was accepted");
    }
}
