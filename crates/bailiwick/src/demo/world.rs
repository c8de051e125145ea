//! Everybody in the demo, and how each of them does something that the story tells.

use serde_json::Value;

use super::{
    ODD, RERUN, Summary,
    bot::Bot,
    cast::BOT,
    desk::Desk,
    node::Node,
    order::{Answer, Order},
    program::{Done, Person, Program},
    record::{self, Record},
    tell::{Came, Step, Teller},
};
use crate::failure::{Failure, Result};

/// Everybody in the story.
pub(super) struct World<'p> {
    pub(super) program: Program<'p>,
    pub(super) node: Node,
    pub(super) desk: Desk,
    pub(super) bot: Bot,
    pub(super) lookup: Bot,
    pub(super) record: Record,
    pub(super) olivia: Person,
    pub(super) lena: Person,
    pub(super) max: Person,
    /// Where agents send their calls instead of to the gateway.
    pub(super) via: Option<String>,
    pub(super) config: String,
    pub(super) data: String,
    pub(super) ledger_key: String,
    pub(super) task: String,
    /// The token that Lena handed to the agent.
    pub(super) handed: String,
    pub(super) summary: Summary,
}

impl World<'_> {
    /// Does something as one person, and finds where the ledger has it.
    pub(super) async fn act(
        &mut self,
        teller: &mut Teller,
        step: &Step,
        who: &Person,
        arguments: &[String],
    ) -> Result<Value> {
        let done = self.run(who, arguments).await?;
        self.came_to(teller, step, who, &done).await?;
        done.accepted(step.says)
    }

    /// Does something as Olivia that Max has to approve: asks, lets him answer, does it.
    pub(super) async fn act_with_max(
        &mut self,
        teller: &mut Teller,
        step: &Step,
        arguments: &[String],
    ) -> Result<Value> {
        let olivia = self.olivia.clone();
        let held = self.run(&olivia, arguments).await?;
        let request = held.approval().ok_or_else(|| held.failure(step.says))?;
        let max = self.max.clone();
        let approved = self.run(&max, &approve(&request)).await?;
        let done = self.run(&olivia, arguments).await?;
        let ms = held.ms + approved.ms + done.ms;
        approved.accepted("Max's approval")?;
        let document = done.accepted(step.says)?;
        let verb = step.verb.unwrap_or_default();
        let entry =
            self.record.next(|leaf| record::is_act(leaf, &olivia.id, verb, "permit")).await?;
        let reason = "held first; in force after Max approved exactly this";
        let came = Came {
            reason: Some(reason.to_owned()),
            index: entry.map(|entry| entry.index),
            ..permit(ms)
        };
        teller.step(step, &came);
        Ok(document)
    }

    /// Lets Max approve what somebody waits for.
    pub(super) async fn approve(
        &mut self,
        teller: &mut Teller,
        step: &Step,
        request: Option<String>,
    ) -> Result<()> {
        match request {
            Some(request) => {
                let max = self.max.clone();
                self.act(teller, step, &max, &approve(&request)).await?;
            }
            None => teller.check(false, &format!("`{}`: nothing waits for it", step.name)),
        }
        Ok(())
    }

    /// Runs a command as one person.
    pub(super) async fn run(&self, who: &Person, arguments: &[String]) -> Result<Done> {
        self.program.run(Some(who.handle), arguments).await
    }

    /// Tells what a command came to.
    pub(super) async fn came_to(
        &mut self,
        teller: &mut Teller,
        step: &Step,
        who: &Person,
        done: &Done,
    ) -> Result<()> {
        let verdict = match done.exit {
            0 => "permit",
            8 => "hold",
            3 | 5 => "deny",
            _ => return Err(done.failure(step.says)),
        };
        let verb = step.verb.unwrap_or_default();
        let entry = self.record.next(|leaf| record::is_act(leaf, &who.id, verb, verdict)).await?;
        let text = |member: &str| done.document["error"][member].as_str().map(str::to_owned);
        let came = Came {
            verdict: verdict.to_owned(),
            reason: text("why"),
            next: None,
            index: entry.map(|entry| entry.index),
            ms: Some(done.ms),
        };
        teller.step(step, &came);
        Ok(())
    }

    /// Lets an agent call a tool, and finds where the ledger has it.
    pub(super) async fn calls(
        &mut self,
        teller: &mut Teller,
        step: &Step,
        tool: &str,
        arguments: Value,
    ) -> Result<Answer> {
        let agent = if step.actor == BOT { &mut self.bot } else { &mut self.lookup };
        let answer = agent.ask(Order::Call { tool: tool.to_owned(), arguments }).await?;
        let index = self.found(answer.action.as_deref()).await?;
        teller.step(step, &came(&answer, index));
        teller.check(index.is_some(), &format!("`{}` left no decision in the ledger", step.name));
        Ok(answer)
    }

    /// Tells how a request for a token ended.
    pub(super) async fn issued(
        &mut self,
        teller: &mut Teller,
        step: &Step,
        answer: Answer,
        reason: &str,
    ) -> Result<()> {
        let (task, actor) = (self.task.clone(), format!("agent/{}", step.actor));
        let index = if answer.verdict == "permit" {
            let issued = |leaf: &ledger::Leaf| {
                let agent = leaf.agent.as_ref().map(|agent| agent.id.to_string());
                leaf.kind == "token"
                    && leaf.task.is_some_and(|id| id.to_string() == task)
                    && agent == Some(actor.clone())
            };
            self.record.next(issued).await?.map(|entry| entry.index)
        } else {
            self.found(answer.action.as_deref()).await?
        };
        let mut came = came(&answer, index);
        came.reason = came.reason.or_else(|| Some(reason.to_owned()));
        teller.step(step, &came);
        Ok(())
    }

    /// Where the decision on an attempt stands.
    pub(super) async fn found(&mut self, action: Option<&str>) -> Result<Option<u64>> {
        if action.is_none() {
            return Ok(None);
        }
        let entry = self.record.next(|leaf| leaf.kind == "decision" && named(leaf, action)).await?;
        Ok(entry.map(|entry| entry.index))
    }

    /// Says what to try while everything still runs.
    pub(super) fn running(&self) -> String {
        let people = self.program.place().path("people");
        format!(
            "\nStill running, until Ctrl-C\n  server   {}\n  gateway  {}\n  health   {}/readyz\n  desk     {}\n\n\
             Try\n  export BAILIWICK_PROFILE={}/olivia.toml\n  bailiwick stops\n  bailiwick agent list\n  \
             bailiwick ledger show --limit 20\n  bailiwick can-i pay support-desk/Refund/A-1002 --agent support-bot --amount \"4000.00 EUR\"\n  \
             bailiwick resume agent:support-bot --reason \"looked into it\"   (Max has to approve: --profile {}/max.toml)",
            self.node.server,
            self.node.gateway,
            self.node.ops,
            self.desk.url,
            people.display(),
            people.display(),
        )
    }

    /// Says what to look at in the folder that stays.
    pub(super) fn kept(&self) -> String {
        let place = self.program.place();
        format!(
            "\nKept in {}\n  bailiwick ledger verify --data {} --key {}\n  bailiwick serve --config {}\n  \
             bailiwick whoami --profile {}   (while it serves)\n  \
             BAILIWICK_DESK_SECRET=$(cat {}) bailiwick desk --listen {} --database {}\n  sqlite3 {} .dump",
            place.dir().display(),
            self.data,
            place.path("ledger.key").display(),
            self.config,
            place.path("people/olivia.toml").display(),
            place.path("desk/secret").display(),
            self.desk.url.trim_start_matches("http://").trim_end_matches(crate::desk::PATH),
            place.path("desk/desk.db").display(),
            place.path("desk/desk.db").display(),
        )
    }

    /// Ends all processes, the node in order.
    pub(super) async fn end(self) {
        tokio::join!(self.bot.end(), self.lookup.end(), self.node.end(), self.desk.end());
    }
}

