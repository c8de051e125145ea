//! Servers that want a token: lent by the person for whom a call is made, or bought for the gateway itself.

use serde_json::json;
use testkit::world::Person;

use crate::{
    bank::Bank,
    town::{Town, code_of},
};

#[tokio::test]
async fn an_agent_acts_with_the_account_of_the_person_it_works_for_and_without_one_not_at_all() {
    let town = Town::personal().await;
    let refused = town.call(&town.lena, "whoami").await;
    let refusal = &refused["result"]["_meta"]["bailiwick/refusal"];
    assert_eq!(refusal["code"], "account_not_linked");
    let next = refusal["next"].as_str().unwrap();
    assert!(next.contains("Ask `lena` to run `bailiwick server link bank`"), "{next}");
    assert_eq!(town.shown(), [""; 0], "nothing was sent");

    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    assert_eq!(town.said(&town.max, "whoami").await, "account_not_linked", "it is hers alone");
    town.link(&town.max).await;
    assert_eq!(town.said(&town.max, "whoami").await, "you are max");
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    let shown = town.shown();
    assert!(shown.iter().all(|shown| shown.starts_with("Bearer access-")), "{shown:?}");
    assert_eq!(town.accounts(&town.lena).await, ["linked"], "she sees her own");
    assert_eq!(town.accounts(&town.olivia).await.len(), 3, "who governs sees all");

    // What a person takes back is given back, and used no more.
    let unlinked = town.lena.post("/v1/servers/bank/unlink", json!({})).await.ok();
    assert_eq!(unlinked["revoked"], true);
    assert_eq!(town.bank.books().revoked.len(), 1);
    assert!(town.bank.books().revoked[0].starts_with("refresh-"));
    town.shown();
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
    assert_eq!(town.shown(), [""; 0]);
    assert_eq!(town.said(&town.max, "whoami").await, "you are max");
    assert_eq!(town.lena.post("/v1/servers/bank/unlink", json!({})).await.status, 404);
}

