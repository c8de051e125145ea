//! The operators' listener.

use decide::Clock;
use model::Timestamp;
use testkit::world::{Options, Reply, World};

async fn ask(world: &World, path: &str) -> Reply {
    world.wire().send("GET", &format!("{}{path}", world.ops_url()), &[], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_its_database_is_alive_and_ready() {
    let world = World::start().await;
    assert_eq!(ask(&world, "/livez").await.text(), "ok\n");
    let ready = ask(&world, "/readyz").await;
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    assert_eq!(
        ask(&world, "/readyz?verbose").await.text(),
        "loaded: ok\nstore: ok\nledger: ok\nready\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_lease_is_over_says_why_it_is_not_ready() {
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let world = World::with(Options { clock: clock.clone(), ..Options::default() }).await;
    clock.advance(60_000);
    assert_eq!(ask(&world, "/livez").await.status, 200, "alive is not ready");
    clock.advance(60_000);
    let lost = ask(&world, "/readyz?verbose").await;
    // The feed may be heard from again at any moment; what is said fits what is answered.
    let (fresh, text) = (lost.status == 200, lost.text());
    assert_eq!(text.contains("the database was not heard from within the lease"), !fresh, "{text}");
    assert_eq!(text.ends_with("not ready\n"), !fresh, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_openmetrics_with_one_family_for_each_name() {
    let world = World::start().await;
    let olivia = world.first_administrator("olivia").await;
    olivia.get("/v1/whoami").await.ok();
    let reply = ask(&world, "/metrics").await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = reply.text();
    assert!(text.ends_with("# EOF\n"));
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: std::collections::BTreeSet<_> =
        types.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names.len(), types.len());
    assert!(names.iter().all(|name| name.starts_with("bailiwick_")));
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = sample.rsplit_once(' ').unwrap();
        let family = series.split('{').next().unwrap().trim_end_matches("_total");
        assert!(names.contains(family), "{sample}");
        value.parse::<u64>().unwrap();
    }
    assert!(
        text.contains("bailiwick_ready 1\n")
            && text.contains("bailiwick_tokens_verified_total 1\n"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_listener_has_nothing_of_the_public_one() {
    let world = World::start().await;
    for path in ["/v1/whoami", "/oauth/token", "/openapi.json", "/ledger/checkpoint"] {
        assert_eq!(ask(&world, path).await.status, 404, "{path}");
        let public = world.wire().send("GET", &format!("{}/metrics", world.url()), &[], "").await;
        assert_eq!(public.status, 404);
    }
}
