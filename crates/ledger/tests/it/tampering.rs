//! The table *Tampering* of SECURITY.md: what notices that a file of a node's ledger is not what it was. Write-ahead log and
//! running node are in `crash.rs` and `displaced.rs`, packs in `tamper.rs`, which knows every bit of them.

use std::fs;

use ledger::{TlogPolicy, verify};
use model::Timestamp;

use super::{tamper::findings, *};

/// One ledger, how it was before, and another one under the same key.
struct Scene {
    place: tempfile::TempDir,
    key: String,
}

/// A log of so many entries from a number on, in a folder of its own; it may be there already.
fn grown(place: &Path, numbers: std::ops::Range<u64>) -> String {
    let log = open(place);
    let seal = |number: u64| {
        let mut draft = draft(number);
        draft.payload = number.is_multiple_of(10).then(|| format!("secret {number}").into_bytes());
        log.seal(draft).unwrap()
    };
    let under_way: Vec<_> = numbers.map(|number| log.append(seal(number))).collect();
    assert!(under_way.into_iter().all(|appending| appending.wait().is_ok()));
    log.close().unwrap();
    log.verifier_key()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        grown(&at("now"), 0..560);
        copy(&at("now"), &at("old"));
        let key = grown(&at("now"), 560..600);
        grown(&at("fork"), 1000..1650);
        Self { place, key }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    /// A head that an auditor kept.
    fn kept(&self) -> Vec<u8> {
        fs::read(self.at("now/log/checkpoint")).unwrap()
    }

    /// Who notices what was done to a copy of the ledger: `start-up`, `verify`, or `verify` with a head that was kept only.
    fn noticed_by(&self, tamper: &dyn Fn(&Self, &Path)) -> String {
        let copied = tempfile::tempdir().unwrap();
        let place = copied.path();
        copy(&self.at("now"), place);
        tamper(self, place);
        let check = |older: &[&[u8]]| {
            verify::log(&place.join("log"), &self.key, older, Some(&subject_keys())).is_clean()
        };
        let (clean, clean_with) = (check(&[]), check(&[&self.kept()]));
        let opens = Log::open(config(place), keys()).is_ok();
        let mut by = Vec::new();
        by.extend((!opens).then_some("start-up"));
        by.extend((!clean).then_some("verify"));
        by.extend((clean && !clean_with).then_some("older head"));
        if by.is_empty() { "nothing".to_owned() } else { by.join(", ") }
    }
}

