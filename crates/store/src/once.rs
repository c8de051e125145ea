use model::{Digest, Timestamp};

use crate::{Error, Tx, View, db::storable};

/// The longest answer that is remembered, in bytes: answers to changes are short.
pub const MAX_RESULT: usize = 64 * 1024;

/// How many expired answers each new one clears away: more than one, so that the expired ones come to an end.
const CLEARED: i64 = 16;

/// What is known of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// Never seen, or forgotten by now: carry on, then [`Tx::remember`].
    First,
    /// The same request was answered before, with this.
    Same(Vec<u8>),
    /// The key came with another request before: refuse.
    Different,
}

impl View<'_> {
    /// Whether a request with this idempotency key has been answered. The key should name its caller too, so that
    /// callers cannot meet each other's answers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that cannot be stored; else the database fails.
    pub fn once(&mut self, key: &str, request: Digest, now: Timestamp) -> Result<Once, Error> {
        storable(key)?;
        let sql = "SELECT request, result FROM once WHERE key = $1 AND expires > $2";
        let known = self.row(sql, &[&key, &now.millis()], |row| {
            Ok((row.get::<Vec<u8>>(0)?, row.get::<Vec<u8>>(1)?))
        })?;
        Ok(match known {
            None => Once::First,
            Some((same, result)) if same == request.0 => Once::Same(result),
            Some(_) => Once::Different,
        })
    }
}

impl Tx<'_> {
    /// Remembers the answer to a request until a moment, in the transaction that did what was asked.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the answer is too long or the key still has another; else the database fails.
    pub fn remember(
        &mut self,
        key: &str,
        request: Digest,
        result: &[u8],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Error> {
        storable(key)?;
        if result.len() > MAX_RESULT {
            return Err(Error::Invalid(format!("an answer is at most {MAX_RESULT} bytes")));
        }
        let (now, until) = (now.millis(), until.millis());
        let sql = "DELETE FROM once WHERE key IN \
            (SELECT key FROM once WHERE expires <= $1 ORDER BY expires LIMIT $2)";
        self.execute(sql, &[&now, &CLEARED])?;
        let sql = "INSERT INTO once (key, request, result, expires) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (key) DO UPDATE SET request = $2, result = $3, expires = $4 WHERE once.expires <= $5";
        if self.execute(sql, &[&key, &&request.0[..], &result, &until, &now])? == 0 {
            return Err(Error::Invalid("the idempotency key has an answer already".to_owned()));
        }
        Ok(())
    }
}
