//! Whoever can write to the database can take rights away, and can give none.

use std::sync::atomic::Ordering;

use model::Verb;
use store::Expect;

use super::{
    cast::{DESK, POLICIES, agent, authority, blueprint, eur, grant, person, tool},
    database::Database,
    world::{Deed, Failed, World},
};
use crate::{
    GrantRecord, NotInForce, PersonRecord, PolicyFile, PolicySetRecord, directory::Admission,
};

const READ: (&str, &str) = ("get_order", r#"{"order":"A-1"}"#);
const ADMINISTRATION: Deed = Deed(Verb::Create, "Registration");

/// Rows whose loss keeps support-bot from reading for Lena, and how it is told.
const NEEDED: [(&str, &str, &str); 8] = [
    ("person", "person/lena", "record_tampered"),
    ("person", "person/olivia", "owner_not_active"),
    ("agent", "agent/support-bot", "record_tampered"),
    ("blueprint", "support", "beyond_authority"),
    ("grant", "lena-desk", "beyond_authority"),
    ("server", "desk", "system_unknown"),
    ("tool", "desk/get_order", "tool_unknown"),
    ("policy_set", "current", "not_permitted"),
];

#[tokio::test]
async fn a_row_that_was_changed_in_the_database_grants_nothing_until_it_is_put_back() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    database.keep();
    for (kind, key, code) in NEEDED {
        // One space more: still the same JSON, and no longer what was sealed.
        database.change(kind, key, "body = body || ' '");
        world.refresh().await;
        let verdict = world.verdict(&bot, READ.0, READ.1).await;
        assert!(verdict.starts_with(&format!("deny {code}:")), "{kind} {key}: {verdict}");
        assert_eq!(world.engine.directory.tampered(), [(kind.to_owned(), key.to_owned())]);
        database.put_back(kind, key);
        world.refresh().await;
        assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit", "{kind} {key}");
        assert!(world.engine.directory.tampered().is_empty());
    }
}

#[tokio::test]
async fn somebody_who_can_write_to_the_database_cannot_grant_a_right() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
    database
        .forge("person/lena", |record: &mut PersonRecord| {
            record.person.teams.push("administrator".parse().unwrap());
        })
        .await;
    world.refresh().await;
    let lena = ("person".to_owned(), "person/lena".to_owned());
    assert_eq!(world.engine.directory.tampered(), [lena]);
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert!(verdict.starts_with("deny record_tampered"), "{verdict}");
    // Nothing is built on such a row either: a change of it would seal what somebody else wrote.
    let changed =
        world.try_put(|changes| Ok(changes.get::<PersonRecord>("person/lena").map(drop)?)).await;
    let Failed::Put(store::PutError::Store(why)) = changed.unwrap_err() else { panic!() };
    let why = std::error::Error::source(&why).unwrap().to_string();
    assert!(why.contains("`person/lena` differs from its ledger entry"), "{why}");
}

#[tokio::test]
async fn a_tampered_administrator_does_not_switch_the_second_person_off() {
    let database = Database::new();
    let world = database.world().await;
    assert_eq!(world.engine.directory.administrators(), 1);
    database
        .forge("person/max", |record: &mut PersonRecord| {
            record.person.display_name = "Max M.".to_owned();
        })
        .await;
    world.refresh().await;
    assert_eq!(world.engine.directory.tampered().len(), 1);
    assert_eq!(world.engine.directory.administrators(), 2, "there may be one more");
}

#[tokio::test]
async fn everyone_of_a_chain_is_looked_up_anew_at_every_call() {
    let database = Database::new();
    let world = database.world().await;
    let (_, subject) = world.task(None).await;
    let lookup = world.lookup(&subject).await;
    database.keep();
    assert_eq!(world.verdict(&lookup, READ.0, READ.1).await, "permit");
    for (kind, key) in
        [("agent", "agent/lookup"), ("agent", "agent/support-bot"), ("person", "person/lena")]
    {
        database.change(kind, key, "body = body || ' '");
        world.refresh().await;
        let verdict = world.verdict(&lookup, READ.0, READ.1).await;
        let expected =
            format!("deny record_tampered: the record of `{key}` differs from its ledger entry");
        assert_eq!(verdict, expected);
        database.put_back(kind, key);
        world.refresh().await;
    }
    assert_eq!(world.verdict(&lookup, READ.0, READ.1).await, "permit");
    // A node that starts without their rows does not know them either, whatever their token says.
    let mut world = world;
    for (kind, key) in
        [("agent", "agent/lookup"), ("agent", "agent/support-bot"), ("person", "person/lena")]
    {
        database.remove(kind, key);
        world = world.restart(&database.target()).await;
        let verdict = world.verdict(&lookup, READ.0, READ.1).await;
        assert_eq!(verdict, format!("deny identity_unknown: `{key}` is not registered"));
        database.put_back(kind, key);
        world.refresh().await;
        assert_eq!(world.verdict(&lookup, READ.0, READ.1).await, "permit");
    }
}

