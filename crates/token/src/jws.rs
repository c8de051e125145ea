//! Compact JSON Web Signatures ([RFC 7515](https://www.rfc-editor.org/rfc/rfc7515)) with the strictness of
//! [RFC 8725](https://www.rfc-editor.org/rfc/rfc8725): one algorithm a key, explicit types, no extensions.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use model::{
    Foreign,
    ijson::{self, Json, JsonError, Limits},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Algorithm, Jwk, JwkError, PublicKey, SigningKey, encoding, jwk::short, key::SIGNATURE_LENGTH,
};

/// A header with an embedded P-256 key has some 400 bytes.
const HEADER: Limits = Limits { bytes: 3072, depth: 5 };
/// How much of a payload is read: tokens are bounded before they get here; nesting is bounded for the reader's stack.
pub(crate) const PAYLOAD: Limits = Limits { bytes: 16 * 1024, depth: 16 };
/// The longest key id, in bytes.
const MAX_KID: usize = 256;
/// Headers that would let the sender choose the key, or change what is signed.
const REFUSED: [&str; 5] = ["crit", "b64", "jku", "x5u", "x5c"];

/// A token whose form is sound and whose signature nobody has checked yet.
pub struct Compact<'t> {
    signed: &'t str,
    header: Arc<Header>,
    payload: Vec<u8>,
    signature: [u8; SIGNATURE_LENGTH],
}

/// What a protected header says.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    jwk: Option<Jwk>,
}

/// The last header that was read, key and all: a sender's proofs all start with the same one.
#[derive(Default)]
pub struct SeenHeader(OnceLock<(Box<str>, Arc<Header>)>);

/// Which types a verifier takes. They are compared without regard to case and without `application/`
/// ([RFC 7515 §4.1.9](https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9)).
#[derive(Debug, Clone, Copy)]
pub enum Types<'a> {
    /// This type, and it must be there.
    Exactly(&'a str),
    /// No type, or one of these: for protocols older than explicit types.
    AbsentOr(&'a [&'a str]),
}

/// Why a signed token is refused before anybody looks at its claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than this kind of token may be.
    #[error("{length} bytes of token; at most {limit} are read")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Not header, payload and a signature of 64 bytes.
    #[error("not a compact signed token: three base64url parts, the last of 64 bytes")]
    Shape,
    /// The header is not I-JSON.
    #[error("the token's header cannot be read")]
    Header(#[source] JsonError),
    /// A header parameter has the wrong form.
    #[error("header `{0}` is missing or malformed")]
    Parameter(&'static str),
    /// An algorithm that we never accept: `none`, shared secrets, RSA, anything unknown.
    #[error("algorithm `{0}` is not accepted: sign with EdDSA or ES256")]
    Algorithm(Foreign),
    /// A header parameter that we never accept here.
    #[error("header `{0}` is not accepted")]
    Refused(&'static str),
    /// The embedded key is refused.
    #[error("the key in the token's header is refused")]
    Jwk(#[from] JwkError),
    /// Another kind of token.
    #[error("the token's type is `{found}`, not `{wanted}`")]
    Type {
        /// What is accepted.
        wanted: String,
        /// What the header says.
        found: Foreign,
    },
    /// The key that was found signs otherwise.
    #[error("the header says {header}, but the key is for {key}")]
    KeyAlgorithm {
        /// What the header says.
        header: Algorithm,
        /// What the key is for.
        key: Algorithm,
    },
    /// The signature is not the key's over these bytes.
    #[error("the signature does not fit")]
    Signature,
}

/// Why something could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The claims do not serialize.
    #[error("the claims could not be written")]
    Claims(#[from] serde_json::Error),
    /// The library refused.
    #[error("the cryptographic library could not sign")]
    Library,
}

/// Signs claims: `alg`, `kid` (the key's thumbprint) and `typ` in the header.
///
/// # Errors
/// [`SignError`]
pub fn sign(
    key: &SigningKey,
    typ: &'static str,
    claims: &impl Serialize,
) -> Result<String, SignError> {
    assemble(key, key.header(typ), claims)
}

/// Signs claims under a header that is already encoded.
pub(crate) fn assemble(
    key: &SigningKey,
    header: String,
    claims: &impl Serialize,
) -> Result<String, SignError> {
    let mut token = header;
    token.push('.');
    token.push_str(&encoding::encode(serde_json::to_vec(claims)?));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&encoding::encode(signature));
    Ok(token)
}

impl fmt::Debug for SeenHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeenHeader").field(&self.0.get().map(|(text, _)| text)).finish()
    }
}

impl<'t> Compact<'t> {
    /// Takes a token apart; a key inside it is refused, because the sender does not choose the key.
    ///
    /// # Errors
    /// Every [`JwsError`] but those of [`Compact::verify`].
    pub fn parse(token: &'t str, max_length: usize) -> Result<Self, JwsError> {
        let parts = Parts::of(token, max_length)?;
        let header = Header::read(parts.header, false)?;
        parts.with(Arc::new(header))
    }

