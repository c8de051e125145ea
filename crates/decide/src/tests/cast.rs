//! Who and what the small organization is made of, as records.

use model::{
    Agent, Authority, Blueprint, Clause, Conditions, Digest, IdentityId, Money, Name, Pattern,
    Person, Sender, State, Timestamp, Verb, Verbs, Version,
    ijson::{self, Json},
};
use token::{Algorithm, SigningKey};

use crate::{
    AgentRecord, BlueprintRecord, Effect, GrantRecord, Mapping, PersonRecord, ServerRecord,
    ToolRecord, hash::sha256,
};

/// When everything starts.
pub(super) const START: i64 = 1_800_000_000_000;

/// The policies of the small organization.
pub(super) const POLICIES: &str = r#"
@id("desk-use")
permit (principal, action in [Action::"read", Action::"list", Action::"pay", Action::"export"], resource in System::"desk");

@id("large-refunds-wait") @hold("finance") @reason("refunds above 1,000.00 wait for finance")
forbid (principal, action == Action::"pay", resource is Refund) when { context has amount && context.amount > 100000 };

@id("no-export") @reason("customers are not exported in bulk") @next("ask for a report instead") @explain("agent")
forbid (principal, action == Action::"export", resource is Customers);
"#;

/// What people and agents may do at the desk.
pub(super) const DESK: &[(&[Verb], &str)] =
    &[(&[Verb::Read, Verb::List, Verb::Pay, Verb::Export], "desk/*/*")];

pub(super) fn person_id(name: &str) -> IdentityId {
    format!("person/{name}").parse().unwrap()
}

pub(super) fn agent_id(name: &str) -> IdentityId {
    format!("agent/{name}").parse().unwrap()
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

pub(super) fn grant(name: &str, holder: &str, authority: Authority) -> GrantRecord {
    GrantRecord {
        name: name.parse().unwrap(),
        holder: person_id(holder),
        authority,
        provenance: "request".parse().unwrap(),
        given_by: person_id("olivia"),
        revoked: false,
    }
}

/// The server of the tools.
pub(super) fn desk() -> ServerRecord {
    ServerRecord {
        name: "desk".parse().unwrap(),
        url: "http://127.0.0.1:1/mcp".to_owned(),
        internal: true,
        credential: None,
        default_classes: vec!["pii".parse().unwrap()],
        oauth: None,
    }
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
        mapping: Some(Mapping { effects, ..Mapping::default() }),
        accepted_by: Some(person_id("olivia")),
        former: None,
        gone: false,
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

pub(super) fn person(name: &str, team: &str) -> PersonRecord {
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

pub(super) fn blueprint(name: &str, child: &str, clauses: &[(&[Verb], &str)]) -> BlueprintRecord {
    BlueprintRecord(Blueprint {
        name: name.parse().unwrap(),
        purpose: "support".to_owned(),
        owner: person_id("olivia"),
        deputy: None,
        authority: authority(clauses, 3),
        token_ttl_seconds: 300,
        children: vec![child.parse::<Name>().unwrap()],
        sender: Sender::Dpop,
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

/// A key that belongs to a name, the same in every run.
pub(super) fn signing_key(name: &str) -> SigningKey {
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
