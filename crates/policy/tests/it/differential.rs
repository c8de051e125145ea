//! The layer below our rules against Cedar's own authorizer, which knows neither our annotations nor our rule on
//! errors.
//!
//! The same policies and questions go both ways. Cedar reads its inputs as JSON here, so that building them from
//! values is tested too.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, EntityUid, Policy,
    PolicyId, PolicySet, Request,
};
use model::{IdentityId, IdentityKind, Money, Name};
use policy::{DenyClass, Outcome, Policies, Principal, Verdict};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use crate::dsl::{Question, kinds, source};

/// Loading a set takes longest, so that each is asked many questions: 3,000 comparisons.
const CASES: u32 = 75;
const QUESTIONS: u32 = 40;

/// One generated policy: annotations, effect, scope and condition.
#[derive(Debug, Clone)]
struct Draft {
    annotation: &'static str,
    effect: &'static str,
    scope: String,
    condition: String,
}

impl Draft {
    fn text(&self, index: usize) -> String {
        let Self { annotation, effect, scope, condition } = self;
        format!("@id(\"p{index}\") {annotation} {effect} ({scope}) {condition};\n")
    }

    fn is_soft(&self) -> bool {
        self.effect == "forbid" && !self.annotation.is_empty()
    }
}

fn scopes() -> impl Strategy<Value = String> {
    let principals = select(vec![
        "principal is Agent",
        "principal is Person",
        r#"principal == Agent::"support-bot""#,
        r#"principal in Blueprint::"support""#,
        r#"principal in Team::"finance""#,
        r#"principal is Person in Team::"support""#,
        r#"principal in Person::"ann""#,
    ]);
    let actions = select(vec![
        r#"action == Action::"read""#,
        r#"action in Action::"write""#,
        r#"action in [Action::"write", Action::"pay"]"#,
        r#"action in [Action::"read", Action::"update", Action::"pay"]"#,
    ]);
    let resources = select(vec![
        "resource is Refund",
        r#"resource in System::"support-desk""#,
        r#"resource is Order in System::"shop""#,
        r#"resource == Refund::"support-desk/7""#,
    ]);
    let part = |any: &'static str, some| prop_oneof![3 => Just(any), 2 => some];
    let parts =
        (part("principal", principals), part("action", actions), part("resource", resources));
    parts.prop_map(|(principal, action, resource)| format!("{principal}, {action}, {resource}"))
}

/// Atoms that are valid for every principal, action and resource; some err for some questions.
fn atoms() -> impl Strategy<Value = &'static str> {
    select(vec![
        "context has amount && context.amount <= 1000",
        "context has amount && context.amount > 100",
        "context has amount && context.amount * 9223372036854775807 > 0",
        "context.at + 9223372036854775807 > context.depth",
        "context.history.spent * 4611686018427387904 >= 0",
        "context.depth * 9223372036854775807 > 0",
        r#"context.classes.contains("pii")"#,
        r#"context.classes.containsAny(["pii", "financial"])"#,
        r#"["prod", "test"].contains(context.environment)"#,
        r#"context.environment == "prod""#,
        r#"context.history.labels.contains("untrusted")"#,
        "context.history.labels == context.classes",
        r#"context has invoker && context.invoker in Team::"finance""#,
        "context has invoker && context.invoker == principal",
        "principal is Agent && principal.attested",
        r#"principal is Agent && principal.owner == Person::"olivia""#,
        r#"resource.id like "7*""#,
        "resource is Refund || context.depth > 0",
        "if context.depth > 0 then context has tool else context has amount",
        r#"action in Action::"write""#,
        "true",
        "true",
    ])
}

fn conditions() -> impl Strategy<Value = String> {
    let leaf = atoms().prop_map(|atom| format!("({atom})")).boxed();
    let tree = leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" && "))),
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" || "))),
            inner.prop_map(|part| format!("!{part}")),
        ]
    });
    let clause = (any::<bool>(), tree).prop_map(|(when, tree)| {
        let word = if when { "when" } else { "unless" };
        format!("{word} {{ {tree} }}")
    });
    vec(clause, 0..3).prop_map(|clauses| clauses.join(" "))
}

