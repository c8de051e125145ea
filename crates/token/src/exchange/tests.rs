use model::{Question, Resource, Verb};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::sample::{
    BOT, DESK, HELPER, ISSUER, OLIVIA, after, authority, bots, clause, key, now, olivias,
};

const SHOP: &str = "https://gateway.example/shop";

fn limits() -> Limits<'static> {
    Limits {
        now: now(),
        ttl_cap_seconds: 120,
        audiences: &[DESK],
        max_depth: 4,
        children: &[HELPER],
    }
}

fn actor<'a>(uri: &'a str, held: &'a Authority) -> Actor<'a> {
    Actor { uri, version: Some(Digest([3; 32])), thumbprint: Some(Thumbprint([4; 32])), held }
}

fn link() -> LinkId {
    LinkId::compose(now(), 1, 77)
}

/// One hop of the bot, which holds as much as Olivia does.
fn hop(subject: &Claims, wish: Wish<'_>, limits: &Limits<'_>) -> Result<Narrowed, ExchangeError> {
    narrow(subject, &actor(BOT, &authority(3)), wish, link(), limits)
}

/// What the refusal says, for a case that must be refused.
fn refusal(subject: &Claims, wish: Wish<'_>, limits: &Limits<'_>) -> String {
    hop(subject, wish, limits).unwrap_err().to_string()
}

fn may_act(sub: &str) -> Option<MayAct> {
    Some(MayAct { sub: sub.to_owned() })
}

#[test]
fn the_actor_goes_outermost_and_the_subject_stays() {
    let bot =
        hop(&olivias(), Wish { may_act: Some(HELPER), ..Wish::default() }, &limits()).unwrap();
    assert_eq!(bot.sub, OLIVIA);
    assert_eq!(bot.act, Act { sub: BOT.to_owned(), act: None });
    assert_eq!(bot.links.iter().map(|link| link.sub.as_str()).collect::<Vec<_>>(), [OLIVIA, BOT]);
    assert_eq!((bot.links[1].id, bot.links[1].exp), (link(), after(120)));
    assert_eq!((bot.version, bot.thumbprint), (Some(Digest([3; 32])), Some(Thumbprint([4; 32]))));
    let issuance = Issuance {
        issuer: ISSUER,
        client_id: BOT,
        at: now(),
        jti: EntryId::compose(now(), 1, 8),
        entry: Digest([6; 32]),
    };
    let bot = bot.into_claims(&issuance);
    let held = authority(3);
    let helper = narrow(&bot, &actor(HELPER, &held), Wish::default(), link(), &limits()).unwrap();
    assert_eq!(helper.act.sub, HELPER);
    assert_eq!(helper.act.act.as_ref().unwrap().sub, BOT);
    assert_eq!((helper.sub.as_str(), helper.may_act.as_ref()), (OLIVIA, None));
    assert_eq!(helper.authority.depth, 1);
    let token = helper.into_claims(&issuance);
    let key = key();
    let expect =
        crate::claims::Expect { issuer: ISSUER, audiences: &[DESK], now: now(), leeway_seconds: 0 };
    let signed = token.sign(&key).unwrap();
    let read = crate::claims::verify_access(&signed, |_| Some(key.public()), &expect);
    assert_eq!(read, Ok(token));
}

#[test]
fn only_the_one_whom_may_act_names_exchanges_a_token() {
    let says = |may_act| refusal(&Claims { may_act, ..olivias() }, Wish::default(), &limits());
    assert!(says(None).contains("no `may_act`"));
    assert!(says(may_act(HELPER)).contains("by `spiffe://acme.example/prod/agent/helper` alone"));
    assert!(says(may_act(&BOT.to_uppercase())).contains("alone"));
    assert!(says(may_act("")).contains("alone"));
}

#[test]
fn nobody_stands_in_a_chain_twice() {
    let again = Claims { may_act: may_act(BOT), ..bots() };
    assert!(refusal(&again, Wish::default(), &limits()).contains("in the chain already"));
    let held = authority(3);
    let own = Claims { sub: BOT.to_owned(), ..olivias() };
    assert!(refusal(&own, Wish::default(), &limits()).contains("in the chain already"));
    let limits = Limits { children: &[BOT, OLIVIA], ..limits() };
    for child in [BOT, OLIVIA] {
        let wish = Wish { may_act: Some(child), ..Wish::default() };
        let refused = narrow(&olivias(), &actor(BOT, &held), wish, link(), &limits);
        assert!(matches!(refused, Err(ExchangeError::Cycle(_))));
    }
}

