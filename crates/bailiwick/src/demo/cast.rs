//! Who is in the story, and what each may do: the same files that anybody writes by hand.

use crate::client;

/// The system that everything is about.
pub(super) const DESK: &str = "support-desk";
pub(super) const BOT: &str = "support-bot";
pub(super) const LOOKUP: &str = "lookup";

/// What Lena asks for.
pub(super) const PROMPT: &str = "Mara Lindqvist's desk lamp came scratched: give her 40.00 EUR back on A-1001. \
    Tomás Iglesias returned six of the ten desks of A-1002: give him 4,000.00 EUR back. Then rebuild the search index.";
/// Enough for both refunds, and not for one more of the large kind.
pub(super) const BUDGET: &str = "4500.00 EUR";

/// How long rights last, in seconds: rights without an end are not given.
const MONTH: u32 = 30 * 24 * 3600;

/// What the desk's tools do, as Olivia takes them.
pub(super) const CATALOG: &str = r#"# What each tool of the desk does, by its arguments. Nothing else of the desk can be called.
server = "support-desk"

[[tool]]
name = "get_order"
effect = [{ verb = "read", resource = "Order", id = "args.order_id", classes = ["pii"] }]

[[tool]]
name = "list_orders"
effect = [{ verb = "list", resource = "Customer", id = "args.customer_id", classes = ["pii"] }]

[[tool]]
name = "refund_order"
effect = [{ verb = "pay", resource = "Refund", id = "args.order_id", amount = "args.amount", currency = "args.currency", classes = ["financial"] }]

[[tool]]
name = "export_customers"
effect = [{ verb = "export", resource = "Customer", id = "'all'", classes = ["pii"] }]

[[tool]]
name = "reindex_search"
effect = [{ verb = "execute", resource = "SearchIndex", id = "'orders'", classes = [] }]
"#;

/// The policies that Olivia writes and Max approves.
pub(super) const POLICIES: &str = r#"// What Support and its agents do at the desk, and where a person decides.

@id("support-team")
permit (principal is Person in Team::"support", action, resource in System::"support-desk");

@id("support-agents")
permit (
  principal is Agent in Blueprint::"support",
  action in [Action::"read", Action::"list", Action::"pay", Action::"export", Action::"execute"],
  resource in System::"support-desk"
);

@id("lookup-agents")
permit (
  principal is Agent in Blueprint::"lookup",
  action in [Action::"read", Action::"pay"],
  resource in System::"support-desk"
);

@id("large-refunds-wait")
@reason("refunds above 1,000.00 wait for finance")
@hold("finance")
forbid (principal, action == Action::"pay", resource is Refund in System::"support-desk")
when { context has amount && context.amount > 100000 };

@id("no-bulk-export")
@reason("customers are never exported in bulk")
@next("read the orders that you need, one by one")
@explain("agent")
forbid (principal, action == Action::"export", resource is Customer in System::"support-desk");
"#;

/// The template of agents like `support-bot`: it may pass part of its right on, to `lookup` alone.
pub(super) fn support_blueprint() -> String {
    blueprint(
        "support",
        "answers customers of the shop",
        "children = [\"lookup\"]\ndepth = 2",
        &[
            ("\"read\", \"list\", \"export\", \"execute\"", "support-desk/*/*", ""),
            ("\"pay\"", "support-desk/Refund/*", "amount_at_most = \"5000.00 EUR\""),
        ],
    )
}

/// The template of agents like `lookup`. It could do more than read; what it is handed decides.
pub(super) fn lookup_blueprint() -> String {
    blueprint(
        "lookup",
        "looks things up for other agents",
        "",
        &[("\"read\", \"pay\"", "support-desk/*/*", "")],
    )
}

/// What Lena may do, and may let agents do for her.
pub(super) fn grant() -> String {
    let allow = allow(&[
        ("\"read\", \"list\", \"export\", \"execute\"", "support-desk/*/*", ""),
        ("\"pay\"", "support-desk/Refund/*", "amount_at_most = \"5000.00 EUR\""),
    ]);
    format!("name = \"lena-support\"\nholder = \"lena\"\ndepth = 2\n{allow}")
}

/// The registration of an agent whose public key lies beside it.
pub(super) fn registration(name: &str, blueprint: &str, purpose: &str) -> String {
    format!(
        "name = \"{name}\"\nblueprint = \"{blueprint}\"\nowner = \"olivia\"\ndeputy = \"max\"\npurpose = \"{purpose}\"\n\
         public_key = \"{name}.pub\"\n\n\
         [version]\nmodel = \"scripted-1\"\nprompt = \"file:{name}.prompt\"\ntools = \"file:catalog.toml\"\n\
         image = \"file:{name}.prompt\"\n"
    )
}

fn blueprint(name: &str, purpose: &str, more: &str, clauses: &[(&str, &str, &str)]) -> String {
    let allow = allow(clauses);
    format!(
        "name = \"{name}\"\npurpose = \"{purpose}\"\nowner = \"olivia\"\ndeputy = \"max\"\ntoken_ttl_seconds = 300\n{more}\n{allow}"
    )
}

fn allow(clauses: &[(&str, &str, &str)]) -> String {
    let until = client::now().plus_seconds(MONTH).to_string();
    // Rights are written to the second.
    let until = format!("{}Z", until.get(..19).unwrap_or_default());
    let clause = |(verbs, resources, condition): &(&str, &str, &str)| {
        format!(
            "\n[[allow]]\nverbs = [{verbs}]\nresources = \"{resources}\"\nuntil = \"{until}\"\n{condition}\n"
        )
    };
    clauses.iter().map(clause).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_story_is_toml() {
        let files = [
            CATALOG.to_owned(),
            support_blueprint(),
            lookup_blueprint(),
            grant(),
            registration(BOT, "support", "answers customers"),
        ];
        for file in files {
            assert!(toml::from_str::<toml::Table>(&file).is_ok(), "{file}");
        }
    }
}
