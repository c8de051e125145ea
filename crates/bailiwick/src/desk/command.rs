//! `bailiwick desk`: the desk by itself, for demonstrations and for trying a gateway by hand.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use clap::Args;
use serde_json::Value;

use super::{PATH, seed, serve};
use crate::{
    failure::{Exit, Failure, Result},
    output::{self, Answer},
};

/// Run the sample MCP server, Support desk.
#[derive(Args)]
#[command(after_help = "\
BAILIWICK_DESK_SECRET holds the bearer token that callers must bring. Prints the URL of its MCP endpoint, and serves
until it is ended:

  BAILIWICK_DESK_SECRET=$(cat desk.secret) bailiwick desk --listen 127.0.0.1:9000 --database desk.db
  bailiwick server add support-desk --url http://127.0.0.1:9000/mcp --internal --credential file:$PWD/desk.secret")]
pub(crate) struct Command {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The desk's SQLite file; made with sample data where there is none.
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
}

/// Where the bearer token stands that callers must bring: other users of a machine can read its command lines.
const SECRET: &str = "BAILIWICK_DESK_SECRET";

impl Command {
    /// Serves until the process is ended.
    pub(crate) async fn run(self) -> Result<Answer> {
        let secret = std::env::var(SECRET).ok().filter(|secret| !secret.is_empty());
        let secret = secret.ok_or_else(|| {
            Failure::new("desk_secret_missing", "the desk has no secret")
                .why(format!("`{SECRET}` is not set; without it anybody could pay refunds"))
                .next(format!(
                    "{SECRET}=… bailiwick desk …, the same as in `server add --credential`"
                ))
                .exit(Exit::Usage)
        })?;
        let database = self.database;
        seed(&database).map_err(|error| {
            Failure::new("desk_not_opened", format!("`{}` cannot be used", database.display()))
                .why(format!("{error:#}"))
                .next("name another file with `--database FILE`, in a folder that is there")
        })?;
        let bound = TcpListener::bind(self.listen).and_then(|it| Ok((it.local_addr()?, it)));
        let (address, listener) = bound.map_err(|error| {
            Failure::new("address_not_bound", format!("`{}` cannot be listened on", self.listen))
                .because(&error)
                .next("stop whatever listens there, or choose another `--listen`")
        })?;
        output::data(&format!("http://{address}{PATH}"))?;
        serve(listener, database, secret).await.map_err(|error| {
            Failure::new("desk_failed", "the desk ended")
                .why(format!("{error:#}"))
                .next("start it again")
        })?;
        Ok(Answer::new(Value::Null, ""))
    }
}
