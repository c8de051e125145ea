use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gateway::envelope::Era;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use token::{
    Algorithm, Claims, MasterKey, SigningKey,
    dpop::{Nonces, Prover, Request},
};

use crate::{
    client::Reply,
    desk::Desk,
    house::{Bot, House, call},
};

/// Presents a token by a scheme, with or without a proof.
async fn present(bot: &Bot<'_>, scheme: &str, token: &str, proof: Option<&str>) -> Reply {
    let house = bot.house;
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("authorization", format!("{scheme} {token}").parse().unwrap());
    if let Some(proof) = proof {
        headers.insert("dpop", proof.parse().unwrap());
    }
    let body = call("get_order", r#"{"order":"A-1"}"#);
    house.client.send(Method::POST, &house.url(), headers, body).await
}

/// A proof in order, by support-bot's key, for whatever token.
async fn proof(bot: &Bot<'_>, token: &str) -> String {
    let house = bot.house;
    house.world.prove(&house.agent.prover, "POST", &house.url(), Some(token)).await
}

/// Presents a token with a proof in order; what the challenge says.
async fn challenged(bot: &Bot<'_>, token: &str) -> String {
    let proof = proof(bot, token).await;
    challenge(&present(bot, "DPoP", token, Some(&proof)).await)
}

/// Error and description of a challenge, once everything around them was checked.
fn challenge(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(reply.header("dpop-nonce").is_some());
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP algs=\"EdDSA ES256\", resource_metadata=\"http://"));
    let second = reply.headers.get_all("www-authenticate").iter().nth(1).unwrap();
    assert!(second.to_str().unwrap().starts_with("Bearer resource_metadata=\"http://"));
    let (_, error) = challenge.split_once("/mcp/desk\"").unwrap();
    error.trim_start_matches(", ").to_owned()
}

fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A token with the issuer's own signature and other claims.
fn reissued(house: &House, token: &str, change: impl FnOnce(&mut Claims)) -> String {
    let mut claims = claims(token);
    change(&mut claims);
    claims.sign(house.world.engine().issuer().keys.load().current()).unwrap()
}

/// A token with another header, truly signed by the issuer's key.
fn with_header(house: &House, token: &str, header: &Value) -> String {
    let keys = house.world.engine().issuer().keys.load();
    let pem = keys.current().to_pem().unwrap();
    let base64: String =
        pem.expose_text().unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let key = Ed25519KeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
    let payload = token.split('.').nth(1).unwrap();
    let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_stranger_is_told_where_to_get_a_token() {
    let house = House::new().await;
    let reply = house.client.send(Method::POST, &house.url(), HeaderMap::new(), "").await;
    let words = reply.header("www-authenticate").unwrap().to_owned();
    let url = words.split("resource_metadata=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(!words.contains("error="), "RFC 6750 §3.1: no error where nothing was presented");
    assert_eq!(challenge(&reply), "");
    let metadata = house.client.send(Method::GET, url, HeaderMap::new(), "").await;
    assert_eq!(metadata.status, StatusCode::OK);
    let metadata = metadata.json().await;
    assert_eq!(metadata["resource"], house.url());
    assert_eq!(metadata["authorization_servers"], json!([house.world.url()]));
    assert_eq!(metadata["dpop_bound_access_tokens_required"], false, "not of every agent");
    let expected =
        format!("{}/.well-known/oauth-protected-resource/mcp/desk", house.world.gateway_url());
    assert_eq!(url, expected, "RFC 9728 §3.1: the well-known part stands before the path");
    assert!(house.desk.asked().is_empty());
    assert!(house.recorded().await.is_empty());
}

#[tokio::test]
async fn a_client_learns_the_nonce_by_being_asked_for_it() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let url = house.url();
    let request =
        Request { method: "POST", url: &url, access_token: Some(bot.token.as_str().into()) };
    let prove = |nonce: Option<&str>| {
        house.agent.prover.prove(&request, nonce, house.world.now(), &house.world.fresh()).unwrap()
    };
    let stranger = Nonces::new(&MasterKey::generate().unwrap(), 1, 1, 300).unwrap();
    let foreign = stranger.issue(house.world.now()).unwrap();
    let mut fresh = String::new();
    for nonce in [None, Some("guessed"), Some(foreign.as_str())] {
        let reply = present(&bot, "DPoP", &bot.token, Some(&prove(nonce))).await;
        fresh = reply.header("dpop-nonce").unwrap().to_owned();
        assert!(challenge(&reply).starts_with("error=\"use_dpop_nonce\""), "{nonce:?}");
    }
    assert!(house.recorded().await.is_empty(), "asking for a nonce is no incident");
    assert!(house.desk.asked().is_empty());
    let reply = present(&bot, "DPoP", &bot.token, Some(&prove(Some(&fresh)))).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.header("dpop-nonce").is_some(), "the next one comes along");
}

