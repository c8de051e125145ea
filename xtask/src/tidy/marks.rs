//! Text that must not stand anywhere: marks of unfinished work, paths of one machine, hosts of registries.
//!
//! The needles are written in two pieces, so that this file does not find itself.

use super::{
    Finding, Tree,
    source::{has_word, numbered},
};

/// Work is finished or absent: no placeholders, no ignored tests, no notes to come back.
pub(super) fn unfinished(tree: &Tree) -> Vec<Finding> {
    const CODE: [&str; 3] = ["todo!", "unimplemented!", "#[ignore"];
    const NOTES: [&str; 2] = [concat!("FIX", "ME"), concat!("TO", "DO")];
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| file.is_program()) {
        let mut find = |line, mark: &str| {
            let message = format!("`{mark}`: finish it, or take it out and say so in the change");
            findings.push(Finding::at(&file.path, line, message));
        };
        if let Some(source) = &file.rust {
            for (line, code) in numbered(&source.code) {
                CODE.iter().filter(|mark| code.contains(**mark)).for_each(|mark| find(line, mark));
            }
        }
        let notes = file.rust.as_ref().map_or(&file.text, |source| &source.comments);
        for (line, text) in numbered(notes) {
            NOTES.iter().filter(|note| has_word(text, note)).for_each(|note| find(line, note));
        }
    }
    findings
}

/// The project builds anywhere: nothing names a folder of one person's machine.
pub(super) fn machine_path(tree: &Tree) -> Vec<Finding> {
    const FOLDERS: [&str; 4] = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
    ];
    // Inside a longer path or an address it is a name like any other.
    let absolute = |line: &str, folder: &str| {
        line.match_indices(folder).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._~}".contains(c))
        })
    };
    occurrences(tree, &FOLDERS, absolute, "a path of one machine: use a relative path or `~`")
}

/// Where packages come from is each user's own setting.
pub(super) fn registry_host(tree: &Tree) -> Vec<Finding> {
    const HOSTS: [&str; 6] = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("npmjs", ".org"),
        concat!("npmjs", ".com"),
        concat!("proxy.golang", ".org"),
    ];
    occurrences(
        tree,
        &HOSTS,
        |line, host| line.contains(host),
        "a registry's host: name the package alone",
    )
}

/// All lines of all files, lock files and what others wrote apart, in which `stands` finds one of the needles.
fn occurrences(
    tree: &Tree,
    needles: &[&str],
    stands: impl Fn(&str, &str) -> bool,
    message: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().iter().filter(|file| !file.is_lock() && !file.is_vendored()) {
        for (line, text) in numbered(&file.text) {
            if let Some(needle) = needles.iter().find(|needle| stands(text, needle)) {
                findings.push(Finding::at(&file.path, line, format!("`{needle}` is {message}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Tree, machine_path, registry_host, unfinished};

    #[test]
    fn unfinished_work_is_refused() {
        let found = |path, text: &str| unfinished(&Tree::new([(path, text)])).len();
        for text in [
            "fn f() { todo!() }".to_owned(),
            "fn f() { unimplemented!(\"later\") }".to_owned(),
            "#[test]\n#[ignore = \"slow\"]\nfn f() {}".to_owned(),
            format!("// {}: later", concat!("FIX", "ME")),
            format!("/// {} later", concat!("TO", "DO")),
        ] {
            assert_eq!(found("crates/a/src/lib.rs", &text), 1, "{text}");
        }
        assert_eq!(found("test", concat!("# FIX", "ME")), 1);
    }

    #[test]
    fn a_mark_inside_a_string_or_in_prose_is_only_a_word() {
        let found = |path, text| unfinished(&Tree::new([(path, text)])).len();
        assert_eq!(
            found("crates/a/src/lib.rs", concat!("const A: &str = \"todo! FIX", "ME\";")),
            0
        );
        assert_eq!(found("CONTRIBUTING.md", concat!("never write FIX", "ME")), 0);
    }

    #[test]
    fn a_path_of_one_machine_is_refused() {
        let found = |text: String| machine_path(&Tree::new([("docs/a.md".to_owned(), text)])).len();
        for folder in ["ro\u{6f}t", "hom\u{65}", "User\u{73}", "wor\u{6b}"] {
            assert_eq!(found(format!("see /{folder}/main/x")), 1, "{folder}");
            assert_eq!(found(format!("\"/{folder}/main\"")), 1, "{folder}");
            assert_eq!(found(format!("https://example.com/{folder}/main")), 0, "{folder}");
            assert_eq!(found(format!("file:///{folder}/main")), 1, "{folder}");
            assert_eq!(found(format!("../{folder}/main")), 0, "{folder}");
        }
    }

    #[test]
    fn a_registry_host_is_refused_outside_the_lock_file() {
        let text = concat!("registry+https://github.com/rust-lang/crates", ".io-index");
        assert_eq!(registry_host(&Tree::new([("README.md", text)])).len(), 1);
        for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
            assert_eq!(registry_host(&Tree::new([(lock, text)])).len(), 0);
        }
    }
}
