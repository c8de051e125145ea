//! Timestamps of heads, by an authority that OpenSSL makes and checks.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use crate::world::{Node, Place};

/// What the authority does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Stamps,
    StampsSomethingElse,
    AnswersAnotherRequest,
    Rejects,
    SaysGarbage,
    SaysTooMuch,
    Redirects,
    Fails,
    SaysAnotherType,
}

const CONFIG: &str = "\
[tsa]
default_tsa = one
[one]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = DIGESTS
accuracy = secs:1
[usage]
extendedKeyUsage = critical,timeStamping
";

/// An authority in a folder of its own, behind HTTP; it ends with its test.
struct Authority {
    folder: PathBuf,
    url: String,
    does: Arc<Mutex<Does>>,
}

fn openssl(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.args(words).current_dir(folder).output().unwrap()
}

fn done(folder: &Path, words: &[&str]) {
    let ran = openssl(folder, words);
    assert!(ran.status.success(), "{words:?}: {ran:?}");
}

impl Authority {
    fn new(place: &Place) -> Self {
        let folder = place.path("authority");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("tsa.cnf"), CONFIG.replace("DIGESTS", "sha256")).unwrap();
        std::fs::write(folder.join("strict.cnf"), CONFIG.replace("DIGESTS", "sha512")).unwrap();
        std::fs::write(folder.join("serial"), "01\n").unwrap();
        let new = ["req", "-newkey", "rsa:2048", "-nodes", "-batch"];
        let ca = ["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "9"];
        done(&folder, &[&new[..], &ca].concat());
        let tsa = ["-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa"];
        done(&folder, &[&new[..], &tsa].concat());
        let sign = "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -out tsa.pem -extfile tsa.cnf -extensions usage";
        done(&folder, &sign.split(' ').collect::<Vec<_>>());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tsa", listener.local_addr().unwrap());
        let does = Arc::new(Mutex::new(Does::Stamps));
        let served = Self { folder, url, does };
        let (folder, does) = (served.folder.clone(), served.does.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let does = *does.lock().unwrap();
                answer(stream.unwrap(), &folder, does);
            }
        });
        served
    }

    fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }
}

