use crate::world::{Place, exists};

#[test]
fn an_installation_is_never_overwritten() {
    let place = Place::initialized();
    let before = std::fs::read(place.path("acme/master.key")).unwrap();
    place.run(["init", "--dir", "acme"]).ends(7).says("is there already").says("never overwritten");
    assert_eq!(std::fs::read(place.path("acme/master.key")).unwrap(), before);
    std::fs::remove_file(place.path("acme/bailiwick.toml")).unwrap();
    place.run(["init", "--dir", "acme"]).ends(7);
    assert!(!exists(&place.path("acme/bailiwick.toml")));
}

#[test]
fn the_master_key_lies_outside_the_data_and_secrets_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place
        .run(["init", "--dir", "x", "--master-key", "x/data/master.key"])
        .ends(1)
        .says("outside the data folder");
    assert!(!exists(&place.path("x/data")));
    let place = Place::initialized();
    for secret in [
        "master.key",
        "data/keys/token.key",
        "data/keys/checkpoint.key",
        "data/subject-keys.sqlite",
    ] {
        let mode = std::fs::metadata(place.path("acme").join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    place.run(["key", "new", "a.pem", "--alg", "es256"]).ends(0);
    place.run(["key", "new", "a.pem"]).ends(7);
}

#[test]
fn an_unknown_setting_is_named_with_its_place_and_the_nearest_known_one() {
    let place = Place::initialized();
    place.run(["config", "check", "--config", "acme/bailiwick.toml"]).ends(0);
    std::fs::create_dir(place.path("acme/bailiwick.d")).unwrap();
    place.write("acme/bailiwick.d/10.toml", "[server]\nlistn = \"x\"\n");
    place
        .run(["serve", "--config", "acme/bailiwick.toml"])
        .ends(1)
        .says("unknown key `listn` in [server]; did you mean `listen`?")
        .says("10.toml:2");
    place.run(["serve", "--config", "nowhere.toml"]).ends(6).says("bailiwick init");
    place.run(["config", "check", "--config", "nowhere.toml"]).ends(6);
}

#[test]
fn every_setting_is_explained_with_where_it_comes_from() {
    let place = Place::initialized();
    let config =
        ["--config", "acme/bailiwick.toml", "--set", "ops.listen=127.0.0.1:9", "-o", "json"];
    let explained = place.run(["config", "explain"].into_iter().chain(config)).ends(0).json();
    assert_eq!(explained["ops.listen"]["value"], "127.0.0.1:9");
    assert!(explained["ops.listen"]["from"].as_str().unwrap().contains("flag"));
    assert!(explained["realm.org"]["from"].as_str().unwrap().ends_with("bailiwick.toml:5"));
    assert_eq!(explained["server.public_url"]["value"], serde_json::Value::Null);
    assert!(explained["server.public_url"]["from"].as_str().unwrap().contains("server.listen"));
    let one = place.run(["config", "explain", "realm.nod"].into_iter().chain(config)).ends(1);
    one.says("did you mean `node`?");
}

#[test]
fn a_node_starts_with_the_keys_of_its_subjects_or_says_what_is_wrong_with_them() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::initialized();
    let serve = ["serve", "--config", "acme/bailiwick.toml", "--print-addresses"];
    let file = place.path("acme/data/subject-keys.sqlite");
    let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o640);
    place.run(serve).ends(1).says("secret_open_to_others").says("subject-keys.sqlite");
    mode(0o600);
    std::fs::rename(&file, place.path("kept")).unwrap();
    place.run(serve).ends(1).says("key_missing").says("the keys of subjects");
    assert!(!exists(&file), "they are not made anew");
    std::fs::write(&file, b"").unwrap();
    mode(0o600);
    place.run(serve).ends(1).says("subject_keys_closed");
    // Those of another installation.
    place.run(["init", "--dir", "other"]).ends(0);
    std::fs::copy(place.path("other/data/subject-keys.sqlite"), &file).unwrap();
    place.run(serve).ends(1).says("key_closed").says("another master key");
    std::fs::rename(place.path("kept"), &file).unwrap();
    std::fs::write(place.path("acme/data/keys/payload.key"), b"one key for all").unwrap();
    place.run(serve).ends(1).says("made by an older version");
}

