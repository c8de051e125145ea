//! Requests of both eras, put together from sound and unsound parts. Where all parts are sound the call goes through, and where
//! one is not nothing does.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gateway::envelope::Era;
use proptest::{prelude::*, sample::select};

use crate::house::META;

/// One request, as text.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) era: Era,
    pub(super) headers: Vec<(String, String)>,
    pub(super) session: Whose,
    pub(super) body: String,
    /// Whether it asks to be told of progress.
    pub(super) progress: bool,
    /// Whether it is a call that may be made.
    pub(super) sound: bool,
}

/// In whose session it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Nobodys,
    Own,
    Others,
    Unknown,
}

impl Whose {
    fn is_usable(self) -> bool {
        matches!(self, Self::Nobodys | Self::Own)
    }
}

/// A piece of a request, and whether a request with it may pass.
type Part = (String, bool);

/// One of the sound pieces, and now and then one of the others.
fn part(sound: &'static [&'static str], unsound: &'static [&'static str]) -> BoxedStrategy<Part> {
    let sound = select(sound).prop_map(|text| (text.to_owned(), true));
    if unsound.is_empty() {
        return sound.boxed();
    }
    let unsound = select(unsound).prop_map(|text| (text.to_owned(), false));
    prop_oneof![14 => sound, 1 => unsound].boxed()
}

/// A tool's name in JSON.
fn tool() -> BoxedStrategy<Part> {
    part(
        &[
            "get_order",
            "refund",
            "find",
            "get_order",
            r"get\u005forder",
            r"\u0072efund",
            r"\u0066\u0069\u006e\u0064",
        ],
        &[
            "Get_order",
            "GET_ORDER",
            "get_order ",
            " get_order",
            "get-order",
            r"get_order\u0000",
            r"get_order\n",
            r"\u200bget_order",
            "get\u{200b}_order",
            "g\u{435}t_order",
            "\u{ff52}efund",
            "refun\u{217e}",
            "f\u{131}nd",
            "erase",
            "export",
            "draft",
            "nothing",
            "desk/refund",
            "mcp:resources/read",
            "",
        ],
    )
}

/// An order's id in JSON.
fn order() -> BoxedStrategy<Part> {
    let long = (1_usize..=256).prop_map(|length| (format!("\"{}\"", "x".repeat(length)), true));
    let longer =
        (257_usize..100_000).prop_map(|length| (format!("\"{}\"", "x".repeat(length)), false));
    let plain = part(
        &[
            r#""A-1""#,
            r#""\u0041-1""#,
            r#""A\u002d1""#,
            r#""\u00c4 1""#,
            r#""<script>""#,
            r#""\"},\"name\":\"refund""#,
            "\"\u{65e5}\u{672c}\"",
            r#""a\/b""#,
        ],
        &[
            r#""../x""#,
            r#""%41""#,
            r#""*""#,
            r#""a//b""#,
            r#""A\u0308""#,
            r#""A\u0000""#,
            r#""A\n1""#,
            r#""\ud800""#,
            "\"\u{1}\"",
            r#""""#,
            "7",
            "null",
            "[\"A-1\"]",
            r#"{"order":"A-1"}"#,
        ],
    );
    prop_oneof![12 => plain, 1 => long, 1 => longer].boxed()
}

/// An amount in JSON: all of the sound ones are at most 100.00.
fn amount() -> BoxedStrategy<Part> {
    part(
        &["0", "1", "100", "1e2", "100.0", "10000e-2", "-0", "0.0", "9999"],
        &[
            "-1",
            "40.5",
            "1e-1",
            "9007199254740992",
            "9007199254740993",
            "-9007199254740993",
            "18446744073709551616",
            "1e400",
            "\"100\"",
            "null",
            "0x10",
            "01",
            "+1",
            "NaN",
            "[]",
        ],
    )
}

/// What stands beside the arguments that a tool knows.
fn beside() -> BoxedStrategy<Part> {
    let nested = format!(r#","x":{}{}"#, "[".repeat(61), "]".repeat(61)).leak();
    let deep: &'static [&'static str] = vec![&*nested].leak();
    let unsound: &'static [&'static str] = [
        &[
            r#","order":"A-2""#,
            r#","ord\u0065r":"A-2""#,
            r#","ORDER":"A-2""#,
            r#","__proto__":{}"#,
            r#","x":1"#,
            ",",
            "",
        ][..6],
        deep,
    ]
    .concat()
    .leak();
    part(&["", " ", "\r\n\t"], unsound)
}

