//! What remains: the desk's own books, the ledger, and one task as a drawing.

use super::{
    desk::Books,
    tell::{Came, Step, Teller, by},
    world::World,
};
use crate::{chain::Tree, failure::Result};

const BOOKS: Step = by("desk", "books", "looks into its own books", "agrees");
const VERIFY: Step = by("auditor", "verify", "verifies the whole ledger, offline", "verified");

impl World<'_> {
    /// Holds against each other what everybody says.
    pub(super) async fn prove(&mut self, teller: &mut Teller) -> Result<()> {
        let Books { refunds, exports, calls, cut } = self.desk.books()?;
        let agrees = refunds == [4_000, 400_000] && exports == 0 && cut == 1;
        let paid: Vec<String> = refunds.iter().map(|minor| money(*minor)).collect();
        let reason = format!(
            "paid back: {}; exports: {exports}; calls that reached it: {calls}, cut: {cut}",
            paid.join(" and ")
        );
        let verdict = if agrees { "agrees" } else { "differs" };
        teller.step(
            &BOOKS,
            &Came { verdict: verdict.to_owned(), reason: Some(reason), ..Came::default() },
        );

        let drawing = self.draw(teller).await?;
        self.summary.entries = self.record.signed().await?;
        let verify = ["ledger", "verify", "--data", &self.data, "--key", &self.ledger_key];
        let done = self.program.run(None, verify).await?;
        let report = &done.document;
        let verified = done.exit == 0
            && report["verified"] == true
            && report["entries"] == self.summary.entries;
        self.summary.ledger_verified = verified;
        let reason = format!(
            "entries: {}, tiles: {}, sealed payloads: {}; against a key that was kept elsewhere; findings: {}",
            report["entries"],
            report["tiles"],
            report["payloads"],
            report["findings"].as_array().map_or(0, Vec::len)
        );
        let verdict = if verified { "verified" } else { "error" };
        let came = Came {
            verdict: verdict.to_owned(),
            reason: Some(reason),
            ms: Some(done.ms),
            ..Came::default()
        };
        teller.step(&VERIFY, &came);
        teller.chapter("The task, from its prompt to what was done, as the ledger has it");
        teller.note(&drawing);
        Ok(())
    }

    /// Draws the task. Its prompt is sealed; opening it is an act of its own, and recorded.
    async fn draw(&mut self, teller: &Teller) -> Result<String> {
        let entries = self.record.chain(&self.task).await?;
        let opening = entries.iter().find(|entry| entry.leaf.kind == "task");
        let Some(opening) = opening else { return Ok("the ledger has no such task".to_owned()) };
        let shown = self.record.payload(opening.index).await?;
        let prompt = shown["prompt"].as_str().unwrap_or("not opened");
        Ok(Tree::of(&entries).drawing(Some(prompt), &|id| teller.name(id)))
    }
}

/// As people write it: `4,000.00 EUR`.
fn money(minor: i64) -> String {
    let (whole, cents) = (minor / 100, minor % 100);
    match whole {
        0..1000 => format!("{whole}.{cents:02} EUR"),
        _ => format!("{},{:03}.{cents:02} EUR", whole / 1000, whole % 1000),
    }
}
