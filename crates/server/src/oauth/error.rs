use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use decide::{Code, Refusal, TokenRefused};
use model::ActionId;
use serde::Serialize;

/// The longest description; more of a reason helps nobody.
const MAX_DESCRIPTION: usize = 500;

/// An error of the token endpoint ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2)).
#[derive(Debug)]
pub(crate) struct OauthError {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Serialize)]
struct Body {
    error: &'static str,
    error_description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bailiwick_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bailiwick_action: Option<ActionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bailiwick_next: Option<String>,
}

impl OauthError {
    /// An error that the client can correct.
    pub(crate) fn new(error: &'static str, description: &str) -> Self {
        let status = if error == "invalid_client" {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        Self {
            status,
            body: Body {
                error,
                error_description: plain(description),
                bailiwick_code: None,
                bailiwick_action: None,
                bailiwick_next: None,
            },
        }
    }

    /// The same for a body that is not a form.
    pub(crate) fn media_type() -> Self {
        let wrong =
            Self::new("invalid_request", "the body must be `application/x-www-form-urlencoded`");
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..wrong }
    }

    /// The road said no, with our own stable code beside the protocol's.
    fn refused(refusal: &Refusal) -> Self {
        let code = refusal.code.text();
        let description = format!("{code}: {}. {}", refusal.reason, refusal.next);
        let (status, error) = match refusal.code {
            Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            code if code.retryable() => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            Code::NotDelegable
            | Code::BeyondAuthority
            | Code::VersionNotAccepted
            | Code::Forbidden
            | Code::NotPermitted => (StatusCode::BAD_REQUEST, "access_denied"),
            _ => (StatusCode::BAD_REQUEST, "invalid_grant"),
        };
        let body = Body {
            error,
            error_description: plain(&description),
            bailiwick_code: Some(code),
            bailiwick_action: Some(refusal.action),
            bailiwick_next: Some(plain(&refusal.next)),
        };
        Self { status, body }
    }
}

impl From<TokenRefused> for OauthError {
    fn from(why: TokenRefused) -> Self {
        let error = match &why {
            TokenRefused::InvalidClient(_) => "invalid_client",
            TokenRefused::InvalidGrant(_) => "invalid_grant",
            TokenRefused::InvalidTarget(_) => "invalid_target",
            TokenRefused::InvalidProof(_) => "invalid_dpop_proof",
            TokenRefused::UseNonce => "use_dpop_nonce",
            TokenRefused::Refused(refusal) => return Self::refused(refusal),
        };
        Self::new(error, &why.to_string())
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(
                code = "BW-1503",
                error = self.body.error_description,
                "a token was not issued"
            );
        }
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// A description of bounded length.
fn plain(text: &str) -> String {
    token::description(&text.chars().take(MAX_DESCRIPTION).collect::<String>())
}
