//! How a governance change comes into force: stored with its record, the record moved into the ledger, the row read back.
//!
//! Someone who can write to the database cannot grant a right: a row counts only when the ledger holds its digest, and a
//! record is moved into the ledger only when this program signed it.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use model::{ActionId, ApprovalId, Digest, EntryId, IdentityId, Timestamp};
use store::{
    Change, ClaimError, Expect, Governed as Object, ObjectVersion, OutboxRow, PutError, RawRow,
    Row, Tx,
};

use crate::{
    accounts::{AccountRecord, AccountState},
    allow::Allowed,
    authenticate::Caller,
    directory::Admission,
    engine::{Engine, to_the_end},
    entries::{self, Governed},
    records::{
        AgentRecord, ApprovalRecord, BlueprintRecord, GrantRecord, PersonRecord, ServerRecord,
        StopRecord, ToolRecord,
    },
    waiting::Waiting,
};

/// How many rows are moved or read at a time.
const BATCH: u32 = 256;
/// How long a change may take until it is in force before its maker is told to look again.
const IN_FORCE_BOUND: Duration = Duration::from_secs(5);
/// Bytes of the signature before an outbox row's text.
const SIGNATURE: usize = 32;

/// A change that is stored and not in force, or not known to be.
#[derive(Debug, thiserror::Error)]
pub enum NotInForce {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The ledger does not take the record; what narrows is in force, what widens waits.
    #[error("the ledger cannot record the change, so it is not in force: {0}")]
    Ledger(String),
    /// A record in the outbox was not written by this program.
    #[error(
        "the outbox holds an entry that this program did not write (`{0}`): look who can write to the database"
    )]
    Forged(EntryId),
    /// The ledger does not hold it, or the feed did not bring it.
    #[error(
        "{0} was stored, but its record or its row is gone: look who can write to the database"
    )]
    Missing(String),
    /// It takes too long.
    #[error("the change is stored but not in force yet; look again in a few seconds")]
    Slow,
}

/// A row that somebody else wrote, or that is older than its ledger entry.
#[derive(Debug, thiserror::Error)]
#[error("the {kind} `{key}` differs from its ledger entry: restore it before it is changed")]
struct NotGenuine {
    kind: &'static str,
    key: String,
}

/// Who changes governance, and by which decision.
#[derive(Debug, Clone)]
struct Origin {
    at: Timestamp,
    action: Option<ActionId>,
    approval: Option<ApprovalId>,
    parents: Vec<Digest>,
    person: Option<IdentityId>,
}

/// A transaction over governance objects: every change of an object is recorded with it.
pub struct Changes<'a, 'tx> {
    tx: &'a mut Tx<'tx>,
    engine: &'a Engine,
    origin: &'a Origin,
    /// The first of the ids drawn for this change; the n-th object takes the n-th. A second run writes the same.
    first: EntryId,
    changed: Vec<Changed>,
}

/// One object that a transaction stored.
#[derive(Debug, Clone)]
struct Changed {
    kind: &'static str,
    key: String,
    version: u64,
    digest: Digest,
    /// As its maker said it, whatever the store says of it.
    widens: bool,
}

impl Changes<'_, '_> {
    /// The object as it is stored.
    ///
    /// # Errors
    /// The store fails, or the row is not what its ledger entry says: then nothing is built on it.
    pub fn get<T: Object>(&mut self, key: &str) -> Result<Option<Row<T>>, store::Error> {
        let row: Option<Row<T>> = self.tx.get(key)?;
        let genuine = |row: &Row<T>| {
            row.intact
                && self.engine.directory.seals.is_genuine(T::KIND, key, row.version, row.digest)
        };
        match row {
            Some(row) if !genuine(&row) => {
                let tampered = NotGenuine { kind: T::KIND, key: key.to_owned() };
                Err(store::Error::Corrupt(Arc::new(tampered)))
            }
            row => Ok(row),
        }
    }

