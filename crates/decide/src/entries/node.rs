//! What happened to the node, and to everything on it at once; and what was looked for in all that was sealed on it.

use model::EntryId;
use serde::{Deserialize, Serialize};

use super::Body;
use crate::stop::{Acknowledgement, StopScope};

bodies! {
    /// A node became ready.
    Started "start" {
        /// The program's version.
        program: String,
    }

    /// A stop was ordered.
    Stopped "stop" {
        /// What it halts.
        scope: Option<StopScope>,
    }

    /// A stop is final: nothing in its scope is on its way any more, and nothing leaves.
    StopFinal "stop_final" {
        /// How many calls it cut; none where the node that cut them ended meanwhile, and they with it.
        #[serde(skip_serializing_if = "Option::is_none")]
        cut: Option<u64>,
        /// The order.
        order: Option<EntryId>,
        /// The enforcement points that acknowledged it, and when.
        points: Vec<Acknowledgement>,
    }

    /// What came of a search through sealed payloads, whose decision says what was searched for.
    Searched "searched" {
        /// How many entries were found.
        found: u64,
        /// How many payloads could not be opened: erased, lost or damaged.
        gone: u64,
        /// How many payloads were opened.
        opened: u64,
    }

    /// Entries were not sent to a sink: they were further behind than it may be. The ledger has them all the same.
    SinkGap "sink_gap" {
        /// The position of the first that was left out.
        first: u64,
        /// How many were left out, one behind the other.
        n: u64,
        /// The sink, as the configuration names it.
        sink: String,
    }

    /// A stop was ended.
    Resumed "resume" {
        /// The order that ended.
        order: Option<EntryId>,
    }
}
