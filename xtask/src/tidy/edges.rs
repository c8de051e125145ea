//! Which crate may use which: arrows point down only (ARCHITECTURE.md).

use toml::{Table, Value};

use super::{Finding, Tree, tree::File};

/// The house, lowest floor first. A crate uses only crates on floors below its own.
const FLOORS: &[(&str, u8)] = &[
    ("model", 1),
    ("token", 2),
    ("policy", 2),
    ("ledger", 2),
    ("scrub", 2),
    ("store", 3),
    ("decide", 4),
    ("govern", 5),
    ("insight", 6),
    ("connectors", 6),
    ("gateway", 7),
    ("server", 7),
    ("bailiwick", 8),
];

/// Beside the house: they may use anything in it. Only tests use `testkit`, nothing uses the other two.
const BESIDE: [&str; 4] = ["testkit", "bench", "fuzz", "xtask"];

/// Arrows that point down and are wrong all the same.
const BARRED: &[(&str, &str, &str)] = &[
    (
        "gateway",
        "policy",
        "it enforces a verdict and does not know how one is reached: ask `decide`",
    ),
    ("gateway", "store", "a call never waits for storage: ask `decide`"),
    ("server", "policy", "it does not know how a right is computed: ask `decide` or `govern`"),
];

/// Each crate stands on a known floor, in a folder of its own name, and uses only what lies below.
pub(super) fn arrows(tree: &Tree) -> Vec<Finding> {
    let root = tree.file("Cargo.toml").and_then(|file| file.text.parse::<Table>().ok());
    let root = root.unwrap_or_default();
    let mut findings = Vec::new();
    for (file, folder) in manifests(tree) {
        let manifest = match file.text.parse::<Table>() {
            Ok(manifest) => manifest,
            Err(error) => {
                findings.push(Finding::of_file(&file.path, format!("not a manifest: {error}")));
                continue;
            }
        };
        let name = manifest.get("package").and_then(|package| package.get("name"));
        if name.and_then(Value::as_str) != Some(folder) {
            findings.push(Finding::of_file(
                &file.path,
                format!("the package in folder `{folder}` must be called `{folder}`"),
            ));
        }
        if floor(folder).is_none() && !BESIDE.contains(&folder) {
            findings.push(Finding::of_file(
                &file.path,
                format!(
                    "crate `{folder}` stands on no floor: give it one in xtask/src/tidy/edges.rs"
                ),
            ));
        }
        for (kind, dependencies) in dependency_tables(&manifest) {
            for (key, value) in dependencies {
                let used = package_name(key, value, &root);
                if let Some(reason) = objection(folder, used, kind) {
                    findings.push(Finding::of_file(
                        &file.path,
                        format!("`{folder}` must not use `{used}`: {reason}"),
                    ));
                }
            }
        }
    }
    findings
}

