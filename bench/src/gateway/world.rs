//! A small organization on one node, with real keys, tokens and policies: Lena asks, support-bot calls, the desk answers.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use decide::{
    AgentRecord, Attempt, BlueprintRecord, Caller, Clock, Context, Effect, Ending, Engine,
    Exchange, GrantRecord, Issuer, Mapping, OpenTask, Parts, PersonRecord, PolicyFile,
    PolicySetRecord, Presented, ServerRecord, Stops, ToolRecord, sha256,
};
use model::{
    Agent, Authority, Blueprint, Clause, Conditions, Digest, IdentityId, Person, State, Verb,
    Verbs, Version, ijson::Json,
};
use store::{Expect, Store, Target};
use tempfile::TempDir;
use token::{
    Keyring, MasterKey, SigningKey, assertion,
    dpop::{Nonces, Prover, Request},
};

use crate::append::{frame_bytes, open, realm};

/// Who calls.
pub(super) const AGENT: &str = "support-bot";
/// What is called.
pub(super) const SYSTEM: &str = "desk";
pub(super) const TOOL: &str = "get_order";
const PERSON: &str = "lena";
const OWNER: &str = "olivia";

const POLICIES: &str = r#"
@id("desk-use")
permit (principal, action in [Action::"read", Action::"list", Action::"pay"], resource in System::"desk");

@id("large-refunds-wait") @hold("finance") @reason("refunds above 1,000.00 wait for finance")
forbid (principal, action == Action::"pay", resource is Refund) when { context has amount && context.amount > 100000 };

@id("no-export") @reason("customers are not exported in bulk") @next("ask for a report instead") @explain("agent")
forbid (principal, action == Action::"export", resource is Customers);
"#;

/// The tool that is called, and two that are not: policies may name only kinds of things that the catalog knows.
const TOOLS: [(&str, Verb, &str); 3] = [
    (TOOL, Verb::Read, "Order"),
    ("refund", Verb::Pay, "Refund"),
    ("export", Verb::Export, "Customers"),
];

/// Why the organization could not be founded.
#[derive(Debug)]
struct NotFounded(anyhow::Error);

/// Starts a node and founds the organization on it.
pub(super) async fn boot(
    folder: &TempDir,
    origin: &str,
    upstream: &str,
) -> anyhow::Result<Arc<Engine>> {
    let issuer = "http://127.0.0.1:9".to_owned();
    let issuer = Issuer {
        token_endpoint: format!("{issuer}/oauth/token"),
        admin_audience: format!("{issuer}/v1"),
        url: issuer,
        gateway_url: origin.to_owned(),
        keys: ArcSwap::from_pointee(Keyring::new(key("issuer")?)),
    };
    let context = Context::new(realm()?, Clock::system());
    let nonces = Nonces::new(&MasterKey::generate()?, 1, context.random(), 300)?;
    let parts = Parts {
        log: open(folder, &context)?,
        store: Store::open(&Target::Sqlite(folder.path().join("store.sqlite"))).await?,
        stops: Stops::open(&folder.path().join("stops"))?,
        context,
        issuer,
        index_key: [7; 32],
        retention: decide::Retention::default(),
        nonces,
    };
    let engine = Engine::start(parts).await?;
    found(&engine, upstream).await?;
    Ok(engine)
}

/// A token of the agent, working for the person: two exchanges from the person's own session.
pub(super) async fn token(engine: &Arc<Engine>) -> anyhow::Result<String> {
    let endpoint = &engine.issuer().token_endpoint;
    let claimed = assert(engine, &person_id(PERSON)?, None)?;
    let session = engine.open_session(&claimed, &prove(engine, PERSON, endpoint, None)?).await?;
    let lena = believed(engine, PERSON, &session.access_token, &session.audience)?;
    let wish = OpenTask {
        agent: agent_id(AGENT)?,
        purpose: "support".to_owned(),
        intent: "help a customer".to_owned(),
        prompt: "please help".to_owned(),
        authority: None,
        budget: None,
        seconds: 600,
    };
    let allowed = engine.allow(&lena, wish).await?;
    let opened = engine.open_task(&allowed).await?;
    let exchange = Exchange {
        client_assertion: &assert(engine, &agent_id(AGENT)?, Some(version()))?,
        subject_token: &opened.token.access_token,
        proof: Some(&prove(engine, AGENT, endpoint, None)?),
        audience: None,
        resource: None,
        authority: None,
        requested_actor: None,
    };
    Ok(engine.exchange(&exchange).await?.access_token)
}