    /// Stores an object with its record. `widens` says whether any right grows by it: then it waits for its entry.
    ///
    /// # Errors
    /// Somebody else changed the object first, or the store fails.
    pub fn put<T: Object>(
        &mut self,
        value: &T,
        expect: Expect,
        widens: bool,
    ) -> Result<(), PutError> {
        let offset = self.changed.len() as u128;
        let entry = EntryId::from_bits(self.first.bits() ^ offset);
        let put = self.tx.put(value, expect, Change { entry, widens })?;
        let key = value.key();
        let waiting = Waiting {
            at: self.origin.at,
            action: self.origin.action,
            approval: self.origin.approval,
            parents: self.origin.parents.clone(),
            person: self.origin.person.clone(),
            body: Governed {
                widens,
                object: T::KIND.to_owned(),
                key: key.clone(),
                version: put.version,
                digest: put.digest,
            },
            content: entries::to_json(value),
        };
        self.tx.enqueue(OutboxRow {
            entry,
            object: Some(ObjectVersion {
                kind: T::KIND.to_owned(),
                key: key.clone(),
                version: put.version,
            }),
            draft: self.engine.signed(entry, &waiting),
            takes_away: !widens,
        })?;
        let (version, digest) = (put.version, put.digest);
        self.changed.push(Changed { kind: T::KIND, key, version, digest, widens });
        Ok(())
    }

    /// Claims a value for one owner, for example a key's thumbprint.
    ///
    /// # Errors
    /// Somebody else has it, or the store fails.
    pub fn claim(&mut self, kind: &str, value: &str, owner: &str) -> Result<(), ClaimError> {
        self.tx.claim(kind, value, owner)
    }

    /// Who has claimed a value.
    ///
    /// # Errors
    /// The store fails.
    pub fn claimed(&mut self, kind: &str, value: &str) -> Result<Option<String>, store::Error> {
        self.tx.claimed(kind, value)
    }

    /// Keeps sealed bytes under a key, in place of what was there.
    ///
    /// # Errors
    /// They are too long, or the store fails.
    pub fn keep_sealed(&mut self, key: &str, bytes: &[u8]) -> Result<(), store::Error> {
        self.tx.keep_sealed(key, bytes)
    }

    /// What is kept sealed under a key.
    ///
    /// # Errors
    /// The store fails.
    pub fn sealed(&mut self, key: &str) -> Result<Option<Vec<u8>>, store::Error> {
        self.tx.sealed_bytes(key)
    }

    /// Drops what is kept sealed under a key.
    ///
    /// # Errors
    /// The store fails.
    pub fn drop_sealed(&mut self, key: &str) -> Result<(), store::Error> {
        self.tx.drop_sealed(key)
    }

    /// When the change is made.
    pub fn at(&self) -> Timestamp {
        self.origin.at
    }
}

