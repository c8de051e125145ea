//! The command line: one file a noun, each with its arguments and what it does.

mod agent;
mod approval;
mod blueprint;
mod can_i;
mod catalog;
mod config;
mod doctor;
mod grant;
mod init;
mod key;
mod keys;
mod ledger;
mod person;
mod policy;
mod profile;
mod restore;
mod serve;
mod server;
mod show;
mod stop;
mod task;
mod witness;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    client::Context,
    failure::{Failure, Result},
    output::{self, Answer, Form},
    trace::Log,
};

/// Identity governance for AI agents: who may do what, for whom, until when, and what was done.
#[derive(Parser)]
#[command(name = "bailiwick", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  bailiwick init --dir acme --org acme        make an installation
  bailiwick serve --config acme/bailiwick.toml
  bailiwick can-i pay support-desk/Refund/7 --agent support-bot --amount \"50.00 EUR\"
  bailiwick stop agent:support-bot --reason \"refunds look wrong\"

Exit statuses: 0 done or yes, 1 failed, 2 usage, 3 a clean no, 4 sign in first, 5 not permitted,
6 not found, 7 conflict, 8 waits for an approval, 9 the server cannot be reached.")]
pub(crate) struct Cli {
    /// How data is printed; `json` prints errors, too, as one document.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "table",
        env = "BAILIWICK_OUTPUT"
    )]
    pub(crate) output: Form,
    /// How events are written to stderr; text at a terminal, JSON elsewhere.
    #[arg(long, global = true, value_enum)]
    pub(crate) log: Option<Log>,
    #[command(subcommand)]
    command: Command,
}

/// A noun whose verbs ask a server.
#[derive(Args)]
struct Online<Verbs: Subcommand> {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    verb: Verbs,
}

/// A command of one word that asks a server.
#[derive(Args)]
struct Asking<Arguments: Args> {
    #[command(flatten)]
    context: Context,
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Subcommand)]
enum Command {
    /// Make an installation: configuration, keys, data folder.
    Init(init::Init),
    /// Run a node: token endpoint, admin API and gateway.
    Serve(serve::Serve),
    /// Check and explain the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Key pairs of people and agents.
    #[command(subcommand)]
    Key(key::Command),
    /// The keys of an installation.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Where the server is and who you are.
    Profile(Online<profile::Command>),
    /// Who you are to the server.
    Whoami(Context),
    /// People: enrol, add, list.
    Person(Online<person::Command>),
    /// Templates for agents.
    Blueprint(Online<blueprint::Command>),
    /// Agents and their lives.
    Agent(Online<agent::Command>),
    /// What people may do.
    Grant(Online<grant::Command>),
    /// MCP servers behind the gateway.
    Server(Online<server::Command>),
    /// What the tools of a server do.
    Catalog(Online<catalog::Command>),
    /// The policies in force.
    Policy(Online<policy::Command>),
    /// Pieces of work for agents.
    Task(Online<task::Command>),
    /// Speak plain MCP with a client that cannot prove a key, and prove it for the client.
    ///
    /// The task's token is read again when a token is due, so the next task takes over once its token lies there.
    Connect(crate::connect::Connect),
    /// Ask whether something would be permitted.
    CanI(Asking<can_i::CanI>),
    /// Requests that wait for somebody.
    Approval(Online<approval::Command>),
    /// Look at a request and say yes, signed with your key.
    Approve(Asking<approval::Approve>),
    /// Look at a request and say no, signed with your key.
    Deny(Asking<approval::Deny>),
    /// Stop a scope at once. Does not ask.
    Stop(Asking<stop::Stop>),
    /// End the stop of a scope. Needs a second person.
    Resume(Asking<stop::Resume>),
    /// The stops in force.
    Stops(Context),
    /// The record of what happened.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Check a pack of the ledger, offline. Short for `ledger verify`.
    Verify(ledger::Verify),
    Restore(restore::Restore),
    /// Witness the ledgers of others, so that they cannot be rewritten unnoticed.
    #[command(subcommand)]
    Witness(witness::Command),
    /// Look for what is wrong, or easily forgotten: here, at the node, and in what is governed.
    Doctor(Asking<doctor::Doctor>),
    /// See it all in one go: an agent at work, governed from end to end.
    Demo(crate::demo::Demo),
    /// Run the sample MCP server, Support desk, to try a gateway with.
    Desk(crate::desk::Command),
}

/// The configuration that is read when nobody names one.
const DEFAULT_CONFIG: &str = "bailiwick.toml";

/// Which configuration a command reads.
#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "BAILIWICK_CONFIG", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    /// A setting that wins over all files and the environment.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl Cli {
    /// How everything is printed, errors too.
    pub(crate) fn form(&self) -> Form {
        match &self.command {
            Command::Demo(demo) if demo.in_lines(self.output) => Form::Lines,
            _ => self.output,
        }
    }

    /// Does what was asked.
    pub(crate) async fn run(self) -> Result<Answer> {
        match self.command {
            Command::Init(command) => command.run(),
            Command::Serve(command) => command.run().await,
            Command::Config(command) => command.run(),
            Command::Key(command) => command.run(),
            Command::Keys(command) => command.run().await,
            Command::Profile(noun) => noun.verb.run(&noun.context),
            Command::Whoami(context) => profile::whoami(&context).await,
            Command::Person(noun) => noun.verb.run(&noun.context).await,
            Command::Blueprint(noun) => noun.verb.run(&noun.context).await,
            Command::Agent(noun) => noun.verb.run(&noun.context).await,
            Command::Grant(noun) => noun.verb.run(&noun.context).await,
            Command::Server(noun) => noun.verb.run(&noun.context).await,
            Command::Catalog(noun) => noun.verb.run(&noun.context).await,
            Command::Policy(noun) => noun.verb.run(&noun.context).await,
            Command::Task(noun) => noun.verb.run(&noun.context).await,
            Command::Connect(command) => command.run().await,
            Command::CanI(it) => it.arguments.run(&it.context).await,
            Command::Approval(noun) => noun.verb.run(&noun.context).await,
            Command::Approve(it) => it.arguments.run(&it.context).await,
            Command::Deny(it) => it.arguments.run(&it.context).await,
            Command::Stop(it) => it.arguments.run(&it.context).await,
            Command::Resume(it) => it.arguments.run(&it.context).await,
            Command::Stops(context) => stop::list(&context).await,
            Command::Ledger(command) => command.run().await,
            Command::Verify(command) => command.run(),
            Command::Restore(command) => command.run().await,
            Command::Witness(command) => command.run().await,
            Command::Doctor(it) => it.arguments.run(&it.context).await,
            Command::Demo(command) => command.run(self.output).await,
            Command::Desk(command) => command.run().await,
        }
    }
}

/// Asks before something that cannot be undone. Where nobody sits at a terminal, `--yes` has to be said.
fn confirm(yes: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    match output::ask(&format!("{question} [y/N]")).as_deref() {
        Some("y" | "Y" | "yes") => Ok(()),
        Some(_) => Err(Failure::new("not_confirmed", "nothing was done")
            .why("the answer was not `y`")
            .next("run it again if it was meant")),
        None => Err(Failure::new("not_confirmed", "nothing was done")
            .why("nobody sits at a terminal to be asked")
            .next("say `--yes`")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