#[tokio::test]
async fn policies_that_the_database_has_lost_permit_nothing_not_even_governance() {
    let database = Database::new();
    let world = World::empty(database.target()).await;
    let olivia = person("olivia", "administrator");
    world.put(move |changes| changes.put(&olivia, Expect::New, true)).await;
    // Before the first policies there is the guard pack, by which an administrator governs.
    let olivia = world.session("olivia").await;
    world.engine.allow(&olivia, ADMINISTRATION).await.unwrap();
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(None).await;
    let olivia = world.session("olivia").await;
    world.engine.allow(&olivia, ADMINISTRATION).await.unwrap();
    database.keep();
    database.remove("policy_set", "current");
    let world = world.restart(&database.target()).await;
    let verdict = world.verdict(&bot, READ.0, READ.1).await;
    assert_eq!(verdict, "deny not_permitted: no policy permits this");
    let refused = world.engine.allow(&olivia, ADMINISTRATION).await.unwrap_err();
    assert_eq!(refused.code.text(), "not_permitted");
    // Nor does a change of the catalog, for which policies are compiled anew, bring the guard pack back.
    let tool = tool("more", vec![], "");
    world.put(move |changes| changes.put(&tool, Expect::New, true)).await;
    let refused = world.engine.allow(&olivia, ADMINISTRATION).await.unwrap_err();
    assert_eq!(refused.code.text(), "not_permitted");
    database.put_back("policy_set", "current");
    world.refresh().await;
    assert_eq!(world.verdict(&bot, READ.0, READ.1).await, "permit");
}

/// Takes a right of support-bot or Lena away, by a change of the row with this kind and key.
async fn narrow(world: &World, kind: &str) -> Result<(), Failed> {
    match kind {
        "grant" => {
            let grant = grant("lena-desk", "lena", authority(DESK, 4));
            let revoked = GrantRecord { revoked: true, ..grant };
            world.try_put(move |changes| changes.put(&revoked, Expect::Version(1), false)).await
        }
        "agent" => {
            let mut bot = agent("support-bot", "support");
            bot.agent = bot.agent.suspend("it misbehaves".to_owned()).unwrap();
            world.try_put(move |changes| changes.put(&bot, Expect::Version(1), false)).await
        }
        "person" => {
            let mut lena = person("lena", "support");
            lena.person.active = false;
            world.try_put(move |changes| changes.put(&lena, Expect::Version(1), false)).await
        }
        "blueprint" => {
            let less = blueprint("support", "lookup", &[(&[Verb::List], "desk/*/*")]);
            world.try_put(move |changes| changes.put(&less, Expect::Version(1), false)).await
        }
        _ => {
            let text = format!("{POLICIES}\n@id(\"closed\") forbid (principal, action, resource);");
            let closed = PolicySetRecord {
                sources: vec![PolicyFile { name: "desk.cedar".to_owned(), text }],
                kinds: std::collections::BTreeSet::new(),
            };
            world.try_put(move |changes| changes.put(&closed, Expect::Version(1), false)).await
        }
    }
}

/// What is narrowed in these tests, how that is told, and how its older version is.
const NARROWED: [(&str, &str, &str, &str); 5] = [
    ("grant", "lena-desk", "beyond_authority", "beyond_authority"),
    ("agent", "agent/support-bot", "identity_not_active", "record_tampered"),
    ("person", "person/lena", "identity_not_active", "record_tampered"),
    ("blueprint", "support", "beyond_authority", "beyond_authority"),
    ("policy_set", "current", "forbidden", "not_permitted"),
];

