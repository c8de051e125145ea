//! What is no secret stays as it is.

use std::borrow::Cow;

/// Arguments, prompts and acts as they come every day.
const ORDINARY: &[&str] = &[
    r#"{"order_id":"A-1001","amount":1500,"currency":"EUR"}"#,
    r#"{"id":"6f1c0a52-9d5e-4f0c-8a34-0f6f8a1f5f4e"}"#,
    r#"{"customer":"01K9Z6W3N8Q4T2V7B5C1D0E9FG","idempotency_key":"6f1c0a52-9d5e-4f0c-8a34-0f6f8a1f5f4e"}"#,
    r#"{"digest":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#,
    r#"{"sha256":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","etag":"\"33a64df551425fcc55e4d42a148795d9f25f89d4\""}"#,
    r#"{"commit":"64f35930c1d1f2a9e8f77b1b2f3d4c5a6b7c8d9e","branch":"feature/keep-shares-off-the-path"}"#,
    r#"{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I","kid":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}"#,
    r#"{"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},"htu":"https://bailiwick.example/mcp/desk"}"#,
    r#"{"keys":[{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
    r#"{"key_thumbprint":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I","tokenHash":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"}"#,
    r#"{"key":"customers/42/name","value":"Anna Müller"}"#,
    r#"{"path":"crates/decide/src/tests/tampered.rs","text":"fn main() { let key = keys.next(); }"}"#,
    r#"{"next_page_token":null,"page_token":"page-2","cursor":"eyJvZmZzZXQiOjEwMH0="}"#,
    r#"{"credential":"env:DESK_CREDENTIAL","url":"https://mcp.example.com/mcp"}"#,
    r#"{"client_secret":"env:DESK_CLIENT_SECRET","token_endpoint":"https://id.example.com/oauth/token"}"#,
    r#"{"password_changed_at":"2026-11-22T10:00:00Z","access":"read","authorized":true}"#,
    r#"{"note":"Please reset the password of Anna; she lost the token for her key ring.","priority":"high"}"#,
    r#"{"token_endpoint_auth_method":"client_secret_basic","scopes":["api","read_user"]}"#,
    r#"{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#,
    r#"{"image":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="}"#,
    r#"{"query":"SELECT id, name FROM customer WHERE access_level = 'admin' AND api_version = 2"}"#,
    r#"{"reason":"`support-desk` has no tool `desk.refund`","arguments":{"order":"A-1001"}}"#,
    r#"{"act":{"agent":"agent/support-bot","step":"suspend","reason":"it asked for keys 14 times"},"resource":"bailiwick/Registration/agent/support-bot","verb":"admin"}"#,
    r#"{"text":"permit(principal, action == Action::\"read\", resource is Customer) when { context.purpose == \"support\" };","name":"support.cedar"}"#,
    r#"{"url":"https://example.com/search?q=caf%C3%A9%20au%20lait&page=2","body":"line one\nline two\t\"quoted\""}"#,
    r#"{"iban":"DE89370400440532013000","phone":"+49 30 901820","mail":"anna@example.com"}"#,
    r#"{"windows":"C:\\new\\table\\users","regex":"^\\d{3}-\\d{2}$"}"#,
    r#"{"password":"","secret":"file:/etc/bailiwick/secret","cookie":null}"#,
];

#[test]
fn ordinary_arguments_stay_as_they_are() {
    for arguments in ORDINARY {
        let scrubbed = crate::bytes(arguments.as_bytes());
        assert_eq!(String::from_utf8_lossy(&scrubbed), *arguments);
        assert!(matches!(scrubbed, Cow::Borrowed(_)), "{arguments}");
    }
}

#[test]
fn lines_of_a_log_stay_as_they_are() {
    for line in [
        "2026-11-22T10:00:00.000000Z  WARN decide::parking: an agent's work in a task was parked code=\"BW-1102\" task=01K9Z6W3N8Q4T2V7B5C1D0E9FG agent=agent/support-bot refused=\"forbidden\"",
        "2026-11-22T10:00:00.000000Z ERROR gateway::broker: the token could not be bought code=\"BW-2304\" server=desk why=the authorization server answered 400 `invalid_grant`",
    ] {
        assert_eq!(crate::text(line), line);
    }
}
