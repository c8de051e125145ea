//! The gateway as agents and servers see it: real HTTP on both sides, real tokens and proofs, the real road between.
#![expect(clippy::unwrap_used, reason = "a test fails where something is missing")]

mod accounts;
mod approvals;
mod bank;
mod bytes;
mod client;
mod conformance;
mod desk;
mod eras;
mod everything;
mod faults;
mod holders;
mod house;
mod identity;
mod inputs;
mod listing;
mod load;
mod loris;
mod property;
mod quarantine;
mod rounds;
mod sessions;
mod smuggling;
mod stops;
mod strangers;
mod streams;
mod subscriptions;
mod tokens;
mod town;

use std::time::Duration;

/// Waits for something that must come. A test that waits in vain fails here rather than hangs.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it comes soon")
}
