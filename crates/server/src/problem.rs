//! The one place that picks status and stable code of an error ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! What is inside an error is logged with its chain and never sent.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use decide::{Code, NotAuthenticated, NotErased, NotInForce, Refusal, ResumeError};
use model::{ActionId, ApprovalId};
use serde::Serialize;

macro_rules! faults {
    ($($variant:ident $status:ident $text:literal $title:literal $next:literal),* $(,)?) => {
        /// What the edge refuses by itself, with a stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $(#[doc = $title] $variant),* }

        impl Fault {
            const fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
                match self { $(Self::$variant => (StatusCode::$status, $text, $title, $next)),* }
            }
        }
    };
}

faults! {
    Malformed BAD_REQUEST "malformed" "The request cannot be read"
        "Correct the request; the detail names what is wrong.",
    Invalid UNPROCESSABLE_ENTITY "invalid" "The request is not sound"
        "Correct what the detail names, then send it again.",
    MediaType UNSUPPORTED_MEDIA_TYPE "media_type" "The body has the wrong type"
        "Send `Content-Type: application/json`.",
    TooSlow REQUEST_TIMEOUT "too_slow" "The request came too slowly"
        "Send the whole request at once.",
    TooLarge PAYLOAD_TOO_LARGE "too_large" "The body is too large"
        "Send less at once.",
    Headers REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large" "The headers are too large"
        "Send fewer or shorter headers.",
    UriTooLong URI_TOO_LONG "uri_too_long" "The address is too long"
        "Shorten the query.",
    NotFound NOT_FOUND "not_found" "There is no such thing"
        "Look at the list and correct the name.",
    Method METHOD_NOT_ALLOWED "method_not_allowed" "This path has no such method"
        "Look into `/openapi.json`.",
    Conflict CONFLICT "conflict" "Something else stands in the way"
        "Look at how it is now, then decide again.",
    NotYours FORBIDDEN "not_yours" "Somebody else has to do this"
        "Ask somebody whom the detail allows.",
    Unauthenticated UNAUTHORIZED "unauthenticated" "The caller is not known"
        "Sign in, and present the token with a fresh proof of possession.",
    Upstream BAD_GATEWAY "upstream" "The upstream server did not answer as it should"
        "See whether the server runs at this address, then try again.",
    NotYet SERVICE_UNAVAILABLE "not_in_force" "The change is stored and not in force yet"
        "Look again in a few seconds; do not send it again.",
    Store SERVICE_UNAVAILABLE "store_unavailable" "The database does not answer"
        "Try again in a few seconds.",
    Ledger SERVICE_UNAVAILABLE "ledger_unavailable" "The ledger cannot write"
        "Try again later; tell the operator if it stays so.",
    Unfinished INTERNAL_SERVER_ERROR "erasure_unfinished" "The erasure is recorded and not done to its end"
        "Tell the operator: the node tries the rest again each minute, and does it before anything else when it is started.",
    Unknown INTERNAL_SERVER_ERROR "erasure_unknown" "The ledger failed, and it is not known whether the erasure is recorded"
        "Tell the operator to start the node again, then look at `bailiwick ledger show --kind erasure`; ask again where it is not there.",
    Search SERVICE_UNAVAILABLE "search_unavailable" "The search index cannot be used"
        "Try again later; tell the operator if it stays so. Reading by position (`from`) needs no index.",
    Clock SERVICE_UNAVAILABLE "clock" "The clock cannot be trusted"
        "Try again when it has caught up; tell the operator if it stays so.",
    Timeout SERVICE_UNAVAILABLE "timeout" "The request took too long"
        "Look at whether it was done before you send it again.",
    Internal INTERNAL_SERVER_ERROR "internal" "Something failed inside"
        "Tell the operator when it happened.",
}

/// An error on its way to the caller.
#[derive(Debug)]
pub(crate) struct Problem(Box<Document>);

#[derive(Debug, Serialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    next: Cow<'static, str>,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<ActionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ApprovalId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
    #[serde(skip)]
    challenge: Option<String>,
}

