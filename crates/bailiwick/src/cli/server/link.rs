//! Accounts that people lend at servers which act for each person.

use model::Name;
use serde_json::json;

use super::super::show;
use crate::{
    client::{Client, Context},
    failure::Result,
    output::Answer,
};

/// Begins to link, or ends it with the code that the page shows.
pub(super) async fn link(context: &Context, name: &Name, code: Option<String>) -> Result<Answer> {
    let mut client = Client::sign_in(context).await?;
    if let Some(code) = code {
        let path = format!("/v1/servers/{name}/link/confirm");
        let document = client.post(&path, json!({ "code": code })).await?;
        let text = format!(
            "your account at `{name}` is linked: agents that work for you act there with it\n\n\
             take it back any time: bailiwick server unlink {name}"
        );
        return Ok(Answer::new(document, text));
    }
    let document = client.post(&format!("/v1/servers/{name}/link"), json!({})).await?;
    let scopes = show::cell(&document, "scopes");
    let asked = if scopes.is_empty() { "whatever it gives".to_owned() } else { scopes };
    let text = format!(
        "open this address in a browser, and consent there until {}:\n\n  {}\n\n\
         `{}` will ask you for: {asked}\nthe page to which you come back shows a code; then: bailiwick server link {name} --code CODE",
        show::cell(&document, "expires"),
        show::cell(&document, "url"),
        show::cell(&document, "issuer"),
    );
    Ok(Answer::new(document, text))
}

/// Takes an account back.
pub(super) async fn unlink(
    context: &Context,
    name: &Name,
    person: Option<String>,
) -> Result<Answer> {
    let path = format!("/v1/servers/{name}/unlink");
    let body = match person {
        Some(person) => json!({ "person": person }),
        None => json!({}),
    };
    let document = Client::sign_in(context).await?.post(&path, body).await?;
    let given_back = match document["revoked"].as_bool() {
        Some(true) => "and its issuer has taken the token back",
        _ => "its issuer was not told: look there whether the consent should be withdrawn, too",
    };
    Ok(Answer::new(document, format!("the account at `{name}` is not used any more, {given_back}")))
}

/// Lists what is linked.
pub(super) async fn list(context: &Context) -> Result<Answer> {
    let document = Client::sign_in(context).await?.list("/v1/accounts").await?;
    let columns = [
        ("SERVER", "server"),
        ("PERSON", "person"),
        ("STATE", "state"),
        ("ISSUER", "issuer"),
        ("SCOPES", "scopes"),
    ];
    let text = show::table(&document, &columns);
    Ok(Answer::new(document, text))
}
