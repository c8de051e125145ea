//! Who issues tokens for a server: its own metadata, then that of the issuer it names.

use http::StatusCode;
use model::ijson::Json;

use super::{
    Challenge, Client, OauthError, Scopes, short,
    wire::{text, texts},
};
use crate::outbound::{Origin, SendError};

/// The most issuers of one server that are read.
const MAX_ISSUERS: usize = 8;
/// Where protected resource metadata is ([RFC 9728 §3](https://www.rfc-editor.org/rfc/rfc9728#section-3)).
const RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// Where authorization server metadata is ([RFC 8414 §3](https://www.rfc-editor.org/rfc/rfc8414#section-3)).
const SERVER: &str = "/.well-known/oauth-authorization-server";
/// The same, as OpenID Connect Discovery has it.
const OPENID: &str = "/.well-known/openid-configuration";

/// A protected server, as this gateway is configured for it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its MCP endpoint.
    pub url: String,
    /// Whether it, and so whoever issues its tokens, may have a special-use address and speak plain http.
    pub internal: bool,
    /// The issuer that is meant; without one the first that the server names.
    pub issuer: Option<String>,
    /// Whether a server without protected resource metadata is taken for one of MCP 2025-03-26, whose own origin is its
    /// authorization server.
    pub legacy: bool,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Its resource identifier, exactly as published; `None` for a server of MCP 2025-03-26.
    pub resource: Option<String>,
    /// Who issues its tokens.
    pub issuer: String,
    /// The scopes that it knows.
    pub scopes: Scopes,
}

/// What an authorization server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// Its issuer, byte for byte as it was looked for.
    pub issuer: String,
    /// Where people consent.
    pub authorization: Option<String>,
    /// Where tokens are bought.
    pub token: String,
    /// Where clients register themselves.
    pub registration: Option<String>,
    /// Where tokens are given back.
    pub revocation: Option<String>,
    /// Whether it proves that a code is redeemed by whoever asked for it (PKCE with S256).
    pub s256: bool,
    /// Whether it reads client metadata documents.
    pub documents: bool,
    /// Whether its answers say who it is ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)).
    pub names_itself: bool,
    /// The scopes that it knows.
    pub scopes: Scopes,
    /// How clients may prove who they are; `None` where it does not say.
    pub methods: Option<Vec<String>>,
}

/// Where tokens for a server come from.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the server says.
    pub protected: Protected,
    /// What its authorization server says.
    pub server: AuthorizationServer,
    /// As in [`Place`].
    pub internal: bool,
}

impl Client {
    /// Finds who issues tokens for a server.
    ///
    /// # Errors
    /// [`OauthError`]: metadata is missing, or is about another resource or another issuer.
    pub async fn discover(
        &self,
        place: &Place,
        challenge: Option<&Challenge>,
    ) -> Result<Found, OauthError> {
        let named = challenge.and_then(|challenge| challenge.metadata.as_deref());
        let (protected, server) = match self.protected(place, named).await {
            Err(OauthError::NoMetadata) if place.legacy => self.before_metadata(place).await?,
            protected => {
                let protected = protected?;
                let server = self.server(&protected.issuer, place.internal).await?;
                (protected, server)
            }
        };
        Ok(Found { protected, server, internal: place.internal })
    }

    /// The server's own metadata: where the challenge says, else at the well-known places
    /// ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#protected-resource-metadata-discovery-requirements)).
    async fn protected(&self, place: &Place, named: Option<&str>) -> Result<Protected, OauthError> {
        let origin = self.target(&place.url, place.internal)?.origin().clone();
        let candidates = match named {
            Some(url) => {
                let same = url.parse::<Origin>().is_ok_and(|found| found == origin);
                if !same {
                    return Err(OauthError::ForeignMetadata(short(url)));
                }
                vec![url.to_owned()]
            }
            None => {
                let (root, path) = split(&place.url);
                let mut candidates = vec![format!("{root}{RESOURCE}{path}")];
                if !path.is_empty() {
                    candidates.push(format!("{root}{RESOURCE}"));
                }
                candidates
            }
        };
        for url in candidates {
            if let Some(document) = self.document(&url, place.internal).await? {
                return read_protected(place, &url, &document);
            }
        }
        Err(OauthError::NoMetadata)
    }

    /// The metadata of an issuer, at the places in the order that MCP demands
    /// ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#authorization-server-metadata-discovery)).
    async fn server(
        &self,
        issuer: &str,
        internal: bool,
    ) -> Result<AuthorizationServer, OauthError> {
        let (root, path) = split(issuer);
        let candidates = if path.is_empty() {
            vec![format!("{root}{SERVER}"), format!("{root}{OPENID}")]
        } else {
            vec![
                format!("{root}{SERVER}{path}"),
                format!("{root}{OPENID}{path}"),
                format!("{root}{path}{OPENID}"),
            ]
        };
        for url in candidates {
            if let Some(document) = self.document(&url, internal).await? {
                return read_server(issuer, &url, &document);
            }
        }
        Err(OauthError::NoServer(short(issuer)))
    }

