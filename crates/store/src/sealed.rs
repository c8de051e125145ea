use crate::{Error, Tx, View, db::storable};

/// The longest sealed secret, in bytes: tokens of a few KiB each.
pub const MAX_SEALED: usize = 64 * 1024;

impl View<'_> {
    /// What is kept sealed under a key.
    ///
    /// # Errors
    /// The database fails.
    pub fn sealed_bytes(&mut self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        if storable(key).is_err() {
            return Ok(None); // what cannot be stored is not there
        }
        self.row("SELECT bytes FROM sealed WHERE key = $1", &[&key], |row| row.get(0))
    }
}

impl Tx<'_> {
    /// Keeps sealed bytes under a key, in place of what was there.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are too long; else the database fails.
    pub fn keep_sealed(&mut self, key: &str, bytes: &[u8]) -> Result<(), Error> {
        storable(key)?;
        if bytes.len() > MAX_SEALED {
            return Err(Error::Invalid(format!("a sealed secret has at most {MAX_SEALED} bytes")));
        }
        let sql = "INSERT INTO sealed (key, bytes) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET bytes = $2";
        self.execute(sql, &[&key, &bytes])?;
        Ok(())
    }

    /// Drops what is kept under a key; nothing happens where there is nothing.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_sealed(&mut self, key: &str) -> Result<(), Error> {
        storable(key)?;
        self.execute("DELETE FROM sealed WHERE key = $1", &[&key])?;
        Ok(())
    }
}
