//! An agent's own side: it holds its key, proves itself with every request, and knows of Bailiwick only what the protocols
//! say (RFC 9728 and 8414 to find its way, RFC 7523 to say who it is, RFC 8693 to get a token, RFC 9449 to prove its key).

mod exchange;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use model::Digest;
use serde_json::Value;
use token::dpop::Prover;

pub(crate) use exchange::{Granted, Key, Refused};

use crate::{
    failure::{Exit, Failure, Result},
    proving::{Ask, AskError, Place},
};

/// How long the token endpoint may take: it waits for the ledger.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer of a token endpoint, or metadata.
const MAX_ANSWER: usize = 256 * 1024;

/// An agent that knows who it is, and where its tokens come from.
pub(crate) struct Agent {
    pub(crate) prover: Prover,
    uri: String,
    /// The digest of what it is made of.
    version: Option<Digest>,
    issuer: String,
    token_endpoint: Place,
}

/// Who an agent says it is.
pub(crate) struct Who {
    pub(crate) uri: String,
    pub(crate) version: Option<Digest>,
}

/// What a protected resource says of itself.
pub(crate) struct Resource {
    /// Whom tokens are for.
    pub(crate) audience: String,
    /// Who gives them.
    pub(crate) issuer: String,
}

impl Agent {
    /// An agent whose tokens come from `issuer`, which says where ([RFC 8414 §3](https://www.rfc-editor.org/rfc/rfc8414#section-3)).
    pub(crate) async fn new(prover: Prover, who: Who, issuer: &str) -> Result<Self> {
        let metadata = metadata(issuer, "oauth-authorization-server").await?;
        if metadata["issuer"] != issuer {
            let what = format!("`{issuer}` does not name itself so");
            return Err(Failure::new("issuer_differs", what)
                .why("its metadata names another issuer, and tokens from there would be somebody else's")
                .next("use the URL that the server is configured with (`server.public_url`)")
                .exit(Exit::SignIn));
        }
        let endpoint = metadata["token_endpoint"].as_str().unwrap_or_default();
        let token_endpoint = place(endpoint, PATIENCE)?;
        let Who { uri, version } = who;
        Ok(Self { prover, uri, version, issuer: issuer.to_owned(), token_endpoint })
    }
}

impl Resource {
    /// What the resource at this URL says ([RFC 9728 §3](https://www.rfc-editor.org/rfc/rfc9728#section-3)).
    pub(crate) async fn at(url: &str) -> Result<Self> {
        let metadata = metadata(url, "oauth-protected-resource").await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match (text(&metadata["resource"]), text(&metadata["authorization_servers"][0])) {
            (Some(audience), Some(issuer)) if audience == url.trim_end_matches('/') => {
                Ok(Self { audience, issuer })
            }
            _ => Err(Failure::new("not_the_gateway", format!("`{url}` does not name itself so"))
                .why("its metadata is missing, or about another resource")
                .next("use the gateway's public URL for the server: `https://GATEWAY/mcp/SERVER`")
                .exit(Exit::Unreachable)),
        }
    }
}

/// A place that a person named.
pub(crate) fn place(url: &str, patience: Duration) -> Result<Place> {
    Place::new(url, patience).map_err(|error| {
        Failure::new("url_refused", format!("`{url}` cannot be called"))
            .because(&error)
            .next("correct the URL")
    })
}

/// A request that was not answered.
pub(crate) fn unanswered(url: &str, error: AskError) -> Failure {
    match error {
        AskError::Unmade(failure) => failure,
        AskError::Unanswered(error) => {
            Failure::new("server_unreachable", format!("`{url}` gave no answer"))
                .because(&error)
                .next("check that `bailiwick serve` runs there, and the URL")
                .exit(Exit::Unreachable)
        }
    }
}

/// The metadata of whatever is at a URL: its name stands between host and path.
async fn metadata(url: &str, name: &str) -> Result<Value> {
    let path_at = url.find("://").map_or(0, |at| at + 3);
    let path_at = url[path_at..].find('/').map_or(url.len(), |at| path_at + at);
    let (origin, path) = url.split_at(path_at);
    let path = path.trim_end_matches('/');
    let place = place(&format!("{origin}/.well-known/{name}{path}"), PATIENCE)?;
    let ask = Ask {
        method: Method::GET,
        path: "",
        headers: HeaderMap::new(),
        body: Bytes::new(),
        token: None,
    };
    let reply = place.send_plain(ask).await.map_err(|error| unanswered(place.url(), error))?;
    let status = reply.status;
    let bytes = reply.collect(MAX_ANSWER).await.unwrap_or_default();
    match serde_json::from_slice(&bytes) {
        Ok(document) if status == StatusCode::OK => Ok(document),
        _ => Err(Failure::new("no_metadata", format!("`{}` has no metadata", place.url()))
            .why(format!("it answered {status}"))
            .next("check the URL: it is the gateway's, `https://GATEWAY/mcp/SERVER`")
            .exit(Exit::Unreachable)),
    }
}