#[tokio::test]
async fn an_older_version_of_a_row_is_in_force_no_more_once_the_ledger_holds_a_newer_one() {
    for (kind, key, narrowed, older) in NARROWED {
        let database = Database::new();
        let world = database.world().await;
        let bot = world.bot(None).await;
        database.keep();
        narrow(&world, kind).await.unwrap();
        let verdict = world.verdict(&bot, READ.0, READ.1).await;
        assert!(verdict.starts_with(&format!("deny {narrowed}:")), "{kind}: {verdict}");
        // As if it still waited for its seal, and with the valid one that it had.
        for columns in ["ledger_index = NULL, leaf = NULL", "version = version"] {
            database.put_back(kind, key);
            database.change(kind, key, columns);
            world.refresh().await;
            let verdict = world.verdict(&bot, READ.0, READ.1).await;
            assert!(verdict.starts_with(&format!("deny {older}:")), "{kind} {columns}: {verdict}");
            assert_eq!(world.engine.directory.tampered(), [(kind.to_owned(), key.to_owned())]);
        }
        let world = world.restart(&database.target()).await;
        let verdict = world.verdict(&bot, READ.0, READ.1).await;
        assert!(verdict.starts_with(&format!("deny {older}:")), "{kind}: {verdict}");
    }
}

#[tokio::test]
async fn an_older_version_of_a_row_is_in_force_no_more_while_the_newer_one_waits_for_the_ledger() {
    for (kind, key, narrowed, older) in NARROWED {
        let database = Database::new();
        let world = database.world().await;
        let bot = world.bot(None).await;
        database.keep();
        world.faults.writes_fail.store(true, Ordering::SeqCst);
        let stored = narrow(&world, kind).await;
        let why = stored.unwrap_err();
        assert!(matches!(why, Failed::NotInForce(NotInForce::Ledger(_))), "{kind}: {why}");
        let verdict = world.verdict(&bot, READ.0, READ.1).await;
        assert!(verdict.starts_with(&format!("deny {narrowed}:")), "{kind}: {verdict}");
        database.put_back(kind, key);
        world.refresh().await;
        let verdict = world.verdict(&bot, READ.0, READ.1).await;
        assert!(verdict.starts_with(&format!("deny {older}:")), "{kind}: {verdict}");
        assert_eq!(world.engine.directory.tampered(), [(kind.to_owned(), key.to_owned())]);
    }
}

#[tokio::test]
async fn a_row_that_says_it_narrows_waits_for_its_entry_like_any_other() {
    let world = World::new().await;
    let mut row = world
        .engine
        .store
        .read(|view| view.object("grant", "lena-desk"))
        .await
        .map(|row: Option<store::RawRow>| row.unwrap())
        .unwrap();
    (row.version, row.sealed, row.widens) = (2, None, false);
    assert_eq!(world.engine.directory.admit(&row), Admission::Pending);
}

#[tokio::test]
async fn an_approval_that_was_changed_in_the_database_lifts_nothing() {
    let database = Database::new();
    let world = database.world().await;
    let bot = world.bot(Some(eur(1_000_000))).await;
    let large = r#"{"order":"A-2","amount":400000}"#;
    let id = world.attempt(&bot, "refund", large).await.err().unwrap().approval.unwrap();
    let yes = format!(
        r#"body = replace(body, '"answers":[]', '"answers":[{{"approve":true,"at":0,"by":"person/max","entry":"{id}","proof":"","teams":["finance"]}}]')"#
    );
    database.change("approval", &id.to_string(), &yes);
    world.refresh().await;
    assert_eq!(world.engine.directory.tampered().len(), 1);
    let again = world.attempt(&bot, "refund", large).await.err().unwrap();
    assert_eq!(again.verdict(), "hold");
    assert_ne!(again.approval, Some(id), "it is asked anew");
    // What a person really said counts.
    world.answer(again.approval.unwrap(), "max", "finance", true).await;
    let permit = world.attempt(&bot, "refund", large).await.unwrap();
    database.change("approval", &again.approval.unwrap().to_string(), "body = body || ' '");
    world.refresh().await;
    assert_eq!(permit.dispatch().err().unwrap().code.text(), "held");
}
