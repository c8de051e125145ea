//! What the rules look at: the text of the checkout, and the packages that are built from it.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, ensure};

use super::source::Source;
use crate::cargo;

/// A checkout, or the part of one that a test planted.
#[derive(Default)]
pub(crate) struct Tree {
    files: Vec<File>,
    /// Names of all packages that a build compiles on any target; what only tests need is left out.
    pub(crate) packages: BTreeSet<String>,
}

/// One text file.
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The same text taken apart, if it is Rust.
    pub(crate) rust: Option<Source>,
}

impl Tree {
    pub(crate) fn new<T: Into<String>>(files: impl IntoIterator<Item = (T, T)>) -> Self {
        let file = |(path, text): (T, T)| {
            let (path, text) = (path.into(), text.into());
            let rust = path.ends_with(".rs").then(|| Source::of(&text));
            File { path, text, rust }
        };
        let mut files: Vec<File> = files.into_iter().map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files, packages: BTreeSet::new() }
    }

    /// Everything below `root` that `.gitignore` does not name.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let mut files = Vec::new();
        collect(root, "", &Ignored::parse(&ignored), &mut files)?;
        Ok(Self { packages: packages(root)?, ..Self::new(files) })
    }

    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// All Rust files below a folder, each with its parts.
    pub(crate) fn rust(&self, folder: &str) -> impl Iterator<Item = (&File, &Source)> {
        self.files
            .iter()
            .filter(move |file| file.path.starts_with(folder))
            .filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    /// The folder names of all crates of the house.
    pub(crate) fn crates(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|file| {
            let name = file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
            (!name.contains('/')).then_some(name)
        })
    }
}

impl File {
    /// Whether the whole file is there for tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("crates/testkit/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// Whether it says which packages a workspace is built from.
    pub(crate) fn is_lock(&self) -> bool {
        self.path == "Cargo.lock" || self.path.ends_with("/Cargo.lock")
    }

    /// Whether others wrote it, and it stands here as it came.
    pub(crate) fn is_vendored(&self) -> bool {
        self.path.contains("/vendor/")
    }

    /// Whether people of this project wrote it as a program: not prose, data or a vendored asset.
    pub(crate) fn is_program(&self) -> bool {
        const ENDINGS: [&str; 9] = ["rs", "sh", "py", "sql", "html", "css", "js", "mjs", "toml"];
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let known = match name.rsplit_once('.') {
            Some((_, ending)) => ENDINGS.contains(&ending),
            None => name != "LICENSE",
        };
        known && !self.is_vendored()
    }
}

/// The plain subset of `.gitignore` that this project uses: `/path`, `name` and `*.ending`.
struct Ignored(Vec<String>);

impl Ignored {
    fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| line.trim().trim_end_matches('/'));
        Self(
            lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(String::from)
                .collect(),
        )
    }

    fn names(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.0.iter().any(|pattern| match (pattern.strip_prefix('/'), pattern.strip_prefix('*')) {
            (Some(rooted), _) => path == rooted,
            (None, Some(ending)) => name.ends_with(ending),
            (None, None) => name == pattern,
        })
    }
}

/// Adds the text files of one folder and all below it. What is not UTF-8 (an image) is not text.
fn collect(
    root: &Path,
    folder: &str,
    ignored: &Ignored,
    files: &mut Vec<(String, String)>,
) -> anyhow::Result<()> {
    let here = root.join(folder);
    for entry in fs::read_dir(&here).with_context(|| format!("cannot list `{}`", here.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file name is not UTF-8")?;
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type()?;
        if name == ".git" || ignored.names(&path) {
            continue;
        } else if kind.is_dir() && !is_cache(&entry.path()) {
            collect(root, &path, ignored, files)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).with_context(|| format!("cannot read `{path}`"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push((path, text));
            }
        }
    }
    Ok(())
}

/// A target folder that was moved, for one, says itself that it is a cache.
fn is_cache(folder: &Path) -> bool {
    folder.join("CACHEDIR.TAG").exists()
}

/// The packages of every build, as cargo resolves them from the committed lock file.
fn packages(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let query = ["tree", "--locked", "--workspace", "--target", "all", "--edges", "normal,build"];
    let answer = cargo(root)
        .args(query)
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .context("cannot run cargo")?;
    ensure!(
        answer.status.success(),
        "cannot list the packages of the build: {}",
        String::from_utf8_lossy(&answer.stderr)
    );
    Ok(package_names(&String::from_utf8(answer.stdout).context("cargo answers in UTF-8")?))
}

/// The first word of each line; repeated packages and blank lines between the members fall away.
fn package_names(listing: &str) -> BTreeSet<String> {
    listing.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ignored, Tree, package_names};

    #[test]
    fn ignored_names_are_rooted_anywhere_or_by_ending() {
        let ignored = Ignored::parse("# comment\n/target\n\nnode_modules/\n*.log\n");
        for path in ["target", "node_modules", "crates/server/node_modules", "crates/run.log"] {
            assert!(ignored.names(path), "{path}");
        }
        for path in ["crates/target", "Cargo.lock", "targets", "log"] {
            assert!(!ignored.names(path), "{path}");
        }
    }

    #[test]
    fn crates_are_the_folders_with_a_manifest() {
        let tree = Tree::new([
            ("crates/model/Cargo.toml", ""),
            ("crates/model/src/lib.rs", ""),
            ("crates/model/fuzz/Cargo.toml", ""),
            ("bench/Cargo.toml", ""),
        ]);
        assert_eq!(tree.crates().collect::<Vec<_>>(), ["model"]);
    }

    #[test]
    fn programs_are_neither_prose_nor_data_nor_vendored() {
        let tree = Tree::new([
            ("test", ""),
            ("crates/a/src/lib.rs", ""),
            ("LICENSE", ""),
            ("README.md", ""),
            ("Cargo.lock", ""),
            ("crates/a/assets/vendor/htmx.js", ""),
        ]);
        let programs = tree.files().iter().filter(|file| file.is_program());
        let paths: Vec<&str> = programs.map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["crates/a/src/lib.rs", "test"]);
    }

    #[test]
    fn package_names_are_read_once_each_from_the_listing() {
        let listing = "a v0.1.0 (/srv/a)\nb v1.2.3\n\nc v1.0.0 (proc-macro)\nb v1.2.3 (*)\n";
        assert_eq!(package_names(listing).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
