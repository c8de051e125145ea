use clap::Subcommand;
use serde_json::json;

use crate::{
    client::{Client, Context, Profile},
    failure::Result,
    output::{Answer, fields},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Remember server, key and identity.
    Set,
    /// Show what is remembered, with what flags and environment say over it.
    Show,
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<Answer> {
        let profile = Profile::resolve(context)?;
        let place = match self {
            Self::Set => Some(profile.remember(context)?),
            Self::Show => Profile::path(context),
        };
        let place = place.map(|path| path.display().to_string()).unwrap_or_default();
        let key = profile.key.display().to_string();
        let document = json!({
            "profile": place, "server": profile.server, "key": key, "identity": profile.identity,
        });
        let text = fields([
            ("server", profile.server),
            ("key", key),
            ("identity", profile.identity),
            ("profile", place),
        ]);
        Ok(Answer::new(document, text))
    }
}

/// Who the server takes this person for.
pub(crate) async fn whoami(context: &Context) -> Result<Answer> {
    let mut client = Client::sign_in(context).await?;
    let document = client.get("/v1/whoami").await?;
    let text = super::show::members(&document);
    Ok(Answer::new(document, text))
}