#[tokio::test]
async fn nobody_finishes_the_link_of_somebody_else() {
    let town = Town::personal().await;
    // Max sends Lena the link that he began: she consents, and the page shows her a code that he does not see.
    let (begun, page) = town.consent(&town.max, "lena").await;
    assert_eq!(page.status, 200);
    for header in ["content-security-policy", "x-frame-options", "referrer-policy"] {
        assert!(page.header(header).is_some(), "{header}");
    }
    let code = code_of(&page.text());
    assert_eq!(town.confirm(&town.lena, &code).await.status, 409, "she began nothing");
    for _ in 0..5 {
        assert_eq!(town.confirm(&town.max, "AAAA-AAAA").await.status, 409);
    }
    assert_eq!(town.confirm(&town.max, &code).await.status, 409, "five guesses end it");
    crate::soon(async {
        while town.bank.books().revoked.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await; // what she consented to is given back
    assert_eq!(town.said(&town.max, "whoami").await, "account_not_linked");

    // An answer counts once, and only with the state of somebody on their way.
    let again = town.browse(begun["url"].as_str().unwrap()).await;
    assert_eq!(again.status, 400);
    let (_, page) = town.consent(&town.max, "max").await;
    let lent = format!("{}/oauth/callback/iss?code=x&state=y", town.world.gateway_url());
    assert_eq!(town.world.wire().send("GET", &lent, &[], "").await.status, 400);
    // One that names another authorization server is not believed, and is used up by that.
    let begun = town.lena.post("/v1/servers/bank/link", json!({})).await.ok();
    let url = begun["url"].as_str().unwrap();
    let state = url.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let back = town.bank.books().redirects[0].clone();
    let mixed = format!("{back}?code=x&state={state}&iss=https%3A%2F%2Fevil.example");
    let refused = town.world.wire().send("GET", &mixed, &[], "").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("`iss`"), "{}", refused.text());
    assert_eq!(town.browse(url).await.status, 400, "used up");
    assert_eq!(town.confirm(&town.max, &code_of(&page.text())).await.status, 200);
    assert_eq!(town.said(&town.max, "whoami").await, "you are max");
}

#[tokio::test]
async fn who_comes_back_too_late_links_nothing() {
    let town = Town::personal().await;
    let begun = town.max.post("/v1/servers/bank/link", json!({})).await.ok();
    let early = town.confirm(&town.max, "AAAA-AAAA").await;
    assert_eq!((early.status, early.code().as_str()), (409, "conflict"), "nobody came back yet");
    town.world.engine().context().clock.advance(601_000);
    let late = town.browse(begun["url"].as_str().unwrap()).await;
    assert_eq!(late.status, 400);
    assert!(!late.text().contains("--code"), "{}", late.text());
}

#[tokio::test]
async fn a_token_is_renewed_before_it_is_over_and_an_account_that_cannot_be_renewed_is_unlinked() {
    let town = Town::personal().await;
    // Shorter than the margin: every call renews it.
    town.bank.books().life = 20;
    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    assert!(town.bank.books().refreshed >= 2, "and the refresh token rotates");
    let shown = town.shown();
    assert_ne!(shown.first(), shown.last());
    town.bank.books().forget_everybody();
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
    assert_eq!(town.shown(), [""; 0], "nothing was sent");
    assert_eq!(town.accounts(&town.lena).await, ["lost"]);
    let refreshed = town.bank.books().refreshed;
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
    assert_eq!(town.bank.books().refreshed, refreshed, "nobody asks for it again");
}

#[tokio::test]
async fn a_token_that_the_server_does_not_take_is_renewed_for_the_next_call() {
    let town = Town::personal().await;
    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    town.bank.books().forget_access();
    let refused = town.said(&town.lena, "whoami").await;
    assert!(refused.contains("did not take the gateway's credential and did nothing"), "{refused}");
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
}

#[tokio::test]
async fn what_was_sealed_for_one_person_does_not_open_for_another() {
    let town = Town::personal().await;
    for person in [&town.lena, &town.max] {
        town.link(person).await;
    }
    // Somebody who can write to the database puts Lena's tokens in Max's place.
    let key = |person: &Person| format!("bank/{}", person.id);
    let (from, to) = (key(&town.lena), key(&town.max));
    let store = town.world.engine().store();
    let sealed = store.read(move |view| view.sealed_bytes(&from)).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("access-"), "it is not in the clear");
    store.write(move |tx| tx.keep_sealed(&to, &sealed)).await.unwrap();
    assert_eq!(town.said(&town.max, "whoami").await, "account_not_linked");
    assert_eq!(town.shown(), [""; 0]);
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
}

#[tokio::test]
async fn a_server_that_wants_more_than_was_lent_is_told_so_and_the_next_link_asks_for_it() {
    let town = Town::personal().await;
    town.link(&town.lena).await;
    assert_eq!(town.bank.books().asked.last().unwrap(), "look");
    let refused = town.call(&town.lena, "close").await;
    let refusal = &refused["result"]["_meta"]["bailiwick/refusal"];
    assert_eq!(refusal["code"], "account_too_narrow");
    assert!(refusal["next"].as_str().unwrap().contains("bailiwick server link bank"));
    town.link(&town.lena).await;
    assert_eq!(town.bank.books().asked.last().unwrap(), "look close", "what was lent stays");
    assert_eq!(town.said(&town.lena, "close").await, "you are lena");
}