#[test]
fn another_master_key_takes_over_and_the_former_one_opens_nothing() {
    let place = Place::initialized();
    let node = place.serve();
    place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
    let config = ["--config", "acme/bailiwick.toml"];
    let rotate =
        |to: &'static str| place.run(["keys", "rotate", "--to", to].into_iter().chain(config));
    rotate("file:new.key").ends(7).says("while no node runs");
    assert!(!exists(&place.path("new.key")));
    assert_eq!(node.stop(), 0);
    rotate("file:acme/master.key").ends(2).says("is the master key in use");
    std::fs::copy(place.path("acme/master.key"), place.path("copy.key")).unwrap();
    rotate("file:copy.key").ends(2).says("is the master key in use");
    std::os::unix::fs::symlink(place.path("acme"), place.path("link")).unwrap();
    rotate("file:link/../acme/./master.key").ends(2).says("is the master key in use");
    rotate("file:link/master.key").ends(2).says("is the master key in use");
    rotate("file:acme/data/new.key").ends(1).says("outside the data folder");
    rotate("file:link/data/new.key").ends(1).says("outside the data folder");
    assert!(!exists(&place.path("acme/data/new.key")));
    rotate("env:NO_SUCH_VARIABLE").ends(1).says("NO_SUCH_VARIABLE");
    rotate("file:new.key").ends(0).says("set `data.master_key`");
    let serve = ["serve", "--print-addresses"];
    place.run(serve.into_iter().chain(config)).ends(1).says("key_closed");
    rotate("file:new.key").ends(0).says("0 wrapped anew");
    let text = std::fs::read_to_string(place.path("acme/bailiwick.toml")).unwrap();
    place.write("acme/bailiwick.toml", &text.replace("file:master.key", "file:../new.key"));
    let node = place.serve();
    let known = place.known("olivia");
    known.run(&["profile", "set", "--server", node.server()]).ends(0);
    known.run(&["ledger", "show", "--payload"]).ends(0).says("Somebody");
    assert_eq!(node.stop(), 0);
    place.run(["ledger", "verify"].into_iter().chain(config)).ends(0).says("VERIFIED");

    // From a key to words that somebody remembers, and to other words.
    place.write_secret("short", "copper lantern");
    rotate("passphrase:file:short").ends(1).says("passphrase_too_short");
    place.write_secret("words", "copper lantern orbit velvet anchor\n");
    rotate("passphrase:file:words").ends(0);
    place
        .write("acme/bailiwick.toml", &text.replace("file:master.key", "passphrase:file:../words"));
    assert_eq!(place.serve().stop(), 0);
    place.write_secret("words", "copper lantern orbit velvet anchors\n");
    place.run(serve.into_iter().chain(config)).ends(1).says("key_closed");
}

#[test]
fn nothing_starts_without_its_keys() {
    let place = Place::initialized();
    let serve = ["serve", "--config", "acme/bailiwick.toml", "--print-addresses"];
    let check = ["config", "check", "--config", "acme/bailiwick.toml"];
    let (token, index) = ("acme/data/keys/token.key", place.path("acme/data/keys/index.key"));
    let token = place.path(token);
    std::fs::rename(&token, place.path("kept")).unwrap();
    place.run(check).ends(1).says("the token key").says("key_missing");
    std::fs::rename(&index, place.path("kept too")).unwrap();
    place.run(check).ends(1).says("2 keys are missing").says("token.key").says("index.key");
    std::fs::rename(place.path("kept too"), &index).unwrap();
    let refused = place.run(serve).ends(1).says("the token key").says("key_missing");
    assert_eq!(refused.stdout, "");
    std::fs::rename(place.path("kept"), &token).unwrap();
    std::fs::remove_file(place.path("acme/master.key")).unwrap();
    place.run(check).ends(1).says("master_key_missing");
    let refused = place.run(serve).ends(1).says("master_key_missing");
    assert_eq!(refused.stdout, "");
    let other = "c29tZSBvdGhlciBrZXkgb2YgMzIgYnl0ZXMgbGVuZ3Q=";
    place.write("acme/master.key", other);
    place.run(serve).ends(1).says("can be read by others");
    use std::os::unix::fs::PermissionsExt as _;
    let owner = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(place.path("acme/master.key"), owner).unwrap();
    place.run(serve).ends(1).says("key_closed");
}
