//! A master key that people remember: derived from a passphrase by Argon2id.

use argon2::{Algorithm, Argon2, Params, Version};
use token::{MasterKey, Secret};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result, TELL_US};

/// How many random bytes a passphrase is mixed with
/// ([RFC 9106 §3.1](https://www.rfc-editor.org/rfc/rfc9106#section-3.1)).
pub(crate) const SALT_BYTES: usize = 16;
/// The shortest passphrase, in bytes: some five words. Trying them is slow, and must also be hopeless.
const MIN_BYTES: usize = 24;
/// Memory in KiB, passes and lanes: the second recommendation of
/// [RFC 9106 §4](https://www.rfc-editor.org/rfc/rfc9106#section-4). A change would derive other keys.
const COST: (u32, u32, u32) = (64 * 1024, 3, 4);

/// Derives the master key of an installation with this salt.
pub(crate) fn master(passphrase: &Secret, salt: &[u8]) -> Result<MasterKey> {
    let text = passphrase.expose().trim_ascii();
    if text.len() < MIN_BYTES {
        let what = format!("the passphrase has fewer than {MIN_BYTES} bytes");
        return Err(Failure::new("passphrase_too_short", what)
            .why("whoever gets the wrapped keys could find out a short one by trying")
            .next("take five words or more, for example drawn with dice"));
    }
    let failed = |error: argon2::Error| {
        Failure::new("master_key_not_derived", "no master key can be derived from the passphrase")
            .because(&error)
            .next(TELL_US)
    };
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(text, salt, &mut *key)
        .map_err(failed)?;
    Ok(MasterKey::from_bytes(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "copper lantern orbit velvet anchor";

    fn derived(words: &str, salt: u8) -> Secret {
        master(&Secret::new(words.to_owned()), &[salt; SALT_BYTES]).unwrap().to_base64()
    }

    #[test]
    fn a_passphrase_gives_one_key_for_one_installation() {
        // By the reference implementation: argon2 -id -t 3 -k 65536 -p 4 -l 32, salt of 16 bytes 0x73 (`s`).
        let reference = "EKRNj9qlDD2kA7m051X84YB4+1APvGamFuFSCujdL80=";
        assert_eq!(derived(WORDS, b's').expose_text().unwrap(), reference);
        assert!(derived(&format!("{WORDS}\n"), b's').matches(reference.as_bytes()));
        assert!(!derived(WORDS, b't').matches(reference.as_bytes()));
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        let short = master(&Secret::new("copper lantern  \n".to_owned()), &[1; SALT_BYTES]);
        assert_eq!(short.err().unwrap().code, "passphrase_too_short");
    }
}
