//! One line says what is asked, one line says what the answer is.

use std::{collections::BTreeSet, sync::Arc};

use model::{Currency, IdentityId, Money, Name, Resource, Timestamp, Verb};
use policy::{Buckets, Effect, Facts, LoadErrors, Outcome, Policies, Principal, Request, Source};

/// The resource kinds of the catalog in most tests.
pub(crate) const KINDS: [&str; 3] = ["Refund", "Order", "Mail"];

/// Allows everything to everybody.
pub(crate) const ALLOW: &str = r#"@id("allow") permit (principal, action, resource);"#;

pub(crate) fn kinds() -> BTreeSet<String> {
    KINDS.map(str::to_owned).into()
}

pub(crate) fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

pub(crate) fn load(text: &str) -> Result<Policies, LoadErrors> {
    Policies::load(&[source("test.cedar", text)], &kinds())
}

pub(crate) fn loaded(text: &str) -> Policies {
    load(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Why a policy file is refused, one remark a line.
pub(crate) fn refusal(text: &str) -> String {
    load(text).expect_err("must be refused").to_string()
}

/// What these policies say about this question, in one line.
pub(crate) fn verdict(policies: &str, question: &str) -> String {
    summary(&outcome(policies, question))
}

pub(crate) fn outcome(policies: &str, question: &str) -> Outcome {
    loaded(policies).evaluate(&Question::parse(question).request())
}

/// A parsed question: `WHO VERB [SYSTEM/]KIND/ID [key=value…]`.
///
/// WHO is an agent's name, or `kind/name`, with a person's teams after `@`: `person/ann@finance,support`.
pub(crate) struct Question {
    pub(crate) principal: Principal,
    pub(crate) verb: Verb,
    pub(crate) resource: Resource,
    pub(crate) classes: BTreeSet<Name>,
    pub(crate) owner: Option<IdentityId>,
    pub(crate) group: Option<Name>,
    pub(crate) amount: Option<Money>,
    pub(crate) facts: Facts,
    pub(crate) lifted: BTreeSet<Name>,
    pub(crate) canary: Box<dyn Fn(&Name) -> u8>,
}

impl Question {
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let mut word = || words.next().expect("WHO VERB RESOURCE");
        let (principal, verb, resource) = (who(word()), word().parse().unwrap(), thing(word()));
        let facts = Facts {
            environment: name("prod"),
            at: Timestamp::from_seconds(1_700_000_000),
            invoker: None,
            actor: principal.id.clone(),
            depth: 0,
            purpose: None,
            tool: None,
            labels: Arc::default(),
            spent: None,
            administrators: 2,
        };
        let mut question = Self {
            principal,
            verb,
            resource,
            classes: BTreeSet::new(),
            owner: None,
            group: None,
            amount: None,
            facts,
            lifted: BTreeSet::new(),
            canary: Box::new(|_| 50),
        };
        for word in words {
            let (key, value) = word.split_once('=').expect("key=value");
            question.set(key, value);
        }
        question
    }

    fn set(&mut self, key: &str, value: &str) {
        let facts = &mut self.facts;
        match key {
            "amount" => self.amount = Some(money(value)),
            "spent" => facts.spent = Some(money(value)),
            "environment" => facts.environment = name(value),
            "at" => facts.at = Timestamp::from_seconds(value.parse().unwrap()),
            "invoker" => facts.invoker = Some(who(value)),
            "actor" => facts.actor = value.parse().unwrap(),
            "depth" => facts.depth = value.parse().unwrap(),
            "purpose" => facts.purpose = Some(value.into()),
            "tool" => facts.tool = Some(value.into()),
            "labels" => facts.labels = names(value).into(),
            "administrators" => facts.administrators = value.parse().unwrap(),
            "classes" => self.classes = names(value),
            "lifted" => self.lifted = names(value),
            "canary" => {
                let bucket = value.parse().unwrap();
                self.canary = Box::new(move |_| bucket);
            }
            "owner" => self.owner = Some(value.parse().unwrap()),
            "group" => self.group = Some(name(value)),
            "attested" => self.principal.attested = value == "true",
            "manager" => self.principal.manager = Some(value.parse().unwrap()),
            "principal-owner" => self.principal.owner = value.parse().ok(),
            other => panic!("unknown key {other}"),
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            principal: &self.principal,
            verb: self.verb,
            resource: &self.resource,
            classes: &self.classes,
            owner: self.owner.as_ref(),
            group: self.group.as_ref(),
            amount: self.amount,
            facts: &self.facts,
            lifted: &self.lifted,
            canary: Buckets(&*self.canary),
        }
    }
}

/// `hold by allow, limit; demands limit: hold finance:1`
pub(crate) fn summary(outcome: &Outcome) -> String {
    let mut parts = vec![outcome.verdict.to_string()];
    if let Some(class) = outcome.class {
        parts[0] += &format!(" {class}");
    }
    let mut list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            parts.push(format!("{name} {}", items.join(", ")));
        }
    };
    let determining = outcome.determining.iter();
    list("by", determining.map(|policy| policy.policy.to_string()).collect());
    let demands = outcome.demands.iter();
    list("demands", demands.map(|demand| format!("{} ({})", demand.lift, demand.policy)).collect());
    list("must", outcome.obligations.iter().map(ToString::to_string).collect());
    let shadow = |policy: &policy::Shadow| match policy.effect {
        Effect::Permit => format!("permit {}", policy.policy),
        Effect::Forbid | Effect::SoftForbid => format!("forbid {}", policy.policy),
    };
    list("shadow", outcome.shadow.iter().map(shadow).collect());
    let fault = |fault: &policy::Fault| match &fault.policy {
        Some(policy) => policy.to_string(),
        None => format!("`{}`", fault.message),
    };
    list("fault in", outcome.faults.iter().map(fault).collect());
    parts.join("; ")
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn names(text: &str) -> BTreeSet<Name> {
    text.split(',').filter(|text| !text.is_empty()).map(name).collect()
}

fn who(text: &str) -> Principal {
    let (id, teams) = text.split_once('@').unwrap_or((text, ""));
    let id = if id.contains('/') { id.to_owned() } else { format!("agent/{id}") };
    let id: IdentityId = id.parse().unwrap();
    if id.is_person() {
        return Principal::person(id, names(teams).into_iter().collect());
    }
    Principal::agent(id, name("support"), "person/olivia".parse().unwrap())
}

fn thing(text: &str) -> Resource {
    let parts: Vec<&str> = text.splitn(3, '/').collect();
    match parts[..] {
        [system, kind, id] => Resource::new(name(system), kind, id).unwrap(),
        [kind, id] => Resource::new(name("support-desk"), kind, id).unwrap(),
        _ => panic!("not a resource: {text}"),
    }
}

fn money(text: &str) -> Money {
    let (amount, currency) = match text.len().checked_sub(3).map(|at| text.split_at(at)) {
        Some((amount, currency)) if currency.parse::<Currency>().is_ok() => (amount, currency),
        _ => (text, "EUR"),
    };
    Money::new(amount.parse().unwrap(), currency.parse().unwrap()).unwrap()
}
