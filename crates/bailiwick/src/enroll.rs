//! The first administrator: enrolled once, through a socket of this machine, with a code that the terminal shows.
//!
//! The socket answers to this program's own user and to root. It takes at most five wrong codes, and it is gone as soon
//! as there is a person; while there is one, it is never opened.

mod ask;
mod code;
mod door;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use ask::enroll;
pub(crate) use code::Code;
pub(crate) use door::Door;

/// The longest message through the socket, in bytes.
const MAX_MESSAGE: usize = 16 * 1024;

/// What somebody who wants to be the first administrator says, in one line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    pub(crate) code: String,
    pub(crate) handle: String,
    pub(crate) display_name: String,
    /// The public key as a JWK.
    pub(crate) key: Value,
}

/// What the door answers, in one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Reply {
    /// The first administrator is enrolled.
    Enrolled {
        /// The person's URI.
        identity: String,
        /// Where the server is.
        server: String,
    },
    /// The code is another one.
    WrongCode {
        /// How many more tries there are.
        left: u8,
    },
    /// It cannot be.
    Refused {
        /// Why.
        why: String,
    },
}
