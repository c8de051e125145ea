//! The change feed: every object at the position of its latest change.
//!
//! A position is given within the transaction that makes the change, and writers go one after the other in every
//! node, so that the order of positions is the order of commits: a reader that has seen a position has missed nothing
//! before it. An object that changed twice between two looks comes once, as it is now.

use crate::{
    Error, View,
    db::integer,
    object::{MAX_PAGE, RawRow, select_object},
};

impl View<'_> {
    /// Objects changed or sealed after that position, in order, at most [`MAX_PAGE`] of them; the next look begins at
    /// the last row's `changed`.
    ///
    /// # Errors
    /// The database fails, or a row cannot be read.
    pub fn changes(&mut self, since: u64, limit: u32) -> Result<Vec<RawRow>, Error> {
        let sql = select_object!("WHERE changed > $1 ORDER BY changed LIMIT $2");
        self.rows(sql, &[&integer(since)?, &i64::from(limit.min(MAX_PAGE))], RawRow::read_from)
    }

    /// The position of the latest change.
    ///
    /// # Errors
    /// The database fails.
    pub fn watermark(&mut self) -> Result<u64, Error> {
        let position =
            self.row("SELECT position FROM feed WHERE id = 1", &[], |row| row.natural(0))?;
        position.ok_or_else(|| Error::corrupt("the feed has lost its position"))
    }
}
