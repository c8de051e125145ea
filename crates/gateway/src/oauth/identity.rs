//! Who this gateway is at an authorization server: as configured there, by its metadata document, or registered on the
//! spot. In this order ([MCP 2025-11-25](https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#client-registration-approaches)).

use std::sync::Arc;

use decide::sha256;
use model::{Timestamp, ijson::Json};
use token::{Secret, SigningKey};

use super::{
    AuthorizationServer, Client, Found, OauthError, short,
    wire::{Fetched, text},
};
use crate::outbound::Origin;

/// The longest client id or secret that an authorization server may give, in bytes.
const MAX_CLIENT: usize = 2048;
/// How many hexadecimal digits of an issuer's digest name the place where people come back to from there: no issuer can be
/// chosen so that it shares another's.
const PLACE: usize = 32;
/// The place of all issuers that name themselves and read the client metadata document.
const NAMED: &str = "iss";

/// How this gateway describes itself.
#[derive(Debug, Clone)]
pub struct Own {
    /// Where its client metadata document is, where authorization servers can read it.
    pub document: Option<String>,
    /// Below which people come back.
    pub callback: String,
}

/// A client that somebody registered by hand.
#[derive(Clone)]
pub struct Prepared {
    /// The one issuer that knows it: its secret goes nowhere else.
    pub issuer: String,
    /// Its client id.
    pub id: String,
    /// What it proves itself by.
    pub proof: Proof,
}

/// What a prepared client has.
#[derive(Clone)]
pub enum Proof {
    /// Nothing: a public client.
    Nothing,
    /// A shared secret.
    Secret(Secret),
    /// A key, whose public half the authorization server knows.
    Key(Arc<SigningKey>),
}

/// Who this gateway is at one authorization server.
#[derive(Clone)]
pub struct Registration {
    /// The one issuer that knows it.
    pub issuer: String,
    /// The client id.
    pub id: String,
    /// How it proves that it is this client.
    pub authentication: Authentication,
    /// Whether somebody registered it by hand: what it proves itself by is configured then.
    pub prepared: bool,
    /// When its secret ends, where the issuer gave one that does.
    pub expires: Option<Timestamp>,
}

/// How a client proves who it is at the token endpoint.
#[derive(Clone)]
pub enum Authentication {
    /// Not at all; PKCE alone ties a code to it.
    Nothing,
    /// HTTP Basic ([RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)).
    Basic(Secret),
    /// The secret in the form.
    Post(Secret),
    /// An assertion of its own ([RFC 7523](https://www.rfc-editor.org/rfc/rfc7523)).
    Key(Arc<SigningKey>),
}

impl Own {
    /// What the client metadata document says
    /// ([draft-ietf-oauth-client-id-metadata-document](https://datatracker.ietf.org/doc/draft-ietf-oauth-client-id-metadata-document/)).
    pub fn document(&self, id: &str) -> Json {
        let mut members = self.described("none", &self.shared());
        members.push(("client_id", Json::String(id.to_owned())));
        Json::object(members)
    }

    /// Where people come back to from the issuer of a registration. Each issuer has a place of its own, so that what one says
    /// is never shown to another ([RFC 9700 §4.4.2.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.4.2.2)). Those who know
    /// this gateway by its document share one: they say in each answer who they are.
    pub fn redirect(&self, registration: &Registration) -> String {
        match self.is_document(registration) {
            true => self.shared(),
            false => self.redirect_from(&registration.issuer),
        }
    }

    fn is_document(&self, registration: &Registration) -> bool {
        self.document.as_ref() == Some(&registration.id) && !registration.prepared
    }

    /// Where people come back to from an issuer that knows this gateway as a registered client.
    pub fn redirect_from(&self, issuer: &str) -> String {
        let digest = sha256(&[issuer.as_bytes()]).to_string();
        format!("{}/{}", self.callback, &digest[..PLACE])
    }

    fn shared(&self) -> String {
        format!("{}/{NAMED}", self.callback)
    }

    fn described(&self, method: &str, redirect: &str) -> Vec<(&'static str, Json)> {
        let text = |text: &str| Json::String(text.to_owned());
        let texts = |list: &[&str]| Json::Array(list.iter().map(|it| text(it)).collect());
        // A page of this machine is a native application's to authorization servers, whatever serves it.
        let local = redirect.parse::<Origin>().is_ok_and(|origin| origin.is_loopback());
        vec![
            ("application_type", text(if local { "native" } else { "web" })),
            ("client_name", text("Bailiwick")),
            ("grant_types", texts(&["authorization_code", "refresh_token"])),
            ("redirect_uris", texts(&[redirect])),
            ("response_types", texts(&["code"])),
            ("token_endpoint_auth_method", text(method)),
        ]
    }
}

