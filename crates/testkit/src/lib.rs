//! What tests share: the real things, thrown away afterwards. Tests only.
//!
//! Never here: mocks, what a product crate needs, a fallback that lets a test pass without its subject.

mod postgres;
#[cfg(feature = "world")]
pub mod world;

pub use postgres::{Cluster, Database, postgres};