    /// Takes a token apart that must carry its own key, as a proof of possession does.
    ///
    /// # Errors
    /// Every [`JwsError`] but those of [`Compact::verify`].
    pub fn parse_with_key(
        token: &'t str,
        max_length: usize,
        seen: &SeenHeader,
    ) -> Result<Self, JwsError> {
        let parts = Parts::of(token, max_length)?;
        let header = match seen.0.get() {
            Some((text, header)) if **text == *parts.header => header.clone(),
            _ => {
                let header = Arc::new(Header::read(parts.header, true)?);
                // The first one stays: whoever changes keys has a new token, too.
                let _ = seen.0.set((parts.header.into(), header.clone()));
                header
            }
        };
        parts.with(header)
    }

    /// Which key the sender claims to have used; a name to look up, nothing more.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The key that came with the token, where [`Compact::parse_with_key`] wanted one.
    pub fn jwk(&self) -> Option<&Jwk> {
        self.header.jwk.as_ref()
    }

    /// The payload, once type, algorithm and signature fit.
    ///
    /// # Errors
    /// [`JwsError::Type`], [`JwsError::KeyAlgorithm`], [`JwsError::Signature`]
    pub fn verify(&self, key: &PublicKey, types: Types<'_>) -> Result<&[u8], JwsError> {
        types.check(self.header.typ.as_deref())?;
        if key.algorithm() != self.header.algorithm {
            let header = self.header.algorithm;
            return Err(JwsError::KeyAlgorithm { header, key: key.algorithm() });
        }
        if !key.verifies(self.signed.as_bytes(), &self.signature) {
            return Err(JwsError::Signature);
        }
        Ok(&self.payload)
    }

    /// What the sender says, for finding the key that decides whether to believe it.
    pub(crate) fn unverified(&self) -> &[u8] {
        &self.payload
    }
}

/// The parts of a token, told apart and not read.
struct Parts<'t> {
    signed: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> Parts<'t> {
    fn of(token: &'t str, max_length: usize) -> Result<Self, JwsError> {
        if token.len() > max_length {
            return Err(JwsError::TooLong { length: token.len(), limit: max_length });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Shape)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Shape)?;
        Ok(Self { signed, header, payload, signature })
    }

    fn with(self, header: Arc<Header>) -> Result<Compact<'t>, JwsError> {
        let signature = encoding::decode_array(self.signature).ok_or(JwsError::Shape)?;
        let payload = encoding::decode(self.payload).ok_or(JwsError::Shape)?;
        Ok(Compact { signed: self.signed, header, payload, signature })
    }
}

impl Header {
    /// Reads a header that carries its own key, or must not.
    fn read(encoded: &str, with_key: bool) -> Result<Self, JwsError> {
        let header = encoding::decode(encoded).ok_or(JwsError::Shape)?;
        let header = ijson::parse(&header, HEADER).map_err(JwsError::Header)?;
        if let Some(refused) = REFUSED.iter().find(|name| header.member(name).is_some()) {
            return Err(JwsError::Refused(refused));
        }
        let algorithm = text(&header, "alg")?.ok_or(JwsError::Parameter("alg"))?;
        let algorithm =
            Algorithm::from_name(algorithm).ok_or_else(|| JwsError::Algorithm(short(algorithm)))?;
        let kid = text(&header, "kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(JwsError::Parameter("kid"));
        }
        let typ = text(&header, "typ")?.map(str::to_owned);
        let jwk = match (header.member("jwk"), with_key) {
            (None, false) => None,
            (Some(_), false) => return Err(JwsError::Refused("jwk")),
            (None, true) => return Err(JwsError::Parameter("jwk")),
            (Some(jwk), true) => Some(Jwk::from_json(jwk)?),
        };
        Ok(Self { algorithm, kid, typ, jwk })
    }
}

impl Types<'_> {
    fn check(self, found: Option<&str>) -> Result<(), JwsError> {
        let fits = match (self, found) {
            (Self::Exactly(wanted), Some(found)) => same_type(wanted, found),
            (Self::Exactly(_), None) => false,
            (Self::AbsentOr(_), None) => true,
            (Self::AbsentOr(wanted), Some(found)) => {
                wanted.iter().any(|wanted| same_type(wanted, found))
            }
        };
        if fits {
            return Ok(());
        }
        let wanted = match self {
            Self::Exactly(wanted) => wanted.to_owned(),
            Self::AbsentOr(wanted) => wanted.join("` or `"),
        };
        Err(JwsError::Type { wanted, found: short(found.unwrap_or_default()) })
    }
}

fn same_type(wanted: &str, found: &str) -> bool {
    const PREFIX: &str = "application/";
    let bare = match found.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &found[PREFIX.len()..],
        _ => found,
    };
    bare.eq_ignore_ascii_case(wanted)
}

/// The text of a header parameter, where it is there.
fn text<'h>(header: &'h Json, name: &'static str) -> Result<Option<&'h str>, JwsError> {
    match header.member(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError::Parameter(name)),
    }
}

/// Reads claims of our own format: I-JSON, and no member that the type does not know.
pub(crate) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, JsonError> {
    ijson::parse(payload, PAYLOAD)?;
    serde_json::from_slice(payload).map_err(|error| JsonError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
