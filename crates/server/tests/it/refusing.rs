//! What no route does for whom it does not know. The routes come from the router's own table.

use http::Method;
use server::{Access, ROUTES, Route};
use testkit::world::{Reply, World};

use crate::office::Office;

/// A request to a route, with something in place of every placeholder.
fn path(route: &Route) -> String {
    let fill = |segment: &str| match segment {
        "{id}" => "0199f3a2-7c11-8001-8a2b-3c4d5e6f7081".to_owned(),
        "{index}" => "0".to_owned(),
        "{*path}" => "0/000".to_owned(),
        placeholder if placeholder.starts_with('{') => "nobody".to_owned(),
        fixed => fixed.to_owned(),
    };
    route.path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

fn guarded() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.access == Access::Session)
}

async fn send(world: &World, route: &Route, headers: &[(&str, &str)]) -> Reply {
    let url = format!("{}{}", world.url(), path(route));
    world.wire().send(route.method.as_str(), &url, headers, "").await
}

fn assert_unknown(route: &Route, reply: &Reply, error: Option<&str>) {
    let what = format!("{} {}: {} {}", route.method, route.path, reply.status, reply.text());
    assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{what}");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(challenge.starts_with("DPoP "), "{what}: {challenge}");
    let named = error.map(|error| format!("error=\"{error}\""));
    assert!(named.is_none_or(|named| challenge.contains(&named)), "{what}: {challenge}");
    assert!(reply.header("dpop-nonce").is_some(), "{what}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}");
}

