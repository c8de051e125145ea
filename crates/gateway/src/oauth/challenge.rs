//! What a protected server says when it wants a token, or a wider one
//! ([RFC 9110 §11.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1),
//! [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3)).

use http::{HeaderMap, StatusCode, header};
use model::Digest;

use super::Scopes;
use crate::outbound::Credential;

/// The longest header value that is read, in bytes.
const MAX_CHALLENGE: usize = 8 * 1024;

/// A server's word that a request needs a token that it did not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Where the server's metadata is, as it says ([RFC 9728 §5.1](https://www.rfc-editor.org/rfc/rfc9728#section-5.1)).
    pub metadata: Option<String>,
    /// The scopes that the request needs.
    pub scopes: Option<Scopes>,
    /// Whether there was a good token that is not wide enough.
    pub insufficient: bool,
    /// The fingerprint of the credential that was not enough, where there was one.
    pub presented: Option<Digest>,
}

impl Challenge {
    /// The challenge of a response: every 401 is one, and a 403 that says `insufficient_scope`.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let unauthorized = status == StatusCode::UNAUTHORIZED;
        if !unauthorized && status != StatusCode::FORBIDDEN {
            return None;
        }
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let parameters = texts.filter(|text| text.len() <= MAX_CHALLENGE).find_map(bearer);
        let parameters = parameters.unwrap_or_default();
        let named = |name: &str| {
            let found = parameters.iter().find(|(has, _)| has == name);
            found.map(|(_, value)| value.as_str())
        };
        let insufficient = named("error") == Some("insufficient_scope");
        (unauthorized || insufficient).then(|| Self {
            metadata: named("resource_metadata").map(str::to_owned),
            scopes: named("scope").map(Scopes::of).filter(|scopes| !scopes.is_empty()),
            insufficient,
            presented: None,
        })
    }

    /// In answer to this credential.
    #[must_use]
    pub fn to(self, credential: Option<&Credential>) -> Self {
        Self { presented: credential.map(Credential::fingerprint), ..self }
    }
}

/// The parameters of the first `Bearer` challenge of a header value, which may hold several challenges.
fn bearer(text: &str) -> Option<Vec<(String, String)>> {
    let mut found: Option<Vec<(String, String)>> = None;
    for item in items(text) {
        let (head, value) = item.split_once('=').unwrap_or((item.as_str(), ""));
        let mut words = head.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        // `Bearer scope` begins a challenge, and so does a lone scheme; `scope` goes on with one.
        let (scheme, name) = match second {
            Some(name) => (Some(first), name),
            None if !item.contains('=') => (Some(first), ""),
            None => (None, first),
        };
        match (scheme, &mut found) {
            (Some(_), Some(_)) => return found,
            (Some(scheme), None) if scheme.eq_ignore_ascii_case("bearer") => {
                found = Some(Vec::new())
            }
            _ => {}
        }
        if let Some(parameters) = &mut found
            && !name.is_empty()
        {
            parameters.push((name.to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    found
}

/// The parts between commas that stand outside of quotes.
fn items(text: &str) -> Vec<String> {
    let (mut items, mut item) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            ',' if !quoted => items.push(std::mem::take(&mut item)),
            _ => {
                quoted ^= letter == '"' && !escaped;
                escaped = quoted && letter == '\\' && !escaped;
                item.push(letter);
            }
        }
    }
    items.push(item);
    items.into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    let mut plain = String::with_capacity(inner.len());
    for letter in inner.chars() {
        escaped = letter == '\\' && !escaped;
        if !escaped {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(status: u16, values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn a_challenge_is_read_wherever_it_stands_among_others() {
        let wanted = Challenge {
            metadata: Some("https://a.example/m,1".to_owned()),
            scopes: Some(Scopes::of("read write")),
            insufficient: false,
            presented: None,
        };
        for value in [
            r#"Bearer scope="read write", resource_metadata="https://a.example/m,1""#,
            r#"Basic realm="x, y", bearer resource_metadata="https://a.example/m,1", SCOPE = "read write", Digest scope="z""#,
            r#"Negotiate, Bearer error="invalid_token",scope="read write",resource_metadata="https://a.example/\m,1""#,
        ] {
            assert_eq!(challenge(401, &[value]), Some(wanted.clone()), "{value}");
            assert_eq!(challenge(401, &["Negotiate", value]), Some(wanted.clone()), "{value}");
        }
    }

    #[test]
    fn a_401_is_a_challenge_without_any_header_and_a_403_only_by_its_word() {
        let empty =
            Challenge { metadata: None, scopes: None, insufficient: false, presented: None };
        assert_eq!(challenge(401, &[]), Some(empty.clone()));
        assert_eq!(challenge(401, &["Bearer"]), Some(empty));
        assert_eq!(challenge(403, &["Bearer scope=\"a\""]), None);
        assert_eq!(
            challenge(403, &["Bearer error=\"insufficient_scope\""]).map(|it| it.insufficient),
            Some(true)
        );
        assert_eq!(challenge(200, &["Bearer error=\"insufficient_scope\""]), None);
    }
}
