//! `ledger recompute`.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::show,
    client::{Client, Context},
    failure::{Exit, Failure, Result},
    output::{Answer, Table},
};

/// Make decisions of the past again.
#[derive(Args)]
pub(crate) struct Recompute {
    #[command(flatten)]
    context: Context,
    /// The position of one decision; all of the ledger when left out.
    #[arg(conflicts_with = "from")]
    index: Option<u64>,
    /// The first position.
    #[arg(long)]
    from: Option<u64>,
}

impl Recompute {
    pub(super) async fn run(self) -> Result<Answer> {
        let Self { context, index, from } = self;
        let mut client = Client::sign_in(&context).await?;
        let to = index.map_or_else(String::new, |index| format!("&to={}", index.saturating_add(1)));
        let (mut at, mut decisions) = (index.or(from).or(Some(0)), Vec::new());
        while let Some(from) = at {
            let path = format!("/v1/ledger/decisions?from={from}&limit=1000{to}");
            let mut page = client.get(&path).await?;
            at = page["next"].as_u64();
            if let Value::Array(more) = page["decisions"].take() {
                decisions.extend(more);
            }
        }
        if let (Some(index), true) = (index, decisions.is_empty()) {
            return Err(Failure::new("not_found", format!("entry {index} is no decision"))
                .why("the ledger has no entry there, or one of another kind")
                .next("take the position of a decision, which `bailiwick ledger recompute -o json` shows")
                .exit(Exit::NotFound));
        }
        let text = told(&decisions);
        let differs = count(&decisions, "differs") > 0;
        let answer = Answer::new(json!({ "decisions": decisions }), text);
        Ok(if differs { answer.exit(Exit::No) } else { answer })
    }
}

fn count(decisions: &[Value], result: &str) -> usize {
    decisions.iter().filter(|one| one["result"] == result).count()
}

/// How many there are of each result, and a line for each decision that is not known to be as the ledger has it.
fn told(decisions: &[Value]) -> String {
    let counts = [
        ("same", "as the ledger has them"),
        ("differs", "DIFFERENT"),
        ("before", "refused before authority and policy were asked"),
        ("impossible", "cannot be made again"),
    ];
    let counts = counts.map(|(result, says)| (count(decisions, result), says));
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, says)| format!("  {count} {says}")).collect();
    let mut lines = vec![format!("{} decisions", decisions.len())];
    lines.extend(counts);
    let unsure = |one: &&Value| one["result"] == "differs" || one["result"] == "impossible";
    let mut unsure = decisions.iter().filter(unsure).peekable();
    if unsure.peek().is_some() {
        let mut table = Table::new(&["INDEX", "VERDICT", "RESULT", "WHY", "ACTION"]);
        for one in unsure {
            let why = if one["differs"].is_null() { "reason" } else { "differs" };
            let cells = ["index", "verdict", "result", why, "action"];
            table.row(cells.map(|member| show::cell(one, member)));
        }
        lines.push(table.text());
    }
    lines.join("\n")
}
