//! The desk's own SQLite file. Money is in minor units.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS customers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, phone TEXT NOT NULL, city TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers (id), item TEXT NOT NULL,
    total INTEGER NOT NULL CHECK (total > 0), currency TEXT NOT NULL, placed TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS refunds (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders (id),
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL,
    at_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;
CREATE TABLE IF NOT EXISTS exports (
    id INTEGER PRIMARY KEY, customers INTEGER NOT NULL,
    at_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;
CREATE TABLE IF NOT EXISTS reindexes (
    id INTEGER PRIMARY KEY, orders INTEGER NOT NULL,
    at_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, tool TEXT NOT NULL, arguments TEXT NOT NULL,
    started_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    ended_ms INTEGER,
    outcome TEXT NOT NULL DEFAULT 'started' CHECK (outcome IN ('started', 'finished', 'failed', 'cut'))
) STRICT;
";

const SEED: &str = "
INSERT OR IGNORE INTO customers (id, name, email, phone, city) VALUES
    ('C-1', 'Mara Lindqvist', 'mara.lindqvist@example.com', '+46 8 555 0101', 'Stockholm'),
    ('C-2', 'Tomás Iglesias', 'tomas.iglesias@example.com', '+34 91 555 0102', 'Madrid'),
    ('C-3', 'Yuki Tanaka', 'yuki.tanaka@example.com', '+81 3 5550 0103', 'Tokyo');
INSERT OR IGNORE INTO orders (id, customer_id, item, total, currency, placed) VALUES
    ('A-1001', 'C-1', 'Desk lamp', 12000, 'EUR', '2026-10-02'),
    ('A-1002', 'C-2', 'Standing desks, set of ten', 650000, 'EUR', '2026-10-09'),
    ('A-1003', 'C-1', 'Cable tray', 4590, 'EUR', '2026-10-20'),
    ('A-1004', 'C-3', 'Office chair', 24900, 'USD', '2026-11-03'),
    ('A-1005', 'C-2', 'Mouse mat', 1850, 'EUR', '2026-11-12');
";

const ORDER: &str = "
SELECT id, customer_id, item, total, currency, placed,
    (SELECT COALESCE(SUM(amount), 0) FROM refunds WHERE order_id = orders.id)
FROM orders";

/// The open file.
pub(super) struct Tables(Mutex<Connection>);

/// One order, and how much of it was paid back.
#[derive(Debug, Serialize)]
pub(super) struct Order {
    order_id: String,
    customer_id: String,
    item: String,
    total: i64,
    currency: String,
    placed: String,
    refunded: i64,
}

/// Money that was paid back.
#[derive(Debug, Serialize)]
pub(super) struct Refund {
    refund_id: i64,
    order_id: String,
    amount: i64,
    currency: String,
    /// What can still be paid back.
    rest: i64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Finished,
    Failed,
    Cut,
}

/// Why the desk does not do what it was asked, in words for whoever asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is no order `{0}`")]
    NoOrder(String),
    #[error("there is no customer `{0}`")]
    NoCustomer(String),
    #[error("order `{order}` is in {currency}")]
    Currency { order: String, currency: String },
    #[error("order `{order}` has {rest} {currency} (minor units) left to refund")]
    Rest { order: String, rest: i64, currency: String },
    #[error("an amount is a positive number of minor units")]
    Amount,
    #[error("the desk's file failed")]
    File(#[from] rusqlite::Error),
}

impl Tables {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    pub(super) fn seed(&self) -> anyhow::Result<()> {
        Ok(self.connection().execute_batch(SEED)?)
    }

    pub(super) fn order(&self, id: &str) -> Result<Order, Refusal> {
        order(&self.connection(), id)
    }

    pub(super) fn orders_of(&self, customer: &str) -> Result<Vec<Order>, Refusal> {
        let connection = self.connection();
        let known = "SELECT 1 FROM customers WHERE id = ?1";
        if !connection.prepare(known)?.exists([customer])? {
            return Err(Refusal::NoCustomer(customer.to_owned()));
        }
        let orders = format!("{ORDER} WHERE customer_id = ?1 ORDER BY id");
        let mut orders = connection.prepare(&orders)?;
        let orders = orders.query_map([customer], read_order)?;
        Ok(orders.collect::<Result<_, _>>()?)
    }

    /// Pays back part of an order, never more than is left of it.
    pub(super) fn refund(&self, id: &str, amount: i64, currency: &str) -> Result<Refund, Refusal> {
        let mut connection = self.connection();
        let change = connection.transaction()?;
        let order = order(&change, id)?;
        if amount <= 0 {
            return Err(Refusal::Amount);
        }
        if currency != order.currency {
            return Err(Refusal::Currency { order: order.order_id, currency: order.currency });
        }
        let rest = order.total - order.refunded;
        if amount > rest {
            let (order, currency) = (order.order_id, order.currency);
            return Err(Refusal::Rest { order, rest, currency });
        }
        let insert = "INSERT INTO refunds (order_id, amount, currency) VALUES (?1, ?2, ?3)";
        change.execute(insert, params![id, amount, currency])?;
        let refund_id = change.last_insert_rowid();
        change.commit()?;
        let (order_id, currency) = (order.order_id, order.currency);
        Ok(Refund { refund_id, order_id, amount, currency, rest: rest - amount })
    }

    /// All customers as CSV ([RFC 4180](https://www.rfc-editor.org/rfc/rfc4180)); that it happened is noted.
    pub(super) fn export(&self) -> Result<String, Refusal> {
        let mut connection = self.connection();
        let change = connection.transaction()?;
        let mut csv = "id,name,email,phone,city\r\n".to_owned();
        let mut count = 0;
        {
            let select = "SELECT id, name, email, phone, city FROM customers ORDER BY id";
            let mut select = change.prepare(select)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let fields: Vec<String> = (0..5).map(|at| row.get(at)).collect::<Result<_, _>>()?;
                let quoted =
                    fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\"")));
                csv.push_str(&quoted.collect::<Vec<_>>().join(","));
                csv.push_str("\r\n");
                count += 1;
            }
        }
        change.execute("INSERT INTO exports (customers) VALUES (?1)", [count])?;
        change.commit()?;
        Ok(csv)
    }

    /// Notes that the search index was built anew; how many orders it has now.
    pub(super) fn reindexed(&self) -> Result<i64, Refusal> {
        let insert = "INSERT INTO reindexes (orders) SELECT COUNT(*) FROM orders RETURNING orders";
        Ok(self.connection().query_row(insert, [], |row| row.get(0))?)
    }

    /// Notes that a call has begun.
    pub(super) fn begin_call(&self, tool: &str, arguments: &str) -> Result<i64, Refusal> {
        let insert = "INSERT INTO calls (tool, arguments) VALUES (?1, ?2) RETURNING id";
        Ok(self.connection().query_row(insert, [tool, arguments], |row| row.get(0))?)
    }

    /// Notes how a call has ended.
    pub(super) fn end_call(&self, id: i64, outcome: Outcome) -> Result<(), Refusal> {
        let outcome = match outcome {
            Outcome::Finished => "finished",
            Outcome::Failed => "failed",
            Outcome::Cut => "cut",
        };
        let update = "UPDATE calls SET outcome = ?2,
            ended_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE id = ?1";
        self.connection().execute(update, params![id, outcome])?;
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic in between rolled its transaction back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn order(connection: &Connection, id: &str) -> Result<Order, Refusal> {
    let found = connection.query_row(&format!("{ORDER} WHERE id = ?1"), [id], read_order);
    found.optional()?.ok_or_else(|| Refusal::NoOrder(id.to_owned()))
}

fn read_order(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        order_id: row.get(0)?,
        customer_id: row.get(1)?,
        item: row.get(2)?,
        total: row.get(3)?,
        currency: row.get(4)?,
        placed: row.get(5)?,
        refunded: row.get(6)?,
    })
}
