//! Things that have one place: no I/O in `model`, SQL in `store`, Cedar's unstable types in one module.

use std::collections::BTreeSet;

use super::{
    Finding, Tree,
    source::{has_word, is_word, numbered},
};

/// `model` is pure: it reads no file, no network, no clock, no environment.
pub(super) fn pure_model(tree: &Tree) -> Vec<Finding> {
    const WORDS: [&str; 3] = ["tokio", "SystemTime", "Instant"];
    const MODULES: [&str; 7] = ["env", "fs", "io", "net", "os", "process", "thread"];
    let mut findings = Vec::new();
    for (file, source) in tree.rust("crates/model/src/").filter(|(file, _)| !file.is_test()) {
        let mut find = |line, word: &str| {
            let message =
                format!("`{word}` in `model`, which is pure: take the value as an argument");
            findings.push(Finding::at(&file.path, line, message));
        };
        for (line, code) in source.product(&source.code) {
            WORDS.iter().filter(|word| has_word(code, word)).for_each(|word| find(line, word));
        }
        let product: Vec<&str> = source.product(&source.code).map(|(_, code)| code).collect();
        for (line, module) in std_modules(&product.join("\n")) {
            if MODULES.contains(&module.as_str()) {
                find(line, &format!("std::{module}"));
            }
        }
    }
    findings
}

/// SQL text stands in `store`, in the sample upstream that the demo governs, and in tests.
pub(super) fn sql(tree: &Tree) -> Vec<Finding> {
    // The demo looks into the sample upstream's own books, as an auditor from outside would.
    const HOMES: [&str; 4] = [
        "crates/store/",
        "crates/bailiwick/src/desk.rs",
        "crates/bailiwick/src/desk/",
        "crates/bailiwick/src/demo/desk.rs",
    ];
    const STATEMENTS: [&str; 5] =
        ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE "];
    let at_home = |path: &str| HOMES.iter().any(|home| path.starts_with(home));
    let message = "SQL outside `store`: add a method there that says what is wanted";
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| file.path.starts_with("crates/")) {
        if at_home(&file.path) || file.is_test() {
            continue;
        }
        if file.path.ends_with(".sql") {
            findings.push(Finding::of_file(&file.path, message));
        }
        let Some(source) = &file.rust else { continue };
        for (line, text) in source.product(&source.literals) {
            let text = format!("{text} "); // a statement may break after its first word
            if STATEMENTS.iter().any(|statement| begins_word(&text, statement)) {
                findings.push(Finding::at(&file.path, line, message));
            }
        }
    }
    findings
}

/// Cedar's core crate is unstable, so one module wraps it and nothing else names it.
pub(super) fn cedar_core(tree: &Tree) -> Vec<Finding> {
    let mut uses = Vec::new();
    for (file, source) in tree.rust("crates/").filter(|(file, _)| !file.is_test()) {
        let mut code = source.product(&source.code);
        if let Some((line, _)) = code.find(|(_, code)| has_word(code, "cedar_policy_core")) {
            uses.push((module(&file.path), &file.path, line));
        }
    }
    let modules: BTreeSet<&str> = uses.iter().map(|(module, _, _)| *module).collect();
    if modules.len() < 2 {
        return Vec::new();
    }
    let message =
        "`cedar_policy_core` is named in more than one module: let one wrap it for the others";
    uses.iter().map(|(_, path, line)| Finding::at(path, *line, message)).collect()
}

/// The modules of `std` that the code names, one by one or in braces, each with its line.
fn std_modules(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, std) in code.match_indices("std::") {
        let rest = &code[start + std.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => &group[..closing_brace(group)],
            None => &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())],
        };
        let first = code[..start].matches('\n').count();
        for (line, text) in numbered(names) {
            let words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty());
            found.extend(words.map(|word| (first + line, word.to_owned())));
        }
    }
    found
}

