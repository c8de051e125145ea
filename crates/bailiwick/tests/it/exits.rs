use crate::world::Place;

#[test]
fn what_cannot_be_read_is_a_matter_of_usage() {
    let place = Place::new();
    place.run(["nonsense"]).ends(2);
    place.run(["agent", "show"]).ends(2);
    place.run(["agent", "show", "Not A Name"]).ends(2);
    place.run(["can-i", "fly", "x/Y/z"]).ends(2).says("is not a verb");
    place.run(["stop", "everything"]).ends(2).says("is not a scope");
    place.run(["--version"]).ends(0).says("bailiwick");
    place.run([]).ends(2).says("Commands:");
    let enroll = ["person", "enroll", "--socket", "s", "--handle", "o", "--name", "O"];
    place.somebody("olivia");
    place.run(enroll.into_iter().chain(["--key", "olivia.pem"])).ends(2).says("--code CODE");
    place.run(["desk", "--database", "desk.db"]).ends(2).says("BAILIWICK_DESK_SECRET");
    place.run(["--help"]).ends(0).says("  desk ");
    place
        .run(["desk", "--help"])
        .ends(0)
        .says("Usage: bailiwick desk")
        .says("BAILIWICK_DESK_SECRET");
}

#[test]
fn whoever_asks_for_json_gets_it_for_a_command_line_that_cannot_be_read_too() {
    let place = Place::new();
    for line in [
        "nonsense -o json",
        "--output=json agent show",
        "can-i fly x/Y/z -o json",
        "demo --json --nonsense",
    ] {
        let ran = place.run(line.split(' ')).ends(2);
        let error = &ran.json()["error"];
        assert_eq!((&error["code"], &error["exit"]), (&"usage".into(), &2.into()), "{line}");
        for member in ["what", "why", "next"] {
            assert!(error[member].as_str().is_some_and(|text| !text.is_empty()), "{line}: {error}");
        }
        assert_eq!(ran.stderr.lines().count(), 3, "{ran:?}");
    }
    assert_eq!(place.run(["nonsense"]).ends(2).stdout, "");
}

#[test]
fn a_second_node_says_which_listener_is_in_its_way() {
    let place = Place::initialized();
    let node = place.serve();
    let address = node.server().trim_start_matches("http://");
    let gateway = format!("gateway.listen={address}");
    let second = place.run(["serve", "--config", "acme/bailiwick.toml", "--set", &gateway]).ends(1);
    second.says("`gateway.listen`").says("address_not_bound");
}

#[test]
fn what_cannot_be_printed_is_no_success_and_who_closed_the_pipe_has_read_enough() {
    let place = Place::initialized();
    let words = ["ledger", "key", "--config", "acme/bailiwick.toml"];
    for form in ["table", "json"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = place.run_into(words.into_iter().chain(["-o", form]), full.into());
        ran.ends(1).says("output_unwritable").says("No space left");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(place.run_into(words, writer.into()).ends(0).stderr, "");
}

#[test]
fn nobody_is_signed_in_before_they_say_who_and_where() {
    let place = Place::new();
    let olivia = place.somebody("olivia");
    olivia.run(&["agent", "list"]).ends(4).says("bailiwick profile set");
    olivia.remember("http://127.0.0.1:1", "spiffe://acme/dev/person/p1");
    let gone = olivia.run(&["agent", "list", "-o", "json"]).ends(9);
    assert_eq!(gone.json()["error"]["code"], "server_unreachable");
    assert_eq!(gone.json()["error"]["exit"], 9);
    let far = ["agent", "list", "--server", "http://id.example"];
    olivia.run(&far).ends(1).says("in the clear");
    std::fs::remove_file(place.path("olivia.pem")).unwrap();
    olivia.run(&["agent", "list"]).ends(4).says("bailiwick key new");
}

#[test]
fn each_refusal_of_the_server_has_its_status() {
    let place = Place::initialized();
    let node = place.serve();
    let olivia = place.somebody("olivia");
    let identity = olivia.enroll(node.code.as_ref().unwrap()).ends(0).json_or_profile(&place);
    let mallory = place.somebody("mallory");
    mallory.remember(node.server(), &identity);
    mallory.run(&["whoami"]).ends(4);
    let (key, nina) = ("mallory.pem.pub", "nina");
    let add =
        ["person", "add", "--handle", nina, "--name", "Nina", "--public-key", key, "-o", "json"];
    let nina = olivia.run(&add).ends(0).json()["uri"].as_str().unwrap().to_owned();
    olivia.run(&add).ends(7);
    mallory.remember(node.server(), &nina);
    mallory.run(&["whoami"]).ends(0).says("nina");
    mallory.run(&["person", "list"]).ends(5);
    mallory.run(&["agent", "suspend", "nobody", "--reason", "x"]).ends(5);
    olivia.run(&["agent", "show", "nobody"]).ends(6);
    olivia.run(&["grant", "revoke", "nothing", "--yes"]).ends(6);
    olivia.run(&["grant", "revoke", "nothing"]).ends(1).says("--yes");
    let url = ["server", "add", "desk", "--internal", "--url", "http://127.0.0.1:1/mcp"];
    olivia.run(&url).ends(1).says("desk");
}

impl crate::world::Ran {
    /// The identity that an enrolment printed.
    fn json_or_profile(&self, place: &Place) -> String {
        let profile = std::fs::read_to_string(place.path("olivia.toml")).unwrap();
        let line = profile.lines().find(|line| line.starts_with("identity")).unwrap();
        assert!(self.stdout.contains("spiffe://"));
        line.split('"').nth(1).unwrap().to_owned()
    }
}

#[test]
fn a_doctor_says_what_is_wrong_and_what_it_could_not_look_at() {
    let place = Place::initialized();
    let config = place.path("acme/bailiwick.toml");
    let doctor = ["doctor", "--config", config.to_str().unwrap(), "-o", "json"];
    let examined = place.run(doctor).ends(0).json();
    let state = |examined: &serde_json::Value, check: &str| {
        let checks = examined["checks"].as_array().unwrap();
        let found = checks.iter().find(|one| one["check"] == check).unwrap();
        found["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&examined, "configuration"), "ok");
    assert_eq!(state(&examined, "keys"), "ok");
    assert_eq!(state(&examined, "node"), "skip", "its port is not known");
    let set = ["--set", "ops.listen=127.0.0.1:1"];
    let examined = place.run(doctor.into_iter().chain(set)).ends(3).json();
    assert_eq!(state(&examined, "node"), "fail", "it does not run");
    assert_eq!(state(&examined, "session"), "skip", "nobody is signed in");
    std::fs::remove_file(place.path("acme/data/keys/token.key")).unwrap();
    assert_eq!(state(&place.run(doctor).ends(3).json(), "keys"), "fail");
    let elsewhere = place.run(["doctor", "--config", "nowhere.toml", "-o", "json"]).ends(0).json();
    assert_eq!(state(&elsewhere, "configuration"), "skip");
}