/// How many bytes the two records of one call take in the write-ahead log, on average.
pub(super) async fn record_bytes(engine: &Arc<Engine>, token: &str) -> anyhow::Result<usize> {
    let audience = engine.issuer().audience_of(&SYSTEM.parse()?);
    let attempt = Attempt {
        action: engine.context().id(),
        caller: believed(engine, AGENT, token, &audience)?,
        system: SYSTEM.parse()?,
        tool: TOOL.to_owned(),
        arguments: Json::object([("order", Json::String("A-1042".to_owned()))]),
        inputs: None,
    };
    let first = engine.log().acknowledged();
    let dispatch = engine.attempt(attempt).await?.dispatch()?;
    dispatch.settle(Ending::Completed, Some(sha256(&[b"answer"]))).await?;
    let mut sizes = Vec::new();
    for entry in engine.log().entries(first) {
        let entry = entry?;
        let payload = entry.leaf.payload.as_ref().map_or(0, |payload| payload.size as usize);
        sizes.push(frame_bytes(entry.bytes.len(), payload));
    }
    ensure!(sizes.len() == 2, "a call leaves a decision and an outcome, not {}", sizes.len());
    Ok(sizes.iter().sum::<usize>() / sizes.len())
}

/// A key that belongs to a name, the same in every process of a run.
pub(super) fn key(name: &str) -> anyhow::Result<SigningKey> {
    // PKCS#8 of an Ed25519 seed (RFC 8410 §7).
    let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let seed = sha256(&[b"bench key", name.as_bytes()]).0;
    Ok(SigningKey::from_pkcs8(&[&head[..], &seed].concat())?)
}

async fn found(engine: &Arc<Engine>, upstream: &str) -> anyhow::Result<()> {
    let people = [person(OWNER, "administrator")?, person(PERSON, "support")?];
    let blueprint = blueprint(engine)?;
    let (agent, server) = (agent(engine)?, server(upstream)?);
    let tools = TOOLS.iter().map(tool).collect::<anyhow::Result<Vec<_>>>()?;
    let grant = GrantRecord {
        name: "lena-desk".parse()?,
        holder: person_id(PERSON)?,
        authority: authority(engine)?,
        provenance: "request".parse()?,
        given_by: person_id(OWNER)?,
        revoked: false,
    };
    let policies = PolicyFile { name: "desk.cedar".to_owned(), text: POLICIES.to_owned() };
    let kinds = TOOLS.iter().map(|(_, _, kind)| (*kind).to_owned()).collect();
    let policies = PolicySetRecord { sources: vec![policies], kinds };
    let founded: Result<(), NotFounded> = engine
        .bootstrap(move |changes| {
            for person in &people {
                changes.put(person, Expect::New, true)?;
            }
            changes.put(&blueprint, Expect::New, true)?;
            changes.put(&agent, Expect::New, true)?;
            changes.put(&server, Expect::New, true)?;
            for tool in &tools {
                changes.put(tool, Expect::New, true)?;
            }
            changes.put(&grant, Expect::New, true)?;
            Ok(changes.put(&policies, Expect::Any, true)?)
        })
        .await;
    founded.map_err(|NotFounded(why)| why).context("the organization cannot be founded")
}

fn believed(
    engine: &Arc<Engine>,
    who: &str,
    token: &str,
    audience: &str,
) -> anyhow::Result<Arc<Caller>> {
    let proof = prove(engine, who, audience, Some(token))?;
    let presented = Presented {
        authorization: Some(&format!("DPoP {token}")),
        proof: Some(&proof),
        method: "POST",
        url: audience,
        audience,
        may_be_unbound: true,
    };
    Ok(engine.authenticate(presented)?)
}

fn prove(engine: &Engine, who: &str, url: &str, token: Option<&str>) -> anyhow::Result<String> {
    let request = Request { method: "POST", url, access_token: token.map(Into::into) };
    let (nonce, context) = (engine.nonce(), engine.context());
    let jti = format!("{:016x}", context.random());
    Ok(Prover::new(key(who)?).prove(&request, nonce.as_deref(), context.now(), &jti)?)
}

