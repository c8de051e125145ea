use std::ffi::OsString;

use super::*;

const WHOLE: &str =
    "[realm]\norg = \"acme\"\nenvironment = \"prod\"\n[data]\nmaster_key = \"file:m.key\"\n";

fn read(text: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bailiwick.toml");
    std::fs::write(&file, text).unwrap();
    let environment =
        environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
    Config::of(&Settings::read(&file, environment, &flags)?, Path::new("/base"))
}

#[test]
fn a_small_file_and_defaults_make_a_whole_configuration() {
    let config = read(WHOLE, &[], &[]).unwrap();
    assert_eq!(config.realm.node, 1);
    assert_eq!(config.data, Path::new("/base/data"));
    assert_eq!(config.database.to_string(), "sqlite:/base/data/bailiwick.sqlite");
    assert_eq!(config.master_key.to_string(), "file:/base/m.key");
    assert_eq!(config.server.url(config.server.address), "http://127.0.0.1:8180");
}

#[test]
fn flags_win_over_the_environment_which_wins_over_files() {
    let environment =
        [("BAILIWICK__SERVER__LISTEN", "127.0.0.1:1"), ("BAILIWICK__REALM__NODE", "7")];
    let config = read(WHOLE, &environment, &["server.listen=127.0.0.1:2"]).unwrap();
    assert_eq!(config.server.address.port(), 2);
    assert_eq!(config.realm.node, 7);
}

#[test]
fn a_drop_in_wins_over_the_file_beside_it_and_the_last_drop_in_wins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bailiwick.toml");
    let drop_ins = folder.path().join("bailiwick.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(&file, WHOLE).unwrap();
    std::fs::write(drop_ins.join("20-b.toml"), "[realm]\nnode = 3").unwrap();
    std::fs::write(drop_ins.join("10-a.toml"), "[realm]\nnode = 2").unwrap();
    std::fs::write(drop_ins.join("ignored.txt"), "nonsense").unwrap();
    let settings = Settings::read(&file, std::iter::empty(), &[]).unwrap();
    assert_eq!(Config::of(&settings, Path::new("/")).unwrap().realm.node, 3);
    let node = KEYS.iter().find(|key| key.name == "node").unwrap();
    assert!(settings.explain(node).unwrap().1.ends_with("20-b.toml:2"));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    let refused = read(&format!("{WHOLE}[server]\nlistn = \"x\""), &[], &[]).unwrap_err();
    assert_eq!(refused.what, "unknown key `listn` in [server]; did you mean `listen`?");
    assert!(refused.text().contains("bailiwick.toml:7"), "{}", refused.text());
    let refused = read(&format!("{WHOLE}[gatway]\n"), &[], &[]).unwrap_err();
    assert_eq!(refused.what, "unknown section [gatway]; did you mean [gateway]?");
    let refused = read(WHOLE, &[("BAILIWICK__DATA__DRI", "x")], &[]).unwrap_err();
    assert_eq!(refused.what, "unknown key `dri` in [data]; did you mean `dir`?");
    assert!(refused.text().contains("BAILIWICK__DATA__DRI"), "{}", refused.text());
    let refused = read(WHOLE, &[], &["realm.nod=1"]).unwrap_err();
    assert_eq!(refused.what, "unknown key `nod` in [realm]; did you mean `node`?");
}

#[test]
fn values_that_cannot_be_meant_are_refused_where_they_stand() {
    for (line, word) in [
        ("[server]\nlisten = \"here\"", "server.listen"),
        ("[server]\npublic_url = \"ftp://x\"", "server.public_url"),
        ("[server]\npublic_url = \"https://x/\"", "server.public_url"),
        ("[ledger]\nsegment_mib = 1", "ledger.segment_mib"),
        ("[server]\nlisten = true", "server.listen"),
        ("[retention]\ncalls = 0", "retention.calls"),
        ("[retention]\nprompts = \"6 months\"", "retention.prompts"),
        ("[retention]\ncall = 400", "calls"),
        ("[data]\nmaster_key = \"s3cret\"", "data"),
    ] {
        let text = if line.contains("master_key") {
            WHOLE.replace("file:m.key", "s3cret")
        } else {
            format!("{WHOLE}{line}")
        };
        let refused = read(&text, &[], &[]).unwrap_err();
        assert!(refused.text().contains(word), "{}", refused.text());
    }
    let missing = read("[realm]\norg = \"acme\"", &[], &[]).unwrap_err();
    assert!(missing.what.contains("is not set"), "{}", missing.what);
}