impl Problem {
    /// A fault with what was wrong with this request.
    pub(crate) fn new(fault: Fault, detail: impl Into<String>) -> Self {
        let (status, code, title, next) = fault.parts();
        Self(Box::new(Document {
            kind: format!("urn:bailiwick:error:{code}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            code,
            next: next.into(),
            retryable: matches!(
                fault,
                Fault::Store
                    | Fault::Ledger
                    | Fault::Search
                    | Fault::Clock
                    | Fault::Upstream
                    | Fault::TooSlow
            ),
            action: None,
            approval: None,
            policies: Vec::new(),
            challenge: None,
        }))
    }

    /// There is nothing of that name.
    pub(crate) fn not_found(kind: &str, name: impl std::fmt::Display) -> Self {
        let problem = Self::new(Fault::NotFound, format!("there is no {kind} `{name}`"));
        match where_it_is_listed(kind) {
            Some(next) => problem.with_next(next),
            None => problem,
        }
    }

    /// The same with a better advice than the fault's own.
    pub(crate) fn with_next(mut self, next: &'static str) -> Self {
        self.0.next = next.into();
        self
    }

    /// Something failed inside: logged in full, told in one sentence.
    pub(crate) fn internal(why: &dyn std::error::Error) -> Self {
        log(why);
        Self::new(Fault::Internal, "the request failed inside; the log of this node says why")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if let Some(challenge) = self.0.challenge.and_then(|text| HeaderValue::try_from(text).ok())
        {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, title) = status_of(refusal.code);
        if status.is_server_error() {
            log(&refusal);
        }
        Self(Box::new(Document {
            kind: format!("urn:bailiwick:error:{}", refusal.code.text()),
            title,
            status: status.as_u16(),
            detail: refusal.reason,
            code: refusal.code.text(),
            next: refusal.next.into(),
            retryable: refusal.code.retryable(),
            action: Some(refusal.action),
            approval: refusal.approval,
            policies: refusal.policies,
            challenge: None,
        }))
    }
}

fn status_of(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::Held => (StatusCode::CONFLICT, "Waiting for an approval"),
        Code::Replayed => (StatusCode::CONFLICT, "Used before"),
        Code::Unauthenticated | Code::NotIssued => {
            (StatusCode::UNAUTHORIZED, "The caller is not known")
        }
        Code::IdentityUnknown | Code::SystemUnknown | Code::ToolUnknown => {
            (StatusCode::NOT_FOUND, "There is no such thing")
        }
        Code::ArgumentsInvalid | Code::MappingFailed => {
            (StatusCode::UNPROCESSABLE_ENTITY, "The request is not sound")
        }
        Code::Stale
        | Code::Clock
        | Code::LedgerSlow
        | Code::LedgerUnavailable
        | Code::StoreUnavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "Nothing can be permitted right now")
        }
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Something failed inside"),
        _ => (StatusCode::FORBIDDEN, "Not permitted"),
    }
}

/// Says what to present instead ([RFC 9449 §7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1)).
impl From<NotAuthenticated> for Problem {
    fn from(why: NotAuthenticated) -> Self {
        let error = match why {
            NotAuthenticated::Clock => return Self::new(Fault::Clock, why.to_string()),
            NotAuthenticated::Missing => None,
            NotAuthenticated::UseNonce => Some("use_dpop_nonce"),
            NotAuthenticated::Proof(_) => Some("invalid_dpop_proof"),
            NotAuthenticated::Scheme
            | NotAuthenticated::Unbound
            | NotAuthenticated::Token(_)
            | NotAuthenticated::NotIssued => Some("invalid_token"),
        };
        let mut problem = Self::new(Fault::Unauthenticated, why.to_string());
        let error = error.map(|error| format!("error=\"{error}\", ")).unwrap_or_default();
        problem.0.challenge = Some(format!("DPoP {error}algs=\"EdDSA ES256\""));
        problem
    }
}

impl From<govern::Error> for Problem {
    fn from(why: govern::Error) -> Self {
        use govern::Error as Why;
        let fault = match why {
            Why::Refused(refusal) => return refusal.into(),
            Why::NotInForce(why) => return why.into(),
            Why::Store(why) => return why.into(),
            Why::NotFound { kind, ref name } => return Self::not_found(kind, name),
            Why::Conflict(_) | Why::Transition(_) => Fault::Conflict,
            Why::NotYours(_) => Fault::NotYours,
            Why::Mapping { ref tool, why: ref inner } => {
                return Self::new(Fault::Invalid, format!("tool `{tool}`: {inner}"));
            }
            Why::Invalid(_) | Why::Owner(_) | Why::Blueprint(_) | Why::Policies(_) => {
                Fault::Invalid
            }
        };
        Self::new(fault, why.to_string())
    }
}

