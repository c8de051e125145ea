//! Tokens without a key, as people let agents have them and agents get them.

use crate::office::Office;

#[test]
fn an_agent_gets_a_token_without_a_key_only_where_its_blueprint_says_so() {
    let office = Office::new();
    office.open_task("task.token");
    let refused = office.agent_token().ends(4).says("invalid_dpop_proof");
    refused.says("let the blueprint say `sender = \"bearer\"`");
    let shown = |noun: &str| office.olivia().run(&[noun, "list", "-o", "json"]).ends(0).json();
    assert_eq!(shown("agent")["items"][0]["sender"], "dpop");
    office.loosen();
    assert_eq!(shown("agent")["items"][0]["sender"], "bearer");
    assert_eq!(shown("blueprint")["items"][0]["sender"], "bearer");
    office.olivia().run(&["agent", "list"]).ends(0).says("bearer");
    office.olivia().run(&["blueprint", "list"]).ends(0).says("bearer");
    office.olivia().run(&["agent", "show", "support-bot"]).ends(0).says("bearer");
    let examined = office.olivia().run(&["doctor"]);
    examined.says("agents of `support` may have tokens that are bound to no key: support-bot");
    let token = office.agent_token().ends(0).stdout;
    assert_eq!(
        (token.trim().split('.').count(), token.lines().count()),
        (3, 1),
        "a token and nothing else"
    );
    office.place.write("other.toml", "sender = \"password\"\n");
    office.olivia().run(&["blueprint", "add", "other.toml"]).ends(1);
}
