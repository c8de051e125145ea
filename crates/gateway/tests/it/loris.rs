//! Whoever is slow, endless or many on purpose: clients and servers that hold on to what they got.

use std::time::Duration;

use futures_util::{StreamExt as _, stream as streams};
use gateway::{envelope::Era, outbound::Limits};
use http::{HeaderMap, Method, StatusCode};
use testkit::world::{Bounds, serve_within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::interval,
};

use crate::{
    client::Client,
    desk::{Asked, Step, chunk, event, stream},
    house::{House, call, few_connections},
    soon,
};

const REFUND: (&str, &str) = ("refund", r#"{"order":"A-1","amount":4000}"#);
const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
/// How many long answers one agent has on their way at a time.
const OF_ONE: usize = 8;
/// How many streams are open at once.
const STREAMS: usize = 1_000;
/// The longest body of a server here; longer than the longest message.
const LONGEST: usize = 17 << 20;
/// What a kernel may hold of a connection on top of what the other side has taken.
const IN_SOCKETS: usize = 16 << 20;

/// A request's head, and a beginning of its body.
fn beginning(headers: &HeaderMap, framing: &str, body: &str) -> String {
    let mut head = format!("POST /mcp/desk HTTP/1.1\r\nhost: desk.example\r\n{framing}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    format!("{head}\r\n{body}")
}

/// Says this at once and then a byte at a time, for as long as anybody listens; what was answered.
async fn dribble(origin: String, first: String, rest: &'static str) -> String {
    let mut stream = TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(first.as_bytes()).await.unwrap();
    let (mut answers, mut says) = stream.split();
    let mut answer = Vec::new();
    let dribbling = async {
        let mut pace = interval(Duration::from_millis(20));
        while says.write_all(rest.as_bytes()).await.is_ok() {
            pace.tick().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // A connection that was reset has ended, too.
        _ = answers.read_to_end(&mut answer) => {}
        () = dribbling => {}
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn clients_that_say_a_byte_at_a_time_are_dropped_and_hold_up_nobody() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    // Heads get longer than calls need on a busy machine, and nobody is asked to wait for a body.
    let bounds = Bounds {
        head: Duration::from_secs(2),
        body: Duration::from_millis(300),
        ..Bounds::default()
    };
    let origin = serve_within(house.router.clone(), bounds).await;
    let mut dribbling = JoinSet::new();
    for _ in 0..20 {
        let head = beginning(&bot.headers("POST").await, "content-length: 200", "");
        let half = head[..head.len() - 4].to_owned();
        dribbling.spawn(dribble(origin.clone(), half, "x"));
        let begun = format!("{head}{}", &call("get_order", r#"{"order":"A-1"}"#)[..50]);
        dribbling.spawn(dribble(origin.clone(), begun, " "));
        let chunked = beginning(&bot.headers("POST").await, "transfer-encoding: chunked", "");
        dribbling.spawn(dribble(origin.clone(), chunked, "1\r\n{\r\n"));
    }
    for _ in 0..10 {
        let (headers, body) = (bot.headers("POST").await, call("get_order", r#"{"order":"A-1"}"#));
        let (client, url) = (Client::new(), format!("{origin}/mcp/desk"));
        let reply = client.send(Method::POST, &url, headers, body).await;
        assert!(reply.text().await.contains("done"));
    }
    let answers = soon(dribbling.join_all()).await;
    let late = |answer: &&String| answer.starts_with("HTTP/1.1 408 ");
    assert_eq!(answers.iter().filter(|answer| answer.is_empty()).count(), 20);
    assert_eq!(answers.iter().filter(late).count(), 40);
    assert_eq!(house.desk.calls().len(), 10, "half a call is none");
    let recorded = house.recorded().await;
    let is = |line: &str| recorded.iter().filter(|recorded| *recorded == line).count();
    assert_eq!(is("decision deny arguments_invalid"), 40, "their senders are known");
    assert_eq!((is("decision permit"), is("outcome completed")), (10, 10));
}

#[tokio::test]
async fn a_server_that_trickles_is_cut_at_the_deadline_of_its_call() {
    let house = House::new().await;
    let bot = house.bot_for(100_000, 2).await;
    house.clock.advance(1_800); // a fifth of a second is left
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked";
    let begun = |text: &str| Step::Send(format!("{json}\r\n\r\n{}", chunk(text)));
    let again = |text: &str| Step::Trickle(chunk(text));
    for (name, steps) in [
        (
            "a head",
            vec![Step::Send("HTTP/1.1 200 OK\r\nx-long: ".into()), Step::Trickle("a".into())],
        ),
        ("heads to come", vec![Step::Trickle("HTTP/1.1 103 Early Hints\r\n\r\n".into())]),
        ("a body", vec![begun(r#"{"jsonrpc":"2.0""#), again(" ")]),
        ("an event", vec![stream(), again("data: {}")]),
        ("comments", vec![stream(), again(": still here\n\n")]),
        ("notifications", vec![stream(), again(&format!("data: {PROGRESS}\n\n"))]),
    ] {
        let before = house.recorded().await.len();
        house.desk.answers(move |_| steps.clone());
        let reply = bot.call(REFUND.0, REFUND.1).await;
        let said = reply.text().await;
        assert!(said.contains("whether it acted is not known"), "{name}: {said}");
        house.desk.closed().await;
        let recorded = house.recorded().await;
        assert_eq!(recorded[before..], ["decision permit", "outcome unknown 40.00 EUR"], "{name}");
        assert_eq!(house.world.engine().stops().live_calls(), 0, "{name}");
    }
}

#[tokio::test]
async fn what_a_server_sends_without_end_is_refused_at_its_bound() {
    let limits = Limits { body_bytes: LONGEST as u64, ..Limits::default() };
    let house = House::with(Era::Modern, limits).await;
    let filling = "x".repeat(1 << 16);
    let head = |framing: &str| {
        let start = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        Step::Send(format!("{start}{framing}\r\n\r\n"))
    };
    let gigabytes = head("content-length: 5000000000");
    let chunked = head("transfer-encoding: chunked");
    let flood = |text: &str| Step::Flood(chunk(text));
    let endless = |line: String| vec![Step::Send("HTTP/1.1 200 OK\r\n".into()), Step::Flood(line)];
    for (name, bound, steps) in [
        ("a head", 0, endless(format!("x-long: {filling}\r\n"))),
        ("a line of the head", 0, endless(filling.clone())),
        ("a result of gigabytes", 0, vec![gigabytes, Step::Flood(filling.clone())]),
        ("a result", 16 << 20, vec![chunked.clone(), flood(&filling)]),
        ("an event", 16 << 20, vec![stream(), flood(&format!("data: {filling}\n"))]),
        ("comments", LONGEST, vec![stream(), flood(&format!(": {filling}\n\n"))]),
        ("a chunk's extension", 0, vec![chunked, Step::Flood(format!("1;{filling}"))]),
    ] {
        let (before, poured) = (house.recorded().await.len(), house.desk.poured());
        let bot = house.bot(10_000).await;
        house.desk.answers(move |_| steps.clone());
        let said = bot.call(REFUND.0, REFUND.1).await.text().await;
        assert!(said.contains("whether it acted is not known"), "{name}: {said:.200}");
        house.desk.closed().await;
        let poured = house.desk.poured() - poured;
        assert!(poured <= bound + IN_SOCKETS, "{name}: {poured} bytes were taken");
        let recorded = house.recorded().await;
        assert_eq!(recorded[before..], ["decision permit", "outcome unknown 40.00 EUR"], "{name}");
    }
}

#[tokio::test]
async fn long_answers_that_nobody_reads_are_no_more_than_a_share_at_a_time() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let result = format!(r#"{{"content":[],"x":"{}"}}"#, "x".repeat(15 << 20));
    house.desk.answers(move |asked: &Asked| {
        let is_long = asked.json()["params"]["arguments"]["order"] == "long";
        vec![Step::Send(asked.result(if is_long { &result } else { r#"{"content":[]}"# }))]
    });
    let order = |id: &str| call("get_order", &format!(r#"{{"order":"{id}"}}"#));
    let mut unread = Vec::new();
    for _ in 0..=OF_ONE {
        let (headers, body) = (bot.headers("POST").await, order("long"));
        let length = format!("content-length: {}\r\nconnection: close", body.len());
        let mut stream =
            TcpStream::connect(house.world.gateway_url().strip_prefix("http://").unwrap())
                .await
                .unwrap();
        stream.write_all(beginning(&headers, &length, &body).as_bytes()).await.unwrap();
        unread.push(stream);
    }
    let done = async || {
        let recorded = house.recorded().await;
        recorded.iter().filter(|line| *line == "outcome completed").count()
    };
    let come = async |count: usize| {
        soon(async {
            while done().await < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    come(OF_ONE).await;
    bot.post(order("short")).await.json().await;
    assert_eq!(done().await, OF_ONE + 1, "a short one passes, and one of the long ones waits");
    unread.remove(0);
    come(OF_ONE + 2).await;
}

#[tokio::test]
async fn long_requests_beyond_a_share_wait_and_are_refused_in_the_end() {
    let house = House::new().await;
    let bot = house.bot(0).await;
    let long = call("get_order", &format!(r#"{{"order":"{}"}}"#, "x".repeat(100_000)));
    let mut begun = Vec::new();
    for _ in 0..OF_ONE {
        let length = format!("content-length: {}", long.len());
        let headers = bot.headers("POST").await;
        let origin = house.world.gateway_url();
        let mut stream = TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(beginning(&headers, &length, &long[..1_000]).as_bytes()).await.unwrap();
        begun.push(stream);
    }
    let refused = bot.post(long.clone()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.recorded().await, ["decision deny busy"]);
    assert_eq!(bot.post(call("get_order", r#"{"order":"A-1"}"#)).await.status, StatusCode::OK);
    drop(begun);
    assert_eq!(bot.post(long).await.status, StatusCode::OK, "there is room again");
}

#[tokio::test]
async fn calls_and_streams_beyond_an_agents_share_are_refused_and_reach_no_server() {
    // Of which one agent has a quarter.
    let limits = Limits { at_once: 4, ..Limits::default() };
    let house = House::with(Era::Legacy, limits).await;
    let bot = house.bot(0).await;
    let session = bot.open().await;
    let order = call("get_order", r#"{"order":"A-1"}"#);
    let told = bot.ask(Method::GET, &[("mcp-session-id", &session)]).await;
    assert_eq!(told.status, StatusCode::OK);
    let refused = bot.post(order.clone()).await.json().await;
    assert_eq!(refused["result"]["_meta"]["bailiwick/refusal"]["code"], "busy", "{refused}");
    assert_eq!(refused["result"]["_meta"]["bailiwick/refusal"]["retryable"], true);
    assert_eq!(house.recorded().await, ["decision deny busy"]);
    assert!(house.desk.calls().is_empty());
    drop(told);
    soon(async {
        while bot.post(order.clone()).await.text().await.contains("busy") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(house.desk.calls().len(), 1, "there is room again");

    house.desk.answers(|_| vec![Step::UntilClosed]);
    let hangs = tokio::spawn({
        let (client, url) = (house.client.clone(), house.url());
        let headers = bot.headers("POST").await;
        async move { client.send(Method::POST, &url, headers, order).await.status }
    });
    soon(async {
        while house.desk.calls().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let again = bot.ask(Method::GET, &[("mcp-session-id", &session)]).await;
    assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE);
    hangs.abort();
}

#[tokio::test]
async fn a_thousand_streams_at_once_all_come_through() {
    let house = House::with(Era::Modern, Default::default()).await;
    let bot = house.bot(0).await;
    house.desk.answers(|asked: &Asked| {
        let head = [stream(), event(PROGRESS), Step::Wait, event(PROGRESS)];
        [&head[..], &asked.last(r#"{"content":[]}"#)].concat()
    });
    let mut requests = Vec::new();
    for order in 0..STREAMS {
        let arguments = format!(r#"{{"order":"A-{order}"}}"#);
        requests.push((bot.headers("POST").await, call("get_order", &arguments)));
    }
    let open = streams::iter(requests).map(async |(headers, body)| {
        let mut reply = house.client.send(Method::POST, &house.url(), headers, body).await;
        assert_eq!(reply.event().await.as_deref(), Some(PROGRESS));
        reply
    });
    let open: Vec<_> = open.buffer_unordered(few_connections().connections).collect().await;
    assert_eq!((open.len(), house.desk.calls().len()), (STREAMS, STREAMS));
    assert_eq!(house.world.engine().stops().live_calls(), STREAMS);
    let ready = format!("{}/readyz", house.world.ops_url());
    let ready = house.client.send(Method::GET, &ready, HeaderMap::new(), "").await;
    assert_eq!(ready.status, StatusCode::OK);
    let hello = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    assert_eq!(bot.post(hello).await.status, StatusCode::OK, "there is room for others");
    (0..STREAMS).for_each(|_| house.desk.go_on());
    for mut reply in open {
        assert_eq!(reply.event().await.as_deref(), Some(PROGRESS));
        let last = r#"{"jsonrpc":"2.0","id":"c-1","result":{"content":[]}}"#;
        assert_eq!(reply.event().await.as_deref(), Some(last));
        assert_eq!(reply.event().await, None);
    }
    soon(async {
        while house.world.engine().stops().live_calls() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut recorded = house.recorded().await;
    recorded.sort();
    let expected = [vec!["decision permit"; STREAMS], vec!["outcome completed"; STREAMS]];
    assert_eq!(recorded, expected.concat());
}
