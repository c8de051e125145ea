//! `gateway`: an MCP `tools/call` with all checks and its durable record, beside the least that could do the same work.
//!
//! Compared is the server's processor time for one call, at 64 connections. The ceiling is the sum of three parts, each
//! measured in the same run: a bare pass-through of the same sizes, one Ed25519 verification of the proof, and two plain
//! appends of the same bytes. Two, because neither a call nor its result may leave before its own record is durable: what two
//! such appends take one after the other is the least that can be added to a call's time, too.

mod load;
mod peers;
pub(crate) mod serve;
mod streams;
mod world;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::ensure;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::{
    append::{Plain, folder, to_plain},
    clock::{cpu, micros, now},
    figure::{Figure, Report, median},
    role::{self, Served},
};
use load::Load;
pub(crate) use peers::run as run_peers;
use serve::{Listening, Ready};
pub(crate) use streams::run as run_streams;

/// How often each part is measured.
const ROUNDS: usize = 5;
/// How many connections call at once while processor time is counted; as many as the append has callers.
const CONNECTIONS: usize = 64;
/// How many calls a round has: some seconds of work on a slow machine.
const CALLS: usize = 4_000;
/// The first calls open connections and fill caches, and are not counted.
const WARM_UP: usize = 500;
/// How long each other part is measured in a round.
const SLICE: Duration = Duration::from_millis(400);
/// How long each side of the comparison at half load takes in a round.
const HALF_LOAD: Duration = Duration::from_millis(500);
/// How many records one call leaves: its decision and its outcome.
const RECORDS: f64 = 2.0;

/// The processes under load.
struct Place {
    gateway: Served,
    pass: Served,
    _upstream: Served,
    ready: Ready,
    pass_at: SocketAddr,
    upstream_at: SocketAddr,
}

/// What the rounds gave, a value a round.
#[derive(Default)]
struct Measured {
    gateway: Vec<f64>,
    pass: Vec<f64>,
    verify: Vec<f64>,
    append: Vec<f64>,
    rate: Vec<f64>,
    few_rate: Vec<f64>,
    direct_p50: Vec<f64>,
    p50: Vec<f64>,
    append_p50: Vec<f64>,
}

/// Measures everything about the gateway.
pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut place = Place::set_up(1)?;
    let measured = runtime.block_on(measure(&mut place))?;
    let Measured { gateway, pass, verify, append, rate, few_rate, direct_p50, p50, append_p50 } =
        measured;
    let (pass, verify, append) = (median(pass), median(verify), RECORDS * median(append));
    let ceiling = pass + verify + append;
    report.add(&Figure::cost("gateway", median(gateway), "us cpu", ceiling));
    report.add(&Figure::alone("gateway/ceiling/pass", pass, "us cpu"));
    report.add(&Figure::alone("gateway/ceiling/verify", verify, "us cpu"));
    report.add(&Figure::alone("gateway/ceiling/append", append, "us cpu"));
    report.add(&Figure::alone("gateway/calls/8", median(few_rate), "calls/s"));
    report.add(&Figure::alone("gateway/calls/64", median(rate), "calls/s"));
    let added = median(p50) - median(direct_p50);
    report.add(&Figure::cost("gateway/added-p50", added, "us", median(append_p50)));
    Ok(())
}

impl Place {
    /// With tokens for so many tasks.
    fn set_up(tasks: usize) -> anyhow::Result<Self> {
        let (upstream, Listening { address: upstream_at }) = Served::start(role::UPSTREAM, "")?;
        let (pass, Listening { address: pass_at }) =
            Served::start(role::PASS, &upstream_at.to_string())?;
        let (gateway, ready) = Served::start(role::GATEWAY, &format!("{upstream_at} {tasks}"))?;
        Ok(Self { gateway, pass, _upstream: upstream, ready, pass_at, upstream_at })
    }
}

async fn measure(place: &mut Place) -> anyhow::Result<Measured> {
    let Place { gateway, pass, ready, pass_at, upstream_at, .. } = place;
    let (gateway_at, pass_at, upstream_at) = (ready.address, *pass_at, *upstream_at);
    let folder = folder()?;
    let plain = Plain::open(&folder.path().join("plain"), Duration::ZERO)?;
    let record: Arc<[u8]> = vec![b'.'; ready.record_bytes].into();
    let mut load = Load::new(ready)?;
    let mut measured = Measured::default();
    load::closed(gateway_at, CONNECTIONS, load.calls(WARM_UP)?).await?;
    load::closed(pass_at, CONNECTIONS, load.calls(WARM_UP)?).await?;
    for _ in 0..ROUNDS {
        let calls = load.calls(CALLS)?;
        let before = gateway.cpu()?;
        let sent = load::closed(gateway_at, CONNECTIONS, calls).await?;
        measured.gateway.push(each(gateway.cpu()? - before, sent.count));
        measured.rate.push(sent.rate());

        let calls = load.calls(CALLS)?;
        let before = pass.cpu()?;
        let passed = load::closed(pass_at, CONNECTIONS, calls).await?;
        measured.pass.push(each(pass.cpu()? - before, passed.count));

        measured.append.push(append(&plain, &record).await?);
        measured.verify.push(verify()?);

        let few = load::closed(gateway_at, 8, load.calls(CALLS / 4)?).await?;
        measured.few_rate.push(few.rate());

        let pace = sent.rate() / 2.0;
        let count = (pace * HALF_LOAD.as_secs_f64()) as usize;
        let calls = load.calls(count)?;
        measured.p50.push(load::paced(gateway_at, pace, calls).await?.p50);
        let calls = load.calls(count)?;
        measured.direct_p50.push(load::paced(upstream_at, pace, calls).await?.p50);
        measured.append_p50.push(load::two_appends(&plain, &record, pace, count).await?.p50);
    }
    Ok(measured)
}

/// Processor time of one plain append among many callers, theirs included: the gateway's callers are inside it, too.
async fn append(plain: &Plain, record: &Arc<[u8]>) -> anyhow::Result<f64> {
    let (start, before) = (now(), cpu());
    let rate = to_plain(plain, record, CONNECTIONS, SLICE).await?;
    let count = rate * start.elapsed().as_secs_f64();
    Ok(micros(cpu() - before) / count)
}

/// Processor time of one Ed25519 verification of a text as long as a proof, on every core at once: two that share one are
/// slower together, and they work together while the gateway is measured.
fn verify() -> anyhow::Result<f64> {
    let cores = std::thread::available_parallelism()?.get();
    let before = cpu();
    let count = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(verify_on_one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum::<usize>()
    });
    ensure!(count > 0, "the signature is genuine");
    Ok(each(cpu() - before, count))
}

fn verify_on_one() -> usize {
    let text = [b'.'; 700];
    let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&[9; 32]) else { return 0 };
    let signature = pair.sign(&text);
    let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
    let (start, mut count) = (now(), 0);
    while start.elapsed() < SLICE && public.verify(&text, signature.as_ref()).is_ok() {
        count += 1;
    }
    count
}

fn each(time: Duration, times: usize) -> f64 {
    micros(time) / times as f64
}