/// Sets of policies; most have one that permits everything, without which most questions would end at the default.
fn sets() -> impl Strategy<Value = Vec<Draft>> {
    let broad = Draft {
        annotation: "",
        effect: "permit",
        scope: "principal, action, resource".to_owned(),
        condition: String::new(),
    };
    let broad = prop_oneof![5 => Just(vec![broad]), 1 => Just(vec![])];
    (broad, vec(drafts(), 0..7)).prop_map(|(broad, drafts)| [broad, drafts].concat())
}

fn drafts() -> impl Strategy<Value = Draft> {
    let effects = select(vec![
        ("", "permit"),
        ("", "permit"),
        ("", "forbid"),
        ("", "forbid"),
        ("", "forbid"),
        (r#"@hold("finance")"#, "forbid"),
        (r#"@step_up("key")"#, "forbid"),
    ]);
    (effects, scopes(), conditions()).prop_map(|((annotation, effect), scope, condition)| Draft {
        annotation,
        effect,
        scope,
        condition,
    })
}

fn questions() -> impl Strategy<Value = String> {
    let who = select(vec![
        "support-bot",
        "support-bot",
        "other-bot",
        "person/ann@finance,support",
        "person/bob",
        "pipeline/ci",
    ]);
    let verb = select(vec!["read", "read", "update", "delete", "pay", "export"]);
    let thing = select(vec!["Refund/7", "Refund/8", "Order/7", "shop/Order/1", "Mail/größe"]);
    let facts = subsequence(
        vec![
            "amount=1500",
            "spent=3",
            "environment=test",
            "invoker=person/ann@finance",
            "depth=2",
            "purpose=refunds",
            "tool=refund",
            "labels=untrusted,pii",
            "classes=pii",
            "attested=true",
            "at=1",
        ],
        0..8,
    );
    (who, verb, thing, facts)
        .prop_map(|(who, verb, thing, facts)| format!("{who} {verb} {thing} {}", facts.join(" ")))
}

/// Cedar's own answer, the ids of the policies that made it, and of those that erred.
#[derive(Debug)]
struct Stock {
    decision: Decision,
    reasons: BTreeSet<String>,
    errors: BTreeSet<String>,
}

fn stock(set: &PolicySet, (request, entities): &(Request, Entities)) -> Stock {
    let response = Authorizer::new().is_authorized(request, set, entities);
    let diagnostics = response.diagnostics();
    let erring = |error: &AuthorizationError| match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    };
    Stock {
        decision: response.decision(),
        reasons: diagnostics.reason().map(ToString::to_string).collect(),
        errors: diagnostics.errors().map(erring).collect(),
    }
}

/// The same policies as Cedar reads them: permits and forbids apart too, since its answer names only those of one
/// effect.
struct Oracle {
    all: PolicySet,
    permits: PolicySet,
    forbids: PolicySet,
}

impl Oracle {
    fn new(drafts: &[Draft]) -> Self {
        let parse = |(index, draft): (usize, &Draft)| {
            let id = PolicyId::new(format!("p{index}"));
            Policy::parse(Some(id), draft.text(index)).unwrap()
        };
        let all: Vec<Policy> = drafts.iter().enumerate().map(parse).collect();
        let (permits, forbids): (Vec<Policy>, Vec<Policy>) =
            all.iter().cloned().partition(|policy| policy.effect() == Effect::Permit);
        let set = |policies: Vec<Policy>| PolicySet::from_policies(policies).unwrap();
        Self { all: set(all), permits: set(permits), forbids: set(forbids) }
    }
}

fn uid(kind: &str, id: &str) -> Value {
    json!({ "type": kind, "id": id })
}

fn identity(id: &IdentityId) -> Value {
    let kind = match id.kind() {
        IdentityKind::Person => "Person",
        IdentityKind::Agent => "Agent",
        IdentityKind::Pipeline => "Pipeline",
        other => panic!("no question asks about {other:?}"),
    };
    uid(kind, id.name().as_str())
}

fn thing(question: &Question) -> Value {
    let resource = &question.resource;
    uid(resource.kind(), &format!("{}/{}", resource.system(), resource.id()))
}

fn entity_of(principal: &Principal) -> Value {
    let Principal { id, teams, blueprint, owner, attested, .. } = principal;
    let mut parents: Vec<Value> = teams.iter().map(|team| uid("Team", team.as_str())).collect();
    let mut attributes = json!({ "id": id.name() });
    if let Some(owner) = owner {
        attributes["owner"] = json!({ "__entity": identity(owner) });
        attributes["attested"] = json!(attested);
    }
    if id.kind() == IdentityKind::Agent {
        parents.extend(blueprint.iter().map(|name| uid("Blueprint", name.as_str())));
    }
    json!({ "uid": identity(id), "attrs": attributes, "parents": parents })
}

fn entities(question: &Question) -> Entities {
    let verb = question.verb.name();
    let writes = ["create", "update", "delete"].contains(&verb);
    let groups = if writes { vec![uid("Action", "write")] } else { vec![] };
    let system = uid("System", question.resource.system().as_str());
    let resource = json!({ "id": question.resource.id(), "classes": question.classes });
    let mut all = vec![
        json!({ "uid": uid("Action", "write"), "attrs": {}, "parents": [] }),
        json!({ "uid": uid("Action", verb), "attrs": {}, "parents": groups }),
        json!({ "uid": thing(question), "attrs": resource, "parents": [system] }),
        entity_of(&question.principal),
    ];
    let invoker = question.facts.invoker.iter();
    all.extend(invoker.filter(|invoker| invoker.id != question.principal.id).map(entity_of));
    Entities::from_json_value(json!(all), None).unwrap()
}

fn request(question: &Question) -> Request {
    let facts = &question.facts;
    let mut context = json!({
        "classes": question.classes,
        "environment": facts.environment,
        "at": facts.at.millis(),
        "actor": facts.actor,
        "depth": facts.depth,
        "history": { "labels": &*facts.labels, "spent": facts.spent.map_or(0, Money::minor_units) },
    });
    let mut optional = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            context[name] = value;
        }
    };
    optional("amount", question.amount.map(|amount| json!(amount.minor_units())));
    optional("purpose", facts.purpose.as_ref().map(|text| json!(text)));
    optional("tool", facts.tool.as_ref().map(|text| json!(text)));
    let invoker = facts.invoker.as_ref();
    optional("invoker", invoker.map(|invoker| json!({ "__entity": identity(&invoker.id) })));
    let context = Context::from_json_value(context, None).unwrap();
    let entity = |json: Value| EntityUid::from_json(json).unwrap();
    let principal = entity(identity(&question.principal.id));
    let action = entity(uid("Action", question.verb.name()));
    Request::new(principal, action, entity(thing(question)), context, None).unwrap()
}

