//! The ledger as its readers see it.

use serde_json::{Value, json};

use crate::office::Office;

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_the_bytes_that_were_hashed_the_newest_first() {
    let office = Office::open().await;
    let page = office.olivia.get("/v1/ledger/entries?limit=3").await.ok();
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    let indices: Vec<_> = entries.iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert!(indices.windows(2).all(|pair| pair[0] == pair[1] + 1));
    assert_eq!(indices.first().map(|first| first + 1), page["size"].as_u64());
    let older = office
        .olivia
        .get(&format!("/v1/ledger/entries?limit=3&after={}", page["next"].as_str().unwrap()))
        .await
        .ok();
    assert_eq!(
        older["entries"][0]["index"].as_u64().map(|index| index + 1),
        indices.last().copied()
    );
    assert_eq!(page["people"][office.olivia.id.to_string()], "olivia", "who it was by name");
    assert!(entries.iter().all(|entry| entry.get("payload").is_none()), "payloads stay sealed");
    let one = office.olivia.get(&format!("/v1/ledger/entries/{}", indices[0])).await;
    let leaf = serde_json::from_str::<
        std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>,
    >(&one.text());
    let leaf = leaf.unwrap()["leaf"].get().to_owned();
    assert_eq!(one.ok()["hash"], ledger::leaf_hash(leaf.as_bytes()).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_from_a_position_by_task_and_by_action() {
    let office = Office::open().await;
    office.agent().await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let first = office.olivia.get("/v1/ledger/entries?from=0&limit=1").await.ok();
    assert_eq!((&first["entries"][0]["index"], &first["next"]), (&json!(0), &json!(1)));
    let of_task = office
        .olivia
        .get(&format!("/v1/ledger/entries?task={}", task["task"].as_str().unwrap()))
        .await
        .ok();
    let kinds: Vec<_> = of_task["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["leaf"]["kind"].clone())
        .collect();
    assert!(kinds.len() >= 2, "{kinds:?}");
    assert!(
        of_task["entries"]
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["leaf"]["task"] == task["task"])
    );
    let action = &of_task["entries"][0]["leaf"]["action"];
    let of_action = office
        .olivia
        .get(&format!("/v1/ledger/entries?action={}", action.as_str().unwrap()))
        .await
        .ok();
    assert!(
        of_action["entries"]
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["leaf"]["action"] == *action)
    );
    assert_eq!(office.olivia.get("/v1/ledger/entries/1000000").await.status, 404);
    assert_eq!(office.olivia.get("/v1/ledger/entries/last").await.status, 422);
    assert_eq!(office.olivia.get("/v1/ledger/entries?from=-1").await.status, 400);
    let beyond = office.olivia.get("/v1/ledger/entries?from=1000000").await.ok();
    assert_eq!(beyond["entries"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_payload_is_an_act_that_leaves_a_record() {
    let office = Office::open().await;
    office.agent().await;
    office.grant(&office.olivia).await;
    let task = office.task(&office.olivia).await;
    let of_task = office
        .olivia
        .get(&format!("/v1/ledger/entries?task={}", task["task"].as_str().unwrap()))
        .await
        .ok();
    let index =
        of_task["entries"].as_array().unwrap().iter().find(|entry| entry["leaf"]["kind"] == "task");
    let index = index.expect("the task's opening has a payload")["index"].as_u64().unwrap();
    let before = office.olivia.get("/v1/ledger/key").await.ok();
    let opened = office.olivia.get(&format!("/v1/ledger/entries/{index}?payload=true")).await.ok();
    assert_eq!(opened["payload"]["state"], "open");
    assert_eq!(opened["payload"]["content"]["prompt"], "please", "{opened}");
    let last = office.olivia.get("/v1/ledger/entries?limit=1&payload=true").await.ok();
    let leaf = &last["entries"][0]["leaf"];
    assert_eq!(leaf["verdict"], "permit", "the record of the first opening: {last}");
    let act = &last["entries"][0]["payload"]["content"]["act"];
    assert_eq!(*act, json!({ "first": index, "last": index }));
    assert_ne!(before, Value::Null);
    let una = office.person("una", &[]).await;
    assert_eq!(una.get(&format!("/v1/ledger/entries/{index}?payload=true")).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_log_is_read_as_tiles_and_its_checkpoint_fits_the_key() {
    let office = Office::open().await;
    let head = || office.world.engine().log().head().size;
    let key = office.olivia.get("/v1/ledger/key").await.ok();
    assert_eq!(key["key"], office.world.engine().log().verifier_key());
    while head() == 0 {
        tokio::task::yield_now().await;
    }
    let checkpoint = office.olivia.get("/ledger/checkpoint").await;
    assert_eq!(checkpoint.status, 200);
    let verifier: ledger::VerifierKey = key["key"].as_str().unwrap().parse().unwrap();
    let signed = verifier.open(&checkpoint.bytes).unwrap();
    assert!(signed.size > 0);
    // The head beside the key is one that this path shows.
    let beside = office.olivia.get("/v1/ledger/key").await.ok();
    assert!(beside["size"].as_u64() >= Some(signed.size), "{beside}");
    let width = if signed.size < 256 { format!(".p/{}", signed.size) } else { String::new() };
    let bundle = office.olivia.get(&format!("/ledger/tile/entries/000{width}")).await;
    // A wider one may have replaced it meanwhile; never anything but the tile or nothing.
    assert!([200, 404].contains(&bundle.status), "{}", bundle.status);
    for path in [
        "0/../../wal/0",
        "..%2f..%2fstops",
        "entries/%2e%2e/%2e%2e/stops",
        "0/0",
        "9999/000",
        "0/000.p/0",
    ] {
        let reply = office.olivia.get(&format!("/ledger/tile/{path}")).await;
        assert!([401, 404].contains(&reply.status), "{path}: {}", reply.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_proven_to_whoever_has_its_bytes_and_the_key() {
    let office = Office::open().await;
    let log = office.world.engine().log();
    let key: ledger::VerifierKey = log.verifier_key().parse().unwrap();
    while log.head().size < 2 {
        tokio::task::yield_now().await;
    }
    let reply = office.olivia.get("/v1/ledger/entries/1/proof").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    let proof = ledger::TlogProof::parse(&reply.bytes).unwrap();
    let [first, second] = [0, 1].map(|index| log.entry(index).unwrap().unwrap().bytes);
    assert!(proof.check(&second, &key).unwrap().size >= 2);
    assert!(proof.check(&first, &key).is_err());

    let beyond = office.olivia.get("/v1/ledger/entries/1000000/proof").await;
    assert_eq!(beyond.status, 404);
    let next = beyond.json()["next"].as_str().unwrap().to_owned();
    assert!(next.contains("ask again"), "{next}");
    assert_eq!(office.olivia.get("/v1/ledger/entries/last/proof").await.status, 422);
    let una = office.person("una", &[]).await;
    assert_eq!(una.get("/v1/ledger/entries/1/proof").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_payloads_are_opened_at_once_than_an_answer_may_take_of_memory() {
    let office = Office::open().await;
    let log = office.world.engine().log();
    let first = log.acknowledged();
    for number in 0..17 {
        let at = model::Timestamp::from_millis(1);
        let id = model::EntryId::compose(at, 9, number);
        let mut draft = ledger::Draft::new(id, "long", at);
        draft.payload = Some([&b"\""[..], &vec![b'x'; ledger::MAX_PAYLOAD - 2], b"\""].concat());
        log.append(log.seal(draft).unwrap()).await.unwrap();
    }
    let page = |limit: u32| format!("/v1/ledger/entries?from={first}&limit={limit}&payload=true");
    let refused = office.olivia.get(&page(17)).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("say a lower `limit`"), "{}", refused.text());
    let shown = office.olivia.get(&page(1)).await.ok();
    assert_eq!(shown["entries"][0]["payload"]["state"], "open", "{shown:.300}");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_made_again_by_an_act_that_leaves_a_record() {
    let office = Office::open().await;
    office.agent().await;
    let made = office.olivia.get("/v1/ledger/decisions?limit=3").await.ok();
    assert_eq!(made["decisions"].as_array().unwrap().len(), 3, "{made}");
    assert!(made["next"].is_u64());
    let last =
        office.olivia.get("/v1/ledger/entries?limit=1&verdict=permit&payload=true").await.ok();
    assert_eq!(last["entries"][0]["payload"]["content"]["resource"], "bailiwick/Ledger/payloads");
    let nothing = office.olivia.get("/v1/ledger/decisions?from=1000000").await.ok();
    assert_eq!(nothing["decisions"], json!([]));
    let una = office.person("una", &[]).await;
    assert_eq!(una.get("/v1/ledger/decisions").await.status, 403);
}
