use model::Verb;

/// The words of a name, in lower case: `getOrder`, `get-order` and `desk.get_order` have the same last two.
pub(super) fn split(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut open, mut lower) = (false, false);
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() {
            open = false;
            continue;
        }
        if !open || (character.is_ascii_uppercase() && lower) {
            words.push(String::new());
        }
        (open, lower) = (true, !character.is_ascii_uppercase());
        if let Some(word) = words.last_mut() {
            word.push(character.to_ascii_lowercase());
        }
    }
    words
}

/// What a word of a tool's name says that is done; of two readings the wider one.
pub(super) fn verbs(word: &str) -> Option<&'static [Verb]> {
    Some(match word {
        "describe" | "fetch" | "get" | "inspect" | "lookup" | "preview" | "read" | "retrieve"
        | "show" | "stat" | "view" => &[Verb::Read],
        "browse" | "count" | "enumerate" | "find" | "list" | "ls" | "search" => &[Verb::List],
        "add" | "clone" | "copy" | "create" | "fork" | "import" | "insert" | "make" | "mkdir"
        | "new" | "register" | "upload" => &[Verb::Create],
        "append" | "assign" | "change" | "close" | "disable" | "edit" | "enable" | "label"
        | "index" | "mark" | "merge" | "modify" | "move" | "patch" | "rebuild" | "reindex"
        | "rename" | "reopen" | "reset" | "resolve" | "set" | "tag" | "unassign" | "update" => {
            &[Verb::Update]
        }
        "put" | "replace" | "save" | "store" | "sync" | "upsert" | "write" => {
            &[Verb::Create, Verb::Update]
        }
        "archive" | "cancel" | "clear" | "delete" | "destroy" | "drop" | "erase" | "purge"
        | "remove" | "trash" | "truncate" | "uninstall" | "unlink" | "wipe" => &[Verb::Delete],
        "broadcast" | "email" | "forward" | "invite" | "notify" | "post" | "publish" | "reply"
        | "send" | "share" | "tweet" => &[Verb::Send],
        "backup" | "download" | "dump" | "export" => &[Verb::Export],
        "buy" | "charge" | "checkout" | "pay" | "payout" | "purchase" | "refund" | "reimburse"
        | "transfer" | "withdraw" => &[Verb::Pay],
        "deploy" | "promote" | "provision" | "release" | "rollback" | "rollout" => &[Verb::Deploy],
        "approve" | "reject" => &[Verb::Approve],
        "authorize" | "grant" | "revoke" => &[Verb::Grant],
        "bash" | "call" | "dispatch" | "eval" | "evaluate" | "exec" | "execute" | "graphql"
        | "invoke" | "launch" | "query" | "restart" | "run" | "shell" | "sql" | "start"
        | "stop" | "trigger" => &[Verb::Execute],
        _ => return None,
    })
}

/// Words that are hardly ever the name of a thing: where one stands in a name that begins harmlessly, it counts.
pub(super) fn never_harmless(word: &str) -> Option<Verb> {
    match word {
        "delete" | "destroy" | "drop" | "erase" | "purge" | "remove" | "truncate" | "wipe" => {
            Some(Verb::Delete)
        }
        "eval" | "exec" | "execute" => Some(Verb::Execute),
        _ => None,
    }
}

/// The kind of thing that a payment is, by the word for it.
pub(super) fn money(word: &str) -> Option<&'static str> {
    Some(match word {
        "charge" | "charges" => "Charge",
        "payout" | "payouts" => "Payout",
        "payment" | "payments" | "pay" => "Payment",
        "buy" | "checkout" | "purchase" | "purchases" => "Purchase",
        "refund" | "refunds" => "Refund",
        "reimburse" | "reimbursement" => "Reimbursement",
        "transfer" | "transfers" => "Transfer",
        "withdraw" | "withdrawal" => "Withdrawal",
        _ => return None,
    })
}

/// What a word of a tool's name or arguments says about the data that is touched.
pub(super) fn class(word: &str) -> Option<&'static str> {
    Some(match word {
        "address" | "candidate" | "contact" | "customer" | "email" | "employee" | "member"
        | "patient" | "people" | "person" | "phone" | "profile" | "user" => "pii",
        "balance" | "bank" | "card" | "charge" | "currency" | "iban" | "invoice" | "payment"
        | "payout" | "refund" | "salary" | "tax" | "transaction" | "transfer" => "financial",
        "branch" | "code" | "commit" | "repo" | "repository" => "source_code",
        "config" | "configuration" | "credential" | "deployment" | "env" | "secret" => {
            "prod_config"
        }
        _ => return None,
    })
}

/// Words that end what a name says of the thing itself: `list_files_in_directory` is about files.
pub(super) const AFTER: [&str; 15] = [
    "and", "as", "at", "by", "for", "from", "in", "into", "of", "on", "or", "then", "to", "via",
    "with",
];
/// Words between two things that are done: `get_or_create_user`.
pub(super) const JOINTS: [&str; 3] = ["and", "or", "then"];
/// Words that say nothing of the thing.
pub(super) const EMPTY: [&str; 12] = [
    "a", "all", "an", "batch", "bulk", "many", "multiple", "my", "one", "several", "single", "the",
];
/// Arguments that a tool runs, whatever its name is.
pub(super) const RUNS: [&str; 7] =
    ["cmd", "graphql", "script", "shell", "shell_command", "sql", "tool_name"];
/// Arguments that a tool runs where its name says so, or says nothing.
pub(super) const MAY_RUN: [&str; 13] = [
    "code",
    "command",
    "expression",
    "function",
    "function_name",
    "instructions",
    "method",
    "program",
    "prompt",
    "query",
    "source",
    "statement",
    "tool",
];
/// Things that are run.
pub(super) const RUNNABLE: [&str; 11] = [
    "bash",
    "code",
    "command",
    "function",
    "python",
    "query",
    "script",
    "shell",
    "sql",
    "statement",
    "tool",
];
/// Arguments that name one thing by themselves.
pub(super) const NATURAL_IDS: [&str; 13] = [
    "path",
    "file_path",
    "filepath",
    "filename",
    "uri",
    "url",
    "key",
    "slug",
    "name",
    "email",
    "number",
    "sku",
    "reference",
];
/// Arguments that say where a thing is, from the outside in.
pub(super) const CONTAINERS: [&str; 10] = [
    "organization",
    "org",
    "owner",
    "workspace",
    "project",
    "namespace",
    "repository",
    "repo",
    "database",
    "bucket",
];
/// Arguments that say how much money moves.
pub(super) const AMOUNTS: [&str; 8] =
    ["amount", "amount_cents", "amount_in_cents", "amount_minor", "cents", "price", "sum", "total"];

/// One of several: `orders`, `entities`, `addresses`.
pub(super) fn singular(word: &str) -> String {
    let stem = |end: &str| word.strip_suffix(end).unwrap_or(word).to_owned();
    match word {
        _ if word.len() > 4 && word.ends_with("ies") => stem("ies") + "y",
        _ if ["sses", "xes", "ches", "shes", "zes"].iter().any(|end| word.ends_with(end)) => {
            stem("es")
        }
        _ if word.len() > 3
            && word.ends_with('s')
            && !["ss", "us", "is"].iter().any(|end| word.ends_with(end)) =>
        {
            stem("s")
        }
        _ => word.to_owned(),
    }
}
