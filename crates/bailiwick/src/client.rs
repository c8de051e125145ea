//! A person's session with a server: signed in with their own key, bound to a key that lives as long as the command.

mod problem;
mod profile;
mod wire;

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use decide::Clock;
use model::Timestamp;
use serde_json::Value;
use token::{Algorithm, SigningKey, assertion, dpop::Prover};

pub(crate) use http::Method;
pub(crate) use profile::Profile;

use crate::{
    again::{Again, passes},
    failure::{Exit, Failure, Result, TELL_US},
    files, random,
};
use wire::{Reply, Wire};

/// How long an assertion may be used, in seconds.
const ASSERTION_SECONDS: u32 = 60;
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Where the server is and who asks; what is not said comes from the profile.
///
/// The ids are not those of any verb's own arguments, which global arguments would be taken for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Context {
    /// The server's URL.
    #[arg(
        id = "session_server",
        long = "server",
        global = true,
        value_name = "URL",
        env = "BAILIWICK_SERVER",
        help_heading = "Session"
    )]
    pub(crate) server: Option<String>,
    /// Your private key (PKCS#8 in PEM).
    #[arg(
        id = "session_key",
        long = "key",
        global = true,
        value_name = "FILE",
        env = "BAILIWICK_KEY",
        help_heading = "Session"
    )]
    pub(crate) key: Option<PathBuf>,
    /// Who you are: the URI that enrolment printed.
    #[arg(
        id = "session_identity",
        long = "identity",
        global = true,
        value_name = "URI",
        env = "BAILIWICK_IDENTITY",
        help_heading = "Session"
    )]
    pub(crate) identity: Option<String>,
    /// The file that remembers the three above.
    #[arg(
        id = "session_profile",
        long = "profile",
        global = true,
        value_name = "FILE",
        env = "BAILIWICK_PROFILE",
        help_heading = "Session"
    )]
    pub(crate) profile: Option<PathBuf>,
}

/// A signed-in person.
pub(crate) struct Client {
    wire: Wire,
    issuer: String,
    key: SigningKey,
    identity: String,
    token: String,
}

impl Client {
    /// Signs in.
    pub(crate) async fn sign_in(context: &Context) -> Result<Self> {
        let profile = Profile::resolve(context)?;
        let key = read_key(&profile.key)?;
        let prover = SigningKey::generate(Algorithm::EdDSA).map(Prover::new);
        let prover = prover.map_err(|error| {
            Failure::new("key_not_made", "no key could be made")
                .because(&error)
                .next("try again; if it stays so, look at the system's `getrandom`")
        })?;
        let wire = Wire::new(&profile.server, prover)?;
        let metadata =
            wire.send(Method::GET, "/.well-known/oauth-authorization-server", None, None).await?;
        let metadata = metadata.metadata()?;
        let issuer = metadata["issuer"].as_str().unwrap_or_default().to_owned();
        if issuer != wire.base() {
            return Err(Failure::new(
                "issuer_differs",
                format!("`{}` does not name itself so", wire.base()),
            )
            .why(format!("its metadata says `{issuer}`; a session there would be somebody else's"))
            .next("use the URL that the server is configured with (`server.public_url`)")
            .exit(Exit::SignIn));
        }
        let mut client =
            Self { wire, issuer, key, identity: profile.identity.clone(), token: String::new() };
        let sources = profile.sources(context);
        client.token = client.open_session(&sources).await?;
        Ok(client)
    }

    /// The person's URI.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// The server's name for itself.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The person's own key.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// What the server gives, byte for byte.
    pub(crate) async fn bytes(&mut self, path: &str) -> Result<Bytes> {
        self.ask(Method::GET, path, None).await.map(Reply::bytes)
    }

