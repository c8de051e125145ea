use clap::Args;
use model::{Name, Verb};
use serde_json::json;

use super::show;
use crate::{
    client::{Client, Context},
    failure::{Exit, Result},
    input::Amount,
    output::{Answer, fields},
};

/// Ask whether something would be permitted.
#[derive(Args)]
#[command(
    after_help = "Exit statuses: 0 it would be permitted, 3 denied, 8 it would wait for somebody."
)]
pub(crate) struct CanI {
    /// What is done.
    verb: Verb,
    /// To what: `SYSTEM/KIND/ID`.
    resource: String,
    /// For whom, by handle; yourself when nobody is named.
    #[arg(long)]
    person: Option<Name>,
    /// Through which agent.
    #[arg(long)]
    agent: Option<Name>,
    /// For how much, as `50.00 EUR`.
    #[arg(long)]
    amount: Option<Amount>,
}

impl CanI {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let mut body = json!({ "verb": self.verb, "resource": self.resource });
        for (member, name) in [("person", &self.person), ("agent", &self.agent)] {
            if let Some(name) = name {
                body[member] = json!(name);
            }
        }
        if let Some(Amount(money)) = self.amount {
            body["amount"] = json!(money.minor_units());
            body["currency"] = json!(money.currency());
        }
        let document = Client::sign_in(context).await?.post("/v1/can-i", body).await?;
        let verdict = show::cell(&document, "verdict");
        let exit = match verdict.as_str() {
            "permit" => Exit::Done,
            "hold" | "step_up" => Exit::Waiting,
            _ => Exit::No,
        };
        let said =
            [("why", "reason"), ("code", "code"), ("policies", "policies"), ("next", "next")];
        let said = said.map(|(word, member)| (word, show::cell(&document, member)));
        let said = fields(said.into_iter().filter(|(_, text)| !text.is_empty()));
        let text = format!(
            "{}  {} {}\n{said}",
            verdict.to_uppercase(),
            self.verb,
            model::Foreign::new(self.resource)
        );
        Ok(Answer::new(document, text).exit(exit))
    }
}
