//! A client's message with its headers: header lines, a blank line, the body.
#![no_main]

use fuzz::json;
use gateway::envelope::{
    Able, Era, Fault, Incoming, Level, MAX_BYTES, Message, RequestId, ToolCall, accepts,
    header_name, inputs, method_params, method_request, tool_call_request,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use model::ijson::Json;

fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(32) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// An error can be sent as it is, and says nothing that a terminal would act on.
fn check_fault(fault: &Fault, id: Option<&RequestId>) {
    let response = json(&fault.response(id)).expect("a response is I-JSON");
    assert_eq!(response.member("id"), id.map(RequestId::to_json).as_ref());
    assert!(!fault.message().chars().any(char::is_control));
}

fn check_id(id: &RequestId) {
    match id {
        RequestId::Number(number) => assert!(number.unsigned_abs() <= 1 << 53),
        RequestId::Text(text) => assert!(text.len() <= 256),
    }
}

/// What leaves for an upstream is read there as what was decided on.
fn check_call(message: &Message, call: ToolCall<'_>) {
    assert!((1..=256).contains(&call.name.len()) && !call.name.chars().any(char::is_control));
    let (id, arguments) = (RequestId::Number(7), call.canonical_arguments());
    let meta = call.meta.map(model::ijson::Json::canonical);
    let body = tool_call_request(&id, call.name, &arguments, None, meta.as_deref());
    if body.len() > MAX_BYTES {
        return;
    }
    let read = Message::parse(&body).expect("what is written can be read");
    let again = ToolCall::of(&read).expect("a call stays one");
    assert_eq!((again.name, again.arguments, again.meta), (call.name, call.arguments, call.meta));
    assert_eq!(again.canonical_arguments(), arguments);
    let params = method_params(message);
    let body =
        method_request(&id, message.method(), &params.canonical(), None, meta.as_deref());
    let read = Message::parse(&body).expect("what is written can be read");
    assert_eq!((method_params(&read), read.meta()), (params, call.meta));
}

fuzz_target!(|data: &[u8]| {
    let end = data.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((&[][..], data), |end| (&data[..end], &data[end + 2..]));
    let headers = headers(head);
    let _ = accepts(&headers);
    let message = match Incoming::parse(body) {
        Ok(Incoming::Message(message)) => message,
        Ok(Incoming::Response(response)) => {
            assert!(response.id.len() <= 256);
            assert!(matches!(response.outcome, Ok(Json::Object(_)) | Err(Json::Object(_))));
            return;
        }
        Err(why) => return check_fault(&why.fault(), None),
    };
    assert!((1..=256).contains(&message.method().len()));
    assert!(message.id().is_some() || message.method().starts_with("notifications/"));
    message.id().into_iter().chain(message.progress_token()).for_each(check_id);
    match Era::of(&headers, &message) {
        Err(why) => check_fault(&why.fault(), message.id()),
        Ok(Era::Modern) if message.id().is_some() => {
            let only: Vec<_> = headers.get_all(header_name::METHOD).iter().collect();
            assert_eq!(only, [message.method()]);
        }
        Ok(_) => {}
    }
    let _ = Able::declared(&message).to_json();
    let _ = Level::wanted(&message);
    if let Ok(Some(inputs)) = inputs(&message) {
        assert!(inputs.answers.len() <= decide::MAX_INPUTS);
    }
    match ToolCall::of(&message) {
        Ok(call) => check_call(&message, call),
        Err(why) => check_fault(&why.fault(), message.id()),
    }
});
