use clap::Args;
use decide::StopScope;
use serde_json::{Value, json};

use super::show;
use crate::{
    client::{Client, Context},
    failure::{Exit, Result},
    output::{Answer, fields},
};

/// Stop a scope at once.
#[derive(Args)]
#[command(after_help = "\
Scopes: all, agent:NAME, blueprint:NAME, owner:HANDLE, system:NAME, model:NAME, task:ID, delegation:ID, action:ID")]
pub(crate) struct Stop {
    /// What to stop.
    scope: StopScope,
    /// Why; kept in the record.
    #[arg(long, default_value = "no reason given")]
    reason: String,
}

/// End the stop of a scope.
#[derive(Args)]
pub(crate) struct Resume {
    /// What to resume.
    scope: StopScope,
    /// Why; kept in the record.
    #[arg(long)]
    reason: String,
}

impl Stop {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let body = json!({ "scope": self.scope, "reason": self.reason });
        let document = Client::sign_in(context).await?.post("/v1/stops", body).await?;
        let is_final = !document["final"].is_null();
        let text = report(&document, &self.scope);
        // A stop that is not final is in force, but not done: somebody has to look.
        Ok(Answer::new(document, text).exit(if is_final { Exit::Done } else { Exit::Failed }))
    }
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<Answer> {
        let body = json!({ "scope": self.scope, "reason": self.reason });
        let document = Client::sign_in(context).await?.post("/v1/stops/resume", body).await?;
        Ok(Answer::new(document, format!("{} is resumed", self.scope)))
    }
}

/// The orders in force.
pub(super) async fn list(context: &Context) -> Result<Answer> {
    let document = Client::sign_in(context).await?.get("/v1/stops").await?;
    let text = show::table(
        &document,
        &[("SCOPE", "scope"), ("SINCE", "at"), ("BY", "by"), ("REASON", "reason"), ("ORDER", "id")],
    );
    Ok(Answer::new(document, text))
}

fn report(document: &Value, scope: &StopScope) -> String {
    let ordered = document["ordered"].as_i64().unwrap_or_default();
    let after = |value: &Value| match value.as_i64() {
        Some(millis) => format!("{}  (+{} ms)", show::moment(millis), millis - ordered),
        None => {
            "NOT YET: calls in scope are still ending; look again with `bailiwick stops`".to_owned()
        }
    };
    let points = document["in_force"].as_array().map(Vec::as_slice).unwrap_or_default();
    let point =
        |point: &Value| format!("{}  at {}", after(&point["at"]), show::cell(point, "point"));
    let in_force = match points {
        [] => "no enforcement point has acknowledged yet".to_owned(),
        points => points.iter().map(point).collect::<Vec<_>>().join(", "),
    };
    let mut lines = vec![
        ("ordered", show::moment(ordered)),
        ("in force", in_force),
        ("final", after(&document["final"])),
        ("calls cut", show::cell(document, "cut")),
    ];
    if document["durable"] == false {
        lines.push((
            "WARNING",
            "the journal cannot be written: a restart would forget this stop".to_owned(),
        ));
    }
    if document["known"] == false {
        lines
            .push(("note", "nothing of this name is known; it is stopped all the same".to_owned()));
    }
    format!(
        "STOPPED {scope}\n{}\n\nTo end it: bailiwick resume {scope} --reason \"…\"",
        fields(lines)
    )
}
