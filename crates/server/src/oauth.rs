//! The OAuth endpoints: tokens for people and agents, and what clients discover about them.

mod error;
mod form;
pub(crate) mod metadata;
pub(crate) mod token;
