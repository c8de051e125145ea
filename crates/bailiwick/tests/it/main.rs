//! The built program, run as people run it: real processes, real sockets, real files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step of a test fails the test")]

mod adapters;
mod auditors;
#[path = "../../../gateway/tests/it/bank.rs"]
#[expect(dead_code, reason = "the gateway's own tests ask it for more")]
mod bank;
mod bearing;
mod by_hand;
mod cataloguing;
mod checkers;
mod configuring;
mod conformance;
mod connecting;
mod demo;
mod documented;
mod enrolling;
mod erasing;
mod exits;
mod in_go;
mod lending;
mod office;
mod parking;
mod programs;
mod refused;
mod restoring;
mod rotating;
mod scrubbed;
mod searching;
mod stamping;
mod strangers;
mod witnessing;
mod world;
