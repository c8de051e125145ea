//! The story itself: one task, from the prompt that asks for it to the stop that ends it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Summary,
    bot::{Bot, Pending},
    cast::{BOT, BUDGET, LOOKUP, PROMPT},
    desk::{Books, Desk},
    draw,
    node::Node,
    order::{Answer, Order},
    program::{Done, Person, Program},
    record::{self, Record},
    set_up::text_of,
    tell::{Came, Step, Teller},
};
use crate::{failure::Result, moment};

/// How long a call that was stopped may take to be cut, at either side.
const CUT: Duration = Duration::from_secs(3);
/// How long a call may take to reach the desk.
const REACH: Duration = Duration::from_secs(10);
/// How long the call runs that is cut, in seconds: much longer than the rest of the story.
const LONG: u64 = 45;

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

const fn by(actor: &'static str, name: &'static str, says: &'static str, expect: &'static str) -> Step {
    Step { name, actor, verb: None, resource: None, says, expect }
}

const fn call(
    actor: &'static str,
    name: &'static str,
    does: (&'static str, &'static str),
    says: &'static str,
    expect: &'static str,
) -> Step {
    Step { verb: Some(does.0), resource: Some(does.1), ..by(actor, name, says, expect) }
}

const OPEN: Step =
    call("lena", "task", ("delegate", "bailiwick/Task/support-bot"), "asks support-bot for help, with 4,500.00 EUR", "permit");
const EXCHANGE: Step = by(BOT, "exchange", "exchanges her token for one to act for her", "permit");
const READ: Step = call(BOT, "read", ("read", "support-desk/Order/A-1001"), "reads order A-1001", "permit");
const SMALL: Step =
    call(BOT, "refund-small", ("pay", "support-desk/Refund/A-1001"), "refunds 40.00 EUR on A-1001", "permit");
const LARGE: (&str, &str) = ("pay", "support-desk/Refund/A-1002");
const HELD: Step = call(BOT, "refund-held", LARGE, "refunds 4,000.00 EUR on A-1002", "hold");
const APPROVE: Step =
    call("max", "refund-approved", ("approve", "bailiwick/Approval"), "approves exactly this call, with his own key", "permit");
const ONCE: Step = call(BOT, "refund-once", LARGE, "makes the same call again: it runs, once", "permit");
const AGAIN: Step = call(BOT, "refund-held-again", LARGE, "tries it a second time", "hold");
const EXPORT: Step =
    call(BOT, "export", ("export", "support-desk/Customer/all"), "exports all customers", "deny");
const HAND_OVER: Step = by(BOT, "hand-over", "hands reading orders, and no more, to lookup", "permit");
const CHILD: Step = by(LOOKUP, "sub-exchange", "exchanges what it was handed", "permit");
const CHILD_READ: Step = call(LOOKUP, "sub-read", ("read", "support-desk/Order/A-1003"), "reads order A-1003", "permit");
const CHILD_PAY: Step =
    call(LOOKUP, "sub-refund", ("pay", "support-desk/Refund/A-1003"), "refunds 1.00 EUR on A-1003", "deny");
const REINDEX: (&str, &str) = ("execute", "support-desk/SearchIndex/orders");
const LONG_CALL: Step = call(BOT, "reindex", REINDEX, "rebuilds the search index: 45 s of work", "permit");
const STOP: Step =
    call("olivia", "stop", ("admin", "bailiwick/Stop/agent:support-bot"), "stops support-bot", "permit");
const CUT_CALL: Step = call(BOT, "cut", REINDEX, "has that call cut, here and at the desk", "cut");
const NEXT_CALL: Step = call(BOT, "stopped-call", ("read", "support-desk/Order/A-1001"), "reads order A-1001", "deny");
const NEXT_CHILD: Step = call(LOOKUP, "stopped-sub", ("read", "support-desk/Order/A-1003"), "reads order A-1003", "deny");
const NEXT_TOKEN: Step = by(BOT, "stopped-token", "asks for a fresh token", "deny");
const BOOKS: Step = by("desk", "books", "looks into its own books", "agrees");
const VERIFY: Step = by("auditor", "verify", "verifies the whole ledger, offline", "verified");

