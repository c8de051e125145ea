use crate::world::Place;

const ACCEPT: &str = r#"
server = "support-desk"

[[tool]]
name = "get_order"

[[tool.effect]]
verb = "read"
resource = "Order"
id = "args.order_id"
"#;

const GRANT: &str = r#"
name = "olivia-support"
holder = "olivia"

[[allow]]
verbs = ["read"]
resources = "support-desk/*/*"
until = "2099-01-01"
"#;

const POLICY: &str = r#"
@id("support-reads")
permit (principal, action == Action::"read", resource is Order in System::"support-desk");
"#;

#[test]
fn a_tool_means_nothing_until_somebody_has_accepted_what_it_does() {
    let place = Place::initialized();
    let (node, desk) = (place.serve(), place.desk("open sesame"));
    let olivia = place.somebody("olivia");
    olivia.enroll(node.code.as_ref().unwrap()).ends(0);
    place.write("secret", "open sesame");
    place.write("accept.toml", ACCEPT);
    place.write("unknown.toml", &ACCEPT.replace("get_order", "get_odor"));
    place.write("unsound.toml", &ACCEPT.replace("args.order_id", "args."));
    place.write("unnamed.toml", &ACCEPT.replace("args.order_id", "args.order"));
    place.write("grant.toml", GRANT);
    place.write("support.cedar", POLICY);

    let credential = format!("file:{}", place.path("secret").display());
    let add = ["server", "add", "support-desk", "--url", &desk.url, "--credential", &credential];
    olivia.run(&add).ends(1).says("--internal");
    olivia.run(&[&add[..], &["--internal", "--class", "pii"]].concat()).ends(0).says("get_order");
    olivia.run(&["server", "list"]).ends(0).says("support-desk").says("pii");
    olivia.run(&["catalog", "show", "support-desk"]).ends(0).says("get_order");
    olivia
        .run(&["catalog", "show", "support-desk", "--tool", "get_order"])
        .ends(0)
        .says("order_id")
        .says("definition\n    {\n");

    olivia.run(&["catalog", "diff", "support-desk"]).ends(0).says("get_order  NOT ACCEPTED");
    olivia.run(&["catalog", "diff", "support-desk", "--tool", "get_odor"]).ends(6);
    let proposed = olivia.run(&["catalog", "propose", "support-desk"]).ends(0);
    place.write("proposed.toml", &proposed.stdout);

    // Until then policies cannot even name what the tool is about.
    olivia.run(&["policy", "check", "support.cedar"]).ends(3).says("Order");
    olivia.run(&["catalog", "accept", "unknown.toml"]).ends(6).says("get_odor");
    olivia.run(&["catalog", "accept", "unsound.toml"]).ends(1).says("get_order");
    let unnamed = olivia.run(&["catalog", "accept", "unnamed.toml"]).ends(1);
    unnamed.says("`args.order` is no argument of the tool").says("order_id");
    olivia.run(&["catalog", "accept", "accept.toml"]).ends(0).says("read Order");
    let same = olivia.run(&["catalog", "accept", "accept.toml"]).ends(0);
    same.says("nothing changes");
    let diff = olivia.run(&["catalog", "diff", "support-desk", "--tool", "get_order"]).ends(0);
    diff.says("every tool is as it was accepted");

    // A guess is in force for nobody until it is accepted; it can be tried before.
    let pay = r#"{"order_id": "A-1001", "amount": 4000, "currency": "EUR"}"#;
    let refund = ["catalog", "test", "proposed.toml", "--tool", "refund_order", "--arguments", pay];
    let tried = olivia.run(&refund).ends(0);
    tried
        .says("would be   pay support-desk/Refund/A-1001, 40.00 EUR [financial pii]")
        .says("is now     refused: nobody has accepted");
    let get = ["catalog", "test", "accept.toml", "--tool", "get_order", "--arguments"];
    let same = olivia.run(&[&get[..], &[r#"{"order_id": "A-1001"}"#]].concat()).ends(0);
    same.says("would be   read support-desk/Order/A-1001 [pii]").says("is now     the same");
    olivia.run(&[&get[..], &[r#"{"order": 7}"#]].concat()).ends(3).says("arguments_invalid");
    olivia.run(&[&get[..], &["{"]].concat()).ends(2).says("--arguments");
    olivia.run(&["catalog", "test", "accept.toml"]).ends(6).says("--arguments JSON");
    let unnamed = ["catalog", "test", "unnamed.toml", "--tool", "get_order", "--arguments", "{}"];
    olivia.run(&unnamed).ends(1).says("no argument of the tool");
    olivia.run(&["catalog", "test", "nowhere.toml"]).ends(6);
    olivia.run(&["catalog", "accept", "proposed.toml"]).ends(0).says("export Customer");
    let none = olivia.run(&["catalog", "propose", "support-desk"]).ends(0);
    none.says("# Every tool of `support-desk` is accepted");
    olivia.run(&["policy", "apply", "support.cedar"]).ends(0);
    olivia.run(&["grant", "give", "grant.toml"]).ends(0);
    olivia.run(&["can-i", "read", "support-desk/Order/1001"]).ends(0).says("PERMIT");
    olivia.run(&["grant", "revoke", "olivia-support", "--yes"]).ends(0);
    olivia.run(&["can-i", "read", "support-desk/Order/1001"]).ends(3).says("DENY");
    olivia.run(&["server", "refresh", "support-desk"]).ends(0).says("accepted");

    // An editor is a program of the user's; this one corrects, and that one gives up.
    let edit = ["catalog", "edit", "support-desk", "edited.toml", "--tool", "get_order"];
    let gave_up = olivia.edits("false", &edit).ends(1);
    gave_up.says("editor_failed");
    let begun = std::fs::read_to_string(place.path("edited.toml")).unwrap();
    assert!(begun.contains("resource = \"Order\"") && !begun.contains("refund_order"), "{begun}");
    let tried = olivia.edits("sed -i s/Order/Parcel/", &edit).ends(0);
    tried.says("no call of these tools").says("bailiwick catalog accept edited.toml");
    assert!(
        std::fs::read_to_string(place.path("edited.toml")).unwrap().contains("Parcel"),
        "what was begun is edited on"
    );
    let unsound = olivia.edits("sed -i s/args.order_id/args.order/", &edit).ends(1);
    unsound.says("no argument of the tool");
    let moved = olivia.edits("sed -i s/support-desk/back-desk/", &edit).ends(1);
    moved.says("is about `back-desk`, not about `support-desk`");
    let broken = olivia.edits("sed -i s/verb/word/", &edit).ends(1);
    broken.says("edited.toml");
    olivia
        .run(&["catalog", "diff", "support-desk"])
        .ends(0)
        .says("every tool is as it was accepted");
}
