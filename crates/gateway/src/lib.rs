//! Enforcement between agents and the servers that they call: who calls, what leaves, what comes back, what is cut.
//!
//! It knows HTTP and MCP. A call leaves only as a [`decide::Dispatch`], byte for byte as it was decided on; the caller's
//! token never goes on.
//!
//! It must not know policy, storage, or how a right is computed.

mod broker;
mod calls;
mod challenge;
mod changes;
pub mod envelope;
mod feed;
mod gate;
mod guarded;
mod looks;
pub mod oauth;
pub mod outbound;
mod place;
mod program;
mod questions;
mod refusal;
mod room;
mod rounds;
mod secrets;
mod sessions;
pub mod sse;
pub mod upstream;
mod upstreams;

pub use broker::{Begun, Broker, BrokerError, LinkError};
pub use gate::{Gateway, router};
pub use program::{FenceError, PROGRAM, Program, ProgramError, UNSEPARATED, can_fence};
pub use room::{Room, Taken};
pub use secrets::OwnSecrets;
pub use upstreams::{DiscoverError, Upstreams};
