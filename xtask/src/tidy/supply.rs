//! What comes from outside: the lock file, and packages that must not be in the build.

use super::{Finding, Tree, source::numbered, tree::File};

/// One provider of cryptography, aws-lc-rs, in the whole build.
const BANNED: [&str; 4] = ["ring", "openssl", "openssl-sys", "native-tls"];

/// The one source of packages. In two pieces, because no other file may name it.
const SOURCE: &str = concat!("registry+https://github.com/rust-lang/crates", ".io-index");

/// The lock file is part of the checkout, and every package in it, or in one below, comes from the public registry.
pub(super) fn lock_file(tree: &Tree) -> Vec<Finding> {
    if tree.file("Cargo.lock").is_none() {
        return vec![Finding::of_file("Cargo.lock", "is missing or ignored: commit it")];
    }
    tree.files().iter().filter(|file| file.is_lock()).flat_map(from_elsewhere).collect()
}

fn from_elsewhere(lock: &File) -> impl Iterator<Item = Finding> {
    let source =
        |line: &'_ str| Some(line.strip_prefix("source = \"")?.trim_end_matches('"').to_owned());
    numbered(&lock.text)
        .filter_map(move |(line, text)| Some((line, source(text)?)))
        .filter(|(_, source)| source != SOURCE)
        .map(|(line, source)| {
            let message = format!("package from `{source}`: take it from the public registry");
            Finding::at(&lock.path, line, message)
        })
}

/// No second provider of cryptography is compiled, on any target.
pub(super) fn package(tree: &Tree) -> Vec<Finding> {
    BANNED
        .iter()
        .filter(|name| tree.packages.contains(**name))
        .map(|name| {
            let query = format!("cargo tree --workspace --target all -e normal,build -i {name}");
            let message =
                format!("package `{name}` is in the build, which has aws-lc-rs: see `{query}`");
            Finding::of_file("Cargo.lock", message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BANNED, SOURCE, Tree, lock_file, package};

    #[test]
    fn a_missing_lock_file_is_refused() {
        assert_eq!(lock_file(&Tree::default()).len(), 1);
    }

    #[test]
    fn a_package_from_elsewhere_is_refused() {
        let found = |source| {
            let lock = format!("[[package]]\nname = \"a\"\nsource = \"{source}\"\n");
            let below =
                ["Cargo.lock", "fuzz/Cargo.lock"].map(|path| (path.to_owned(), lock.clone()));
            lock_file(&Tree::new(below)).len()
        };
        assert_eq!(found(SOURCE), 0);
        assert_eq!(found("git+https://example.com/a"), 2);
        assert_eq!(found("sparse+https://mirror.example.com/index/"), 2);
    }

    #[test]
    fn a_second_provider_of_cryptography_is_refused() {
        let found = |name: &str| {
            let mut tree = Tree::default();
            tree.packages.insert(name.to_owned());
            package(&tree).len()
        };
        for name in BANNED {
            assert_eq!(found(name), 1, "{name}");
        }
        assert_eq!(found("aws-lc-rs"), 0);
        assert_eq!(found("string"), 0);
    }
}
