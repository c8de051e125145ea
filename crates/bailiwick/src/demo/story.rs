//! The story itself: one task, from the prompt that asks for it to the stop that ends it.

use serde_json::json;

use super::{
    cast::{BOT, BUDGET, LOOKUP, PROMPT},
    order::Order,
    tell::{Step, Teller, by, call},
    world::{World, text_of},
};
use crate::failure::Result;

const OPEN: Step = call(
    "lena",
    "task",
    ("delegate", "bailiwick/Task/support-bot"),
    "asks support-bot for help, with 4,500.00 EUR",
    "permit",
);
const EXCHANGE: Step = by(BOT, "exchange", "exchanges her token for one to act for her", "permit");
const READ: Step =
    call(BOT, "read", ("read", "support-desk/Order/A-1001"), "reads order A-1001", "permit");
const SMALL: Step = call(
    BOT,
    "refund-small",
    ("pay", "support-desk/Refund/A-1001"),
    "refunds 40.00 EUR on A-1001",
    "permit",
);
const LARGE: (&str, &str) = ("pay", "support-desk/Refund/A-1002");
const HELD: Step = call(BOT, "refund-held", LARGE, "refunds 4,000.00 EUR on A-1002", "hold");
const APPROVE: Step = call(
    "max",
    "refund-approved",
    ("approve", "bailiwick/Approval"),
    "approves exactly this call, with his own key",
    "permit",
);
const ONCE: Step =
    call(BOT, "refund-once", LARGE, "makes the same call again: it runs, once", "permit");
const AGAIN: Step = call(BOT, "refund-held-again", LARGE, "tries it a second time", "hold");
const EXPORT: Step =
    call(BOT, "export", ("export", "support-desk/Customer/all"), "exports all customers", "deny");
const HAND_OVER: Step =
    by(BOT, "hand-over", "hands reading orders, and no more, to lookup", "permit");
const CHILD: Step = by(LOOKUP, "sub-exchange", "exchanges what it was handed", "permit");
const CHILD_READ: Step =
    call(LOOKUP, "sub-read", ("read", "support-desk/Order/A-1003"), "reads order A-1003", "permit");
const CHILD_PAY: Step = call(
    LOOKUP,
    "sub-refund",
    ("pay", "support-desk/Refund/A-1003"),
    "refunds 1.00 EUR on A-1003",
    "deny",
);

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
            "task",
            "open",
            "--agent",
            BOT,
            "--purpose",
            "support",
            "--intent",
            "two refunds",
            "--prompt",
            PROMPT,
            "--budget",
            BUDGET,
            "--seconds",
            "900",
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
        self.approve(teller, &APPROVE, held.approval).await?;
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
        self.issued(teller, &CHILD, answer, "the token names all three: Lena, support-bot, lookup")
            .await?;
        let read =
            self.calls(teller, &CHILD_READ, "get_order", json!({ "order_id": "A-1003" })).await?;
        let pay = json!({ "order_id": "A-1003", "amount": 100, "currency": "EUR" });
        let paid = self.calls(teller, &CHILD_PAY, "refund_order", pay).await?;
        let narrowed = read.verdict == "permit" && paid.code.as_deref() == Some("beyond_authority");
        teller.check(narrowed, "the sub-agent may read and nothing else");
        self.summary.sub_agent_narrowed = narrowed;
        Ok(())
    }
}
