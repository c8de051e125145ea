//! The tables, brought up to date step by step. One list for both databases.

use crate::{
    Error, OpenError,
    db::{Database, Purpose},
};

/// In order. A step that has been released is never edited: a change is a new step, which may run again harmlessly.
const STEPS: [(&str, &str); 2] = [
    ("governance", include_str!("../migrations/0001_governance.sql")),
    ("sealed", include_str!("../migrations/0002_sealed.sql")),
];

/// Runs the steps that the database has not seen, in one transaction, and gives the position of the feed.
pub(crate) fn run(database: &mut Database) -> Result<u64, OpenError> {
    database.begin(Purpose::Migrate)?;
    database.define(
        "CREATE TABLE IF NOT EXISTS migration (number BIGINT PRIMARY KEY, name TEXT NOT NULL)",
    )?;
    let found = one(database, "SELECT COALESCE(MAX(number), 0) FROM migration")?;
    let known = STEPS.len() as u64;
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (number, (name, tables)) in (1_i64..).zip(STEPS).skip(found as usize) {
        database.define(tables)?;
        database
            .execute("INSERT INTO migration (number, name) VALUES ($1, $2)", &[&number, &name])?;
    }
    let position = one(database, "SELECT position FROM feed WHERE id = 1")?;
    database.run("COMMIT")?;
    Ok(position)
}

fn one(database: &mut Database, sql: &'static str) -> Result<u64, Error> {
    let found = database.rows(sql, &[], |row| row.natural(0))?;
    found.into_iter().next().ok_or_else(|| Error::corrupt("a table has lost its only row"))
}
