use decide::{Clock, Context};
use model::{Realm, Timestamp};

use super::*;
use crate::outbound::{Limits, Outbound, tests::server::Server};

const START: i64 = 1_800_000_000_000;

fn client() -> Client {
    let realm =
        Realm { org: "acme".parse().unwrap(), environment: "test".parse().unwrap(), node: 1 };
    let clock = Clock::manual(Timestamp::from_millis(START));
    Client::new(Outbound::new(Limits::default()), Context::new(realm, clock))
}

fn place(url: &str, internal: bool) -> Place {
    Place { url: url.to_owned(), internal, issuer: None, legacy: false }
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A server that answers paths with documents; `HERE` in them is its own origin. Everything else is not there.
async fn serving(documents: &'static [(&'static str, &'static str)]) -> (Server, String) {
    let server = Server::replying(move |request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let here = format!("http://{host}");
        let path = request.split(' ').nth(1).unwrap();
        match documents.iter().find(|(at, _)| *at == path) {
            Some((_, "moved")) => {
                format!("HTTP/1.1 302 x\r\nlocation: {here}/login\r\ncontent-length: 0\r\n\r\n")
            }
            Some((_, document)) => answer(200, &document.replace("HERE", &here)),
            None => answer(404, "{}"),
        }
    })
    .await;
    let url = format!("http://{}", server.address);
    (server, url)
}

const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const METADATA: &str = "/.well-known/oauth-authorization-server";
const PROTECTED: &str = r#"{"resource":"HERE/mcp","authorization_servers":["HERE"]}"#;
const ISSUER: &str = r#"{"issuer":"HERE","authorization_endpoint":"HERE/authorize","token_endpoint":"HERE/token","registration_endpoint":"HERE/register","code_challenge_methods_supported":["S256"],"authorization_response_iss_parameter_supported":true}"#;

async fn found(documents: &'static [(&'static str, &'static str)]) -> Result<Found, OauthError> {
    let (_server, url) = serving(documents).await;
    client().discover(&place(&format!("{url}/mcp"), true), None).await
}

fn registration(found: &Found) -> Registration {
    let issuer = found.server.issuer.clone();
    let authentication = Authentication::Nothing;
    Registration { issuer, id: "us".to_owned(), authentication, prepared: false, expires: None }
}

const REDIRECT: &str = "https://gateway.example/oauth/callback";

fn begun(found: Found) -> Pending {
    let us = registration(&found);
    client().begin(found, us, REDIRECT, Scopes::of("a b")).unwrap()
}

