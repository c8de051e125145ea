//! PostgreSQL: serializable transactions over one connection that its own thread drives.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{runtime::Runtime, time::timeout};
use tokio_postgres::{
    Client, Config, NoTls, Statement,
    error::{DbError, Severity, SqlState},
};

use crate::{
    Error,
    db::{Columns, Param, Purpose},
};

/// How long a connection may take. With the limit below it keeps every answer within what a caller waits.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long one statement may take before the server counts as gone; a second more than the server is told, so that
/// a server that still lives can say itself that it was too slow.
const STATEMENT_LIMIT: Duration = Duration::from_secs(4);

/// How long one statement of a migration may take, or the wait for another node's migration.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);

/// Whoever holds the writers' lock and falls silent loses it. An operator may have traded durability for speed with
/// `synchronous_commit = off`; a right that is granted here is durable.
const SETTINGS: &str = "\
    SET client_min_messages = warning; \
    SET statement_timeout = '3s'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Writers go one after the other, in every node. The lock is taken before the transaction's snapshot, so that the
/// snapshot holds whatever the writer before has stored: no work is lost to a race, positions of the feed are in the
/// order of the commits, and a reader's snapshot is always a beginning of that order.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE feed IN EXCLUSIVE MODE";

/// The number is this program's own choice; it keeps two nodes from making the same table at once.
const BEGIN_MIGRATE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL statement_timeout = '60s'; SELECT pg_advisory_xact_lock(4702111234474983745)";

pub(crate) struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    limit: Duration,
    lost: bool,
    // After the client: what it leaves behind ends with the runtime.
    runtime: Runtime,
}

impl Session {
    pub(crate) fn connect(config: &Config) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::unavailable)?;
        let mut config = config.clone();
        config.application_name("bailiwick");
        let connect = async {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(SETTINGS).await?;
            Ok(client)
        };
        match runtime.block_on(async { timeout(CONNECT_LIMIT, connect).await }) {
            Ok(client) => Ok(Self {
                client: client.map_err(failure)?,
                statements: HashMap::new(),
                limit: STATEMENT_LIMIT,
                lost: false,
                runtime,
            }),
            Err(elapsed) => Err(Error::unavailable(elapsed)),
        }
    }

    pub(crate) fn begin(&mut self, purpose: Purpose) -> Result<(), Error> {
        self.limit = if purpose == Purpose::Migrate { MIGRATION_LIMIT } else { STATEMENT_LIMIT };
        self.run(match purpose {
            Purpose::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Purpose::Write => BEGIN_WRITE,
            Purpose::Migrate => BEGIN_MIGRATE,
        })
    }

    pub(crate) fn run(&mut self, statements: &str) -> Result<(), Error> {
        self.wait(async |client| client.batch_execute(statements).await)
    }

    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
    ) -> Result<u64, Error> {
        let statement = self.prepare(sql)?;
        let params: Vec<_> = params.iter().map(|param| param.postgres()).collect();
        self.wait(async |client| client.execute(&statement, &params).await)
    }

    pub(crate) fn rows<T>(
        &mut self,
        sql: &'static str,
        params: &[&dyn Param],
        mut read: impl FnMut(&Columns<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let statement = self.prepare(sql)?;
        let params: Vec<_> = params.iter().map(|param| param.postgres()).collect();
        let rows = self.wait(async |client| client.query(&statement, &params).await)?;
        rows.iter().map(|row| read(&Columns::Postgres(row))).collect()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost || self.client.is_closed()
    }

    fn prepare(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(async |client| client.prepare(sql).await)?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Drives the connection until the server has answered, or for as long as the limit allows.
    fn wait<T>(
        &mut self,
        ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let answer = async { timeout(self.limit, ask(&self.client)).await };
        match self.runtime.block_on(answer) {
            Ok(answer) => answer.map_err(|error| {
                let last_words = |words: &DbError| words.parsed_severity() != Some(Severity::Error);
                self.lost |= error.as_db_error().is_none_or(last_words);
                failure(error)
            }),
            Err(elapsed) => {
                // An answer may still come; nobody knows to which question.
                self.lost = true;
                Err(Error::unavailable(elapsed))
            }
        }
    }
}

fn failure(error: tokio_postgres::Error) -> Error {
    let code = error.code().cloned();
    let cause = Arc::new(error);
    let Some(code) = code else {
        // The server said nothing: the connection failed.
        return Error::Unavailable(cause);
    };
    match code {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
            Error::Contention(cause)
        }
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => Error::Corrupt(cause),
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => {
            Error::Unavailable(cause)
        }
        // By class: connections, who may log in, which database, resources, an operator's doing, the system itself.
        code if ["08", "28", "3D", "53", "57", "58"].contains(&&code.code()[..2]) => {
            Error::Unavailable(cause)
        }
        _ => Error::Statement(cause),
    }
}
