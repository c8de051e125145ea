use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use model::{Name, Realm};
use serde_json::json;

use crate::{
    failure::Result,
    init,
    output::{Answer, fields},
};

/// Make an installation.
#[derive(Args)]
pub(crate) struct Init {
    /// The folder to make it in.
    #[arg(long)]
    dir: PathBuf,
    /// The organization.
    #[arg(long, default_value = "example")]
    org: Name,
    /// The environment.
    #[arg(long, default_value = "dev")]
    environment: Name,
    /// This node's number.
    #[arg(long, default_value_t = 1)]
    node: u16,
    /// Address of the token endpoint and the admin API.
    #[arg(long, default_value = "127.0.0.1:8180")]
    server_listen: SocketAddr,
    /// Address of the gateway.
    #[arg(long, default_value = "127.0.0.1:8181")]
    gateway_listen: SocketAddr,
    /// Address of health and metrics.
    #[arg(long, default_value = "127.0.0.1:8182")]
    ops_listen: SocketAddr,
    /// `sqlite:PATH` or `postgres://USER@HOST/NAME` instead of SQLite in the data folder.
    #[arg(long)]
    database: Option<String>,
    /// Where to write the master key; best on another disk than the data.
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self) -> Result<Answer> {
        let made = init::init(&init::Wish {
            dir: self.dir,
            realm: Realm { org: self.org, environment: self.environment, node: self.node },
            server: self.server_listen,
            gateway: self.gateway_listen,
            ops: self.ops_listen,
            database: self.database,
            master_key: self.master_key,
        })?;
        let path = |path: &std::path::Path| path.display().to_string();
        let (config, data, master) = (path(&made.config), path(&made.data), path(&made.master_key));
        let list = fields([
            ("configuration", config.clone()),
            ("data", data.clone()),
            ("master key", format!("{master}  (keep a copy elsewhere; without it nothing opens)")),
            ("ledger key", format!("{}  (give it to auditors)", made.verifier_key)),
        ]);
        let text = format!(
            "An installation is made.\n{list}\n\nNext:\n  bailiwick serve --config {config}\n  \
             bailiwick key new admin.pem\n  bailiwick person enroll --socket {data}/enroll.sock \
             --handle HANDLE --name \"FULL NAME\" --key admin.pem"
        );
        let document = json!({
            "config": config, "data": data, "master_key": master, "ledger_key": made.verifier_key,
        });
        Ok(Answer::new(document, text))
    }
}
