//! What becomes of tokens when authorization servers, the store, the ledger or the operator get in the way: nobody is locked
//! out by somebody else's failure, and no token is left alive that nobody has any more.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    bank::Bank,
    town::{Town, code_of},
};

/// A bank that the gateway has a token of its own for, with the client secret in a file.
async fn hired() -> Town {
    let town = Town::with(client_with_a_secret("gateway")).await;
    town.accept().await;
    town.bank.books().shown.clear();
    town
}

fn client_with_a_secret(
    whose: &'static str,
) -> impl FnOnce(&testkit::world::World, &Bank) -> Value {
    move |world, bank| {
        let secret = world.dir().join("client-secret");
        std::fs::write(&secret, "s&cret\n").unwrap();
        let secret = format!("file:{}", secret.display());
        let client = json!({ "id": "gateway", "secret": secret });
        json!({ "whose": whose, "issuer": bank.issuer(), "client": client })
    }
}

/// Waits until a token has been asked for this often.
async fn asked(bank: &Bank, times: usize) {
    crate::soon(async {
        while bank.books().tokens_asked < times {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn go_on(slow: &Arc<Semaphore>) {
    slow.add_permits(1_000);
}

#[tokio::test]
async fn a_scope_that_nobody_is_given_costs_nobody_the_token_that_there_is() {
    let town = hired().await;
    assert_eq!(town.said(&town.max, "whoami").await, "you are gateway");
    town.bank.books().denied = vec!["close".to_owned()];
    assert!(town.said(&town.lena, "close").await.contains("call again"));
    assert_eq!(town.said(&town.max, "whoami").await, "you are gateway", "nobody else is hurt");
    assert!(town.said(&town.lena, "close").await.contains("call again"));
    let bought = town.bank.books().tokens_asked;
    for _ in 0..3 {
        town.said(&town.lena, "close").await;
        town.later(11_000).await;
        assert_eq!(town.said(&town.max, "whoami").await, "you are gateway");
    }
    assert_eq!(town.bank.books().tokens_asked, bought, "what was denied is not asked for again");
}

#[tokio::test]
async fn a_server_that_wants_ever_other_scopes_gets_a_token_once_in_a_while() {
    let town = hired().await;
    let before = town.bank.books().tokens_asked;
    for at in 0..5 {
        town.bank.books().needs = format!("scope-{at}");
        town.said(&town.lena, "close").await;
    }
    assert_eq!(town.bank.books().tokens_asked, before + 1);
    assert_eq!(town.said(&town.max, "whoami").await, "you are gateway");
}

#[tokio::test]
async fn a_wider_token_that_cannot_be_bought_leaves_the_one_that_there_is() {
    let town = hired().await;
    town.bank.books().failing = true;
    assert!(town.said(&town.lena, "close").await.contains("call again"));
    assert_eq!(town.said(&town.max, "whoami").await, "you are gateway");
    town.bank.books().failing = false;
    town.later(11_000).await;
    assert!(town.said(&town.lena, "close").await.contains("call again"));
    assert_eq!(town.said(&town.lena, "close").await, "you are gateway");
}

#[tokio::test]
async fn a_scope_that_a_person_is_not_given_does_not_keep_them_from_linking() {
    let town = Town::personal().await;
    town.link(&town.lena).await;
    town.bank.books().denied = vec!["close".to_owned()];
    town.call(&town.lena, "close").await;
    let (_, page) = town.consent(&town.lena, "lena").await;
    assert_eq!(page.status, 400);
    assert!(page.text().contains("invalid_scope"), "{}", page.text());
    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
}

#[tokio::test]
async fn a_client_secret_that_is_changed_costs_nobody_their_account() {
    let town = Town::with(client_with_a_secret("person")).await;
    town.bank.books().life = 20; // every call renews it
    town.link(&town.olivia).await;
    town.accept().await;
    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    town.bank.books().secret = "another".to_owned();
    assert!(town.said(&town.lena, "whoami").await.contains("cannot be reached"));
    assert_eq!(town.accounts(&town.lena).await, ["linked"]);
    std::fs::write(town.world.dir().join("client-secret"), "another\n").unwrap();
    town.later(11_000).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    assert_eq!(town.found_again(&town.lena).await, Ok(()), "and after a start");
    let unlinked = town.lena.post("/v1/servers/bank/unlink", json!({})).await.ok();
    assert_eq!(unlinked["revoked"], true);
}

#[tokio::test]
async fn a_gateway_that_its_issuer_has_forgotten_registers_anew_and_keeps_what_was_lent() {
    let town = Town::personal().await;
    town.bank.books().life = 20;
    town.link(&town.lena).await;
    town.bank.books().forget_clients();
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
    assert_eq!(town.accounts(&town.lena).await, ["linked"], "it is hers to give back");
    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_lent_until_it_is_over() {
    let town = Town::personal().await;
    town.bank.books().renewable = false;
    town.link(&town.lena).await;
    // The server forgets it for a moment.
    let access = std::mem::take(&mut town.bank.books().access);
    assert!(town.said(&town.lena, "whoami").await.contains("call again"));
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
    town.bank.books().access = access;
    assert_eq!(town.accounts(&town.lena).await, ["linked"]);
    town.later(11_000).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    let unlinked = town.lena.post("/v1/servers/bank/unlink", json!({})).await.ok();
    assert_eq!(unlinked["revoked"], true);
    assert!(town.bank.books().revoked[0].starts_with("access-"));
    town.bank.books().life = 60;
    town.link(&town.lena).await;
    town.later(61_000).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
    assert_eq!(town.accounts(&town.lena).await, ["lost"]);
}

#[tokio::test]
async fn calls_at_once_renew_a_token_once() {
    let town = Town::personal().await;
    town.bank.books().life = 20;
    town.link(&town.lena).await;
    town.bank.books().life = 3_600;
    let (one, other) =
        tokio::join!(town.said(&town.lena, "whoami"), town.said(&town.lena, "whoami"));
    assert_eq!((one.as_str(), other.as_str()), ("you are lena", "you are lena"));
    assert_eq!(town.bank.books().refreshed, 1);
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_while_and_every_caller_has_its_answer() {
    let town = Town::personal().await;
    town.bank.books().life = 20;
    town.link(&town.lena).await;
    town.bank.books().failing = true;
    let before = town.bank.books().tokens_asked;
    for _ in 0..3 {
        assert!(town.said(&town.lena, "whoami").await.contains("cannot be reached"));
    }
    assert_eq!(town.bank.books().tokens_asked, before + 1);
    assert_eq!(town.shown(), [""; 0], "nothing was sent");
    town.bank.books().failing = false;
    town.later(11_000).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
}

#[tokio::test]
async fn a_node_that_stops_hears_the_token_that_is_being_renewed() {
    let town = Town::personal().await;
    town.bank.books().life = 20;
    town.link(&town.lena).await;
    let (slow, before) = {
        let mut books = town.bank.books();
        (books.slow_down(), books.tokens_asked)
    };
    // The caller goes away while the refresh token is being changed.
    tokio::select! {
        _ = town.said(&town.lena, "whoami") => unreachable!("the bank is slow"),
        () = asked(&town.bank, before + 1) => {}
    }
    let stopped = async {
        go_on(&slow);
        town.close().await;
    };
    crate::soon(stopped).await;
    assert_eq!(town.found_again(&town.lena).await, Ok(()));
    assert_eq!(town.accounts(&town.lena).await, ["linked"]);
}

#[tokio::test]
async fn what_is_taken_back_while_it_is_renewed_is_given_back_as_it_is_then() {
    let town = Town::personal().await;
    town.bank.books().life = 20;
    town.link(&town.lena).await;
    town.bank.books().life = 3_600;
    let renewing = town.bank.books().renewing();
    let (slow, before) = {
        let mut books = town.bank.books();
        (books.slow_down(), books.tokens_asked)
    };
    let unlinking = async {
        asked(&town.bank, before + 1).await;
        let unlinked = town.lena.post("/v1/servers/bank/unlink", json!({}));
        let answered = async {
            crate::soon(async {
                while !town.accounts(&town.lena).await.is_empty() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            go_on(&slow);
        };
        tokio::join!(unlinked, answered).0.ok()
    };
    let (said, _) = tokio::join!(town.said(&town.lena, "whoami"), unlinking);
    assert!(["stopped", "account_not_linked"].contains(&said.as_str()), "{said}");
    crate::soon(async {
        while town.bank.books().renewing() >= renewing {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let books = town.bank.books();
    assert!(!books.revoked.iter().any(|token| books.knows(token)));
    drop(books);
    assert_eq!(town.shown(), [""; 0], "nothing was sent");
}

#[tokio::test]
async fn what_the_ledger_could_not_record_as_taken_back_is_given_back_all_the_same() {
    let town = Town::personal().await;
    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    town.shown();
    town.world.engine().log().close().unwrap();
    let unlinked = town.lena.post("/v1/servers/bank/unlink", json!({})).await;
    assert!(unlinked.status >= 500, "{}", unlinked.text());
    assert_eq!(town.bank.books().revoked.len(), 1);
    assert!(town.found_again(&town.lena).await.is_err());
    assert_eq!(town.shown(), [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_linked_after_all_is_given_back() {
    let town = Town::personal().await;
    let (_, page) = town.consent(&town.lena, "lena").await;
    let moved = json!({
        "name": "bank", "url": format!("{}?moved", town.bank.mcp()), "internal": true,
        "oauth": { "whose": "person" },
    });
    town.olivia.post("/v1/servers", moved).await.ok();
    let refused = town.confirm(&town.lena, &code_of(&page.text())).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"));
    assert_eq!(town.bank.books().revoked.len(), 1, "the code was good once");
}

#[tokio::test]
async fn nobody_but_their_person_and_who_governs_takes_an_account_back() {
    let town = Town::personal().await;
    town.link(&town.lena).await;
    let others = json!({ "person": "lena" });
    let refused = town.max.post("/v1/servers/bank/unlink", others.clone()).await;
    assert_eq!(refused.status, 403);
    assert_eq!(town.bank.books().revoked, [""; 0]);
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
    let unlinked = town.olivia.post("/v1/servers/bank/unlink", others).await.ok();
    assert_eq!((&unlinked["revoked"], &unlinked["person"]), (&json!(true), &json!(town.lena.id)));
    assert_eq!(town.said(&town.lena, "whoami").await, "account_not_linked");
}

#[tokio::test]
async fn a_client_secret_follows_no_redirect() {
    let town = hired().await;
    let thief = Bank::open().await;
    town.bank.books().forget_access();
    town.bank.books().moved = Some(format!("{}/token", thief.issuer()));
    town.later(11_000).await;
    assert!(town.said(&town.lena, "whoami").await.contains("call again"));
    assert!(town.said(&town.lena, "whoami").await.contains("cannot be reached"));
    assert_eq!(thief.books().tokens_asked, 0);

    let town = Town::with(client_with_a_secret("person")).await;
    town.link(&town.lena).await;
    town.bank.books().moved = Some(format!("{}/revoke", thief.issuer()));
    let unlinked = town.lena.post("/v1/servers/bank/unlink", json!({})).await.ok();
    assert_eq!(unlinked["revoked"], false, "and it is not said to be given back");
    assert_eq!(thief.books().revoked, [""; 0]);
}

#[tokio::test]
async fn a_lent_token_goes_to_no_server_that_is_stopped_whoever_asks() {
    let town = Town::personal().await;
    let stop = json!({ "scope": "system:bank", "reason": "it misbehaves" });
    town.olivia.post("/v1/stops", stop).await.ok();
    let refused = town.olivia.post("/v1/servers/bank/refresh", json!({})).await;
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert!(refused.text().contains("the server is stopped"), "{}", refused.text());
    assert_eq!(town.shown(), [""; 0], "nothing was sent");
}

#[tokio::test]
async fn an_answer_that_comes_to_the_place_of_another_issuer_buys_nothing() {
    let town = Town::personal().await;
    town.bank.books().names_itself = false;
    let before = town.bank.books().tokens_asked;
    let begun = town.lena.post("/v1/servers/bank/link", json!({})).await.ok();
    let url = begun["url"].as_str().unwrap();
    let state = url.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let query = format!("code=of-an-honest-issuer&state={state}");
    for from in ["iss", "0123456789abcdef0123456789abcdef"] {
        let mixed = format!("{}/oauth/callback/{from}?{query}", town.world.gateway_url());
        assert_eq!(town.world.wire().send("GET", &mixed, &[], "").await.status, 400);
    }
    assert_eq!(town.bank.books().tokens_asked, before, "the code goes nowhere");
    town.link(&town.lena).await;
    assert_eq!(town.said(&town.lena, "whoami").await, "you are lena");
}

#[tokio::test]
async fn who_registers_a_client_by_hand_is_told_where_people_come_back_to() {
    let town = Town::with(client_with_a_secret("person")).await;
    let listed = town.olivia.get("/v1/servers").await.ok();
    let callback = listed["items"][0]["callback"].as_str().unwrap().to_owned();
    town.link(&town.lena).await;
    assert_eq!(town.bank.books().redirects, [callback]);
    let plain = Town::personal().await.olivia.get("/v1/servers").await.ok();
    assert_eq!(plain["items"][0]["callback"], Value::Null, "nobody has to say it there");
}

#[tokio::test]
async fn a_consent_that_nobody_confirmed_is_given_back_when_the_node_stops() {
    let town = Town::personal().await;
    town.consent(&town.lena, "lena").await;
    assert_eq!(town.bank.books().revoked, [""; 0]);
    crate::soon(town.close()).await;
    assert_eq!(town.bank.books().revoked.len(), 1);
}

#[tokio::test]
async fn a_gateway_registers_itself_once_a_day_and_anew_where_nobody_came_back() {
    let town = Town::personal().await;
    town.link(&town.lena).await;
    town.link(&town.max).await;
    assert_eq!(town.bank.books().registered, 1, "one client for everybody");
    // The page of the bank says that it does not know the client, and sends nobody back.
    for _ in 0..2 {
        town.max.post("/v1/servers/bank/link", json!({})).await.ok();
    }
    town.link(&town.max).await;
    assert_eq!(town.bank.books().registered, 2);
    // Lena's own trouble is none of the client's.
    town.bank.books().forget_everybody();
    town.said(&town.lena, "whoami").await;
    town.link(&town.lena).await;
    assert_eq!(town.bank.books().registered, 2);
}
