use std::fmt::Write as _;

use model::Foreign;
use serde_json::Value;

use crate::cli::show;

/// A mapping file, as `catalog accept` takes it. A tool for which nothing could be guessed is a comment that says why.
pub(super) fn text(document: &Value, server: &str) -> String {
    let tools = show::rows(document);
    if tools.is_empty() {
        return format!("# Every tool of `{server}` is accepted as it is.");
    }
    let head = format!(
        "# A guess at what the tools of `{server}` do, from their names, arguments and annotations. Nothing of it is in force.\n\
         # Read each definition (`bailiwick catalog show {server} --tool NAME`), correct what is wrong, delete what nobody needs,\n\
         # try it (`catalog test FILE`), then accept it (`catalog accept FILE`).\n"
    );
    file(&head, server, tools)
}

/// A mapping file of these tools, whatever it says about itself first.
pub(super) fn file(head: &str, server: &str, tools: &[Value]) -> String {
    let mut text = format!("{head}server = {}\n", quoted(server));
    for tool in tools {
        write(tool, &mut text);
    }
    text
}

fn write(tool: &Value, text: &mut String) {
    let effects = tool["mapping"]["effects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = tool["tool"].as_str().unwrap_or_default();
    text.push('\n');
    if tool["state"] == "quarantined" {
        text.push_str("# QUARANTINED: its server has changed it since it was accepted; look at `catalog diff` first.\n");
    }
    if effects.is_empty() {
        let _ = writeln!(text, "# `{}` is left out:", Foreign::new(name));
    }
    for note in tool["notes"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "# {}", Foreign::new(show::text(note)));
    }
    if effects.is_empty() {
        return;
    }
    let _ = writeln!(text, "[[tool]]\nname = {}", quoted(name));
    let _ = writeln!(text, "digest = {}", quoted(&show::cell(tool, "digest")));
    if tool["mapping"]["additional_arguments"] == true {
        text.push_str("additional_arguments = true\n");
    }
    if let Some(methods) = tool["mapping"]["input_requests"].as_array() {
        let _ = writeln!(text, "input_requests = [{}]", list(methods));
    }
    for effect in effects {
        text.push_str("\n[[tool.effect]]\n");
        for member in ["verb", "resource", "id", "amount", "currency"] {
            if let Some(value) = effect[member].as_str() {
                let _ = writeln!(text, "{member} = {}", quoted(value));
            }
        }
        if let Some(classes) = effect["classes"].as_array() {
            let _ = writeln!(text, "classes = [{}]", list(classes));
        }
    }
}

fn list(texts: &[Value]) -> String {
    texts.iter().map(|text| quoted(&show::text(text))).collect::<Vec<_>>().join(", ")
}

/// A text in TOML. What a reader would not see is written as an escape, so that nothing hides in it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        let hides = Foreign::new(character).to_string() != character.to_string();
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if hides => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proposal_is_a_file_to_accept_and_what_could_not_be_guessed_is_a_comment() {
        let name = "get\u{202e}\"order\n";
        let document = json!({ "server": "desk", "tools": [
            {
                "tool": name, "digest": "aa".repeat(32), "state": "quarantined",
                "mapping": { "additional_arguments": false, "effects": [
                    { "verb": "pay", "resource": "Refund", "id": "args.order + '/x'", "amount": "args.amount",
                      "currency": "'EUR'", "classes": ["financial", "pii"] },
                    { "verb": "read", "resource": "Order", "id": "'all'" },
                ] },
                "notes": ["`a\nb` is odd"],
            },
            { "tool": "think\nserver = 1", "digest": "bb".repeat(32), "state": "not_accepted", "mapping": null, "notes": ["why"] },
        ] });
        let text = text(&document, "desk");
        let read: super::super::Acceptance = toml::from_str(&text).unwrap();
        assert_eq!((read.server.as_str(), read.tool.len()), ("desk", 1), "{text}");
        assert_eq!(read.tool[0].name, name);
        assert_eq!(json!(read.tool[0].effect), document["tools"][0]["mapping"]["effects"]);
        let (_, tools) = text.split_once("server = \"desk\"\n\n").unwrap();
        assert_eq!(
            tools,
            format!(
                r#"# QUARANTINED: its server has changed it since it was accepted; look at `catalog diff` first.
# `a\u{{a}}b` is odd
[[tool]]
name = "get\U0000202e\"order\U0000000a"
digest = "{}"

[[tool.effect]]
verb = "pay"
resource = "Refund"
id = "args.order + '/x'"
amount = "args.amount"
currency = "'EUR'"
classes = ["financial", "pii"]

[[tool.effect]]
verb = "read"
resource = "Order"
id = "'all'"

# `think\u{{a}}server = 1` is left out:
# why
"#,
                "aa".repeat(32)
            )
        );
    }
}
