//! What a client or a person signs about itself: `private_key_jwt` and the `jwt-bearer` grant
//! ([RFC 7521](https://www.rfc-editor.org/rfc/rfc7521), [RFC 7523](https://www.rfc-editor.org/rfc/rfc7523)).
//!
//! A valid assertion is worth one use. Marking its `jti` as used, durably and until [`Assertion::expires`], is the
//! caller's.

use model::{
    Digest, Foreign, Timestamp,
    ijson::{self, Json, JsonError},
};
use serde::Serialize;

use crate::{
    JwsError, PublicKey, SignError, SigningKey,
    jwk::short,
    jws::{self, Compact, PAYLOAD, Types},
    numeric_date,
};

/// The types that an assertion may have, or none: the protocol is older than explicit types.
const TYPES: Types<'_> = Types::AbsentOr(&["JWT", "client-authentication+jwt"]);
/// The longest assertion, in bytes.
const MAX_LENGTH: usize = 8 * 1024;
/// The longest `jti`, in bytes: it is kept as a mark.
const MAX_JTI: usize = 128;
/// The longest client id or person's URI, in bytes; a client may be named by the URL of its metadata.
const MAX_CLIENT: usize = 512;
/// How far the clocks of two machines may differ.
const LEEWAY_SECONDS: u32 = 30;

/// Somebody's own word, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Who it is: issuer and subject in one.
    pub client: String,
    /// The assertion's own name, to be marked as used.
    pub jti: String,
    /// From when the assertion is refused anyway, so that its mark can be forgotten.
    pub expires: Timestamp,
    /// The version that an agent says it runs (our own claim `version`); compare it, do not believe it.
    pub version: Option<Digest>,
}

/// What a server expects of an assertion.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// The names that the server goes by in `aud`: its issuer, and where older clients need it its token endpoint.
    pub issuer_audiences: &'a [&'a str],
    /// The moment.
    pub now: Timestamp,
    /// How far ahead an assertion may end.
    pub max_life_seconds: u32,
}

