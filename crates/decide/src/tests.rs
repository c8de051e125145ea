//! The walk of one action and every way in which it ends, on the real ledger, store, policies and tokens.

mod bearer;
mod cast;
mod closed;
mod database;
mod erased;
mod faults;
mod finals;
mod fragile;
mod gone;
mod governed;
mod helped;
mod inputs;
mod lasting;
mod moved;
mod outbox;
mod parking;
mod refusals;
mod remade;
mod restarts;
mod sinking;
mod taken_back;
mod tampered;
mod tokens;
mod walk;
mod world;
