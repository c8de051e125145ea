//! Claims under a true signature: of an access token, of a client's assertion, of a person's approval.
#![no_main]

use std::sync::OnceLock;

use fuzz::{key, now};
use libfuzzer_sys::fuzz_target;
use model::{ApprovalId, Digest};
use token::{Algorithm, SigningKey, approval, assertion, claims};

const ISSUER: &str = "https://as.example";
const DESK: &str = "https://gateway.example/mcp/desk";

fn issuer() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(Algorithm::EdDSA).expect("a key can be made"))
}

fn access(payload: &[u8]) {
    let token = key().token(key().header(claims::TYPE), payload);
    let expect =
        claims::Expect { issuer: ISSUER, audiences: &[DESK], now: now(), leeway_seconds: 5 };
    let known =
        |kid: &str| [&key().public, issuer().public()].into_iter().find(|key| key.kid() == kid);
    let Ok(read) = claims::verify_access(&token, known, &expect) else { return };
    assert_eq!((&*read.iss, &*read.aud), (ISSUER, DESK));
    assert_eq!(read.links.len(), read.actors().count() + 1);
    assert!(read.links.iter().all(|link| read.exp <= link.exp));
    // A token that is accepted can be issued, and is then the same but for parts of seconds, which are cut off. Its length may
    // differ with the spelling.
    let issued = match read.sign(issuer()) {
        Ok(issued) => claims::verify_access(&issued, known, &expect).expect("it is a token"),
        Err(why) => return assert!(matches!(why, claims::IssueError::TooLong(_)), "{why}"),
    };
    assert!(read.authority.contains(&issued.authority));
    let same = claims::Claims { authority: read.authority.clone(), ..issued.clone() };
    assert_eq!(same, read);
    let again = issued.sign(issuer()).expect("it was just issued");
    assert_eq!(claims::verify_access(&again, known, &expect), Ok(issued));
}

fn word(payload: &[u8]) {
    let token = key().token(key().header("client-authentication+jwt"), payload);
    let expect =
        assertion::Expect { issuer_audiences: &[ISSUER], now: now(), max_life_seconds: 300 };
    let found = assertion::check(&token, &expect, |_, _| Some(key().public.clone()));
    let Ok(word) = found else { return };
    assert!(!word.client.is_empty() && !word.jti.is_empty());
    assert!(word.expires > now() && word.expires <= now().plus_seconds(300 + 60));
}

fn yes_or_no(payload: &[u8]) {
    let approval = ApprovalId::from_bits(7);
    let token = key().token(key().header(approval::TYPE), payload);
    let expect = approval::Expect {
        issuer: ISSUER,
        approval,
        digest: Digest([3; 32]),
        nonce: "n-1",
        now: now(),
        max_life_seconds: 300,
    };
    let Ok(said) = approval::check(&token, &expect, |_, _| Some(key().public.clone())) else {
        return;
    };
    assert_eq!((said.approval, said.digest, &*said.nonce), (approval, Digest([3; 32]), "n-1"));
    assert_eq!(said.aud, ISSUER);
}

fuzz_target!(|data: &[u8]| {
    access(data);
    word(data);
    yes_or_no(data);
});
