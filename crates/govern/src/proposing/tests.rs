use std::{collections::BTreeMap, sync::Arc};

use decide::{Former, ServerRecord, ToolRecord};

use super::*;

/// Tools of a server as `name(argument: type, argument?: type) hint hint`, and what is proposed for each.
fn proposed(classes: &[&str], tools: &[&str]) -> String {
    let tools = tools.iter().map(|told| record(told)).collect();
    shown(&server(classes, tools))
}

fn record(told: &str) -> ToolRecord {
    let (name, rest) = told.split_once('(').unwrap();
    let (arguments, hints) = rest.rsplit_once(')').unwrap();
    let (mut properties, mut required) = (Vec::new(), Vec::new());
    for argument in arguments.split(", ").filter(|one| !one.is_empty()) {
        let (argument, kind) = argument.split_once(": ").unwrap();
        let (kind, words) = kind.split_once(' ').unwrap_or((kind, ""));
        if !argument.ends_with('?') {
            required.push(format!("{argument:?}"));
        }
        let argument = argument.trim_end_matches('?');
        properties.push(format!(r#""{argument}":{{"type":"{kind}","description":"{words}"}}"#));
    }
    let hints: Vec<String> = hints
        .split_whitespace()
        .map(|hint| match hint.strip_prefix('!') {
            Some(hint) => format!(r#""{hint}Hint":false"#),
            None => format!(r#""{hint}Hint":true"#),
        })
        .collect();
    let definition = format!(
        r#"{{"name":{name:?},"annotations":{{{}}},"inputSchema":{{"type":"object","properties":{{{}}},"required":[{}]}}}}"#,
        hints.join(","),
        properties.join(","),
        required.join(",")
    );
    ToolRecord::found("desk".parse().unwrap(), name.to_owned(), definition)
}

fn server(classes: &[&str], tools: Vec<ToolRecord>) -> ServerEntry {
    let tools: BTreeMap<String, ToolEntry> = tools
        .into_iter()
        .map(|record| {
            let row = record.digest;
            (record.name.clone(), ToolEntry { record: Arc::new(record), row, accepted: None })
        })
        .collect();
    let record = ServerRecord {
        name: "desk".parse().unwrap(),
        url: String::new(),
        internal: false,
        credential: None,
        default_classes: classes.iter().map(|class| class.parse().unwrap()).collect(),
        oauth: None,
    };
    ServerEntry { record: Arc::new(record), tools }
}

fn shown(server: &ServerEntry) -> String {
    let mut lines = Vec::new();
    for (name, tool) in &server.tools {
        let proposal = propose(server, tool);
        assert_eq!(proposal, propose(server, tool), "the same guess every time");
        let effects = proposal.mapping.map(|mapping| mapping.effects).unwrap_or_default();
        let effects: Vec<String> = effects.iter().map(line).collect();
        let effects = if effects.is_empty() { "-".to_owned() } else { effects.join("; ") };
        lines.push(format!("{name}: {effects}"));
        lines.extend(proposal.notes.iter().map(|note| format!("  # {note}")));
    }
    lines.join("\n")
}

fn line(effect: &Effect) -> String {
    let mut line = format!("{} {} {}", effect.verb, effect.resource, effect.id);
    if let (Some(amount), Some(currency)) = (&effect.amount, &effect.currency) {
        line += &format!(" for {amount} {currency}");
    }
    if let Some(classes) = &effect.classes {
        let classes: Vec<&str> = classes.iter().map(Name::as_str).collect();
        line += &format!(" [{}]", classes.join(" "));
    }
    line
}

fn same(found: &str, expected: &str) {
    assert_eq!(found, expected.trim_matches('\n'), "\n{found}\n");
}

#[test]
fn the_desk_is_proposed_by_names_arguments_and_annotations() {
    same(
        &proposed(
            &["pii"],
            &[
                "get_order(order_id: string) readOnly",
                "list_orders(customer_id: string) readOnly",
                "refund_order(amount: integer How much in minor units, currency: string, order_id: string) !readOnly destructive",
                "export_customers() !readOnly !destructive",
                "reindex_search(seconds: integer) !readOnly !destructive",
            ],
        ),
        "
export_customers: export Customer 'all' [pii]
get_order: read Order args.order_id
list_orders: list Order 'all' [pii]
refund_order: pay Refund args.order_id for args.amount args.currency [financial pii]
reindex_search: update Search 'all'
  # no required argument names one thing, so it counts as all of them",
    );
}

#[test]
fn a_file_system_is_proposed_by_its_paths() {
    same(
        &proposed(
            &[],
            &[
                "read_file(path: string, head?: number)",
                "read_multiple_files(paths: array)",
                "write_file(path: string, content: string)",
                "edit_file(path: string, edits: array, dryRun?: boolean)",
                "create_directory(path: string)",
                "list_directory(path: string)",
                "directory_tree(path: string) readOnly",
                "move_file(source: string, destination: string)",
                "search_files(path: string, pattern: string)",
                "get_file_info(path: string)",
                "list_allowed_directories()",
            ],
        ),
        "
create_directory: create Directory args.path
directory_tree: read Tree args.path
  # its name does not say what it does; its server says that it only reads
edit_file: update File args.path
get_file_info: read FileInfo args.path
list_allowed_directories: list AllowedDirectory 'all'
list_directory: list Directory args.path
move_file: delete File args.source; create File args.destination
read_file: read File args.path
read_multiple_files: read File 'all'
  # no required argument names one thing, so it counts as all of them
search_files: list File args.path
write_file: create File args.path; update File args.path",
    );
}

#[test]
fn a_memory_is_proposed_as_whole_kinds_where_its_arguments_name_several_things() {
    same(
        &proposed(
            &["pii"],
            &[
                "create_entities(entities: array)",
                "add_observations(observations: array)",
                "delete_entities(entityNames: array)",
                "read_graph()",
                "search_nodes(query: string)",
                "open_nodes(names: array)",
            ],
        ),
        "
add_observations: create Observation 'new'
create_entities: create Entity 'new'
delete_entities: delete Entity 'all'
  # no required argument names one thing, so it counts as all of them
open_nodes: execute Node 'all'
  # its name does not say what it does, so it counts as running something
  # no required argument names one thing, so it counts as all of them
read_graph: read Graph 'all'
  # no required argument names one thing, so it counts as all of them
search_nodes: list Node 'all'",
    );
}

#[test]
fn an_annotation_is_not_believed_against_a_name_and_never_narrows() {
    same(
        &proposed(
            &[],
            &[
                "delete_note(id: string) readOnly",
                "get_and_delete_note(id: string) readOnly",
                "get_or_remove(note_id: string)",
                "frobnicate_note(id: string) !destructive",
                "fetch_note(id: string) !readOnly",
                "view_note(id: string) destructive",
                "unpublish_list(id: string)",
                "desk_get_note(id: string)",
            ],
        ),
        "
delete_note: delete Note args.id
  # its server says that it only reads; its name says otherwise, and is believed
desk_get_note: read Note args.id
fetch_note: read Note args.id; update Note args.id
  # its name says that it only looks; its server says otherwise, and is believed
frobnicate_note: execute Note args.id
  # its name does not say what it does, so it counts as running something
get_and_delete_note: read Note args.id; delete Note args.id
  # its server says that it only reads; its name says otherwise, and is believed
get_or_remove: read Note args.note_id; delete Note args.note_id
unpublish_list: execute Unpublish args.id
  # its name does not say plainly that it only looks, so it counts as running something
view_note: read Note args.id; delete Note args.id
  # its name says that it only looks; its server says otherwise, and is believed",
    );
}

#[test]
fn a_tool_that_runs_what_it_is_given_takes_the_widest_of_its_system() {
    let runs = "it runs what it is given";
    let blind = "so it may do anything here; a policy that forbids other verbs or kinds does not see what it runs";
    let anything = "execute Anything 'all' [hr pii source_code]";
    same(
        &proposed(
            &["hr"],
            &[
                "get_user(id: string)",
                "execute(query: string) readOnly",
                "run_code(code: string)",
                "call_tool(name: string, arguments: object)",
                "search_database(sql: string) readOnly",
                "run_report(report_id: string)",
            ],
        ),
        &format!(
            "
call_tool: {anything}
  # {runs} (by its name), {blind}
execute: {anything}
  # {runs} (`query`), {blind}
  # its server says that it only reads, which is not believed
get_user: read UserItem args.id [hr pii]
run_code: {anything}
  # {runs} (`code`), {blind}
run_report: execute Report args.report_id
search_database: {anything}
  # {runs} (`sql`), {blind}
  # its server says that it only reads, which is not believed"
        )
        .replace("UserItem", "User"),
    );
}

#[test]
fn money_whose_amount_or_currency_is_not_sure_is_left_out() {
    same(
        &proposed(
            &[],
            &[
                "create_refund(payment_id: string, amount_cents: integer, currency: string)",
                "pay_invoice(invoice_id: string)",
                "charge_customer(customer_id: string, amount: number, currency: string)",
                "issue_refund(order_id: string, amount: integer, currency: string)",
                "transfer_funds(from: string, to: string, amount: integer in cents)",
                "create_invoice(customer_id: string, total: integer)",
                "get_refund(id: string)",
            ],
        ),
        "
charge_customer: -
  # it moves money, and `amount` is no whole number of minor units
create_invoice: create Invoice 'new' [financial pii]
  # `total` looks like money; if any moves, the verb is `pay`
create_refund: pay Refund args.payment_id for args.amount_cents args.currency [financial]
get_refund: read Refund args.id [financial]
issue_refund: -
  # it moves money, and nothing says that `amount` counts minor units (cents)
pay_invoice: -
  # it moves money, and no required argument says how much; without an amount no budget counts it
transfer_funds: -
  # it moves money, and no required argument says in which currency; if it is always the same, write it in quotes (`\"'EUR'\"`)",
    );
}

#[test]
fn what_stands_within_something_is_named_from_the_outside_in() {
    same(
        &proposed(
            &[],
            &[
                "get_issue(owner: string, repo: string, issue_number: integer)",
                "create_issue(owner: string, repo: string, title: string)",
                "github.listIssues(owner: string, repo: string)",
                "send_message(channel_id: string, text: string)",
                "orders.list()",
                "get_person(id: string)",
                "think(thought: string)",
                "läs_x()",
            ],
        ),
        "
create_issue: create Issue args.owner + '/' + args.repo + '/new' [source_code]
get_issue: read Issue args.owner + '/' + args.repo + '/' + args.issue_number [source_code]
get_person: read PersonItem args.id [pii]
  # `Person` means something else in policies
github.listIssues: list Issue args.owner + '/' + args.repo + '/all' [source_code]
läs_x: execute SX 'all'
  # its name does not say what it does, so it counts as running something
  # no required argument names one thing, so it counts as all of them
orders.list: list Order 'all'
send_message: send Message args.channel_id
think: -
  # its name does not say what it does, so it counts as running something
  # nothing says what kind of thing it is about; name a resource",
    );
}

#[test]
fn a_tool_that_changed_is_proposed_as_it_was_if_that_still_fits() {
    let accepted = |argument: &str| {
        let id = format!("args.{argument}");
        let mapping =
            Mapping { effects: vec![effect(Verb::Read, "Sheet", id, None)], ..Mapping::default() };
        let former = Former {
            definition: "{}".to_owned(),
            digest: model::Digest::default(),
            mapping,
            accepted_by: "person/p1".parse().unwrap(),
        };
        ToolRecord { former: Some(former), ..record("delete_note(id: string)") }
    };
    same(
        &shown(&server(&[], vec![accepted("id")])),
        "
delete_note: read Sheet args.id
  # it was accepted like this before its server changed it; look at what changed",
    );
    same(&shown(&server(&[], vec![accepted("note")])), "delete_note: delete Note args.id");
}

#[test]
fn what_the_protocol_has_beside_tools_is_proposed_as_the_protocol_says() {
    let shown = proposed(
        &["pii"],
        &[
            "mcp:resources/read(uri: string)",
            "mcp:prompts/get(name: string)",
            "mcp:resources/list()",
        ],
    );
    for line in ["read Document args.uri", "read Prompt args.name", "list Document 'all'"] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}
