use std::sync::Arc;

use decide::{Act, Allowed, ApprovalAnswer, ApprovalRecord, Directory, Engine, Standing};
use model::{ApprovalId, EntryId, IdentityId, Name, Person, Timestamp, Verb, ijson::Json};
use store::{Expect, Row};
use token::approval::{self, Verdict};

use crate::{Error, agents::json};

/// The longest reason of an answer, in bytes.
const MAX_REASON: usize = 500;
/// The longest life of a signed answer, in seconds.
const ANSWER_SECONDS_MAX: u32 = 10 * 60;

/// Answers a request for approval, with a statement signed by the person's own key.
#[derive(Debug, Clone)]
pub struct AnswerApproval {
    /// Which request.
    pub id: ApprovalId,
    /// The signed statement.
    pub proof: String,
}

impl Act for AnswerApproval {
    fn verb(&self) -> Verb {
        Verb::Approve
    }

    fn target(&self) -> (&'static str, String) {
        ("Approval", self.id.to_string())
    }

    /// The person for whom the approval is asked.
    fn owner(&self, directory: &Directory, _caller: &IdentityId) -> Option<IdentityId> {
        directory.approval(self.id).and_then(|record| record.chain.first().cloned())
    }

    fn group(&self, directory: &Directory, teams: &[Name]) -> Option<Name> {
        directory.approval(self.id).and_then(|record| record.group_for(teams).cloned())
    }

    fn shown(&self) -> Json {
        Json::object([("approval", json(&self.id)), ("proof", Json::String(self.proof.clone()))])
    }
}

/// Records a person's answer. An approval is in force once the ledger holds it.
///
/// # Errors
/// The request is unknown or over, the person is one party with the asker or in no team that is asked, has answered
/// before, or the signature does not bind exactly this request.
pub async fn answer(
    engine: &Arc<Engine>,
    allowed: Allowed<AnswerApproval>,
) -> Result<ApprovalRecord, Error> {
    let wish = allowed.act();
    let person = allowed.caller().person.clone();
    let entry = engine.directory().person(&person).ok_or_else(|| not_found("person", &person))?;
    let record =
        engine.directory().approval(wish.id).ok_or_else(|| not_found("approval", &wish.id))?;
    let now = engine.context().now();
    may_answer(&record, &entry.person, now)?;
    let uri = engine.context().realm.uri(&person);
    let expect = approval::Expect {
        issuer: &engine.issuer().url,
        approval: record.id,
        digest: record.binding,
        nonce: &record.nonce,
        now,
        max_life_seconds: ANSWER_SECONDS_MAX,
    };
    let statement = approval::check(&wish.proof, &expect, |signer, kid| {
        entry.keys.iter().find(|key| signer == uri && kid == Some(key.kid())).cloned()
    })
    .map_err(|why| Error::NotYours(format!("the signed answer does not count: {why}")))?;
    if statement.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
        return Err(Error::Invalid(format!("a reason has at most {MAX_REASON} bytes")));
    }
    // It is signed with the answer, so nothing can be left out of it.
    if statement.reason.as_deref().is_some_and(scrub::holds_secret) {
        return Err(Error::Invalid(
            "the reason looks as if it held a secret; answer again without it".to_owned(),
        ));
    }
    let said = ApprovalAnswer {
        by: person,
        approve: statement.verdict == Verdict::Approve,
        reason: statement.reason,
        proof: wish.proof.clone(),
        teams: entry.person.teams.clone(),
        at: now,
        entry: EntryId::from_bits(engine.context().id::<model::of::Entry>().bits()),
    };
    let key = wish.id.to_string();
    engine
        .change(&allowed, move |changes| {
            let row: Option<Row<ApprovalRecord>> = changes.get(&key)?;
            let row = row.ok_or_else(|| not_found("approval", &key))?;
            let mut record = row.value;
            still_open(&record, &said.by, changes.at())?;
            record.answers.push(said.clone());
            changes.put(&record, Expect::Version(row.version), said.approve)?;
            Ok(record)
        })
        .await
}

/// Whether a person can answer a request now, as far as the request itself tells; policies have the last word.
///
/// Requester and approver differ (POL4): the invoker, the owners of the chain's agents and their delegations are one
/// party.
///
/// # Errors
/// The person is one party with who asked or in no team that is asked, has answered before, or the request is over.
pub fn may_answer(record: &ApprovalRecord, person: &Person, now: Timestamp) -> Result<(), Error> {
    if record.party.contains(&person.id) {
        return Err(Error::NotYours(
            "you are one party with who asked; somebody else has to answer".to_owned(),
        ));
    }
    let asked: Vec<&str> = record.demands.iter().map(|demand| demand.group.as_str()).collect();
    if !person.teams.iter().any(|team| asked.contains(&team.as_str())) {
        return Err(Error::NotYours(format!(
            "this request is for {}; you are in none of these teams",
            asked.join(", ")
        )));
    }
    still_open(record, &person.id, now)
}

/// Whether one more answer counts.
fn still_open(record: &ApprovalRecord, by: &IdentityId, now: Timestamp) -> Result<(), Error> {
    if record.answers.iter().any(|answer| answer.by == *by) {
        return Err(Error::Conflict("you have answered this request already".to_owned()));
    }
    match record.standing(now) {
        Standing::Waiting => Ok(()),
        other => Err(Error::Conflict(format!("the request is {} already", name(other)))),
    }
}

fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Waiting => "waiting",
        Standing::Approved => "approved",
        Standing::Denied => "denied",
        Standing::Expired => "expired",
    }
}

fn not_found(kind: &'static str, name: &dyn std::fmt::Display) -> Error {
    Error::NotFound { kind, name: name.to_string() }
}
