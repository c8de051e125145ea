//! Tokens without a key, as people let agents have them and agents get them.

use crate::office::Office;

#[test]
fn an_agent_gets_a_token_without_a_key_only_where_its_blueprint_says_so() {
    let office = Office::new();
    office.open_task("task.token");
    let refused = office.agent_token().ends(4).says("invalid_dpop_proof");
    let refused =
        refused.says("the blueprint of `agent/support-bot` does not say `sender = 'bearer'`");
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
    let examined = examined.says("bailiwick person add --handle HANDLE --name NAME");
    let examined =
        examined.says("agents of `support` may have tokens that are bound to no key: support-bot");
    let everywhere = office.url().replace("/mcp/support-desk", "/mcp");
    let way = office.arguments(&everywhere).into_iter().skip(1);
    let refused = office.place.run(["agent", "token"].into_iter().chain(way)).ends(4);
    refused.says("[beyond_authority]").says("next: Name one server's URL");
    let help = office.place.run(["agent", "token", "--help"]).ends(0).stdout;
    assert!(!help.contains("tools of all servers"), "{help}");
    assert!(!examined.stdout.contains("leave out"), "{}", examined.stdout);
    office.place.write(
        "held.cedar",
        r#"
@id("support")
permit (principal, action in [Action::"read", Action::"execute"], resource in System::"support-desk");
@id("looked-at") @hold("finance")
forbid (principal, action in [Action::"pay", Action::"export"], resource);
"#,
    );
    office.olivia().run(&["policy", "apply", "held.cedar"]).ends(0);
    let examined = office.olivia().run(&["doctor"]);
    examined.says("support-bot; at `support-desk` they leave out export\n");
    let token = office.agent_token().ends(0).stdout;
    assert_eq!(
        (token.trim().split('.').count(), token.lines().count()),
        (3, 1),
        "a token and nothing else"
    );
    office.place.write("other.toml", "sender = \"password\"\n");
    office.olivia().run(&["blueprint", "add", "other.toml"]).ends(1);
}
