use std::{fmt, path::PathBuf, str::FromStr};

use tokio_postgres::config::{Config, Host};

/// Where the rows are.
#[derive(Clone)]
pub enum Target {
    /// A SQLite file; made where there is none.
    Sqlite(PathBuf),
    /// SQLite in memory, gone with the store. For tests and demonstrations.
    Memory,
    /// A PostgreSQL server on this machine.
    Postgres(Local),
}

/// A PostgreSQL server that is reached without leaving this machine.
#[derive(Clone)]
pub struct Local(Box<Config>);

/// Why a text names no database.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not one of the forms.
    #[error("a database is `sqlite:PATH` or `postgres://USER@HOST/NAME`")]
    Unknown,
    /// PostgreSQL's part cannot be read.
    #[error("the PostgreSQL address cannot be read")]
    Postgres(#[source] tokio_postgres::Error),
    /// The server is elsewhere, and this program speaks no TLS to PostgreSQL.
    #[error(
        "PostgreSQL on `{0}` needs TLS, which this program does not speak to PostgreSQL: \
         use a unix socket or a loopback address, for example through a local proxy"
    )]
    Remote(String),
}

impl Local {
    pub(crate) fn config(&self) -> &Config {
        &self.0
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return match path.strip_prefix("//").unwrap_or(path) {
                "" => Err(TargetError::Unknown),
                ":memory:" => Ok(Self::Memory),
                path => Ok(Self::Sqlite(path.into())),
            };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(TargetError::Unknown);
        }
        let config: Config = text.parse().map_err(TargetError::Postgres)?;
        if let Some(address) = config.get_hostaddrs().iter().find(|address| !address.is_loopback())
        {
            return Err(TargetError::Remote(address.to_string()));
        }
        for host in config.get_hosts() {
            if let Host::Tcp(name) = host
                && name != "localhost"
                && !name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
            {
                return Err(TargetError::Remote(name.clone()));
            }
        }
        Ok(Self::Postgres(Local(Box::new(config))))
    }
}

/// Shows which database it is, never its password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Memory => f.write_str("sqlite::memory:"),
            Self::Postgres(Local(config)) => {
                let name = config.get_dbname().or(config.get_user()).unwrap_or_default();
                write!(f, "postgres:{name}")
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
