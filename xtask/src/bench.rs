//! `cargo xtask bench`: builds what is measured and what measures in one go, then hands over.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};

use crate::cargo;

/// Builds both programs for release and runs the benchmark program with `options`.
///
/// One build for both: two builds would resolve features twice and compile shared crates again, and the program
/// that is measured would not be the one that was built beside it.
pub(crate) fn run(root: &Path, options: &[&str]) -> anyhow::Result<()> {
    check(options)?;
    let build = ["build", "--locked", "--release", "--package", "bailiwick", "--package", "bench"];
    let built = cargo(root).args(build).status().context("cannot run cargo")?;
    ensure!(built.success(), "the release build failed");

    // This program runs from `<target>/debug`, whatever moved the target folder.
    let here = std::env::current_exe().context("cannot tell where this program stands")?;
    let target =
        here.parent().and_then(Path::parent).context("this program has no target folder")?;
    let program = target.join("release").join("bench");
    let measured = Command::new(&program)
        .args(options)
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot run `{}`", program.display()))?;
    ensure!(measured.success(), "the benchmark failed");
    Ok(())
}

/// Refuses a wrong call before minutes are spent on the build.
fn check(options: &[&str]) -> anyhow::Result<()> {
    let mut options = options.to_vec();
    if let Some(at) = options.iter().position(|option| *option == "--entries") {
        let entries = options.get(at + 1).and_then(|text| text.parse::<u64>().ok());
        ensure!(
            entries.is_some_and(|entries| entries > 0),
            "`--entries` wants a number above zero"
        );
        options.drain(at..at + 2);
    }
    let (flags, names): (Vec<&str>, Vec<&str>) =
        options.into_iter().partition(|option| option.starts_with('-'));
    if let Some(unknown) = flags.iter().find(|flag| **flag != "--json") {
        bail!("`{unknown}` is not an option of bench: it knows `--json` and `--entries N`");
    }
    ensure!(names.len() <= 1, "bench takes one name or none: `{}`", names.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn bench_takes_one_name_and_json_in_any_order() {
        for options in [
            &[][..],
            &["decide"],
            &["--json"],
            &["--json", "decide"],
            &["decide", "--json"],
            &["decide", "--entries", "7", "--json"],
        ] {
            check(options).unwrap();
        }
    }

    #[test]
    fn bench_refuses_a_second_name_and_an_unknown_option() {
        check(&["decide", "append"]).unwrap_err();
        check(&["--jsn"]).unwrap_err();
        check(&["decide", "--entries"]).unwrap_err();
        check(&["--entries", "many", "decide"]).unwrap_err();
        check(&["--entries", "0"]).unwrap_err();
    }
}
