//! URLs as `htu` compares them: without query and fragment, after syntax- and scheme-based normalization
//! ([RFC 9449 §4.3](https://www.rfc-editor.org/rfc/rfc9449#section-4.3),
//! [RFC 3986 §6.2](https://www.rfc-editor.org/rfc/rfc3986#section-6.2)).

/// The one spelling of an `http` or `https` URL; `None` for what is none, or hides something (user names, broken
/// escapes, letters beyond ASCII). Dot segments stay: every client resolves them before it sends.
pub(super) fn normal(url: &str) -> Option<String> {
    let url = url.split(['?', '#']).next()?;
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    let authority = authority
        .strip_suffix(default_port)
        .or_else(|| authority.strip_suffix(':'))
        .unwrap_or(&authority);
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'%' | b'\\');
    if authority.is_empty() || !authority.bytes().all(plain) {
        return None;
    }
    let path = if path.is_empty() { "/".to_owned() } else { normal_path(path)? };
    Some([&scheme, "://", authority, &path].concat())
}

/// Escapes in upper case, and none for letters that need none (RFC 3986 §6.2.2.2).
fn normal_path(path: &str) -> Option<String> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        let byte =
            if escaped { nibble(bytes.next()?)? << 4 | nibble(bytes.next()?)? } else { byte };
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if unreserved || (!escaped && byte.is_ascii_graphic()) {
            out.push(char::from(byte));
        } else if escaped {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        } else {
            return None;
        }
    }
    Some(out)
}

fn nibble(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_url_are_one() {
        for url in [
            "https://as.example/token",
            "HTTPS://AS.Example:443/token",
            "https://as.example:/token?x=1#y",
            "https://as.example/%74oken",
        ] {
            assert_eq!(normal(url).as_deref(), Some("https://as.example/token"), "{url}");
        }
        assert_eq!(normal("http://[::1]:80").as_deref(), Some("http://[::1]/"));
        assert_eq!(normal("http://h:8080/a%2fb").as_deref(), Some("http://h:8080/a%2Fb"));
    }

    #[test]
    fn different_urls_stay_different() {
        let all = [
            "https://as.example/token",
            "http://as.example/token",
            "https://as.example:8443/token",
            "https://as.example/Token",
            "https://as.example/token/",
            "https://as.example/a%2Fb",
            "https://as.example/a/b",
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(normal(one), normal(other));
            }
        }
    }

    #[test]
    fn what_is_no_plain_web_address_has_no_spelling() {
        for url in [
            "",
            "token",
            "/token",
            "ftp://as.example/",
            "https://",
            "https:///token",
            "https://user@as.example/",
            "https://as.example/%4",
            "https://as.example/%zz",
            "https://as.example/\u{e4}",
            "https://as.example/a b",
            "https://as.example\\evil/",
        ] {
            assert_eq!(normal(url), None, "{url}");
        }
    }
}
