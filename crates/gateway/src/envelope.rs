//! MCP's JSON-RPC messages as a client sends them: read once, decided on, and written anew from that one reading.
//!
//! Two revisions are served on one path ([`Era`]). Never here: sockets, sessions, what a tool may do.

mod call;
mod era;
mod fault;
mod inputs;
mod level;
mod media;
mod message;
mod mirror;
mod result;
mod splice;
#[cfg(test)]
mod tests;

pub use call::{ToolCall, method_params, method_request, tool_call_request};
pub use era::{Era, HeaderError, LEGACY_VERSIONS, MODERN_VERSION, header_name, request_headers};
pub use fault::{Code, Fault};
pub use inputs::{Able, inputs};
pub use level::{Level, Logs};
pub use media::{Accepts, MediaError, accepts};
pub use message::{EnvelopeError, Incoming, MAX_BYTES, MAX_DEPTH, Message, RequestId, Response};
pub use mirror::{Mirror, MirrorError};
pub use result::{
    Capabilities, ServerInfo, discover, event, initialize, pong, reply, tool_error, tools_list,
};

pub(crate) use call::name_of;
pub(crate) use era::{META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_VERSION, encode};
pub(crate) use inputs::kind as input_kind;
pub(crate) use level::META_LEVEL;
pub(crate) use media::{is_event_stream, is_json};
pub(crate) use splice::spliced;
