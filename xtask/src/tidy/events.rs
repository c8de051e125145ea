//! Codes of events (`BW-1234`): operators filter and alert by them, so each is one event and stands in the manual.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{Finding, Tree, source::is_word, tree::File};

/// What every code begins with.
const PREFIX: &str = "BW-";
/// Where operators read what each code means.
const MANUAL: &str = "docs/operations.md";

/// Each code is used for one event, which its message tells, and the manual lists the same codes.
pub(super) fn events(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut known: BTreeMap<&str, Place<'_>> = BTreeMap::new();
    for (file, source) in tree.rust("crates/").filter(|(file, _)| !file.is_test()) {
        let end = source.product(&source.literals).map(|(_, line)| line.len() + 1).sum();
        let literals = source.literals.get(..end).unwrap_or(&source.literals);
        for (at, code) in codes(literals) {
            let line = 1 + literals[..at].matches('\n').count();
            let place = Place { file, line, message: message(&literals[at + code.len()..]) };
            match known.entry(code) {
                Entry::Vacant(free) => drop(free.insert(place)),
                Entry::Occupied(first) if first.get().message == place.message => {}
                Entry::Occupied(first) => {
                    let Place { file: other, line: there, .. } = first.get();
                    findings.push(Finding::at(
                        &file.path,
                        line,
                        format!(
                            "`{code}` is another event at {}:{there}: take a free code",
                            other.path
                        ),
                    ));
                }
            }
        }
    }
    let manual = tree.file(MANUAL).map_or("", |file| &file.text);
    let listed: BTreeMap<&str, usize> = codes(manual).map(|(at, code)| (code, at)).collect();
    for (code, place) in &known {
        if !listed.contains_key(code) {
            let message = format!("`{code}` is not in {MANUAL}: say there what it means");
            findings.push(Finding::at(&place.file.path, place.line, message));
        }
    }
    for (code, at) in listed.iter().filter(|(code, _)| !known.contains_key(*code)) {
        let line = 1 + manual[..*at].matches('\n').count();
        findings.push(Finding::at(MANUAL, line, format!("nothing says `{code}` any more")));
    }
    findings
}

/// Where a code stands, and what is said there.
struct Place<'t> {
    file: &'t File,
    line: usize,
    message: &'t str,
}

/// All codes in a text, each with where it begins.
fn codes(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices(PREFIX).filter_map(|(at, _)| {
        let digits = &text[at + PREFIX.len()..];
        let length = digits.find(|c| !is_word(c)).unwrap_or(digits.len());
        let whole = length == 4 && digits[..length].bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| (at, &text[at..at + PREFIX.len() + length]))
    })
}

/// The literal after the one that ends here.
fn message(rest: &str) -> &str {
    let rest = rest.strip_prefix('"').unwrap_or(rest).trim_start();
    let inside = rest.strip_prefix('"').unwrap_or_default();
    inside.split('"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{MANUAL, Tree, events};

    const SOURCE: &str = "crates/decide/src/lib.rs";

    /// What the rule says about this program beside this manual.
    fn said(program: &str, manual: &str) -> Vec<String> {
        let tree = Tree::new([(SOURCE, program), (MANUAL, manual)]);
        events(&tree).iter().map(ToString::to_string).collect()
    }

    /// An event as programs write it. In two pieces, so that no other file is told of these codes.
    fn event(code: &str, message: &str) -> String {
        format!("tracing::warn!(\n    code = \"BW-{code}\", %why,\n    \"{message}\"\n);\n")
    }

    #[test]
    fn a_code_of_one_event_that_the_manual_lists_is_sound() {
        let twice = event("1001", "it broke") + &event("1001", "it broke");
        assert_eq!(said(&twice, "| `BW-1001` | it broke |"), [""; 0]);
    }

    #[test]
    fn a_code_of_two_events_is_refused() {
        let two = event("1001", "it broke") + &event("1001", "it is well");
        assert_eq!(
            said(&two, "`BW-1001`"),
            [
                "crates/decide/src/lib.rs:6: `BW-1001` is another event at crates/decide/src/lib.rs:2: take a free code"
            ]
        );
    }

    #[test]
    fn the_manual_lists_every_code_and_no_other() {
        assert_eq!(
            said(&event("1001", "it broke"), "`BW-1002`"),
            [
                "crates/decide/src/lib.rs:2: `BW-1001` is not in docs/operations.md: say there what it means",
                "docs/operations.md:1: nothing says `BW-1002` any more",
            ]
        );
    }

    #[test]
    fn what_only_tests_or_comments_say_is_no_event() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", event("1001", "it broke"));
        assert_eq!(said(&tests, ""), [""; 0]);
        assert_eq!(said("// see BW-1001\n", ""), [""; 0]);
        assert_eq!(said("const A: &str = \"BW-10011\";", ""), [""; 0]);
    }
}