#[test]
fn a_chain_ends_where_depth_or_cap_say() {
    let says = |depth, max_depth| {
        let subject = Claims { authority: authority(depth), ..olivias() };
        hop(&subject, Wish::default(), &Limits { max_depth, ..limits() })
    };
    assert_eq!(says(0, 4), Err(ExchangeError::Exhausted));
    assert_eq!(says(3, 0), Err(ExchangeError::TooDeep(0)));
    assert_eq!(says(1, 1).unwrap().authority.depth, 0);
    let nested = |n| {
        (0..n).fold(None, |act: Option<Act>, n| {
            Some(Act { sub: format!("a{n}"), act: act.map(Box::new) })
        })
    };
    let with = |actors| {
        let subject = Claims { act: nested(actors), ..olivias() };
        hop(&subject, Wish::default(), &Limits { max_depth: u8::MAX, ..limits() })
    };
    assert!(with(7).is_ok());
    assert_eq!(with(8), Err(ExchangeError::TooDeep(MAX_DEPTH)));
}

#[test]
fn an_actor_that_may_pass_on_nothing_can_still_act() {
    let held = authority(0);
    let wish = |may_act| Wish { may_act, ..Wish::default() };
    let given = narrow(&olivias(), &actor(BOT, &held), wish(None), link(), &limits()).unwrap();
    assert_eq!(given.authority.depth, 0);
    let handed = narrow(&olivias(), &actor(BOT, &held), wish(Some(HELPER)), link(), &limits());
    assert_eq!(handed, Err(ExchangeError::Exhausted));
}

#[test]
fn a_token_is_handed_on_only_to_a_child_of_the_actor() {
    let wish = |child| Wish { may_act: Some(child), ..Wish::default() };
    assert_eq!(hop(&olivias(), wish(HELPER), &limits()).unwrap().may_act, may_act(HELPER));
    let nobody = Limits { children: &[], ..limits() };
    assert!(refusal(&olivias(), wish(HELPER), &nobody).contains("no child of the actor"));
    assert!(refusal(&olivias(), wish("x"), &limits()).contains("`x`"));
    assert_eq!(hop(&olivias(), Wish::default(), &limits()).unwrap().may_act, None);
}

#[test]
fn audience_and_resource_cannot_bypass_each_other() {
    let to = |audience, resource| Wish { audience, resource, ..Wish::default() };
    let says = |audience, resource| {
        hop(&olivias(), to(audience, resource), &limits()).map(|given| given.audience)
    };
    for (audience, resource) in
        [(None, None), (Some(DESK), None), (None, Some(DESK)), (Some(DESK), Some(DESK))]
    {
        assert_eq!(says(audience, resource).as_deref(), Ok(DESK));
    }
    for (audience, resource) in [(Some(DESK), Some(SHOP)), (Some(SHOP), Some(DESK))] {
        assert_eq!(says(audience, resource), Err(ExchangeError::Disagree));
    }
    for (audience, resource) in [(Some(SHOP), None), (None, Some(SHOP)), (Some(SHOP), Some(SHOP))] {
        assert!(matches!(says(audience, resource), Err(ExchangeError::Audience(_))));
    }
}

#[test]
fn a_token_for_one_place_never_becomes_one_for_another() {
    let both = Limits { audiences: &[DESK, SHOP], ..limits() };
    let to = |audience| Wish { audience, ..Wish::default() };
    assert_eq!(hop(&olivias(), to(None), &both), Err(ExchangeError::NoAudience));
    assert_eq!(hop(&olivias(), to(Some(SHOP)), &both).unwrap().audience, SHOP);
    let at_desk = Claims { aud: DESK.to_owned(), ..olivias() };
    assert_eq!(hop(&at_desk, to(None), &both).unwrap().audience, DESK);
    for audience in [SHOP, ISSUER] {
        let all = Limits { audiences: &[DESK, SHOP, ISSUER], ..limits() };
        let refused = hop(&at_desk, to(Some(audience)), &all);
        assert!(matches!(refused, Err(ExchangeError::Audience(_))));
    }
    let no_more = Limits { audiences: &[SHOP], ..limits() };
    assert!(matches!(hop(&at_desk, to(None), &no_more), Err(ExchangeError::Audience(_))));
}

