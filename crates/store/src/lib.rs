//! What stays: governed objects, claims, the outbox of the ledger, the change feed, on SQLite and PostgreSQL.
//!
//! Every SQL statement of the product is in this crate, written once for both databases. A change is a synchronous
//! closure over a [`Tx`], which may run again after a lost race: inside it no network, no clock, no fresh ids.
//!
//! Never here: rules. What may change, and who may change it, is decided above; this crate keeps what it is given.

mod call;
mod claim;
mod db;
mod error;
mod feed;
mod migrations;
mod object;
mod once;
mod outbox;
mod postgres;
mod sealed;
mod search;
mod sqlite;
mod store;
mod subject_keys;
mod target;
mod tx;
mod witness;
mod worker;

pub use claim::ClaimError;
pub use db::MAX_KEY;
pub use error::{Error, OpenError};
pub use object::{
    Change, Expect, Governed, MAX_BODY, MAX_PAGE, Page, Put, PutError, RawRow, Receipt, Row,
};
pub use once::{MAX_RESULT, Once};
pub use outbox::{MAX_BACKLOG, MAX_DRAFT, ObjectVersion, OutboxRow};
pub use sealed::MAX_SEALED;
pub use search::{BLOCK, SEGMENT, SearchBatch, SearchIndex, SearchMark, SearchView, Term};
pub use store::Store;
pub use subject_keys::{KeyBookError, SubjectKeyBook};
pub use target::{Local, Target, TargetError};
pub use tx::{Tx, View};
pub use witness::{Seen, WitnessBook};
