//! A PKCS #11 token: an HSM, a smart card, or SoftHSM. Its library is loaded only while something is wrapped or unwrapped.

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::Error,
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use token::Secret;

use super::Kms;
use crate::{
    config::TokenKey,
    failure::{Failure, Result},
    random,
};

/// Nonce of AES-GCM, in bytes, in front of what it sealed.
const NONCE: usize = 12;
const TAG_BITS: u64 = 128;
/// What is wrapped is a master key: nothing else that the key in the token wrapped passes for one.
const PURPOSE: &[u8] = b"bailiwick/master/v1";

/// An AES key in a token, and the PIN that lets us use it.
pub(crate) struct Token<'a> {
    key: &'a TokenKey,
    pin: Secret,
}

impl<'a> Token<'a> {
    pub(crate) const fn new(key: &'a TokenKey, pin: Secret) -> Self {
        Self { key, pin }
    }

    /// Does something with the key. The library is given back whatever comes of it.
    fn with<T>(
        &self,
        act: impl FnOnce(&Session, ObjectHandle) -> std::result::Result<T, Error>,
    ) -> Result<T> {
        let TokenKey { module, token, object } = self.key;
        let failed = |what: String, error: &Error, next: &str| {
            Failure::new("kms_failed", what).because(error).next(next)
        };
        let library = Pkcs11::new(module).map_err(|error| {
            let what = format!("the PKCS #11 library `{}` cannot be loaded", module.display());
            failed(what, &error, "install it, or correct `module-path` in `data.master_key`")
        })?;
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(
            |error| {
                let what = format!("the PKCS #11 library `{}` does not start", module.display());
                failed(
                    what,
                    &error,
                    "look at its own configuration, and whether this user may read it",
                )
            },
        )?;
        let done = self.in_session(&library, act);
        let ended = library.finalize();
        let done = done?.map_err(|error| {
            let what = format!("the key `{object}` in the token `{token}` did not do it");
            failed(what, &error, "see that it is an AES key that may encrypt and decrypt, and the one that wrapped this master key")
        })?;
        ended.map_err(|error| {
            let what = format!("the PKCS #11 library `{}` does not end", module.display());
            failed(what, &error, "look at what it logs")
        })?;
        Ok(done)
    }

    fn in_session<T>(
        &self,
        library: &Pkcs11,
        act: impl FnOnce(&Session, ObjectHandle) -> std::result::Result<T, Error>,
    ) -> Result<std::result::Result<T, Error>> {
        let TokenKey { token, object, .. } = self.key;
        let unusable = |error: &Error| {
            Failure::new("kms_failed", format!("the token `{token}` cannot be used"))
                .because(error)
                .next("see that it is there, and that the PIN at `pin-source` is its user's; too many wrong ones lock it")
        };
        let missing = |what: String| {
            Failure::new("kms_key_missing", what)
                .why("the master key opens by that key alone, and nothing can start without it")
                .next("bring the token back, or correct `data.master_key`")
        };
        let slots = library.get_slots_with_token().map_err(|error| unusable(&error))?;
        let is_it =
            |slot: &_| library.get_token_info(*slot).is_ok_and(|info| info.label() == token);
        let [slot] = slots.into_iter().filter(is_it).collect::<Vec<_>>()[..] else {
            return Err(missing(format!("there is not one token `{token}`")));
        };
        let session = library.open_ro_session(slot).map_err(|error| unusable(&error))?;
        let pin = self.pin.expose_text().unwrap_or_default().trim_end();
        let login = session.login(UserType::User, Some(&AuthPin::new(pin.into())));
        login.map_err(|error| unusable(&error))?;
        let wanted = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(object.as_bytes().to_vec()),
        ];
        let found = session.find_objects(&wanted).map_err(|error| unusable(&error))?;
        let [key] = found[..] else {
            return Err(missing(format!("the token `{token}` has not one AES key `{object}`")));
        };
        Ok(act(&session, key))
    }
}

impl Kms for Token<'_> {
    fn wrap(&self, secret: &Secret) -> Result<Vec<u8>> {
        let mut iv = random::bytes::<NONCE>()?;
        let sealed = self.with(|session, key| {
            let params = GcmParams::new(&mut iv, PURPOSE, TAG_BITS.into())?;
            session.encrypt(&Mechanism::AesGcm(params), key, secret.expose())
        })?;
        // A token that makes nonces itself has written its own there.
        Ok([&iv[..], &sealed].concat())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Secret> {
        let Some((nonce, sealed)) = wrapped.split_first_chunk::<NONCE>() else {
            return Err(Failure::new("kms_failed", "the wrapped master key is cut short")
                .why("it has no nonce")
                .next("bring the file back from a backup of the data folder"));
        };
        self.with(|session, key| {
            let mut iv = *nonce;
            let params = GcmParams::new(&mut iv, PURPOSE, TAG_BITS.into())?;
            session.decrypt(&Mechanism::AesGcm(params), key, sealed).map(Secret::new)
        })
    }
}
