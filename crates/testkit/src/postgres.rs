//! Throw-away PostgreSQL: a database for each test, a cluster for the tests that stop one.

mod cluster;

use std::{
    fs::File,
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use tokio_postgres::NoTls;

pub use cluster::Cluster;

/// Names the superuser URL of a running server, on a unix socket or on 127.0.0.1.
const SERVER: &str = "BAILIWICK_TEST_POSTGRES";

/// Words as a dictionary sorts them, so that a statement that forgot to ask for byte order shows.
const OPTIONS: &str = "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";

/// An empty database of one test's own; dropped with this value.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

/// An empty database on the server that `BAILIWICK_TEST_POSTGRES` names; where it names none, on a cluster that the
/// tests of this run share and that ends with them. Needs PostgreSQL 15 or later with ICU.
///
/// # Panics
/// There is no PostgreSQL, or it does not answer: a test that cannot have its database has failed.
pub fn postgres() -> Database {
    static SHARED: LazyLock<String> =
        LazyLock::new(|| std::env::var(SERVER).unwrap_or_else(|_| shared_cluster()));
    Database::create(&SHARED)
}

impl Database {
    /// An empty database on that server.
    pub(crate) fn create(server: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        execute(
            server,
            &[
                format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
                format!("CREATE DATABASE {name} {OPTIONS}"),
            ],
        )
        .unwrap_or_else(|error| fail(&format!("no test database on `{server}`: {error:?}")));
        Self { server: server.to_owned(), name }
    }

    /// The connection string.
    pub fn url(&self) -> String {
        let (scheme, rest) = self.server.split_once("://").expect("the server is named by a URL");
        let query = rest.find('?').map_or("", |at| &rest[at..]);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        format!("{scheme}://{authority}/{}{query}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A cluster that the test has stopped takes its databases with it.
        let _ =
            execute(&self.server, &[format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)]);
    }
}

/// Runs statements on a thread of its own: the caller may stand inside an asynchronous test.
fn execute(url: &str, statements: &[String]) -> Result<(), tokio_postgres::Error> {
    let run = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        for statement in statements {
            client.batch_execute(statement).await?;
        }
        Ok(())
    };
    let on_thread = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(run)
    };
    thread::scope(|scope| scope.spawn(on_thread).join().expect("the statements do not panic"))
}

/// The cluster of everything that the parent process (a test runner) runs; the first to ask starts it.
fn shared_cluster() -> String {
    let runner = std::os::unix::process::parent_id();
    let temporary = std::env::temp_dir();
    let one_at_a_time = File::open(&temporary).expect("a temporary directory");
    one_at_a_time.lock().expect("a directory can be locked");
    let directory = temporary.join(format!("bailiwick-postgres-{runner}"));
    let url = cluster::url(&directory);
    if execute(&url, &[]).is_err() {
        cluster::create(&directory, runner);
        cluster::start(&directory);
    }
    url
}

#[expect(clippy::panic, reason = "a test that cannot have its database has failed")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}
