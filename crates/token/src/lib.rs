//! Tokens: keys and their rotation, JOSE, proofs of possession, assertions, chains and how they narrow.
//!
//! Bytes in, bytes out. The moment is always an argument; randomness makes keys and seals, nothing else.
//! Never here: storage, HTTP, the live state of agents and grants. What needs those (single-use marks, revocation,
//! who may act for whom) is handed in, or is left to the caller and said so.
//!
//! A [`PublicKey`] has exactly one algorithm; a signature is checked by looking up one key and demanding that the
//! header names that algorithm. Access tokens are [`claims`], a hop of a chain is [`exchange`], possession is [`dpop`],
//! a client's or a person's own word is [`assertion`], a person's yes or no to one thing is [`approval`].

pub mod approval;
pub mod assertion;
pub mod claims;
mod description;
pub mod dpop;
mod encoding;
pub mod exchange;
mod jwk;
pub mod jws;
mod key;
mod keyring;
mod numeric_date;
mod pem;
#[cfg(test)]
mod sample;
mod secret;
mod thumbprint;
mod vault;

pub use claims::Claims;
pub use description::description;
pub use jwk::{Jwk, JwkError};
pub use jws::{JwsError, SeenHeader, SignError};
pub use key::{Algorithm, KeyError, PublicKey, SigningKey};
pub use keyring::{Keyring, KeyringFull};
pub use secret::Secret;
pub use thumbprint::{NotAThumbprint, Thumbprint};
pub use vault::{MasterKey, MasterKeyError, UnwrapError, WrapError};

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_server_holds_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<super::Keyring>();
        shared::<super::MasterKey>();
        shared::<super::dpop::Nonces>();
        shared::<super::dpop::Prover>();
        shared::<super::dpop::Replays>();
    }
}
