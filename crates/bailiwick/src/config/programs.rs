//! `[programs.NAME]`: MCP servers that are programs on this machine. Only what stands here can be started, whoever adds servers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gateway::{FenceError, Program, can_fence};
use model::Name;
use serde::Deserialize;

use super::{SecretRef, failure};
use crate::{failure::Result, toml_input};

/// One program, as its table says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    command: PathBuf,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    #[serde(default)]
    reads: Vec<PathBuf>,
    #[serde(default)]
    writes: Vec<PathBuf>,
    #[serde(default)]
    unsafe_same_user: bool,
}

pub(super) type Tables = BTreeMap<Name, Table>;

/// The programs of one file; its other sections are read elsewhere.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    programs: Tables,
}

/// Reads them from the text of a file.
pub(super) fn read(file: &Path, text: &str) -> Result<Tables> {
    let file_read: File =
        toml::from_str(text).map_err(|error| toml_input::refused(file, text, &error))?;
    Ok(file_read.programs)
}

impl Table {
    /// The program; `base` is what relative paths are relative to.
    pub(super) fn program(&self, name: &Name, base: &Path) -> Result<Program> {
        let below = |path: &PathBuf| base.join(path);
        let mut secrets = Vec::new();
        for (variable, reference) in &self.secrets {
            let place = reference.parse::<SecretRef>().map_err(|why| {
                failure(format!("`programs.{name}.secrets.{variable}` cannot be what it is"))
                    .because(&why)
                    .next("write `file:PATH` or `env:NAME`")
            })?;
            secrets.push((variable.clone(), place.below(base).to_string()));
        }
        Ok(Program {
            command: below(&self.command),
            arguments: self.arguments.clone(),
            variables: self.variables.clone().into_iter().collect(),
            secrets,
            reads: self.reads.iter().map(below).collect(),
            writes: self.writes.iter().map(below).collect(),
            unsafe_same_user: self.unsafe_same_user,
        })
    }
}

/// Refuses programs that could reach what is this node's own, and those that this machine cannot keep from it.
pub(crate) fn check(programs: &[(Name, Program)], own: &[PathBuf]) -> Result<()> {
    for (name, program) in programs {
        let fenced = match program.is_separated() {
            true => can_fence().and_then(|()| program.leaves_out(own)),
            false => Ok(()),
        };
        fenced.map_err(|error| match &error {
            FenceError::Missing(path) => {
                failure(format!("[programs.{name}] names `{}`", path.display()))
                    .why("it is not there, or may not be opened")
                    .next("make it, or correct `command`, `reads` and `writes` there")
            }
            _ => failure(format!("the program `{name}` would not be separated from this node"))
                .because(&error)
                .next(format!(
                    "correct [programs.{name}], or move what is this node's own out of its reach; `unsafe_same_user = true` runs it without a fence"
                )),
        })?;
    }
    Ok(())
}
