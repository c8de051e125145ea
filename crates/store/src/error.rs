use std::sync::Arc;

/// What the database, or the code that reads it, had to say. Shared, because one failed commit fails many calls.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Others changed the same rows each time that the closure ran. Nothing was stored.
    #[error("other changes won the race each time and nothing was stored: try again")]
    Contention(#[source] Cause),
    /// The database cannot be reached, does not answer in time, or cannot write. Nothing was stored.
    #[error("the database is unavailable and nothing was stored: try again once it answers")]
    Unavailable(#[source] Cause),
    /// The database went away while it stored the change.
    #[error(
        "the database went away, and whether the change is stored is unknown: ask again with the same ids"
    )]
    Undecided(#[source] Cause),
    /// A row is not what the store wrote.
    #[error(
        "a stored row cannot be read: compare it with its ledger entry, then restore or correct it"
    )]
    Corrupt(#[source] Cause),
    /// The value can be stored by neither database, or is over a limit of this crate. The database was not asked.
    #[error("the value cannot be stored: {0}")]
    Invalid(String),
    /// Too many entries wait for the ledger. What takes away is still stored.
    #[error(
        "too many entries wait for the ledger and nothing was stored: see to the ledger, then try again"
    )]
    Backlog,
    /// The database refused a statement: a defect of this program, or a database that it did not make.
    #[error("the database refused a statement of this program and nothing was stored: report it")]
    Statement(#[source] Cause),
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer program has changed the tables.
    #[error(
        "the database has schema version {found}, this program knows {known}: start a newer program"
    )]
    Newer {
        /// The version of the database.
        found: u64,
        /// The newest version that this program knows.
        known: u64,
    },
    /// The database failed.
    #[error("the database did not open")]
    Database(#[from] Error),
}

impl Error {
    /// Whether the database, not the request, is the obstacle: it is down, out of reach, full, or did not answer.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Undecided(_))
    }

    /// The same failure where it struck while storing.
    pub(crate) fn while_storing(self) -> Self {
        if let Self::Unavailable(cause) = self { Self::Undecided(cause) } else { self }
    }

    pub(crate) fn unavailable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(why.into().into())
    }

    pub(crate) fn corrupt(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Corrupt(why.into().into())
    }
}
