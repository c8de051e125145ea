//! Searches of a real ledger, compared with what a reader of all its leaves finds.

#![expect(clippy::unwrap_used, reason = "a failed step of a test fails the test")]

mod house;
mod making;
mod reading;
mod searching;