/// Does something with the bytes of a file below the copy.
fn edit(place: &Path, file: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let path = place.join(file);
    let mut bytes = fs::read(&path).unwrap();
    edit(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(place: &Path, file: &str) {
    edit(place, file, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

fn swap(place: &Path, one: &str, two: &str) {
    let [one, two] = [one, two].map(|file| place.join(file));
    let bytes = fs::read(&one).unwrap();
    fs::copy(&two, &one).unwrap();
    fs::write(two, bytes).unwrap();
}

/// Puts part of another copy in place.
fn bring(scene: &Scene, from: &str, place: &Path, part: &str) {
    let target = place.join(part);
    let source = scene.at(from).join(part);
    if source.is_dir() {
        fs::remove_dir_all(&target).unwrap();
        copy(&source, &target);
    } else {
        fs::copy(source, target).unwrap();
    }
}

type Way = (&'static str, Box<dyn Fn(&Scene, &Path)>);

/// What is done to one class of files.
fn ways() -> Vec<(&'static str, Vec<Way>)> {
    fn flipped(file: &'static str) -> Way {
        ("flip", Box::new(move |_, place| flip(place, file)))
    }
    fn removed(file: &'static str) -> Way {
        ("remove", Box::new(move |_, place| fs::remove_file(place.join(file)).unwrap()))
    }
    fn cut(file: &'static str) -> Way {
        let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
        ("cut", Box::new(move |_, place| edit(place, file, half)))
    }
    fn swapped(one: &'static str, two: &'static str) -> Way {
        ("swap", Box::new(move |_, place| swap(place, one, two)))
    }
    fn brought(way: &'static str, from: &'static str, parts: &'static [&'static str]) -> Way {
        let all = move |scene: &Scene, place: &Path| {
            parts.iter().for_each(|part| bring(scene, from, place, part));
        };
        (way, Box::new(all))
    }
    let three = |file| [flipped(file), removed(file), cut(file)];
    let (bundle, tile, head) = ("log/tile/entries/000", "log/tile/0/000", "log/checkpoint");
    let (upper, payload) = ("log/tile/1/000.p/2", "log/payload/000");
    let with = |file, more: Vec<Way>| three(file).into_iter().chain(more).collect();
    vec![
        (
            "entry bundle",
            with(
                bundle,
                vec![
                    swapped(bundle, "log/tile/entries/001"),
                    brought("of a fork", "fork", &["log/tile/entries/000"]),
                ],
            ),
        ),
        (
            "tile",
            with(
                tile,
                vec![
                    swapped(tile, "log/tile/0/001"),
                    brought("of a fork", "fork", &["log/tile/0/000"]),
                ],
            ),
        ),
        ("upper tile", with(upper, vec![swapped(upper, "log/tile/0/002.p/88")])),
        ("sealed payloads", with(payload, vec![swapped(payload, "log/payload/001")])),
        ("signed head", with(head, vec![brought("of a fork", "fork", &["log/checkpoint"])])),
        ("signed head", vec![brought("old copy", "old", &["log/checkpoint"])]),
        ("remembered head", with("lock/head", vec![brought("old copy", "old", &["lock/head"])])),
        (
            "whole ledger",
            vec![brought("old copy", "old", &["log"]), brought("of a fork", "fork", &["log"])],
        ),
        (
            "whole ledger and remembered head",
            vec![
                brought("old copies", "old", &["log", "lock"]),
                brought("signed anew with the real key", "fork", &["log", "lock"]),
            ],
        ),
    ]
}

#[test]
fn what_notices_each_way_of_tampering_is_what_the_table_says() {
    let security = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SECURITY.md");
    let security = fs::read_to_string(security).unwrap();
    let scene = Scene::new();
    assert_eq!(scene.noticed_by(&|_, _| ()), "nothing", "it is whole");
    for (class, ways) in ways() {
        let names: Vec<&str> = ways.iter().map(|(way, _)| *way).collect();
        for (way, tamper) in &ways {
            let row =
                format!("| {class} | {} | {} |", names.join(", "), scene.noticed_by(&**tamper));
            assert!(
                security.contains(&row),
                "by `{way}`: SECURITY.md does not have the row\n{row}"
            );
        }
    }
}

#[test]
fn a_history_that_was_signed_anew_shows_only_against_heads_that_others_hold_and_the_report_says_so()
{
    let scene = Scene::new();
    let fork = scene.at("fork/log");
    let (kept, key) = (scene.kept(), scene.key.parse().unwrap());
    let report = verify::log(&fork, &scene.key, &[], Some(&subject_keys()));
    assert!(report.is_clean(), "{:?}", findings(&report));
    let unsaid = "does not say: that this is the history that others were shown: whoever has the log's key can sign another one";
    assert!(report.to_string().contains(unsaid), "{report}");

    // An auditor kept a head.
    let report = verify::log(&fork, &scene.key, &[&kept], Some(&subject_keys()));
    assert_eq!(
        findings(&report),
        ["integrity: older checkpoint 0: the first 600 entries are others than it covers"]
    );
    // A witness cosigned the history that was, and no other.
    let witness = CheckpointKey::from_seed(&[11; 32]);
    let public = witness.witness("w.example").unwrap();
    let policy = TlogPolicy::parse(format!("witness w {public}\nquorum w\n").as_bytes()).unwrap();
    let at = Timestamp::from_seconds(900);
    let ask = |dir: &Path| {
        let mut report = verify::log(dir, &scene.key, &[], Some(&subject_keys()));
        report.ask_for_witnesses(&key, &policy, at);
        report
    };
    let line = witness.cosign(&kept, &public, at).unwrap();
    let cosigned = [&kept[..], line.as_bytes()].concat();
    fs::write(scene.at("now/log/checkpoint"), &cosigned).unwrap();
    assert!(ask(&scene.at("now/log")).is_clean());
    assert!(findings(&ask(&fork))[0].contains("no head is witnessed as the policy wants it"));

    // Of what they hold, the report does not say the same again; of what came since, it does.
    let told =
        |older: &[&[u8]]| verify::log(&scene.at("now/log"), &scene.key, older, None).to_string();
    let old = fs::read(scene.at("old/log/checkpoint")).unwrap();
    assert!(!told(&[&kept]).contains("can sign another one"));
    assert!(told(&[&old]).contains("the history from entry 560 on that others were shown"));
}

#[test]
fn a_checkpoint_key_that_was_exchanged_is_noticed_at_the_start() {
    let scene = Scene::new();
    let others = || Keys { checkpoint: CheckpointKey::from_seed(&[9; 32]), ..keys() };
    let refused = Log::open(config(&scene.at("now")), others()).err();
    assert!(matches!(refused, Some(OpenError::Note { .. })), "{refused:?}");
}
