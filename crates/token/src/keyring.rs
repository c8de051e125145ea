use model::{Timestamp, ijson::Json};

use crate::{PublicKey, SigningKey};

/// How many earlier keys are kept: rotations are days apart, tokens live minutes.
const MAX_PREVIOUS: usize = 8;

/// The keys of one issuer: one signs, earlier ones still verify until their end.
///
/// A key has one purpose. Tokens, checkpoints, payloads and brokered secrets each have a keyring or key of their own.
pub struct Keyring {
    current: SigningKey,
    previous: Vec<Previous>,
}

struct Previous {
    key: PublicKey,
    until: Timestamp,
}

/// Too many rotations within one overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{MAX_PREVIOUS} earlier keys are still in use: wait until one has ended, or withdraw one and what it signed"
)]
pub struct KeyringFull;

impl Keyring {
    /// An issuer with one key.
    pub fn new(current: SigningKey) -> Self {
        Self { current, previous: Vec::new() }
    }

    /// Lets an earlier key verify until `until`, its first moment out of use; for reading a keyring back at a start.
    ///
    /// # Errors
    /// [`KeyringFull`]
    pub fn keep(&mut self, key: PublicKey, until: Timestamp) -> Result<(), KeyringFull> {
        if self.previous.len() >= MAX_PREVIOUS {
            return Err(KeyringFull);
        }
        self.previous.push(Previous { key, until });
        Ok(())
    }

    /// Signs with `next` from now on; the key before it verifies for the overlap, which must be no shorter than the
    /// longest life of what it signed.
    ///
    /// # Errors
    /// [`KeyringFull`]: nothing has changed then.
    pub fn rotate(
        &mut self,
        next: SigningKey,
        now: Timestamp,
        overlap_seconds: u32,
    ) -> Result<(), KeyringFull> {
        self.previous.retain(|previous| now < previous.until);
        self.keep(self.current.public().clone(), now.plus_seconds(overlap_seconds))?;
        self.current = next;
        Ok(())
    }

    /// Ends an earlier key at once: what it signed is refused. Whether there was one.
    pub fn withdraw(&mut self, kid: &str) -> bool {
        let before = self.previous.len();
        self.previous.retain(|previous| previous.key.kid() != kid);
        self.previous.len() < before
    }

    /// The key that signs.
    pub fn current(&self) -> &SigningKey {
        &self.current
    }

    /// The key of that id, if it verifies at `now`.
    pub fn key(&self, kid: &str, now: Timestamp) -> Option<&PublicKey> {
        self.keys(now).find(|key| key.kid() == kid)
    }

    /// The public keys for others ([RFC 7517 §5](https://www.rfc-editor.org/rfc/rfc7517#section-5)), the signing one
    /// first.
    pub fn jwks(&self, now: Timestamp) -> Json {
        let published = |key: &PublicKey| {
            let Json::Object(members) = key.to_jwk() else { return Json::Null };
            let text = |text: &str| Json::String(text.to_owned());
            Json::object(members.into_iter().chain([
                ("kid".to_owned(), text(key.kid())),
                ("alg".to_owned(), text(key.algorithm().name())),
                ("use".to_owned(), text("sig")),
            ]))
        };
        Json::object([("keys", Json::Array(self.keys(now).map(published).collect()))])
    }

    fn keys(&self, now: Timestamp) -> impl Iterator<Item = &PublicKey> {
        let previous = self.previous.iter().filter(move |previous| now < previous.until);
        std::iter::once(self.current.public()).chain(previous.map(|previous| &previous.key))
    }
}

#[cfg(test)]
mod tests;