/// Why an assertion is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Not a sound token, or its signature does not fit.
    #[error(transparent)]
    Token(#[from] JwsError),
    /// Its claims are not I-JSON.
    #[error("the assertion's claims cannot be read")]
    Json(#[from] JsonError),
    /// A claim is missing or has the wrong form.
    #[error("claim `{0}` of the assertion is missing, malformed or too long")]
    Claim(&'static str),
    /// Issuer and subject differ: it speaks for somebody else.
    #[error("`iss` and `sub` of the assertion differ: a client speaks for itself alone")]
    Subject,
    /// Nobody of that name has a key of that id.
    #[error("no key is registered for `{0}` under the key id of the assertion")]
    UnknownKey(Foreign),
    /// It is for somebody else, or for several.
    #[error("the assertion's `aud` must be this server's issuer, and that alone")]
    Audience,
    /// It is over.
    #[error("the assertion is over: sign a fresh one")]
    Expired,
    /// It ends too late.
    #[error("the assertion ends more than {0} seconds ahead: sign one that lives shorter")]
    TooLong(u32),
    /// It begins in the future, or after its end.
    #[error("the assertion's times are impossible: check the client's clock")]
    Times,
}

/// Checks an assertion against the one key that `key_of` finds for issuer and key id; without a fitting key there
/// is no second try with another.
///
/// Required: `iss` = `sub`, `aud` (one of ours, as text or as the only element of a list), `exp`, `jti`. `iat` and
/// `nbf` may be there and must then make sense. Other claims are ignored, as RFC 7523 wants.
///
/// # Errors
/// [`AssertionError`]; tell the client only that it failed, and log the rest.
pub fn check(
    jwt: &str,
    expect: &Expect<'_>,
    key_of: impl FnOnce(&str, Option<&str>) -> Option<PublicKey>,
) -> Result<Assertion, AssertionError> {
    let compact = Compact::parse(jwt, MAX_LENGTH)?;
    let claims = ijson::parse(compact.unverified(), PAYLOAD)?;
    let client = text(&claims, "iss", MAX_CLIENT)?;
    let key =
        key_of(client, compact.kid()).ok_or_else(|| AssertionError::UnknownKey(short(client)))?;
    compact.verify(&key, TYPES)?;
    if text(&claims, "sub", MAX_CLIENT)? != client {
        return Err(AssertionError::Subject);
    }
    if !audience(&claims).is_some_and(|audience| expect.issuer_audiences.contains(&audience)) {
        return Err(AssertionError::Audience);
    }
    Ok(Assertion {
        client: client.to_owned(),
        jti: text(&claims, "jti", MAX_JTI)?.to_owned(),
        expires: times(&claims, expect)?,
        version: match claims.member("version") {
            None => None,
            Some(version) => {
                let digest = version.as_str().and_then(|text| text.parse().ok());
                Some(digest.ok_or(AssertionError::Claim("version"))?)
            }
        },
    })
}

/// What a client or person signs to say who it is.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The client id, or the person's URI.
    pub client: &'a str,
    /// The server's issuer.
    pub audience: &'a str,
    /// The moment.
    pub now: Timestamp,
    /// How long it may be used; a minute is plenty.
    pub life_seconds: u32,
    /// A name that is used once.
    pub jti: &'a str,
    /// The version that the agent runs.
    pub version: Option<Digest>,
}

/// Signs an assertion with the client's own key; its `kid` is the key's thumbprint.
///
/// # Errors
/// [`SignError`]
pub fn create(key: &SigningKey, draft: &Draft<'_>) -> Result<String, SignError> {
    let claims = AssertionClaims {
        iss: draft.client,
        sub: draft.client,
        aud: draft.audience,
        iat: draft.now,
        exp: draft.now.plus_seconds(draft.life_seconds),
        jti: draft.jti,
        version: draft.version,
    };
    jws::sign(key, "client-authentication+jwt", &claims)
}

#[derive(Serialize)]
struct AssertionClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    #[serde(with = "numeric_date")]
    iat: Timestamp,
    #[serde(with = "numeric_date")]
    exp: Timestamp,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Digest>,
}

/// Checks the times; gives the moment from which they fit no more.
fn times(claims: &Json, expect: &Expect<'_>) -> Result<Timestamp, AssertionError> {
    let exp = moment(claims, "exp")?.ok_or(AssertionError::Claim("exp"))?;
    let end = exp.plus_seconds(LEEWAY_SECONDS);
    let ahead = expect.now.plus_seconds(LEEWAY_SECONDS);
    if expect.now >= end {
        return Err(AssertionError::Expired);
    }
    if exp > ahead.plus_seconds(expect.max_life_seconds) {
        return Err(AssertionError::TooLong(expect.max_life_seconds));
    }
    for name in ["iat", "nbf"] {
        if moment(claims, name)?.is_some_and(|at| at > ahead || at >= exp) {
            return Err(AssertionError::Times);
        }
    }
    Ok(end)
}

fn moment(claims: &Json, name: &'static str) -> Result<Option<Timestamp>, AssertionError> {
    let claim = claims.member(name);
    claim.map(|at| numeric_date::of(at).ok_or(AssertionError::Claim(name))).transpose()
}

fn audience(claims: &Json) -> Option<&str> {
    match claims.member("aud")? {
        Json::Array(list) => match list.as_slice() {
            [only] => only.as_str(),
            _ => None,
        },
        one => one.as_str(),
    }
}

fn text<'c>(
    claims: &'c Json,
    name: &'static str,
    longest: usize,
) -> Result<&'c str, AssertionError> {
    let text = claims.member(name).and_then(Json::as_str);
    text.filter(|text| !text.is_empty() && text.len() <= longest).ok_or(AssertionError::Claim(name))
}

#[cfg(test)]
mod tests;
