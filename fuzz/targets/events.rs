//! Event streams: the first byte says where the stream is cut, the rest is the stream.
#![no_main]

use bytes::Bytes;
use gateway::{envelope::event, sse::Parser};
use libfuzzer_sys::fuzz_target;

fn events(stream: &[u8], cut: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
    let (mut parser, mut found, mut rest) = (Parser::default(), Vec::new(), stream);
    for turn in 0.. {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(cut(turn).clamp(1, rest.len()));
        rest = after;
        let mut input = Bytes::copy_from_slice(chunk);
        while let Some(event) = parser.next(&mut input).expect("the stream is short") {
            found.push(event);
        }
        assert!(input.is_empty());
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, stream)) = data.split_first() else { return };
    let seed = usize::from(*seed);
    let whole = events(stream, |_| stream.len());
    assert!(whole.iter().all(|data| !data.is_empty() && !data.contains(&b'\r')));
    assert_eq!(events(stream, |_| 1), whole);
    assert_eq!(events(stream, |turn| (seed + turn * 7) % 13), whole);

    let message: Vec<u8> =
        stream.iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect();
    let written = [event(stream), event(stream)].concat();
    let read = events(&written, |turn| (seed + turn * 5) % 11);
    let expected = if message.is_empty() { vec![] } else { vec![message.clone(), message] };
    assert_eq!(read, expected);
});
