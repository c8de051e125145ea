use crate::{Error, Tx, View, db::storable};

/// Why a claim was not made.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else has it.
    #[error("it belongs to `{owner}`")]
    Taken {
        /// Who has it.
        owner: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl View<'_> {
    /// Who has claimed the value.
    ///
    /// # Errors
    /// The database fails.
    pub fn claimed(&mut self, kind: &str, value: &str) -> Result<Option<String>, Error> {
        if storable(kind).and(storable(value)).is_err() {
            return Ok(None); // what cannot be stored is not there
        }
        let sql = "SELECT owner FROM claim WHERE kind = $1 AND value = $2";
        self.row(sql, &[&kind, &value], |row| row.get(0))
    }
}

impl Tx<'_> {
    /// Claims a value that no two owners of a kind may share: a key's thumbprint, a person's handle. Claiming what one
    /// has already changes nothing.
    ///
    /// # Errors
    /// [`ClaimError::Taken`] when somebody else has it.
    pub fn claim(&mut self, kind: &str, value: &str, owner: &str) -> Result<(), ClaimError> {
        for name in [kind, value, owner] {
            storable(name)?;
        }
        let sql =
            "INSERT INTO claim (kind, value, owner) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        if self.execute(sql, &[&kind, &value, &owner])? == 1 {
            return Ok(());
        }
        match self.claimed(kind, value)? {
            Some(has) if has != owner => Err(ClaimError::Taken { owner: has }),
            _ => Ok(()),
        }
    }

    /// Frees the value for others; nothing happens where nobody has it.
    ///
    /// # Errors
    /// The database fails, or the value is none that can be claimed.
    pub fn release(&mut self, kind: &str, value: &str) -> Result<(), Error> {
        storable(kind).and(storable(value))?;
        self.execute("DELETE FROM claim WHERE kind = $1 AND value = $2", &[&kind, &value])?;
        Ok(())
    }
}
