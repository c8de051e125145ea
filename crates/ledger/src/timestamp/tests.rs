use super::*;

const NOTE: &[u8] = b"a signed head";
const RANDOM: [u8; 8] = [0xff, 1, 2, 3, 4, 5, 6, 7];

fn request() -> TimestampRequest {
    TimestampRequest::of(NOTE, RANDOM)
}

/// What an authority says, in the parts that tests change.
struct Says {
    status: u8,
    imprint: Digest,
    algorithm: &'static [u8],
    time: &'static str,
    nonce: Vec<u8>,
}

impl Default for Says {
    fn default() -> Self {
        let (imprint, time) = (sha256_of(NOTE), "20261123050203Z");
        Self { status: 0, imprint, algorithm: SHA_256, time, nonce: request().nonce.to_vec() }
    }
}

impl Says {
    fn response(&self) -> Vec<u8> {
        let number = |number: &[u8]| element(INTEGER, &[number]);
        let algorithm = element(SEQUENCE, &[&element(OBJECT, &[self.algorithm]), &[NULL, 0]]);
        let imprint = element(SEQUENCE, &[&algorithm, &element(OCTETS, &[&self.imprint.0])]);
        let info = element(
            SEQUENCE,
            &[
                &number(&[1]),
                &element(OBJECT, &[&[0x2a, 3]]),
                &imprint,
                &number(&[9; 20]),
                &element(TIME, &[self.time.as_bytes()]),
                &element(SEQUENCE, &[&number(&[1])]),
                &element(BOOLEAN, &[&[0xff]]),
                &number(&self.nonce),
                &element(0xa1, &[b"an extension"]),
            ],
        );
        let info = element(TAGGED_0, &[&element(OCTETS, &[&info])]);
        let content = element(SEQUENCE, &[&element(OBJECT, &[TST_INFO]), &info]);
        let certificates = element(TAGGED_0, &[&[7; 300]]);
        let signed =
            element(SEQUENCE, &[&number(&[3]), &element(SET, &[]), &content, &certificates]);
        let token =
            element(SEQUENCE, &[&element(OBJECT, &[SIGNED_DATA]), &element(TAGGED_0, &[&signed])]);
        let texts = element(SEQUENCE, &[&element(TEXT, &[b"not today"])]);
        let status = element(SEQUENCE, &[&number(&[self.status]), &texts]);
        match self.status {
            0 | 1 => element(SEQUENCE, &[&status, &token]),
            _ => element(SEQUENCE, &[&status]),
        }
    }

    fn checked(&self) -> Result<String, TimestampError> {
        request().check(&self.response()).map(|at| at.to_string())
    }
}

#[test]
fn a_request_is_what_the_standard_says() {
    let expected = [
        &[0x30, 0x43, 2, 1, 1, 0x30, 0x31, 0x30, 0x0d, 6, 9][..],
        SHA_256,
        &[5, 0, 4, 32],
        &sha256_of(NOTE).0,
        &[2, 8, 0x7f, 1, 2, 3, 4, 5, 6, 7, 1, 1, 0xff],
    ];
    assert_eq!(request().to_der(), expected.concat());
    // A nonce that begins with zeros would have a shorter form.
    assert_eq!(TimestampRequest::of(NOTE, [0; 8]).nonce, [0x40, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_token_for_this_head_and_request_gives_its_time() {
    let says = Says::default();
    assert_eq!(says.checked().as_deref(), Ok("2026-11-23T05:02:03.000Z"));
    assert_eq!(of_head(NOTE, &says.response()).map(|at| at.to_string()), says.checked());
    let fraction = Says { time: "20261123050203.25Z", ..Says::default() };
    assert_eq!(fraction.checked().as_deref(), Ok("2026-11-23T05:02:03.000Z"));
    let modified = Says { status: 1, ..Says::default() };
    assert!(modified.checked().is_ok());
}

#[test]
fn a_token_for_something_else_is_refused() {
    let other = Says { imprint: sha256_of(b"another head"), ..Says::default() };
    assert_eq!(other.checked(), Err(TimestampError::OtherImprint));
    assert_eq!(of_head(NOTE, &other.response()), Err(TimestampError::OtherImprint));
    for nonce in [vec![1], vec![0x7f, 1, 2, 3, 4, 5, 6, 8], Vec::new()] {
        let other = Says { nonce, ..Says::default() };
        assert_eq!(other.checked(), Err(TimestampError::OtherNonce));
        assert!(of_head(NOTE, &other.response()).is_ok(), "whoever kept it did not ask");
    }
    let rejected = Says { status: 2, ..Says::default() };
    let says = Some("not today".to_owned());
    assert_eq!(rejected.checked(), Err(TimestampError::Rejected { status: 2, says }));
}

#[test]
fn what_is_no_response_is_refused_and_nothing_of_it_panics() {
    let whole = Says::default().response();
    for end in 0..whole.len() {
        assert!(request().check(&whole[..end]).is_err(), "cut at {end}");
    }
    for at in 0..whole.len() * 8 {
        let mut changed = whole.clone();
        changed[at / 8] ^= 1 << (at % 8);
        let _ = request().check(&changed);
    }
    let behind = [&whole[..], b"x"].concat();
    let long = [&whole[..], &vec![0; MAX_TIMESTAMP]].concat();
    // The length of the outermost, in more bytes than it needs.
    let mut loose = element(SEQUENCE, &[&whole[4..]]);
    assert_eq!(loose, whole);
    loose.splice(1..2, [0x83, 0]);
    for bytes in [b"".to_vec(), b"<html>".to_vec(), behind, long, loose] {
        assert!(matches!(request().check(&bytes), Err(TimestampError::Malformed(_))));
    }
    let algorithm = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
    let other = Says { algorithm, ..Says::default() };
    assert!(matches!(other.checked(), Err(TimestampError::Malformed(_))));
    for time in [
        "",
        "Z",
        "20261123050203",
        "20261323050203Z",
        "20261123050203.Z",
        "2026112305020Z",
        "20261123050203,5Z",
    ] {
        let other = Says { time, ..Says::default() };
        assert!(matches!(other.checked(), Err(TimestampError::Malformed(_))), "{time}");
    }
}
