//! A small organization on one node: people, agents, a desk with tools, policies, and real tokens for all of them.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use ledger::{Appending, CheckpointKey, Config, Draft, Entry, KeyStore, Keys, Log, Media};
use model::{ApprovalId, Digest, IdentityId, Money, Realm, TaskId, Timestamp, Verb, ijson::Json};
use store::{Expect, Store, SubjectKeyBook, Target};
use tempfile::TempDir;
use token::{
    Keyring, MasterKey, assertion,
    dpop::{Nonces, Prover, Request},
};

use super::{
    cast::{
        DESK, POLICIES, START, agent, agent_id, authority, blueprint, desk, effect, grant, json,
        person, person_id, signing_key, tool, version,
    },
    fragile::{Faults, Fragile},
};
use crate::{
    Act, ApprovalAnswer, Attempt, BlueprintRecord, Caller, Changes, Clock, Context, Engine,
    Exchange, Issued, Issuer, NotInForce, OpenTask, Parts, Permit, PersonRecord, PolicyFile,
    PolicySetRecord, Presented, Refusal, Retention, StartError, Stops, TokenRefused,
};

pub(super) const ISSUER: &str = "http://127.0.0.1:9";
pub(super) const ADMIN: &str = "http://127.0.0.1:9/v1";
/// A governance act of no consequence, with the verb and target that a test wants.
#[derive(Debug, Clone)]
pub(super) struct Deed(pub(super) Verb, pub(super) &'static str);

impl Act for Deed {
    fn verb(&self) -> Verb {
        self.0
    }
    fn target(&self) -> (&'static str, String) {
        (self.1, "x".to_owned())
    }
    fn shown(&self) -> Json {
        Json::String("a deed".to_owned())
    }
}

/// As a node has it when nobody says.
const RETENTION: Retention =
    Retention { calls: Some(400), prompts: Some(400), approvals: Some(400), governance: None };

/// How long a segment of the write-ahead log is, in bytes.
const SEGMENT: u64 = 2 * 1024 * 1024;

pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) faults: Arc<Faults>,
    pub(super) directory: TempDir,
    clock: Clock,
    count: AtomicU64,
}