impl Client {
    /// Who this gateway is at the authorization server of `found`. `known` is used again where that issuer gave it.
    ///
    /// # Errors
    /// [`OauthError`]: there is no way to be known there.
    pub async fn identify(
        &self,
        found: &Found,
        prepared: Option<&Prepared>,
        own: &Own,
        known: Option<&Registration>,
    ) -> Result<Registration, OauthError> {
        let server = &found.server;
        if let Some(prepared) = prepared {
            return prepared.registration(server);
        }
        // Anybody may show that document anywhere: only an answer that says who gives it tells where its code is from.
        let reads_it = server.documents && server.names_itself && server.takes("none");
        if let Some(id) = own.document.as_ref().filter(|_| reads_it) {
            return Ok(Registration {
                issuer: server.issuer.clone(),
                id: id.clone(),
                authentication: Authentication::Nothing,
                prepared: false,
                expires: None,
            });
        }
        let gave = |known: &&Registration| known.issuer == server.issuer && !own.is_document(known);
        if let Some(known) = known.filter(gave) {
            return Ok(known.clone());
        }
        match &server.registration {
            Some(endpoint) => self.register(found, endpoint, own).await,
            None => Err(OauthError::NoIdentity(short(&server.issuer))),
        }
    }

    /// Registers this gateway ([RFC 7591](https://www.rfc-editor.org/rfc/rfc7591)).
    async fn register(
        &self,
        found: &Found,
        endpoint: &str,
        own: &Own,
    ) -> Result<Registration, OauthError> {
        let server = &found.server;
        let methods = ["client_secret_basic", "client_secret_post", "none"];
        let method = methods.into_iter().find(|method| server.takes(method));
        let method = method.ok_or_else(|| OauthError::NoMethod(short(&server.issuer)))?;
        let body = Json::object(own.described(method, &own.redirect_from(&server.issuer)));
        let answer = self.post_json(endpoint, found.internal, &body).await?;
        let document = successful(endpoint, answer)?;
        let wrong = |what| OauthError::Malformed { url: short(endpoint), what };
        let bounded = |name: &str| text(&document, name).filter(|text| text.len() <= MAX_CLIENT);
        let id = bounded("client_id").ok_or_else(|| wrong("it gives no `client_id`"))?;
        // The server's word counts, where it chose another method than we asked for.
        let method = text(&document, "token_endpoint_auth_method").unwrap_or(method.to_owned());
        let secret = bounded("client_secret").map(Secret::new);
        let authentication = match (method.as_str(), secret) {
            ("none", _) => Authentication::Nothing,
            ("client_secret_basic", Some(secret)) => Authentication::Basic(secret),
            ("client_secret_post", Some(secret)) => Authentication::Post(secret),
            (_, Some(_)) => return Err(OauthError::NoMethod(short(&server.issuer))),
            (_, None) => return Err(wrong("it gives no `client_secret` for the method it wants")),
        };
        let issuer = server.issuer.clone();
        // 0 says that it does not end (RFC 7591 §3.2.1).
        let ends = document.member("client_secret_expires_at").and_then(Json::as_integer);
        let ends = ends.filter(|seconds| *seconds > 0);
        let expires = ends.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1_000)));
        Ok(Registration { issuer, id, authentication, prepared: false, expires })
    }
}

impl Prepared {
    /// The client as this authorization server takes it.
    ///
    /// # Errors
    /// Another issuer, or no common method.
    pub fn registration(&self, server: &AuthorizationServer) -> Result<Registration, OauthError> {
        if self.issuer != server.issuer {
            let (expected, found) = (short(&self.issuer), short(&server.issuer));
            return Err(OauthError::Issuer { expected, found });
        }
        let authentication = match &self.proof {
            Proof::Nothing if server.takes("none") => Authentication::Nothing,
            Proof::Secret(secret) if server.takes("client_secret_basic") => {
                Authentication::Basic(secret.clone())
            }
            Proof::Secret(secret) if server.takes("client_secret_post") => {
                Authentication::Post(secret.clone())
            }
            Proof::Key(key) if server.takes("private_key_jwt") => Authentication::Key(key.clone()),
            _ => return Err(OauthError::NoMethod(short(&server.issuer))),
        };
        let (issuer, id) = (self.issuer.clone(), self.id.clone());
        Ok(Registration { issuer, id, authentication, prepared: true, expires: None })
    }
}

impl AuthorizationServer {
    /// Whether clients may prove themselves like this; a server that does not say takes any.
    fn takes(&self, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.iter().any(|it| it == method))
    }
}

/// The document of a successful answer; of another one the error that it names.
pub(super) fn successful(url: &str, answer: Fetched) -> Result<Json, OauthError> {
    let Fetched { status, json } = answer;
    match json {
        Some(document @ Json::Object(_)) if status.is_success() => Ok(document),
        Some(document) if text(&document, "error").is_some() => {
            let description = text(&document, "error_description");
            let description = description.map(|text| format!(": {text}")).unwrap_or_default();
            Err(OauthError::Refused {
                error: short(&text(&document, "error").unwrap_or_default()),
                description: short(&description),
            })
        }
        _ if status.is_success() => {
            Err(OauthError::Malformed { url: short(url), what: "it is no JSON object" })
        }
        _ => Err(OauthError::Status { url: short(url), status }),
    }
}
