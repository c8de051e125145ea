//! The ledger's heads, given to witnesses. No call waits for it: what they have not cosigned yet is shown later.

mod gathering;
mod place;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use ledger::{Checkpoint, HeadFile, Log, Tiles, TlogPolicy, VerifierKey};
use server::Witnessed;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::{
    gathering::{Gathering, Given},
    place::{Place, client},
};
use crate::{
    client::now,
    config::Config,
    failure::{Failure, Result, chain},
    told::Told,
    witness::read_policy,
};

/// How often the head is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Whoever cosigns this ledger's heads.
pub(super) struct Witnesses {
    log: Log,
    key: VerifierKey,
    dir: PathBuf,
    policy: TlogPolicy,
    /// Those that are not asked just now.
    idle: Vec<Place>,
    told: Told,
    /// What is known of them, for whoever shows heads or counts.
    pub(super) state: Arc<Witnessed>,
}

impl Witnesses {
    /// What the configuration says; `None` where it names no witnesses.
    pub(super) fn of(config: &Config, log: &Log) -> Result<Option<Self>> {
        let Some(file) = &config.witnesses else { return Ok(None) };
        let all = Self::new(read_policy(file)?, log, config.ledger_dir());
        all.map(Some).map_err(|why| {
            Failure::new(
                "witnesses_unusable",
                format!("`{}` does not fit this node", file.display()),
            )
            .why(why)
            .next("correct the file, or take `ledger.witnesses` out of the configuration")
        })
    }

    /// Those of a policy, for the log in `dir`; or why it does not fit.
    fn new(policy: TlogPolicy, log: &Log, dir: PathBuf) -> std::result::Result<Self, String> {
        let key: VerifierKey = log.verifier_key().parse().map_err(|error| chain(&error))?;
        if !policy.accepts(&key) {
            return Err(format!(
                "it lists logs, and `{}` with its key is not among them",
                key.name()
            ));
        }
        if !policy.wants_witnesses() {
            return Err("its quorum is `none`: nobody would have to witness a head".to_owned());
        }
        let (outbound, state) = (client(), Arc::new(Witnessed::default()));
        let places = policy.witnesses().iter().enumerate();
        let idle = places.map(|(at, witness)| {
            let place = Place::of(at, witness, &outbound, state.clone());
            place.map_err(|why| format!("`{}`: {why}", witness.key.name()))
        });
        let idle = idle.collect::<std::result::Result<Vec<_>, _>>()?;
        let log = log.clone();
        let mut all = Self { log, key, dir, policy, idle, told: Told::default(), state };
        all.remember();
        Ok(all)
    }

    /// Takes up what an earlier run has kept: who had cosigned it, and whether it may be shown still.
    fn remember(&mut self) {
        let Ok(kept) = std::fs::read(self.dir.join(HeadFile::Witnessed.name())) else { return };
        let Ok(head) = self.key.open(&kept) else {
            let why = "it is no head of this ledger";
            return tracing::error!(code = "BW-1709", why, "the kept witnessed head is not shown");
        };
        for place in &mut self.idle {
            place.remember(&kept, head.size);
        }
        match self.holds(&kept, &head) {
            Ok(()) => self.state.entries.store(head.size, Ordering::Relaxed),
            Err(why) => {
                let size = head.size;
                tracing::error!(
                    code = "BW-1709",
                    size,
                    why,
                    "the kept witnessed head is not shown"
                );
            }
        }
    }

    /// Whether a head is witnessed as the present policy wants it, and the ledger begins with it.
    fn holds(&self, kept: &[u8], head: &Checkpoint) -> std::result::Result<(), String> {
        self.policy.check(&self.key, kept, now()).map_err(|why| chain(&why))?;
        let newest = self.log.head();
        if head.size > newest.size {
            return Err(format!("the ledger has {} entries only", newest.size));
        }
        let own = Tiles::new(&self.dir, newest.size).first(head.size);
        match own.map_err(|why| chain(&why))?.root == head.root {
            true => Ok(()),
            false => Err("the ledger does not begin with it".to_owned()),
        }
    }

    /// Gives heads to all of them at once, until the node stops. Each answers when it does: a head is shown as soon as
    /// enough have cosigned it.
    pub(super) async fn run(mut self, stopping: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = FuturesUnordered::new();
        let mut gathering: Option<Gathering> = None;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = looks.tick() => {
                    self.turn(&mut gathering).await;
                    let Some(present) = &gathering else { continue };
                    let (given, at) = (&present.given, Instant::now());
                    for place in self.idle.extract_if(.., |place| place.is_due(given, at)) {
                        asked.push(place.ask(given.clone(), self.dir.clone()));
                    }
                }
                Some((place, given, line)) = asked.next() => {
                    if let (Some(present), Some(line)) = (&mut gathering, line)
                        && Arc::ptr_eq(&present.given, &given)
                    {
                        present.add(place.at(), line);
                        self.keep(present).await;
                    }
                    self.idle.push(place);
                }
            }
        }
    }

    /// Goes on to the newest head, where it is time for it.
    async fn turn(&self, gathering: &mut Option<Gathering>) {
        let at = Instant::now();
        if gathering.as_ref().is_some_and(|present| !present.is_over(at)) {
            return;
        }
        // There is none before the first publication.
        let Ok(note) = tokio::fs::read(self.dir.join(HeadFile::Newest.name())).await else {
            return;
        };
        let Some(given) = Given::of(note, self.log.head().size) else { return };
        if gathering.as_ref().is_none_or(|present| present.given.note != given.note) {
            *gathering = Some(Gathering::new(given, self.policy.witnesses().len(), at));
        }
    }

    /// Keeps a head with the lines that it has so far, if they are enough.
    async fn keep(&mut self, present: &mut Gathering) {
        let cosigned = present.cosigned().into_bytes();
        if self.policy.check(&self.key, &cosigned, now()).is_err() {
            return;
        }
        let log = self.log.clone();
        let kept = tokio::task::spawn_blocking(move || log.keep_witnessed(&cosigned)).await;
        match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => {
                present.is_kept = true;
                self.state.entries.store(present.given.head.size, Ordering::Relaxed);
            }
            Err(why) if self.told.may("not kept", Instant::now()) => {
                tracing::error!(code = "BW-1705", %why, "a witnessed head could not be kept");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
