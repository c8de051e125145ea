use serde_json::Value;

use crate::world::{Place, Ran, Somebody};

const BLUEPRINT: &str = r#"
name = "support"
purpose = "answers customers"
owner = "olivia"
token_ttl_seconds = 300

[[allow]]
verbs = ["read", "list", "pay"]
resources = "support-desk/*/*"
until = "2099-01-01"
"#;

const GRANT: &str = r#"
name = "olivia-support"
holder = "olivia"

[[allow]]
verbs = ["read", "pay"]
resources = "support-desk/*/*"
until = "2099-01-01"
"#;

const AGENT: &str = r#"
name = "support-bot"
blueprint = "support"
owner = "olivia"
purpose = "answers customers"
public_key = "bot.pem.pub"

[version]
model = "m-1"
prompt = "file:prompt.txt"
tools = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
image = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
"#;

const POLICY: &str = r#"
@id("support-reads")
permit (principal, action == Action::"read", resource in System::"support-desk");
"#;

/// The approval that a held command names.
fn held(ran: Ran) -> String {
    let error = ran.ends(8).json()["error"]["what"].clone();
    error.as_str().unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn two_administrators_run_an_agent_by_hand_and_an_auditor_checks_it() {
    let place = Place::initialized();
    let node = place.serve();
    let (olivia, bob) = (place.somebody("olivia"), place.somebody("bob"));
    place.run(["key", "new", "bot.pem"]).ends(0);
    for (file, text) in [
        ("blueprint.toml", BLUEPRINT),
        ("grant.toml", GRANT),
        ("agent.toml", AGENT),
        ("prompt.txt", "be kind"),
        ("misspelt.toml", &BLUEPRINT.replace("purpose", "purpse")),
    ] {
        place.write(file, text);
    }
    std::fs::create_dir(place.path("policies")).unwrap();
    place.write("policies/support.cedar", POLICY);

    // Alone, the first administrator waits for nobody.
    olivia.enroll(node.code.as_ref().unwrap()).ends(0);
    olivia.run(&["blueprint", "add", "misspelt.toml"]).ends(1).says("did you mean `purpose`?");
    olivia.run(&["blueprint", "add", "blueprint.toml"]).ends(0).says("is in force");
    olivia.run(&["blueprint", "add", "blueprint.toml"]).ends(0).says("already");
    olivia.run(&["grant", "give", "grant.toml"]).ends(0);
    olivia.run(&["agent", "register", "agent.toml"]).ends(0);
    olivia.run(&["agent", "register", "agent.toml"]).ends(7);
    olivia.run(&["agent", "list"]).ends(0).says("support-bot  active  support");
    olivia.run(&["agent", "show", "support-bot"]).ends(0).says("olivia (person/p");
    let rights = olivia.run(&["grant", "list"]).ends(0).says("olivia-support  olivia");
    rights.says("read, pay on support-desk/*/*  2099-01-01T00:00:00.000Z");
    olivia.run(&["blueprint", "list"]).ends(0).says("read, list, pay on").says("300 s");
    let resume = ["resume", "agent:nobody", "--reason", "x"];
    olivia.run(&resume).ends(6).says("`bailiwick stops`");
    let nothing = ["approval", "show", "0199f3a2-7c11-8001-8a2b-3c4d5e6f7081"];
    olivia.run(&nothing).ends(6).says("bailiwick approval list --all");
    let public = olivia.run(&["whoami", "--key", "bot.pem.pub"]).ends(1);
    public.says("is a public key").says("`--key bot.pem`");
    let add = ["person", "add", "--handle", "bob", "--name", "Bob", "--public-key", "bob.pem.pub"];
    let added =
        olivia.run(&[&add[..], &["--team", "administrator", "-o", "json"]].concat()).ends(0).json();
    bob.remember(node.server(), added["uri"].as_str().unwrap());

    // Together, what widens needs both.
    let ask = ["can-i", "read", "support-desk/Task/7", "--agent", "support-bot"];
    olivia.run(&ask).ends(3).says("DENY");
    let apply = ["policy", "apply", "policies", "-o", "json"];
    let approval = held(olivia.run(&apply));
    olivia.run(&["approve", &approval, "--yes"]).ends(5);
    bob.run(&["approval", "list"]).ends(0).says(&approval).says("1 of administrator");
    bob.run(&["approve", &approval]).ends(1).says("--yes");
    let shown = bob.run(&["approval", "show", &approval]).ends(0);
    let policy = "  |        @id(\"support-reads\")\n  |        permit (principal,";
    shown.says(policy).says("asked by        olivia (person/p").says("SHA-256");
    bob.run(&["approve", &approval, "--yes"]).ends(0).says("APPROVED").says("support-reads");
    bob.run(&["approve", &approval]).ends(7).says("answered this request already");
    olivia.run(&apply).ends(0).says("support.cedar");
    let same = olivia.run(&["policy", "apply", "policies", "-o", "json"]).ends(0).json();
    assert_eq!(same["changed"], false);
    olivia.run(&["policy", "show"]).ends(0).says("support-reads");
    olivia.run(&["policy", "check", "policies"]).ends(0);
    place.write("policies/broken.cedar", "permit (principal, action, resource");
    olivia.run(&["policy", "check", "policies"]).ends(3).says("broken.cedar");
    place.write(
        "broken.cedar",
        "permit (principal, action, resource);\nforbid (principal, action, resource);",
    );
    let apply_broken = olivia.run(&["policy", "apply", "broken.cedar"]).ends(3);
    apply_broken.says("\n       broken.cedar:2:1:");
    place.write("early.cedar", "@id(\"early\") permit (principal, action, resource is Order);");
    for verb in ["check", "apply"] {
        let early = olivia.run(&["policy", verb, "early.cedar"]).ends(3);
        assert!(!early.stdout.contains("Grant") && !early.stderr.contains("Grant"), "{early:?}");
        early.says("unrecognized entity type `Order`").says("no tool is accepted yet");
    }
    place.write("wide.cedar", "@id(\"wide\") permit (principal, action, resource);");
    let warning = "wide.cedar:1:1: `wide` names no system, and so permits governance too";
    let check = olivia.run(&["policy", "check", "wide.cedar", "-o", "json"]).ends(0);
    assert!(check.json()["warnings"][0].as_str().unwrap().starts_with(warning), "{check:?}");
    assert!(check.stderr.contains(&format!("warning: {warning}")), "{check:?}");
    let apply_wide = olivia.run(&["policy", "apply", "wide.cedar"]).ends(8);
    assert!(apply_wide.stderr.contains(&format!("warning: {warning}")), "{apply_wide:?}");
    olivia.run(&ask).ends(0).says("PERMIT");
    olivia.run(&["can-i", "pay", "support-desk/Refund/7", "--amount", "50.00 EUR"]).ends(3);
    olivia.run(&["can-i", "read", "support-desk/Task/7", "--agent", "nobody"]).ends(6);
    olivia.run(&["can-i", "read", "support-desk"]).ends(2).says("SYSTEM/KIND/ID");
    olivia.run(&["can-i", "read", "support-desk/task/7"]).ends(2);

    // A task, and the agent's life.
    let open = ["task", "open", "--agent", "support-bot", "--purpose", "support", "-o", "json"];
    let task = olivia.run(&open).ends(0).json();
    assert!(task["token"].as_str().unwrap().contains('.'));
    place.write("there", "mine");
    for (file, status) in [("there", 7), ("nowhere/token", 1)] {
        olivia.run(&[&open[..], &["--token-file", file]].concat()).ends(status);
    }
    assert_eq!(std::fs::read_to_string(place.path("there")).unwrap(), "mine");
    let nobody = ["task", "open", "--agent", "nobody", "--purpose", "x", "--token-file", "token"];
    olivia.run(&nobody).ends(6);
    assert!(!place.path("token").exists(), "nothing was opened, and nothing stays");
    let kept = olivia.run(&[&open[..], &["--token-file", "token"]].concat()).ends(0).json();
    assert_eq!(kept["token"], "file:token");
    assert!(std::fs::read_to_string(place.path("token")).unwrap().contains('.'));
    olivia.run(&["task", "end", kept["task"].as_str().unwrap()]).ends(0);
    olivia.run(&["task", "end", task["task"].as_str().unwrap()]).ends(0);
    let task = olivia.run(&[&open[..], &["--budget", "45.00 EUR"]].concat()).ends(0).json();
    olivia.run(&["task", "end", task["task"].as_str().unwrap()]).ends(0).says("0.00 EUR");
    olivia
        .run(&["agent", "suspend", "support-bot", "--reason", "looks odd"])
        .ends(0)
        .says("suspended");
    olivia.run(&ask).ends(3);
    let reinstate = ["agent", "reinstate", "support-bot", "-o", "json"];
    let approval = held(olivia.run(&reinstate));
    bob.run(&["approve", &approval, "--yes"]).ends(0).says("looks odd");
    olivia.run(&reinstate).ends(0).says("active");
    olivia.run(&ask).ends(0);

    // The stop does not ask; its end needs a second person.
    let stopped = olivia.run(&["stop", "agent:support-bot", "--reason", "drill"]).ends(0);
    stopped
        .says("ordered")
        .says("in force")
        .says("final")
        .says("bailiwick resume agent:support-bot");
    olivia.run(&ask).ends(3).says("stop");
    let stops = olivia.run(&["stops"]).ends(0).says("agent:support-bot").says("drill");
    assert!(!stops.stdout.contains("person/"), "{stops:?}");
    let resume = ["resume", "agent:support-bot", "--reason", "drill is over", "-o", "json"];
    let approval = held(olivia.run(&resume));
    bob.run(&["approve", &approval, "--yes"]).ends(0);
    olivia.run(&resume).ends(0);
    olivia.run(&ask).ends(0);
    let approval = held(olivia.run(&["policy", "apply", "wide.cedar", "-o", "json"]));
    let shown = bob.run(&["approval", "show", &approval]).ends(0);
    shown
        .says("REMOVED  permit  support-reads")
        .says("ADDED    permit  wide")
        .says("WARNING: wide.cedar:1:1: `wide` names no system");
    let no = "not before the audit is over";
    bob.run(&["deny", &approval, "--yes", "--reason", &"x".repeat(501)]).ends(2);
    let secret = ["deny", &approval, "--yes", "--reason", "glpat-Zx8Qw2Er5Ty7Ui1Op3As is out"];
    bob.run(&secret).says("as if it held a secret");
    bob.run(&["deny", &approval, "--yes", "--reason", no])
        .ends(0)
        .says("DENIED")
        .says("can be asked again");
    bob.run(&["deny", &approval, "--yes"]).ends(7).says("stays refused until");
    olivia.run(&["approval", "show", &approval]).ends(0).says(no);
    olivia.run(&["policy", "apply", "wide.cedar"]).ends(5).says(no);

    check_decisions(&olivia);
    olivia.run(&["ledger", "show", "--limit", "1000"]).ends(0).says("governance");
    let unknown = "0199f3a2-7c11-8001-8a2b-3c4d5e6f7081";
    olivia.run(&["ledger", "show", "--action", unknown]).ends(6).says("no entry of action");
    let agent = olivia.run(&["agent", "show", "support-bot"]).ends(0);
    agent.says("version\n").says("    prompt       SHA-256 ");
    let opened = olivia.run(&["ledger", "show", "--payload", "-o", "json"]).ends(0).json();
    assert!(
        opened["entries"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["payload"]["state"] == "open")
    );
    let prove = ["ledger", "proof", "1", "--out", "1.tlog-proof", "--entry", "1.json"];
    olivia.run(&prove).ends(0).says("bailiwick ledger verify-proof 1.tlog-proof --entry 1.json");
    olivia.run(&prove).ends(7).says("1.json");
    olivia.run(&["ledger", "proof", "999999", "--out", "2.tlog-proof"]).ends(6);
    assert_eq!(node.stop(), 0);
    check_offline(&place);
    check_proof(&place);
}

/// What has been decided so far comes out the same once more.
fn check_decisions(olivia: &Somebody<'_>) {
    let made = olivia.run(&["ledger", "recompute", "-o", "json"]).ends(0).json();
    let made = made["decisions"].as_array().unwrap().clone();
    let same: Vec<_> = made.iter().filter(|one| one["result"] == "same").collect();
    assert!(same.iter().any(|one| one["verdict"] == "permit" && one["today"] == "permit"));
    assert!(same.iter().any(|one| one["verdict"] != "permit"));
    let mut others = made.iter().filter(|one| one["result"] != "same");
    assert!(others.all(|one| one["result"] == "before"), "{made:#?}");
    let index = same[0]["index"].to_string();
    olivia.run(&["ledger", "recompute", &index]).ends(0).says("1 as the ledger has them");
    let none = olivia.run(&["ledger", "recompute", "999999"]).ends(6);
    assert!(none.stderr.contains("entry 999999 is no decision"), "{}", none.stderr);
}

/// What somebody does who was given one entry and its proof.
fn check_proof(place: &Place) {
    let key = place.run(["ledger", "key", "--data", "acme/data"]).ends(0).stdout;
    let check = |proof, entry, key| {
        place.run(["ledger", "verify-proof", proof, "--entry", entry, "--key", key])
    };
    check("1.tlog-proof", "1.json", key.trim()).ends(0).says("VERIFIED").says("entry");
    check("1.tlog-proof", "1.json", "key.txt").ends(0);
    check("1.tlog-proof", "key.txt", key.trim()).ends(3).says("NOT VERIFIED");
    let other = place.run(["ledger", "key", "--data", "other/data"]).ends(0).stdout;
    check("1.tlog-proof", "1.json", other.trim()).ends(3).says("no signature by the key");
    check("1.json", "1.json", key.trim()).ends(2).says("proof");
    check("1.tlog-proof", "1.json", "garbage").ends(2);
    check("nowhere", "1.json", key.trim()).ends(6);
}

/// What an auditor does, without any server.
fn check_offline(place: &Place) {
    let config = ["--config", "acme/bailiwick.toml"];
    let own =
        place.run(["ledger", "verify", "-o", "json"].into_iter().chain(config)).ends(0).json();
    assert_eq!(own["verified"], Value::Bool(true));
    assert!(own["commitments"].as_u64().unwrap() > 0);
    let key = place.run(["ledger", "key", "--data", "acme/data"]).ends(0).stdout;
    assert!(key.starts_with("acme/dev/1+"), "{key}");
    let export = ["ledger", "export", "--out", "pack", "--data", "acme/data"];
    let hint = r#"bailiwick verify pack --key "$(bailiwick ledger key --data acme/data)""#;
    place.run(export).ends(0).says(hint);
    let export = ["ledger", "export", "--out", "a pack"].into_iter().chain(config);
    place.run(export).ends(0).says(
        r#"bailiwick verify 'a pack' --key "$(bailiwick ledger key --config acme/bailiwick.toml)""#,
    );
    place
        .run(["ledger", "export", "--out", "pack", "--data", "acme/data"])
        .ends(7)
        .says("not empty");
    place.run(["verify", "pack"]).ends(2).says("--key LINE");
    place.run(["verify", "pack", "--key", key.trim()]).ends(0).says("VERIFIED");
    place.write("key.txt", &key);
    place.run(["verify", "pack", "--key", "key.txt", "--older", "pack/checkpoint"]).ends(0);
    place.run(["ledger", "key", "--data", "nowhere"]).ends(6);

    // What was not read gets no verdict.
    std::fs::create_dir(place.path("letters")).unwrap();
    for (pack, key, status, code) in [
        ("nowhere", key.trim(), 6, "pack_missing"),
        ("letters", key.trim(), 6, "pack_missing"),
        ("key.txt", key.trim(), 6, "pack_missing"),
        ("pack", "garbage", 2, "key_invalid"),
        ("pack", "pack/checkpoint", 2, "key_invalid"),
    ] {
        let ran = place.run(["verify", pack, "--key", key, "-o", "json"]).ends(status);
        assert_eq!(ran.json()["error"]["code"], code, "{ran:?}");
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("integrity"), "{ran:?}");
    }
    // Another ledger's key is a sound key: the pack was read, and it is not signed with that.
    place.run(["init", "--dir", "other", "--org", "acme"]).ends(0);
    let other = place.run(["ledger", "key", "--data", "other/data"]).ends(0).stdout;
    let foreign = place.run(["verify", "pack", "--key", other.trim()]).ends(3);
    foreign.says("NOT VERIFIED").says("not checked");

    // One byte of one entry.
    let bundles = place.path("pack/tile/entries/000.p");
    let bundle = std::fs::read_dir(bundles).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&bundle).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let broken = place.run(["verify", "pack", "--key", key.trim()]).ends(3);
    broken.says("NOT VERIFIED").says("integrity");
}
