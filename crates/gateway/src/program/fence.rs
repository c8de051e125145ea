//! The fence: what a program may touch of this machine ([Landlock](https://docs.kernel.org/userspace-api/landlock.html)).
//!
//! It is a list of what is allowed, so that nothing has to be remembered to be forbidden. Behind it a program can also not
//! trace what stands outside, nor signal it where the kernel is of Linux 6.12 or later, and has none of root's powers, whoever
//! runs the node.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
    path_beneath_rules,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// What programs and their libraries need of a system: code, and files that say nothing of anybody.
const SYSTEM: [&str; 24] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/random",
    "/dev/urandom",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/ssl",
    "/etc/mime.types",
    "/run/systemd/resolve",
];
/// What takes everything and keeps nothing.
const SINKS: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/full"];
/// What a kernel must be able to forbid.
const LEAST: ABI = ABI::V1;
/// What is forbidden beside that where the kernel can.
const BEST: ABI = ABI::V6;

/// Why there is no fence, or one with a gap.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The kernel cannot do it.
    #[error(
        "this kernel cannot separate a program from the node (Landlock); use a kernel that can, or say `unsafe_same_user = true` for the program"
    )]
    Impossible(#[source] RulesetError),
    /// The powers of root could not be given up.
    #[error("a program would keep the powers of root")]
    Powers(#[source] std::io::Error),
    /// A file or folder that the program is to use is not there.
    #[error("`{}` is not there, or may not be opened", .0.display())]
    Missing(PathBuf),
    /// What the program is to use would let it reach what is this node's own.
    #[error("`{}` leads to `{}`, which is this node's own", path.display(), own.display())]
    Gap {
        /// What the program is to use.
        path: PathBuf,
        /// What it must not reach.
        own: PathBuf,
    },
}

/// Whether programs can be separated from the node on this machine.
///
/// # Errors
/// They cannot.
pub fn can_fence() -> Result<(), FenceError> {
    ruleset().map(drop)
}

/// Puts this thread, and whatever it starts from now on, behind the fence, for good.
pub(super) fn raise<'a>(
    reads: impl Iterator<Item = &'a Path>,
    writes: impl Iterator<Item = &'a Path>,
) -> Result<(), FenceError> {
    let (read, write) = (AccessFs::from_read(BEST), AccessFs::from_all(BEST));
    let mut rules = ruleset()?;
    for (paths, access) in [(&SYSTEM[..], read), (&SINKS[..], read | AccessFs::WriteFile)] {
        // No system has all of them.
        rules = allow(rules, paths, access)?;
    }
    for (path, access) in reads.map(|path| (path, read)).chain(writes.map(|path| (path, write))) {
        PathFd::new(path).map_err(|_| FenceError::Missing(path.to_owned()))?;
        rules = allow(rules, &[path], access)?;
    }
    rules.restrict_self().map(drop).map_err(FenceError::Impossible)?;
    // A node that runs as root would hand on the powers of root, some of which reach over the fence. What is given up here
    // no program that is started gets back.
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(|error| FenceError::Powers(error.into()))
}

/// Whether a path, and what every program may read, stay clear of what is this node's own, links followed.
pub(super) fn leaves_out(path: &Path, own: &[PathBuf]) -> Result<(), FenceError> {
    let real = std::fs::canonicalize(path).map_err(|_| FenceError::Missing(path.to_owned()))?;
    for own in own {
        let whole = std::fs::canonicalize(own).unwrap_or_else(|_| own.clone());
        let reaches = |path: &Path| whole.starts_with(path) || path.starts_with(&whole);
        let gap = [real.as_path()].into_iter().chain(SYSTEM.iter().map(Path::new));
        if let Some(gap) = gap.into_iter().find(|path| reaches(path)) {
            return Err(FenceError::Gap { path: gap.to_owned(), own: own.clone() });
        }
    }
    Ok(())
}

fn ruleset() -> Result<RulesetCreated, FenceError> {
    let made = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(LEAST))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(BEST))?
            .scope(Scope::from_all(BEST))?
            .create()
    };
    made().map_err(FenceError::Impossible)
}

/// Allows what of it a file or a folder can have; a path that is not there is left out.
fn allow(
    rules: RulesetCreated,
    paths: &[impl AsRef<Path>],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, FenceError> {
    rules.add_rules(path_beneath_rules(paths, access)).map_err(FenceError::Impossible)
}