#[tokio::test]
async fn a_nonce_that_is_too_old_is_asked_for_anew() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let url = house.url();
    let request =
        Request { method: "POST", url: &url, access_token: Some(bot.token.as_str().into()) };
    let old = house.world.engine().nonce().unwrap();
    house.clock.advance(300_000);
    let prover = &house.agent.prover;
    let stale = prover.prove(&request, Some(&old), house.world.now(), "stale").unwrap();
    let said = challenge(&present(&bot, "DPoP", &bot.token, Some(&stale)).await);
    assert!(said.starts_with("error=\"use_dpop_nonce\""), "{said}");
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn a_token_that_is_not_ours_not_for_here_or_over_is_refused() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let stranger = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let foreign = claims(&bot.token).sign(&stranger).unwrap();
    let issuer = reissued(&house, &bot.token, |claims| claims.iss = "http://as.example".into());
    let elsewhere = format!("{}/mcp/other", house.world.gateway_url());
    let audience = reissued(&house, &bot.token, |claims| claims.aud = elsewhere);
    let over = reissued(&house, &bot.token, |claims| claims.exp = house.world.now());
    let session = house.lena.session().await;
    let tampered = format!("{}AAAA", &bot.token[..bot.token.len() - 4]);
    for (token, words) in [
        (foreign, "names no key of this issuer"),
        (issuer, "was issued by"),
        (audience, "the token is for"),
        (session, "meant for somebody else"),
        (over, "the token"),
        (tampered, "the signature does not fit"),
        ("nonsense".to_owned(), "not a compact signed token"),
    ] {
        let said = challenged(&bot, &token).await;
        assert!(said.starts_with("error=\"invalid_token\"") && said.contains(words), "{said}");
    }
    assert!(house.desk.asked().is_empty());
    house.clock.advance(901_000);
    let said = challenged(&bot, &bot.token).await;
    assert!(said.contains("invalid_token") && said.contains("over"), "{said}");
    assert!(house.recorded().await.is_empty(), "none of them makes anybody known");
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_says() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    assert_eq!(bot.call("get_order", r#"{"order":"A-1"}"#).await.status, StatusCode::OK);
    house.desk.forget();
    house.clock.advance(901_000);
    let said = challenged(&bot, &bot.token).await;
    assert!(said.contains("invalid_token") && said.contains("expired"), "{said}");
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn the_sender_chooses_neither_algorithm_nor_key_nor_extension() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let kid = house.world.engine().issuer().keys.load().current().public().kid().to_owned();
    let good = json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt" });
    assert_eq!(
        challenged_status(&bot, &with_header(&house, &bot.token, &good)).await,
        StatusCode::OK
    );
    house.desk.forget();
    let jwk = house.agent.prover.key().public().to_jwk().to_value();
    for (header, words) in [
        (json!({ "alg": "none", "kid": kid, "typ": "at+jwt" }), "algorithm `none` is not accepted"),
        (
            json!({ "alg": "HS256", "kid": kid, "typ": "at+jwt" }),
            "algorithm `HS256` is not accepted",
        ),
        (
            json!({ "alg": "RS256", "kid": kid, "typ": "at+jwt" }),
            "algorithm `RS256` is not accepted",
        ),
        (
            json!({ "alg": "ES256", "kid": kid, "typ": "at+jwt" }),
            "says ES256, but the key is for EdDSA",
        ),
        (json!({ "alg": "EdDSA", "kid": kid, "typ": "JWT" }), "the token's type is `JWT`"),
        (json!({ "alg": "EdDSA", "kid": kid }), "the token's type is ``"),
        (json!({ "alg": "EdDSA", "typ": "at+jwt" }), "names no key"),
        (
            json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt", "crit": ["x"], "x": 1 }),
            "`crit` is not accepted",
        ),
        (
            json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt", "b64": false }),
            "`b64` is not accepted",
        ),
        (
            json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt", "jwk": jwk }),
            "`jwk` is not accepted",
        ),
        (
            json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt", "jku": "http://a" }),
            "`jku` is not accepted",
        ),
    ] {
        let said = challenged(&bot, &with_header(&house, &bot.token, &header)).await;
        assert!(
            said.starts_with("error=\"invalid_token\"") && said.contains(words),
            "{header}: {said}"
        );
    }
    let unsigned = with_header(&house, &bot.token, &json!({ "alg": "none", "typ": "at+jwt" }));
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert!(challenged(&bot, &unsigned).await.starts_with("error=\"invalid_token\""));
    assert!(house.desk.asked().is_empty());
}

async fn challenged_status(bot: &Bot<'_>, token: &str) -> StatusCode {
    let proof = proof(bot, token).await;
    present(bot, "DPoP", token, Some(&proof)).await.status
}

#[tokio::test]
async fn a_token_that_the_ledger_never_issued_is_refused_and_recorded() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let forged = reissued(&house, &bot.token, |claims| claims.entry = model::Digest([5; 32]));
    let said = challenged(&bot, &forged).await;
    assert!(said.contains("the ledger did not issue this token"), "{said}");
    assert_eq!(house.recorded().await, ["decision deny not_issued"]);
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn a_token_without_its_key_is_worth_nothing_and_the_try_is_recorded() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let (url, token) = (house.url(), bot.token.clone());
    let nonce = house.world.engine().nonce().unwrap();
    let now = house.world.now();
    let good = Request { method: "POST", url: &url, access_token: Some(token.as_str().into()) };
    let prove = |request: &Request<'_>, at| {
        house.agent.prover.prove(request, Some(&nonce), at, &house.world.fresh()).unwrap()
    };
    let thief = Prover::new(SigningKey::generate(Algorithm::EdDSA).unwrap());
    let stolen = thief.prove(&good, Some(&nonce), now, "thief").unwrap();
    let other_url = format!("{url}/more");
    let other_token = format!("{token}x");
    let early = model::Timestamp::from_millis(now.millis() - 61_000);
    let used = prove(&good, now);
    assert_eq!(present(&bot, "DPoP", &token, Some(&used)).await.status, StatusCode::OK);
    let known = house.recorded().await.len();
    house.desk.forget();
    let cases = [
        ("DPoP", Some(used), "invalid_dpop_proof", "it was used before"),
        ("DPoP", Some(stolen), "invalid_dpop_proof", "another key than the token's"),
        (
            "DPoP",
            Some(prove(&Request { method: "GET", ..good }, now)),
            "invalid_dpop_proof",
            "another method",
        ),
        (
            "DPoP",
            Some(prove(&Request { url: &other_url, ..good }, now)),
            "invalid_dpop_proof",
            "another URL",
        ),
        (
            "DPoP",
            Some(prove(&Request { access_token: None, ..good }, now)),
            "invalid_dpop_proof",
            "`ath`",
        ),
        (
            "DPoP",
            Some(prove(&Request { access_token: Some(other_token.as_str().into()), ..good }, now)),
            "invalid_dpop_proof",
            "`ath`",
        ),
        ("DPoP", Some(prove(&good, early)), "invalid_dpop_proof", "within 60 seconds"),
        (
            "DPoP",
            Some(prove(&good, now.plus_seconds(61))),
            "invalid_dpop_proof",
            "within 60 seconds",
        ),
        ("DPoP", Some("nonsense".to_owned()), "invalid_dpop_proof", "not a compact signed token"),
        ("DPoP", Some(token.clone()), "invalid_dpop_proof", "`jwk`"),
        ("DPoP", None, "invalid_dpop_proof", "it is missing"),
        ("Bearer", None, "invalid_token", "bound to a key"),
        ("Bearer", Some(prove(&good, now)), "invalid_token", "bound to a key"),
    ];
    let count = cases.len();
    for (scheme, proof, error, words) in cases {
        let said = challenge(&present(&bot, scheme, &token, proof.as_deref()).await);
        assert!(said.starts_with(&format!("error=\"{error}\"")) && said.contains(words), "{said}");
    }
    let recorded = house.recorded().await;
    assert_eq!(recorded[known..], vec!["decision deny unauthenticated"; count]);
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn a_token_without_a_key_counts_at_the_gateway_while_the_blueprint_says_so() {
    let house = House::new().await;
    house.sender("bearer").await;
    let bot = Bot { token: house.bearer().await, ..house.bot(0).await };
    let reply = present(&bot, "Bearer", &bot.token, None).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(house.recorded().await, ["decision permit", "outcome completed"]);
    house.desk.forget();
    let said = challenged(&bot, &bot.token).await;
    assert!(said.contains("bound to no key"), "{said}");
    assert!(said.ends_with("say `sender = 'bearer'`\""), "quotes within stay apart: {said}");
    let url = format!("{}/v1/agents", house.world.url());
    let authorization = format!("Bearer {}", bot.token);
    let reply =
        house.world.wire().send("GET", &url, &[("authorization", &authorization)], "").await;
    assert_eq!(reply.status, 401, "the admin API takes no such token");
    house.sender("dpop").await;
    let said = challenge(&present(&bot, "Bearer", &bot.token, None).await);
    assert!(
        said.starts_with("error=\"invalid_token\"") && said.contains("bound to no key"),
        "{said}"
    );
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn credentials_that_stand_twice_are_refused() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    for name in ["authorization", "dpop"] {
        let mut headers = bot.headers("POST").await;
        let again = headers[name].clone();
        headers.append(name, again);
        let body = call("get_order", r#"{"order":"A-1"}"#);
        let reply = house.client.send(Method::POST, &house.url(), headers, body).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    assert!(house.desk.asked().is_empty());
}

#[tokio::test]
async fn a_token_for_one_system_opens_no_other() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let other = Desk::start(Era::Modern).await;
    let server = json!({ "name": "other", "url": other.url(), "internal": true });
    let added = house.olivia.post("/v1/servers", server).await.ok();
    assert_eq!(added["tools"].as_array().unwrap().len(), 6, "it is there and answers");
    other.forget();
    for system in ["other", "bailiwick", "desk2"] {
        let url = format!("{}/mcp/{system}", house.world.gateway_url());
        let mut headers = bot.headers("POST").await;
        let proof = house.world.prove(&house.agent.prover, "POST", &url, Some(&bot.token)).await;
        headers.insert("dpop", proof.parse().unwrap());
        let body = call("get_order", r#"{"order":"A-1"}"#);
        let reply = house.client.send(Method::POST, &url, headers, body).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{system}");
        if system == "other" {
            assert!(reply.header("www-authenticate").unwrap().contains("the token is for"));
        }
    }
    assert!(other.asked().is_empty());
    let url = format!("{}/mcp/No%20Name", house.world.gateway_url());
    let reply = house.client.send(Method::POST, &url, HeaderMap::new(), "").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(house.desk.asked().is_empty());
}