fn assert(engine: &Engine, id: &IdentityId, version: Option<Digest>) -> anyhow::Result<String> {
    let context = engine.context();
    let draft = assertion::Draft {
        client: &context.realm.uri(id),
        audience: &engine.issuer().url,
        now: context.now(),
        life_seconds: 60,
        jti: &format!("{:016x}", context.random()),
        version,
    };
    Ok(assertion::create(&key(id.name().as_str())?, &draft)?)
}

fn authority(engine: &Engine) -> anyhow::Result<Authority> {
    let clause = Clause {
        verbs: Verbs::of(&[Verb::Read, Verb::List, Verb::Pay]),
        resources: "desk/*/*".parse()?,
        conditions: Conditions::default(),
        expires: engine.context().now().plus_seconds(24 * 3600),
    };
    Ok(Authority { clauses: vec![clause], depth: 3 })
}

fn person(name: &str, team: &str) -> anyhow::Result<PersonRecord> {
    let person = Person {
        id: person_id(name)?,
        handle: name.parse()?,
        display_name: name.to_owned(),
        manager: None,
        teams: vec![team.parse()?],
        active: true,
    };
    Ok(PersonRecord { person, keys: vec![key(name)?.public().to_jwk()] })
}

fn blueprint(engine: &Engine) -> anyhow::Result<BlueprintRecord> {
    Ok(BlueprintRecord(Blueprint {
        name: "support".parse()?,
        purpose: "support".to_owned(),
        owner: person_id(OWNER)?,
        deputy: None,
        authority: authority(engine)?,
        token_ttl_seconds: 600,
        children: Vec::new(),
        sender: model::Sender::Dpop,
    }))
}

fn agent(engine: &Engine) -> anyhow::Result<AgentRecord> {
    let agent = Agent {
        id: agent_id(AGENT)?,
        blueprint: "support".parse()?,
        deputy: None,
        purpose: "support".to_owned(),
        state: State::Active { owner: person_id(OWNER)?, since: engine.context().now() },
        version: Version {
            digest: version(),
            model: "m-1".to_owned(),
            prompt: version(),
            tools: version(),
            image: version(),
            attested_by: None,
            accepted_by: person_id(OWNER)?,
        },
    };
    Ok(AgentRecord { agent, keys: vec![key(AGENT)?.public().to_jwk()], proposed: None })
}

fn server(upstream: &str) -> anyhow::Result<ServerRecord> {
    Ok(ServerRecord {
        name: SYSTEM.parse()?,
        url: format!("http://{upstream}/mcp"),
        internal: true,
        credential: None,
        default_classes: vec!["pii".parse()?],
        oauth: None,
    })
}

/// The list of the tools, as their server shows it.
pub(super) fn listing() -> String {
    format!("[{}]", TOOLS.map(|(name, _, _)| definition(name)).join(","))
}

fn definition(name: &str) -> String {
    format!(
        r#"{{"name":"{name}","description":"Works on an order.","inputSchema":{{"type":"object","properties":{{"order":{{"type":"string","maxLength":64}}}},"required":["order"]}}}}"#
    )
}

fn tool((name, verb, kind): &(&str, Verb, &str)) -> anyhow::Result<ToolRecord> {
    let definition = definition(name);
    let effect = Effect {
        verb: *verb,
        resource: (*kind).to_owned(),
        id: "args.order".to_owned(),
        amount: None,
        currency: None,
        classes: Some(vec!["pii".parse()?]),
    };
    Ok(ToolRecord {
        server: SYSTEM.parse()?,
        name: (*name).to_owned(),
        digest: sha256(&[definition.as_bytes()]),
        definition,
        mapping: Some(Mapping { effects: vec![effect], ..Mapping::default() }),
        accepted_by: Some(person_id(OWNER)?),
        former: None,
        gone: false,
    })
}

fn person_id(name: &str) -> anyhow::Result<IdentityId> {
    Ok(format!("person/{name}").parse()?)
}

fn agent_id(name: &str) -> anyhow::Result<IdentityId> {
    Ok(format!("agent/{name}").parse()?)
}

fn version() -> Digest {
    Digest([3; 32])
}

impl<E: Into<anyhow::Error>> From<E> for NotFounded {
    fn from(why: E) -> Self {
        Self(why.into())
    }
}
