//! A key in a PKCS #11 token, named by a URI of [RFC 7512](https://www.rfc-editor.org/rfc/rfc7512).

use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

use super::value::{Refused, SecretRef};

/// What the URI starts with.
pub(super) const SCHEME: &str = "pkcs11:";
/// The longest label of a token or an object, in bytes, that a module could have.
const MAX_LABEL: usize = 256;

/// An AES key that never leaves its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenKey {
    /// The library that speaks with the token.
    pub(crate) module: PathBuf,
    /// The token's label.
    pub(crate) token: String,
    /// The key's.
    pub(crate) object: String,
}

impl TokenKey {
    /// Reads what follows `pkcs11:`, with the place of the PIN. Of the attributes of the standard those four are known that are
    /// needed, and each has to be there.
    pub(super) fn parse(rest: &str) -> Result<(Self, SecretRef), Refused> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let [token, object] = attributes(path, ';', ["token", "object"])?;
        let [module, pin] = attributes(query, '&', ["module-path", "pin-source"])?;
        let module = PathBuf::from(module);
        if !module.is_absolute() {
            return Err(Refused("its `module-path` is no absolute path of a PKCS #11 library"));
        }
        if [&token, &object].iter().any(|label| label.is_empty() || label.len() > MAX_LABEL) {
            return Err(Refused("the label of a token or object has 1 to 256 bytes"));
        }
        Ok((Self { module, token, object }, pin.parse()?))
    }

    /// Where the master key lies that this key has wrapped: each key has a file of its own, so that one can take the place of
    /// another.
    pub(crate) fn wrapped_in(&self, dir: &Path) -> PathBuf {
        let mut name = String::from("master");
        for label in [&self.token, &self.object] {
            name.push('.');
            name += &encoded(label).replace('%', "_");
        }
        dir.join(name + ".wrapped")
    }

    pub(super) fn write(&self, pin: &SecretRef, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { module, token, object } = self;
        let (token, object, module) = (encoded(token), encoded(object), module.display());
        write!(f, "{SCHEME}token={token};object={object}?module-path={module}&pin-source={pin}")
    }
}

/// The values of exactly these attributes.
fn attributes<const N: usize>(
    text: &str,
    between: char,
    names: [&str; N],
) -> Result<[String; N], Refused> {
    const WANTED: Refused = Refused(
        "a key in a token is `pkcs11:token=LABEL;object=LABEL?module-path=PATH&pin-source=file:PATH`, each of them once",
    );
    let mut values = [const { None }; N];
    for attribute in text.split(between) {
        let (name, value) = attribute.split_once('=').ok_or(WANTED)?;
        let at = names.iter().position(|known| *known == name).ok_or(WANTED)?;
        if values[at].replace(decoded(value).ok_or(WANTED)?).is_some() {
            return Err(WANTED);
        }
    }
    match values.iter().all(Option::is_some) {
        true => Ok(values.map(Option::unwrap_or_default)),
        false => Err(WANTED),
    }
}

/// A value without its percent-encoding.
fn decoded(value: &str) -> Option<String> {
    let mut parts = value.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn encoded(label: &str) -> String {
    let mut text = String::new();
    for byte in label.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").expect("writing to a text cannot fail"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::MasterRef;

    #[test]
    fn a_key_in_a_token_reads_back_as_it_is_written_and_has_a_file_of_its_own() {
        let text =
            "pkcs11:token=my%20token;object=master?module-path=/lib/hsm.so&pin-source=file:pin";
        let key: MasterRef = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        let key = key.below(Path::new("/base"));
        assert!(key.to_string().ends_with("&pin-source=file:/base/pin"), "{key}");
        let file = |text: &str| {
            let (key, _) = super::TokenKey::parse(&text[7..]).unwrap();
            key.wrapped_in(Path::new("k")).display().to_string()
        };
        assert_eq!(file(text), "k/master.my_20token.master.wrapped");
        assert_ne!(file(text), file(&text.replace("object=master", "object=other")));
        assert_eq!(
            file(&text.replace("my%20token", "..%2F..")),
            "k/master._2E_2E_2F_2E_2E.master.wrapped"
        );
    }

    #[test]
    fn what_names_no_key_in_a_token_is_refused() {
        let whole = "pkcs11:token=t;object=o?module-path=/m.so&pin-source=env:PIN";
        assert!(whole.parse::<MasterRef>().is_ok());
        for (from, to) in [
            ("token=t;", ""),
            ("token=t", "token="),
            ("object=o", "object=o;object=o"),
            ("object=o", "object=o;type=secret-key"),
            ("object=o", "object=%zz"),
            ("object=o", "object=%"),
            ("/m.so", "m.so"),
            ("&pin-source=env:PIN", ""),
            ("env:PIN", "1234"),
            ("env:PIN", "env:PIN&pin-value=1234"),
            ("?", ";"),
        ] {
            let changed = whole.replacen(from, to, 1);
            assert!(changed.parse::<MasterRef>().is_err(), "{changed}");
        }
    }
}
