//! Secrets that agents and people say: sent where they are sent, and in no file of the node's.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    connecting::{Client, call},
    office::Office,
};

/// Shapes that the rules know, and nobody's secrets.
const ARGUMENT: &str = "glpat-Ar8Qw2Er5Ty7Ui1Op3As";
const ENCODED: &str = "AKIAQYLPMN5HJWFPZ3M2";
const BY_NAME: &str = "correct horse battery";
const REFUSED: &str = "ghp_Re8Qw2Er5Ty7Ui1Op3As4Df6Gh9Jk0Lz2Xc5";
const TOOL: &str = "glpat-To8Qw2Er5Ty7Ui1Op3As";
const HELD: &str = "glpat-He8Qw2Er5Ty7Ui1Op3As";
const PURPOSE: &str = "ghp_Pu8Qw2Er5Ty7Ui1Op3As4Df6Gh9Jk0Lz2Xc5";
const INTENT: &str = "glpat-In8Qw2Er5Ty7Ui1Op3As";
const PROMPT: &str = "ghp_Pr8Qw2Er5Ty7Ui1Op3As4Df6Gh9Jk0Lz2Xc5";
const SUSPENDED: &str = "glpat-Su8Qw2Er5Ty7Ui1Op3As";
const STOPPED: &str = "glpat-St8Qw2Er5Ty7Ui1Op3As";
const REGISTERED: &str = "glpat-Rg8Qw2Er5Ty7Ui1Op3As";

const ALL: [&str; 12] = [
    ARGUMENT, ENCODED, BY_NAME, REFUSED, TOOL, HELD, PURPOSE, INTENT, PROMPT, SUSPENDED, STOPPED,
    REGISTERED,
];

/// People are asked before anything is read.
const HOLD: &str = r#"
@id("support")
permit (principal, action == Action::"read", resource in System::"support-desk");
@id("looked-at") @hold("finance")
forbid (principal, action == Action::"read", resource in System::"support-desk");
"#;

#[test]
fn no_secret_that_was_said_is_in_any_file_of_the_node() {
    let office = Office::new();
    let (place, olivia) = (&office.place, office.olivia());
    place.write("prompt.txt", &format!("Log in with {PROMPT} and look."));
    let purpose = format!("support with {PURPOSE}");
    let intent = format!("use {INTENT}");
    let open = ["task", "open", "--agent", "support-bot", "--purpose", &purpose];
    let said = ["--intent", &intent, "--prompt-file", "prompt.txt", "--token-file", "task.token"];
    olivia.run(&[&open[..], &said].concat()).ends(0);

    let mut client = Client::of(&office);
    client.initialize();
    let mut ask = |tool: &str, arguments| {
        let answer = client.ask(1, "tools/call", &call(tool, &arguments));
        answer["result"]["_meta"]["bailiwick/refusal"]["code"].as_str().map(str::to_owned)
    };
    assert_eq!(ask("get_order", json!({ "order_id": ARGUMENT })), None);
    assert_eq!(ask("get_order", json!({ "order_id": STANDARD.encode(ENCODED) })), None);
    let surplus = json!({ "order_id": "A-1001", "password": BY_NAME, "note": REFUSED });
    assert_eq!(ask("get_order", surplus).as_deref(), Some("arguments_invalid"));
    assert_eq!(ask(TOOL, json!({})).as_deref(), Some("tool_unknown"));
    place.write("hold.cedar", HOLD);
    olivia.run(&["policy", "apply", "hold.cedar"]).ends(0);
    assert_eq!(ask("get_order", json!({ "order_id": HELD })).as_deref(), Some("held"));
    let waiting = olivia.run(&["approval", "list", "-o", "json"]).ends(0);
    let waiting = waiting.says("[secret:gitlab-pat]");
    assert!(ALL.iter().all(|secret| !waiting.stdout.contains(secret)), "{}", waiting.stdout);

    let tried = olivia.run(&["catalog", "test", "accept.toml"]);
    tried.says("secrets were left out of them when they were recorded");
    let agent = std::fs::read_to_string(place.path("agent.toml")).unwrap();
    let agent = agent.replace("support-bot", "other-bot").replace("bot.pem", "other.pem");
    place.run(["key", "new", "other.pem"]).ends(0);
    place.write("other.toml", &agent.replace("answers customers", REGISTERED));
    olivia.run(&["agent", "register", "other.toml"]).ends(0);
    olivia.run(&["agent", "suspend", "other-bot", "--reason", SUSPENDED]).ends(0);
    olivia.run(&["stop", "agent:support-bot", "--reason", STOPPED]).ends(0);

    let opened = ["ledger", "show", "--limit", "1000", "--payload", "-o", "json"];
    let opened = olivia.run(&opened).ends(0).says("[secret:named]").says("[secret:gitlab-pat]");
    for secret in ALL {
        assert!(!opened.stdout.contains(secret), "a payload holds {secret}");
    }
    let config = ["--config", "acme/bailiwick.toml"];
    place.run(["ledger", "verify"].into_iter().chain(config)).ends(0).says("VERIFIED");
    place.run(["ledger", "export", "--out", "pack", "--data", "acme/data"]).ends(0);
    drop(client);
    let Office { place, node, .. } = office;
    assert_eq!(node.stop(), 0);

    let mut files = Vec::new();
    for folder in ["acme", "pack", "node.log"] {
        collect(&place.path(folder), &mut files);
    }
    assert!(files.len() > 20, "{}", files.len());
    for (path, content) in &files {
        let content = String::from_utf8_lossy(content);
        for secret in ALL.into_iter().flat_map(dressed) {
            assert!(!content.contains(&secret), "`{secret}` is in {path}");
        }
    }
    // What was decided on is what was sent.
    let books = std::fs::read(place.path("desk.sqlite-wal")).unwrap_or_default();
    let books = [books, std::fs::read(place.path("desk.sqlite")).unwrap()].concat();
    assert!(String::from_utf8_lossy(&books).contains(ARGUMENT));
}

fn dressed(secret: &str) -> [String; 3] {
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    [secret.to_owned(), STANDARD.encode(secret), hex]
}

fn collect(path: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    if path.is_file() {
        files.push((path.display().to_string(), std::fs::read(path).unwrap()));
    } else if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), files);
        }
    }
}
