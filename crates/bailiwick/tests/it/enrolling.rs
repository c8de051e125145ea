use std::{
    fs::Permissions,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
};

use crate::world::{Place, exists};

/// Everything below a folder that others than its owner may read or enter.
fn open_to_others(folder: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.permissions().mode() & 0o077 != 0 {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        if metadata.is_dir() {
            open_to_others(&path, found);
        }
    }
}

#[test]
fn what_a_node_keeps_is_for_its_owner_alone() {
    let place = Place::initialized();
    let journal = place.path("acme/data/stops");
    std::fs::write(&journal, "").unwrap();
    std::fs::set_permissions(&journal, Permissions::from_mode(0o644)).unwrap();
    let node = place.serve();
    let olivia = place.somebody("olivia");
    olivia.enroll(node.code.as_ref().unwrap()).ends(0);
    olivia.run(&["stop", "agent:nobody", "--reason", "drill"]).ends(0);
    let mut open = Vec::new();
    open_to_others(&place.path("acme/data"), &mut open);
    assert_eq!(open, ["checkpoint.pub"], "and that is for auditors");
    assert_eq!(node.stop(), 0);
}

#[test]
fn the_first_administrator_is_enrolled_once_and_the_socket_is_worth_nothing_after() {
    let place = Place::initialized();
    let node = place.serve();
    let socket = place.path("acme/data/enroll.sock");
    let (olivia, mallory) = (place.somebody("olivia"), place.somebody("mallory"));
    let code = node.code.clone().unwrap();
    mallory.enroll("AAAAA-AAAAA").ends(5).says("4 more tries");
    olivia.enroll(&code.to_lowercase().replace('-', " ")).ends(0).says("spiffe://acme/dev/person/");
    olivia.run(&["whoami"]).ends(0).says("administrator");
    assert!(!exists(&socket));
    mallory.enroll(&code).ends(9);
    assert_eq!(node.stop(), 0);
    let node = place.serve();
    assert!(node.addresses["enroll_socket"].is_null() && node.code.is_none());
    assert!(!exists(&socket));
}

#[test]
fn a_code_is_not_spent_on_a_profile_that_cannot_be_kept() {
    let place = Place::initialized();
    let node = place.serve();
    let code = node.code.clone().unwrap();
    place.run(["key", "new", "olivia.pem"]).ends(0);
    place.write("file", "no folder");
    let enroll = |profile: &str| {
        let words = "person enroll --socket acme/data/enroll.sock --handle olivia --name O";
        let more = ["--key", "olivia.pem", "--code", &code, "--profile", profile];
        place.run(words.split(' ').chain(more))
    };
    enroll("file/folder/profile.toml").ends(1).says("file_unwritable");
    assert!(exists(&place.path("acme/data/enroll.sock")), "the code is still good");
    // There is one already: it stays, and the command that remembers the new one is told.
    place.write("old.toml", "server = 'http://127.0.0.1:1'\nkey = 'k'\nidentity = 'i'\n");
    let enrolled = enroll("old.toml").ends(0).says("is there already").says("--profile FILE");
    let command =
        enrolled.stdout.lines().find_map(|line| line.trim().strip_prefix("bailiwick profile set"));
    let command = command.unwrap().split("  ").next().unwrap();
    place.run("profile set".split(' ').chain(command.split_whitespace())).ends(0);
    place.run(["whoami", "--profile", "old.toml"]).ends(0).says("olivia");
    // Whoever is not believed reads where what they said came from.
    place.run(["key", "new", "other.pem"]).ends(0);
    let stranger = place.run(["whoami", "--profile", "old.toml", "--key", "other.pem"]).ends(4);
    stranger
        .says("no key is registered")
        .says("from the profile `old.toml`")
        .says("from the command line");
    let gateway = node.addresses["gateway"].as_str().unwrap();
    let gateway = ["whoami", "--profile", "old.toml", "--server", gateway];
    place.run(gateway).ends(9).says("not_the_server").says("is not the admin API");
}

#[test]
fn five_wrong_codes_close_the_socket_until_a_restart_gives_a_fresh_code() {
    let place = Place::initialized();
    let node = place.serve();
    let olivia = place.somebody("olivia");
    for _ in 0..4 {
        olivia.enroll("00000-00000").ends(5);
    }
    olivia.enroll("00000-00000").ends(5).says("the last try");
    let old = node.code.clone().unwrap();
    olivia.enroll(&old).ends(9);
    assert_eq!(node.stop(), 0);
    let node = place.serve();
    let fresh = node.code.clone().unwrap();
    assert_ne!(fresh, old);
    olivia.enroll(&old).ends(5);
    olivia.enroll(&fresh).ends(0);
}

#[test]
fn what_is_no_wish_is_refused_and_costs_no_try() {
    let place = Place::initialized();
    let node = place.serve();
    let say = |line: &[u8]| {
        let mut stream = UnixStream::connect(place.path("acme/data/enroll.sock")).unwrap();
        stream.write_all(line).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    };
    let long = vec![b'x'; 100_000];
    for line in [&b"\n"[..], b"{}\n", b"{\"code\":\"a\",\"code\":\"b\"}\n", b"null\n"] {
        assert!(say(line).contains("refused"));
    }
    // Cut off at its bound; whether the answer still arrives is up to the socket.
    let mut stream = UnixStream::connect(place.path("acme/data/enroll.sock")).unwrap();
    let _ = stream.write_all(&long);
    drop(stream);
    place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
}

#[test]
fn a_database_that_was_emptied_does_not_make_a_second_first_administrator() {
    let place = Place::initialized();
    let node = place.serve();
    let (olivia, mallory) = (place.somebody("olivia"), place.somebody("mallory"));
    olivia.enroll(node.code.as_ref().unwrap()).ends(0);
    assert_eq!(node.stop(), 0);
    for file in ["bailiwick.sqlite", "bailiwick.sqlite-wal", "bailiwick.sqlite-shm"] {
        let path = place.path("acme/data").join(file);
        if exists(&path) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let node = place.serve();
    assert!(node.addresses["enroll_socket"].is_null() && node.code.is_none());
    assert!(!exists(&place.path("acme/data/enroll.sock")));
    mallory.run(&["whoami"]).ends(4);
    assert_eq!(node.stop(), 0);
}
