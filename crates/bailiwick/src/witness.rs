//! A witness of other people's ledgers ([C2SP tlog-witness](https://c2sp.org/tlog-witness@v1.1.0)): it cosigns a head only if
//! that contains the last one which it cosigned. Whoever wants to rewrite a ledger has to win it over, too.
//!
//! It is worth what keeps it apart from the ledger: another administrator, another machine. So it has a folder and a key of its
//! own, and no part of a node.

mod folder;
mod policy;
mod serve;

pub(crate) use folder::{Folder, Witness};
pub(crate) use policy::{kept_head, read_policy};
pub(crate) use serve::listen;
