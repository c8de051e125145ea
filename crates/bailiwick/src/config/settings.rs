//! Settings in layers: which value counts, and where it came from.

use std::{collections::HashMap, ffi::OsString, fmt, fs, path::Path, str::FromStr};

use gateway::Program;
use model::{Name, nearest};
use toml::de::{DeTable, DeValue};

use super::{KEYS, Key, Sink, failure, programs, sinks};
use crate::{
    failure::{Exit, Failure, Result},
    files, toml_input,
};

/// What a variable of the environment must begin with to be a setting.
const PREFIX: &str = "BAILIWICK__";

/// The section of MCP servers that are programs; each is a table of its own.
const PROGRAMS: &str = "programs";

/// The list of systems that entries are sent to.
const SINKS: &str = "sinks";

/// The value that counts for each setting, the programs, and the sinks.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    values: HashMap<(&'static str, &'static str), Setting>,
    programs: programs::Tables,
    sinks: Vec<sinks::Table>,
}

#[derive(Debug)]
struct Setting {
    text: String,
    origin: String,
}

impl Settings {
    /// Reads all layers, the later over the earlier.
    pub(crate) fn read(
        file: &Path,
        environment: impl Iterator<Item = (OsString, OsString)>,
        flags: &[String],
    ) -> Result<Self> {
        let mut settings = Self::default();
        for key in KEYS {
            if let Some(default) = key.default {
                settings.set(key, default, "the default");
            }
        }
        settings.read_file(file)?;
        for drop_in in drop_ins(file)? {
            settings.read_file(&drop_in)?;
        }
        let named = environment.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        for (name, value) in named {
            if let Some(path) = name.strip_prefix(PREFIX) {
                let place = format!("the environment (`{name}`)");
                let path = path.to_ascii_lowercase();
                let (section, key) = path.split_once("__").unwrap_or((&path, ""));
                settings.set(known(section, key, &place)?, value, place);
            }
        }
        for flag in flags {
            let split =
                flag.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
            let ((section, key), value) = split.ok_or_else(|| {
                failure(format!("`--set {flag}` cannot be read"))
                    .why("a setting has a section, a key and a value")
                    .next("write it as `--set SECTION.KEY=VALUE`")
            })?;
            let place = format!("the flag `--set {section}.{key}`");
            settings.set(known(section, key, &place)?, value, place);
        }
        Ok(settings)
    }

    /// The value and where it comes from.
    pub(crate) fn explain(&self, key: &Key) -> Option<(&str, &str)> {
        let setting = self.values.get(&(key.section, key.name))?;
        Some((&setting.text, &setting.origin))
    }

    pub(super) fn text(&self, section: &'static str, name: &'static str) -> Option<&str> {
        self.values.get(&(section, name)).map(|setting| setting.text.as_str())
    }

    pub(super) fn required(&self, section: &'static str, name: &'static str) -> Result<&str> {
        self.text(section, name).ok_or_else(|| {
            failure(format!("`{section}.{name}` is not set"))
                .why(about(section, name))
                .next(format!("add `{name} = \"…\"` below [{section}]"))
        })
    }

