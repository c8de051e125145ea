//! Reads behind the ledger: an index of its entries, searches in it, what governance was at a moment, the course of a task.
//!
//! What is here is a projection with a cursor: made from the ledger alone, dropped and made anew whenever it does not fit.
//!
//! It must not know the path of a call: nothing that is decided, dispatched or settled waits for anything here.

mod candidates;
mod chain;
mod facts;
mod find;
mod index;
mod leaving;
mod past;
mod text;

pub use chain::Chain;
pub use facts::{Fact, Field, Query, add_entry};
pub use find::{Found, Keep, find};
pub use index::{Index, IndexError, Page, SearchError};
pub use leaving::{Event, OcsfVersion, OtlpCall, Shape, logs, spans};
pub use past::Moment;
pub use text::{NotWords, TextFound, Words};
