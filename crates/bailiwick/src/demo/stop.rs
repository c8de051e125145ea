//! The stop, with a call on its way: what it does to that call, and to everything after it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    bot::Pending,
    cast::{BOT, LOOKUP},
    order::{Answer, Order},
    program::Done,
    record,
    tell::{Came, Step, Teller, by, call},
    world::{World, came, named},
};
use crate::{chain, failure::Result};

/// How long a call that was stopped may take to be cut, at either side.
const CUT: Duration = Duration::from_secs(3);
/// How long a call may take to reach the desk.
const REACH: Duration = Duration::from_secs(10);
/// How long the call runs that is cut, in seconds: much longer than the rest of the story.
const LONG: u64 = 45;

const REINDEX: (&str, &str) = ("execute", "support-desk/SearchIndex/orders");
const LONG_CALL: Step =
    call(BOT, "reindex", REINDEX, "rebuilds the search index: 45 s of work", "permit");
const STOP: Step = call(
    "olivia",
    "stop",
    ("admin", "bailiwick/Stop/agent:support-bot"),
    "stops support-bot",
    "permit",
);
const CUT_CALL: Step = call(BOT, "cut", REINDEX, "has that call cut, here and at the desk", "cut");
const NEXT_CALL: Step =
    call(BOT, "stopped-call", ("read", "support-desk/Order/A-1001"), "reads order A-1001", "deny");
const NEXT_CHILD: Step = call(
    LOOKUP,
    "stopped-sub",
    ("read", "support-desk/Order/A-1003"),
    "reads order A-1003",
    "deny",
);
const NEXT_TOKEN: Step = by(BOT, "stopped-token", "asks for a fresh token", "deny");

impl World<'_> {
    /// Plays it.
    pub(super) async fn stop(&mut self, teller: &mut Teller) -> Result<()> {
        let running = self.begin_long_call(teller).await?;
        let olivia = self.olivia.clone();
        let stop =
            ["stop", "agent:support-bot", "--reason", "refunds look wrong"].map(str::to_owned);
        let done = self.run(&olivia, &stop).await?;
        self.stopped(teller, done).await?;
        self.cut(teller, running).await?;

        let call =
            self.calls(teller, &NEXT_CALL, "get_order", json!({ "order_id": "A-1001" })).await?;
        let child =
            self.calls(teller, &NEXT_CHILD, "get_order", json!({ "order_id": "A-1003" })).await?;
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
        let reindex = Order::Call {
            tool: "reindex_search".to_owned(),
            arguments: json!({ "seconds": LONG }),
        };
        let running = self.bot.tell(reindex).await?;
        let reached = self.desk.says("reindex_search", "started", REACH).await?;
        teller.check(reached, "the long call never reached the desk");
        let permitted =
            |leaf: &ledger::Leaf| chain::text(leaf, "tool").as_deref() == Some("reindex_search");
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
        let act = |leaf: &ledger::Leaf| record::is_act(leaf, &person, "admin", "permit");
        let entry = self.record.next(act).await?;
        let ordered = report["ordered"].as_i64().unwrap_or_default();
        let later = |value: &Value| value.as_i64().map(|at| at - ordered);
        let is_final = later(&report["final"]);
        let in_force = later(&report["in_force"][0]["at"]);
        let (in_force, last) = (told(in_force), told(is_final));
        let clock = model::Timestamp::from_millis(ordered).to_string();
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
        let outcome =
            |leaf: &ledger::Leaf| leaf.kind == "outcome" && named(leaf, action.as_deref());
        let entry = if action.is_some() { self.record.next(outcome).await? } else { None };
        let in_ledger = entry.as_ref().and_then(|entry| chain::text(&entry.leaf, "status"));
        let at_agent =
            answer.as_ref().is_some_and(|answer| answer.code.as_deref() == Some("stopped"));
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
}

fn told(millis: Option<i64>) -> String {
    millis.map_or("NOT YET".to_owned(), |millis| format!("{millis} ms later"))
}
