//! Requests to metadata documents and endpoints: one place that bounds them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use model::ijson::{self, Json, Limits};
use tokio::time::Instant;

use super::{Client, OauthError, short};
use crate::outbound::{Credential, Request};

/// The longest document or answer, in bytes: metadata and tokens are a few KiB.
const MAX_DOCUMENT: usize = 256 * 1024;
/// The deepest nesting of one.
const MAX_DEPTH: u8 = 32;
/// How long one request may take.
const BOUND: Duration = Duration::from_secs(10);

/// What came back, read as JSON where it is some.
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) json: Option<Json>,
}

impl Client {
    /// Fetches a document.
    pub(super) async fn fetch(&self, url: &str, internal: bool) -> Result<Fetched, OauthError> {
        self.ask(Method::GET, url, internal, None, Bytes::new(), None).await
    }

    /// Posts a form; the credential goes to the endpoint's own origin alone.
    pub(super) async fn post_form(
        &self,
        url: &str,
        internal: bool,
        form: &[(&str, &str)],
        basic: Option<&token::Secret>,
    ) -> Result<Fetched, OauthError> {
        let credential = match basic {
            None => None,
            Some(secret) => {
                let target = self.target(url, internal)?;
                Some(Credential::new(target.origin().clone(), header::AUTHORIZATION, secret)?)
            }
        };
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.ask(Method::POST, url, internal, Some(kind), encoded(form).into(), credential).await
    }

    /// Posts a JSON document.
    pub(super) async fn post_json(
        &self,
        url: &str,
        internal: bool,
        body: &Json,
    ) -> Result<Fetched, OauthError> {
        let kind = HeaderValue::from_static("application/json");
        self.ask(Method::POST, url, internal, Some(kind), body.canonical().into(), None).await
    }

    pub(super) fn target(
        &self,
        url: &str,
        internal: bool,
    ) -> Result<crate::outbound::Target, OauthError> {
        let refused = |why| OauthError::Target { url: short(url), why };
        self.outbound.target(url, internal).map_err(refused)
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        internal: bool,
        kind: Option<HeaderValue>,
        body: Bytes,
        credential: Option<Credential>,
    ) -> Result<Fetched, OauthError> {
        let target = self.target(url, internal)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
        let deadline = Some(Instant::now() + BOUND);
        let request = Request { method, path: None, headers, body, deadline };
        let response = self.outbound.send(&target, request, credential.as_ref()).await?;
        let status = response.status;
        let bytes = response.collect(MAX_DOCUMENT).await?;
        let limits = Limits { bytes: MAX_DOCUMENT, depth: MAX_DEPTH };
        Ok(Fetched { status, json: ijson::parse(&bytes, limits).ok() })
    }
}

/// The text of a member, where it is there and not empty.
pub(super) fn text(document: &Json, name: &str) -> Option<String> {
    let text = document.member(name).and_then(Json::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The texts of a list, where it is there.
pub(super) fn texts(document: &Json, name: &str) -> Option<Vec<String>> {
    match document.member(name)? {
        Json::Array(items) => {
            Some(items.iter().filter_map(Json::as_str).map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// base64url without padding ([RFC 7636 §3](https://www.rfc-editor.org/rfc/rfc7636#section-3)).
pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `application/x-www-form-urlencoded`, as forms and queries have it.
pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}={}", percent(name), percent(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Percent-encodes everything but the unreserved letters, so that a space is `%20` to every reader.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
