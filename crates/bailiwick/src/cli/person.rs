use std::path::{Path, PathBuf};

use clap::Subcommand;
use model::Name;
use serde_json::json;

use super::show;
use crate::{
    client::{Client, Context, Profile, read_key},
    enroll,
    failure::{Exit, Failure, Result},
    input,
    output::{self, Answer, fields},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Enrol the first administrator, on the machine that runs `serve` (with `--key`).
    Enroll {
        /// The socket that `serve` has opened.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// What people type.
        #[arg(long)]
        handle: Name,
        /// What people read.
        #[arg(long)]
        name: String,
        /// The code that `serve` shows; asked for where it is not given.
        #[arg(long)]
        code: Option<String>,
    },
    /// Enrol another person with their public key.
    Add {
        /// What people type.
        #[arg(long)]
        handle: Name,
        /// What people read.
        #[arg(long)]
        name: String,
        /// Their public key: the `.pub` file of `bailiwick key new`.
        #[arg(long, value_name = "FILE")]
        public_key: PathBuf,
        /// A team or role, for example `administrator`; may be repeated.
        #[arg(long = "team")]
        teams: Vec<Name>,
        /// Who they report to: a handle.
        #[arg(long)]
        manager: Option<Name>,
    },
    /// List people.
    List,
}

impl Command {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        match self {
            Self::Enroll { socket, handle, name, code } => {
                let Some(key) = &context.key else {
                    return Err(Failure::new("key_not_named", "nobody said which key is yours")
                        .why("the first administrator is enrolled with a key of their own")
                        .next("make one with `bailiwick key new admin.pem`, then say `--key admin.pem`")
                        .exit(Exit::SignIn));
                };
                let public = read_key(key)?.public().to_jwk().to_value();
                let code = code.or_else(|| output::ask("code:")).ok_or_else(|| {
                    Failure::new("code_missing", "there is no code")
                        .why("nobody sits at a terminal to be asked for it")
                        .next("say `--code CODE`; `bailiwick serve` shows it")
                        .exit(Exit::Usage)
                })?;
                // The code is good for one use: what could not be remembered is not begun.
                let taken = Profile::path(context).filter(|path| path.exists());
                if taken.is_none() {
                    Profile::prepare(context)?;
                }
                let wish = enroll::Wish {
                    code,
                    handle: handle.to_string(),
                    display_name: name,
                    key: public,
                };
                let enrolled = enroll::enroll(&socket, &wish)?;
                let profile = Profile {
                    server: enrolled.server,
                    key: key.clone(),
                    identity: enrolled.identity,
                };
                Ok(remember(context, &profile))
            }
            Self::Add { handle, name, public_key, teams, manager } => {
                let mut body = json!({
                    "handle": handle,
                    "display_name": name,
                    "teams": teams,
                    "key": input::public_key(&public_key)?,
                });
                if let Some(manager) = manager {
                    body["manager"] = json!(manager);
                }
                let document = Client::sign_in(context).await?.post("/v1/persons", body).await?;
                let text = format!("`{handle}` is enrolled\n{}", show::members(&document));
                Ok(Answer::new(document, text))
            }
            Self::List => {
                let document = Client::sign_in(context).await?.list("/v1/persons").await?;
                let text = show::table(
                    &document,
                    &[
                        ("HANDLE", "handle"),
                        ("NAME", "display_name"),
                        ("TEAMS", "teams"),
                        ("ACTIVE", "active"),
                        ("ID", "id"),
                    ],
                );
                Ok(Answer::new(document, text))
            }
        }
    }
}

/// Keeps the profile of whoever was enrolled, unless there is one already. They are enrolled in any case, and once: what
/// cannot be kept is printed.
fn remember(context: &Context, profile: &Profile) -> Answer {
    let named = context.profile.as_deref();
    let taken = Profile::path(context).filter(|path| path.exists());
    let kept = match &taken {
        Some(_) => None,
        None => profile.remember(context).map_err(|why| output::talk(&why.warning())).ok(),
    };
    let place = match (&kept, &taken) {
        (Some(kept), _) => kept.display().to_string(),
        (None, Some(taken)) => format!("NOT KEPT: `{}` is there already", taken.display()),
        (None, None) => "NOT KEPT: it could not be written".to_owned(),
    };
    let list = fields([
        ("identity", profile.identity.clone()),
        ("server", profile.server.clone()),
        ("profile", place),
    ]);
    let command = profile.command(named);
    let own = profile.command(Some(Path::new("FILE")));
    let first = match (&kept, &taken) {
        (Some(_), _) => String::new(),
        (None, None) => format!("  {command}\n"),
        (None, Some(_)) => format!(
            "  {command}      (in place of what is there)\n  {own}      (beside it; say `--profile FILE` from then on)\n"
        ),
    };
    let text = format!(
        "You are the first administrator.\n{list}\n\nNext:\n{first}  bailiwick whoami\n  \
         bailiwick person add --handle HANDLE --name \"FULL NAME\" --public-key FILE.pub --team administrator",
    );
    let mut document = json!({
        "identity": profile.identity,
        "server": profile.server,
        "profile": kept.as_ref().map(|path| path.display().to_string()),
    });
    if kept.is_none() {
        document["next"] = json!(command);
    }
    Answer::new(document, text)
        .unprinted(format!("you are enrolled as `{}`: {command}", profile.identity))
}
