//! What a tool call does: two expressions, a tool's definition and a call's arguments, a line each.
#![no_main]

use decide::{Effect, Mapping, ToolRecord, compile, sha256};
use fuzz::{json, lines};
use libfuzzer_sys::fuzz_target;
use model::{Pattern, Verb, ijson::Json};

fuzz_target!(|data: &[u8]| {
    let Some([id, amount, definition, arguments]) = lines(data) else { return };
    let record = ToolRecord {
        server: "desk".parse().unwrap(),
        name: "refund".to_owned(),
        definition: definition.to_owned(),
        digest: sha256(&[definition.as_bytes()]),
        mapping: None,
        accepted_by: None,
        former: None,
        gone: false,
    };
    let effect = Effect {
        verb: Verb::Pay,
        resource: "Refund".to_owned(),
        id: id.to_owned(),
        amount: (!amount.is_empty()).then(|| amount.to_owned()),
        currency: (!amount.is_empty()).then(|| "'EUR'".to_owned()),
        classes: None,
    };
    let mapping = Mapping { effects: vec![effect], ..Mapping::default() };
    let Ok(tool) = compile(&record, &mapping, &[]) else { return };
    let Some(arguments @ Json::Object(_)) = json(arguments.as_bytes()) else { return };
    let Ok(pairs) = tool.resolve(&arguments) else { return };
    let [pair] = &pairs[..] else { panic!("one effect, one pair") };
    assert_eq!(
        (pair.verb, pair.resource.system().as_str(), pair.resource.kind()),
        (Verb::Pay, "desk", "Refund")
    );
    assert_eq!(pair.amount.is_some(), !amount.is_empty());
    let exactly: Pattern = pair.resource.to_string().parse().expect("an id can be granted");
    assert!(exactly.covers(&pair.resource));
    let again = json(&arguments.canonical()).expect("it is I-JSON");
    assert_eq!(tool.resolve(&again).as_ref(), Ok(&pairs));
});
