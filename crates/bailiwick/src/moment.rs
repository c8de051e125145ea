//! Moments on a command line.

use model::Timestamp;

/// Reads one as people write it, in UTC.
pub(crate) fn read(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .ok_or_else(|| "a moment is `2027-01-31` or `2027-01-31T12:00:00Z`".to_owned())
}
