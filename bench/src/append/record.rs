//! A record as a decision about a call leaves it: 600 bytes of leaf, 512 bytes of payload.

use decide::Context;
use ledger::{AgentMark, Draft};
use model::{
    Digest,
    ijson::{Canonical, Json},
};

/// How long a payload is, in bytes.
const PAYLOAD: usize = 512;

pub(super) fn draft(context: &Context) -> Draft {
    let mut draft = Draft::new(context.id(), "decision", context.now());
    draft.action = Some(context.id());
    draft.agent = Some(AgentMark {
        id: "agent/support-bot".parse().expect("it is an identity"),
        instance: Some("0123456789abcdef0123456789abcdef0123456789a".to_owned()),
        version: None,
    });
    let body = Json::object([
        ("policies", Json::Array(vec![Json::String("desk-use".to_owned())])),
        ("system", Json::String("desk".to_owned())),
        ("tool", Json::String("get_order".to_owned())),
    ]);
    draft.body = Canonical::of(&body).expect("it is I-JSON");
    draft.chain = vec![context.id()];
    draft.parents = vec![Digest([7; 32])];
    draft.payload = Some(vec![b'p'; PAYLOAD]);
    draft.verdict = Some("permit".to_owned());
    draft
}
