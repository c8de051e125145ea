//! A node: what is configured, wired together, in the order in which each part needs the others.

mod node;
mod parts;
mod routers;
mod stamping;
mod witnesses;

pub(crate) use node::{Addresses, Node};
