//! Where keys are kept that never leave: they wrap the master key there, and unwrap it.

mod pkcs11;

use token::Secret;

pub(crate) use self::pkcs11::Token;
use crate::failure::Result;

/// Wraps and unwraps by a key that this process never has.
pub(crate) trait Kms {
    /// The secret, sealed: what comes back opens by the same key alone, and not if a bit of it was changed.
    fn wrap(&self, secret: &Secret) -> Result<Vec<u8>>;

    /// The secret that was sealed.
    fn unwrap(&self, wrapped: &[u8]) -> Result<Secret>;
}