/// Where the brace closes that stands open before `text`.
fn closing_brace(text: &str) -> usize {
    let mut open = 1_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return at;
        }
    }
    text.len()
}

fn begins_word(text: &str, needle: &str) -> bool {
    text.match_indices(needle)
        .any(|(start, _)| !text[..start].chars().next_back().is_some_and(is_word))
}

/// A file and the folder of the same name are one module: `src/core.rs` and `src/core/types.rs`.
fn module(path: &str) -> &str {
    let end = path.find("/src/").map_or(0, |at| at + "/src/".len());
    let name = path[end..].find(['/', '.']).unwrap_or(path.len() - end);
    &path[..end + name]
}

#[cfg(test)]
mod tests {
    use super::{Tree, cedar_core, pure_model, sql};

    #[test]
    fn model_that_reads_the_world_is_refused() {
        let found = |text| pure_model(&Tree::new([("crates/model/src/id.rs", text)])).len();
        assert_eq!(found("use std::fs;"), 1);
        assert_eq!(found("fn f() { std::net::TcpStream::connect(a) }"), 1);
        assert_eq!(found("use std::{\n    fmt,\n    io::{self, Read},\n};"), 1);
        assert_eq!(found("fn now() { SystemTime::now() }"), 1);
        assert_eq!(found("use tokio::time;"), 1);
    }

    #[test]
    fn model_may_speak_of_files_and_test_with_them() {
        let found = |text| pure_model(&Tree::new([("crates/model/src/id.rs", text)])).len();
        assert_eq!(found("//! No std::fs, no tokio.\nuse std::{fmt, collections::BTreeSet};"), 0);
        assert_eq!(found("const WHY: &str = \"SystemTime\";"), 0);
        assert_eq!(found("fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), 0);
        assert_eq!(pure_model(&Tree::new([("crates/store/src/db.rs", "use std::fs;")])).len(), 0);
    }

    #[test]
    fn sql_outside_the_store_is_refused() {
        let found = |path, text| sql(&Tree::new([(path, text)])).len();
        for text in [
            "f(\"SELECT id FROM agent\")",
            "f(\"INSERT INTO agent\")",
            "f(\"UPDATE agent SET state = $1\")",
            "f(r#\"DELETE FROM agent\"#)",
            "f(\"\n    SELECT\n        id\")",
        ] {
            assert_eq!(found("crates/govern/src/agents.rs", text), 1, "{text}");
        }
        assert_eq!(found("crates/govern/src/agents.sql", ""), 1);
    }

    #[test]
    fn sql_in_its_home_in_tests_and_in_comments_is_allowed() {
        let found = |path, text| sql(&Tree::new([(path, text)])).len();
        let text = "f(\"SELECT id FROM agent\")";
        for path in [
            "crates/store/src/agents.rs",
            "crates/bailiwick/src/desk/tables.rs",
            "crates/govern/src/agents/tests.rs",
            "crates/govern/tests/it/main.rs",
            "bench/src/main.rs",
        ] {
            assert_eq!(found(path, text), 0, "{path}");
        }
        assert_eq!(found("crates/govern/src/agents.rs", "// SELECT id FROM agent"), 0);
        assert_eq!(found("crates/govern/src/agents.rs", "f(\"PRESELECT one\")"), 0);
    }

    #[test]
    fn cedar_core_has_one_module() {
        let text = "use cedar_policy_core::ast;";
        let one = [("crates/policy/src/core.rs", text), ("crates/policy/src/core/types.rs", text)];
        assert_eq!(cedar_core(&Tree::new(one)).len(), 0);
        let two = [("crates/policy/src/core.rs", text), ("crates/policy/src/index.rs", text)];
        assert_eq!(cedar_core(&Tree::new(two)).len(), 2);
        let spoken = [
            ("crates/policy/src/core.rs", text),
            ("crates/policy/src/lib.rs", "// cedar_policy_core"),
        ];
        assert_eq!(cedar_core(&Tree::new(spoken)).len(), 0);
    }
}
