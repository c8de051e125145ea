//! What the tests of several modules share: a moment, keys, a chain, and tokens written by hand.

use model::{Authority, Clause, Conditions, Digest, EntryId, LinkId, Timestamp, Verb, Verbs};

use crate::{
    Algorithm, Claims, SigningKey, Thumbprint,
    claims::{Act, Confirmation, Link, MayAct},
    encoding,
};

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const DESK: &str = "https://gateway.example/desk";
pub(crate) const OLIVIA: &str = "spiffe://acme.example/prod/person/p1";
pub(crate) const BOT: &str = "spiffe://acme.example/prod/agent/support-bot";
pub(crate) const HELPER: &str = "spiffe://acme.example/prod/agent/helper";

pub(crate) const BOTH: [Algorithm; 2] = [Algorithm::EdDSA, Algorithm::ES256];

/// Whole seconds, since tokens carry no finer moments.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

pub(crate) fn after(seconds: u32) -> Timestamp {
    now().plus_seconds(seconds)
}

pub(crate) fn before(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(now().seconds() - seconds)
}

pub(crate) fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA).unwrap()
}

pub(crate) fn link(sub: &str, number: u64, exp: Timestamp) -> Link {
    Link { id: LinkId::compose(now(), 1, number), sub: sub.to_owned(), exp }
}

pub(crate) fn clause(verbs: &[Verb], resources: &str, expires: Timestamp) -> Clause {
    let resources = resources.parse().unwrap();
    Clause { verbs: Verbs::of(verbs), resources, conditions: Conditions::default(), expires }
}

pub(crate) fn authority(depth: u8) -> Authority {
    let clauses = vec![
        clause(&[Verb::Read, Verb::List], "desk/*/*", after(300)),
        clause(&[Verb::Pay], "shop/Refund/*", after(300)),
    ];
    Authority { clauses, depth }
}

/// A token of Olivia's that the bot may exchange.
pub(crate) fn olivias() -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: OLIVIA.to_owned(),
        aud: ISSUER.to_owned(),
        client_id: "console".to_owned(),
        iat: now(),
        exp: after(300),
        jti: EntryId::compose(now(), 1, 7),
        cnf: Some(Confirmation { jkt: Thumbprint([2; 32]) }),
        act: None,
        may_act: Some(MayAct { sub: BOT.to_owned() }),
        authority: authority(3),
        task: None,
        links: vec![link(OLIVIA, 1, after(600))],
        entry: Digest([9; 32]),
        version: None,
        scope: None,
    }
}

/// A token of the bot's, for Olivia, at the desk.
pub(crate) fn bots() -> Claims {
    Claims {
        aud: DESK.to_owned(),
        act: Some(Act { sub: BOT.to_owned(), act: None }),
        may_act: None,
        links: vec![link(OLIVIA, 1, after(600)), link(BOT, 2, after(300))],
        version: Some(Digest([3; 32])),
        ..olivias()
    }
}

/// A token written by hand and signed truly, whatever header and claims say.
pub(crate) fn forge(key: &SigningKey, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encoding::encode(header), encoding::encode(claims));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", encoding::encode(signature))
}