impl Engine {
    /// Makes a change that was allowed, and returns when it is in force.
    ///
    /// What narrows is in force at once, whatever the ledger does; what widens waits for its entry.
    ///
    /// # Errors
    /// The closure's own; [`NotInForce`] when the change is stored and not in force yet.
    pub async fn change<A, T, E>(
        self: &Arc<Self>,
        allowed: &Allowed<A>,
        change: impl FnMut(&mut Changes<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<store::Error> + From<NotInForce> + Send + 'static,
    {
        let origin = Origin {
            at: self.context.now(),
            action: Some(allowed.action()),
            approval: allowed.approval(),
            parents: vec![allowed.decision()],
            person: Some(allowed.caller().person.clone()),
        };
        self.change_by(origin, change).await
    }

    /// Enrols the first administrator: the one change that nobody could have allowed. It is refused once there is a
    /// person.
    ///
    /// # Errors
    /// The closure's own, or [`NotInForce`].
    pub async fn bootstrap<T, E>(
        self: &Arc<Self>,
        change: impl FnMut(&mut Changes<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<store::Error> + From<NotInForce> + Send + 'static,
    {
        let origin = Origin {
            at: self.context.now(),
            action: None,
            approval: None,
            parents: Vec::new(),
            person: None,
        };
        self.change_by(origin, change).await
    }

    /// Stores a change that no person asked for. It must only take away.
    pub(crate) async fn change_unasked<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnMut(&mut Changes<'_, '_>) -> Result<T, NotInForce> + Send + 'static,
    ) -> Result<T, NotInForce> {
        let at = self.context.now();
        let origin = Origin { at, action: None, approval: None, parents: Vec::new(), person: None };
        self.change_by(origin, change).await
    }

    async fn change_by<T, E>(
        self: &Arc<Self>,
        origin: Origin,
        change: impl FnMut(&mut Changes<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<store::Error> + From<NotInForce> + Send + 'static,
    {
        let engine = self.clone();
        to_the_end(async move {
            let (value, changed) = engine.store_change(origin, change).await?;
            engine.come_into_force(&changed).await?;
            Ok(value)
        })
        .await
    }

    /// Stores a change with its record; what narrows by it is in force when this returns.
    async fn store_change<T, E>(
        self: &Arc<Self>,
        origin: Origin,
        mut change: impl FnMut(&mut Changes<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<(T, Vec<Changed>), E>
    where
        T: Send + 'static,
        E: From<store::Error> + Send + 'static,
    {
        let first = self.context.id();
        let engine = self.clone();
        let stored = self.store.write(move |tx| {
            let mut changes =
                Changes { tx, engine: &engine, origin: &origin, first, changed: Vec::new() };
            let value = change(&mut changes)?;
            Ok::<_, E>((value, changes.changed))
        });
        let (value, changed) = stored.await?;
        self.narrow_now(&changed).await?;
        Ok((value, changed))
    }

    /// Waits until the ledger holds a change and the feed has brought it back.
    async fn come_into_force(self: &Arc<Self>, changed: &[Changed]) -> Result<(), NotInForce> {
        let in_force = async {
            self.move_outbox().await?;
            self.read_feed().await
        };
        match tokio::time::timeout(IN_FORCE_BOUND, in_force).await {
            Ok(Ok(())) => self.in_force(changed),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(NotInForce::Slow),
        }
    }

    /// Puts what this process just stored and what narrows in force, before anything waits for the ledger. A row that is
    /// not what was stored is somebody else's, and left to the feed.
    async fn narrow_now(self: &Arc<Self>, changed: &[Changed]) -> Result<(), store::Error> {
        for one in changed {
            self.directory.seals.stored(one.kind, &one.key, one.version, one.digest);
        }
        let keys = changed.to_vec();
        let rows = self.store.read(move |view| {
            keys.iter()
                .map(|one| view.object(one.kind, &one.key))
                .collect::<Result<Vec<_>, store::Error>>()
        });
        for (row, one) in rows.await?.into_iter().zip(changed) {
            let Some(row) =
                row.filter(|row| row.version == one.version && row.digest == one.digest)
            else {
                continue;
            };
            if !one.widens {
                self.directory.admit_own(&row);
                self.cut_narrowed(&row);
            }
        }
        self.directory.settle();
        self.verified.clear();
        Ok(())
    }

    /// Cuts the calls on their way that stand on what was just narrowed: they were dispatched by a right that is gone.
    fn cut_narrowed(&self, row: &RawRow) {
        let holder = serde_json::from_str::<GrantRecord>(&row.body).ok().map(|grant| grant.holder);
        // Of an account that is lost nobody took anything back: the call that found it so tells why itself.
        let taken_back = serde_json::from_str::<AccountRecord>(&row.body).ok();
        let taken_back = taken_back.filter(|account| account.state != AccountState::Lost);
        self.stops.cut_where(|touches| match row.kind.as_str() {
            AgentRecord::KIND => touches
                .agents
                .iter()
                .any(|agent| row.key.strip_prefix("agent/") == Some(agent.name.as_str())),
            PersonRecord::KIND => {
                touches.person.as_ref().is_some_and(|person| person.to_string() == row.key)
            }
            GrantRecord::KIND => holder.is_some() && touches.person == holder,
            BlueprintRecord::KIND => {
                touches.agents.iter().any(|agent| agent.blueprint.as_str() == row.key)
            }
            ServerRecord::KIND => {
                touches.system.as_ref().is_some_and(|system| row.key == system.as_str())
            }
            AccountRecord::KIND => taken_back.as_ref().is_some_and(|account| {
                touches.system.as_ref() == Some(&account.server)
                    && touches.person.as_ref() == Some(&account.person)
            }),
            ToolRecord::KIND => row.key.split_once('/').is_some_and(|(system, tool)| {
                touches.system.as_ref().is_some_and(|called| called.as_str() == system)
                    && touches.tool.as_deref() == Some(tool)
            }),
            _ => false,
        });
    }

    /// Whether all of a change is in force here. What the store answers is not believed so far: a record could have been
    /// taken out of the outbox, or a row out of the feed.
    fn in_force(&self, changed: &[Changed]) -> Result<(), NotInForce> {
        let missing = changed.iter().find(|one| {
            !self.directory.seals.is_applied(one.kind, &one.key, one.version, one.digest)
                || !self.directory.seals.is_sealed(one.kind, &one.key, one.version)
        });
        match missing {
            None => Ok(()),
            Some(one) => Err(NotInForce::Missing(format!("{} `{}`", one.kind, one.key))),
        }
    }

    /// Moves what waits in the outbox into the ledger, each entry once, in order.
    ///
    /// Nobody's leaving ends it in between: an entry that is on its way to the disk cannot be told from one that is not
    /// in the ledger, and would be appended again.
    pub(crate) async fn move_outbox(self: &Arc<Self>) -> Result<(), NotInForce> {
        let engine = self.clone();
        to_the_end(async move { engine.move_all().await }).await
    }

    async fn move_all(&self) -> Result<(), NotInForce> {
        let _turn = self.moving.lock().await;
        loop {
            let rows = self.store.read(|view| view.outbox(BATCH)).await?;
            if rows.is_empty() {
                return Ok(());
            }
            // All new ones by one sync; a row that is not ours is found below.
            let waiting = rows.iter().filter_map(|row| self.own(row));
            let wanted = waiting.map(|waiting| waiting.whose());
            self.keys_at_hand(wanted).await.map_err(|why| NotInForce::Ledger(why.to_string()))?;
            let mut sealed = Vec::with_capacity(rows.len());
            for row in &rows {
                sealed.push((row.entry, self.append_row(row).await?));
            }
            self.store
                .write(move |tx| {
                    sealed.iter().try_for_each(|(entry, receipt)| {
                        tx.sealed(*entry, receipt.index, receipt.hash)
                    })
                })
                .await?;
        }
    }

    async fn append_row(&self, row: &OutboxRow) -> Result<ledger::Receipt, NotInForce> {
        let waiting = self.own(row).ok_or(NotInForce::Forged(row.entry))?;
        let body = waiting.body.clone();
        let receipt = match self.log.position_of(row.entry) {
            Some(receipt) => receipt,
            None => {
                let unavailable = |why: String| NotInForce::Ledger(why);
                let sealed = self
                    .log
                    .seal(waiting.into_draft(row.entry))
                    .map_err(|why| unavailable(why.to_string()))?;
                self.log.append(sealed).await.map_err(|why| unavailable(why.to_string()))?
            }
        };
        self.directory.seals.sealed(&body.object, &body.key, body.version, body.digest);
        Ok(receipt)
    }

    /// Reads the change feed to its end and renews the lease from when the last request was sent.
    pub(crate) async fn read_feed(&self) -> Result<(), NotInForce> {
        let _turn = self.reading.lock().await;
        loop {
            let sent = self.context.clock.monotonic();
            let rows = self.store.changes(self.directory.seen(), BATCH).await?;
            for row in &rows {
                match self.directory.admit(row) {
                    Admission::InForce if row.kind == StopRecord::KIND => self.merge_stop(row),
                    Admission::InForce if row.widens => {}
                    // Also when whoever narrowed it went away before they could, or did it on another node.
                    Admission::InForce | Admission::Tampered => self.cut_narrowed(row),
                    Admission::Pending => {}
                }
            }
            if !rows.is_empty() {
                self.verified.clear();
            }
            if rows.len() < BATCH as usize {
                self.directory.settle();
                self.point.renew(sent);
                return Ok(());
            }
        }
    }

    /// A stop that another node was given, or that only the store still knows.
    fn merge_stop(&self, row: &RawRow) {
        match serde_json::from_str::<StopRecord>(&row.body) {
            Ok(StopRecord { order, resumed: true }) => self.stops.resume(order.id),
            Ok(StopRecord { order, resumed: false }) => drop(self.stops.order(&order)),
            Err(why) => tracing::error!(code = "BW-1402", %why, "a stored stop cannot be read"),
        }
    }

    /// Writes a stop to the store, for other nodes. It is in force here whatever becomes of this.
    pub(crate) async fn store_stop(
        self: &Arc<Self>,
        person: IdentityId,
        record: StopRecord,
    ) -> Result<(), NotInForce> {
        let (at, widens) = (self.context.now(), record.resumed);
        let origin =
            Origin { at, action: None, approval: None, parents: Vec::new(), person: Some(person) };
        self.change_by(origin, move |changes| match changes.put(&record, Expect::Any, widens) {
            Ok(()) | Err(PutError::Exists { .. } | PutError::Stale { .. }) => Ok(()),
            Err(PutError::Store(why)) => Err(why.into()),
        })
        .await
    }

    /// Stores a request for approval. It grants nothing, so nobody has to allow it, and nobody waits for its record: what
    /// lifts a hold by it, its answers, does.
    pub(crate) async fn ask_for_approval(
        self: &Arc<Self>,
        caller: &Caller,
        record: ApprovalRecord,
    ) -> Result<(), NotInForce> {
        let origin = Origin {
            at: record.asked,
            action: Some(record.action),
            approval: Some(record.id),
            parents: vec![caller.claims.entry],
            person: Some(caller.person.clone()),
        };
        let ask =
            move |changes: &mut Changes<'_, '_>| match changes.put(&record, Expect::New, false) {
                Ok(()) | Err(PutError::Exists { .. } | PutError::Stale { .. }) => {
                    Ok::<(), NotInForce>(())
                }
                Err(PutError::Store(why)) => Err(why.into()),
            };
        let engine = self.clone();
        to_the_end(async move { engine.store_change(origin, ask).await.map(|_| ()) }).await
    }

    /// A record for the outbox, signed so that it can be told from one that somebody else put there.
    fn signed(&self, entry: EntryId, waiting: &Waiting) -> Vec<u8> {
        let text = entries::to_json(waiting).canonical();
        let mut signed = self.outbox_signature(entry, &text).to_vec();
        signed.extend_from_slice(&text);
        signed
    }

    fn own(&self, row: &OutboxRow) -> Option<Waiting> {
        let (signature, text) = row.draft.split_at_checked(SIGNATURE)?;
        verify_slices_are_equal(signature, &self.outbox_signature(row.entry, text)).ok()?;
        serde_json::from_slice(text).ok()
    }

    fn outbox_signature(&self, entry: EntryId, text: &[u8]) -> [u8; SIGNATURE] {
        self.blind(b"outbox", &[&entry.bits().to_be_bytes(), text].concat())
    }
}
