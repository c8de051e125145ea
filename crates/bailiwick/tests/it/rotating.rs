//! Another checkpoint key: both sign for a while, then the newer one alone.

use crate::{
    witnessing::Witness,
    world::{Place, Ran},
};

const CONFIG: [&str; 2] = ["--config", "acme/bailiwick.toml"];

fn run(place: &Place, words: &[&str]) -> Ran {
    place.run(words.iter().copied().chain(CONFIG))
}

/// Runs a node for a moment, then exports.
fn worked(place: &Place, pack: &str) {
    let node = place.serve();
    assert_eq!(node.stop(), 0);
    run(place, &["ledger", "export", "--unwitnessed", "--out", pack]).ends(0);
}

fn verify(place: &Place, pack: &str, key: &str) -> Ran {
    place.run(["verify", pack, "--key", key, "--older", "kept"])
}

#[test]
fn heads_are_signed_by_both_keys_then_by_the_newer_one_and_either_line_leads_there() {
    let place = Place::initialized();
    let key = || run(&place, &["ledger", "key"]).ends(0).stdout.trim().to_owned();
    let former = key();
    let witness = Witness::of(&place, &former);
    let policy = format!("witness w {} {}\nquorum w\n", witness.key, witness.url);
    place.write("acme/witnesses.policy", &policy);
    place.configure("[ledger]\nwitnesses = \"witnesses.policy\"");
    worked(&place, "first");
    std::fs::copy(place.path("first/checkpoint"), place.path("kept")).unwrap();
    run(&place, &["keys", "retire-checkpoint"]).ends(7).says("only one checkpoint key signs");

    let node = place.serve();
    run(&place, &["keys", "rotate-checkpoint"]).ends(7).says("stop the node");
    run(&place, &["keys", "retire-checkpoint"]).ends(7).says("stop the node");
    assert_eq!(node.stop(), 0);
    // What was begun in vain is taken up.
    let rotated = run(&place, &["keys", "rotate-checkpoint", "-o", "json"]).ends(0).json();
    let newer = rotated["key"].as_str().unwrap().to_owned();
    assert_eq!(key(), newer);
    assert_ne!(newer, former);
    run(&place, &["keys", "rotate-checkpoint"]).ends(7).says("retire-checkpoint");

    worked(&place, "both");
    let signed = |pack: &str| {
        let note = std::fs::read(place.path(pack).join("checkpoint")).unwrap();
        [&former, &newer]
            .map(|line| line.parse::<ledger::VerifierKey>().unwrap().open(&note).is_ok())
    };
    assert_eq!(signed("both"), [true, true]);
    verify(&place, "both", &former).ends(0);
    verify(&place, "both", &newer).ends(0);

    // The witness is told of the newer key while the former one still signs.
    let replace = |former: &str, newer: &str| {
        let words = ["witness", "add-log", "--dir", "witness", newer, "--in-place-of", former];
        place.run(words)
    };
    place.run(["witness", "add-log", "--dir", "witness", &newer]).ends(7).says("--in-place-of");
    replace(&newer, &former).ends(7).says("is not known by that former key");
    replace(&former, &newer).ends(0);
    place.run(["keys", "rotate", "--to", "file:other.key"].into_iter().chain(CONFIG)).ends(0);
    place.write(
        "acme/bailiwick.toml",
        &std::fs::read_to_string(place.path("acme/bailiwick.toml"))
            .unwrap()
            .replace("file:master.key", &format!("file:{}", place.path("other.key").display())),
    );
    run(&place, &["keys", "retire-checkpoint"]).ends(0);
    assert!(!place.path("acme/data/keys/checkpoint-former.key").exists());

    let node = place.serve();
    let newest =
        |file: &str| std::fs::read(place.path("acme/data/ledger").join(file)).unwrap_or_default();
    let line = newer.parse::<ledger::VerifierKey>().unwrap();
    place.eventually("the witness cosigns what the newer key signs", || {
        let signed = |file| line.open(&newest(file)).map_or(0, |head| head.size);
        signed("anchor/witnessed") > 0 && signed("anchor/witnessed") == signed("checkpoint")
    });
    assert_eq!(node.stop(), 0);
    run(&place, &["ledger", "export", "--unwitnessed", "--out", "newest"]).ends(0);
    assert_eq!(signed("newest"), [false, true]);
    verify(&place, "newest", &former).ends(0).says("to which the given key leads");
    verify(&place, "newest", &newer).ends(0);
    run(&place, &["keys", "rotate-checkpoint"]).ends(0);
}
