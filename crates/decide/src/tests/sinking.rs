//! What the ledger says of entries that a sink did not get.

use super::{database::Database, world::World};
use crate::entries::{Body, SinkGap, read};

async fn gaps(world: &World) -> Vec<SinkGap> {
    let entries = world.entries().await;
    let gaps = entries.iter().filter(|entry| entry.leaf.kind == SinkGap::KIND);
    gaps.map(|entry| read(&entry.leaf.body).unwrap()).collect()
}

#[tokio::test]
async fn what_a_sink_did_not_get_is_durable_at_once_and_no_fault_of_the_ledger() {
    let database = Database::new();
    let world = database.world().await;
    world.engine.record_sink_gap(&"siem".parse().unwrap(), 3..10).await.unwrap();
    let expected = [SinkGap { first: 3, n: 7, sink: "siem".to_owned() }];
    assert_eq!(gaps(&world).await, expected);
    let world = world.restart(&database.target()).await;
    assert_eq!(gaps(&world).await, expected);
    let report = world.verified().await;
    assert!(report.is_clean(), "{:?}", report.findings);
}
