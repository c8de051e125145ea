//! The shape of files and tests: one thought a file, one rule a test.

use super::{
    Finding, Tree,
    source::{is_word, numbered},
};

/// Beyond this a file is most often two: the house style asks for 100 to 400 lines.
const LINES: usize = 600;

/// Files that are longer because they are one idea, each with that idea.
const LONG: &[(&str, &str)] = &[];

/// No program file is longer than [`LINES`] unless [`LONG`] says why.
pub(super) fn length(tree: &Tree) -> Vec<Finding> {
    too_long(tree, LONG)
}

/// A test's name is a sentence that states the rule: three words or more.
pub(super) fn test_name(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust("") {
        for (line, name) in test_names(&source.code) {
            if name.split('_').filter(|word| !word.is_empty()).count() < 3 {
                let message =
                    format!("test `{name}` does not state a rule: use three words or more");
                findings.push(Finding::at(&file.path, line, message));
            }
        }
    }
    findings
}

fn too_long(tree: &Tree, listed: &[(&str, &str)]) -> Vec<Finding> {
    let long = |path: &str| tree.file(path).is_some_and(|file| file.text.lines().count() > LINES);
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| file.is_program() && long(&file.path)) {
        if !listed.iter().any(|(path, _)| *path == file.path) {
            let message = format!(
                "longer than {LINES} lines: split it by noun, or say in xtask's shape.rs why not"
            );
            findings.push(Finding::of_file(&file.path, message));
        }
    }
    for (path, _) in listed.iter().filter(|(path, _)| !long(path)) {
        findings.push(Finding::of_file(
            path,
            "is not long any more: take it off the list in xtask's shape.rs",
        ));
    }
    findings
}

/// The name and line of each function under a test attribute; a name that a macro fills in is left out.
fn test_names(code: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut awaiting = false;
    for (line, text) in numbered(code) {
        awaiting |= text.contains("#[test]") || text.contains("#[tokio::test");
        let after = text.split_once("fn ").map(|(_, after)| after);
        if let Some(after) = after.filter(|_| awaiting) {
            let name = &after[..after.find(|c| !is_word(c)).unwrap_or(after.len())];
            if !name.is_empty() {
                names.push((line, name));
            }
            awaiting = false;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::{LINES, Tree, test_name, too_long};

    #[test]
    fn a_long_file_must_give_its_reason() {
        let tree = Tree::new([("crates/a/src/lib.rs".to_owned(), "\n".repeat(LINES + 1))]);
        assert_eq!(too_long(&tree, &[]).len(), 1);
        assert_eq!(too_long(&tree, &[("crates/a/src/lib.rs", "one table")]).len(), 0);
        let tree = Tree::new([("crates/a/src/lib.rs".to_owned(), "\n".repeat(LINES))]);
        assert_eq!(too_long(&tree, &[]).len(), 0);
    }

    #[test]
    fn a_reason_for_a_file_that_is_not_long_is_refused() {
        let tree = Tree::new([("crates/a/src/lib.rs", "")]);
        assert_eq!(too_long(&tree, &[("crates/a/src/lib.rs", "one table")]).len(), 1);
        assert_eq!(too_long(&tree, &[("crates/gone.rs", "one table")]).len(), 1);
    }

    #[test]
    fn a_test_without_a_sentence_is_refused() {
        let found = |text| test_name(&Tree::new([("crates/a/src/lib.rs", text)])).len();
        assert_eq!(found("#[test]\nfn stop_is_final() {}"), 0);
        assert_eq!(found("#[test]\nfn stop() {}"), 1);
        assert_eq!(found("#[test]\n#[should_panic]\nfn stop_works() {}"), 1);
        assert_eq!(found("#[tokio::test(flavor = \"multi_thread\")]\nasync fn __stop__() {}"), 1);
        assert_eq!(found("#[test]\nfn $name() {}\nfn helper() {}"), 0);
        assert_eq!(found("// #[test]\nfn stop() {}"), 0);
    }
}