    /// A whole list, page by page; the path may have a query.
    pub(crate) async fn list(&mut self, path: &str) -> Result<Value> {
        let more = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut people) = (Vec::new(), serde_json::Map::new());
        let mut after = String::new();
        loop {
            let mut page = self.get(&format!("{path}{after}")).await?;
            if let Some(Value::Array(listed)) = page.get_mut("items").map(Value::take) {
                items.extend(listed);
            }
            if let Some(Value::Object(named)) = page.get_mut("people").map(Value::take) {
                people.extend(named);
            }
            match page["next"].as_str() {
                Some(next) => after = format!("{more}after={}", escaped(next)),
                None => return Ok(serde_json::json!({ "items": items, "people": people })),
            }
        }
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Calls the admin API.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        self.ask(method, path, body).await.map(Reply::document)
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Reply> {
        let body = body.map(|body| ("application/json", body.to_string()));
        let token = Some(self.token.as_str());
        let mut again = Again::new();
        loop {
            let first = self.wire.send(method.clone(), path, body.clone(), token).await?;
            // A proof needs a nonce of this server, and each answer brings one.
            let reply = match first.wants_nonce() {
                true => self.wire.send(method.clone(), path, body.clone(), token).await?,
                false => first,
            };
            let ended = reply.accepted_or_refused();
            if !again.once_more(passes(&ended)).await {
                return ended;
            }
        }
    }

    async fn open_session(&mut self, sources: &str) -> Result<String> {
        let mut again = Again::new();
        let answer = loop {
            let first = self.ask_for_session().await?;
            let reply = if first.wants_nonce() { self.ask_for_session().await? } else { first };
            let ended = reply.accepted("a session", sources);
            if !again.once_more(passes(&ended)).await {
                break ended?;
            }
        };
        answer["access_token"].as_str().map(str::to_owned).ok_or_else(|| {
            Failure::new("no_session", "the server gave no session")
                .why("its answer has no `access_token`")
                .next("check that `--server` is a Bailiwick, of this version")
                .exit(Exit::SignIn)
        })
    }

    async fn ask_for_session(&mut self) -> Result<Reply> {
        let jti = random::name()?;
        let draft = assertion::Draft {
            client: &self.identity,
            audience: &self.issuer,
            now: now(),
            life_seconds: ASSERTION_SECONDS,
            jti: &jti,
            version: None,
        };
        let assertion = assertion::create(&self.key, &draft).map_err(|error| {
            Failure::new("not_signed", "nothing could be signed").because(&error).next(TELL_US)
        })?;
        let grant = JWT_BEARER.replace(':', "%3A");
        // A signed assertion is base64url and dots: it needs no escape in a form.
        let form = format!("grant_type={grant}&assertion={assertion}");
        let body = Some(("application/x-www-form-urlencoded", form));
        self.wire.send(Method::POST, "/oauth/token", body, None).await
    }
}

/// A path with what is asked for behind it, as far as it is said.
pub(crate) fn query<'n>(
    path: &str,
    members: impl IntoIterator<Item = (&'n str, Option<String>)>,
) -> String {
    let members = members.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let members = members.map(|(name, value)| format!("{name}={}", escaped(&value)));
    let members = members.collect::<Vec<_>>().join("&");
    if members.is_empty() { path.to_owned() } else { format!("{path}?{members}") }
}

/// A text as it stands in a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape =
        |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// The moment.
pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

/// Reads a person's private key.
pub(crate) fn read_key(path: &std::path::Path) -> Result<SigningKey> {
    let is_public = || files::read(path).is_ok_and(|bytes| token::Jwk::parse(&bytes).is_ok());
    let public = || {
        let own = path.with_extension("");
        Failure::new("key_invalid", format!("`{}` is a public key", path.display()))
            .why("you sign in with the private key that belongs to it")
            .next(format!("name the private key: most likely `--key {}`", own.display()))
    };
    let pem = files::read_secret(path).map_err(|failure| match failure.exit {
        _ if is_public() => public(),
        Exit::NotFound => {
            Failure::new("key_missing", format!("there is no key `{}`", path.display()))
                .why("you sign in with your own private key, and it is not where it was said to be")
                .next(format!(
                    "name yours with `--key FILE`, or make one: `bailiwick key new {}`",
                    path.display()
                ))
                .exit(Exit::SignIn)
        }
        _ => failure,
    })?;
    if is_public() {
        return Err(public());
    }
    SigningKey::from_pem(pem.expose_text().unwrap_or_default()).map_err(|error| {
        Failure::new("key_invalid", format!("`{}` is no private key", path.display()))
            .because(&error)
            .next("name the private key that `bailiwick key new FILE` wrote: PKCS#8 in PEM")
    })
}
