//! `cargo xtask tidy`: the rules of the house that no compiler checks.
//!
//! A rule is a function from a [`Tree`] to findings. It never reads the disk itself, so that a test can plant a
//! violation and see the rule fail.

mod edges;
mod events;
mod headers;
mod marks;
mod places;
mod shape;
mod source;
mod supply;
mod tree;

use std::{fmt, path::Path};

use anyhow::bail;

use self::tree::Tree;

type Rule = fn(&Tree) -> Vec<Finding>;

/// Every rule under the name that its findings carry.
const RULES: &[(&str, Rule)] = &[
    ("arrows", edges::arrows),
    ("lints", edges::lints),
    ("header", headers::header),
    ("architecture", headers::architecture),
    ("pure-model", places::pure_model),
    ("sql", places::sql),
    ("cedar-core", places::cedar_core),
    ("unfinished", marks::unfinished),
    ("machine-path", marks::machine_path),
    ("registry-host", marks::registry_host),
    ("events", events::events),
    ("length", shape::length),
    ("test-name", shape::test_name),
    ("lock-file", supply::lock_file),
    ("package", supply::package),
];

/// One place that breaks a rule, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; none where the whole file is meant.
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn of_file(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, message: message.into() }
    }

    fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "{}:{line}: {}", self.path, self.message),
            None => write!(out, "{}: {}", self.path, self.message),
        }
    }
}

/// Checks the checkout at `root` and prints every finding; an error if there is one.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let mut count = 0;
    for (name, rule) in RULES {
        for finding in rule(&tree) {
            println!("{finding} [{name}]");
            count += 1;
        }
    }
    if count > 0 {
        bail!("tidy: {count} findings; the rules stand in xtask/src/tidy");
    }
    println!("tidy: {} files keep {} rules", tree.files().len(), RULES.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Finding;

    #[test]
    fn finding_names_its_place_as_an_editor_reads_it() {
        assert_eq!(Finding::at("crates/a.rs", 7, "wrong").to_string(), "crates/a.rs:7: wrong");
        assert_eq!(Finding::of_file("Cargo.toml", "wrong").to_string(), "Cargo.toml: wrong");
    }
}