/// Each crate takes over the lints of the workspace; without that line it may even be `unsafe`.
pub(super) fn lints(tree: &Tree) -> Vec<Finding> {
    let inherits = |text: &str| {
        let manifest = text.parse::<Table>().ok()?;
        manifest.get("lints")?.get("workspace")?.as_bool()
    };
    manifests(tree)
        .filter(|(file, _)| inherits(&file.text) != Some(true))
        .map(|(file, _)| {
            Finding::of_file(
                &file.path,
                "does not take over the lints: add `[lints] workspace = true`",
            )
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Built into the program, or run to build it.
    Shipped,
    Test,
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

/// Why crate `from` may not use package `to`; none if it may, or if `to` is not of the house.
fn objection(from: &str, to: &str, kind: Kind) -> Option<String> {
    if to == "bench" || to == "xtask" {
        return Some("it is a tool, not a library".to_owned());
    }
    if BESIDE.contains(&from) {
        return None;
    }
    if to == "testkit" {
        let shipped = kind == Kind::Shipped;
        return shipped.then(|| "only tests may: move it to `[dev-dependencies]`".to_owned());
    }
    let (upper, lower) = (floor(from)?, floor(to)?);
    if lower >= upper {
        return Some(format!("floor {upper} must not see floor {lower}, only what lies below"));
    }
    let barred = BARRED.iter().find(|(above, below, _)| (*above, *below) == (from, to));
    barred.map(|(_, _, reason)| (*reason).to_owned())
}

/// The manifests of the workspace's members, each with the name of its folder.
fn manifests(tree: &Tree) -> impl Iterator<Item = (&File, &str)> {
    tree.files().iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/Cargo.toml")?;
        let name = folder.strip_prefix("crates/").unwrap_or(folder);
        (!name.contains('/')).then_some((file, name))
    })
}

/// All tables of a manifest that name dependencies, also those for one platform only.
fn dependency_tables(manifest: &Table) -> Vec<(Kind, &Table)> {
    let platforms = manifest.get("target").and_then(Value::as_table);
    let platforms = platforms.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let mut tables = Vec::new();
    for scope in std::iter::once(manifest).chain(platforms) {
        for (name, kind) in [
            ("dependencies", Kind::Shipped),
            ("build-dependencies", Kind::Shipped),
            ("dev-dependencies", Kind::Test),
        ] {
            tables.extend(scope.get(name).and_then(Value::as_table).map(|table| (kind, table)));
        }
    }
    tables
}

/// The package behind a dependency's key, which may be another name for it, here or in the root manifest.
fn package_name<'a>(key: &'a str, value: &'a Value, root: &'a Table) -> &'a str {
    let shared = || root.get("workspace")?.get("dependencies")?.get(key)?.get("package");
    let inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
    let renamed = value.get("package").or_else(|| if inherited { shared() } else { None });
    renamed.and_then(Value::as_str).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::{Tree, arrows, lints};

    /// What the rule says about a crate with these lines in its manifest.
    fn said(name: &str, dependencies: &str) -> Vec<String> {
        let manifest = format!("[package]\nname = \"{name}\"\n{dependencies}");
        let root =
            "[workspace.dependencies]\nrules = { path = \"crates/policy\", package = \"policy\" }";
        let path = format!("crates/{name}/Cargo.toml");
        let tree = Tree::new([(path, manifest), ("Cargo.toml".to_owned(), root.to_owned())]);
        arrows(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn arrows_that_point_down_are_allowed() {
        assert_eq!(
            said("decide", "[dependencies]\nstore.workspace = true\nmodel.workspace = true"),
            [""; 0]
        );
        assert_eq!(
            said("server", "[dependencies]\ngovern.workspace = true\nserde = \"1\""),
            [""; 0]
        );
    }

    #[test]
    fn arrows_up_and_sideways_are_refused() {
        for (from, to) in
            [("model", "token"), ("token", "ledger"), ("store", "decide"), ("server", "gateway")]
        {
            let found = said(from, &format!("[dependencies]\n{to}.workspace = true"));
            assert_eq!(found.len(), 1, "{from} to {to}");
            assert!(
                found[0].starts_with(&format!("`{from}` must not use `{to}`: floor")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn gateway_and_server_are_kept_from_policy_and_storage() {
        for (from, to) in [("gateway", "policy"), ("gateway", "store"), ("server", "policy")] {
            assert_eq!(
                said(from, &format!("[dependencies]\n{to}.workspace = true")).len(),
                1,
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn an_arrow_cannot_hide_behind_another_name_or_a_platform() {
        for hidden in [
            "[dependencies]\nrules.workspace = true",
            "[dependencies]\nr = { path = \"../policy\", package = \"policy\" }",
            "[build-dependencies]\npolicy.workspace = true",
            "[target.'cfg(unix)'.dependencies]\npolicy.workspace = true",
            "[dev-dependencies]\npolicy = { path = \"../policy\" }",
        ] {
            assert_eq!(said("gateway", hidden).len(), 1, "{hidden}");
        }
    }

    #[test]
    fn testkit_is_for_tests_only() {
        assert_eq!(said("model", "[dev-dependencies]\ntestkit.workspace = true"), [""; 0]);
        assert_eq!(said("bailiwick", "[dependencies]\ntestkit.workspace = true").len(), 1);
        assert_eq!(said("testkit", "[dependencies]\nserver.workspace = true"), [""; 0]);
    }

    #[test]
    fn nothing_uses_the_tools() {
        assert_eq!(
            said("bailiwick", "[dependencies]\nbench = { path = \"../../bench\" }").len(),
            1
        );
        assert_eq!(said("testkit", "[dependencies]\nxtask = { path = \"../../xtask\" }").len(), 1);
    }

    #[test]
    fn a_crate_without_a_floor_or_of_another_name_is_refused() {
        assert_eq!(said("attic", "").len(), 1);
        let tree = Tree::new([("crates/model/Cargo.toml", "[package]\nname = \"models\"")]);
        assert_eq!(arrows(&tree).len(), 1);
        assert_eq!(arrows(&Tree::new([("crates/model/Cargo.toml", "[")])).len(), 1);
    }

    #[test]
    fn a_crate_without_the_lints_is_refused() {
        let found = |text| lints(&Tree::new([("crates/model/Cargo.toml", text)])).len();
        assert_eq!(found("[lints]\nworkspace = true"), 0);
        assert_eq!(found("[package]\nname = \"model\""), 1);
        assert_eq!(found("[lints]\nworkspace = false"), 1);
    }
}
