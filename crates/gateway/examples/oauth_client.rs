//! What the MCP conformance tool starts to look at the gateway's outbound side as an OAuth client: it connects to the
//! server that is named last on the command line, lists its tools and calls the first, buying tokens as it is asked to.
//!
//! For tests alone: it consents to everything by itself, and reaches loopback addresses in the clear.

use std::{sync::Arc, time::Duration};

use decide::{Clock, Context};
use gateway::{
    envelope::{Able, Era, Logs, Mirror, RequestId},
    oauth::{Callback, Challenge, Client, Found, Grant, Own, Place, Prepared, Proof, Registration},
    outbound::{Credential, Limits, Outbound},
    upstream::{Answer, Call, Protocol, Upstream, UpstreamError},
};
use model::Realm;
use serde_json::Value;
use token::{Secret, SigningKey};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

type Failure = Box<dyn std::error::Error>;

/// The client metadata document that the tool expects to be named.
const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";
/// Below which people would come back; nobody does.
const CALLBACK: &str = "http://127.0.0.1:8181/oauth/callback";
/// How often a request is tried again with another token.
const ATTEMPTS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let url = std::env::args().next_back().ok_or("no server is named")?;
    let mut session = Session::new(url)?;
    let mut first = None;
    session
        .with_token(async |upstream| {
            let listing = upstream.list_tools().await?;
            first = listing.tools.first().map(|tool| tool.name().to_owned());
            Ok(())
        })
        .await?;
    let Some(tool) = first else { return Ok(()) };
    session.with_token(async |upstream| call(upstream, &tool).await).await
}

async fn call(upstream: &Upstream, tool: &str) -> Result<(), UpstreamError> {
    let call = Call {
        holder: None,
        room: None,
        id: &RequestId::Number(1),
        tool,
        arguments: b"{}",
        inputs: None,
        era: Era::Modern,
        able: &Able::default(),
        logs: Logs::Nothing,
        progress: None,
        mirror: &Mirror::default(),
        deadline: Instant::now() + Duration::from_secs(20),
    };
    match upstream.call(call).await? {
        Answer::Whole(..) => Ok(()),
        Answer::Stream(mut events) => {
            while events.next().await?.is_some() {}
            Ok(())
        }
    }
}

/// One server, and what was bought for it so far.
struct Session {
    outbound: Outbound,
    oauth: Client,
    place: Place,
    scenario: String,
    context: Value,
    known: Option<Registration>,
    grant: Option<Grant>,
}

impl Session {
    fn new(url: String) -> Result<Self, Failure> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let scenario = variable("MCP_CONFORMANCE_SCENARIO");
        let context =
            serde_json::from_str(&variable("MCP_CONFORMANCE_CONTEXT")).unwrap_or_default();
        let realm = Realm { org: "example".parse()?, environment: "test".parse()?, node: 1 };
        let outbound = Outbound::new(Limits::default());
        let legacy = scenario.starts_with("auth/2025-03-26");
        Ok(Self {
            oauth: Client::new(outbound.clone(), Context::new(realm, Clock::system())),
            outbound,
            place: Place { url, internal: true, issuer: None, legacy },
            scenario,
            context,
            known: None,
            grant: None,
        })
    }

    /// Does something with the server, and again with another token as long as it says that it wants one.
    async fn with_token(
        &mut self,
        mut act: impl AsyncFnMut(&Upstream) -> Result<(), UpstreamError>,
    ) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            let upstream = self.upstream()?;
            let why = match act(&upstream).await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            let Some(challenge) = why.challenge() else { return Err(why.into()) };
            self.buy(challenge).await?;
        }
        Err("the server wants ever other tokens".into())
    }

    fn upstream(&self) -> Result<Upstream, Failure> {
        let target = self.outbound.target(&self.place.url, self.place.internal)?;
        let bearer = |grant: &Grant| Credential::bearer(target.origin().clone(), grant.access());
        let credential = self.grant.as_ref().map(bearer).transpose()?;
        Ok(Upstream::new(self.outbound.clone(), target, credential, Protocol::Probe))
    }

    async fn buy(&mut self, challenge: &Challenge) -> Result<(), Failure> {
        let found = self.oauth.discover(&self.place, Some(challenge)).await?;
        let granted = self.grant.as_ref().filter(|grant| grant.issuer() == found.server.issuer);
        let scopes = found.scopes(Some(challenge), granted.map(Grant::scopes));
        if challenge.insufficient && granted.is_some_and(|grant| grant.scopes().covers(&scopes)) {
            return Err("the server refuses a token with all the scopes that it names".into());
        }
        let own = Own { document: Some(DOCUMENT.to_owned()), callback: CALLBACK.to_owned() };
        let prepared = self.prepared(&found)?;
        let registration =
            self.oauth.identify(&found, prepared.as_ref(), &own, self.known.as_ref()).await?;
        self.known = Some(registration.clone());
        let grant = if self.scenario.starts_with("auth/client-credentials") {
            self.oauth.by_itself(&found, registration, &scopes).await?
        } else {
            let redirect = own.redirect(&registration);
            let pending = self.oauth.begin(found, registration, &redirect, scopes)?;
            let (at, callback) = consent(pending.url()).await?;
            self.oauth.finish(pending, &at, &callback).await?
        };
        self.grant = Some(grant);
        Ok(())
    }

    /// The client that the tool says was registered by hand, at the issuer that it says, or else at the one found.
    fn prepared(&self, found: &Found) -> Result<Option<Prepared>, Failure> {
        let text = |name: &str| self.context[name].as_str();
        let Some(id) = text("client_id") else { return Ok(None) };
        let proof = match (text("private_key_pem"), text("client_secret")) {
            (Some(pem), _) => Proof::Key(Arc::new(SigningKey::from_pem(pem)?)),
            (None, Some(secret)) => Proof::Secret(Secret::new(secret.to_owned())),
            (None, None) => Proof::Nothing,
        };
        let issuer = text("issuer").unwrap_or(&found.server.issuer).to_owned();
        Ok(Some(Prepared { issuer, id: id.to_owned(), proof }))
    }
}

/// Says yes to everything: asks the authorization server as a browser would and reads where it sends the person.
async fn consent(url: &str) -> Result<(String, Callback), Failure> {
    let (host, path) =
        url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or("no http URL")?;
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    };
    let location =
        answer.lines().find_map(header).ok_or("the authorization server does not redirect")?;
    let (at, query) = location.split_once('?').ok_or("the redirect carries no answer")?;
    Ok((at.to_owned(), Callback::read(query).ok_or("the redirect cannot be read")?))
}
