//! A small organization on one node: people, agents, a desk with tools, policies, and real tokens for all of them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use ledger::{CheckpointKey, Config, Keys, Log, Media, PayloadKey};
use model::{
    Agent, Authority, Blueprint, Clause, Conditions, Digest, IdentityId, Money, Name, Pattern,
    Person, Realm, State, TaskId, Timestamp, Verb, Verbs, Version,
    ijson::{self, Json},
};
use store::{Expect, Store, Target};
use tempfile::TempDir;
use token::{
    Algorithm, Keyring, MasterKey, SigningKey, assertion,
    dpop::{Nonces, Prover, Request},
};

use super::fragile::{Faults, Fragile};
use crate::{
    AgentRecord, Attempt, BlueprintRecord, Caller, Changes, Clock, Context, Effect, Engine,
    Exchange, GrantRecord, Issued, Issuer, Mapping, NotInForce, OpenTask, Parts, Permit,
    PersonRecord, PolicyFile, PolicySetRecord, Presented, Refusal, ServerRecord, Stops,
    TokenRefused, ToolRecord, hash::sha256,
};

pub(super) const ISSUER: &str = "http://127.0.0.1:9";
pub(super) const ADMIN: &str = "http://127.0.0.1:9/v1";
const START: i64 = 1_800_000_000_000;

/// The policies of the small organization.
pub(super) const POLICIES: &str = r#"
@id("desk-use")
permit (principal, action in [Action::"read", Action::"list", Action::"pay", Action::"export"], resource in System::"desk");

@id("large-refunds-wait") @hold("finance") @reason("refunds above 1,000.00 wait for finance")
forbid (principal, action == Action::"pay", resource is Refund) when { context has amount && context.amount > 100000 };

@id("no-export") @reason("customers are not exported in bulk") @next("ask for a report instead") @explain("agent")
forbid (principal, action == Action::"export", resource is Customers);
"#;

pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) faults: Arc<Faults>,
    pub(super) directory: TempDir,
    clock: Clock,
    count: AtomicU64,
}

fn person_id(name: &str) -> IdentityId {
    format!("person/{name}").parse().unwrap()
}

pub(super) fn agent_id(name: &str) -> IdentityId {
    format!("agent/{name}").parse().unwrap()
}

/// Keys that are the same in every run of a world, so that a restart knows them.
fn master() -> MasterKey {
    MasterKey::from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
}

pub(super) fn version() -> Digest {
    Digest([3; 32])
}

pub(super) fn eur(minor_units: i64) -> Money {
    Money::new(minor_units, "EUR".parse().unwrap()).unwrap()
}

pub(super) fn json(text: &str) -> Json {
    ijson::parse(text.as_bytes(), ijson::Limits { bytes: 100_000, depth: 16 }).unwrap()
}

pub(super) fn authority(clauses: &[(&[Verb], &str)], depth: u8) -> Authority {
    let clause = |(verbs, resources): &(&[Verb], &str)| Clause {
        verbs: Verbs::of(verbs),
        resources: resources.parse::<Pattern>().unwrap(),
        conditions: Conditions::default(),
        expires: Timestamp::from_millis(START + 1_000_000_000),
    };
    Authority { clauses: clauses.iter().map(clause).collect(), depth }
}

pub(super) fn tool(name: &str, effects: Vec<Effect>, properties: &str) -> ToolRecord {
    let definition = format!(
        r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{{properties}}}}}}}"#
    );
    ToolRecord {
        server: "desk".parse().unwrap(),
        name: name.to_owned(),
        digest: sha256(&[definition.as_bytes()]),
        definition,
        mapping: Some(Mapping { effects, additional_arguments: false }),
        accepted_by: Some(person_id("olivia")),
    }
}

pub(super) fn effect(
    verb: Verb,
    resource: &str,
    id: &str,
    amount: bool,
    classes: &[&str],
) -> Effect {
    Effect {
        verb,
        resource: resource.to_owned(),
        id: id.to_owned(),
        amount: amount.then(|| "args.amount".to_owned()),
        currency: amount.then(|| "'EUR'".to_owned()),
        classes: Some(classes.iter().map(|class| class.parse().unwrap()).collect()),
    }
}

impl World {
    /// Boots the organization.
    pub(super) async fn new() -> Self {
        let world = Self::empty(Target::Memory).await;
        world.found().await;
        world
    }

