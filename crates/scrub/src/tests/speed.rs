//! How long it takes: printed, and no test of a clock.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use super::shapes::TOKEN;

const MIB: usize = 1024 * 1024;

/// JSON that holds no keyword of any rule, nothing encoded and no escape.
fn plain(length: usize) -> String {
    let call =
        r#"{"order":"A-1001","note":"two blue mugs, wrapped; ring at the door","amount":1500}"#;
    let calls = vec![call; length / (call.len() + 1)];
    format!("[{}]", calls.join(","))
}

/// The same with words in it that rules look for.
fn telling(length: usize) -> String {
    plain(length).replace("two blue mugs", "the api_key of the desk, token")
}

/// The shortest of some runs: others work on the machine, too.
#[expect(clippy::disallowed_methods, reason = "a figure, for people")]
fn best(times: u32, mut work: impl FnMut()) -> Duration {
    let mut run = || {
        let start = Instant::now();
        (0..times).for_each(|_| work());
        start.elapsed() / times
    };
    (0..5).map(|_| run()).min().unwrap_or_default()
}

#[test]
fn the_time_that_a_text_takes_is_printed() {
    for (name, text, times) in [
        ("no keyword", plain(1024), 100),
        ("keywords", telling(1024), 20),
        ("a secret", telling(1024).replacen("A-1001", TOKEN, 1), 20),
        ("no keyword", plain(MIB), 1),
        ("keywords", telling(MIB), 1),
        ("secrets", telling(MIB).replace("A-1001", TOKEN), 1),
        ("one line of secrets", "api_key='q8Zr2Lw9Xv4Tb7Nc' ".repeat(MIB / 27), 1),
        ("base64 all over", format!("[\"{}\"]", "dHdvIGJsdWUgbXVncw== ".repeat(MIB / 21)), 1),
    ] {
        let took = best(times, || drop(black_box(crate::bytes(black_box(text.as_bytes())))));
        println!("{name}, {} bytes: {took:.2?}", text.len());
    }
}
