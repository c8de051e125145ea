use crate::world::Place;

const BLUEPRINT: &str = r#"
name = "support"
purpose = "answers customers"
owner = "olivia"

[[allow]]
verbs = ["read"]
resources = "support-desk/*/*"
until = "2099-01-01"
"#;

const GRANT: &str = r#"
name = "bob-support"
holder = "bob"

[[allow]]
verbs = ["read"]
resources = "support-desk/*/*"
until = "2099-01-01"
"#;

#[test]
fn what_can_never_be_done_is_refused_before_anybody_is_asked_to_approve_it() {
    let place = Place::initialized();
    let node = place.serve();
    let (olivia, bob) = (place.somebody("olivia"), place.somebody("bob"));
    place.run(["key", "new", "nina.pem"]).ends(0);
    let past = |text: &str| text.replace("2099", "2020");
    for (file, text) in [
        ("grant.toml", GRANT),
        ("over.toml", &past(GRANT)),
        ("blueprint.toml", BLUEPRINT),
        ("gone.toml", &past(BLUEPRINT)),
        ("wider.toml", &BLUEPRINT.replace("[\"read\"]", "[\"read\", \"pay\"]")),
    ] {
        place.write(file, text);
    }
    olivia.enroll(node.code.as_ref().unwrap()).ends(0);
    olivia.run(&["grant", "give", "grant.toml"]).ends(6).says("bob");
    let person = |handle: &'static str, key: &'static str| {
        [
            "person",
            "add",
            "--handle",
            handle,
            "--name",
            "N",
            "--public-key",
            key,
            "--team",
            "administrator",
        ]
    };
    let added = olivia.run(&[&person("bob", "bob.pem.pub")[..], &["-o", "json"]].concat()).ends(0);
    bob.remember(node.server(), added.json()["uri"].as_str().unwrap());

    // Whatever could be done is held from here on.
    olivia.run(&person("nina", "nina.pem.pub")).ends(8);
    olivia.run(&person("bob", "nina.pem.pub")).ends(7).says("the handle `bob` is taken");
    olivia.run(&person("nina", "bob.pem.pub")).ends(7).says("belongs to another identity");
    olivia.run(&["grant", "give", "over.toml"]).ends(1).says("clause 1").says("`until`");
    olivia.run(&["blueprint", "add", "gone.toml"]).ends(1).says("clause 1").says("`until`");
    let server = ["server", "add", "desk", "--url"];
    let inside = olivia.run(&[&server[..], &["https://127.0.0.1:9/mcp"]].concat()).ends(1);
    inside.says("loopback").says("--internal");
    olivia.run(&[&server[..], &["http://desk.example/mcp"]].concat()).ends(1).says("--internal");
    olivia.run(&[&server[..], &["nonsense"]].concat()).ends(1).says("the URL of `desk`");

    // A grant is never changed, and its name never given again: both are said.
    let approved = |arguments: &[&str]| {
        let held = olivia.run(&[arguments, &["-o", "json"]].concat()).ends(8).json();
        let what = held["error"]["what"].as_str().unwrap().to_owned();
        bob.run(&["approve", what.rsplit(' ').next().unwrap(), "--yes"]).ends(0);
        olivia.run(arguments).ends(0)
    };
    // Bob asks for nothing here, so what is for him can be approved by him.
    approved(&["grant", "give", "grant.toml"]);
    let again = olivia.run(&["grant", "give", "grant.toml"]).ends(7);
    again.says("a grant is never changed").says("under another name").says("revoke `bob-support`");
    olivia.run(&["grant", "revoke", "bob-support", "--yes"]).ends(0);
    olivia.run(&["grant", "give", "grant.toml"]).ends(7).says("choose another name");

    // What is so already needs nobody; what would change does.
    approved(&["blueprint", "add", "blueprint.toml"]);
    let same = olivia.run(&["blueprint", "add", "blueprint.toml", "-o", "json"]).ends(0).json();
    assert_eq!(same["changed"], false);
    olivia.run(&["blueprint", "add", "wider.toml"]).ends(8);
    // What only takes away may end when it likes.
    olivia.run(&["blueprint", "add", "gone.toml"]).ends(8);
}