#[test]
fn a_token_ends_with_the_first_of_its_parents() {
    let ends = |subject: &Claims, ttl_seconds, cap| {
        let limits = Limits { ttl_cap_seconds: cap, ..limits() };
        let given = hop(subject, Wish { ttl_seconds, ..Wish::default() }, &limits)?;
        assert!(given.authority.clauses.iter().all(|clause| clause.expires <= given.expires));
        Ok(given.expires.seconds() - now().seconds())
    };
    let linked = |seconds| Claims {
        links: vec![crate::sample::link(OLIVIA, 1, after(seconds))],
        ..olivias()
    };
    assert_eq!(ends(&olivias(), None, 120), Ok(120));
    assert_eq!(ends(&olivias(), Some(60), 120), Ok(60));
    assert_eq!(ends(&olivias(), Some(121), 120), Ok(120));
    assert_eq!(ends(&olivias(), None, 9000), Ok(300));
    assert_eq!(ends(&linked(10), None, 9000), Ok(10));
    for subject in [linked(0), Claims { exp: now(), ..olivias() }] {
        assert_eq!(ends(&subject, None, 9000), Err(ExchangeError::Ended));
    }
    assert_eq!(ends(&olivias(), Some(0), 9000), Err(ExchangeError::Ended));
}

#[test]
fn a_wish_is_given_whole_or_not_at_all() {
    let asks = |clauses: Vec<model::Clause>, depth| {
        let wish = Wish { authority: Some(Authority { clauses, depth }), ..Wish::default() };
        hop(&olivias(), wish, &limits()).map(|given| given.authority)
    };
    let reads = clause(&[Verb::Read], "desk/Ticket/7", after(60));
    let given = asks(vec![reads.clone()], 0).unwrap();
    assert_eq!(given, Authority { clauses: vec![reads.clone()], depth: 0 });
    let deletes = clause(&[Verb::Delete], "desk/Ticket/7", after(60));
    assert!(matches!(asks(vec![reads.clone(), deletes], 0), Err(ExchangeError::Widened(_))));
    assert!(matches!(asks(vec![reads], 3), Err(ExchangeError::Widened(Widened::Depth { .. }))));
    assert_eq!(asks(vec![], 0), Err(ExchangeError::Nothing));
}

#[test]
fn subject_and_actor_with_nothing_in_common_give_nothing() {
    let held = Authority { clauses: vec![clause(&[Verb::Read], "crm/*/*", after(60))], depth: 1 };
    let refused = narrow(&olivias(), &actor(BOT, &held), Wish::default(), link(), &limits());
    assert_eq!(refused, Err(ExchangeError::Nothing));
    let over = Authority { clauses: vec![clause(&[Verb::Read], "desk/*/*", now())], depth: 1 };
    let refused = narrow(&olivias(), &actor(BOT, &over), Wish::default(), link(), &limits());
    assert_eq!(refused, Err(ExchangeError::Nothing));
}

#[test]
fn task_and_scope_stay_and_nobody_regains_them() {
    let task = Some(TaskId::compose(now(), 1, 1));
    let subject = Claims { task, scope: Some("tickets".to_owned()), ..olivias() };
    let given = hop(&subject, Wish::default(), &limits()).unwrap();
    assert_eq!((given.task, given.scope.as_deref()), (task, Some("tickets")));
    let given = hop(&olivias(), Wish::default(), &limits()).unwrap();
    assert_eq!((given.task, given.scope), (None, None));
}

fn some_authority() -> impl Strategy<Value = Authority> {
    let verbs = vec(select(vec![Verb::Read, Verb::List, Verb::Pay]), 1..4);
    let broad = select(vec!["*/*/*", "desk/*/*"]);
    let narrow = select(vec!["desk/Ticket/a/*", "desk/Ticket/a/b", "shop/Refund/c"]);
    let resources = prop_oneof![2 => broad, 1 => narrow];
    let ends = prop_oneof![4 => 200_u32..400, 1 => 0_u32..200];
    let clause = (verbs, resources, ends)
        .prop_map(|(verbs, resources, end)| clause(&verbs, resources, after(end)));
    (vec(clause, 1..4), 0_u8..6).prop_map(|(clauses, depth)| Authority { clauses, depth })
}