#[tokio::test]
async fn metadata_is_believed_only_where_it_is_about_this_server_and_this_issuer() {
    assert!(found(&[(RESOURCE, PROTECTED), (METADATA, ISSUER)]).await.is_ok());
    for (resource, metadata, why) in [
        (
            r#"{"resource":"https://evil.example/mcp","authorization_servers":["HERE"]}"#,
            ISSUER,
            "not about this server",
        ),
        (
            r#"{"resource":"HERE/mc","authorization_servers":["HERE"]}"#,
            ISSUER,
            "not about this server",
        ),
        (
            r#"{"resource":"HERE/mcp/other","authorization_servers":["HERE"]}"#,
            ISSUER,
            "not about this server",
        ),
        (r#"{"authorization_servers":["HERE"]}"#, ISSUER, "no `resource`"),
        (r#"{"resource":"HERE/mcp"}"#, ISSUER, "no `authorization_servers`"),
        (
            r#"{"resource":"HERE/mcp","authorization_servers":["HERE/"]}"#,
            ISSUER,
            "says that its issuer is",
        ),
        (
            PROTECTED,
            r#"{"issuer":"HERE/","token_endpoint":"HERE/token"}"#,
            "says that its issuer is",
        ),
        (PROTECTED, r#"{"token_endpoint":"HERE/token"}"#, "no `issuer`"),
        (PROTECTED, r#"{"issuer":"HERE"}"#, "no `token_endpoint`"),
        (PROTECTED, "[]", "publishes no authorization server metadata"),
        (PROTECTED, "moved", "publishes no authorization server metadata"),
        ("moved", ISSUER, "publishes no protected resource metadata"),
    ] {
        let documents: &'static [_] = vec![(RESOURCE, resource), (METADATA, metadata)].leak();
        let said = found(documents).await.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(why), "{resource} {metadata}: {said}");
    }
}

#[tokio::test]
async fn a_server_cannot_point_to_another_origin_nor_inside() {
    let (server, url) = serving(&[(RESOURCE, PROTECTED), (METADATA, ISSUER)]).await;
    let elsewhere = Challenge {
        metadata: Some("https://evil.example/metadata".to_owned()),
        scopes: None,
        insufficient: false,
        presented: None,
    };
    let refused = client().discover(&place(&format!("{url}/mcp"), true), Some(&elsewhere)).await;
    assert!(matches!(refused, Err(OauthError::ForeignMetadata(_))));
    // What is not internal itself leads to nothing that is.
    let outside = client().discover(&place(&format!("{url}/mcp"), false), None).await;
    assert!(matches!(outside, Err(OauthError::Target { .. })));
    assert_eq!(server.accepted.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_resource_that_holds_the_server_speaks_for_itself_at_its_own_place_alone() {
    const HOST: &str = r#"{"resource":"HERE","authorization_servers":["HERE"]}"#;
    const ROOT: &str = "/.well-known/oauth-protected-resource";
    let about = async |path: &str, named: &str, document: &'static str| {
        let place_of: &'static str = named.to_owned().leak();
        let documents: &'static [_] = vec![(place_of, document), (METADATA, ISSUER)].leak();
        let (_server, url) = serving(documents).await;
        let challenge = Challenge {
            metadata: Some(format!("{url}{named}")),
            scopes: None,
            insufficient: false,
            presented: None,
        };
        let place = place(&format!("{url}{path}"), true);
        let found = client().discover(&place, Some(&challenge)).await;
        found.map(|found| found.protected.resource.unwrap().replace(&url, "HERE"))
    };
    assert_eq!(about("/a/mcp", ROOT, HOST).await.unwrap(), "HERE");
    // One tenant of a host says that the whole host is meant.
    for named in ["/a/m.json", "/.well-known/oauth-protected-resource/a/mcp", "/a/mcp?m"] {
        let refused = about("/a/mcp", named, HOST).await;
        assert!(matches!(refused, Err(OauthError::Resource(_))), "{named}");
    }
    const TENANT: &str = r#"{"resource":"HERE/mcp?tenant=a","authorization_servers":["HERE"]}"#;
    assert_eq!(about("/mcp?tenant=a", "/m.json", TENANT).await.unwrap(), "HERE/mcp?tenant=a");
    for path in ["/mcp?tenant=b", "/mcp"] {
        let refused = about(path, RESOURCE, TENANT).await;
        assert!(matches!(refused, Err(OauthError::Resource(_))), "{path}");
    }
    assert_eq!(about("/mcp?tenant=a", RESOURCE, PROTECTED).await.unwrap(), "HERE/mcp");
}

#[tokio::test]
async fn an_issuer_that_is_configured_counts_for_a_server_without_metadata_too() {
    let (_server, url) = serving(&[(METADATA, ISSUER)]).await;
    let legacy = |issuer: &str| Place {
        issuer: Some(issuer.to_owned()),
        legacy: true,
        ..place(&format!("{url}/mcp"), true)
    };
    let refused = client().discover(&legacy("https://as.example"), None).await;
    assert!(matches!(refused, Err(OauthError::NotTheIssuer(_))));
    assert!(client().discover(&legacy(&url), None).await.is_ok());
}

#[tokio::test]
async fn people_come_back_from_each_issuer_to_a_place_of_its_own() {
    let own = Own {
        document: Some("https://gateway.example/oauth/client.json".to_owned()),
        callback: "https://gateway.example/oauth/callback".to_owned(),
    };
    let of = |issuer: &str, id: &str, prepared| Registration {
        issuer: issuer.to_owned(),
        id: id.to_owned(),
        authentication: Authentication::Nothing,
        prepared,
        expires: None,
    };
    let document = own.document.clone().unwrap();
    let (one, other) = ("https://one.example", "https://other.example");
    assert_ne!(own.redirect(&of(one, "us", false)), own.redirect(&of(other, "us", false)));
    assert_eq!(own.redirect(&of(one, "us", true)), own.redirect_from(one));
    let shared = own.redirect(&of(one, &document, false));
    assert_eq!(shared, own.redirect(&of(other, &document, false)));
    assert_eq!(own.redirect(&of(one, &document, true)), own.redirect_from(one));
    let shown = String::from_utf8(own.document(&document).canonical()).unwrap();
    assert!(shown.contains(&format!("[\"{shared}\"]")), "{shown}");

    // The document, which anybody may show, is shown only where an answer says who gives it.
    const NAMED: &str = r#"{"issuer":"HERE","token_endpoint":"HERE/token","client_id_metadata_document_supported":true,"authorization_response_iss_parameter_supported":true}"#;
    const NAMELESS: &str = r#"{"issuer":"HERE","token_endpoint":"HERE/token","client_id_metadata_document_supported":true}"#;
    let named = found(&[(RESOURCE, PROTECTED), (METADATA, NAMED)]).await.unwrap();
    let us = client().identify(&named, None, &own, None).await.unwrap();
    assert_eq!(us.id, document);
    let nameless = found(&[(RESOURCE, PROTECTED), (METADATA, NAMELESS)]).await.unwrap();
    let known = of(&nameless.server.issuer, &document, false);
    let unknown = client().identify(&nameless, None, &own, Some(&known)).await.map(|_| ());
    assert!(matches!(unknown, Err(OauthError::NoIdentity(_))));
}

#[tokio::test]
async fn one_issuer_that_is_configured_is_the_only_one() {
    let (_server, url) = serving(&[(RESOURCE, PROTECTED), (METADATA, ISSUER)]).await;
    let other = Place {
        issuer: Some("https://as.example".to_owned()),
        ..place(&format!("{url}/mcp"), true)
    };
    let refused = client().discover(&other, None).await;
    assert!(matches!(refused, Err(OauthError::NotTheIssuer(_))));
    let found = client().discover(&place(&format!("{url}/mcp"), true), None).await.unwrap();
    let secret = Proof::Secret(::token::Secret::new("s".to_owned()));
    let prepared =
        Prepared { issuer: "https://as.example".to_owned(), id: "us".to_owned(), proof: secret };
    let refused = prepared.registration(&found.server).map(|_| ());
    assert!(matches!(refused, Err(OauthError::Issuer { .. })), "its secret goes nowhere else");
}

#[tokio::test]
async fn without_pkce_or_a_way_to_be_known_nobody_is_sent_anywhere() {
    const BARE: &str = r#"{"issuer":"HERE","authorization_endpoint":"HERE/authorize","token_endpoint":"HERE/token","code_challenge_methods_supported":["plain"]}"#;
    let found = found(&[(RESOURCE, PROTECTED), (METADATA, BARE)]).await.unwrap();
    let own = Own {
        document: Some("https://gateway.example/oauth/client.json".to_owned()),
        callback: REDIRECT.to_owned(),
    };
    let unknown = client().identify(&found, None, &own, None).await.map(|_| ());
    assert!(matches!(unknown, Err(OauthError::NoIdentity(_))));
    let elsewhere = Registration {
        issuer: "https://as.example".to_owned(),
        id: "us".to_owned(),
        authentication: Authentication::Nothing,
        prepared: false,
        expires: None,
    };
    let reused = client().identify(&found, None, &own, Some(&elsewhere)).await.map(|_| ());
    assert!(
        matches!(reused, Err(OauthError::NoIdentity(_))),
        "what another issuer gave is not used here"
    );
    let us = registration(&found);
    let refused = client().begin(found, us, REDIRECT, Scopes::default()).map(|_| ());
    assert!(matches!(refused, Err(OauthError::NoPkce(_))));
}

#[tokio::test]
async fn an_answer_is_believed_only_with_its_state_and_its_issuer() {
    let found = found(&[(RESOURCE, PROTECTED), (METADATA, ISSUER)]).await.unwrap();
    let issuer = found.server.issuer.clone();
    let state_of = |pending: &Pending| {
        let (_, after) = pending.url().split_once("state=").unwrap();
        after.split('&').next().unwrap().to_owned()
    };
    let pending = begun(found.clone());
    for part in [
        "response_type=code",
        "client_id=us",
        "code_challenge_method=S256",
        "scope=a%20b",
        "resource=http",
    ] {
        assert!(pending.url().contains(part), "{}", pending.url());
    }
    assert_ne!(state_of(&pending), state_of(&begun(found.clone())));
    let right = |pending: &Pending| Callback {
        code: Some("c".to_owned()),
        state: Some(state_of(pending)),
        issuer: Some(issuer.clone()),
        ..Callback::default()
    };
    type Change = fn(Callback) -> Callback;
    let pairs: [(&str, Change); 5] = [
        ("`state`", |callback| Callback { state: Some("other".to_owned()), ..callback }),
        ("`state`", |callback| Callback { state: None, ..callback }),
        ("`iss`", |callback| Callback { issuer: None, ..callback }),
        ("`iss`", |callback| Callback {
            issuer: callback.issuer.map(|issuer| issuer + "/"),
            error: Some("x".to_owned()),
            ..callback
        }),
        ("neither a `code`", |callback| Callback { code: None, ..callback }),
    ];
    for (why, wrong) in pairs {
        let pending = begun(found.clone());
        let callback = wrong(right(&pending));
        let said = client().finish(pending, REDIRECT, &callback).await.map(|_| ()).unwrap_err();
        assert!(
            matches!(said, OauthError::Callback(_)) && said.to_string().contains(why),
            "{said}"
        );
    }
    let pending = begun(found.clone());
    let answer = right(&pending);
    let elsewhere = client().finish(pending, "https://gateway.example/oauth/other", &answer).await;
    let said = elsewhere.map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("the place of another authorization server"), "{said}");
    let pending = begun(found);
    let denied =
        Callback { error: Some("access_denied".to_owned()), code: None, ..right(&pending) };
    let said = client().finish(pending, REDIRECT, &denied).await.map(|_| ()).unwrap_err();
    assert_eq!(said.to_string(), "the authorization server refused: access_denied");
}

#[test]
fn a_redirect_is_read_by_its_own_rules_and_one_that_is_ambiguous_by_nobody() {
    let read = Callback::read("code=a%2Bb+c&state=s&iss=https%3A%2F%2Fas.example&more=1").unwrap();
    assert_eq!(read.code.as_deref(), Some("a+b c"));
    assert_eq!(read.issuer.as_deref(), Some("https://as.example"));
    for wrong in ["code=a&code=b", "state=a&state=a", "code=%zz", "code=%f", "code=%ff"] {
        assert_eq!(Callback::read(wrong), None, "{wrong}");
    }
    assert_eq!(Callback::read(&format!("code={}", "a".repeat(9_000))), None);
}

/// Buys a token for the gateway itself where the token endpoint answers like this.
async fn bought(status: u16, body: &'static str) -> Result<Grant, OauthError> {
    let server = Server::replying(move |_| answer(status, body)).await;
    let url = format!("http://{}", server.address);
    let server = AuthorizationServer {
        issuer: url.clone(),
        authorization: None,
        token: format!("{url}/token"),
        registration: None,
        revocation: None,
        s256: true,
        documents: false,
        names_itself: false,
        scopes: Scopes::default(),
        methods: None,
    };
    let protected =
        Protected { resource: Some(format!("{url}/mcp")), issuer: url, scopes: Scopes::default() };
    let found = Found { protected, server, internal: true };
    client().by_itself(&found, registration(&found), &Scopes::of("a")).await
}

#[tokio::test]
async fn only_a_bearer_token_in_a_sound_answer_counts() {
    let good = bought(
        200,
        r#"{"access_token":"t","token_type":"BEARER","expires_in":60,"refresh_token":"r"}"#,
    );
    let grant = good.await.unwrap();
    assert!(!grant.is_renewable(), "a client's own token comes without one");
    assert_eq!(grant.scopes(), &Scopes::of("a"), "what the answer does not say was given as asked");
    assert!(grant.is_fresh(Timestamp::from_millis(START)));
    assert!(
        !grant.is_fresh(Timestamp::from_millis(START + 31_000)),
        "it is renewed before its end"
    );
    for (status, body, why) in [
        (200, r#"{"access_token":"t","token_type":"DPoP"}"#, "only `Bearer`"),
        (200, r#"{"access_token":"t"}"#, "no `token_type`"),
        (200, r#"{"token_type":"Bearer"}"#, "no `access_token`"),
        (200, r#"{"access_token":"","token_type":"Bearer"}"#, "no `access_token`"),
        (200, r#"{"access_token":"t","access_token":"u","token_type":"Bearer"}"#, "no JSON object"),
        (200, "t", "no JSON object"),
        (
            400,
            r#"{"error":"invalid_scope","error_description":"no\u001b[2J"}"#,
            "refused: invalid_scope: no\\u{1b}[2J",
        ),
        (500, "", "answered HTTP 500"),
    ] {
        let said = bought(status, body).await.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(why), "{body}: {said}");
    }
}

#[tokio::test]
async fn a_grant_that_was_sealed_is_the_same_afterwards() {
    let grant =
        bought(200, r#"{"access_token":"t","token_type":"bearer","scope":"x y"}"#).await.unwrap();
    let secret = grant.to_secret();
    let again = Grant::from_secret(&secret).unwrap();
    assert_eq!(again.to_secret().expose(), secret.expose());
    assert!(again.access().matches(b"t") && again.scopes() == &Scopes::of("x y"));
    assert!(again.is_fresh(Timestamp::NEVER), "one that does not say when it ends is tried");
    let more = secret.expose_text().unwrap().replacen('{', r#"{"more":1,"#, 1);
    assert!(Grant::from_secret(&::token::Secret::new(more)).is_none());
}

#[test]
fn scopes_are_bounded_each_once_and_what_was_granted_comes_first() {
    let scopes = Scopes::of("read  read write \u{e9} \"x\"");
    assert_eq!(scopes.to_string(), "read write");
    assert_eq!(Scopes::of("b").with(&scopes).to_string(), "b read write");
    assert!(scopes.covers(&Scopes::default()) && !Scopes::default().covers(&scopes));
    let many: Vec<String> = (0..100).map(|at| format!("s{at}")).collect();
    assert_eq!(Scopes::of(&many.join(" ")).iter().count(), 64);
    assert!(Scopes::of(&"x".repeat(257)).is_empty());
}
