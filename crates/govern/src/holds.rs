use std::sync::Arc;

use decide::{Act, Allowed, Engine, HoldRecord, Subject};
use model::{Verb, ijson::Json};
use store::{Expect, Row};

use crate::{Error, agents::json};

/// Lays a legal hold on what is sealed for a subject, or lifts one.
#[derive(Debug, Clone)]
pub struct ChangeHold {
    /// Whose payloads.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// Whether it is lifted: what it kept can then be erased, so this needs a second person.
    pub lift: bool,
}

impl Act for ChangeHold {
    fn verb(&self) -> Verb {
        if self.lift { Verb::Update } else { Verb::Create }
    }

    fn target(&self) -> (&'static str, String) {
        ("Ledger", format!("hold/{}", self.subject))
    }

    fn about(&self) -> Option<String> {
        self.subject.word()
    }

    fn shown(&self) -> Json {
        Json::object([
            ("lift", Json::Bool(self.lift)),
            ("reason", Json::String(self.reason.clone())),
            ("subject", json(&self.subject)),
        ])
    }
}

/// Whether a hold can be changed like this, so that nobody is asked to approve what cannot be done.
///
/// # Errors
/// There is nobody of that name, one is laid already, or there is none to lift.
pub fn check_hold(engine: &Engine, wish: &ChangeHold) -> Result<(), Error> {
    let (directory, subject) = (engine.directory(), &wish.subject);
    let is_known = match subject {
        Subject::Identity(id) => directory.person(id).is_some() || directory.agent(id).is_some(),
        // Tasks are forgotten a day after their end, and of whom only a handle was said there is no row.
        Subject::Handle(_) | Subject::Task(_) => true,
    };
    if !is_known {
        return Err(Error::NotFound { kind: "identity", name: subject.to_string() });
    }
    match (directory.is_held(subject), wish.lift) {
        (true, false) => Err(Error::Conflict(format!("`{subject}` is under a legal hold already"))),
        (false, true) => Err(Error::NotFound { kind: "hold", name: subject.to_string() }),
        _ => Ok(()),
    }
}

/// Lays or lifts a hold. One that is laid is in force at once, one that is lifted when its record is durable.
///
/// # Errors
/// As [`check_hold`], or store or ledger fail.
pub async fn change_hold(engine: &Arc<Engine>, allowed: Allowed<ChangeHold>) -> Result<(), Error> {
    check_hold(engine, allowed.act())?;
    let ChangeHold { subject, reason, lift } = allowed.act().clone();
    let by = allowed.caller().person.clone();
    let record = HoldRecord { subject, reason, by, lifted: lift };
    engine
        .change(&allowed, move |changes| {
            let before: Option<Row<HoldRecord>> = changes.get(&record.subject.to_string())?;
            let expect = before.map_or(Expect::New, |row| Expect::Version(row.version));
            Ok(changes.put(&record, expect, record.lifted)?)
        })
        .await
}