/// Keys that are the same in every run of a world, so that a restart knows them.
fn master() -> MasterKey {
    MasterKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

impl World {
    /// Boots the organization.
    pub(super) async fn new() -> Self {
        let world = Self::empty(Target::Memory).await;
        world.found().await;
        world
    }

    /// The same, with room in the ledger for when the disk is full: two segments, once they are there.
    pub(super) async fn sparing() -> Self {
        let world = Self::begin(Target::Memory, 2 * SEGMENT).await;
        world.found().await;
        world
    }

    pub(super) async fn empty(target: Target) -> Self {
        Self::begin(target, 0).await
    }

    async fn begin(target: Target, reserve: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_millis(START));
        let faults = Arc::<Faults>::default();
        let engine = boot(&directory, &clock, &faults, &target, reserve).await.unwrap();
        Self { engine, faults, directory, clock, count: AtomicU64::new(0) }
    }

    /// Ends the node and starts it again on the same files.
    pub(super) async fn restart(self, target: &Target) -> Self {
        self.try_restart(target).await.unwrap()
    }

    /// The same, where the node may have a reason not to start.
    pub(super) async fn try_restart(self, target: &Target) -> Result<Self, StartError> {
        let Self { engine, directory, clock, count, .. } = self;
        // What still writes to the store in the background ends first: files have one owner at a time.
        while Arc::strong_count(&engine) > 1 {
            tokio::task::yield_now().await;
        }
        engine.log.close().ok();
        drop(engine);
        let faults = Arc::<Faults>::default();
        let engine = boot(&directory, &clock, &faults, target, 0).await?;
        Ok(Self { engine, faults, directory, clock, count })
    }

    /// People, blueprints, agents, the desk and its tools, policies, grants.
    pub(super) async fn found(&self) {
        let people = [("olivia", "administrator"), ("lena", "support"), ("max", "finance")];
        let persons: Vec<PersonRecord> =
            people.iter().map(|(name, team)| person(name, team)).collect();
        let blueprints = [
            ("support", "lookup", DESK),
            ("lookup", "none", &[(&[Verb::Read] as &[Verb], "desk/*/*")]),
        ];
        let blueprints: Vec<BlueprintRecord> = blueprints
            .iter()
            .map(|(name, child, clauses)| blueprint(name, child, clauses))
            .collect();
        let agents = [agent("support-bot", "support"), agent("lookup", "lookup")];
        let text = r#""order":{"type":"string"}"#;
        let tools = [
            tool(
                "get_order",
                vec![effect(Verb::Read, "Order", "args.order", false, &["pii"])],
                text,
            ),
            tool(
                "refund",
                vec![effect(Verb::Pay, "Refund", "args.order", true, &["financial"])],
                r#""order":{"type":"string"},"amount":{}"#,
            ),
            tool("export", vec![effect(Verb::Export, "Customers", "'all'", false, &["pii"])], ""),
        ];
        let (grant, server) = (grant("lena-desk", "lena", authority(DESK, 4)), desk());
        self.put(move |changes| {
            persons.iter().try_for_each(|one| changes.put(one, Expect::New, true))?;
            blueprints.iter().try_for_each(|one| changes.put(one, Expect::New, true))?;
            agents.iter().try_for_each(|one| changes.put(one, Expect::New, true))?;
            changes.put(&server, Expect::New, true)?;
            tools.iter().try_for_each(|one| changes.put(one, Expect::New, true))?;
            changes.put(&grant, Expect::New, true)
        })
        .await;
        self.apply(POLICIES).await;
    }

    pub(super) async fn apply(&self, text: &str) {
        let record = PolicySetRecord {
            sources: vec![PolicyFile { name: "desk.cedar".to_owned(), text: text.to_owned() }],
            kinds: std::collections::BTreeSet::new(),
        };
        self.put(move |changes| changes.put(&record, Expect::Any, true)).await;
    }

    /// Stores records as nobody in particular; what people may do is another test's business.
    pub(super) async fn put(
        &self,
        change: impl FnMut(&mut Changes<'_, '_>) -> Result<(), store::PutError> + Send + 'static,
    ) {
        self.try_put(change).await.unwrap();
    }

    /// The same, where something may keep the change from coming into force.
    pub(super) async fn try_put(
        &self,
        mut change: impl FnMut(&mut Changes<'_, '_>) -> Result<(), store::PutError> + Send + 'static,
    ) -> Result<(), Failed> {
        self.engine.bootstrap(move |changes| Ok(change(changes)?)).await
    }

    pub(super) fn tick(&self, millis: i64) {
        self.clock.advance(millis);
    }

    /// Lets the feed renew the lease after the clock moved.
    pub(super) async fn refresh(&self) {
        self.engine.read_feed().await.unwrap();
    }

    pub(super) fn unique(&self) -> String {
        format!("id-{}", self.count.fetch_add(1, Ordering::SeqCst))
    }

    fn proof(&self, who: &str, url: &str, token: Option<&str>) -> String {
        let request = Request { method: "POST", url, access_token: token.map(Into::into) };
        let nonce = self.engine.nonce().unwrap();
        prover(who)
            .prove(&request, Some(&nonce), self.engine.context.now(), &self.unique())
            .unwrap()
    }

    pub(super) fn assertion(&self, id: &IdentityId, version: Option<Digest>) -> String {
        let draft = assertion::Draft {
            client: &self.engine.context.realm.uri(id),
            audience: ISSUER,
            now: self.engine.context.now(),
            life_seconds: 60,
            jti: &self.unique(),
            version,
        };
        assertion::create(&signing_key(id.name().as_str()), &draft).unwrap()
    }

    /// A person's own session.
    pub(super) async fn session(&self, name: &str) -> Arc<Caller> {
        let issued = self.try_session(&person_id(name)).await.unwrap();
        self.believed(name, &issued)
    }

    /// What somebody gets who asks for a person's own session.
    pub(super) async fn try_session(&self, id: &IdentityId) -> Result<Issued, TokenRefused> {
        let assertion = self.assertion(id, None);
        let proof = self.proof(id.name().as_str(), &self.engine.issuer.token_endpoint, None);
        self.engine.open_session(&assertion, &proof).await
    }

    pub(super) fn believed(&self, who: &str, issued: &Issued) -> Arc<Caller> {
        let proof = self.proof(who, &issued.audience, Some(&issued.access_token));
        self.engine
            .authenticate(Presented {
                authorization: Some(&format!("DPoP {}", issued.access_token)),
                proof: Some(&proof),
                method: "POST",
                url: &issued.audience,
                audience: &issued.audience,
                may_be_unbound: false,
            })
            .unwrap()
    }

    /// Lena opens a task for support-bot: the task and the token to hand over.
    pub(super) async fn task(&self, budget: Option<Money>) -> (TaskId, String) {
        let lena = self.session("lena").await;
        let allowed = self.engine.allow(&lena, Self::wish(budget)).await.unwrap();
        let opened = self.engine.open_task(&allowed).await.unwrap();
        (opened.task, opened.token.access_token)
    }

    /// A task for support-bot.
    pub(super) fn wish(budget: Option<Money>) -> OpenTask {
        OpenTask {
            agent: agent_id("support-bot"),
            purpose: "support".to_owned(),
            intent: "help a customer".to_owned(),
            prompt: "please help".to_owned(),
            authority: None,
            budget,
            seconds: 600,
        }
    }

    /// An exchange by an agent with everything in order, changed as the test wants it.
    pub(super) async fn exchange(
        &self,
        agent: &str,
        subject: &str,
        change: impl FnOnce(&mut Exchange<'_>),
    ) -> Result<Issued, TokenRefused> {
        let assertion = self.assertion(&agent_id(agent), Some(version()));
        let proof = self.proof(agent, &self.engine.issuer.token_endpoint, None);
        let mut request = Exchange {
            client_assertion: &assertion,
            subject_token: subject,
            proof: Some(&proof),
            audience: None,
            resource: None,
            authority: None,
            requested_actor: None,
        };
        change(&mut request);
        self.engine.exchange(&request).await
    }

    /// support-bot, working for Lena with a budget.
    pub(super) async fn bot(&self, budget: Option<Money>) -> Arc<Caller> {
        let (_, subject) = self.task(budget).await;
        let issued = self.exchange("support-bot", &subject, |_| ()).await.unwrap();
        self.believed("support-bot", &issued)
    }

    /// lookup below support-bot, in the task of `subject`.
    pub(super) async fn lookup(&self, subject: &str) -> Arc<Caller> {
        let child = self.engine.context.realm.uri(&agent_id("lookup"));
        let narrow = authority(&[(&[Verb::Read], "desk/Order/*")], 1);
        let handed = self
            .exchange("support-bot", subject, |request| {
                request.requested_actor = Some(Box::leak(child.into_boxed_str()));
                request.authority = Some(narrow);
            })
            .await
            .unwrap();
        let issued = self.exchange("lookup", &handed.access_token, |_| ()).await.unwrap();
        self.believed("lookup", &issued)
    }

    pub(super) async fn attempt(
        &self,
        caller: &Arc<Caller>,
        tool: &str,
        arguments: &str,
    ) -> Result<Permit, Refusal> {
        let attempt = Attempt {
            action: self.engine.context.id(),
            caller: caller.clone(),
            system: "desk".parse().unwrap(),
            tool: tool.to_owned(),
            arguments: json(arguments),
            inputs: None,
        };
        self.engine.attempt(attempt).await
    }

    /// `permit`, or the verdict, code and reason of a refusal.
    pub(super) async fn verdict(
        &self,
        caller: &Arc<Caller>,
        tool: &str,
        arguments: &str,
    ) -> String {
        match self.attempt(caller, tool, arguments).await {
            Ok(permit) => {
                let dispatch = permit.dispatch().unwrap();
                dispatch.settle(crate::Ending::Completed, None).await.unwrap();
                "permit".to_owned()
            }
            Err(refusal) => {
                format!("{} {}: {}", refusal.verdict(), refusal.code.text(), refusal.reason)
            }
        }
    }

    /// What a person answers to a request for approval, as it is in force afterwards.
    pub(super) async fn answer(&self, id: ApprovalId, by: &str, team: &str, approve: bool) {
        let mut record = (*self.engine.directory.approval(id).unwrap()).clone();
        record.answers.push(ApprovalAnswer {
            reason: None,
            by: person_id(by),
            approve,
            proof: String::new(),
            teams: vec![team.parse().unwrap()],
            at: self.engine.context.now(),
            entry: self.engine.context.id(),
        });
        self.put(move |changes| changes.put(&record, Expect::Any, true)).await;
    }

    /// How the ledger tells it: kind and verdict of each entry about an attempt, in order.
    pub(super) async fn recorded(&self) -> Vec<String> {
        let entries = self.entries().await.into_iter();
        let about =
            entries.filter(|entry| matches!(&*entry.leaf.kind, "decision" | "outcome" | "lapsed"));
        about
            .map(|entry| format!("{} {}", entry.leaf.kind, entry.leaf.verdict.unwrap_or_default()))
            .collect()
    }

    /// Waits until a record that came too late has lapsed.
    pub(super) async fn lapsed(&self) {
        while !self.recorded().await.iter().any(|entry| entry == "lapsed ") {
            tokio::task::yield_now().await;
        }
    }

    /// The whole ledger.
    pub(super) async fn entries(&self) -> Vec<Entry> {
        // Notes do not wait for the disk; an entry behind them does.
        let marker = Draft::new(self.engine.context.id(), "marker", self.engine.context.now());
        self.append(marker).await;
        self.engine.log.entries(0).map(Result::unwrap).collect()
    }

    /// Ends the node, and what a stranger finds in its ledger.
    pub(super) async fn verified(self) -> ledger::verify::Report {
        self.entries().await;
        let key = self.engine.log.verifier_key();
        self.engine.log.close().unwrap();
        ledger::verify::log(&self.directory.path().join("ledger"), &key, &[], None)
    }

    /// Appends until the disk, which is full from now on, takes nothing more that grants.
    pub(super) async fn fill_up(&self) {
        self.faults.full.store(true, Ordering::SeqCst);
        for bytes in [256 * 1024, 1024, 1] {
            while self.filler(bytes).await.is_ok() {}
        }
    }

    /// An entry with so long a payload.
    pub(super) fn filler(&self, bytes: usize) -> Appending {
        let mut draft = Draft::new(self.engine.context.id(), "filler", self.engine.context.now());
        draft.payload = Some(vec![0; bytes]);
        self.engine.log.append(self.engine.log.seal(draft).unwrap())
    }

    /// Writes an entry that nothing of this node would.
    pub(super) async fn append(&self, draft: Draft) {
        self.engine.log.append(self.engine.log.seal(draft).unwrap()).await.unwrap();
    }
}

fn subject_keys(place: &Path) -> Arc<dyn KeyStore> {
    let file = place.join("subject-keys.sqlite");
    let open = if file.exists() { SubjectKeyBook::open } else { SubjectKeyBook::create };
    Arc::new(open(&file, master()).unwrap())
}

async fn boot(
    directory: &TempDir,
    clock: &Clock,
    faults: &Arc<Faults>,
    target: &Target,
    reserve: u64,
) -> Result<Arc<Engine>, StartError> {
    let realm = Realm {
        org: "acme.example".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        node: 1,
    };
    let path = |name: &str| directory.path().join(name);
    let config = Config {
        dir: path("ledger"),
        lock: path("lock"),
        realm: realm.clone(),
        origin: "acme.example/audit".to_owned(),
        segment_bytes: SEGMENT,
        reserve_bytes: reserve,
    };
    let keys = Keys {
        checkpoint: CheckpointKey::from_seed(&[1; 32]),
        subjects: subject_keys(directory.path()),
    };
    let media = Media {
        log: Arc::new(Fragile::new(&config.dir, faults.clone())),
        lock: Arc::new(Fragile::new(&config.lock, Arc::default())),
    };
    let issuer = Issuer {
        url: ISSUER.to_owned(),
        token_endpoint: format!("{ISSUER}/oauth/token"),
        admin_audience: ADMIN.to_owned(),
        gateway_url: "http://127.0.0.1:8".to_owned(),
        keys: ArcSwap::from_pointee(Keyring::new(signing_key("issuer"))),
    };
    let context = Context::new(realm, clock.clone());
    let nonces = Nonces::new(&master(), 1, context.random(), 300).unwrap();
    Engine::start(Parts {
        context,
        issuer,
        log: Log::open_on(config, keys, media).unwrap(),
        store: Store::open(target).await.unwrap(),
        stops: Stops::open(&path("stops")).unwrap(),
        index_key: [7; 32],
        retention: RETENTION,
        nonces,
    })
    .await
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Put(#[from] store::PutError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    NotInForce(#[from] NotInForce),
}

fn prover(name: &str) -> Prover {
    Prover::new(signing_key(name))
}