    pub(super) fn parsed<T>(&self, section: &'static str, name: &'static str) -> Result<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = self.required(section, name)?;
        text.parse().map_err(|why: T::Err| self.invalid(section, name, &why.to_string()))
    }

    pub(super) fn invalid(&self, section: &'static str, name: &'static str, why: &str) -> Failure {
        let setting = &self.values[&(section, name)];
        // Somebody may have put the secret itself where its place belongs: it is not told to terminals and logs.
        let shown =
            if section == "data" { "what it is".to_owned() } else { format!("`{}`", setting.text) };
        failure(format!("`{section}.{name}` cannot be {shown}")).why(why).next(format!(
            "correct it in {}: {}",
            setting.origin,
            about(section, name)
        ))
    }

    /// MCP servers that are programs on this machine; `base` is what relative paths are relative to.
    pub(super) fn programs(&self, base: &Path) -> Result<Vec<(Name, Program)>> {
        let program = |(name, table): (&Name, &programs::Table)| {
            Ok((name.clone(), table.program(name, base)?))
        };
        self.programs.iter().map(program).collect()
    }

    /// Where entries are sent to; `base` is what relative paths are relative to.
    pub(super) fn sinks(&self, base: &Path) -> Result<Vec<Sink>> {
        sinks::all(&self.sinks, base)
    }

    fn set(&mut self, key: &Key, text: impl Into<String>, origin: impl Into<String>) {
        let setting = Setting { text: text.into(), origin: origin.into() };
        self.values.insert((key.section, key.name), setting);
    }

    fn read_file(&mut self, file: &Path) -> Result<()> {
        let text = files::read_text(file).map_err(|failure| match failure.exit {
            Exit::NotFound => Failure::new(
                "config_missing",
                format!("there is no configuration `{}`", file.display()),
            )
            .why("nothing is known of an installation without its configuration")
            .next("make one with `bailiwick init --dir DIR`, or name yours with `--config FILE`")
            .exit(Exit::NotFound),
            _ => failure,
        })?;
        let table =
            DeTable::parse(&text).map_err(|error| toml_input::refused(file, &text, &error))?;
        for (section, value) in table.get_ref() {
            if section.get_ref() == PROGRAMS {
                // A program that a later file names is that file's.
                self.programs.extend(programs::read(file, &text)?);
                continue;
            }
            if section.get_ref() == SINKS {
                self.sinks.extend(sinks::read(file, &text)?);
                continue;
            }
            let place = toml_input::place(file, &text, Some(section.span()));
            let section = section.get_ref().as_ref();
            check_section(section, &place)?;
            let DeValue::Table(keys) = value.get_ref() else {
                return Err(failure(format!("`{section}` is a section"))
                    .why(format!("it is something else in {place}"))
                    .next(format!("write [{section}]")));
            };
            for (key, value) in keys {
                let place = toml_input::place(file, &text, Some(key.span()));
                let known = known(section, key.get_ref(), &place)?;
                let value = match value.get_ref() {
                    DeValue::String(text) => text.to_string(),
                    DeValue::Integer(number) => number.as_str().to_owned(),
                    _ => {
                        let what = format!("`{section}.{}` is a text or a number", known.name);
                        return Err(failure(what)
                            .why(format!("it is something else in {place}"))
                            .next(format!("write `{} = \"…\"`: {}", known.name, known.about)));
                    }
                };
                self.set(known, value, place);
            }
        }
        Ok(())
    }
}

/// The files of the drop-in folder, by name.
fn drop_ins(file: &Path) -> Result<Vec<std::path::PathBuf>> {
    let folder = file.with_extension("d");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in entries {
        let unreadable = |error: std::io::Error| {
            failure(format!("`{}` cannot be read", folder.display()))
                .because(&error)
                .next("run this as the user whose folder it is")
        };
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The setting of that name.
pub(crate) fn known(section: &str, name: &str, place: &str) -> Result<&'static Key> {
    check_section(section, place)?;
    let of_section = KEYS.iter().filter(|key| key.section == section);
    of_section.clone().find(|key| key.name == name).ok_or_else(|| {
        let known = of_section.map(|key| key.name);
        toml_input::unknown_key(name, known, place, &format!(" in [{section}]"))
    })
}

fn check_section(section: &str, place: &str) -> Result<()> {
    if KEYS.iter().any(|key| key.section == section) {
        return Ok(());
    }
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections.extend([PROGRAMS, SINKS]);
    let meant = nearest(section, sections.iter().copied());
    let hint = meant.map(|meant| format!("; did you mean [{meant}]?")).unwrap_or_default();
    Err(Failure::new("key_unknown", format!("unknown section [{section}]{hint}"))
        .why(format!("it stands in {place}"))
        .next(format!("the known sections are {}", sections.join(", "))))
}

fn about(section: &str, name: &str) -> &'static str {
    let key = KEYS.iter().find(|key| key.section == section && key.name == name);
    key.map_or("", |key| key.about)
}