impl World<'_> {
    /// Plays the story. An error means that it cannot go on; what merely went differently is told and remembered.
    pub(super) async fn tell(&mut self, teller: &mut Teller) -> Result<()> {
        teller.chapter("A support agent at work");
        self.work(teller).await?;
        teller.chapter("A sub-agent with less");
        self.delegate(teller).await?;
        teller.chapter("The stop");
        self.stop(teller).await?;
        teller.chapter("Afterwards");
        self.prove(teller).await
    }

    async fn work(&mut self, teller: &mut Teller) -> Result<()> {
        let open = [
            "task", "open", "--agent", BOT, "--purpose", "support", "--intent", "two refunds", "--prompt", PROMPT,
            "--budget", BUDGET, "--seconds", "900",
        ];
        let lena = self.lena.clone();
        let opened = self.act(teller, &OPEN, &lena, &open.map(str::to_owned)).await?;
        self.task = text_of(&opened, "task")?;
        self.handed = text_of(&opened, "token")?;
        let exchange = Order::Exchange { subject: self.handed.clone() };
        let answer = self.bot.ask(exchange).await?;
        let reason = "the token names both: Lena, and support-bot who acts for her; it is bound to the bot's key";
        self.issued(teller, &EXCHANGE, answer, reason).await?;

        self.calls(teller, &READ, "get_order", json!({ "order_id": "A-1001" })).await?;
        let small = json!({ "order_id": "A-1001", "amount": 4_000, "currency": "EUR" });
        self.calls(teller, &SMALL, "refund_order", small).await?;
        let large = json!({ "order_id": "A-1002", "amount": 400_000, "currency": "EUR" });
        let held = self.calls(teller, &HELD, "refund_order", large.clone()).await?;
        match held.approval {
            Some(request) => {
                let max = self.max.clone();
                let approve = ["approve", &request, "--yes"].map(str::to_owned);
                self.act(teller, &APPROVE, &max, &approve).await?;
            }
            None => teller.check(false, "nothing waits for Max's approval"),
        }
        self.calls(teller, &ONCE, "refund_order", large.clone()).await?;
        self.calls(teller, &AGAIN, "refund_order", large).await?;
        self.calls(teller, &EXPORT, "export_customers", json!({})).await?;
        Ok(())
    }

    async fn delegate(&mut self, teller: &mut Teller) -> Result<()> {
        let order = Order::HandOver {
            subject: self.handed.clone(),
            to: self.lookup.uri.clone(),
            verbs: vec!["read".to_owned()],
            resources: "support-desk/Order/*".to_owned(),
        };
        let handed = self.bot.ask(order).await?;
        let subject = handed.token.clone().unwrap_or_default();
        let reason = "lookup's own blueprint would let it pay; what it was handed does not";
        self.issued(teller, &HAND_OVER, handed, reason).await?;
        let answer = self.lookup.ask(Order::Exchange { subject }).await?;
        self.issued(teller, &CHILD, answer, "the token names all three: Lena, support-bot, lookup").await?;
        let read = self.calls(teller, &CHILD_READ, "get_order", json!({ "order_id": "A-1003" })).await?;
        let pay = json!({ "order_id": "A-1003", "amount": 100, "currency": "EUR" });
        let paid = self.calls(teller, &CHILD_PAY, "refund_order", pay).await?;
        let narrowed = read.verdict == "permit" && paid.code.as_deref() == Some("beyond_authority");
        teller.check(narrowed, "the sub-agent may read and nothing else");
        self.summary.sub_agent_narrowed = narrowed;
        Ok(())
    }

    async fn stop(&mut self, teller: &mut Teller) -> Result<()> {
        let running = self.begin_long_call(teller).await?;
        let olivia = self.olivia.clone();
        let stop = ["stop", "agent:support-bot", "--reason", "refunds look wrong"].map(str::to_owned);
        let done = self.run(&olivia, &stop).await?;
        self.stopped(teller, done).await?;
        self.cut(teller, running).await?;

        let call = self.calls(teller, &NEXT_CALL, "get_order", json!({ "order_id": "A-1001" })).await?;
        let child = self.calls(teller, &NEXT_CHILD, "get_order", json!({ "order_id": "A-1003" })).await?;
        let token = self.bot.ask(Order::Exchange { subject: self.handed.clone() }).await?;
        let index = self.found(token.action.as_deref()).await?;
        teller.step(&NEXT_TOKEN, &came(&token, index));
        let stopped = |answer: &Answer| answer.code.as_deref() == Some("stopped");
        let refused = [&call, &child, &token].into_iter().all(stopped);
        teller.check(refused, "after a stop everything is refused because of it");
        self.summary.stopped_refused = refused;
        Ok(())
    }

    /// Starts a call that takes long, and waits until it has reached the desk.
    async fn begin_long_call(&mut self, teller: &mut Teller) -> Result<Pending> {
        let reindex = Order::Call { tool: "reindex_search".to_owned(), arguments: json!({ "seconds": LONG }) };
        let running = self.bot.tell(reindex).await?;
        let reached = self.desk.says("reindex_search", "started", REACH).await?;
        teller.check(reached, "the long call never reached the desk");
        let permitted = |leaf: &ledger::Leaf| record::text(leaf, "tool").as_deref() == Some("reindex_search");
        let entry = self.record.next(permitted).await?;
        let verdict = entry.as_ref().and_then(|entry| entry.leaf.verdict.clone());
        let came = Came {
            verdict: verdict.unwrap_or_else(|| "unknown".to_owned()),
            reason: Some("it has reached the desk and is on its way".to_owned()),
            index: entry.map(|entry| entry.index),
            ..Came::default()
        };
        teller.step(&LONG_CALL, &came);
        Ok(running)
    }

    /// Tells the three times of a stop.
    async fn stopped(&mut self, teller: &mut Teller, done: Done) -> Result<()> {
        let (person, report) = (self.olivia.id.clone(), &done.document);
        let entry = self.record.next(|leaf| record::is_act(leaf, &person, "admin")).await?;
        let ordered = report["ordered"].as_i64().unwrap_or_default();
        let later = |value: &Value| value.as_i64().map(|at| at - ordered);
        let is_final = later(&report["final"]);
        let in_force = later(&report["in_force"][0]["at"]);
        let (in_force, last) = (told(in_force), told(is_final));
        let clock = moment::text(model::Timestamp::from_millis(ordered));
        let clock = clock.get(11..).unwrap_or_default();
        let reason = format!(
            "ordered at {clock}, in force {in_force}, final {last}; calls cut on their way: {}",
            report["cut"]
        );
        let verdict = if done.exit == 0 { "permit" } else { "error" };
        let came = Came {
            verdict: verdict.to_owned(),
            reason: Some(reason),
            next: None,
            index: entry.map(|entry| entry.index),
            ms: Some(done.ms),
        };
        teller.step(&STOP, &came);
        Ok(())
    }

    /// The call that was on its way: cut for the agent, for the desk, and in the ledger.
    async fn cut(&mut self, teller: &mut Teller, running: Pending) -> Result<()> {
        let answer = running.within(CUT).await?;
        let at_desk = self.desk.says("reindex_search", "cut", CUT).await?;
        let action = answer.as_ref().and_then(|answer| answer.action.clone());
        let outcome = |leaf: &ledger::Leaf| leaf.kind == "outcome" && named(leaf, action.as_deref());
        let entry = if action.is_some() { self.record.next(outcome).await? } else { None };
        let in_ledger = entry.as_ref().and_then(|entry| record::text(&entry.leaf, "status"));
        let at_agent = answer.as_ref().is_some_and(|answer| answer.code.as_deref() == Some("stopped"));
        let cut = at_agent && at_desk && in_ledger.as_deref() == Some("cut");
        self.summary.cut_at_both_sides = cut;
        let side = |cut: bool| if cut { "cut" } else { "not cut" };
        let reason = format!(
            "for the agent: {}; at the desk: {}; in the ledger: {}",
            side(at_agent),
            side(at_desk),
            in_ledger.as_deref().unwrap_or("nothing"),
        );
        let verdict = if cut { "cut" } else { "error" };
        let came = Came {
            verdict: verdict.to_owned(),
            reason: Some(reason),
            next: None,
            index: entry.map(|entry| entry.index),
            ms: answer.map(|answer| answer.ms),
        };
        teller.step(&CUT_CALL, &came);
        Ok(())
    }

    /// What remains: the desk's books, the ledger, and one task as a drawing.
    async fn prove(&mut self, teller: &mut Teller) -> Result<()> {
        let Books { refunds, exports, calls, cut } = self.desk.books()?;
        let agrees = refunds == [4_000, 400_000] && exports == 0 && cut == 1;
        let paid: Vec<String> = refunds.iter().map(|minor| money(*minor)).collect();
        let reason = format!(
            "paid back: {}; exports: {exports}; calls that reached it: {calls}, cut: {cut}",
            paid.join(" and ")
        );
        let verdict = if agrees { "agrees" } else { "differs" };
        teller.step(&BOOKS, &Came { verdict: verdict.to_owned(), reason: Some(reason), ..Came::default() });

        let drawing = self.draw(teller).await?;
        self.summary.entries = self.record.signed().await?;
        let verify = ["ledger", "verify", "--data", &self.data, "--key", &self.ledger_key];
        let done = self.program.run(None, verify).await?;
        let report = &done.document;
        let verified = done.exit == 0 && report["verified"] == true && report["entries"] == self.summary.entries;
        self.summary.ledger_verified = verified;
        let reason = format!(
            "entries: {}, tiles: {}, sealed payloads: {}; against a key that was kept elsewhere; findings: {}",
            report["entries"],
            report["tiles"],
            report["payloads"],
            report["findings"].as_array().map_or(0, Vec::len)
        );
        let verdict = if verified { "verified" } else { "error" };
        let came =
            Came { verdict: verdict.to_owned(), reason: Some(reason), ms: Some(done.ms), ..Came::default() };
        teller.step(&VERIFY, &came);
        teller.chapter("The task, from its prompt to what was done, as the ledger has it");
        teller.note(&drawing);
        Ok(())
    }

    /// Draws the task. Its prompt is sealed; opening it is an act of its own, and recorded.
    async fn draw(&mut self, teller: &Teller) -> Result<String> {
        let entries = self.record.all().await?;
        let opening = entries.iter().find(|entry| {
            entry.leaf.kind == "task" && entry.leaf.task.is_some_and(|task| task.to_string() == self.task)
        });
        let Some(opening) = opening else { return Ok("the ledger has no such task".to_owned()) };
        let shown = self.record.payload(opening.index).await?;
        Ok(draw::tree(&entries, opening, shown["prompt"].as_str().unwrap_or("not opened"), teller))
    }

    /// Lets an agent call a tool, and finds where the ledger has it.
    async fn calls(&mut self, teller: &mut Teller, step: &Step, tool: &str, arguments: Value) -> Result<Answer> {
        let agent = if step.actor == BOT { &mut self.bot } else { &mut self.lookup };
        let answer = agent.ask(Order::Call { tool: tool.to_owned(), arguments }).await?;
        let index = self.found(answer.action.as_deref()).await?;
        teller.step(step, &came(&answer, index));
        teller.check(index.is_some(), &format!("`{}` left no decision in the ledger", step.name));
        Ok(answer)
    }

    /// Tells how a request for a token ended.
    async fn issued(&mut self, teller: &mut Teller, step: &Step, answer: Answer, reason: &str) -> Result<()> {
        let (task, actor) = (self.task.clone(), format!("agent/{}", step.actor));
        let index = if answer.verdict == "permit" {
            let issued = |leaf: &ledger::Leaf| {
                let agent = leaf.agent.as_ref().map(|agent| agent.id.to_string());
                leaf.kind == "token" && leaf.task.is_some_and(|id| id.to_string() == task) && agent == Some(actor.clone())
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
    async fn found(&mut self, action: Option<&str>) -> Result<Option<u64>> {
        if action.is_none() {
            return Ok(None);
        }
        let entry = self.record.next(|leaf| leaf.kind == "decision" && named(leaf, action)).await?;
        Ok(entry.map(|entry| entry.index))
    }

    /// Says what to try while everything still runs.
    pub(super) fn stay(&self, teller: &mut Teller) {
        let people = self.program.place().path("people");
        let text = format!(
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
        );
        teller.note(&text);
    }

    /// Says what to look at in the folder that stays.
    pub(super) fn kept(&self, teller: &mut Teller) {
        let place = self.program.place();
        let text = format!(
            "\nKept in {}\n  bailiwick ledger verify --data {} --key {}\n  bailiwick serve --config {}\n  \
             sqlite3 {} 'SELECT * FROM calls'",
            place.dir().display(),
            self.data,
            place.path("ledger.key").display(),
            self.config,
            place.path("desk/desk.db").display(),
        );
        teller.note(&text);
    }

    /// Ends all processes, the node in order.
    pub(super) async fn end(self) {
        tokio::join!(self.bot.end(), self.lookup.end(), self.node.end(), self.desk.end());
    }
}

fn named(leaf: &ledger::Leaf, action: Option<&str>) -> bool {
    leaf.action.map(|id| id.to_string()).as_deref() == action
}

/// As people write it: `4,000.00 EUR`.
fn money(minor: i64) -> String {
    let (whole, cents) = (minor / 100, minor % 100);
    match whole {
        0..1000 => format!("{whole}.{cents:02} EUR"),
        _ => format!("{},{:03}.{cents:02} EUR", whole / 1000, whole % 1000),
    }
}

fn told(millis: Option<i64>) -> String {
    millis.map_or("NOT YET".to_owned(), |millis| format!("{millis} ms later"))
}

fn came(answer: &Answer, index: Option<u64>) -> Came {
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
