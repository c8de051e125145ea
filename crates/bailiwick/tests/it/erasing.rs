//! Erasing what was said: nobody reads it any more, everybody sees that it was there, and nothing is said about who.

use std::{fs, path::Path, process::Stdio};

use ledger::KeyStore;
use serde_json::json;
use store::SubjectKeyBook;
use token::MasterKey;

use crate::{
    connecting::{Client, call},
    office::Office,
    world::exists,
};

const PROMPT: &str = "look what Marta Quendolin ordered";
const ORDER: &str = "QUENDOLIN-4711";
const CONFIG: [&str; 2] = ["--config", "acme/bailiwick.toml"];
const REASON: [&str; 2] = ["--reason", "article 17"];

/// The node's own files, one after the other, without those of the kinds that are left out.
fn bytes_of(folder: &Path, left_out: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_of(&path, left_out));
        } else if left_out.is_empty() || !path.display().to_string().contains(left_out) {
            all.extend(fs::read(path).unwrap());
        }
    }
    all
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A key that seals for a subject, as the node keeps it.
fn key_of(office: &Office, subject: &str) -> (String, Vec<u8>) {
    let master = fs::read_to_string(office.place.path("acme/master.key")).unwrap();
    let file = office.place.path("acme/data/subject-keys.sqlite");
    let book = SubjectKeyBook::open(&file, MasterKey::from_base64(&master).unwrap()).unwrap();
    let key = book.by_id(&book.ids(subject).unwrap()[0]).unwrap().unwrap();
    (key.id, key.secret.to_vec())
}

#[test]
fn what_was_said_is_erased_with_its_key_and_what_was_done_stays_proven() {
    let office = Office::new();
    let (place, olivia) = (&office.place, office.olivia());
    place.write("prompt.txt", PROMPT);
    let open = ["task", "open", "--agent", "support-bot", "--purpose", "support"];
    let said = ["--prompt-file", "prompt.txt", "--token-file", "task.token"];
    olivia.run(&[&open[..], &said].concat()).ends(0);
    let mut client = Client::of(&office);
    client.initialize();
    let mut read = |order: &str| {
        let answer = client.ask(1, "tools/call", &call("get_order", &json!({ "order_id": order })));
        assert!(answer["result"].is_object(), "{answer}");
    };
    read(ORDER);
    let shown = ["ledger", "show", "--limit", "1000", "--payload"];
    olivia.run(&shown).ends(0).says(PROMPT).says(ORDER);
    let whoami = olivia.run(&["whoami", "-o", "json"]).ends(0).json();
    let subject = whoami["id"].as_str().unwrap().to_owned();
    let (id, secret) = key_of(&office, &subject);

    let change =
        |what: &[&str], who: &str| olivia.run(&[what, &["--subject", who], &REASON].concat());
    change(&["ledger", "hold", "add"], "olivia").ends(0).says("legal hold");
    olivia.run(&["ledger", "hold", "list"]).ends(0).says("olivia").says("article 17");
    change(&["ledger", "erase"], "olivia").ends(7).says("under a legal hold");
    change(&["ledger", "hold", "add"], "olivia").ends(7);
    change(&["ledger", "hold", "remove"], "olivia").ends(0);
    change(&["ledger", "hold", "remove"], "olivia").ends(6);
    change(&["ledger", "erase"], "nobody").ends(6);
    change(&["ledger", "erase"], "agent/no-such-bot").ends(6).says("nothing is sealed");
    olivia.run(&shown).ends(0).says(PROMPT).says(ORDER);

    let before = place.path("before.sqlite");
    fs::copy(place.path("acme/data/subject-keys.sqlite"), &before).unwrap();
    let wrapped = bytes_of(&place.path("acme/data"), "");
    assert!(holds(&wrapped, id.as_bytes()) && !holds(&wrapped, &secret));
    let erased = change(&["ledger", "erase", "-o", "json"], "olivia").ends(0).json();
    let keys = erased["keys"].as_array().unwrap();
    assert!(keys.contains(&json!(id)), "{erased}");
    let entry = erased["entry"].as_u64().unwrap();
    let by = format!("erased by entry {entry}");
    let after = olivia.run(&shown).ends(0).says(&by);
    assert!(!after.stdout.contains(PROMPT) && !after.stdout.contains(ORDER), "{}", after.stdout);
    // The record of the erasure itself is sealed under a key that is not erased.
    assert!(after.stdout.contains("article 17"), "{}", after.stdout);
    read("A-1001");
    olivia.run(&shown).ends(0).says("A-1001");
    assert!(!keys.contains(&json!(key_of(&office, &subject).0)));

    let verify = ["ledger", "verify"];
    place.run(verify.into_iter().chain(CONFIG)).ends(0).says("VERIFIED").says(&by);
    place.run(["ledger", "export", "--out", "pack", "--data", "acme/data"]).ends(0);
    let key = place.run(["ledger", "key", "--data", "acme/data"]).ends(0).stdout;
    place.run(["verify", "pack", "--key", key.trim()]).ends(0).says(&by);
    drop(client);
    let Office { place, node, .. } = office;
    assert_eq!(node.stop(), 0);
    for folder in ["acme", "pack"] {
        let files = bytes_of(&place.path(folder), "");
        assert!(!holds(&files, PROMPT.as_bytes()) && !holds(&files, ORDER.as_bytes()), "{folder}");
        assert!(!holds(&files, &secret), "{folder}");
    }
    assert!(!holds(&bytes_of(&place.path("acme/data"), "ledger"), id.as_bytes()));

    // A copy of the keys from before gives nothing back.
    fs::copy(&before, place.path("acme/data/subject-keys.sqlite")).unwrap();
    place.run(verify.into_iter().chain(CONFIG)).ends(3).says("which is there again");
    assert_eq!(place.serve().stop(), 0);
    assert!(!holds(&bytes_of(&place.path("acme/data"), "ledger"), id.as_bytes()));
    let left = place.run(verify.into_iter().chain(CONFIG)).ends(3);
    assert!(
        !left.stdout.contains("there again") && left.stdout.contains("no entry erased it"),
        "{}",
        left.stdout
    );
}

#[test]
fn a_node_that_is_killed_while_it_destroys_a_key_does_the_rest_at_its_next_start() {
    let office = Office::new();
    let (id, _) = key_of(&office, "agent/support-bot");
    let journal = office.place.path("acme/data/subject-keys.sqlite-journal");
    let erase = ["ledger", "erase", "--subject", "agent/support-bot", "--profile", "olivia.toml"];
    let mut command = office.place.command(erase.into_iter().chain(REASON));
    let mut erasing =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    // SQLite's journal is there while the key goes, behind the durable entry; where this looks too late, it has gone.
    while erasing.try_wait().unwrap().is_none() && !exists(&journal) {
        std::hint::spin_loop();
    }
    let Office { place, node, .. } = office;
    drop(node);
    let _ = erasing.kill();
    erasing.wait().unwrap();
    assert_eq!(place.serve().stop(), 0);
    let verified = place.run(["ledger", "verify"].into_iter().chain(CONFIG)).ends(0);
    verified.says("VERIFIED").says("erased by entry").says("payloads");
    assert!(!holds(&bytes_of(&place.path("acme/data"), "ledger"), id.as_bytes()));
}
