//! `cargo xtask fuzz`: lets libFuzzer look for inputs that a parser on the path of a call does not stand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

/// How long all targets together run, in minutes.
const MINUTES: u64 = 30;
/// The longest input, in bytes: longer ones only repeat themselves.
const LONGEST: u32 = 16 * 1024;
/// How long one input may take, in seconds, on a machine that has other things to do.
const SLOWEST: u32 = 20;

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    /// One target, or all.
    target: Option<String>,
    minutes: u64,
}

/// Builds the targets with the nightly compiler and runs all, or one, for so many minutes altogether. What they learn is kept in
/// the target folder for the next run. A finding ends the run, and the last lines name the file with the input.
pub(crate) fn run(root: &Path, options: &[&str]) -> anyhow::Result<()> {
    let wish = Wish::of(options)?;
    let known = targets(root)?;
    let chosen: Vec<&String> =
        known.iter().filter(|name| wish.target.as_ref().is_none_or(|one| one == *name)).collect();
    ensure!(!chosen.is_empty(), "there is no such target: choose among {}", known.join(", "));
    let fuzzer = Fuzzer::ready(root)?;
    fuzzer.build()?;
    let seconds = (wish.minutes * 60 / chosen.len() as u64).max(1);
    for name in &chosen {
        println!("== {name}: {seconds} s");
        fuzzer.run(name, seconds)?;
    }
    println!("fuzz: {} targets ran {seconds} s each without a finding", chosen.len());
    Ok(())
}

impl Wish {
    fn of(options: &[&str]) -> anyhow::Result<Self> {
        let mut wish = Self { target: None, minutes: MINUTES };
        let mut words = options.iter();
        while let Some(word) = words.next() {
            match *word {
                "--minutes" => {
                    let minutes = words.next().and_then(|minutes| minutes.parse().ok());
                    wish.minutes = minutes
                        .filter(|minutes| *minutes > 0)
                        .context("`--minutes` wants a whole number of minutes")?;
                }
                flag if flag.starts_with('-') => {
                    bail!("`{flag}` is not an option of fuzz: it knows `--minutes N`")
                }
                name if wish.target.is_none() => wish.target = Some(name.to_owned()),
                _ => bail!("fuzz takes one target or none: `{}`", options.join(" ")),
            }
        }
        Ok(wish)
    }
}

/// The names of all targets.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("fuzz/targets");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// cargo-fuzz, installed.
struct Fuzzer {
    fuzz: PathBuf,
    program: PathBuf,
    /// Where everything goes that a run makes.
    target: PathBuf,
}

impl Fuzzer {
    /// Installs what is missing into the target folder.
    fn ready(root: &Path) -> anyhow::Result<Self> {
        // This program runs from `<target>/debug`, whatever moved the target folder.
        let here = std::env::current_exe().context("cannot tell where this program stands")?;
        let target =
            here.parent().and_then(Path::parent).context("this program has no target folder")?;
        let target = target.join("fuzz");
        let program = target.join("tools/bin/cargo-fuzz");
        let nightly =
            Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
        ensure!(
            nightly.is_ok_and(|asked| asked.status.success()),
            "the nightly compiler is missing: `rustup toolchain install nightly --profile minimal`"
        );
        if !program.exists() {
            let mut install = crate::cargo(root);
            install.args(["install", "--locked", "cargo-fuzz", "--version", "0.13.2", "--root"]);
            install.arg(target.join("tools")).arg("--target-dir").arg(target.join("tools/build"));
            let installed = install.status().context("cannot run cargo")?;
            ensure!(installed.success(), "cargo-fuzz could not be installed");
        }
        Ok(Self { fuzz: root.join("fuzz"), program, target })
    }

    fn build(&self) -> anyhow::Result<()> {
        let built = self.command("build").status().context("cannot run cargo-fuzz")?;
        ensure!(built.success(), "the targets could not be built");
        Ok(())
    }

    fn run(&self, name: &str, seconds: u64) -> anyhow::Result<()> {
        let learnt = self.target.join("corpus").join(name);
        let found = self.target.join("found").join(name);
        for folder in [&learnt, &found] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        let mut run = self.command("run");
        run.arg(name).arg(&learnt).arg(self.fuzz.join("corpus").join(name)).arg("--");
        run.arg(format!("-artifact_prefix={}/", found.display()));
        run.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LONGEST}"));
        run.arg(format!("-timeout={SLOWEST}")).arg("-print_final_stats=1").arg("-verbosity=0");
        let ran = run.status().context("cannot run cargo-fuzz")?;
        ensure!(ran.success(), "{name} has a finding; its input is in `{}`", found.display());
        Ok(())
    }

    /// cargo-fuzz for our targets. Our code has no `unsafe`, so no sanitizer slows it down; overflows and debug assertions count.
    fn command(&self, what: &str) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly"]).arg(&self.program).args(["fuzz", what]);
        command.args(["--sanitizer", "none", "--fuzz-dir"]).arg(&self.fuzz);
        command.arg("--target-dir").arg(&self.target);
        // Otherwise it would take the compiler that built this program.
        command.env_remove("CARGO").env_remove("CARGO_TARGET_DIR").current_dir(&self.fuzz);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::{MINUTES, Wish};

    #[test]
    fn fuzz_takes_one_target_and_minutes_in_any_order() {
        let wish =
            |target: Option<&str>, minutes| Wish { target: target.map(str::to_owned), minutes };
        for (options, expected) in [
            (&[][..], wish(None, MINUTES)),
            (&["ijson"], wish(Some("ijson"), MINUTES)),
            (&["--minutes", "5"], wish(None, 5)),
            (&["ijson", "--minutes", "5"], wish(Some("ijson"), 5)),
            (&["--minutes", "5", "ijson"], wish(Some("ijson"), 5)),
        ] {
            assert_eq!(Wish::of(options).unwrap(), expected);
        }
    }

    #[test]
    fn fuzz_refuses_a_second_target_and_what_is_no_time() {
        for options in [
            &["ijson", "jws"][..],
            &["--minute", "5"],
            &["--minutes"],
            &["--minutes", "0"],
            &["--minutes", "x"],
        ] {
            Wish::of(options).unwrap_err();
        }
    }
}
