use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{ledger::given_key, serve::signalled};
use crate::{
    client::now,
    failure::Result,
    output::{self, Answer, Table, fields},
    witness::{Folder, listen},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a witness: a folder with a key of its own. Best by another administrator, on another machine.
    Init {
        #[command(flatten)]
        place: Place,
        /// Its name, by custom a URL without scheme: `witness.example.org/1`.
        #[arg(long)]
        name: String,
    },
    /// Let the witness cosign heads of a log.
    AddLog {
        #[command(flatten)]
        place: Place,
        /// The log's verifier key, `name+id+key`, or a file with it, by another way than the log's heads.
        #[arg(value_name = "LINE|FILE")]
        key: String,
        /// The key line that it takes the place of, where the log has named another key for its heads.
        #[arg(long, value_name = "LINE|FILE")]
        in_place_of: Option<String>,
    },
    /// Take heads at `POST /add-checkpoint`, and cosign those that contain the last one.
    Serve {
        #[command(flatten)]
        place: Place,
        /// The address. To reach it from elsewhere, put a proxy that speaks TLS before it.
        #[arg(long, default_value = "127.0.0.1:8190")]
        listen: SocketAddr,
        /// Print one line of JSON with the address on stdout once the witness is ready.
        #[arg(long)]
        print_addresses: bool,
    },
    /// The witness's key, and what it has seen of each log.
    Status {
        #[command(flatten)]
        place: Place,
    },
}

/// Which witness.
#[derive(Args)]
pub(crate) struct Place {
    /// Its folder.
    #[arg(long)]
    dir: PathBuf,
    /// The file of the master key that wraps its key; `master.key` in the folder when left out.
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

impl Place {
    fn folder(self) -> Folder {
        Folder::new(self.dir, self.master_key)
    }
}

impl Command {
    pub(super) async fn run(self) -> Result<Answer> {
        match self {
            Self::Init { place, name } => {
                let key = place.folder().create(&name)?.to_string();
                let text = format!(
                    "A witness is made. Its key, for policies of those who rely on it:\n  {key}"
                );
                Ok(Answer::new(json!({ "key": key }), text))
            }
            Self::AddLog { place, key, in_place_of } => {
                let key = given_key(&key)?;
                let former = in_place_of.as_deref().map(given_key).transpose()?;
                let added = match &former {
                    Some(former) => place.folder().replace(former, &key).map(|()| true)?,
                    None => place.folder().add(&key, now())?,
                };
                let said =
                    if added { "heads are cosigned from now on" } else { "it was known already" };
                let text = format!("`{}`: {said}", key.name());
                Ok(Answer::new(json!({ "origin": key.name(), "added": added }), text))
            }
            Self::Serve { place, listen, print_addresses } => {
                serve(&place.folder(), listen, print_addresses).await
            }
            Self::Status { place } => status(&place.folder()),
        }
    }
}

async fn serve(folder: &Folder, address: SocketAddr, print: bool) -> Result<Answer> {
    let witness = folder.open()?;
    let key = witness.public.to_string();
    // Before anything is ready, so that a signal right after is not lost.
    let signalled = signalled()?;
    let listening = listen(witness, address).await?;
    let url = listening.url.clone();
    if print {
        output::data(&json!({ "witness": url }).to_string())?;
    }
    output::talk(&format!("the witness is ready\n{}", fields([("url", url), ("key", key)])));
    listening.serve(signalled).await;
    Ok(Answer::new(Value::Null, ""))
}

fn status(folder: &Folder) -> Result<Answer> {
    let (key, logs) = folder.status()?;
    let mut table = Table::new(&["LOG", "ENTRIES", "ROOT", "COSIGNED"]);
    for log in &logs {
        let (root, at) = match log.note.is_empty() {
            true => (String::new(), "never".to_owned()),
            false => (log.root.to_string(), log.at.to_string()),
        };
        table.row([log.origin.clone(), log.size.to_string(), root, at]);
    }
    let rows: Vec<Value> = (logs.iter())
        .map(|log| {
            let cosigned = (!log.note.is_empty()).then(|| log.at.millis());
            json!({ "origin": log.origin, "size": log.size, "root": log.root, "cosigned": cosigned })
        })
        .collect();
    let listed = if logs.is_empty() { "it knows no log".to_owned() } else { table.text() };
    Ok(Answer::new(json!({ "key": key, "logs": rows }), format!("{key}\n\n{listed}")))
}