#[test]
fn only_what_everybody_may_know_is_open() {
    let open: Vec<_> = ROUTES
        .iter()
        .filter(|route| route.access != Access::Session)
        .map(|route| route.path)
        .collect();
    let known =
        ["/.well-known/oauth-authorization-server", "/oauth/jwks", "/oauth/token", "/openapi.json"];
    assert_eq!(open, known);
    assert!(
        guarded().all(|route| route.path.starts_with("/v1/") || route.path.starts_with("/ledger/"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_who_presents_nothing() {
    let world = World::start().await;
    for route in guarded() {
        assert_unknown(route, &send(&world, route, &[]).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_a_bound_token_without_its_proof() {
    let office = Office::open().await;
    let session = office.olivia.session().await;
    for route in guarded() {
        let bearer = format!("Bearer {session}");
        assert_unknown(
            route,
            &send(&office.world, route, &[("authorization", &bearer)]).await,
            Some("invalid_token"),
        );
        let bare = format!("DPoP {session}");
        let reply = send(&office.world, route, &[("authorization", &bare)]).await;
        assert_unknown(route, &reply, Some("invalid_dpop_proof"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_an_agent_that_acts_for_a_person() {
    let office = Office::open().await;
    let agent = office.agent().await;
    let token = office.token_on_behalf(&agent).await;
    for route in guarded() {
        let url = format!("{}{}", office.world.url(), path(route));
        let headers = agent.headers(route.method.as_str(), &url, &token).await;
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_unknown(route, &send(&office.world, route, &headers).await, Some("invalid_token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_a_handed_over_token() {
    let office = Office::open().await;
    office.agent().await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let token = task["token"].as_str().unwrap();
    for route in guarded() {
        let url = format!("{}{}", office.world.url(), path(route));
        let proof = office
            .world
            .prove(&office.olivia.prover, route.method.as_str(), &url, Some(token))
            .await;
        let headers = [("authorization", format!("DPoP {token}")), ("dpop", proof)];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_unknown(route, &send(&office.world, route, &headers).await, Some("invalid_token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_a_proof_for_the_second_time() {
    let office = Office::open().await;
    let session = office.olivia.session().await;
    let authorization = format!("DPoP {session}");
    for route in guarded() {
        let url = format!("{}{}", office.world.url(), path(route));
        let proof = office
            .world
            .prove(&office.olivia.prover, route.method.as_str(), &url, Some(&session))
            .await;
        let headers = [("authorization", authorization.as_str()), ("dpop", proof.as_str())];
        let first = send(&office.world, route, &headers).await;
        assert_ne!(first.status, 401, "{} {}: {}", route.method, route.path, first.text());
        assert_unknown(
            route,
            &send(&office.world, route, &headers).await,
            Some("invalid_dpop_proof"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_two_proofs_and_two_tokens() {
    let office = Office::open().await;
    let session = office.olivia.session().await;
    let authorization = format!("DPoP {session}");
    for route in guarded() {
        let url = format!("{}{}", office.world.url(), path(route));
        let prove = || {
            office.world.prove(&office.olivia.prover, route.method.as_str(), &url, Some(&session))
        };
        let (one, other) = (prove().await, prove().await);
        let token = ("authorization", authorization.as_str());
        let reply = send(&office.world, route, &[token, ("dpop", &one), ("dpop", &other)]).await;
        assert_unknown(route, &reply, Some("invalid_dpop_proof"));
        let reply = send(&office.world, route, &[token, token, ("dpop", &one)]).await;
        assert_unknown(route, &reply, Some("invalid_token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_counts_for_its_method_its_url_its_token_and_its_key_alone() {
    let office = Office::open().await;
    let (world, olivia) = (&office.world, &office.olivia);
    let session = olivia.session().await;
    let url = format!("{}/v1/whoami", world.url());
    let elsewhere = format!("{}/v1/agents", world.url());
    let local = url.replace("127.0.0.1", "localhost");
    let proofs = [
        world.prove(&olivia.prover, "POST", &url, Some(&session)).await,
        world.prove(&olivia.prover, "GET", &elsewhere, Some(&session)).await,
        world.prove(&olivia.prover, "GET", &local, Some(&session)).await,
        world.prove(&olivia.prover, "GET", &url, None).await,
        world.prove(&office.omar.prover, "GET", &url, Some(&session)).await,
    ];
    let authorization = format!("DPoP {session}");
    for proof in &proofs {
        let reply = world
            .wire()
            .send("GET", &url, &[("authorization", &authorization), ("dpop", proof)], "")
            .await;
        assert_eq!(reply.status, 401, "{}", reply.text());
    }
    let fits = world.prove(&olivia.prover, "GET", &url, Some(&session)).await;
    let reply = world
        .wire()
        .send("GET", &url, &[("authorization", &authorization), ("dpop", &fits)], "")
        .await;
    assert_eq!(reply.ok()["handle"], "olivia");
    assert!(reply.header("dpop-nonce").is_some(), "a fresh nonce comes with every answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_without_our_nonce_is_told_to_take_one() {
    let office = Office::open().await;
    let session = office.olivia.session().await;
    let url = format!("{}/v1/whoami", office.world.url());
    let request = token::dpop::Request {
        method: "GET",
        url: &url,
        access_token: Some(session.as_str().into()),
    };
    for nonce in [None, Some("made-up")] {
        let proof = office
            .olivia
            .prover
            .prove(&request, nonce, office.world.now(), &office.world.fresh())
            .unwrap();
        let headers = [("authorization", format!("DPoP {session}")), ("dpop", proof)];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let reply = office.world.wire().send("GET", &url, &headers, "").await;
        assert!(reply.header("www-authenticate").unwrap().contains("error=\"use_dpop_nonce\""));
        assert!(reply.header("dpop-nonce").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_does_not_govern_reads_and_changes_nothing_of_others() {
    let office = Office::open().await;
    let una = office.person("una", &[]).await;
    let own = ["/v1/whoami", "/v1/approvals", "/v1/can-i", "/v1/accounts"];
    for route in guarded().filter(|route| !own.contains(&route.path)) {
        let reads = route.method == Method::GET;
        // A list of one's own, which is empty; opening one is not.
        if reads && route.path == "/v1/tasks" {
            continue;
        }
        let reply = una.call(route.method.as_str(), &path(route), &serde_json::Value::Null).await;
        let expected: &[u16] = if reads { &[403] } else { &[403, 404, 422] };
        assert!(
            expected.contains(&reply.status),
            "{} {}: {} {}",
            route.method,
            route.path,
            reply.status,
            reply.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_or_method_is_a_problem_like_any_other() {
    let office = Office::open().await;
    let reply = office.olivia.get("/v1/nothing").await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
    let reply = office.olivia.call("PATCH", "/v1/agents", &serde_json::Value::Null).await;
    assert_eq!((reply.status, reply.code().as_str()), (405, "method_not_allowed"));
}
