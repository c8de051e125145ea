use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::ConfigArgs;
use crate::{
    config::{self, KEYS, Settings},
    failure::Result,
    keys,
    output::{Answer, Table},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check that the configuration can be used, and that the keys are where it says.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show settings, their values, and where each comes from.
    Explain {
        /// One setting, as `SECTION.KEY`; all of them when none is named.
        key: Option<String>,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl Command {
    pub(super) fn run(self) -> Result<Answer> {
        match self {
            Self::Check { config } => {
                let loaded = config::load(&config.config, &config.set)?;
                keys::check(&loaded)?;
                config::check_programs(&loaded.programs, &loaded.own_files())?;
                let file = config.config.display();
                Ok(Answer::new(json!({ "ok": true }), format!("`{file}` is fine")))
            }
            Self::Explain { key, config } => explain(key.as_deref(), &config),
        }
    }
}

fn explain(wanted: Option<&str>, config: &ConfigArgs) -> Result<Answer> {
    let settings = Settings::read(&config.config, std::env::vars_os(), &config.set)?;
    let wanted = match wanted {
        None => None,
        Some(path) => {
            let (section, name) = path.split_once('.').unwrap_or((path, ""));
            Some(config::known(section, name, "the command line")?)
        }
    };
    let mut table = Table::new(&["SETTING", "VALUE", "FROM", "ABOUT"]);
    let mut document = Map::new();
    for key in KEYS.iter().filter(|key| wanted.is_none_or(|wanted| std::ptr::eq(wanted, *key))) {
        let path = format!("{}.{}", key.section, key.name);
        let (value, origin) = match settings.explain(key) {
            // A database's address may carry a password.
            Some((value, origin)) => match value.split_once('@') {
                Some((_, host)) if key.name == "database" => {
                    (Some(format!("postgres://…@{host}")), origin.to_owned())
                }
                _ => (Some(value.to_owned()), origin.to_owned()),
            },
            None if key.follows.is_empty() => (None, "nobody; it has to be set".to_owned()),
            None => (None, format!("nobody; it is {}", key.follows)),
        };
        document
            .insert(path.clone(), json!({ "value": value, "from": origin, "about": key.about }));
        let value = value.unwrap_or_else(|| "(not set)".to_owned());
        table.row([path, value, origin, key.about.to_owned()]);
    }
    Ok(Answer::new(Value::Object(document), table.text()))
}
