//! A person lends an account at a protected server, by hand, and takes it back.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::{bank::Bank, world::Place};

/// What a browser gets there: the whole answer.
fn browse(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_account_is_lent_by_a_code_survives_a_restart_and_is_taken_back() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bank = runtime.block_on(Bank::open());
    bank.books().user = "olivia".to_owned();
    let place = Place::initialized();
    let node = place.serve();
    let olivia = place.somebody("olivia");
    olivia.enroll(node.code.as_ref().unwrap()).ends(0);

    let url = bank.mcp();
    let add = ["server", "add", "bank", "--url", &url, "--internal"];
    olivia.run(&[&add[..], &["--oauth", "gateway"]].concat()).ends(1).says("needs a client");
    olivia.run(&[&add[..], &["--oauth", "nobody"]].concat()).ends(2);
    olivia.run(&[&add[..], &["--scope", "look"]].concat()).ends(2);
    let added = olivia.run(&[&add[..], &["--oauth", "person"]].concat()).ends(0);
    added.says("bailiwick server link bank");
    olivia.run(&["server", "refresh", "bank"]).ends(5).says("bailiwick server link bank");
    olivia.run(&["server", "links"]).ends(0).says("none");
    olivia.run(&["server", "list"]).ends(0).says("person");

    olivia.run(&["server", "link", "bank", "--code", "AAAA-AAAA"]).ends(7).says("begin again");
    let begun = olivia.run(&["server", "link", "bank"]).ends(0);
    let begun = begun.says("--code CODE").says(bank.issuer()).says("ask you for: look\n");
    let address = begun.stdout.lines().find_map(|line| line.strip_prefix("  http")).unwrap();
    let consented = browse(&format!("http{address}"));
    let back = consented.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    let page = browse(back);
    let (_, code) = page.split_once("--code ").unwrap();
    let code = &code[..9];
    olivia.run(&["server", "link", "bank", "--code", "AAAA-AAAA"]).ends(7).says("not the code");
    olivia.run(&["server", "link", "bank", "--code", code]).ends(0).says("is linked");
    olivia.run(&["server", "links"]).ends(0).says("olivia").says("linked").says(bank.issuer());
    olivia.run(&["server", "refresh", "bank"]).ends(0).says("whoami");

    // What is kept is kept sealed, and opens with the key that is kept beside it.
    node.stop();
    let node = place.serve();
    let profile = std::fs::read_to_string(place.path("olivia.toml")).unwrap();
    let identity = profile.lines().find(|line| line.starts_with("identity")).unwrap();
    olivia.remember(node.server(), identity.split('"').nth(1).unwrap());
    olivia.run(&["server", "refresh", "bank"]).ends(0).says("whoami");
    let kept = std::fs::read(place.path("acme/data/bailiwick.sqlite")).unwrap();
    let kept = String::from_utf8_lossy(&kept);
    assert!(!kept.contains("access-") && !kept.contains("refresh-"), "no token is in the database");

    olivia.run(&["server", "unlink", "bank"]).ends(0).says("has taken the token back");
    assert_eq!(bank.books().revoked.len(), 1);
    olivia.run(&["server", "refresh", "bank"]).ends(5);
    olivia.run(&["server", "unlink", "bank"]).ends(6);
}