/// What one action of a random case is, asked of every authority of that case.
#[derive(Debug, Clone)]
struct Action {
    verb: Verb,
    resource: Resource,
    at: Timestamp,
}

impl Action {
    fn allowed_by(&self, authority: &Authority) -> bool {
        let classes = &std::collections::BTreeSet::new();
        let (verb, resource, at) = (self.verb, &self.resource, self.at);
        authority.allows(&Question { verb, resource, amount: None, classes, at })
    }
}

fn some_action() -> impl Strategy<Value = Action> {
    let verb = select(vec![Verb::Read, Verb::List, Verb::Pay]);
    let thing = select(vec![
        ("desk", "Ticket", "a/b"),
        ("desk", "Ticket", "a/c"),
        ("desk", "Order", "c"),
        ("shop", "Refund", "c"),
    ]);
    (verb, thing, 0_u32..150).prop_map(|(verb, (system, kind, id), at)| Action {
        verb,
        resource: Resource::new(system.parse().unwrap(), kind, id).unwrap(),
        at: after(at),
    })
}

/// One step down a random chain.
#[derive(Debug, Clone)]
struct Step {
    held: Authority,
    wish: Option<Authority>,
    /// Cut the wish to what is in reach first, so that it is granted, too.
    modest: bool,
    ttl_seconds: Option<u32>,
}

fn some_step() -> impl Strategy<Value = Step> {
    let wish = proptest::option::of(some_authority());
    let ttl_seconds = proptest::option::of(1_u32..400);
    (some_authority(), wish, prop::bool::weighted(0.8), ttl_seconds)
        .prop_map(|(held, wish, modest, ttl_seconds)| Step { held, wish, modest, ttl_seconds })
}

impl Step {
    fn wished(&self, subject: &Authority) -> Option<Authority> {
        let wish = self.wish.clone()?;
        if !self.modest {
            return Some(wish);
        }
        let within = subject.intersect(&self.held).unwrap().intersect(&wish).unwrap();
        Some(Authority { depth: within.depth.min(subject.depth.saturating_sub(1)), ..within })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn down_a_chain_nothing_ever_widens(
        root in some_authority(),
        steps in vec(some_step(), 1..5),
        action in some_action(),
    ) {
        let signer = key();
        let mut subject = Claims { authority: root, ..olivias() };
        for (n, step) in steps.iter().enumerate() {
            let uri = format!("spiffe://acme.example/prod/agent/a{n}");
            subject.may_act = may_act(&uri);
            let authority = step.wished(&subject.authority);
            let wish = Wish { authority, ttl_seconds: step.ttl_seconds, ..Wish::default() };
            let actor = actor(&uri, &step.held);
            let Ok(given) = narrow(&subject, &actor, wish.clone(), link(), &limits()) else { break };

            let both = action.allowed_by(&subject.authority) && action.allowed_by(&step.held);
            let wished = wish.authority.as_ref().is_none_or(|wish| action.allowed_by(wish));
            let alive = action.at < given.expires;
            prop_assert_eq!(action.allowed_by(&given.authority), both && wished && alive);

            prop_assert!(given.authority.depth < subject.authority.depth);
            prop_assert!(given.authority.depth <= step.held.depth);
            let ends = subject.links.iter().map(|link| link.exp).chain([subject.exp, after(120)]);
            prop_assert!(ends.min() >= Some(given.expires));
            prop_assert!(given.authority.clauses.iter().all(|clause| clause.expires <= given.expires));

            prop_assert_eq!(&given.sub, &subject.sub);
            prop_assert_eq!(given.act.act.as_deref(), subject.act.as_ref());
            prop_assert_eq!(&given.links[..subject.links.len()], &subject.links[..]);
            let (jti, entry) = (subject.jti, Digest([6; 32]));
            let issuance = Issuance { issuer: ISSUER, client_id: "c", at: now(), jti, entry };
            subject = given.into_claims(&issuance);
            prop_assert!(subject.sign(&signer).is_ok());
        }
    }
}
