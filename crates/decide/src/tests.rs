//! The walk of one action and every way in which it ends, on the real ledger, store, policies and tokens.

mod faults;
mod fragile;
mod governed;
mod tokens;
mod walk;
mod world;
