//! The record of a change on its way through the outbox, and whom it tells of.

use ledger::{Draft, ORGANIZATION, PayloadClass, SealedFor};
use model::{ActionId, ApprovalId, Digest, EntryId, IdentityId, Timestamp, ijson::Json};
use serde::{Deserialize, Serialize};
use store::Governed as Object;

use crate::{
    accounts::AccountRecord,
    entries::{self, Governed},
    records::{AgentRecord, ApprovalRecord, GrantRecord, HoldRecord, PersonRecord, StopRecord},
    stop::StopScope,
    subject::Subject,
};

/// The record of a change, as it waits in the outbox.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiting {
    pub(crate) at: Timestamp,
    pub(crate) action: Option<ActionId>,
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) parents: Vec<Digest>,
    pub(crate) person: Option<IdentityId>,
    pub(crate) body: Governed,
    pub(crate) content: Json,
}

impl Waiting {
    fn class(&self) -> PayloadClass {
        match self.body.object.as_str() {
            ApprovalRecord::KIND => PayloadClass::Approvals,
            _ => PayloadClass::Governance,
        }
    }

    pub(crate) fn whose(&self) -> SealedFor {
        SealedFor::new(self.body.about(&self.content), self.class(), self.at)
    }

    pub(crate) fn into_draft(self, entry: EntryId) -> Draft {
        let mut draft = entries::draft(entry, self.at, &self.body);
        draft.class = self.class();
        draft.action = self.action;
        draft.approval = self.approval;
        draft.parents = self.parents;
        draft.person = self.person;
        draft.subject = Some(self.body.about(&self.content));
        draft.payload = Some(self.content.canonical());
        draft
    }
}

impl Governed {
    /// Whom the content of an object tells of, and under whose key it is sealed: not whoever changed it.
    fn about(&self, content: &Json) -> String {
        let member = |name| content.member(name).and_then(Json::as_str).map(str::to_owned);
        let about = match self.object.as_str() {
            PersonRecord::KIND | AgentRecord::KIND => Some(self.key.clone()),
            GrantRecord::KIND => member("holder"),
            AccountRecord::KIND => member("person"),
            HoldRecord::KIND => whose_hold(&self.key),
            StopRecord::KIND => {
                let order = content.member("order");
                let scope = order.and_then(|order| order.member("scope")?.as_str()?.parse().ok());
                scope.as_ref().and_then(StopScope::about)
            }
            ApprovalRecord::KIND => {
                member("about").or_else(|| content.member("chain").and_then(first_of))
            }
            _ => None,
        };
        about.unwrap_or_else(|| ORGANIZATION.to_owned())
    }
}

/// Whom a hold tells of, by its key: a task tells of nobody that its name says.
fn whose_hold(key: &str) -> Option<String> {
    key.parse().ok().as_ref().and_then(Subject::word)
}

/// The first text of a list.
fn first_of(list: &Json) -> Option<String> {
    let Json::Array(list) = list else { return None };
    list.first()?.as_str().map(str::to_owned)
}
