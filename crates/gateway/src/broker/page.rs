//! What the gateway serves to browsers and authorization servers: where a person comes back to, and who this gateway is.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use crate::{gate::Gateway, oauth::Callback};

/// Below which people come back, and the route: from each authorization server to a place of its own.
pub(super) const BACK: &str = "/oauth/callback";
pub(crate) const CALLBACK: &str = "/oauth/callback/{from}";
/// Where authorization servers read who this gateway is.
pub(crate) const DOCUMENT: &str = "/oauth/client.json";

/// `GET /oauth/client.json`: the client metadata document, where this gateway is reached over https.
pub(crate) async fn document(State(gateway): State<Arc<Gateway>>) -> Response {
    let own = gateway.upstreams.broker().and_then(|broker| {
        let id = broker.own.document.clone()?;
        Some(broker.own.document(&id).canonical())
    });
    match own {
        Some(document) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
            ];
            (headers, document).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /oauth/callback/{from}`: a person comes back from an authorization server. Whoever they are, the page links nothing: it
/// shows a code for the session in which it was begun.
pub(crate) async fn callback(
    State(gateway): State<Arc<Gateway>>,
    Path(from): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(broker) = gateway.upstreams.broker().cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(callback) = Callback::read(query.as_deref().unwrap_or_default()) else {
        return page(StatusCode::BAD_REQUEST, "Not linked", "<p>This answer cannot be read.</p>");
    };
    // To its end, whatever becomes of the browser: a code is worth nothing once it was sent.
    let tasks = broker.tasks.clone();
    let came = tasks.spawn(async move {
        let at = format!("{}/{from}", broker.own.callback);
        broker.came_back(&at, &callback).await
    });
    let came = came.await;
    match came {
        Ok(Ok((server, code))) => {
            let (first, second) = code.split_at(code.len() / 2);
            let words = format!(
                "<p>To link your account at <b>{server}</b>, go back to the terminal where you began, and type:</p>\
                 <pre>bailiwick server link {server} --code {first}-{second}</pre>\
                 <p>If you did not begin this, or somebody sent you here, tell nobody this code and close the page: \
                 nothing is linked then.</p>"
            );
            page(StatusCode::OK, "One more step", &words)
        }
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, "Not linked", "<p>It failed inside.</p>"),
        Ok(Err(why)) => {
            tracing::warn!(code = "BW-2013", %why, "an account was not linked");
            let words = format!(
                "<p>{}.</p><p>Begin again with <code>bailiwick server link</code>.</p>",
                escaped(&why.to_string())
            );
            page(StatusCode::BAD_REQUEST, "Not linked", &words)
        }
    }
}

fn page(status: StatusCode, title: &str, words: &str) -> Response {
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>{words}</html>"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (status, headers, body).into_response()
}

/// Foreign words as a page shows them.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, letter| {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
        out
    })
}
