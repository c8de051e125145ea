use std::sync::Arc;

use decide::{Act, Allowed, ApprovalAnswer, ApprovalRecord, Directory, Engine, Standing};
use model::{ApprovalId, EntryId, IdentityId, Name, Verb, ijson::Json};
use store::{Expect, Row};
use token::approval::{self, Verdict};

use crate::{Error, agents::json};

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
    may_answer(&record, &person, &entry.person.teams)?;
    let now = engine.context().now();
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
    let said = ApprovalAnswer {
        by: person,
        approve: statement.verdict == Verdict::Approve,
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
            match record.standing(changes.at()) {
                Standing::Waiting => {}
                other => {
                    return Err(Error::Conflict(format!("the request is {} already", name(other))));
                }
            }
            if record.answers.iter().any(|answer| answer.by == said.by) {
                return Err(Error::Conflict("you have answered this request already".to_owned()));
            }
            record.answers.push(said.clone());
            changes.put(&record, Expect::Version(row.version), said.approve)?;
            Ok(record)
        })
        .await
}

/// Requester and approver differ (POL4): the invoker, the owners of the chain's agents and their delegations are one
/// party.
fn may_answer(record: &ApprovalRecord, person: &IdentityId, teams: &[Name]) -> Result<(), Error> {
    if record.party.contains(person) {
        return Err(Error::NotYours(
            "you are one party with who asked; somebody else has to answer".to_owned(),
        ));
    }
    let asked: Vec<&str> = record.demands.iter().map(|demand| demand.group.as_str()).collect();
    if teams.iter().any(|team| asked.contains(&team.as_str())) {
        Ok(())
    } else {
        Err(Error::NotYours(format!(
            "this request is for {}; you are in none of these teams",
            asked.join(", ")
        )))
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
