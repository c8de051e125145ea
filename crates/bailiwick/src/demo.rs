//! `bailiwick demo`: one agent's calls, governed from end to end, played for somebody who sees this for the first time.
//!
//! Everybody in it is a process of its own and speaks over public addresses only: a node, the sample server *Support
//! desk*, two agents with keys that never leave them, and people, who act by the command line of this same program. The
//! director starts them, tells them what to do, and holds what they answer against what the story expects. It looks into
//! the desk's own books, and reads the ledger in an administrator's session.

mod agent;
mod bot;
mod cast;
mod desk;
mod leash;
mod node;
mod order;
mod place;
mod program;
mod proof;
mod record;
mod set_up;
mod stop;
mod story;
mod tell;
mod world;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use crate::{
    failure::{Failure, Result},
    output::{self, Answer, Form},
};
use place::Place;
use tell::Teller;
use world::World;

/// Play one agent's calls, governed from end to end.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Nothing outside its own folder is read or changed. Without --keep the folder is removed at the end.")]
pub(crate) struct Demo {
    /// Print one JSON object a line: each step, and a summary last. `-o json` does the same.
    #[arg(long)]
    json: bool,
    /// Keep serving after the story, until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// Play in this folder, which must be new or empty, and keep it.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Where agents send their calls instead of to the gateway: a test puts something else in its place.
    #[arg(long, hide = true, value_name = "URL")]
    gateway_via: Option<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The processes of the demo that have no command of their own.
#[derive(Subcommand)]
enum Part {
    /// An agent that does what its standard input says.
    #[command(hide = true)]
    Agent,
    /// Runs this program so that it ends when its parent does.
    #[command(hide = true)]
    Leash(leash::Leash),
}

/// What an odd answer of a part means.
const ODD: &str = "the story has no place for that";
/// What to do when the demo itself fails.
const RERUN: &str = "run it again with `--keep DIR`, and look into `DIR/logs`";

impl Demo {
    /// Whether it tells in lines of JSON: by its own flag, or because all output is to be JSON.
    pub(crate) fn in_lines(&self, form: Form) -> bool {
        self.part.is_none() && (self.json || form != Form::Table)
    }

    pub(crate) async fn run(self, form: Form) -> Result<Answer> {
        match &self.part {
            Some(Part::Agent) => return agent::run().await,
            Some(Part::Leash(leash)) => return Err(leash.run()),
            None => {}
        }
        let mut signalled = Signalled::listen()?;
        let place = match &self.keep {
            Some(dir) => Place::kept(dir)?,
            None => Place::temporary()?,
        };
        let mut teller = Teller::new(self.in_lines(form));
        // Dropping the world ends its processes, and after them the folder goes.
        let world = tokio::select! {
            world = self.play(&place, &mut teller) => world,
            () = signalled.wait() => {
                return Err(Failure::new("interrupted", "the demo was interrupted")
                    .why("it got a signal to end")
                    .next("run it again; it leaves nothing behind unless `--keep` says so"));
            }
        };
        let world = match world {
            Ok(world) => world,
            Err(failure) => return Ok(told(&failure)),
        };
        if self.stay {
            output::talk(&world.running());
            signalled.wait().await;
        }
        if self.keep.is_some() {
            teller.note(&world.kept());
        } else if !self.stay {
            teller.note(NEXT);
        }
        world.end().await;
        Ok(teller
            .verdict()
            .map_or_else(|failure| told(&failure), |()| Answer::new(Value::Null, "")))
    }

    /// Plays the story and sums it up. An error means that it broke off.
    async fn play<'p>(&self, place: &'p Place, teller: &mut Teller) -> Result<World<'p>> {
        let began = Instant::now();
        let mut summary = Summary::default();
        let played = async {
            let mut world = World::start(place, self.gateway_via.clone(), teller).await?;
            let told = world.tell(teller).await;
            summary = std::mem::take(&mut world.summary);
            told.map(|()| world)
        };
        let played = played.await;
        if let Err(failure) = &played {
            teller.check(false, &format!("the story broke off: {}", failure.what));
        }
        let summarized = teller.summarize(&summary, began.elapsed().as_secs_f64());
        played.and_then(|world| summarized.map(|()| world))
    }
}

/// A story that did not come out. Its summary, the last line of data, has told so; only people need more words.
fn told(failure: &Failure) -> Answer {
    output::talk(&failure.text());
    Answer::new(Value::Null, "").exit(failure.exit)
}

const NEXT: &str = "
Next
  bailiwick demo --stay         keep it running, and try it yourself
  bailiwick demo --keep DIR     keep keys, ledger and the desk's books
  bailiwick init --help         an installation of your own";

/// What the story proved, for the last line.
#[derive(Default)]
pub(crate) struct Summary {
    ledger_verified: bool,
    stopped_refused: bool,
    cut_at_both_sides: bool,
    sub_agent_narrowed: bool,
    entries: u64,
}

impl Summary {
    fn document(&self, steps: usize, failed: &[String], seconds: f64) -> Value {
        json!({ "summary": {
            "ledger_verified": self.ledger_verified,
            "stopped_refused": self.stopped_refused,
            "cut_at_both_sides": self.cut_at_both_sides,
            "sub_agent_narrowed": self.sub_agent_narrowed,
            "entries": self.entries,
            "steps": steps,
            "failed": failed,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        }})
    }
}

/// SIGINT and SIGTERM.
struct Signalled {
    interrupt: Signal,
    terminate: Signal,
}

impl Signalled {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new("no_signals", "signals cannot be received").because(&error).next(RERUN)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