    pub(super) async fn empty(target: Target) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_millis(START));
        let faults = Arc::<Faults>::default();
        let engine = boot(&directory, &clock, &faults, &target).await;
        Self { engine, faults, directory, clock, count: AtomicU64::new(0) }
    }

    /// Ends the node and starts it again on the same files.
    pub(super) async fn restart(self, target: &Target) -> Self {
        let Self { engine, directory, clock, count, .. } = self;
        // What still writes to the store in the background ends first: files have one owner at a time.
        while Arc::strong_count(&engine) > 1 {
            tokio::task::yield_now().await;
        }
        engine.log.close().ok();
        drop(engine);
        let faults = Arc::<Faults>::default();
        let engine = boot(&directory, &clock, &faults, target).await;
        Self { engine, faults, directory, clock, count }
    }

    /// People, blueprints, agents, the desk and its tools, policies, grants.
    pub(super) async fn found(&self) {
        let people = [("olivia", "administrator"), ("lena", "support"), ("max", "finance")];
        let desk: &[(&[Verb], &str)] =
            &[(&[Verb::Read, Verb::List, Verb::Pay, Verb::Export], "desk/*/*")];
        let persons: Vec<PersonRecord> =
            people.iter().map(|(name, team)| person(name, team)).collect();
        let blueprints = [
            ("support", "lookup", desk),
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
        let grant = GrantRecord {
            name: "lena-desk".parse().unwrap(),
            holder: person_id("lena"),
            authority: authority(desk, 4),
            provenance: "request".parse().unwrap(),
            given_by: person_id("olivia"),
            revoked: false,
        };
        let server = ServerRecord {
            name: "desk".parse().unwrap(),
            url: "http://127.0.0.1:1/mcp".to_owned(),
            internal: true,
            credential: None,
            default_classes: vec!["pii".parse().unwrap()],
        };
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
        mut change: impl FnMut(&mut Changes<'_, '_>) -> Result<(), store::PutError> + Send + 'static,
    ) {
        let done: Result<(), Failed> =
            self.engine.bootstrap(move |changes| Ok(change(changes)?)).await;
        done.unwrap();
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
        let request = Request { method: "POST", url, access_token: token };
        let nonce = self.engine.nonce().unwrap();
        prover(who)
            .prove(&request, Some(&nonce), self.engine.context.now(), &self.unique())
            .unwrap()
    }

    fn assertion(&self, id: &IdentityId, version: Option<Digest>) -> String {
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
        let assertion = self.assertion(&person_id(name), None);
        let proof = self.proof(name, &self.engine.issuer.token_endpoint, None);
        let issued = self.engine.open_session(&assertion, &proof).await.unwrap();
        self.believed(name, &issued)
    }

    fn believed(&self, who: &str, issued: &Issued) -> Arc<Caller> {
        let proof = self.proof(who, &issued.audience, Some(&issued.access_token));
        self.engine
            .authenticate(Presented {
                authorization: Some(&format!("DPoP {}", issued.access_token)),
                proof: Some(&proof),
                method: "POST",
                url: &issued.audience,
                audience: &issued.audience,
            })
            .unwrap()
    }

    /// Lena opens a task for support-bot: the task and the token to hand over.
    pub(super) async fn task(&self, budget: Option<Money>) -> (TaskId, String) {
        let lena = self.session("lena").await;
        let wish = OpenTask {
            agent: agent_id("support-bot"),
            purpose: "support".to_owned(),
            intent: "help a customer".to_owned(),
            prompt: "please help".to_owned(),
            authority: None,
            budget,
            seconds: 600,
        };
        let allowed = self.engine.allow(&lena, wish).await.unwrap();
        let opened = self.engine.open_task(&allowed).await.unwrap();
        (opened.task, opened.token.access_token)
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
            proof: &proof,
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

    /// How the ledger tells it: kind and verdict of each entry about an attempt, in order.
    pub(super) async fn recorded(&self) -> Vec<String> {
        // Notes do not wait for the disk; an entry behind them does.
        let marker =
            ledger::Draft::new(self.engine.context.id(), "marker", self.engine.context.now());
        self.engine.log.append(self.engine.log.seal(marker).unwrap()).await.unwrap();
        let entries = self.engine.log.entries(0).map(Result::unwrap);
        let about =
            entries.filter(|entry| matches!(&*entry.leaf.kind, "decision" | "outcome" | "lapsed"));
        about
            .map(|entry| format!("{} {}", entry.leaf.kind, entry.leaf.verdict.unwrap_or_default()))
            .collect()
    }
}

async fn boot(
    directory: &TempDir,
    clock: &Clock,
    faults: &Arc<Faults>,
    target: &Target,
) -> Arc<Engine> {
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
        segment_bytes: 2 * 1024 * 1024,
    };
    let keys = Keys {
        checkpoint: CheckpointKey::from_seed(&[1; 32]),
        payload: PayloadKey::new("p1".parse().unwrap(), &[2; 32]),
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
        nonces,
    })
    .await
    .unwrap()
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

/// A key that belongs to a name, the same in every run.
fn signing_key(name: &str) -> SigningKey {
    let seed = sha256(&[b"test key", name.as_bytes()]).0;
    // PKCS#8 of an Ed25519 seed (RFC 8410 §7).
    let head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let key = SigningKey::from_pkcs8(&[&head[..], &seed].concat()).unwrap();
    assert_eq!(key.public().algorithm(), Algorithm::EdDSA);
    key
}

fn prover(name: &str) -> Prover {
    Prover::new(signing_key(name))
}

fn person(name: &str, team: &str) -> PersonRecord {
    PersonRecord {
        person: Person {
            id: person_id(name),
            handle: name.parse().unwrap(),
            display_name: name.to_owned(),
            manager: None,
            teams: vec![team.parse().unwrap()],
            active: true,
        },
        keys: vec![signing_key(name).public().to_jwk()],
    }
}

fn blueprint(name: &str, child: &str, clauses: &[(&[Verb], &str)]) -> BlueprintRecord {
    BlueprintRecord(Blueprint {
        name: name.parse().unwrap(),
        purpose: "support".to_owned(),
        owner: person_id("olivia"),
        deputy: None,
        authority: authority(clauses, 3),
        token_ttl_seconds: 300,
        children: vec![child.parse::<Name>().unwrap()],
    })
}

pub(super) fn agent(name: &str, blueprint: &str) -> AgentRecord {
    AgentRecord {
        agent: Agent {
            id: agent_id(name),
            blueprint: blueprint.parse().unwrap(),
            deputy: None,
            purpose: "support".to_owned(),
            state: State::Active {
                owner: person_id("olivia"),
                since: Timestamp::from_millis(START),
            },
            version: Version {
                digest: version(),
                model: "m-1".to_owned(),
                prompt: version(),
                tools: version(),
                image: version(),
                attested_by: None,
                accepted_by: person_id("olivia"),
            },
        },
        keys: vec![signing_key(name).public().to_jwk()],
        proposed: None,
    }
}
