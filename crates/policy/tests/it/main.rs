//! What policies say, tested through the public interface. Tests are data; only [`dsl`] knows the interface.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod combining;
mod differential;
mod dsl;
mod evaluating;
mod guarding;
mod kinds;
mod loading;
mod validating;
mod verdicts;
mod waiting;
