//! What a caller is told who has not proved who they are: RFC 9728 metadata and `WWW-Authenticate`.

use axum::{
    Json as Body,
    response::{IntoResponse, Response},
};
use decide::{Engine, NotAuthenticated};
use http::{HeaderName, HeaderValue, StatusCode, header};
use model::Name;
use serde_json::json;

use crate::place::Place;

/// The header that carries the nonce for the next proof (RFC 9449 §8.2).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Where the metadata of an endpoint is
/// ([RFC 9728 §3.1](https://www.rfc-editor.org/rfc/rfc9728#section-3.1)).
pub(crate) fn metadata_url(engine: &Engine, place: &Place) -> String {
    let issuer = engine.issuer();
    let audience = place.audience(issuer);
    let path = audience.strip_prefix(&issuer.gateway_url).unwrap_or_default();
    format!("{}/.well-known/oauth-protected-resource{path}", issuer.gateway_url)
}

/// The metadata of an endpoint. It says the same for every name, so that it does not tell which systems exist.
pub(crate) fn metadata(engine: &Engine, place: &Place) -> Response {
    let issuer = engine.issuer();
    let name = place.system().map_or("everything", Name::as_str);
    Body(json!({
        "resource": place.audience(issuer),
        "authorization_servers": [issuer.url],
        "bearer_methods_supported": ["header"],
        // Not of agents whose blueprint says `sender = "bearer"`; which there are is not told to strangers.
        "dpop_bound_access_tokens_required": false,
        "dpop_signing_alg_values_supported": ["EdDSA", "ES256"],
        "authorization_details_types_supported": ["bailiwick"],
        "resource_name": format!("{name} behind Bailiwick"),
    }))
    .into_response()
}

/// The answer to a caller who is not believed.
pub(crate) fn challenge(engine: &Engine, place: &Place, why: &NotAuthenticated) -> Response {
    let error = match why {
        NotAuthenticated::Missing => None,
        NotAuthenticated::UseNonce => Some("use_dpop_nonce"),
        NotAuthenticated::Proof(_) => Some("invalid_dpop_proof"),
        _ => Some("invalid_token"),
    };
    let metadata = metadata_url(engine, place);
    let mut value = format!("DPoP algs=\"EdDSA ES256\", resource_metadata=\"{metadata}\"");
    if let Some(error) = error {
        value += &format!(
            ", error=\"{error}\", error_description=\"{}\"",
            token::description(&why.to_string())
        );
    }
    let mut response = (StatusCode::UNAUTHORIZED, why.to_string()).into_response();
    // A client that knows only the second scheme finds its way by that (RFC 9449 §7.1, RFC 9728 §5.1).
    let bearer = match why {
        NotAuthenticated::Missing => String::new(),
        _ => ", error=\"invalid_token\"".to_owned(),
    };
    let bearer = format!("Bearer resource_metadata=\"{metadata}\"{bearer}");
    for value in [value, bearer].iter().filter_map(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().append(header::WWW_AUTHENTICATE, value);
    }
    with_nonce(engine, response)
}

/// Adds a fresh nonce for the next proof.
pub(crate) fn with_nonce(engine: &Engine, mut response: Response) -> Response {
    if let Some(nonce) = engine.nonce().and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response
}
