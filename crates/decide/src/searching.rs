//! What searches of the ledger need of the node: its blind indexes, and a record of what was found in sealed payloads.

use model::Resource;

use crate::{
    allow::Allowed,
    engine::Engine,
    entries::{self, Searched},
};

impl Engine {
    /// A resource as leaves name it: equal ones look equal, and none can be read.
    pub fn blind_index(&self, resource: &Resource) -> String {
        let hash = self.blind(b"resource", resource.to_string().as_bytes());
        let (half, _) = hash.split_first_chunk().expect("a hash is longer than half of it");
        format!("{:032x}", u128::from_be_bytes(*half))
    }

    /// Records what came of a search through payloads that was allowed: how many were opened, how many could not be, and how many
    /// entries were found.
    pub fn note_searched<A>(&self, allowed: &Allowed<A>, opened: u64, gone: u64, found: u64) {
        let body = Searched { found, gone, opened };
        let draft = self.about(allowed.caller(), &body, self.context.id());
        self.note(entries::of_action(draft, allowed.action(), vec![allowed.decision()]));
    }
}
