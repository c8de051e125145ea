//! The one module that knows Cedar's types, the unstable ones of `cedar-policy-core` among them (both crates are
//! pinned).
//!
//! The seam for callers is narrow: [`parse`] and [`validate`] at load, then [`Engine::ask`] a [`Question`] and read its
//! answers: which policies are candidates, and what the condition of each candidate gives. An index over scopes and
//! compiled conditions can replace the inside without a caller noticing.

mod condition;
mod engine;
mod inputs;
mod parse;
mod scope;
mod validate;

pub(crate) use engine::{Answer, Applies, Engine, Question};
pub(crate) use parse::{Parsed, parse};
pub(crate) use validate::{Spots, validate};
