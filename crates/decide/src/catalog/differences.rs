use std::collections::BTreeMap;

use model::ijson::Json;

/// One place where two definitions of a tool differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)); the names in it are foreign text.
    pub at: String,
    /// What was there.
    pub before: Option<Json>,
    /// What is there now.
    pub after: Option<Json>,
}

/// Where a definition differs from what it was, member by member in the order of their names; all of it, where there was
/// none. Nothing, where they differ only in how they are written.
pub fn differences(before: Option<&str>, after: &str) -> Vec<Difference> {
    let read = |text: &str| {
        serde_json::from_str::<Json>(text).unwrap_or_else(|_| Json::String(text.to_owned()))
    };
    let mut found = Vec::new();
    let before = before.map_or_else(|| Json::object::<String>([]), read);
    compare("", &before, &read(after), &mut found);
    found
}

fn compare(at: &str, before: &Json, after: &Json, found: &mut Vec<Difference>) {
    let (Json::Object(before), Json::Object(after)) = (before, after) else {
        if before != after {
            let (before, after) = (Some(before.clone()), Some(after.clone()));
            found.push(Difference { at: at.to_owned(), before, after });
        }
        return;
    };
    let mut members: BTreeMap<&str, [Option<&Json>; 2]> = BTreeMap::new();
    for (side, object) in [before, after].into_iter().enumerate() {
        for (name, value) in object {
            members.entry(name).or_default()[side] = Some(value);
        }
    }
    for (name, [before, after]) in members {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match (before, after) {
            (Some(before), Some(after)) => compare(&at, before, after, found),
            (before, after) => {
                found.push(Difference { at, before: before.cloned(), after: after.cloned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: Option<&str>, after: &str) -> Vec<String> {
        let text = |value: Option<Json>| {
            value.map_or_else(String::new, |value| String::from_utf8(value.canonical()).unwrap())
        };
        let told = differences(before, after).into_iter();
        told.map(|one| format!("{}: {} > {}", one.at, text(one.before), text(one.after))).collect()
    }

    #[test]
    fn what_was_added_removed_or_changed_is_told_by_its_place() {
        let before = r#"{"name":"t","description":"a","inputSchema":{"properties":{"x":{"type":"string"},"y":{}},"required":["x"]}}"#;
        let after = r#"{"name":"t","description":"b","inputSchema":{"properties":{"x":{"type":"integer"},"a/b~":{}},"required":["x","z"]},"annotations":{"readOnlyHint":true}}"#;
        assert_eq!(
            told(Some(before), after),
            [
                r#"/annotations:  > {"readOnlyHint":true}"#,
                r#"/description: "a" > "b""#,
                "/inputSchema/properties/a~1b~0:  > {}",
                r#"/inputSchema/properties/x/type: "string" > "integer""#,
                "/inputSchema/properties/y: {} > ",
                r#"/inputSchema/required: ["x"] > ["x","z"]"#,
            ]
        );
    }

    #[test]
    fn a_definition_that_is_only_written_differently_has_no_differences_and_a_new_one_is_all_new() {
        let before = r#"{"name":"t","inputSchema":{"type":"object"}}"#;
        let same = r#"{ "inputSchema":{"type":"\u006fbject"}, "name":"t" }"#;
        assert!(told(Some(before), same).is_empty());
        assert_eq!(
            told(None, before),
            [r#"/inputSchema:  > {"type":"object"}"#, r#"/name:  > "t""#]
        );
    }

    #[test]
    fn what_cannot_be_read_differs_as_a_text() {
        assert_eq!(told(Some("{"), "[]"), [r#": "{" > []"#]);
    }
}