#[tokio::test]
async fn a_stopped_server_and_a_moved_one_get_nobodys_token() {
    let town = Town::personal().await;
    town.link(&town.lena).await;
    let stop = json!({ "scope": "system:bank", "reason": "it misbehaves" });
    town.olivia.post("/v1/stops", stop).await.ok();
    assert_eq!(town.said(&town.lena, "whoami").await, "stopped");
    let resume = json!({ "scope": "system:bank", "reason": "it is well again" });
    town.olivia.post("/v1/stops/resume", resume).await.ok();
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    town.shown();
    let elsewhere = Bank::open().await;
    let moved = json!({
        "name": "bank", "url": elsewhere.mcp(), "internal": true, "oauth": { "whose": "person" },
    });
    town.olivia.post("/v1/servers", moved).await.ok();
    assert_eq!(town.said(&town.lena, "whoami").await, "tool_unknown", "nobody has looked there");
    let nobody = town.olivia.post("/v1/servers/bank/refresh", json!({})).await;
    assert_eq!(nobody.code(), "account_not_linked", "what she linked is for the other address");
    town.link(&town.olivia).await;
    town.olivia.post("/v1/servers/bank/refresh", json!({})).await.ok();
    let shown = elsewhere.books().shown.len();
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
    assert_eq!(elsewhere.books().shown.len(), shown);
    assert_eq!(town.shown(), [""; 0]);
}

#[tokio::test]
async fn the_gateway_buys_a_token_of_its_own_and_a_wider_one_where_that_is_wanted() {
    let town = Town::with(|world, bank| {
        let secret = world.dir().join("client-secret");
        std::fs::write(&secret, "s&cret\n").unwrap();
        let secret = format!("file:{}", secret.display());
        json!({ "whose": "gateway", "issuer": bank.issuer(), "client": { "id": "gateway", "secret": secret } })
    })
    .await;
    town.accept().await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are gateway");
    assert_eq!(town.said(&town.max, "whoami").await, "you are gateway");
    assert_eq!(town.bank.books().asked, ["look"], "it is bought once");
    let narrow = town.said(&town.lena, "close").await;
    assert!(narrow.contains("call again"), "{narrow}");
    assert_eq!(town.said(&town.lena, "close").await, "you are gateway");
    assert_eq!(town.bank.books().asked, ["look", "look close"]);
    // A token that is over at the server is bought again, but not again and again.
    town.later(11_000).await;
    town.bank.books().forget_access();
    assert!(town.said(&town.lena, "whoami").await.contains("call again"));
    assert_eq!(town.said(&town.lena, "whoami").await, "you are gateway");
    let bought = town.bank.books().asked.len();
    town.bank.books().forget_access();
    assert!(town.said(&town.lena, "whoami").await.contains("call again"));
    town.shown();
    town.said(&town.lena, "whoami").await;
    assert_eq!(town.bank.books().asked.len(), bought);
    assert_eq!(town.shown(), [""; 0]);
    let none = town.lena.post("/v1/servers/bank/link", json!({})).await;
    assert_eq!(none.status, 409, "there is no account to link");
}

#[tokio::test]
async fn a_server_whose_token_cannot_be_bought_safely_is_not_added() {
    let town = Town::with(|_, _| json!({ "whose": "person" })).await;
    for oauth in [
        json!({ "whose": "gateway" }),
        json!({ "whose": "gateway", "issuer": "https://as.example", "client": { "id": "us" } }),
        json!({ "whose": "person", "client": { "id": "us", "secret": "env:X" } }),
        json!({ "whose": "person", "issuer": "https://as.example", "client": { "id": "us", "secret": "s" } }),
        json!({ "whose": "person", "issuer": "https://as.example", "client": { "id": "us", "secret": "env:X", "key": "env:Y" } }),
    ] {
        let server = json!({ "name": "other", "url": "https://other.example/mcp", "oauth": oauth });
        let refused = town.olivia.post("/v1/servers", server).await;
        assert_eq!(refused.status, 422, "{oauth}: {}", refused.text());
    }
    let both = json!({
        "name": "other", "url": "https://other.example/mcp", "credential": "env:X", "oauth": { "whose": "person" },
    });
    assert_eq!(town.olivia.post("/v1/servers", both).await.status, 422);
    let named =
        json!({ "name": "other", "url": "https://other.example/mcp", "credential": "oauth:bank" });
    assert_eq!(town.olivia.post("/v1/servers", named).await.status, 422);
}