/// The arguments of a tool that this part may name. Each has one that the tool does not need and knows.
fn arguments(tool: &str) -> BoxedStrategy<Part> {
    let join = |order: Part, middle: Part, beside: Part| {
        let text = format!(r#"{{"order":{}{}{}}}"#, order.0, middle.0, beside.0);
        (text, order.1 && middle.1 && beside.1)
    };
    match tool {
        r"\u0066\u0069\u006e\u0064" | "find" => part(
            &["{}", r#"{"region":"north"}"#, r#"{ "regio\u006e":"n\u006frth"}"#],
            &[r#"{"region":"north","region":"north"}"#, r#"{"region":7}"#, "[]", "null", "{", ""],
        ),
        "refund" | r"\u0072efund" => (order(), amount(), beside())
            .prop_map(move |(order, amount, beside)| {
                join(order, (format!(r#","amount":{}"#, amount.0), amount.1), beside)
            })
            .boxed(),
        _ => (order(), beside())
            .prop_map(move |(order, beside)| join(order, (String::new(), true), beside))
            .boxed(),
    }
}

/// What stands in `params` beside name and arguments.
fn params() -> BoxedStrategy<Part> {
    part(
        &[
            "",
            "",
            r#","task":{"ttl":5}"#,
            r#","Name":"refund""#,
            ",\"n\u{430}me\":\"refund\"",
            r#","arguments ":{"order":"A-2"}"#,
        ],
        &[
            r#","name":"refund""#,
            r#","n\u0061me":"refund""#,
            r#","arguments":{}"#,
            r#","argument\u0073":{"order":"A-2"}"#,
            r#","_meta":{},"_met\u0061":{}"#,
            r#","requestState":"x""#,
            r#","requestState":{}"#,
            r#","inputResponses":[]"#,
            r#","inputResponses":{"a":1}"#,
        ],
    )
}

fn id() -> BoxedStrategy<Part> {
    let long = format!(r#""{}""#, "i".repeat(257)).leak();
    let unsound: &'static [&'static str] = [
        &["null", "1.5", "9007199254740993", "-1e17", "[]", "{}", "true", r#""a","id":"b""#][..],
        &[&*long],
    ]
    .concat()
    .leak();
    part(&[r#""c-1""#, "7", "0", "-1", r#""""#, r#""\u0000""#, "9007199254740992", "1e3"], unsound)
}

/// What stands in the message beside what belongs there.
fn envelope() -> BoxedStrategy<Part> {
    part(
        &["", "", " ", "\n\n\n"],
        &[
            r#","method":"ping""#,
            r#","metho\u0064":"ping""#,
            r#","params":{}"#,
            r#","result":{}"#,
            r#","error":{}"#,
            r#","x":1"#,
            r#","Method":"tools/call""#,
            r#","jsonrpc":"2.0""#,
        ],
    )
}

/// Around the message, `#` being it.
fn around() -> BoxedStrategy<Part> {
    part(
        &["#", "#", " \r\n\t#\n"],
        &["[#]", "[#,#]", "##", "#\n#", "\u{feff}#", "#\0", "#,", "data: #\n\n", "(#)", "\u{a0}#"],
    )
}

fn method() -> BoxedStrategy<Part> {
    part(
        &["tools/call", "tools/call", r"tools\/call", r"tools/\u0063all"],
        &["tools/Call", "tools/call ", r"tools/call\u0000", "tools/\u{441}all", "TOOLS/CALL", ""],
    )
}

fn version() -> BoxedStrategy<Part> {
    part(&[r#""2.0""#, r#""2.0""#, r#""2\u002e0""#], &["2.0", r#""1.0""#, r#""2.0 ""#, "null"])
}

/// How a header says its value: as it is, encoded, wrongly, twice, or not at all.
#[derive(Debug, Clone, Copy)]
enum Saying {
    Plain,
    Encoded,
    Other,
    Cased,
    EncodedOther,
    Broken,
    Twice,
    Missing,
}

fn saying() -> BoxedStrategy<Saying> {
    use Saying::{Broken, Cased, Encoded, EncodedOther, Missing, Other, Plain, Twice};
    let unsound = select(&[Other, Cased, EncodedOther, Broken, Twice, Missing][..]);
    prop_oneof![18 => Just(Plain), 4 => Just(Encoded), 1 => unsound].boxed()
}

impl Saying {
    /// The headers, and whether they say the value. Where `demanded` is false there may be none.
    fn of(self, name: &str, value: &str, demanded: bool) -> (Vec<(String, String)>, bool) {
        let encode = |text: &str| format!("=?base64?{}?=", STANDARD.encode(text));
        // What is no header text cannot stand there as it is.
        let plain = if value.bytes().all(|byte| byte.is_ascii_graphic()) && !value.is_empty() {
            value.to_owned()
        } else {
            encode(value)
        };
        let (values, right) = match self {
            Self::Plain => (vec![plain], true),
            Self::Encoded => (vec![encode(value)], true),
            Self::Other => (vec!["export".to_owned()], false),
            Self::Cased => (vec![plain.to_ascii_uppercase()], false),
            Self::EncodedOther => (vec![encode("export")], false),
            Self::Broken => (vec!["=?base64?!?=".to_owned()], false),
            Self::Twice => (vec![plain.clone(), plain], false),
            Self::Missing => (Vec::new(), !demanded),
        };
        (values.into_iter().map(|value| (name.to_owned(), value)).collect(), right)
    }
}

/// The text that a JSON text stands for.
fn text(json: &str) -> String {
    serde_json::from_str(&format!("\"{json}\"")).unwrap_or_default()
}

/// A request of either era.
pub(super) fn request() -> impl Strategy<Value = Request> {
    let inner = tool().prop_flat_map(|tool| (arguments(&tool.0), Just(tool)));
    let message = (inner, params(), id(), envelope(), around(), method(), version());
    let sent = (
        select(&[Era::Modern, Era::Legacy][..]),
        (saying(), saying(), saying()),
        select(
            &[
                Whose::Nobodys,
                Whose::Nobodys,
                Whose::Own,
                Whose::Own,
                Whose::Others,
                Whose::Unknown,
            ][..],
        ),
        select(&["2025-11-25", "2025-06-18", "2025-03-26", ""][..]),
        prop_oneof![12 => Just(false), 1 => Just(true)],
        any::<bool>(),
    );
    (message, sent).prop_map(|(message, sent)| {
        let ((arguments, tool), params, id, envelope, around, method, jsonrpc) = message;
        let (era, says, session, legacy, mixed, progress) = sent;
        let parts = [&arguments, &tool, &params, &id, &envelope, &around, &method, &jsonrpc];
        let mut sound = parts.iter().all(|part| part.1);
        let mut meta = match (era, mixed) {
            (Era::Modern, false) | (Era::Legacy, true) => META.to_owned(),
            (Era::Modern, true) => META.replace("2026-07-28", "2025-11-25"),
            (Era::Legacy, false) => "{}".to_owned(),
        };
        sound &= !mixed;
        if progress {
            let comma = if meta == "{}" { "" } else { "," };
            meta.replace_range(..1, &format!(r#"{{"progressToken":"p"{comma}"#));
        }
        let (tool, arguments, params) = (&tool.0, &arguments.0, &params.0);
        let message = format!(
            r#"{{"jsonrpc":{},"id":{},"method":"{}","params":{{"name":"{tool}","arguments":{arguments},"_meta":{meta}{params}}}{}}}"#,
            jsonrpc.0, id.0, method.0, envelope.0,
        );
        let (headers, agree) = headers(era, legacy, says, &text(&method.0), &text(tool), arguments);
        sound &= agree && (era == Era::Modern || session.is_usable());
        Request { era, headers, session, body: around.0.replace('#', &message), progress, sound }
    })
}

/// The headers of a call, and whether they say what its body says.
fn headers(
    era: Era,
    legacy: &str,
    says: (Saying, Saying, Saying),
    method: &str,
    tool: &str,
    arguments: &str,
) -> (Vec<(String, String)>, bool) {
    let modern = era == Era::Modern;
    let version = if modern { "2026-07-28" } else { legacy };
    let mut headers = Vec::new();
    if !version.is_empty() {
        headers.push(("mcp-protocol-version".to_owned(), version.to_owned()));
    }
    // A method is never encoded.
    let of_method = if matches!(says.0, Saying::Encoded) { Saying::Plain } else { says.0 };
    let (more, method_agrees) = of_method.of("mcp-method", method, modern);
    headers.extend(more);
    let (more, name_agrees) = says.1.of("mcp-name", tool, modern);
    headers.extend(more);
    let region = tool == "find" && arguments.contains("rth");
    let (more, region_agrees) = match (region, modern) {
        (true, true) => says.2.of("mcp-param-region", "north", true),
        // Before 2026-07-28 these headers mean nothing.
        (_, false) => (says.2.of("mcp-param-region", "north", false).0, true),
        (false, true) if tool == "find" && matches!(says.2, Saying::Other) => {
            (says.2.of("mcp-param-region", "north", false).0, false)
        }
        (false, true) => (Vec::new(), true),
    };
    headers.extend(more);
    (headers, method_agrees && name_agrees && region_agrees)
}
