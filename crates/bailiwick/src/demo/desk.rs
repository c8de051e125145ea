//! The desk's process, and a look into its own books: what really happened there, whatever anybody else says.

use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};
use tokio::{
    process::Child,
    time::{Instant, sleep, timeout},
};

use super::{
    RERUN,
    node::LOOK,
    program::{PATIENCE, Program, lines, next_line},
};
use crate::{
    failure::{Failure, Result},
    files, random,
};

/// The running desk.
pub(super) struct Desk {
    child: Child,
    pub(super) url: String,
    /// Where its secret lies, as the node that calls it sees it.
    pub(super) credential: String,
    database: PathBuf,
}

/// What the desk's books say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Books {
    /// Amounts that were paid back, in minor units, in order.
    pub(super) refunds: Vec<i64>,
    pub(super) exports: i64,
    /// How many calls reached the desk, and how many of them were cut.
    pub(super) calls: i64,
    pub(super) cut: i64,
}

impl Desk {
    /// Starts the desk with a fresh secret.
    pub(super) async fn start(program: &Program<'_>) -> Result<Self> {
        let place = program.place();
        let (database, file) = (place.path("desk/desk.db"), place.path("desk/secret"));
        let secret = random::name()?;
        files::write_new_secret(&file, secret.as_bytes())?;
        let path = database.display().to_string();
        let environment = [("BAILIWICK_DESK_SECRET", secret.as_str())];
        let mut child =
            program.leashed("desk", &environment, ["desk", "--database", path.as_str()])?;
        let url = next_line(&mut lines(&mut child)?, "the desk").await?;
        files::write_new(&place.path("desk/url"), url.as_bytes())?;
        Ok(Self { child, url, credential: format!("file:{}", file.display()), database })
    }

    /// Reads the books.
    pub(super) fn books(&self) -> Result<Books> {
        let read = || {
            let books = self.open()?;
            let refunds = books
                .prepare("SELECT amount FROM refunds ORDER BY id")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let count = |query: &str| books.query_row(query, [], |row| row.get(0));
            Ok(Books {
                refunds,
                exports: count("SELECT COUNT(*) FROM exports")?,
                calls: count("SELECT COUNT(*) FROM calls")?,
                cut: count("SELECT COUNT(*) FROM calls WHERE outcome = 'cut'")?,
            })
        };
        read().map_err(unreadable)
    }

    /// Waits until the latest call of a tool stands so in the books; whether it did in time.
    pub(super) async fn says(
        &self,
        tool: &str,
        outcome: &str,
        within: std::time::Duration,
    ) -> Result<bool> {
        let until = Instant::now() + within;
        loop {
            let latest = "SELECT outcome FROM calls WHERE tool = ?1 ORDER BY id DESC LIMIT 1";
            let stands = self
                .open()
                .and_then(|books| books.query_row(latest, [tool], |row| row.get::<_, String>(0)));
            match stands {
                Ok(stands) if stands == outcome => return Ok(true),
                Ok(_) | Err(rusqlite::Error::QueryReturnedNoRows) => {}
                Err(error) => return Err(unreadable(error)),
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
    }

    /// Ends the desk.
    pub(super) async fn end(mut self) {
        // A process that cannot be killed has ended.
        let _ = timeout(PATIENCE, self.child.kill()).await;
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        Connection::open_with_flags(&self.database, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn unreadable(error: rusqlite::Error) -> Failure {
    Failure::new("demo_failed", "the desk's books cannot be read").because(&error).next(RERUN)
}
