use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, header},
    routing::on,
};
use decide::{Exchange, Issued, TokenRefused};
use model::{
    Authority, Sender, Timestamp,
    ijson::{self, Limits},
};
use serde::{Deserialize, Serialize};

use super::{error::OauthError, form::Form};
use crate::{
    Server,
    caller::{DPOP, only},
    route::{Access, Route, Shared},
};

/// [RFC 7523 §2.1](https://www.rfc-editor.org/rfc/rfc7523#section-2.1): a person's own signed assertion.
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// [RFC 8693 §2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.1)
pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// [RFC 7523 §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// [RFC 8693 §3](https://www.rfc-editor.org/rfc/rfc8693#section-3)
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The longest form: a token, two assertions, and an authority that fits into a token.
const MAX_FORM: usize = 128 * 1024;
/// How much of `authorization_details` is read.
const DETAILS: Limits = Limits { bytes: 64 * 1024, depth: 16 };

pub(crate) const ROUTES: &[Route] = &[Route {
    method: Method::POST,
    path: "/oauth/token",
    access: Access::Token,
    to: |filter| on(filter, token).layer(DefaultBodyLimit::max(MAX_FORM)),
}];

/// [RFC 8693 §2.2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.2.1)
#[derive(Serialize)]
struct Token {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    issued_token_type: &'static str,
    authorization_details: [Detail; 1],
}

/// The one element of `authorization_details`, as our access tokens write it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    r#type: Type,
    authority: Authority,
}

#[derive(Serialize, Deserialize)]
enum Type {
    #[serde(rename = "bailiwick")]
    Bailiwick,
}

/// `POST /oauth/token`
async fn token(
    State(server): State<Shared>,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Token>, OauthError> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(OauthError::new(
            "invalid_client",
            "clients prove themselves by `client_assertion` alone",
        ));
    }
    let no_proof =
        || OauthError::new("invalid_dpop_proof", "exactly one `DPoP` header has to be there");
    // Two proofs are not none: only an agent's exchange may do without, and then without any.
    let proof = only(&headers, &DPOP).map_err(|_| no_proof())?;
    if proof.is_none() && form.optional("grant_type") != Some(TOKEN_EXCHANGE) {
        return Err(no_proof());
    }
    let issued = match form.required("grant_type")? {
        JWT_BEARER => session(&server, &form, proof.ok_or_else(no_proof)?).await?,
        TOKEN_EXCHANGE => exchange(&server, &form, proof).await?,
        other => {
            let why =
                format!("`{other}` is not a grant type of this server; its metadata lists them");
            return Err(OauthError::new("unsupported_grant_type", &why));
        }
    };
    Ok(Json(answer(&server, issued)))
}

/// A person's own session: it governs, and cannot be asked for less.
async fn session(server: &Server, form: &Form, proof: &str) -> Result<Issued, OauthError> {
    let instead = "a person's session needs the person's own assertion and nothing else";
    form.without("client_assertion", "invalid_request", instead)?;
    form.without("scope", "invalid_scope", instead)?;
    form.without("authorization_details", "invalid_authorization_details", instead)?;
    let admin = &server.engine.issuer().admin_audience;
    form.nothing_but("audience", admin, "invalid_target")?;
    form.nothing_but("resource", admin, "invalid_target")?;
    let opened = server.engine.open_session(form.required("assertion")?, proof).await;
    opened.map_err(|why| match why {
        // Here the assertion is the grant, not the client's proof (RFC 7523 §3.1).
        TokenRefused::InvalidClient(_) => OauthError::new("invalid_grant", &why.to_string()),
        other => other.into(),
    })
}

async fn exchange(server: &Server, form: &Form, proof: Option<&str>) -> Result<Issued, OauthError> {
    if form.required("client_assertion_type")? != CLIENT_ASSERTION {
        let why = format!("`client_assertion_type` has to be `{CLIENT_ASSERTION}`");
        return Err(OauthError::new("invalid_client", &why));
    }
    if form.required("subject_token_type")? != ACCESS_TOKEN {
        let why = format!("`subject_token_type` has to be `{ACCESS_TOKEN}`");
        return Err(OauthError::new("invalid_request", &why));
    }
    form.nothing_but("requested_token_type", ACCESS_TOKEN, "invalid_request")?;
    let actor = "who acts is the client itself, known by its assertion and its key";
    form.without("actor_token", "invalid_request", actor)?;
    form.without("actor_token_type", "invalid_request", actor)?;
    form.without("scope", "invalid_scope", "an authority travels in `authorization_details`")?;
    let request = Exchange {
        client_assertion: form.required("client_assertion")?,
        subject_token: form.required("subject_token")?,
        proof,
        audience: form.optional("audience"),
        resource: form.optional("resource"),
        authority: form.optional("authorization_details").map(details).transpose()?,
        requested_actor: form.optional("requested_actor"),
    };
    Ok(server.engine.exchange(&request).await?)
}

/// [RFC 9396 §2](https://www.rfc-editor.org/rfc/rfc9396#section-2): exactly one element, of our type.
fn details(text: &str) -> Result<Authority, OauthError> {
    let wrong = |why: String| OauthError::new("invalid_authorization_details", &why);
    let json = ijson::parse(text.as_bytes(), DETAILS).map_err(|why| wrong(why.to_string()))?;
    let [detail]: [Detail; 1] =
        serde_json::from_value(json.to_value()).map_err(|why| wrong(why.to_string()))?;
    Ok(detail.authority)
}

fn answer(server: &Server, issued: Issued) -> Token {
    let mut authority = issued.authority;
    // As the token writes it: its clauses end with it at the latest.
    for clause in &mut authority.clauses {
        clause.expires = clause.expires.min(issued.expires);
    }
    Token {
        access_token: issued.access_token,
        token_type: match issued.sender {
            Sender::Dpop => "DPoP",
            Sender::Bearer => "Bearer",
        },
        expires_in: seconds_until(issued.expires, server.engine.context().now()),
        issued_token_type: ACCESS_TOKEN,
        authorization_details: [Detail { r#type: Type::Bailiwick, authority }],
    }
}

fn seconds_until(end: Timestamp, now: Timestamp) -> i64 {
    end.seconds().saturating_sub(now.seconds()).max(0)
}
