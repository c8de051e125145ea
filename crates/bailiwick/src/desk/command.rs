//! `bailiwick desk`: the desk by itself, for demonstrations and for trying a gateway by hand. Not listed in the help.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;

use super::{PATH, seed, serve};

/// The sample MCP server, Support desk.
#[derive(Parser)]
#[command(name = "bailiwick desk")]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The desk's SQLite file; made with sample data where there is none.
    #[arg(long)]
    database: PathBuf,
}

/// Where the bearer token stands that callers must bring: other users of a machine can read its command lines.
const SECRET: &str = "BAILIWICK_DESK_SECRET";

/// Runs the desk where the command line asks for it; `None` where it asks for something else.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    if arguments.next()? != "desk" {
        return None;
    }
    let asked = Arguments::parse_from(program.into_iter().chain(arguments));
    Some(match run(asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "bailiwick desk: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn run(asked: Arguments) -> anyhow::Result<()> {
    let secret = std::env::var(SECRET).with_context(|| format!("`{SECRET}` holds no secret"))?;
    seed(&asked.database).with_context(|| format!("`{}`", asked.database.display()))?;
    let listener = TcpListener::bind(asked.listen)
        .with_context(|| format!("cannot listen on `{}`", asked.listen))?;
    writeln!(std::io::stdout(), "http://{}{PATH}", listener.local_addr()?)?;
    let runtime = tokio::runtime::Runtime::new().context("no threads can be started")?;
    runtime.block_on(serve(listener, asked.database, secret))
}
