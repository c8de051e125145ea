//! Putting something in the place of a part of a message, so that nothing else of it is written anew.

/// The message with other bytes in place of a part, which is a slice of it. All other bytes stay.
pub(crate) fn spliced(message: &[u8], part: &str, by: &[u8]) -> Vec<u8> {
    let start = part.as_ptr() as usize - message.as_ptr() as usize;
    let (before, after) = (&message[..start], &message[start + part.len()..]);
    [before, by, after].concat()
}
