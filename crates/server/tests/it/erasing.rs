//! Erasing what was said, and keeping it from being erased, by two administrators.

use serde_json::{Value, json};
use token::{Algorithm, SigningKey};

use crate::office::Office;

const ERASE: &str = "/v1/ledger/erasures";
const LAY: &str = "/v1/ledger/holds";
const LIFT: &str = "/v1/ledger/holds/lift";

fn wish(subject: &str) -> Value {
    json!({ "subject": subject, "reason": "article 17" })
}

/// What can be read of the payloads of all entries.
async fn payloads(office: &Office) -> (String, Vec<u64>) {
    let page = office.omar.get("/v1/ledger/entries?limit=1000&payload=true").await.ok();
    let (mut open, mut erased) = (String::new(), Vec::new());
    for entry in page["entries"].as_array().expect("a list") {
        open += &entry["payload"]["content"].to_string();
        erased.extend(entry["payload"]["by"].as_u64());
    }
    (open, erased)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_takes_two_administrators_and_leaves_everybody_elses() {
    let office = Office::open().await;
    let una = office.person("una", &["support"]).await;
    let kim = office.person("kim", &["support"]).await;
    assert_eq!(kim.post(ERASE, wish("una")).await.status, 403, "who does not govern erases nobody");
    assert_eq!(una.post(ERASE, wish("una")).await.status, 403, "nor themselves");
    let (open, _) = payloads(&office).await;
    assert!(open.contains(r#""handle":"una""#) && open.contains(r#""handle":"kim""#), "{open}");

    let held = office.olivia.post(ERASE, wish("una")).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"), "{}", held.text());
    assert_eq!(held.json()["policies"], json!(["guard-second-person-erasures"]));
    assert!(payloads(&office).await.1.is_empty(), "asking erases nothing");
    let erased = office.olivia.post_with(&office.omar, ERASE, wish("una")).await;
    assert_eq!(erased["subject"], una.id.to_string());
    // Her own keys, of calls and of governance, and those of when she was enrolled: of the wish, and of what its approver saw.
    assert_eq!(erased["keys"].as_array().unwrap().len(), 4, "{erased}");
    let (open, by) = payloads(&office).await;
    assert!(!open.contains(r#""handle":"una""#) && open.contains(r#""handle":"kim""#), "{open}");
    assert!(by.len() >= 3 && by.iter().all(|by| *by == erased["entry"]), "{by:?} {erased}");
    assert_eq!(by.len() as u64, erased["payloads"].as_u64().unwrap());
    let entry = office.omar.get(&format!("/v1/ledger/entries/{}", erased["entry"])).await.ok();
    let leaf = &entry["leaf"];
    assert_eq!((&leaf["kind"], &leaf["body"]["keys"]), (&json!("erasure"), &erased["keys"]));
    assert_eq!(leaf["person"], office.olivia.id.to_string());
    assert!(leaf["approval"].is_string() && !leaf.to_string().contains("article"), "{leaf}");

    let entries = |leaf: &Value| leaf["payload"]["key"].clone();
    let una_again = una.get("/v1/whoami").await.ok();
    assert_eq!(una_again["handle"], "una", "what is governed is no payload");
    una.post(ERASE, wish("kim")).await;
    let last = office.omar.get("/v1/ledger/entries?limit=1&payload=true").await.ok();
    let last = &last["entries"][0];
    assert!(last["payload"]["content"].to_string().contains("article 17"), "{last}");
    assert!(!erased["keys"].as_array().unwrap().contains(&entries(&last["leaf"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_legal_hold_nobody_is_erased_and_lifting_it_takes_two() {
    let office = Office::open().await;
    office.agent().await;
    let una = office.person("una", &[]).await;
    assert_eq!(una.post(LAY, wish("una")).await.status, 403);
    assert_eq!(una.get(LAY).await.status, 403);
    for subject in ["una", "agent/support-bot"] {
        assert_eq!(office.olivia.post(LIFT, wish(subject)).await.status, 404, "there is none");
        // Keeping takes nothing from anybody, so it needs nobody else.
        assert_eq!(office.olivia.post(LAY, wish(subject)).await.ok()["held"], true);
        assert_eq!(office.olivia.post(LAY, wish(subject)).await.code(), "conflict");
        let refused = office.olivia.post(ERASE, wish(subject)).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"));
        assert!(refused.text().contains("legal hold"), "{}", refused.text());
        for asked in [ERASE, LAY, LIFT] {
            let status = una.post(asked, wish(subject)).await.status;
            assert_eq!(status, 403, "who may not look at holds does not learn of them");
        }
    }
    let holds = office.omar.get(LAY).await.ok();
    assert_eq!(holds["items"].as_array().unwrap().len(), 2);
    let subjects = ["agent/support-bot".to_owned(), una.id.to_string()];
    assert!(
        holds["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|hold| { subjects.iter().any(|subject| hold["subject"] == subject.as_str()) })
    );
    let held = office.olivia.post(LIFT, wish("una")).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"), "{}", held.text());
    assert_eq!(office.olivia.post(ERASE, wish("una")).await.code(), "conflict");
    let lifted = office.olivia.post_with(&office.omar, LIFT, wish("una")).await;
    assert_eq!(lifted["held"], false);
    assert_eq!(office.olivia.get(LAY).await.ok()["items"].as_array().unwrap().len(), 1);
    office.olivia.post_with(&office.omar, ERASE, wish("una")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_names_somebody_and_says_why() {
    let office = Office::open().await;
    let refused = |subject: &str, reason: &str| {
        office.olivia.post(ERASE, json!({ "subject": subject, "reason": reason }))
    };
    assert_eq!(refused("nobody", "x").await.status, 404);
    assert_eq!(refused("omar", " ").await.status, 422);
    assert_eq!(refused("omar", &"x".repeat(1_025)).await.status, 422);
    assert_eq!(refused("agent/Not A Name", "x").await.status, 422);
    assert_eq!(refused("organization", "x").await.status, 404);
    let body = json!({ "subject": "omar", "reason": "x", "sure": true });
    assert_eq!(office.olivia.post(ERASE, body).await.status, 422, "an unknown member");
    assert!(payloads(&office).await.1.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_who_was_never_enrolled_is_erased_by_handle() {
    let office = Office::open().await;
    let key = SigningKey::generate(Algorithm::EdDSA).expect("a key").public().to_jwk().to_value();
    let zed = json!({ "handle": "zed", "display_name": "Zed Private", "teams": [], "key": key });
    let held = office.olivia.post("/v1/persons", zed).await;
    assert_eq!((held.status, held.code().as_str()), (409, "held"), "{}", held.text());
    assert!(payloads(&office).await.0.contains("Zed Private"));
    assert_eq!(office.olivia.post(ERASE, wish("zed")).await.status, 404, "nobody has that handle");
    for nobody in ["handle/nobody", "task/01890a5d-ac96-774b-bcce-b302099a8057"] {
        let refused = office.olivia.post(ERASE, wish(nobody)).await;
        assert_eq!(refused.status, 404, "{}", refused.text());
        assert!(refused.text().contains("nothing is sealed"), "{}", refused.text());
    }
    let erased = office.olivia.post_with(&office.omar, ERASE, wish("handle/zed")).await;
    assert_eq!(erased["subject"], "handle/zed");
    assert!(!payloads(&office).await.0.contains("Zed Private"));
    // Whoever was enrolled is one person by either word, and held by either.
    let una = office.person("una", &[]).await;
    assert_eq!(office.olivia.post(LAY, wish("una")).await.ok()["held"], true);
    let refused = office.olivia.post(ERASE, wish("handle/una")).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"));
    assert!(refused.text().contains(&una.id.to_string()), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn why_rights_agents_and_holds_were_asked_for_is_erased_with_whom_it_is_about() {
    let office = Office::open().await;
    office.agent().await;
    let una = office.person("una", &["support"]).await;
    office.grant(&una).await;
    let because = |reason: &str| json!({ "subject": "una", "reason": reason });
    office.olivia.post(LAY, because("a private matter of Una")).await.ok();
    office.olivia.post_with(&office.omar, LIFT, because("Una has settled it")).await;
    let suspended = json!({ "reason": "the bot leaks" });
    office.olivia.post("/v1/agents/support-bot/suspend", suspended).await.ok();
    let open = payloads(&office).await.0;
    for said in ["a private matter of Una", "Una has settled it", "una-desk", "the bot leaks"] {
        assert!(open.contains(said), "{said}");
    }
    office.olivia.post_with(&office.omar, ERASE, wish("una")).await;
    let open = payloads(&office).await.0;
    for said in ["a private matter of Una", "Una has settled it", "una-desk"] {
        assert!(!open.contains(said), "{said}: {open}");
    }
    assert!(open.contains("the bot leaks"));
    office.olivia.post_with(&office.omar, ERASE, wish("agent/support-bot")).await;
    assert!(!payloads(&office).await.0.contains("the bot leaks"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_on_a_task_or_its_agent_keeps_whom_it_was_opened_for() {
    let office = Office::open().await;
    office.agent().await;
    let una = office.person("una", &["support"]).await;
    office.grant(&una).await;
    let task = office.task(&una).await;
    let task = format!("task/{}", task["task"].as_str().expect("a task"));
    assert_eq!(office.olivia.post(LAY, wish(&task)).await.ok()["subject"], task.as_str());
    let holds = office.omar.get(LAY).await.ok();
    assert_eq!(holds["items"][0]["subject"], task.as_str());
    // It takes reading the ledger to see it, so it is seen once it was approved.
    let held = office.olivia.post(ERASE, wish("una")).await;
    let approval = held.json()["approval"].as_str().expect("an approval").to_owned();
    office.omar.answer(&approval, true).await.ok();
    let refused = office.olivia.post(ERASE, wish("una")).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"), "{}", refused.text());
    assert!(refused.text().contains(&task), "{}", refused.text());
    assert!(payloads(&office).await.1.is_empty());
}
