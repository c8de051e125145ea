//! What a person does not want to say every time.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Context;
use crate::{
    failure::{Exit, Failure, Result},
    files,
    output::word,
    toml_input,
};

/// Where the server is and who asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) server: String,
    pub(crate) key: PathBuf,
    pub(crate) identity: String,
}

impl Profile {
    /// What flags, environment and the file say together.
    pub(crate) fn resolve(context: &Context) -> Result<Self> {
        let said = (&context.server, &context.key, &context.identity);
        if let (Some(server), Some(key), Some(identity)) = said {
            return Ok(Self {
                server: server.clone(),
                key: key.clone(),
                identity: identity.clone(),
            });
        }
        let remembered = match Self::path(context) {
            Some(path) if path.exists() => Some(toml_input::read::<Self>(&path)?),
            _ => None,
        };
        let place = match (&remembered, Self::path(context)) {
            (Some(_), Some(path)) => format!("neither flags nor `{}` say it", path.display()),
            (None, Some(path)) => {
                format!("no flag says it, and there is no profile `{}`", path.display())
            }
            (_, None) => "no flag says it, and there is no home folder with a profile".to_owned(),
        };
        let missing = |what: &str, flag: &str| {
            Failure::new("not_signed_in", format!("nobody said {what}"))
                .why(place.clone())
                .next(format!("say `{flag}`, or once for all: `bailiwick profile set --server URL --key FILE --identity URI`"))
                .exit(Exit::SignIn)
        };
        let of_profile = remembered.as_ref();
        Ok(Self {
            server: context
                .server
                .clone()
                .or_else(|| of_profile.map(|profile| profile.server.clone()))
                .ok_or_else(|| missing("where the server is", "--server URL"))?,
            key: context
                .key
                .clone()
                .or_else(|| of_profile.map(|profile| profile.key.clone()))
                .ok_or_else(|| missing("which key is yours", "--key FILE"))?,
            identity: context
                .identity
                .clone()
                .or_else(|| of_profile.map(|profile| profile.identity.clone()))
                .ok_or_else(|| missing("who you are", "--identity URI"))?,
        })
    }

    /// Makes sure that the file can be written, before something is done that it has to remember.
    pub(crate) fn prepare(context: &Context) -> Result<PathBuf> {
        let path = Self::path(context).ok_or_else(|| {
            Failure::new("no_home", "there is no place to remember the profile in")
                .why("neither `XDG_CONFIG_HOME` nor `HOME` names a folder")
                .next("name a file with `--profile FILE`")
        })?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            files::make_private_dir(folder)?;
        }
        files::replaceable(&path)?;
        Ok(path)
    }

    /// Writes the file, in place of the one before.
    pub(crate) fn remember(&self, context: &Context) -> Result<PathBuf> {
        let path = Self::prepare(context)?;
        let absolute = std::path::absolute(&self.key).unwrap_or_else(|_| self.key.clone());
        let text = toml::to_string(&Self { key: absolute, ..self.clone() });
        let text = text.map_err(|error| {
            Failure::new("profile_not_written", "the profile cannot be written")
                .because(&error)
                .next("keep the key in a place whose name is UTF-8")
        })?;
        files::replace(&path, text.as_bytes())?;
        Ok(path)
    }

    /// The command that remembers this, in a file of its own or in the one that is read when nobody names one.
    pub(crate) fn command(&self, file: Option<&Path>) -> String {
        let key = std::path::absolute(&self.key).unwrap_or_else(|_| self.key.clone());
        let file = file.map(|file| format!(" --profile {}", word(&file.display().to_string())));
        format!(
            "bailiwick profile set --server {} --key {} --identity {}{}",
            word(&self.server),
            word(&key.display().to_string()),
            word(&self.identity),
            file.unwrap_or_default()
        )
    }

    /// Where server, identity and key were said, for somebody who is not believed.
    pub(super) fn sources(&self, context: &Context) -> String {
        let file = Self::path(context).map(|path| format!("the profile `{}`", path.display()));
        let file = file.unwrap_or_default();
        let from =
            |said: bool| if said { "the command line or environment" } else { file.as_str() };
        format!(
            "server `{}` (from {}), identity `{}` (from {}), key `{}` (from {})",
            self.server,
            from(context.server.is_some()),
            self.identity,
            from(context.identity.is_some()),
            self.key.display(),
            from(context.key.is_some())
        )
    }

    /// Where the file is.
    pub(crate) fn path(context: &Context) -> Option<PathBuf> {
        let folder = || {
            let of = |name: &str| {
                std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
            };
            Some(
                of("XDG_CONFIG_HOME")
                    .or_else(|| Some(of("HOME")?.join(".config")))?
                    .join("bailiwick"),
            )
        };
        context.profile.clone().or_else(|| Some(folder()?.join("profile.toml")))
    }
}
