use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use token::{Algorithm, SigningKey};

use crate::{
    failure::{Failure, Result},
    files,
    output::{Answer, fields},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key pair: the private key in FILE, the public one as a JWK in FILE.pub.
    New {
        /// Where to write the private key (PKCS#8 in PEM).
        file: PathBuf,
        /// How it signs.
        #[arg(long, value_enum, default_value = "eddsa")]
        alg: Alg,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Alg {
    /// Ed25519.
    Eddsa,
    /// ECDSA on P-256.
    Es256,
}

impl Command {
    pub(super) fn run(self) -> Result<Answer> {
        let Self::New { file, alg } = self;
        let algorithm = match alg {
            Alg::Eddsa => Algorithm::EdDSA,
            Alg::Es256 => Algorithm::ES256,
        };
        let failed = |error: token::KeyError| {
            Failure::new("key_not_made", "no key could be made")
                .because(&error)
                .next("try again; if it stays so, look at the system's `getrandom`")
        };
        let key = SigningKey::generate(algorithm).map_err(failed)?;
        let jwk = key.public().to_jwk();
        let beside = public_file(&file);
        files::write_new_secret(&file, key.to_pem().map_err(failed)?.expose())?;
        files::write_new(&beside, &[&jwk.canonical(), &b"\n"[..]].concat())?;
        let (private, public) = (file.display().to_string(), beside.display().to_string());
        let text = String::from_utf8_lossy(&jwk.canonical()).into_owned();
        let list = fields([
            ("private key", format!("{private}  (yours alone; it signs for you)")),
            ("public key", format!("{public}  (for whoever enrols you)")),
            ("thumbprint", key.public().kid().to_owned()),
            ("JWK", text),
        ]);
        let document = json!({
            "private_key": private,
            "public_key": public,
            "thumbprint": key.public().kid(),
            "jwk": jwk.to_value(),
        });
        Ok(Answer::new(document, list))
    }
}

/// Where the public half of a private key's file lies.
fn public_file(file: &std::path::Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}
