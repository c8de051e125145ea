use model::{Digest, IdentityId};
use token::{SigningKey, assertion, dpop::Prover};

use super::{Reply, World, http::recorded};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A registered agent with a key of its own.
pub struct Agent {
    world: World,
    /// Its name.
    pub id: IdentityId,
    /// The version that it runs.
    pub version: Digest,
    /// Its key.
    pub prover: Prover,
}

impl Agent {
    pub(super) fn new(world: World, id: IdentityId, version: Digest, key: SigningKey) -> Self {
        Self { world, id, version, prover: Prover::new(key) }
    }

    /// Its URI.
    pub fn uri(&self) -> String {
        self.world.engine().context().realm.uri(&self.id)
    }

    /// A fresh client assertion that names its version.
    pub fn assertion(&self) -> String {
        let uri = self.uri();
        let draft = assertion::Draft {
            client: &uri,
            audience: &self.world.engine().issuer().url,
            now: self.world.now(),
            life_seconds: 60,
            jti: &self.world.fresh(),
            version: Some(self.version),
        };
        assertion::create(self.prover.key(), &draft).expect("the key signs")
    }

    /// Asks for an exchange of a token; `more` adds parameters to the form.
    pub async fn exchange(&self, subject_token: &str, more: &[(&str, &str)]) -> Reply {
        recorded(async || {
            let assertion = self.assertion();
            let form = form(&assertion, subject_token);
            self.world.token(&self.prover, &[&form, more].concat()).await
        })
        .await
    }

    /// The same without a proof of its key.
    pub async fn exchange_unproved(&self, subject_token: &str, more: &[(&str, &str)]) -> Reply {
        recorded(async || {
            let assertion = self.assertion();
            let form = form(&assertion, subject_token);
            self.world.token_unproved(&[&form, more].concat()).await
        })
        .await
    }

    /// A token for one system, out of a task's hand-over token.
    ///
    /// # Panics
    /// It is refused.
    pub async fn on_behalf_of(&self, handed_over: &str, system: &str) -> String {
        let system = system.parse().expect("a system's name is a name");
        let audience = self.world.engine().issuer().audience_of(&system);
        let issued = self.exchange(handed_over, &[("audience", &audience)]).await.ok();
        issued["access_token"].as_str().expect("a token").to_owned()
    }

    /// The headers of a request to a URL with this token.
    pub async fn headers(
        &self,
        method: &str,
        url: &str,
        token: &str,
    ) -> [(&'static str, String); 2] {
        let proof = self.world.prove(&self.prover, method, url, Some(token)).await;
        [("authorization", format!("DPoP {token}")), ("dpop", proof)]
    }
}

fn form<'f>(assertion: &'f str, subject_token: &'f str) -> [(&'f str, &'f str); 5] {
    [
        ("grant_type", TOKEN_EXCHANGE),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion),
        ("subject_token", subject_token),
        ("subject_token_type", ACCESS_TOKEN),
    ]
}