fn approve(request: &str) -> [String; 3] {
    ["approve", request, "--yes"].map(str::to_owned)
}

pub(super) fn permit(ms: u64) -> Came {
    Came { verdict: "permit".to_owned(), ms: Some(ms), ..Came::default() }
}

/// Whether an entry is about this attempt.
pub(super) fn named(leaf: &ledger::Leaf, action: Option<&str>) -> bool {
    leaf.action.map(|id| id.to_string()).as_deref() == action
}

/// What an agent was answered, as the story tells it.
pub(super) fn came(answer: &Answer, index: Option<u64>) -> Came {
    let by = match answer.policies.as_slice() {
        [] => String::new(),
        policies => format!(" (policy {})", policies.join(", ")),
    };
    let refused = answer.verdict != "permit";
    Came {
        verdict: answer.verdict.clone(),
        reason: answer.reason.as_ref().map(|reason| format!("{reason}{by}")),
        next: answer.next.clone().filter(|_| refused),
        index,
        ms: Some(answer.ms),
    }
}

/// A text that has to be in a document.
pub(super) fn text_of(document: &Value, member: &str) -> Result<String> {
    let text = document[member].as_str().map(str::to_owned);
    text.ok_or_else(|| {
        Failure::new("demo_failed", format!("an answer has no `{member}`")).why(ODD).next(RERUN)
    })
}