#[test]
fn a_public_url_follows_a_port_that_the_system_chose() {
    let bound = "127.0.0.1:4711".parse().unwrap();
    let url = |listen: &str, public: &str| {
        let public_url = Some(public).filter(|url| !url.is_empty()).map(|url| url.parse().unwrap());
        Listen { address: listen.parse().unwrap(), public_url }.url(bound)
    };
    assert_eq!(url("127.0.0.1:0", ""), "http://127.0.0.1:4711");
    assert_eq!(url("127.0.0.1:0", "https://id.example:8180/a"), "https://id.example:4711/a");
    assert_eq!(url("127.0.0.1:4711", "https://id.example"), "https://id.example");
}

#[test]
fn payloads_are_kept_for_longer_than_six_months_and_governance_always_when_nobody_says() {
    let kept = |text: &str| read(text, &[], &[]).unwrap().retention;
    let retention = kept(WHOLE);
    for days in [retention.calls, retention.prompts, retention.approvals] {
        assert!(days.is_some_and(|days| days > 184), "{retention:?}");
    }
    assert_eq!(retention.governance, None);
    let said = kept(&format!("{WHOLE}[retention]\ncalls = \"always\"\ngovernance = 3650"));
    assert_eq!((said.calls, said.governance), (None, Some(3650)));
}

const SINKS: &str = r#"
[[sinks]]
name = "archive"
kind = "json_lines"
file = "out.jsonl"
events = "leaf"

[[sinks]]
name = "siem"
kind = "http_event_collector"
url = "https://siem.example:8088"
token = "file:hec"
keep_days = 30

[[sinks]]
name = "traces"
kind = "opentelemetry"
url = "http://127.0.0.1:4318"

[[sinks]]
name = "logs"
kind = "syslog"
url = "tls://logs.example"
events = "ocsf-1.8"
"#;

#[test]
fn sinks_are_read_with_their_places_below_the_configuration() {
    let sinks = read(&[WHOLE, SINKS].concat(), &[], &[]).unwrap().sinks;
    let names: Vec<_> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["archive", "siem", "traces", "logs"]);
    assert_eq!(sinks[1].bound.days, Some(30));
    let SinkTo::JsonLines { file, shape: insight::Shape::Leaf } = &sinks[0].to else { panic!() };
    assert_eq!(file, Path::new("/base/out.jsonl"));
    let SinkTo::Collector { token, .. } = &sinks[1].to else { panic!() };
    assert_eq!(token.to_string(), "file:/base/hec");
    let SinkTo::Syslog { url, .. } = &sinks[3].to else { panic!() };
    assert_eq!(url, "https://logs.example:6514");
}

#[test]
fn a_sink_that_cannot_be_meant_is_refused_and_no_secret_is_told() {
    for (from, to, word) in [
        ("\"siem\"", "\"archive\"", "two sinks are called `archive`"),
        ("token = \"file:hec\"", "token = \"s3cret\"", "`token` of the sink `siem`"),
        ("token = \"file:hec\"", "", "the sink `siem` has no `token`"),
        ("file = \"out.jsonl\"", "", "the sink `archive` has no `file`"),
        ("events = \"leaf\"", "url = \"x\"", "`url` of the sink `archive`"),
        ("events = \"leaf\"", "tokn = \"x\"", "did you mean `token`"),
        ("events = \"leaf\"", "events = \"ocsf-2\"", "ocsf-2"),
        ("keep_days = 30", "keep_days = 0", "`keep_entries` of the sink `siem`"),
        ("kind = \"syslog\"", "kind = \"smtp\"", "smtp"),
        ("tls://logs.example", "udp://logs.example", "`url` of the sink `logs`"),
        ("tls://logs.example", "tls://logs.example/x", "`url` of the sink `logs`"),
        (
            "kind = \"opentelemetry\"",
            "kind = \"opentelemetry\"\nevents = \"leaf\"",
            "`events` of the sink `traces`",
        ),
    ] {
        let changed = SINKS.replacen(from, to, 1);
        assert_ne!(changed, SINKS);
        let refused = read(&[WHOLE, &changed].concat(), &[], &[]).unwrap_err();
        assert!(refused.text().contains(word), "{word}: {}", refused.text());
        assert!(!refused.text().contains("s3cret"), "{}", refused.text());
    }
}