/// What our rules make of what Cedar's authorizer finds, without evaluating anything.
fn expected(drafts: &[Draft], oracle: &Oracle, question: &Question) -> Expected {
    let soft = |id: &str| drafts[index(id)].is_soft();
    let asked = (request(question), entities(question));
    let permitted = stock(&oracle.permits, &asked);
    let forbidden = stock(&oracle.forbids, &asked);
    // Our rule on errors: a forbid that errs counts as matched.
    let applies: BTreeSet<String> = forbidden.reasons.union(&forbidden.errors).cloned().collect();
    let hard = |ids: &BTreeSet<String>| ids.iter().any(|id| !soft(id));
    let (verdict, class, determining) = if hard(&applies) {
        let class =
            if hard(&forbidden.reasons) { DenyClass::Forbidden } else { DenyClass::PolicyError };
        (Verdict::Deny, Some(class), applies.iter().filter(|id| !soft(id)).cloned().collect())
    } else if permitted.decision == Decision::Deny {
        (Verdict::Deny, Some(DenyClass::NotPermitted), BTreeSet::new())
    } else {
        let holds = |id: &String| drafts[index(id)].annotation.starts_with("@hold");
        let verdict = match (applies.is_empty(), applies.iter().any(holds)) {
            (true, _) => Verdict::Permit,
            (false, true) => Verdict::Hold,
            (false, false) => Verdict::StepUp,
        };
        (verdict, None, permitted.reasons.union(&applies).cloned().collect())
    };
    let faults = permitted.errors.union(&forbidden.errors).cloned().collect();
    Expected { verdict, class, determining, faults, stock: stock(&oracle.all, &asked) }
}