impl From<NotInForce> for Problem {
    fn from(why: NotInForce) -> Self {
        let fault = match why {
            NotInForce::Store(why) => return why.into(),
            NotInForce::Ledger(_) => Fault::Ledger,
            NotInForce::Slow => Fault::NotYet,
            NotInForce::Forged(_) | NotInForce::Missing(_) => return Self::internal(&why),
        };
        log(&why);
        Self::new(fault, why.to_string())
    }
}

impl From<ResumeError> for Problem {
    fn from(why: ResumeError) -> Self {
        match why {
            ResumeError::NotStopped(_) => Self::new(Fault::NotFound, why.to_string())
                .with_next("Look at the stops in force: `bailiwick stops`."),
            ResumeError::Journal(_) | ResumeError::Ledger(_) => {
                log(&why);
                Self::new(Fault::Ledger, why.to_string())
            }
        }
    }
}

impl From<NotErased> for Problem {
    fn from(why: NotErased) -> Self {
        let fault = match why {
            NotErased::Held(_) | NotErased::KeptWith { .. } => Fault::Conflict,
            NotErased::Nothing(_) => Fault::NotFound,
            NotErased::OutOfReach(_) | NotErased::NotRecorded(_) => Fault::Ledger,
            NotErased::Unknown => Fault::Unknown,
            NotErased::Unfinished { .. } => Fault::Unfinished,
        };
        if matches!(fault, Fault::Ledger | Fault::Unknown | Fault::Unfinished) {
            log(&why);
        }
        Self::new(fault, why.to_string())
    }
}

impl From<store::Error> for Problem {
    fn from(why: store::Error) -> Self {
        use store::Error as Why;
        match why {
            Why::Invalid(_) => Self::new(Fault::Invalid, why.to_string()),
            Why::Contention(_) | Why::Unavailable(_) | Why::Undecided(_) | Why::Backlog => {
                log(&why);
                Self::new(Fault::Store, why.to_string())
            }
            Why::Corrupt(_) | Why::Statement(_) => Self::internal(&why),
        }
    }
}

impl From<ledger::ReadError> for Problem {
    fn from(why: ledger::ReadError) -> Self {
        Self::internal(&why)
    }
}

impl From<insight::SearchError> for Problem {
    fn from(why: insight::SearchError) -> Self {
        if !matches!(why, insight::SearchError::Behind { .. }) {
            log(&why);
        }
        Self::new(Fault::Search, why.to_string())
    }
}

/// No route has this path.
pub(crate) async fn unknown_path() -> Problem {
    Problem::new(Fault::NotFound, "no such path; `/openapi.json` lists them")
}

/// The path is known, the method is not.
pub(crate) async fn unknown_method() -> Problem {
    Problem::new(Fault::Method, "this path does not have this method; `/openapi.json` lists them")
}

/// The command that lists what somebody named wrongly.
fn where_it_is_listed(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "agent" => "Look at the list and correct the name: `bailiwick agent list`.",
        "approval" => "Look at the list and correct the id: `bailiwick approval list --all`.",
        "blueprint" => "Look at the list and correct the name: `bailiwick blueprint list`.",
        "grant" => "Look at the list and correct the name: `bailiwick grant list`.",
        "person" => "Look at the list and correct the handle: `bailiwick person list`.",
        "server" => "Look at the list and correct the name: `bailiwick server list`.",
        "task" => "Look at the list and correct the id: `bailiwick task list`.",
        _ => return None,
    })
}

/// Logs an error with everything below it.
fn log(why: &dyn std::error::Error) {
    let mut chain = why.to_string();
    let mut source = why.source();
    while let Some(inner) = source {
        chain = format!("{chain}: {inner}");
        source = inner.source();
    }
    tracing::error!(code = "BW-1501", error = %chain, "a request failed");
}
