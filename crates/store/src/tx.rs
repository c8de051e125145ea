use std::ops::{Deref, DerefMut};

use crate::{
    Error,
    db::{Columns, Database, Param},
};

/// One moment of the database. What it reads does not change while it is looked at.
pub struct View<'a> {
    database: &'a mut Database,
    /// The first failure. After it nothing is asked and nothing is kept, even where a closure overlooks it.
    failure: Option<Error>,
}

/// One transaction: a [`View`] that can also change what it sees.
pub struct Tx<'a> {
    view: View<'a>,
    position: Option<u64>,
}

impl View<'_> {
    /// The first row, read; `None` where there is none.
    pub(crate) fn row<T>(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
        read: impl FnMut(&Columns<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        Ok(self.rows(sql, params, read)?.into_iter().next())
    }

    /// Every row, read. The statement must limit how many there are.
    pub(crate) fn rows<T>(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
        read: impl FnMut(&Columns<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.ask(|database| database.rows(sql, params, read))
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut Database) -> Result<T, Error>) -> Result<T, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        ask(self.database).inspect_err(|error| self.failure = Some(error.clone()))
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(database: &'a mut Database) -> Self {
        Self { view: View { database, failure: None }, position: None }
    }

    /// The failure that keeps this transaction from being stored.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.view.failure.as_ref()
    }

    /// The first failure, and the position of the feed where this transaction moved it.
    pub(crate) fn end(self) -> (Option<Error>, Option<u64>) {
        (self.view.failure, self.position)
    }

    /// Runs a statement that gives no rows, and tells how many it touched.
    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
    ) -> Result<u64, Error> {
        self.view.ask(|database| database.execute(sql, params))
    }

    /// The next position of the feed. Positions that are rolled back are given again.
    pub(crate) fn next_position(&mut self) -> Result<i64, Error> {
        let sql = "UPDATE feed SET position = position + 1 WHERE id = 1 RETURNING position";
        let position = self
            .row(sql, &[], |row| row.get::<i64>(0))?
            .ok_or_else(|| Error::corrupt("the feed has lost its position"))?;
        self.position = Some(position.unsigned_abs());
        Ok(position)
    }
}

impl<'a> Deref for Tx<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl<'a> DerefMut for Tx<'a> {
    fn deref_mut(&mut self) -> &mut View<'a> {
        &mut self.view
    }
}