#[derive(Debug)]
struct Expected {
    verdict: Verdict,
    class: Option<DenyClass>,
    determining: BTreeSet<String>,
    faults: BTreeSet<String>,
    stock: Stock,
}

fn index(id: &str) -> usize {
    id.strip_prefix('p').and_then(|index| index.parse().ok()).unwrap()
}

fn compare(drafts: &[Draft], outcome: &Outcome, expected: &Expected) -> Result<(), TestCaseError> {
    let names = |ids: Vec<&Name>| ids.into_iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let determining = names(outcome.determining.iter().map(|rule| &rule.policy).collect());
    let faults = names(outcome.faults.iter().filter_map(|fault| fault.policy.as_ref()).collect());
    prop_assert_eq!((outcome.verdict, outcome.class), (expected.verdict, expected.class));
    prop_assert_eq!(&determining, &expected.determining);
    prop_assert_eq!(&faults, &expected.faults);
    // Where nothing errs and nothing is soft, our rules add nothing: the answer is Cedar's own.
    if faults.is_empty() && !drafts.iter().any(Draft::is_soft) {
        let allowed = outcome.verdict == Verdict::Permit;
        prop_assert_eq!(allowed, expected.stock.decision == Decision::Allow);
        prop_assert_eq!(&determining, &expected.stock.reasons);
    }
    Ok(())
}

#[test]
fn decisions_and_determining_policies_are_those_of_cedars_authorizer() {
    let tally = RefCell::new(BTreeMap::new());
    let count = |what: String| *tally.borrow_mut().entry(what).or_insert(0_u32) += 1;
    let mut runner =
        TestRunner::new(Config { cases: CASES, source_file: Some(file!()), ..Config::default() });
    let cases = (sets(), vec(questions(), QUESTIONS as usize));
    let result = runner.run(&cases, |(drafts, questions)| {
        let texts = drafts.iter().enumerate().map(|(index, draft)| draft.text(index));
        let policies = Policies::load(&[source("p.cedar", &texts.collect::<String>())], &kinds())
            .map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        let oracle = Oracle::new(&drafts);
        for question in &questions {
            let question = Question::parse(question);
            let outcome = policies.evaluate(&question.request());
            let expected = expected(&drafts, &oracle, &question);
            compare(&drafts, &outcome, &expected)?;
            count(outcome.class.map_or(outcome.verdict.to_string(), |class| class.to_string()));
            if !outcome.faults.is_empty() {
                count("some err".to_owned());
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let share = |what: &str| tally.borrow().get(what).copied().unwrap_or(0) * 100;
    let all = CASES * QUESTIONS;
    println!("of {all}: {:?}", tally.borrow());
    assert!(share("permit") >= 30 * all, "at least 30 % are permitted");
    assert!(share("forbidden") + share("policy_error") >= 20 * all, "at least 20 % are forbidden");
    for what in ["hold", "step_up", "not_permitted", "policy_error", "some err"] {
        // Some 4 % on average; well below that, so that chance alone never fails the test.
        assert!(share(what) >= all, "at least 1 % are `{what}`");
    }
}
