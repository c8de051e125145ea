//! The ledger's entries in other systems: programs that we did not write read them and find them well-formed.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use insight::{Event, OcsfVersion, Shape};
use ledger::Draft;
use model::{EntryId, Timestamp, ijson::Canonical};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::{
    auditors,
    connecting::{Client, call},
    office::Office,
    strangers::{installed, script},
    world::{Node, Place},
};

/// Gives lines to a script that reads them as others do, and takes the document that it prints.
fn read_by(name: &str, lines: &str) -> Value {
    let ran = give(name, lines);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn give(name: &str, lines: &str) -> Output {
    let mut python = Command::new(installed("siem/bin/python"));
    python.arg(script(name)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    let giving = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let ran = child.wait_with_output().unwrap();
    giving.join().unwrap().unwrap();
    ran
}

/// The lines of a file, once there are as many as the ledger has entries.
fn lines(place: &Place, node: &Node, file: &str) -> String {
    let whole = || {
        let text = std::fs::read_to_string(place.path(file)).unwrap_or_default();
        (text.lines().count() as u64 >= acknowledged(node)).then_some(text)
    };
    place.eventually(&format!("`{file}` has every entry"), || whole().is_some());
    whole().unwrap()
}

/// How many entries are durable, as the node's metrics say.
fn acknowledged(node: &Node) -> u64 {
    metric(node, "bailiwick_ledger_acknowledged_entries").unwrap()
}

fn metric(node: &Node, name: &str) -> Option<u64> {
    let metrics = of_operators(node, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

fn of_operators(node: &Node, path: &str) -> String {
    let address = node.addresses["ops"].as_str().unwrap().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A collector that takes everything; what it was sent, a request a line.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<String>>>);

impl Collected {
    fn serve() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collected = Self::default();
        let inside = collected.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                inside.answer(stream.unwrap());
            }
        });
        (collected, url)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while reader.read_line(&mut head).unwrap() > 2 {
            let line = head.lines().last().unwrap().to_ascii_lowercase();
            if let Some(said) = line.strip_prefix("content-length:") {
                length = said.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        self.0.lock().unwrap().push(format!("{path} {}\n", String::from_utf8(body).unwrap()));
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                      content-length: 21\r\nconnection: close\r\n\r\n{\"partialSuccess\":{}}";
        stream.write_all(answer.as_bytes()).unwrap();
    }

    fn all(&self) -> String {
        self.0.lock().unwrap().concat()
    }
}

fn json_lines(name: &str, events: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nkind = \"json_lines\"\nfile = \"../{name}.jsonl\"\nevents = \"{events}\"\n"
    )
}

#[test]
fn what_an_office_does_is_told_as_the_published_schemas_and_definitions_have_it() {
    let (collected, url) = Collected::serve();
    let config = [
        json_lines("leaves", "leaf"),
        json_lines("older", "ocsf-1.8"),
        json_lines("newest", "ocsf-1.9"),
        format!("[[sinks]]\nname = \"traces\"\nkind = \"opentelemetry\"\nurl = \"{url}\"\n"),
    ];
    let office = Office::sending(&config.concat());
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    client.ask(1, "tools/call", &call("get_order", &json!({ "order_id": "A-1001" })));
    client.ask(2, "tools/call", &call("export_customers", &json!({})));
    drop(client);
    office.olivia().run(&["stop", "agent:support-bot", "--reason", "a drill"]).ends(0);

    let leaves = lines(&office.place, &office.node, "leaves.jsonl");
    let leaves: Vec<Value> =
        leaves.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let positions: Vec<_> = leaves.iter().map(|leaf| leaf["index"].as_u64().unwrap()).collect();
    assert_eq!(positions, (0..leaves.len() as u64).collect::<Vec<_>>(), "in order, once each");
    let kinds: BTreeSet<_> =
        leaves.iter().map(|leaf| leaf["leaf"]["kind"].as_str().unwrap()).collect();
    for kind in ["decision", "outcome", "token", "task", "governance", "stop", "start"] {
        assert!(kinds.contains(kind), "{kind} is not in {kinds:?}");
    }

    for file in ["older.jsonl", "newest.jsonl"] {
        let events = lines(&office.place, &office.node, file);
        let seen = read_by("check_ocsf.py", &events);
        let seen: u64 = seen.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(seen, events.lines().count() as u64);
        let first = events.lines().next().unwrap();
        for (whole, damaged) in [
            ("\"severity_id\":1", "\"severity_id\":42"),
            ("\"class_uid\":", "\"more\":"),
            ("\"raw_data\":\"{", "\"raw_data\":\"{ "),
        ] {
            let damaged = first.replacen(whole, damaged, 1);
            assert_ne!(damaged, first);
            assert!(!give("check_ocsf.py", &damaged).status.success(), "{whole} is looked at");
        }
        assert!(!events.contains("A-1001"), "no payload and no id of a resource leaves");
    }

    let hashes: BTreeSet<_> = leaves.iter().map(|leaf| leaf["hash"].as_str().unwrap()).collect();
    let read = || read_by("read_otlp.py", &collected.all());
    let has_all = |read: &Value| {
        let logs = read["logs"].as_array().unwrap();
        let told: BTreeSet<_> =
            logs.iter().map(|log| log["bailiwick.leaf.hash"].as_str().unwrap()).collect();
        hashes.is_subset(&told)
    };
    office.place.eventually("the collector has every entry", || has_all(&read()));
    let read = read();
    assert_eq!(read["resources"][0]["service.instance.id"], "acme/dev/1");
    let spans = read["spans"].as_array().unwrap();
    let [span] = &spans[..] else { panic!("one call was permitted: {spans:?}") };
    assert_eq!(span["name"], "tools/call get_order");
    assert_eq!((&span["kind"], &span["status"]), (&json!(3), &json!(1)));
    assert_eq!(span["gen_ai.tool.name"], "get_order");
    let permit = leaves.iter().find(|leaf| {
        leaf["leaf"]["verdict"] == "permit" && leaf["leaf"]["body"]["tool"] == "get_order"
    });
    let action = permit.unwrap()["leaf"]["action"].as_str().unwrap().replace('-', "");
    assert_eq!(span["trace"], action.as_str());
    let in_span = |log: &&Value| log["span"] == span["span"];
    let events: Vec<_> = read["logs"].as_array().unwrap().iter().filter(in_span).collect();
    let events: Vec<_> = events.iter().map(|log| log["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["bailiwick.decision", "bailiwick.outcome"]);
}

#[test]
fn entries_that_an_office_seldom_has_are_as_the_published_schemas_have_them_too() {
    let place = Place::new();
    let log = auditors::open(&place.path(""), 7);
    let said = [
        ("gap", json!({ "causes": ["no_space"], "from": 1, "n": 2, "to": 3 })),
        ("sink_gap", json!({ "first": 0, "n": 1, "sink": "siem" })),
        ("erasure", json!({ "keys": ["k"], "subject": "person/p1f" })),
        ("expiry", json!({ "class": "calls", "days": 400, "keys": ["k"], "until": 1 })),
        ("truncated", json!({ "kept": 1, "name": "acme.example/prod/1/r1" })),
        ("checkpoint_key", json!({ "former": "f", "key": "k" })),
        ("agent_end", json!({ "agent": "agent/bot", "entries": 1 })),
        ("parked", json!({ "code": "not_permitted", "refusals": 3, "tool": "t" })),
        ("unparked", json!({ "parkings": [] })),
        ("revoked", json!({ "links": [], "until": 1 })),
        ("lapsed", json!({ "code": "ledger_slow" })),
        ("input", json!({ "method": "elicitation/create" })),
        ("searched", json!({ "found": 1, "gone": 0, "opened": 2 })),
        ("resume", json!({ "order": "018bcfe5-6800-7001-8000-000000000001" })),
        ("task_end", json!({ "calls": 1, "entries": 2 })),
        ("some_day", json!({})),
    ];
    let mut events = String::new();
    for (number, (kind, body)) in said.iter().enumerate() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let mut draft = Draft::new(EntryId::compose(at, 1, number as u64), *kind, at);
        draft.body = Canonical::of(body).unwrap();
        let receipt = log.append(log.seal(draft).unwrap()).wait().unwrap();
        let entry = log.entry(receipt.index).unwrap().unwrap();
        for version in [OcsfVersion::V1_8, OcsfVersion::V1_9] {
            let event = Event { entry: &entry, origin: "acme.example/prod/1" };
            events += &String::from_utf8(event.line(Shape::Ocsf(version))).unwrap();
        }
    }
    let seen = read_by("check_ocsf.py", &events);
    assert_eq!(seen.as_object().unwrap().len(), 2 * said.len());
    assert_eq!(seen["1.9.0 2004 sink_gap"], 1, "the class of which 1.9 publishes its schema");
}

#[test]
fn a_node_that_is_killed_again_and_again_leaves_no_entry_out_of_a_sink() {
    let place = Place::initialized();
    place.configure(&json_lines("leaves", "leaf"));
    let mut size = 0;
    for _ in 0..5 {
        let node = place.serve();
        place.eventually("its start is recorded", || acknowledged(&node) > size);
        size = acknowledged(&node);
        // Killed, whatever it is doing with that.
        drop(node);
    }
    let node = place.serve();
    let text = lines(&place, &node, "leaves.jsonl");
    let mut seen = Vec::new();
    for line in text.lines() {
        // A line that was cut off comes again, whole.
        let Ok(leaf) = serde_json::from_str::<Value>(line) else { continue };
        let known = (leaf["index"].as_u64().unwrap(), leaf["hash"].as_str().unwrap().to_owned());
        if !seen.contains(&known) {
            seen.push(known);
        }
    }
    let positions: Vec<_> = seen.iter().map(|(index, _)| *index).collect();
    assert_eq!(positions, (0..acknowledged(&node)).collect::<Vec<_>>());
    assert!(positions.len() >= 5, "each start is told");
}

#[test]
fn a_dead_sink_refuses_no_call_and_is_told_by_metrics_and_doctor() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let sink = format!("[[sinks]]\nname = \"dead\"\nkind = \"opentelemetry\"\nurl = \"{url}\"\n");
    let office = Office::sending(&sink);
    office.open_task("task.token");
    let mut client = Client::of(&office);
    client.initialize();
    let answer = client.ask(1, "tools/call", &call("get_order", &json!({ "order_id": "A-1001" })));
    assert_eq!(answer["result"]["structuredContent"]["item"], "Desk lamp", "{answer}");
    assert_eq!(office.calls("get_order"), ["finished"]);
    let lag = "bailiwick_sink_lag_entries{sink=\"dead\"}";
    assert_eq!(metric(&office.node, lag), Some(acknowledged(&office.node)));
    office.place.eventually("its failure is known", || {
        metric(&office.node, "bailiwick_sink_failing{sink=\"dead\"}") == Some(1)
    });
    // The node says where it listens; its configuration leaves that to the system.
    let address = office.node.addresses["ops"].as_str().unwrap().strip_prefix("http://").unwrap();
    let listen = format!("ops.listen={address}");
    let doctor = ["doctor", "--config", "acme/bailiwick.toml", "--set", &listen, "-o", "json"];
    let said = office.olivia().run(&doctor).json();
    let checks = said["checks"].as_array().unwrap();
    let sink = checks.iter().find(|check| check["check"] == "sinks").unwrap();
    assert_eq!(sink["state"], "warn", "{sink}");
    assert!(sink["says"].as_str().unwrap().contains("it did not answer"), "{sink}");
}

/// A real syslog server; it ends with its test.
struct Rsyslog(Child);

impl Rsyslog {
    /// Serves TLS at a port that is free just now, and writes what comes into `syslog.out`.
    fn serve(place: &Place, port: u16) -> Self {
        let home = installed("rsyslog");
        let libraries = home.join("usr/lib/x86_64-linux-gnu");
        let path = |name: &str| place.path(name).display().to_string();
        let config = format!(
            r#"global(
  workDirectory="{work}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}"
)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" port="{port}" address="127.0.0.1" supportOctetCountedFraming="on" maxFrameSize="200000")
template(name="whole" type="string" string="%pri% %timestamp:::date-rfc3339% %hostname% %app-name% %msgid% %msg%\n")
action(type="omfile" file="{out}" template="whole")
"#,
            work = path(""),
            ca = path("ca.pem"),
            cert = path("server.pem"),
            key = path("server.key"),
            out = path("syslog.out"),
        );
        place.write("rsyslog.conf", &config);
        let mut command = place.program(home.join("usr/sbin/rsyslogd"));
        command.args(["-n", "-f", &path("rsyslog.conf"), "-i", &path("rsyslog.pid")]);
        command.arg("-M").arg(libraries.join("rsyslog")).env("LD_LIBRARY_PATH", &libraries);
        let errors = std::fs::File::create(place.path("rsyslog.err")).unwrap();
        command.stdin(Stdio::null()).stdout(errors.try_clone().unwrap()).stderr(errors);
        let child = command.spawn().unwrap();
        place.eventually("rsyslog listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self(child)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority, and a certificate of it for `localhost`.
fn certificates(place: &Place) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let pem = |label: &str, bytes: &[u8]| {
        let text = STANDARD.encode(bytes);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    place.write("ca.pem", &pem("CERTIFICATE", authority.der()));
    place.write("server.pem", &pem("CERTIFICATE", server.der()));
    place.write("server.key", &pem("PRIVATE KEY", &key.serialize_der()));
}

#[test]
fn a_real_syslog_server_reads_every_entry_over_tls_also_after_it_was_killed() {
    let place = Place::initialized();
    certificates(&place);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    place.configure(&format!(
        "[[sinks]]\nname = \"syslog\"\nkind = \"syslog\"\nurl = \"tls://localhost:{port}\"\n"
    ));
    let rsyslog = Rsyslog::serve(&place, port);
    let roots = place.path("ca.pem");
    let node = place.serve_with(&[("SSL_CERT_FILE", roots.as_os_str())]);
    let told = || {
        let text = std::fs::read_to_string(place.path("syslog.out")).unwrap_or_default();
        let event = |line: &str| -> Value {
            let (head, event) = line.split_once('{').unwrap();
            let head: Vec<_> = head.split_whitespace().collect();
            assert_eq!(head[2..4], ["1.dev.acme", "bailiwick"], "{line}");
            serde_json::from_str(&format!("{{{event}")).unwrap()
        };
        text.lines().map(event).collect::<Vec<_>>()
    };
    let has_all = || {
        let told: BTreeSet<_> =
            told().iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
        told == (0..acknowledged(&node)).collect()
    };
    place.eventually("rsyslog has every entry", has_all);
    drop(rsyslog);
    place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
    let before = told().len();
    place.eventually("the sink is known to be dead", || {
        metric(&node, "bailiwick_sink_failing{sink=\"syslog\"}") == Some(1)
    });
    let _rsyslog = Rsyslog::serve(&place, port);
    place.eventually("rsyslog has what it missed", has_all);
    assert!(told().len() > before);
    let events: String = told().iter().map(|event| format!("{event}\n")).collect();
    read_by("check_ocsf.py", &events);
}

#[test]
fn a_sink_that_would_use_what_is_the_nodes_own_keeps_the_node_from_starting() {
    let place = Place::initialized();
    let lines = |file: &str| json_lines("bad", "leaf").replace("../bad.jsonl", file);
    let token = |file: &str| {
        let sink = "[[sinks]]\nname = \"bad\"\nkind = \"http_event_collector\"";
        format!("{sink}\nurl = \"https://siem.example\"\ntoken = \"file:{file}\"\n")
    };
    let config = std::fs::read_to_string(place.path("acme/bailiwick.toml")).unwrap();
    for sink in [
        lines("data/ledger/more"),
        lines("data/x.jsonl"),
        lines("master.key"),
        token("master.key"),
        token("data/keys/token.key"),
    ] {
        place.configure(&sink);
        let said = place.run(["serve", "--config", "acme/bailiwick.toml"]);
        assert!(said.status != 0 && said.stderr.contains("what is its own"), "{sink}: {said:?}");
        place.write("acme/bailiwick.toml", &config);
    }
}
