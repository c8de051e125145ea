//! A master key that is wrapped by a key in a PKCS #11 token. The token is SoftHSM's, which others wrote.

use crate::world::{Place, Ran};

const CONFIG: [&str; 2] = ["--config", "acme/bailiwick.toml"];
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Names a key; `pin` is a file.
fn key(token: &str, object: &str, pin: &str) -> String {
    format!("pkcs11:token={token};object={object}?module-path={MODULE}&pin-source=file:{pin}")
}

/// A token with two AES keys, as SoftHSM's own configuration below the home folder says.
fn make_token(place: &Place) {
    std::fs::create_dir_all(place.path(".config/softhsm2")).unwrap();
    std::fs::create_dir(place.path("tokens")).unwrap();
    let tokens = place.path("tokens");
    let config = format!("directories.tokendir = {}\n", tokens.display());
    place.write(".config/softhsm2/softhsm2.conf", &config);
    let util = |words: &str| {
        let mut command = place.program("softhsm2-util");
        let ran = command.args(words.split(' ')).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    util("--init-token --free --label bailiwick --pin 1234 --so-pin 5678");
    for (object, id) in [("master", "01"), ("other", "02")] {
        std::fs::write(place.path("aes"), [id.as_bytes()[1]; 32]).unwrap();
        util(&format!(
            "--import aes --aes --token bailiwick --label {object} --id {id} --pin 1234"
        ));
    }
    place.write_secret("pin", "1234\n");
    place.write_secret("wrong", "4321\n");
}

#[test]
fn a_master_key_that_a_token_wraps_opens_everything_and_by_that_token_alone() {
    let place = Place::initialized();
    make_token(&place);
    let node = place.serve();
    place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
    assert_eq!(node.stop(), 0);
    let pin = place.path("pin").display().to_string();
    let first = key("bailiwick", "master", &pin);
    let run = |words: &[&str]| -> Ran { place.run(words.iter().copied().chain(CONFIG)) };
    let rotate = |to: &str| run(&["keys", "rotate", "--to", to]);

    // What cannot wrap changes nothing.
    let wrong = key("bailiwick", "master", &place.path("wrong").display().to_string());
    rotate(&wrong).ends(1).says("the token `bailiwick` cannot be used");
    rotate(&key("nowhere", "master", &pin)).ends(1).says("there is not one token `nowhere`");
    rotate(&key("bailiwick", "nothing", &pin)).ends(1).says("not one AES key `nothing`");
    rotate(&first.replace(MODULE, "/nowhere.so")).ends(1).says("cannot be loaded");
    let inside = place.path("acme/data/pin").display().to_string();
    rotate(&key("bailiwick", "master", &inside)).ends(1).says("outside the data folder");
    rotate("pkcs11:token=bailiwick").ends(2).says("pin-source=file:PATH");
    run(&["config", "check"]).ends(0);

    rotate(&first).ends(0);
    let former = "file:master.key";
    let config = std::fs::read_to_string(place.path("acme/bailiwick.toml")).unwrap();
    let with = |master: &str| place.write("acme/bailiwick.toml", &config.replace(former, master));
    run(&["config", "check"]).ends(1);
    std::fs::remove_file(place.path("acme/master.key")).unwrap();
    with(&first);
    run(&["config", "check"]).ends(0);
    assert_eq!(place.serve().stop(), 0);
    run(&["verify"]).ends(0);

    // Nobody but this token and this PIN opens it.
    for (other, says) in [
        (wrong, "the token `bailiwick` cannot be used"),
        (key("bailiwick", "nothing", &pin), "the token has wrapped no master key"),
        (first.replace(&pin, "/nowhere/pin"), "missing"),
    ] {
        with(&other);
        run(&["serve"]).ends(1).says(says);
    }
    with(&first);
    let wrapped = place.path("acme/data/keys/master.bailiwick.master.wrapped");
    let whole = std::fs::read(&wrapped).unwrap();
    for at in [0, 12, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&wrapped, changed).unwrap();
        run(&["serve"]).ends(1).says("the key `master` in the token `bailiwick` did not do it");
    }
    std::fs::write(&wrapped, &whole[..5]).unwrap();
    run(&["serve"]).ends(1).says("cut short");
    std::fs::write(&wrapped, &whole).unwrap();

    // Another key of the token takes its place; both speak with one library, one after the other.
    let second = key("bailiwick", "other", &pin);
    rotate(&second).ends(0);
    assert!(!wrapped.exists(), "with its token it would open old copies");
    run(&["serve"]).ends(1).says("has wrapped no master key");
    with(&second);
    assert_eq!(place.serve().stop(), 0);
    // The way back is no way to the former key.
    rotate(&first).ends(0);
    assert_ne!(std::fs::read(&wrapped).unwrap(), whole);
}
