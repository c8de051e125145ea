//! The built program, run as people run it: real processes, real sockets, real files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step of a test fails the test")]

mod adapters;
mod bearing;
mod by_hand;
mod cataloguing;
mod checkers;
mod configuring;
mod conformance;
mod connecting;
mod demo;
mod enrolling;
mod exits;
mod office;
mod parking;
mod programs;
mod refused;
mod strangers;
mod world;