/// Answers one request of RFC 3161, section 3.4.
fn answer(mut stream: TcpStream, folder: &Path, does: Does) {
    let mut reader = BufReader::new(&mut stream);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        head += &std::mem::take(&mut line).to_ascii_lowercase();
    }
    assert!(head.starts_with("post /tsa http/1.1"), "{head}");
    assert!(head.contains("content-type: application/timestamp-query"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut query = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut query).unwrap();
    let (status, kind, body) = response(folder, does, &query);
    let more = if does == Does::Redirects { "location: /elsewhere\r\n" } else { "" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{more}\r\n"
    );
    // Whoever has read enough may be gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

fn response(folder: &Path, does: Does, query: &[u8]) -> (u16, &'static str, Vec<u8>) {
    let reply = "application/timestamp-reply";
    std::fs::write(folder.join("query"), query).unwrap();
    let make = |digest: &str| {
        let words = ["ts", "-query", "-sha256", "-cert", "-digest", digest, "-out", "query"];
        done(folder, &words);
    };
    match does {
        Does::StampsSomethingElse => make(&"07".repeat(32)),
        Does::AnswersAnotherRequest => {
            let imprint: String = query[24..56].iter().map(|byte| format!("{byte:02x}")).collect();
            make(&imprint);
        }
        _ => {}
    }
    let config = if does == Does::Rejects { "strict.cnf" } else { "tsa.cnf" };
    let words = ["ts", "-reply", "-queryfile", "query", "-config", config, "-out", "reply"];
    done(folder, &words);
    let honest = std::fs::read(folder.join("reply")).unwrap();
    match does {
        Does::SaysGarbage => (200, reply, b"garbage".to_vec()),
        Does::SaysTooMuch => (200, reply, vec![0x30; 64 * 1024 + 1]),
        Does::Redirects => (302, reply, honest),
        Does::Fails => (503, reply, honest),
        Does::SaysAnotherType => (200, "text/html", honest),
        _ => (200, reply, honest),
    }
}

/// An installation whose heads are stamped by an authority.
fn stamped() -> (Place, Authority) {
    let place = Place::initialized();
    let authority = Authority::new(&place);
    place.configure(&format!("[ledger]\ntimestamps = \"{}\"", authority.url));
    (place, authority)
}

fn stop(node: Node) {
    assert_eq!(node.stop(), 0);
}

fn logged(place: &Place, text: &str) -> bool {
    std::fs::read_to_string(place.path("node.log")).is_ok_and(|log| log.contains(text))
}

fn kept(place: &Place) -> Vec<u64> {
    ledger::stamped_sizes(&place.path("acme/data/ledger")).unwrap()
}

#[test]
fn a_pack_holds_a_stamped_head_that_openssl_verifies_and_says_what_it_does_not_cover() {
    let (place, authority) = stamped();
    let config = ["--config", "acme/bailiwick.toml"];
    let doctor = || place.run(["doctor"].into_iter().chain(config));
    doctor().says("is named, and no head is stamped");
    let node = place.serve();
    place.eventually("a head is stamped", || !kept(&place).is_empty());
    place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
    stop(node);
    doctor().says("entries is stamped, ");

    place.run(["ledger", "export", "--out", "pack"].into_iter().chain(config)).ends(0);
    let key = place.run(["ledger", "key"].into_iter().chain(config)).ends(0).stdout;
    let verify = || place.run(["verify", "pack", "--key", key.trim(), "-o", "json"]);
    let report = verify().ends(0).json();
    let (size, stamped) = (report["size"].as_u64().unwrap(), &report["stamped"][0]);
    assert_eq!(stamped["size"].as_u64(), kept(&place).last().copied(), "{report}");
    assert_eq!(report["unanchored"]["to"], size - 1, "{report}");

    // What it says has to be checked elsewhere is checked so.
    let says = report["does_not_say"].as_array().unwrap();
    let command = says
        .iter()
        .find_map(|line| line.as_str()?.split('`').find(|it| it.starts_with("openssl ")));
    let command = command.unwrap().replace("CERTIFICATE", "../authority/ca.pem");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let checked = openssl(&place.path("pack"), &words);
    assert!(checked.status.success(), "{checked:?}");
    let head = place.path("pack").join(stamped["file"].as_str().unwrap());
    let flip = |file: &Path, at: usize| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[at] ^= 1;
        std::fs::write(file, &bytes).unwrap();
    };
    let token = head.with_extension("tsr");
    let signature = std::fs::read(&token).unwrap().len() - 9;
    flip(&token, signature);
    assert!(!openssl(&place.path("pack"), &words).status.success());
    verify().ends(0);
    flip(&token, signature);
    flip(&head, 3);
    assert!(!openssl(&place.path("pack"), &words).status.success());
    verify().ends(3).says("it is a timestamp of something else");

    // The next run stamps what came since, and only that.
    let node = place.serve();
    place.eventually("the newest head is stamped", || kept(&place).len() == 2);
    stop(node);
    drop(authority);
}

#[test]
fn what_is_no_timestamp_of_the_head_is_not_kept_and_holds_nothing_up() {
    let (place, authority) = stamped();
    for (does, why) in [
        (Does::StampsSomethingElse, "it is a timestamp of something else"),
        (Does::AnswersAnotherRequest, "its nonce is not the one that was sent"),
        (Does::Rejects, "the authority gave no timestamp: status 2"),
        (Does::SaysGarbage, "it is no timestamp response"),
        (Does::SaysTooMuch, "longer than 65536 bytes"),
        (Does::Redirects, "redirect"),
        (Does::Fails, "status 503"),
        (Does::SaysAnotherType, "the answer is not `application/timestamp-reply`"),
    ] {
        authority.now(does);
        let node = place.serve();
        place.eventually(&format!("{does:?} is told"), || {
            logged(&place, "BW-1711") && logged(&place, why)
        });
        stop(node);
        assert_eq!(kept(&place), [0_u64; 0], "{does:?}");
    }
    // Nor does one that is not there, while the node works.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = std::fs::read_to_string(place.path("acme/bailiwick.toml")).unwrap();
    let there = authority.url.strip_prefix("http://").unwrap();
    place.write("acme/bailiwick.toml", &config.replace(there, &format!("{nobody}/tsa")));
    let node = place.serve();
    place.somebody("olivia").enroll(node.code.as_ref().unwrap()).ends(0);
    place.eventually("it is told", || logged(&place, "BW-1711"));
    stop(node);
}

#[test]
fn an_authority_that_cannot_be_asked_is_refused_at_the_start() {
    let place = Place::initialized();
    place.configure("[ledger]\ntimestamps = \"ftp://tsa.example\"");
    let serve = ["serve", "--config", "acme/bailiwick.toml"];
    place.run(serve).ends(1).says("no timestamp can be asked for");
    place
        .run(serve.into_iter().chain(["--set", "ledger.timestamp_minutes=0"]))
        .says("from 1 to 10080");
}