    /// A server from before protected resource metadata: its origin is its authorization server, with endpoints at fixed
    /// places where it publishes nothing
    /// ([MCP 2025-03-26](https://modelcontextprotocol.io/specification/2025-03-26/basic/authorization)).
    async fn before_metadata(
        &self,
        place: &Place,
    ) -> Result<(Protected, AuthorizationServer), OauthError> {
        let (root, _) = split(&place.url);
        let issuer = root.to_owned();
        if let Some(meant) = place.issuer.as_ref().filter(|meant| **meant != issuer) {
            return Err(OauthError::NotTheIssuer(short(meant)));
        }
        let server = match self.server(&issuer, place.internal).await {
            Err(OauthError::NoServer(_)) => AuthorizationServer {
                authorization: Some(format!("{root}/authorize")),
                token: format!("{root}/token"),
                registration: Some(format!("{root}/register")),
                revocation: None,
                // Nothing says so; the proof is sent all the same, and the code goes back to the same origin.
                s256: true,
                documents: false,
                names_itself: false,
                scopes: Scopes::default(),
                methods: None,
                issuer: issuer.clone(),
            },
            server => server?,
        };
        Ok((Protected { resource: None, issuer, scopes: Scopes::default() }, server))
    }

    /// The document, or `None` where there is none at this place.
    async fn document(&self, url: &str, internal: bool) -> Result<Option<Json>, OauthError> {
        let fetched = match self.fetch(url, internal).await {
            // Servers send what they do not know to their front page.
            Err(OauthError::Send(SendError::Redirect { .. })) => return Ok(None),
            fetched => fetched?,
        };
        match (fetched.status, fetched.json) {
            (StatusCode::OK, Some(document @ Json::Object(_))) => Ok(Some(document)),
            // A page that answers everything with 200 is no document either.
            (StatusCode::OK, _) => Ok(None),
            (status, _) if status.is_client_error() => Ok(None),
            (status, _) => Err(OauthError::Status { url: short(url), status }),
        }
    }
}

fn read_protected(place: &Place, url: &str, document: &Json) -> Result<Protected, OauthError> {
    let wrong = |what| OauthError::Malformed { url: short(url), what };
    let resource = text(document, "resource").ok_or_else(|| wrong("it names no `resource`"))?;
    if !is_about(&resource, &place.url, url) {
        return Err(OauthError::Resource(short(&resource)));
    }
    let issuers = texts(document, "authorization_servers").unwrap_or_default();
    let mut issuers = issuers.into_iter().take(MAX_ISSUERS);
    let issuer = match &place.issuer {
        Some(meant) => issuers
            .find(|issuer| issuer == meant)
            .ok_or_else(|| OauthError::NotTheIssuer(short(meant)))?,
        None => issuers.next().ok_or_else(|| wrong("it names no `authorization_servers`"))?,
    };
    let scopes = texts(document, "scopes_supported").unwrap_or_default();
    let scopes = scopes.iter().map(String::as_str).collect();
    Ok(Protected { resource: Some(resource), issuer, scopes })
}

/// Whether a resource identifier, as a document names it, is the server's own URL, or a parent of it on the same origin: a
/// token for it is good there and at no other server's. A parent speaks for itself alone, at its own well-known place: on
/// a host of many, nobody's document says that the whole host is meant
/// ([RFC 9728 §3.3](https://www.rfc-editor.org/rfc/rfc9728#section-3.3)).
fn is_about(resource: &str, url: &str, document: &str) -> bool {
    let same_origin = |one: &str, other: &str| match (one.parse::<Origin>(), other.parse()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    if !same_origin(resource, url) {
        return false;
    }
    let ((_, parent), (_, path)) = (split(resource), split(url));
    if parent == path && query(resource) == query(url) {
        return true;
    }
    let (_, published) = split(document);
    let rest = path.strip_prefix(parent).filter(|_| query(resource).is_none());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && published == format!("{RESOURCE}{parent}")
        && query(document).is_none()
}

fn query(url: &str) -> Option<&str> {
    url.split_once('?').map(|(_, query)| query)
}

fn read_server(
    issuer: &str,
    url: &str,
    document: &Json,
) -> Result<AuthorizationServer, OauthError> {
    let wrong = |what| OauthError::Malformed { url: short(url), what };
    let found = text(document, "issuer").ok_or_else(|| wrong("it names no `issuer`"))?;
    if found != issuer {
        return Err(OauthError::Issuer { expected: short(issuer), found: short(&found) });
    }
    let flag = |name: &str| matches!(document.member(name), Some(Json::Bool(true)));
    let challenges = texts(document, "code_challenge_methods_supported").unwrap_or_default();
    let scopes = texts(document, "scopes_supported").unwrap_or_default();
    Ok(AuthorizationServer {
        issuer: found,
        authorization: text(document, "authorization_endpoint"),
        token: text(document, "token_endpoint")
            .ok_or_else(|| wrong("it names no `token_endpoint`"))?,
        registration: text(document, "registration_endpoint"),
        revocation: text(document, "revocation_endpoint"),
        s256: challenges.iter().any(|method| method == "S256"),
        documents: flag("client_id_metadata_document_supported"),
        names_itself: flag("authorization_response_iss_parameter_supported"),
        scopes: scopes.iter().map(String::as_str).collect(),
        methods: texts(document, "token_endpoint_auth_methods_supported"),
    })
}

/// A URL's scheme and authority as they were written, and its path without query and without a slash at its end.
fn split(url: &str) -> (&str, &str) {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url[after..].find(['/', '?']).map_or(url.len(), |at| after + at);
    let (root, rest) = url.split_at(end);
    let path = rest.split('?').next().unwrap_or_default();
    (root, path.trim_end_matches('/'))
}
