//! What operators and their monitors ask, on a listener of its own: is it alive, is it ready, what does it count.

use std::{
    fmt::{Display, Write as _},
    sync::{Arc, atomic::Ordering},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use decide::Engine;
use insight::Index;
use ledger::Health;

use crate::Anchors;

/// The listener for operators: `/livez`, `/readyz` (with reasons for `?verbose`) and `/metrics`.
///
/// It needs no credentials and must not be reachable from outside.
pub fn ops_router(engine: Arc<Engine>, search: Arc<Index>, anchors: Anchors) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(move |engine| metrics(engine, search, anchors)))
        .with_state(engine)
}

async fn readyz(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let checks = checks(&engine);
    let ready = checks.iter().all(|(_, wrong)| wrong.is_none());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::new();
    if query.as_deref() == Some("verbose") {
        for (name, wrong) in checks {
            text +=
                &wrong.map_or_else(|| format!("{name}: ok\n"), |why| format!("{name}: {why}\n"));
        }
    }
    text += if ready { "ready\n" } else { "not ready\n" };
    (status, text)
}

/// What a node needs before it permits anything, and what is wrong with it.
fn checks(engine: &Engine) -> [(&'static str, Option<String>); 3] {
    let loaded = (!engine.is_ready() && engine.is_fresh())
        .then(|| "not everything is loaded yet".to_owned());
    let store =
        (!engine.is_fresh()).then(|| "the database was not heard from within the lease".to_owned());
    let ledger = match engine.log().health() {
        Health::Healthy => None,
        Health::NoSpace => {
            let why = "the disk is full, or no file descriptor is left";
            Some(format!("{why}; it goes on by itself once there is room"))
        }
        Health::Failed(why) => Some(format!("a write failed, restart this node: {why}")),
    };
    [("loaded", loaded), ("store", store), ("ledger", ledger)]
}

/// [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/) by hand: few numbers, well named.
async fn metrics(
    State(engine): State<Arc<Engine>>,
    search: Arc<Index>,
    anchors: Anchors,
) -> impl IntoResponse {
    let counters = engine.counters();
    let mut text = Exposition(String::with_capacity(2048));
    text.counter(
        "bailiwick_attempts",
        "Attempts that were decided.",
        &[
            ("{outcome=\"permitted\"}", counters.permitted.load(Ordering::Relaxed)),
            ("{outcome=\"refused\"}", counters.refused.load(Ordering::Relaxed)),
        ],
    );
    let verified = counters.tokens_verified.load(Ordering::Relaxed);
    text.counter(
        "bailiwick_tokens_verified",
        "Access tokens whose signature was checked anew.",
        &[("", verified)],
    );
    text.gauge(
        "bailiwick_ledger_size_entries",
        "Entries under the ledger's signed head.",
        engine.log().head().size,
    );
    if let Some(witnessed) = anchors.witnessed {
        text.gauge(
            "bailiwick_ledger_witnessed_entries",
            "Entries under the newest head that enough witnesses have cosigned.",
            witnessed.entries.load(Ordering::Relaxed),
        );
        text.gauge(
            "bailiwick_ledger_contradicting_witnesses",
            "Witnesses that have contradicted the ledger, or themselves, since the node started.",
            witnessed.contradicting.load(Ordering::Relaxed),
        );
    }
    if let Some(stamped) = anchors.stamped {
        text.gauge(
            "bailiwick_ledger_stamped_entries",
            "Entries under the newest head that a timestamping authority has stamped.",
            stamped.load(Ordering::Relaxed),
        );
    }
    text.gauge(
        "bailiwick_ledger_acknowledged_entries",
        "Entries that are durable.",
        engine.log().acknowledged(),
    );
    let indexed = search.indexed();
    text.gauge("bailiwick_search_indexed_entries", "Entries that searches find.", indexed);
    text.gauge(
        "bailiwick_search_lag_entries",
        "Durable entries that searches do not find yet.",
        engine.log().acknowledged().saturating_sub(indexed),
    );
    let healthy = engine.log().health() == Health::Healthy;
    text.gauge(
        "bailiwick_ledger_healthy",
        "Whether the ledger writes and publishes.",
        u8::from(healthy),
    );
    text.gauge(
        "bailiwick_live_calls",
        "Calls on their way to upstream servers.",
        engine.stops().live_calls(),
    );
    text.gauge(
        "bailiwick_stop_epoch",
        "Version of this node's set of stops; rises with each stop or resume that it hears of, also again; counted anew at each start.",
        engine.stops().epoch(),
    );
    text.gauge("bailiwick_stops_in_force", "Stops in force.", engine.stops().orders().len());
    let tampered = engine.directory().tampered().len();
    text.gauge(
        "bailiwick_tampered_rows",
        "Rows that differ from their ledger entries and grant nothing.",
        tampered,
    );
    text.gauge(
        "bailiwick_lease_fresh",
        "Whether the database was heard from lately.",
        u8::from(engine.is_fresh()),
    );
    text.gauge(
        "bailiwick_ready",
        "Whether this node permits anything.",
        u8::from(engine.is_ready()),
    );
    text.0 += "# EOF\n";
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text.0)
}

struct Exposition(String);

impl Exposition {
    fn counter(&mut self, name: &str, help: &str, samples: &[(&str, u64)]) {
        self.family(name, "counter", help);
        for (labels, value) in samples {
            self.line(format_args!("{name}_total{labels} {value}"));
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
        self.line(format_args!("# HELP {name} {help}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing to a text cannot fail");
    }
}
