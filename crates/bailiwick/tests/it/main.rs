//! The built program, run as people run it: real processes, real sockets, real files.

mod by_hand;
mod configuring;
mod enrolling;
mod exits;
mod world;
