use clap::Args;
use model::{Name, Resource, Verb};
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
    #[arg(value_parser = resource)]
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

/// A resource as people write it; the server reads it once more.
fn resource(text: &str) -> std::result::Result<String, String> {
    let mut parts = text.splitn(3, '/');
    let (Some(system), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(
            "write it as `SYSTEM/KIND/ID`, for example `support-desk/Refund/4711`".to_owned()
        );
    };
    let system: Name = system.parse().map_err(|why| format!("the system: {why}"))?;
    Resource::new(system, kind, id).map_err(|why| why.to_string())?;
    Ok(text.to_owned())
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
