//! Each crate says what it is for, in its first lines and in ARCHITECTURE.md.

use super::{Finding, Tree};

/// A crate opens with `//!` that says what it knows and what must never be found in it.
pub(super) fn header(tree: &Tree) -> Vec<Finding> {
    tree.crates()
        .filter_map(|name| {
            let [library, program] =
                ["lib", "main"].map(|file| format!("crates/{name}/src/{file}.rs"));
            let Some(file) = tree.file(&library).or_else(|| tree.file(&program)) else {
                return Some(Finding::of_file(&library, "the crate has no first file"));
            };
            let header = file.text.lines().map_while(|line| line.strip_prefix("//!"));
            let header = header.collect::<Vec<_>>().join("\n").to_lowercase();
            let message = if header.trim().is_empty() {
                "open the crate with `//!` that says what it knows"
            } else if !header.contains("never") && !header.contains("must not") {
                "the header does not say what the crate must not know (`Never here: …`)"
            } else {
                return None;
            };
            Some(Finding::at(&file.path, 1, message))
        })
        .collect()
}

/// Where there is an ARCHITECTURE.md, it names every crate.
pub(super) fn architecture(tree: &Tree) -> Vec<Finding> {
    let Some(plan) = tree.file("ARCHITECTURE.md") else {
        return Vec::new();
    };
    tree.crates()
        .filter(|name| !plan.text.contains(&format!("`{name}`")))
        .filter(|name| !plan.text.contains(&format!("crates/{name}")))
        .map(|name| Finding::of_file(&plan.path, format!("does not mention crate `{name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Tree, architecture, header};

    fn headers(file: &str, text: &str) -> usize {
        let path = format!("crates/model/src/{file}");
        header(&Tree::new([("crates/model/Cargo.toml", ""), (path.as_str(), text)])).len()
    }

    #[test]
    fn a_header_that_says_what_must_not_be_here_is_enough() {
        assert_eq!(headers("lib.rs", "//! Ids. Pure.\n//!\n//! Never here: a clock.\n"), 0);
        assert_eq!(headers("main.rs", "//! The wiring. It must not know rules.\n"), 0);
    }

    #[test]
    fn a_crate_without_a_full_header_is_refused() {
        assert_eq!(headers("lib.rs", "mod id; // never a clock\n"), 1);
        assert_eq!(headers("lib.rs", "//! Ids. Pure.\n"), 1);
        assert_eq!(headers("lib.rs", "mod id;\n//! Never here: a clock.\n"), 1);
        assert_eq!(headers("id.rs", "//! Never here: a clock.\n"), 1);
    }

    #[test]
    fn a_crate_that_the_plan_does_not_mention_is_refused() {
        let found = |plan| {
            let crates = [("crates/model/Cargo.toml", ""), ("ARCHITECTURE.md", plan)];
            architecture(&Tree::new(crates)).len()
        };
        assert_eq!(found("`model` is pure"), 0);
        assert_eq!(found("see crates/model"), 0);
        assert_eq!(found("a model is a model"), 1);
        assert_eq!(architecture(&Tree::new([("crates/model/Cargo.toml", "")])).len(), 0);
    }
}
